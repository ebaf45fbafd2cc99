//! Rotation: a new secret for a key, shown once, and the end of the one before.
//!
//! Never here: which secrets stay (domain), or a key's text but in the answer that makes it.

use hyper::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::spoken::json as answer;
use super::intake::{Fields, refused};
use super::keys::{id, own_only};
use super::{Answered, Call, shown};
use crate::dialect::AdminRefusal;
use crate::domain::rotation::{OVERLAP_SECS_MAX, Overlap, RotationRefused};
use crate::domain::time::Wall;
use crate::engine::RotatedKey;

/// The least overlap, in seconds, with which an admin key may rotate itself: time to fetch another new secret
/// should the answer be lost.
const OWN_OVERLAP_SECS_MIN: u64 = 60;

pub(super) async fn rotate(call: Call<'_>) -> Answered {
    let id = id(&call)?;
    let overlap = Fields::read(call.body, &["overlap_s"])?.required("overlap_s", overlap)?;
    if id == call.admin.key() && overlap.secs() < OWN_OVERLAP_SECS_MIN {
        let detail = format!(
            "An admin key that rotates itself needs an overlap_s of at least {OWN_OVERLAP_SECS_MIN}, so that a \
             lost answer locks nobody out."
        );
        return Err(AdminRefusal::Conflict { detail }.into());
    }
    // Whoever rotates an admin key gets all that it may do, so must hold that already.
    let present = call.engine.key_view(id).await?.record;
    let workspace = call.engine.workspace(present.workspace).await?;
    let Some(profile) = call.engine.profile(&workspace.profile) else {
        return Err(AdminRefusal::NoSuchThing.into());
    };
    own_only(&call, &present.permissions, profile)?;
    let RotatedKey { view, raw } = call.engine.rotate_key(call.actor(), id, overlap).await?;
    let previous = view.record.secrets.iter().rev().nth(1).map(|secret| {
        json!({"prefix": secret.prefix.to_string(), "ends_at": secret.ends_at.map(Wall::to_rfc3339)})
    });
    let mut body = shown::key(&view, call.engine.clock().now().wall);
    body.insert("key".to_owned(), json!(raw.reveal()));
    body.extend(previous.map(|previous| ("previous".to_owned(), previous)));
    Ok(answer(StatusCode::OK, &body))
}

/// A rotation that does not fit the key as it is.
pub(super) fn conflict(refused: RotationRefused) -> AdminRefusal {
    let detail = match refused {
        RotationRefused::UnderWay { ends_at } => format!(
            "The key is being rotated: its older secret ends at {}. Rotate again after that, or now with \
             overlap_s 0, which ends both older secrets at once.",
            ends_at.to_rfc3339()
        ),
        RotationRefused::Revoked => "The key is revoked; a revoked key stays as it is.".to_owned(),
        RotationRefused::WornOut => "The key was rotated too often: make a new one.".to_owned(),
    };
    AdminRefusal::Conflict { detail }
}

fn overlap(field: &str, raw: &RawValue) -> Result<Overlap, AdminRefusal> {
    let secs = serde_json::from_str(raw.get()).ok().and_then(Overlap::from_secs);
    secs.ok_or_else(|| refused(field, format!("a whole number of seconds from 0 to {OVERLAP_SECS_MAX}")))
}
