//! What changed between two states of a record, field by field and as text: the before and after of the audit
//! log.
//!
//! Fields have the names that the admin API gives them. Of a secret, only what its holder may show is told:
//! prefix, epoch and times. Records are taken apart field by field, so that a new field cannot be forgotten.
//!
//! Never here: a hash, a fingerprint or a secret part, whole or in pieces.

use super::FieldChange;
use crate::domain::address::AddressRules;
use crate::domain::permission::Permission;
use crate::domain::rate::{Rate, Rates};
use crate::domain::record::{KeyRecord, KeySecret, Label, Overrides, SignatureReplay, WorkspaceRecord};
use crate::domain::time::Wall;

/// What changed from `old` to `new`; all that is set, when there is no old one.
pub fn key(old: Option<&KeyRecord>, new: &KeyRecord) -> Vec<FieldChange> {
    // Taken apart: a field that is added to a record stops the build here.
    let KeyRecord {
        id: _,
        version: _,
        workspace: _,
        name: _,
        description: _,
        permissions: _,
        secrets,
        created_at: _,
        expires_at: _,
        revoked_at: _,
        addresses: _,
        rate: _,
        metadata: _,
        require_signature: _,
        signature_replay: _,
    } = new;
    let mut found = Found::default();
    found.text("workspace_id", old, new, |key| Some(key.workspace.to_string()));
    found.text("name", old, new, |key| key.name.as_ref().map(label));
    found.text("description", old, new, |key| key.description.clone());
    found.text("permissions", old, new, |key| list(key.permissions.iter().map(Permission::as_str)));
    found.text("expires_at", old, new, |key| key.expires_at.map(Wall::to_rfc3339));
    found.text("revoked_at", old, new, |key| key.revoked_at.map(Wall::to_rfc3339));
    found.text("ip_allow", old, new, |key| {
        list(key.addresses.as_ref().into_iter().flat_map(AddressRules::iter))
    });
    found.text("rate", old, new, |key| key.rate.as_ref().map(rates));
    found.text("metadata", old, new, |key| key.metadata.clone());
    found.text("require_signature", old, new, |key| key.require_signature.then(|| "true".to_owned()));
    found.text("signature_replay", old, new, |key| replay(key.signature_replay));
    let of_old = old.map_or(&[][..], |old| old.secrets.as_slice());
    for gone in of_old.iter().filter(|gone| !secrets.iter().any(|kept| kept.epoch == gone.epoch)) {
        found.push(format!("secret.{}", gone.epoch), Some(secret(gone)), None);
    }
    for new in secrets {
        found.secret(of_old.iter().find(|old| old.epoch == new.epoch), new);
    }
    found.0
}

/// What changed from `old` to `new`; all that is set, when there is no old one.
pub fn workspace(old: Option<&WorkspaceRecord>, new: &WorkspaceRecord) -> Vec<FieldChange> {
    let WorkspaceRecord {
        id: _,
        version: _,
        name: _,
        profile: _,
        plan: _,
        billing_anchor: _,
        brands: _,
        status: _,
        overrides: Overrides { rate: _, workspace_rate: _, meters: _ },
        created_at: _,
    } = new;
    let mut found = Found::default();
    found.text("name", old, new, |workspace| Some(label(&workspace.name)));
    found.text("profile", old, new, |workspace| Some(workspace.profile.clone()));
    found.text("plan", old, new, |workspace| Some(workspace.plan.clone()));
    found.text("billing_anchor", old, new, |workspace| Some(workspace.billing_anchor.to_rfc3339()));
    found.text("brands", old, new, |workspace| list(workspace.brands.iter().map(Label::as_str)));
    found.text("status", old, new, |workspace| Some(workspace.status.name().to_owned()));
    found.text("overrides.rate", old, new, |workspace| workspace.overrides.rate.as_ref().map(rates));
    found
        .text("overrides.workspace_rate", old, new, |workspace| workspace.overrides.workspace_rate.map(rate));
    let meters = |record: &WorkspaceRecord| record.overrides.meters.keys().cloned().collect::<Vec<_>>();
    let mut names = old.map(meters).unwrap_or_default();
    names.extend(meters(new));
    names.sort();
    names.dedup();
    for name in names {
        found.text(&format!("overrides.meters.{name}"), old, new, |workspace| {
            workspace.overrides.meters.get(&name).map(ToString::to_string)
        });
    }
    found.0
}

/// The default key of a new workspace, as a field of the workspace.
pub fn default_key(key: &KeyRecord) -> FieldChange {
    let prefix = key.prefix().map(|prefix| format!(", prefix {prefix}")).unwrap_or_default();
    let after = format!("{}{prefix}", key.id);
    FieldChange { field: "default_key".to_owned(), before: None, after: Some(after) }
}

