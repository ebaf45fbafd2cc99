//! The record of an audit row: who did what to what, and when.
//!
//! The row's number is the table's key. Who and what are optional fields rather than tagged variants, so that
//! a reader of the raw file needs no table of codes. The golden bytes at the end are format 1: they can never
//! change.
//!
//! Never here: a value that a change set; only the names of fields.

use serde::{Deserialize, Serialize};

use super::{Bytes, Place, decode, encode};
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditRow, Subject};
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
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
        fields: entry.fields.clone(),
    })
}

/// Reads the audit row of this number.
pub(in crate::store) fn from_bytes(seq: u64, bytes: &[u8]) -> Result<AuditRow, StoreError> {
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
    let entry = AuditEntry {
        at: Wall::from_micros(twin.at_us),
        actor: twin
            .by_admin_key
            .map_or(Actor::System, |id| Actor::AdminKey(KeyId::from_u128(u128::from_be_bytes(id.0)))),
        action: action.ok_or_else(|| place.corrupt("its action is unknown"))?,
        subject,
        fields: twin.fields,
    };
    Ok(AuditRow { seq, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    fn by_admin() -> AuditEntry {
        AuditEntry {
            at: Wall::from_secs(1_700_000_000),
            actor: Actor::AdminKey(KeyId::from_u128(1)),
            action: AuditAction::KeyUpdated,
            subject: Subject::Key(KeyId::from_u128(9)),
            fields: vec!["name".to_owned(), "rate".to_owned()],
        }
    }

    fn by_system() -> AuditEntry {
        AuditEntry {
            actor: Actor::System,
            action: AuditAction::WorkspaceCreated,
            subject: Subject::Workspace(WorkspaceId::from_u128(7)),
            fields: Vec::new(),
            ..by_admin()
        }
    }

    #[test]
    fn format_1_is_pinned() {
        let read = |bytes: &[u8]| from_bytes(5, bytes).unwrap().entry;
        check_golden(&to_bytes(&by_admin()).unwrap(), BY_ADMIN, read, &by_admin());
        check_golden(&to_bytes(&by_system()).unwrap(), BY_SYSTEM, read, &by_system());
    }

    #[test]
    fn every_action_is_read_back() {
        for action in AuditAction::ALL {
            let entry = AuditEntry { action, ..by_admin() };
            assert_eq!(from_bytes(5, &to_bytes(&entry).unwrap()).unwrap(), AuditRow { seq: 5, entry });
        }
    }

    #[test]
    fn every_kind_of_subject_is_read_back() {
        let batch = Subject::Keys { count: 300, root: [0xAB; 32] };
        for subject in [by_admin().subject, by_system().subject, batch, Subject::Installation] {
            let entry = AuditEntry { subject, ..by_admin() };
            assert_eq!(from_bytes(5, &to_bytes(&entry).unwrap()).unwrap(), AuditRow { seq: 5, entry });
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&by_admin()).unwrap(), |bytes| from_bytes(5, bytes).map(drop));
    }

    const BY_ADMIN: &str = "
        0185a561745f7573cf00060a24181e4000ac62795f61646d696e5f6b6579c41000000000000000000000000000000001
        a6616374696f6eab6b65792e75706461746564a6746f5f6b6579c41000000000000000000000000000000009a6666965
        6c647392a46e616d65a472617465";
    const BY_SYSTEM: &str = "
        0183a561745f7573cf00060a24181e4000a6616374696f6eb1776f726b73706163652e63726561746564ac746f5f776f
        726b7370616365c41000000000000000000000000000000007";
}
