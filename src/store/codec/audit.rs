//! The record of an audit row: who did what to what, and when.
//!
//! The row's number is the table's key. Who and what are optional fields rather than tagged variants, so that
//! a reader of the raw file needs no table of codes. Rows of format 1 told the names of changed fields alone,
//! and are still read so. The golden bytes at the end can never change.
//!
//! Never here: the chain's hash or a seal, which stand before the record (`store::audit`).

use serde::{Deserialize, Serialize};

use super::{Bytes, Place, decode, encode};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, FieldChange, Subject};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::time::Wall;
use crate::store::error::StoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditTwin {
    at_us: i64,
    /// Absent: Keyward itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by_admin_key: Option<Bytes<16>>,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_workspace: Option<Bytes<16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_key: Option<Bytes<16>>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_keys: Option<BatchTwin>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    to_installation: bool,
    /// Format 1 alone.
    #[serde(default, skip_serializing)]
    fields: Vec<String>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeTwin {
    field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchTwin {
    count: u32,
    root: Bytes<32>,
}

/// Writes an audit entry down.
pub(in crate::store) fn to_bytes(entry: &AuditEntry) -> Result<Vec<u8>, StoreError> {
    let (mut to_workspace, mut to_key, mut to_keys, mut to_installation) = (None, None, None, false);
    match entry.subject {
        Subject::Workspace(id) => to_workspace = Some(Bytes(id.as_u128().to_be_bytes())),
        Subject::Key(id) => to_key = Some(Bytes(id.as_u128().to_be_bytes())),
        Subject::Keys { count, root } => to_keys = Some(BatchTwin { count, root: Bytes(root) }),
        Subject::Installation => to_installation = true,
    }
    encode(&AuditTwin {
        at_us: entry.at.micros(),
        by_admin_key: match entry.actor {
            Actor::System => None,
            Actor::AdminKey(id) => Some(Bytes(id.as_u128().to_be_bytes())),
        },
        action: entry.action.name().to_owned(),
        to_workspace,
        to_key,
        to_keys,
        to_installation,
        fields: Vec::new(),
        changes: entry.changes.iter().cloned().map(ChangeTwin::from).collect(),
    })
}

impl From<FieldChange> for ChangeTwin {
    fn from(change: FieldChange) -> Self {
        Self { field: change.field, before: change.before, after: change.after }
    }
}

/// Reads what the audit row of this number says.
pub(in crate::store) fn from_bytes(seq: u64, bytes: &[u8]) -> Result<AuditEntry, StoreError> {
    let place = Place { table: "audit", key: &seq };
    let twin: AuditTwin = decode(place, bytes)?;
    let action = AuditAction::ALL.into_iter().find(|action| action.name() == twin.action);
    let subject = match (twin.to_workspace, twin.to_key, twin.to_keys, twin.to_installation) {
        (Some(id), None, None, false) => {
            Subject::Workspace(WorkspaceId::from_u128(u128::from_be_bytes(id.0)))
        }
        (None, Some(id), None, false) => Subject::Key(KeyId::from_u128(u128::from_be_bytes(id.0))),
        (None, None, Some(batch), false) => Subject::Keys { count: batch.count, root: batch.root.0 },
        (None, None, None, true) => Subject::Installation,
        _ => return Err(place.corrupt("it names no subject or two")),
    };
    let named = twin.fields.into_iter().map(|field| FieldChange { field, before: None, after: None });
    let told = twin.changes.into_iter().map(|change| FieldChange {
        field: change.field,
        before: change.before,
        after: change.after,
    });
    Ok(AuditEntry {
        at: Wall::from_micros(twin.at_us),
        actor: twin
            .by_admin_key
            .map_or(Actor::System, |id| Actor::AdminKey(KeyId::from_u128(u128::from_be_bytes(id.0)))),
        action: action.ok_or_else(|| place.corrupt("its action is unknown"))?,
        subject,
        changes: named.chain(told).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    fn change(field: &str, before: Option<&str>, after: Option<&str>) -> FieldChange {
        let text = |value: Option<&str>| value.map(str::to_owned);
        FieldChange { field: field.to_owned(), before: text(before), after: text(after) }
    }

    fn by_admin() -> AuditEntry {
        AuditEntry {
            at: Wall::from_secs(1_700_000_000),
            actor: Actor::AdminKey(KeyId::from_u128(1)),
            action: AuditAction::KeyUpdated,
            subject: Subject::Key(KeyId::from_u128(9)),
            changes: vec![change("name", None, None), change("rate", None, None)],
        }
    }

    fn by_system() -> AuditEntry {
        AuditEntry {
            actor: Actor::System,
            action: AuditAction::WorkspaceCreated,
            subject: Subject::Workspace(WorkspaceId::from_u128(7)),
            changes: Vec::new(),
            ..by_admin()
        }
    }

    /// What format 1 could not say.
    fn since_format_2() -> AuditEntry {
        AuditEntry {
            action: AuditAction::KeysImported,
            subject: Subject::Keys { count: 300, root: [0xAB; 32] },
            changes: vec![
                change("name", Some("a"), Some("b")),
                change("rate", None, Some("60/60/60")),
                change("secret.1.hash", None, None),
            ],
            ..by_admin()
        }
    }

    #[test]
    fn formats_1_and_2_are_pinned() {
        let read = |bytes: &[u8]| from_bytes(5, bytes).unwrap();
        let golden: Vec<u8> = hex::decode(BY_ADMIN.split_whitespace().collect::<String>()).unwrap();
        assert_eq!(read(&golden), by_admin(), "the names of fields alone are no longer written, but read");
        assert_eq!(read(&to_bytes(&by_admin()).unwrap()), by_admin());
        check_golden(&to_bytes(&by_system()).unwrap(), BY_SYSTEM, read, &by_system());
        check_golden(&to_bytes(&since_format_2()).unwrap(), SINCE_2, read, &since_format_2());
    }

    #[test]
    fn every_action_is_read_back() {
        for action in AuditAction::ALL {
            let entry = AuditEntry { action, ..by_admin() };
            assert_eq!(from_bytes(5, &to_bytes(&entry).unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn every_kind_of_subject_is_read_back() {
        let batch = Subject::Keys { count: 300, root: [0xAB; 32] };
        for subject in [by_admin().subject, by_system().subject, batch, Subject::Installation] {
            let entry = AuditEntry { subject, ..by_admin() };
            assert_eq!(from_bytes(5, &to_bytes(&entry).unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&since_format_2()).unwrap(), |bytes| from_bytes(5, bytes).map(drop));
    }

    const BY_ADMIN: &str = "
        0185a561745f7573cf00060a24181e4000ac62795f61646d696e5f6b6579c41000000000000000000000000000000001
        a6616374696f6eab6b65792e75706461746564a6746f5f6b6579c41000000000000000000000000000000009a6666965
        6c647392a46e616d65a472617465";
    const BY_SYSTEM: &str = "
        0183a561745f7573cf00060a24181e4000a6616374696f6eb1776f726b73706163652e63726561746564ac746f5f776f
        726b7370616365c41000000000000000000000000000000007";
    const SINCE_2: &str = "
        0285a561745f7573cf00060a24181e4000ac62795f61646d696e5f6b6579c41000000000000000000000000000000001
        a6616374696f6ead6b6579732e696d706f72746564a7746f5f6b65797382a5636f756e74cd012ca4726f6f74c420abab
        ababababababababababababababababababababababababababababababa76368616e6765739383a56669656c64a46e
        616d65a66265666f7265a161a56166746572a16282a56669656c64a472617465a56166746572a836302f36302f363081
        a56669656c64ad7365637265742e312e68617368";
}
