//! Records as JSON: the twins that the admin API shows. A rename inside changes nothing here.
//!
//! Never here: a secret, a hash or a fingerprint, or a key's text.

use serde_json::{Map, Value, json};

use crate::domain::audit::{Actor, AuditRow, FieldChange, Subject};
use crate::domain::meter::thresholds::Threshold;
use crate::domain::permission::Permission;
use crate::domain::rate::{Rate, Rates};
use crate::domain::record::{KeyRecord, KeyStatus, Label, Overrides, SignatureReplay, WorkspaceRecord};
use crate::domain::time::Wall;
use crate::engine::{KeyView, MeterView};

pub(super) fn key(view: &KeyView, now: Wall) -> Map<String, Value> {
    let record = &view.record;
    let status = match record.status(now) {
        KeyStatus::Active => "active",
        KeyStatus::Expired => "expired",
        KeyStatus::Revoked => "revoked",
    };
    let signature_replay = match record.signature_replay {
        SignatureReplay::Once => "once",
        SignatureReplay::Window => "window",
    };
    let metadata = record.metadata.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    object([
        ("id", json!(record.id.to_string())),
        ("workspace_id", json!(record.workspace.to_string())),
        ("name", json!(record.name.as_ref().map(Label::as_str))),
        ("description", json!(record.description)),
        ("prefix", json!(record.prefix().map(|prefix| prefix.to_string()))),
        ("status", json!(status)),
        ("permissions", json!(record.permissions.iter().map(Permission::as_str).collect::<Vec<_>>())),
        ("created_at", time(Some(record.created_at))),
        ("expires_at", time(record.expires_at)),
        ("revoked_at", time(record.revoked_at)),
        ("last_used_at", time(view.last_used_at)),
        ("secrets", secrets(view)),
        ("ip_allow", json!(record.addresses.as_ref().map(|rules| rules.iter().collect::<Vec<_>>()))),
        ("rate", rates(record.rate.as_ref())),
        ("metadata", json!(metadata)),
        ("require_signature", json!(record.require_signature)),
        ("signature_replay", json!(signature_replay)),
        ("imported", imported(record)),
    ])
}

/// A key's secrets, the newest first: who still uses the old one is seen here.
fn secrets(view: &KeyView) -> Value {
    let used = view.secrets_used_at.iter().copied().chain(std::iter::repeat(None));
    let shown = view.record.secrets.iter().zip(used).map(|(secret, used_at)| {
        json!({
            "prefix": secret.prefix.to_string(),
            "created_at": time(Some(secret.created_at)),
            "ends_at": time(secret.ends_at),
            "last_used_at": time(used_at),
        })
    });
    let mut shown: Vec<_> = shown.collect();
    shown.reverse();
    shown.into()
}

/// What is known of a text that was made elsewhere; the prefixes above stand in none such. None once that text
/// was rotated away.
fn imported(record: &KeyRecord) -> Value {
    let mut secrets = record.secrets.iter().rev();
    let elsewhere = secrets.find_map(|secret| Some((secret, secret.imported.as_ref()?)));
    json!(elsewhere.map(|(secret, imported)| json!({
        "prefix": &*imported.head,
        "random": imported.is_random,
        "hash": secret.hash.kind().name(),
    })))
}

pub(super) fn workspace(record: &WorkspaceRecord) -> Map<String, Value> {
    object([
        ("id", json!(record.id.to_string())),
        ("name", json!(record.name.as_str())),
        ("profile", json!(record.profile)),
        ("plan", json!(record.plan)),
        ("status", json!(record.status.name())),
        ("billing_anchor", time(Some(record.billing_anchor))),
        ("brands", json!(record.brands.iter().map(Label::as_str).collect::<Vec<_>>())),
        ("overrides", overrides(&record.overrides)),
        ("created_at", time(Some(record.created_at))),
    ])
}

pub(super) fn meter(view: &MeterView) -> Value {
    json!({
        "name": view.name,
        "used": view.used,
        "burnt": view.burnt,
        "reserved": view.reserved,
        "limit": view.limit,
        "admitted": view.admitted,
        "started_at": view.started_at.to_rfc3339(),
        "resets_at": view.resets_at.to_rfc3339(),
        "marks": view.thresholds.iter().map(threshold).collect::<Vec<_>>(),
    })
}

fn threshold((threshold, at): (Threshold, Wall)) -> Value {
    json!({"mark": threshold.name(), "at": at.to_rfc3339()})
}

pub(super) fn audit_row(row: &AuditRow) -> Value {
    let actor = match row.entry.actor {
        Actor::System => "system".to_owned(),
        Actor::AdminKey(id) => id.to_string(),
    };
    let (subject, batch) = match row.entry.subject {
        Subject::Workspace(id) => (id.to_string(), Value::Null),
        Subject::Key(id) => (id.to_string(), Value::Null),
        Subject::Keys { count, root } => {
            ("keys".to_owned(), json!({"count": count, "root": hex::encode(root)}))
        }
        Subject::Installation => ("installation".to_owned(), Value::Null),
    };
    json!({
        "seq": row.seq,
        "at": row.entry.at.to_rfc3339(),
        "actor": actor,
        "action": row.entry.action.name(),
        "subject": subject,
        "batch": batch,
        "changes": row.entry.changes.iter().map(change).collect::<Vec<_>>(),
        "hash": row.hash.to_string(),
    })
}

fn change(change: &FieldChange) -> Value {
    json!({"field": change.field, "before": change.before, "after": change.after})
}

fn overrides(overrides: &Overrides) -> Value {
    json!({
        "rate": rates(overrides.rate.as_ref()),
        "workspace_rate": overrides.workspace_rate.as_ref().map(rate),
        "meters": overrides.meters,
    })
}

/// One rate as it is, several as a list.
fn rates(rates: Option<&Rates>) -> Value {
    match rates.map(|rates| (rates, rates.only())) {
        None => Value::Null,
        Some((_, Some(only))) => rate(only),
        Some((rates, None)) => rates.iter().map(rate).collect(),
    }
}

fn rate(rate: &Rate) -> Value {
    json!({"limit": rate.limit(), "window_s": rate.window_secs(), "burst": rate.burst()})
}

fn time(at: Option<Wall>) -> Value {
    json!(at.map(Wall::to_rfc3339))
}

fn object<const LEN: usize>(members: [(&str, Value); LEN]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