#[derive(Default)]
struct Found(Vec<FieldChange>);

impl Found {
    fn push(&mut self, field: String, before: Option<String>, after: Option<String>) {
        self.0.push(FieldChange { field, before, after });
    }

    /// Notes a field whose text is not the same any more.
    fn text<R>(&mut self, field: &str, old: Option<&R>, new: &R, text: impl Fn(&R) -> Option<String>) {
        let (before, after) = (old.and_then(&text), text(new));
        if before != after {
            self.push(field.to_owned(), before, after);
        }
    }

    fn secret(&mut self, old: Option<&KeySecret>, new: &KeySecret) {
        let KeySecret { prefix: _, epoch, hash, fingerprint, imported: _, created_at: _, ends_at: _ } = new;
        let field = format!("secret.{epoch}");
        self.text(&field, old, new, |of| Some(secret(of)));
        let Some(old) = old else { return };
        if old.hash != *hash {
            self.push(format!("{field}.hash"), None, None);
        }
        if old.fingerprint != *fingerprint {
            self.push(format!("{field}.fingerprint"), None, None);
        }
    }
}

/// What may be shown of a secret.
fn secret(of: &KeySecret) -> String {
    let imported = of.imported.as_ref().map(|text| format!(", imported for {}", text.profile));
    let ends = of.ends_at.map(|end| format!(", ends {}", end.to_rfc3339()));
    format!(
        "prefix {}, made {}{}{}",
        of.prefix,
        of.created_at.to_rfc3339(),
        imported.unwrap_or_default(),
        ends.unwrap_or_default()
    )
}

fn label(label: &Label) -> String {
    label.as_str().to_owned()
}

fn rate(rate: Rate) -> String {
    format!("{}/{}/{}", rate.limit(), rate.window_secs(), rate.burst())
}

fn rates(rates: &Rates) -> String {
    rates.iter().map(|one| rate(*one)).collect::<Vec<_>>().join(", ")
}

fn replay(replay: SignatureReplay) -> Option<String> {
    match replay {
        SignatureReplay::Once => None,
        SignatureReplay::Window => Some("window".to_owned()),
    }
}

