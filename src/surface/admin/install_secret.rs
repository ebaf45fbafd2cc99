//! A new install secret.
//!
//! The answer names the secrets, the current one first; a name tells nothing of its secret.
//!
//! Never here: a secret, or a way to read one.

use hyper::StatusCode;
use serde_json::json;

use super::super::spoken::json as answer;
use super::intake::{Fields, Query};
use super::{Answered, Call};
use crate::domain::hash::SecretId;

pub(super) async fn rotate(call: Call<'_>) -> Answered {
    Query::read(call.query, &[])?;
    if !call.body.is_empty() {
        Fields::read(call.body, &[])?;
    }
    let known = call.engine.rotate_install_secret(call.actor()).await?;
    let retired: Vec<_> = known.retired.into_iter().map(name).collect();
    Ok(answer(StatusCode::OK, &json!({"current": name(known.current), "retired": retired})))
}

fn name(id: SecretId) -> String {
    hex::encode(id.as_bytes())
}
