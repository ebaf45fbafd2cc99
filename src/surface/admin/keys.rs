//! Keys: make, list, show, change, revoke.
//!
//! Never here: a change computed (engine), or a key's text but in the answer that creates it.

use hyper::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::spoken::json as answer;
use super::intake::{self, Fields, Query, refused};
use super::{Answered, Call, CallRefusal, shown};
use crate::dialect::AdminRefusal;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::permission::Permission;
use crate::domain::profile::{Profile, SYSTEM_PROFILE};
use crate::domain::record::{KeyPatch, KeyStatus, SignatureReplay};
use crate::domain::time::Wall;
use crate::engine::{KeyList, KeyView, NewKey};

/// What is told of a new key besides its workspace, and what of it can be changed.
pub(super) const KEY_FIELDS: [&str; 9] = [
    "name",
    "description",
    "permissions",
    "expires_at",
    "ip_allow",
    "rate",
    "metadata",
    "require_signature",
    "signature_replay",
];

pub(super) async fn create(call: Call<'_>) -> Answered {
    let fields = Fields::read(call.body, &[&["workspace_id"], KEY_FIELDS.as_slice()].concat())?;
    let workspace = fields.required("workspace_id", intake::workspace_id)?;
    let record = call.engine.workspace(workspace).await?;
    let Some(profile) = call.engine.profile(&record.profile) else {
        return Err(AdminRefusal::NoSuchThing.into());
    };
    let now = call.engine.clock().now().wall;
    let new = new_key(&fields, workspace, profile, now)?;
    own_only(&call, &new.permissions, profile)?;
    let created = call.engine.create_key(call.actor(), new).await?;
    let mut body = shown::key(&KeyView::unused(created.record), now);
    body.insert("key".to_owned(), json!(created.raw.reveal()));
    Ok(answer(StatusCode::CREATED, &body))
}

pub(super) async fn list(call: Call<'_>) -> Answered {
    let query = Query::read(call.query, &["workspace_id", "status", "unused_for", "limit", "offset"])?;
    let page = query.page()?;
    let workspace = match query.get("workspace_id") {
        Some(text) => {
            Some(WorkspaceId::parse(text).ok_or_else(|| refused("workspace_id", "the id of a workspace"))?)
        }
        None => None,
    };
    let status = match query.get("status") {
        None => None,
        Some("active") => Some(KeyStatus::Active),
        Some("expired") => Some(KeyStatus::Expired),
        Some("revoked") => Some(KeyStatus::Revoked),
        Some(_) => return Err(refused("status", "active, expired or revoked").into()),
    };
    // The admin keys are listed when their workspace is named, and not among everybody's.
    let leave_out = if workspace.is_some() { None } else { Some(WorkspaceId::SYSTEM) };
    let now = call.engine.clock().now().wall;
    let unused_secs =
        query.get("unused_for").map(|text| intake::duration_secs("unused_for", text)).transpose()?;
    let unused_since =
        unused_secs.map(|secs| Wall::from_micros(now.micros().saturating_sub(i64::from(secs) * 1_000_000)));
    let status = status.map(|status| (status, now));
    let list = KeyList { workspace, leave_out, status, unused_since };
    let listed = call.engine.key_views(list, page).await?;
    let data: Vec<_> = listed.items.iter().map(|view| shown::key(view, now)).collect();
    Ok(answer(StatusCode::OK, &json!({"data": data, "total": listed.total})))
}

pub(super) async fn show(call: Call<'_>) -> Answered {
    shown_now(&call, id(&call)?).await
}