/// Texts with commas between them; `None` when there are none.
fn list<T: AsRef<str>>(texts: impl Iterator<Item = T>) -> Option<String> {
    let texts: Vec<_> = texts.collect();
    let texts: Vec<_> = texts.iter().map(AsRef::as_ref).collect();
    if texts.is_empty() { None } else { Some(texts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::{Fingerprint, SALT_LEN, SecretId, SlowHashCost, SlowHashMemory};
    use crate::domain::hash::{StoredFingerprint, StoredHash};
    use crate::domain::id::{KeyId, WorkspaceId};
    use crate::domain::key::{MINT_RANDOM_BYTES, Prefix, RawKey, Tag};
    use crate::domain::record::WorkspaceStatus;
    use crate::domain::record::{KeyPatch, WorkspacePatch};

    const AT: Wall = Wall::from_secs(1_700_000_000);

    fn hash(byte: u8) -> StoredHash {
        let raw = RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[byte; MINT_RANDOM_BYTES]).unwrap();
        let cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap();
        let mut memory = SlowHashMemory::default();
        StoredHash::create(&raw.as_presented(), [byte; SALT_LEN], cost, &mut memory).unwrap()
    }

    fn fingerprint(byte: u8) -> StoredFingerprint {
        let made_by = SecretId::from_bytes([byte; 8]);
        StoredFingerprint { made_by, fingerprint: Fingerprint::from_bytes([byte; 32]) }
    }

    fn a_secret(epoch: u32, prefix: &str) -> KeySecret {
        KeySecret {
            prefix: Prefix::from_bytes(prefix.as_bytes()).unwrap(),
            epoch,
            hash: hash(1),
            fingerprint: Some(fingerprint(1)),
            imported: None,
            created_at: AT,
            ends_at: None,
        }
    }

    fn a_key() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_u128(1),
            version: 1,
            workspace: WorkspaceId::from_u128(7),
            name: Label::parse("CI"),
            description: None,
            permissions: vec![Permission::everything()],
            secrets: vec![a_secret(1, "aB3dE6gH")],
            created_at: AT,
            expires_at: None,
            revoked_at: None,
            addresses: None,
            rate: None,
            metadata: None,
            require_signature: false,
            signature_replay: SignatureReplay::Once,
        }
    }

    fn a_workspace() -> WorkspaceRecord {
        WorkspaceRecord {
            id: WorkspaceId::from_u128(7),
            version: 1,
            name: Label::parse("Acme").unwrap(),
            profile: "socialcrm".to_owned(),
            plan: "pro".to_owned(),
            billing_anchor: AT,
            brands: Vec::new(),
            status: WorkspaceStatus::Active,
            overrides: Overrides::default(),
            created_at: AT,
        }
    }

    /// One line for each change.
    fn lines(changes: &[FieldChange]) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let line = |change: &FieldChange| {
            format!("{}: {} > {}", change.field, text(&change.before), text(&change.after))
        };
        changes.iter().map(line).collect()
    }

    #[test]
    fn a_new_record_tells_what_is_set() {
        assert_eq!(
            lines(&key(None, &a_key())),
            [
                format!("workspace_id: - > {}", WorkspaceId::from_u128(7)),
                "name: - > CI".to_owned(),
                "permissions: - > *:*".to_owned(),
                "secret.1: - > prefix aB3dE6gH, made 2023-11-14T22:13:20.000Z".to_owned(),
            ]
        );
        assert_eq!(
            lines(&workspace(None, &a_workspace())),
            [
                "name: - > Acme",
                "profile: - > socialcrm",
                "plan: - > pro",
                "billing_anchor: - > 2023-11-14T22:13:20.000Z",
                "status: - > active",
            ]
        );
        assert!(lines(&[default_key(&a_key())])[0].ends_with(", prefix aB3dE6gH"));
    }

    #[test]
    fn an_edit_tells_each_field_that_is_another_now_and_no_other() {
        let patch = KeyPatch {
            name: Some(Label::parse("CI")),
            description: Some(Some("nightly".to_owned())),
            permissions: Some(Vec::new()),
            expires_at: Some(Some(AT)),
            addresses: Some(AddressRules::parse(["10.0.0.0/8", "::1"]).ok()),
            rate: Some(Rate::new(60, 30, Some(5)).ok().map(Rates::from)),
            metadata: Some(Some("{}".to_owned())),
            require_signature: Some(true),
            signature_replay: Some(SignatureReplay::Window),
        };
        let there = [
            "description: - > nightly",
            "permissions: *:* > -",
            "expires_at: - > 2023-11-14T22:13:20.000Z",
            "ip_allow: - > 10.0.0.0/8, ::1",
            "rate: - > 60/30/5",
            "metadata: - > {}",
            "require_signature: - > true",
            "signature_replay: - > window",
        ];
        let edited = a_key().patched(patch);
        assert_eq!(lines(&key(Some(&a_key()), &edited)), there);
        let revoked = edited.clone().revoked(AT);
        assert_eq!(lines(&key(Some(&edited), &revoked)), ["revoked_at: - > 2023-11-14T22:13:20.000Z"]);
        assert_eq!(lines(&key(Some(&edited), &edited)), [""; 0]);
    }

    #[test]
    fn a_workspaces_limits_are_told_by_their_meters() {
        let limits = |pairs: &[(&str, Option<u64>)]| WorkspacePatch {
            meters: pairs.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect(),
            ..WorkspacePatch::default()
        };
        let old = a_workspace().patched(limits(&[("ai", Some(10)), ("seo", Some(5))]));
        let suspended = WorkspacePatch {
            status: Some(WorkspaceStatus::Suspended),
            ..limits(&[("ai", None), ("seo", Some(6))])
        };
        let new = old.clone().patched(suspended);
        let expected =
            ["status: active > suspended", "overrides.meters.ai: 10 > -", "overrides.meters.seo: 5 > 6"];
        assert_eq!(lines(&workspace(Some(&old), &new)), expected);
    }

    #[test]
    fn a_secret_tells_its_prefix_and_times_and_never_its_hash_or_fingerprint() {
        let mut new = a_key();
        new.secrets[0].ends_at = Some(AT);
        new.secrets[0].hash = hash(2);
        new.secrets[0].fingerprint = Some(fingerprint(2));
        new.secrets.push(a_secret(2, "zY8xW5vU"));
        let changes = key(Some(&a_key()), &new);
        let at = "2023-11-14T22:13:20.000Z";
        assert_eq!(
            lines(&changes),
            [
                format!("secret.1: prefix aB3dE6gH, made {at} > prefix aB3dE6gH, made {at}, ends {at}"),
                "secret.1.hash: - > -".to_owned(),
                "secret.1.fingerprint: - > -".to_owned(),
                format!("secret.2: - > prefix zY8xW5vU, made {at}"),
            ]
        );
        let mut ended = new.clone();
        ended.secrets.remove(0);
        let gone = lines(&key(Some(&new), &ended));
        assert_eq!(gone, [format!("secret.1: prefix aB3dE6gH, made {at}, ends {at} > -")]);
    }
}
