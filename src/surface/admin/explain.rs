//! The explain call: what a request of a key would be told, check by check, with the reasons.
//!
//! It takes what the verify call takes, but for the key's text: an operator has its id. Nothing is spent.
//!
//! Never here: a check (domain).

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::super::spoken::json as answer;
use super::intake::{self, Fields, refused};
use super::keys::id;
use super::verify::{code, wanted};
use super::{Answered, Call};
use crate::dialect::AdminRefusal;
use crate::domain::key::Prefix;
use crate::domain::record::{KeyRecord, KeySecret};
use crate::engine::ToExplain;

pub(super) async fn explain(call: Call<'_>) -> Answered {
    let key = id(&call)?;
    let known = ["permission", "method", "path", "tool", "ip", "cost", "meter", "prefix"];
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { call.body };
    let fields = Fields::read(body, &known)?;
    let record = call.engine.key_view(key).await?.record;
    let workspace = call.engine.workspace(record.workspace).await?;
    let Some(profile) = call.engine.profile(&workspace.profile) else {
        let detail = format!(
            "The key belongs to the profile {}, which is not served here: every request of it is refused.",
            workspace.profile
        );
        return Err(AdminRefusal::Conflict { detail }.into());
    };
    let wanted = wanted(&fields, profile, |tool| call.engine.learnt_tools().class(key, tool))?;
    let to_explain = ToExplain {
        key,
        secret: secret(&fields, &record)?,
        address: fields.optional("ip", intake::address)?,
        cost: fields.optional("cost", intake::count)?.unwrap_or_else(|| wanted.cost()),
        wanted,
    };
    let explanation = call.engine.explain(&to_explain).await?;
    let checks = explanation.findings.iter().map(|finding| {
        json!({"check": finding.check.name(), "passes": finding.outcome.is_ok(), "why": finding.why})
    });
    let denied = explanation.denied();
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("key_id", json!(key.to_string()));
    put("workspace_id", json!(explanation.workspace.to_string()));
    put("allowed", json!(denied.is_none()));
    if let Some((check, _)) = denied {
        put("denied_by", json!(check.name()));
    }
    put("would_say", json!({"code": denied.map_or("valid", |(_, denial)| code(denial))}));
    put("checks", json!(checks.collect::<Vec<_>>()));
    Ok(answer(StatusCode::OK, &body))
}

/// The secret with the given prefix, or the newest.
fn secret(fields: &Fields<'_>, record: &KeyRecord) -> Result<(Prefix, u32), AdminRefusal> {
    let prefixes = || record.secrets.iter().map(|secret| secret.prefix.to_string()).collect::<Vec<_>>();
    let unknown = |field: &str| {
        refused(field, format!("the prefix of a secret of this key: {}", prefixes().join(", ")))
    };
    let given = fields.optional("prefix", |field, raw| {
        let text = intake::text(field, raw)?;
        let of = |secret: &&KeySecret| secret.prefix.as_bytes() == text.as_bytes();
        record.secrets.iter().find(of).ok_or_else(|| unknown(field))
    })?;
    let secret = given.or(record.secrets.last()).ok_or_else(|| unknown("prefix"))?;
    Ok((secret.prefix, secret.epoch))
}
