//! Workspaces: make, list, show, change, delete, read the meters.
//!
//! Never here: a change computed (engine), or a key's text but the default key's in the answer that creates
//! it.

use hyper::StatusCode;
use serde_json::json;

use super::super::spoken::json as answer;
use super::intake::{self, Fields, Query, refused};
use super::{Answered, Call, CallRefusal, shown};
use crate::dialect::AdminRefusal;
use crate::domain::id::WorkspaceId;
use crate::domain::profile::{Profile, SYSTEM_PROFILE};
use crate::domain::record::{WorkspacePatch, WorkspaceStatus};
use crate::engine::NewWorkspace;

pub(super) async fn create(call: Call<'_>) -> Answered {
    let fields = Fields::read(call.body, &["name", "profile", "plan", "billing_anchor", "brands"])?;
    let name = fields.required("name", intake::label)?;
    let profile = fields.required("profile", intake::text)?;
    let known = call.engine.profile(&profile).filter(|profile| profile.name != SYSTEM_PROFILE);
    let Some(known) = known else {
        let expected = "expected the name of a profile that is served here";
        let detail = format!("profile: unknown profile `{}`: {expected}", intake::quoted(&profile));
        return Err(AdminRefusal::Field { detail }.into());
    };
    let plan = fields.required("plan", |field, raw| plan(field, raw, known))?;
    let billing_anchor = fields.optional("billing_anchor", intake::moment)?;
    let brands = fields.optional("brands", intake::labels)?.unwrap_or_default();
    let new = NewWorkspace { name, profile, plan, billing_anchor, brands };
    let created = call.engine.create_workspace(call.actor(), new).await?;
    let default_key = json!({
        "id": created.default_key.record.id.to_string(),
        "key": created.default_key.raw.reveal(),
    });
    let body = json!({"workspace": shown::workspace(&created.workspace), "default_key": default_key});
    Ok(answer(StatusCode::CREATED, &body))
}

pub(super) async fn list(call: Call<'_>) -> Answered {
    let query = Query::read(call.query, &["status", "limit", "offset"])?;
    let status = match query.get("status") {
        None => None,
        Some("active") => Some(WorkspaceStatus::Active),
        Some("suspended") => Some(WorkspaceStatus::Suspended),
        Some("deleted") => Some(WorkspaceStatus::Deleted),
        Some(_) => return Err(refused("status", "active, suspended or deleted").into()),
    };
    let listed = call.engine.workspaces(SYSTEM_PROFILE, status, query.page()?).await?;
    let data: Vec<_> = listed.items.iter().map(shown::workspace).collect();
    Ok(answer(StatusCode::OK, &json!({"data": data, "total": listed.total})))
}

pub(super) async fn show(call: Call<'_>) -> Answered {
    let record = call.engine.workspace(id(&call)?).await?;
    Ok(answer(StatusCode::OK, &shown::workspace(&record)))
}

pub(super) async fn update(call: Call<'_>) -> Answered {
    let id = id(&call)?;
    let fields =
        Fields::read(call.body, &["name", "plan", "billing_anchor", "brands", "status", "overrides"])?;
    let present = call.engine.workspace(id).await?;
    let Some(profile) = call.engine.profile(&present.profile) else {
        return Err(AdminRefusal::NoSuchThing.into());
    };
    if profile.name == SYSTEM_PROFILE {
        let detail = "The workspace of the admin keys stays as it is.".to_owned();
        return Err(AdminRefusal::Conflict { detail }.into());
    }
    let overrides = fields.optional("overrides", |field, raw| intake::overrides(field, raw, profile))?;
    let intake::OverridesPatch { rate, workspace_rate, meters } = overrides.unwrap_or_default();
    let patch = WorkspacePatch {
        name: fields.optional("name", intake::label)?,
        plan: fields.optional("plan", |field, raw| plan(field, raw, profile))?,
        billing_anchor: fields.optional("billing_anchor", intake::moment)?,
        brands: fields.optional("brands", intake::labels)?,
        status: fields.optional("status", |field, raw| match intake::text(field, raw)?.as_str() {
            "active" => Ok(WorkspaceStatus::Active),
            "suspended" => Ok(WorkspaceStatus::Suspended),
            _ => Err(refused(field, "active or suspended")),
        })?,
        rate,
        workspace_rate,
        meters,
    };
    let record = call.engine.update_workspace(call.actor(), id, patch).await?;
    Ok(answer(StatusCode::OK, &shown::workspace(&record)))
}

pub(super) async fn delete(call: Call<'_>) -> Answered {
    let id = id(&call)?;
    if !call.body.is_empty() {
        Fields::read(call.body, &[])?;
    }
    if id == WorkspaceId::SYSTEM {
        let detail = "The workspace of the admin keys cannot be deleted.".to_owned();
        return Err(AdminRefusal::Conflict { detail }.into());
    }
    let record = call.engine.delete_workspace(call.actor(), id).await?;
    Ok(answer(StatusCode::OK, &shown::workspace(&record)))
}

pub(super) async fn meters(call: Call<'_>) -> Answered {
    let meters = call.engine.meters(id(&call)?).await?;
    let data: Vec<_> = meters.iter().map(shown::meter).collect();
    Ok(answer(StatusCode::OK, &json!({"data": data})))
}

fn plan(field: &str, raw: &serde_json::value::RawValue, profile: &Profile) -> Result<String, AdminRefusal> {
    let name = intake::text(field, raw)?;
    let plans: Vec<_> = profile.plans.iter().map(|plan| plan.name.as_str()).collect();
    let unknown = || AdminRefusal::Field {
        detail: format!(
            "{field}: unknown plan `{}`: expected a plan of {}: {}",
            intake::quoted(&name),
            profile.name,
            plans.join(", ")
        ),
    };
    if plans.contains(&name.as_str()) { Ok(name) } else { Err(unknown()) }
}

fn id(call: &Call<'_>) -> Result<WorkspaceId, CallRefusal> {
    call.id.and_then(WorkspaceId::parse).ok_or_else(|| AdminRefusal::NoSuchThing.into())
}