pub(super) async fn update(call: Call<'_>) -> Answered {
    let id = id(&call)?;
    let fields = Fields::read(call.body, &KEY_FIELDS)?;
    let present = call.engine.key_view(id).await?.record;
    let workspace = call.engine.workspace(present.workspace).await?;
    let Some(profile) = call.engine.profile(&workspace.profile) else {
        return Err(AdminRefusal::NoSuchThing.into());
    };
    let narrows = ["permissions", "expires_at", "ip_allow", "rate", "require_signature"];
    if id == call.admin.key() && fields.names().iter().any(|field| narrows.contains(&field.as_str())) {
        let detail =
            "An admin key cannot narrow itself: use another one, so that nobody is locked out.".to_owned();
        return Err(AdminRefusal::Conflict { detail }.into());
    }
    // Whoever changes an admin key must hold all that it holds, before and after.
    own_only(&call, &present.permissions, profile)?;
    let permissions =
        fields.optional("permissions", |field, raw| intake::permissions(field, raw, profile))?;
    own_only(&call, permissions.as_deref().unwrap_or_default(), profile)?;
    let patch = KeyPatch {
        name: fields.clearable("name", intake::label)?,
        description: fields.clearable("description", intake::description)?,
        permissions,
        expires_at: fields.clearable("expires_at", intake::moment)?,
        addresses: fields.clearable("ip_allow", intake::addresses)?,
        rate: fields.clearable("rate", intake::rates)?,
        metadata: fields.clearable("metadata", intake::metadata)?,
        require_signature: fields.optional("require_signature", intake::flag)?,
        signature_replay: fields.optional("signature_replay", signature_replay)?,
    };
    call.engine.update_key(call.actor(), id, patch).await?;
    shown_now(&call, id).await
}

pub(super) async fn revoke(call: Call<'_>) -> Answered {
    let id = id(&call)?;
    if !call.body.is_empty() {
        Fields::read(call.body, &[])?;
    }
    if id == call.admin.key() {
        let detail =
            "An admin key cannot revoke itself: use another one, so that nobody is locked out.".to_owned();
        return Err(AdminRefusal::Conflict { detail }.into());
    }
    // Whoever revokes an admin key must hold all that it holds. A key whose profile is not served here can
    // still be revoked.
    let present = call.engine.key_view(id).await?.record;
    let workspace = call.engine.workspace(present.workspace).await?;
    if let Some(profile) = call.engine.profile(&workspace.profile) {
        own_only(&call, &present.permissions, profile)?;
    }
    call.engine.revoke_key(call.actor(), id).await?;
    shown_now(&call, id).await
}

async fn shown_now(call: &Call<'_>, id: KeyId) -> Answered {
    let view = call.engine.key_view(id).await?;
    Ok(answer(StatusCode::OK, &shown::key(&view, call.engine.clock().now().wall)))
}

/// Whoever makes, changes, rotates or revokes an admin key must hold all that it holds or is to hold.
pub(super) fn own_only(
    call: &Call<'_>,
    permissions: &[Permission],
    profile: &Profile,
) -> Result<(), CallRefusal> {
    if profile.name != SYSTEM_PROFILE || call.admin.permissions().covers(profile.compile(permissions)) {
        return Ok(());
    }
    let detail =
        "permissions: an admin key rules over others only as far as its own permissions go".to_owned();
    Err(AdminRefusal::Field { detail }.into())
}

/// A new key as its fields tell it. What is left out gives nothing.
pub(super) fn new_key(
    fields: &Fields<'_>,
    workspace: WorkspaceId,
    profile: &Profile,
    now: Wall,
) -> Result<NewKey, AdminRefusal> {
    let permissions =
        fields.optional("permissions", |field, raw| intake::permissions(field, raw, profile))?;
    let new = NewKey {
        workspace,
        name: fields.clearable("name", intake::label)?.flatten(),
        description: fields.clearable("description", intake::description)?.flatten(),
        permissions: permissions.unwrap_or_default(),
        expires_at: fields.clearable("expires_at", intake::moment)?.flatten(),
        addresses: fields.clearable("ip_allow", intake::addresses)?.flatten(),
        rate: fields.clearable("rate", intake::rates)?.flatten(),
        metadata: fields.clearable("metadata", intake::metadata)?.flatten(),
        require_signature: fields.optional("require_signature", intake::flag)?.unwrap_or_default(),
        signature_replay: fields.optional("signature_replay", signature_replay)?.unwrap_or_default(),
    };
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(refused("expires_at", "a time in the future"));
    }
    Ok(new)
}

fn signature_replay(field: &str, raw: &RawValue) -> Result<SignatureReplay, AdminRefusal> {
    let expected = "\"once\" or \"window\"";
    match serde_json::from_str::<&str>(raw.get()) {
        Ok("once") => Ok(SignatureReplay::Once),
        Ok("window") => Ok(SignatureReplay::Window),
        _ => Err(refused(field, expected)),
    }
}

pub(super) fn id(call: &Call<'_>) -> Result<KeyId, CallRefusal> {
    call.id.and_then(KeyId::parse).ok_or_else(|| AdminRefusal::NoSuchThing.into())
}
