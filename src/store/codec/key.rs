//! The record of a key, its secrets' hashes and fingerprints among it.
//!
//! The id is the table's key and is not repeated inside. A stored hash whose cost lies outside the bounds
//! makes its own record unreadable and no other. The golden bytes at the end can never change.
//!
//! Never here: raw key text; there is none at rest.

use serde::{Deserialize, Serialize};

use super::{Bytes, Place, RateTwin, decode, encode, rates_from_twins, rates_to_twins};
use crate::domain::address::AddressRules;
use crate::domain::hash::{Fingerprint, SecretId, StoredFingerprint, StoredHash};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::{PREFIX_LEN, Prefix};
use crate::domain::legacy::ImportedText;
use crate::domain::permission::Permission;
use crate::domain::record::{KeyRecord, KeySecret, Label, SignatureReplay};
use crate::domain::time::Wall;
use crate::store::error::StoreError;

const TABLE: &str = "keys";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTwin {
    version: u64,
    workspace: Bytes<16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
    secrets: Vec<SecretTwin>,
    created_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<RateTwin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    require_signature: bool,
    /// Since format 2. Absent: a signature is taken once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_replays: bool,
    /// Since format 3. Absent: there is no rate beside the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more_rates: Vec<RateTwin>,
}

/// The secrets of a [`KeyTwin`]; what else is in the record is passed over.
#[derive(Deserialize)]
struct SecretsTwin {
    secrets: Vec<SecretTwin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretTwin {
    prefix: Bytes<PREFIX_LEN>,
    epoch: u32,
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<FingerprintTwin>,
    /// Since format 2. Absent: the text is of our own making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<ImportedTwin>,
    created_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FingerprintTwin {
    made_by: Bytes<8>,
    fingerprint: Bytes<32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportedTwin {
    profile: String,
    head: String,
    is_random: bool,
}

/// Writes a key down.
pub fn to_bytes(record: &KeyRecord) -> Result<Vec<u8>, StoreError> {
    bytes_of(record, &record.secrets)
}

/// The same as if it had no secrets.
pub(in crate::store) fn to_bytes_without_secrets(record: &KeyRecord) -> Result<Vec<u8>, StoreError> {
    bytes_of(record, &[])
}

fn bytes_of(record: &KeyRecord, secrets: &[KeySecret]) -> Result<Vec<u8>, StoreError> {
    let (rate, more_rates) = rates_to_twins(record.rate.as_ref());
    encode(&KeyTwin {
        version: record.version,
        workspace: Bytes(record.workspace.as_u128().to_be_bytes()),
        name: record.name.as_ref().map(|name| name.as_str().to_owned()),
        description: record.description.clone(),
        permissions: record.permissions.iter().map(|held| held.as_str().to_owned()).collect(),
        secrets: secrets.iter().map(SecretTwin::from).collect(),
        created_us: record.created_at.micros(),
        expires_us: record.expires_at.map(Wall::micros),
        revoked_us: record.revoked_at.map(Wall::micros),
        addresses: record.addresses.as_ref().map(|rules| rules.iter().collect()),
        rate,
        metadata: record.metadata.clone(),
        require_signature: record.require_signature,
        takes_replays: record.signature_replay == SignatureReplay::Window,
        more_rates,
    })
}

impl From<&KeySecret> for SecretTwin {
    fn from(secret: &KeySecret) -> Self {
        Self {
            prefix: Bytes(*secret.prefix.as_bytes()),
            epoch: secret.epoch,
            hash: secret.hash.as_phc().to_owned(),
            fingerprint: secret.fingerprint.as_ref().map(|stored| FingerprintTwin {
                made_by: Bytes(*stored.made_by.as_bytes()),
                fingerprint: Bytes(*stored.fingerprint.as_bytes()),
            }),
            imported: secret.imported.as_ref().map(|imported| ImportedTwin {
                profile: imported.profile.to_string(),
                head: imported.head.to_string(),
                is_random: imported.is_random,
            }),
            created_us: secret.created_at.micros(),
            ends_us: secret.ends_at.map(Wall::micros),
        }
    }
}

/// Reads the key of this id.
pub fn from_bytes(id: KeyId, bytes: &[u8]) -> Result<KeyRecord, StoreError> {
    let place = Place { table: TABLE, key: &id };
    let twin: KeyTwin = decode(place, bytes)?;
    let label = |text: String| Label::parse(&text).ok_or_else(|| place.corrupt("its name is malformed"));
    let permission =
        |text: &String| Permission::parse(text).ok_or_else(|| place.corrupt("a permission is malformed"));
    let rules = |texts: Vec<String>| {
        AddressRules::parse(texts.iter().map(String::as_str))
            .map_err(|_| place.corrupt("an address rule is malformed"))
    };
    Ok(KeyRecord {
        id,
        version: twin.version,
        workspace: WorkspaceId::from_u128(u128::from_be_bytes(twin.workspace.0)),
        name: twin.name.map(label).transpose()?,
        description: twin.description,
        permissions: twin.permissions.iter().map(permission).collect::<Result<_, _>>()?,
        secrets: twin
            .secrets
            .into_iter()
            .map(|secret| secret.into_domain(place))
            .collect::<Result<_, _>>()?,
        created_at: Wall::from_micros(twin.created_us),
        expires_at: twin.expires_us.map(Wall::from_micros),
        revoked_at: twin.revoked_us.map(Wall::from_micros),
        addresses: twin.addresses.map(rules).transpose()?,
        rate: rates_from_twins(twin.rate, twin.more_rates, place)?,
        metadata: twin.metadata,
        require_signature: twin.require_signature,
        signature_replay: if twin.takes_replays { SignatureReplay::Window } else { SignatureReplay::Once },
    })
}

/// Reads the secrets of this key alone, which takes half the time.
pub(in crate::store) fn secrets_from_bytes(id: KeyId, bytes: &[u8]) -> Result<Vec<KeySecret>, StoreError> {
    let place = Place { table: TABLE, key: &id };
    let SecretsTwin { secrets } = decode(place, bytes)?;
    secrets.into_iter().map(|secret| secret.into_domain(place)).collect()
}

impl SecretTwin {
    fn into_domain(self, place: Place<'_>) -> Result<KeySecret, StoreError> {
        let prefix = Prefix::from_bytes(&self.prefix.0);
        let hash = StoredHash::parse(&self.hash);
        Ok(KeySecret {
            prefix: prefix.ok_or_else(|| place.corrupt("a prefix is malformed"))?,
            epoch: self.epoch,
            hash: hash.ok_or_else(|| place.corrupt("a slow hash is malformed or its cost out of bounds"))?,
            fingerprint: self.fingerprint.map(|twin| StoredFingerprint {
                made_by: SecretId::from_bytes(twin.made_by.0),
                fingerprint: Fingerprint::from_bytes(twin.fingerprint.0),
            }),
            imported: self.imported.map(|twin| ImportedText {
                profile: twin.profile.into(),
                head: twin.head.into(),
                is_random: twin.is_random,
            }),
            created_at: Wall::from_micros(self.created_us),
            ends_at: self.ends_us.map(Wall::from_micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate::{Rate, Rates};
    use crate::store::codec::golden::{check_golden, check_no_damage_panics};

    const PHC: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";

    fn secret(prefix: [u8; 8], epoch: u32) -> KeySecret {
        KeySecret {
            prefix: Prefix::from_bytes(&prefix).unwrap(),
            epoch,
            hash: StoredHash::parse(PHC).unwrap(),
            fingerprint: Some(StoredFingerprint {
                made_by: SecretId::from_bytes([0xA1; 8]),
                fingerprint: Fingerprint::from_bytes([0xF2; 32]),
            }),
            imported: None,
            created_at: Wall::from_secs(1_700_000_000),
            ends_at: Some(Wall::from_secs(1_700_003_600)),
        }
    }

    fn full() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_u128(9),
            version: 4,
            workspace: WorkspaceId::from_u128(7),
            name: Label::parse("CI").ok_or(()).ok(),
            description: Some("nightly".to_owned()),
            permissions: vec![Permission::parse("contacts.emails:read").unwrap(), Permission::everything()],
            secrets: vec![secret(*b"aB3dE6gH", 1), secret(*b"zY8xW5vU", 2)],
            created_at: Wall::from_secs(1_700_000_000),
            expires_at: Some(Wall::from_secs(1_800_000_000)),
            revoked_at: Some(Wall::from_secs(1_750_000_000)),
            addresses: AddressRules::parse(["10.0.0.0/8", "2001:db8::1"]).ok(),
            rate: Rate::new(60, 60, None).ok().map(Rates::from),
            metadata: Some(r#"{"team":"a"}"#.to_owned()),
            require_signature: true,
            signature_replay: SignatureReplay::Once,
        }
    }

    /// What format 1 could not say.
    fn since_format_2() -> KeyRecord {
        let imported =
            ImportedText { profile: "socialcrm".into(), head: "sk_live_9f".into(), is_random: true };
        let elsewhere = KeySecret { imported: Some(imported), ..secret(*b"aB3dE6gH", 1) };
        KeyRecord { secrets: vec![elsewhere], signature_replay: SignatureReplay::Window, ..bare() }
    }

    /// What format 2 could not say.
    fn since_format_3() -> KeyRecord {
        let rates = [(10, 1), (60, 60)].map(|(limit, window)| Rate::new(limit, window, None).unwrap());
        KeyRecord { rate: Rates::new(rates.to_vec()).ok(), ..bare() }
    }

    fn bare() -> KeyRecord {
        let plain = KeySecret { fingerprint: None, ends_at: None, ..secret(*b"aB3dE6gH", 1) };
        KeyRecord {
            name: None,
            description: None,
            permissions: Vec::new(),
            secrets: vec![plain],
            expires_at: None,
            revoked_at: None,
            addresses: None,
            rate: None,
            metadata: None,
            require_signature: false,
            ..full()
        }
    }

    #[test]
    fn formats_1_to_3_are_pinned() {
        let read = |bytes: &[u8]| from_bytes(full().id, bytes).unwrap();
        check_golden(&to_bytes(&full()).unwrap(), FULL, read, &full());
        check_golden(&to_bytes(&bare()).unwrap(), BARE, read, &bare());
        check_golden(&to_bytes(&since_format_2()).unwrap(), SINCE_2, read, &since_format_2());
        check_golden(&to_bytes(&since_format_3()).unwrap(), SINCE_3, read, &since_format_3());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_record_but_no_panic() {
        check_no_damage_panics(&to_bytes(&full()).unwrap(), |bytes| from_bytes(full().id, bytes).map(drop));
    }

    #[test]
    fn a_hash_whose_cost_is_out_of_bounds_makes_its_record_unreadable_and_is_not_told() {
        let mut bytes = to_bytes(&bare()).unwrap();
        let place = bytes.windows(7).position(|window| window == b"m=19456").unwrap();
        bytes[place..place + 7].copy_from_slice(b"m=99999");
        let error = from_bytes(full().id, &bytes).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { table: "keys", .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("argon2id"));
    }

    const FULL: &str = "
        018da776657273696f6e04a9776f726b7370616365c41000000000000000000000000000000007a46e616d65a24349ab
        6465736372697074696f6ea76e696768746c79ab7065726d697373696f6e7392b4636f6e74616374732e656d61696c73
        3a72656164a32a3a2aa7736563726574739286a6707265666978c4086142336445366748a565706f636801a468617368
        d961246172676f6e32696424763d3139246d3d31393435362c743d322c703d312441774d4441774d4441774d4441774d
        4441774d44417724714c615136586b317132797151597159344a356d37734276536d567631634a336f36463062336351
        643141ab66696e6765727072696e7482a76d6164655f6279c408a1a1a1a1a1a1a1a1ab66696e6765727072696e74c420
        f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2aa637265617465645f7573cf00060a24
        181e4000a7656e64735f7573cf00060a24eeb1e40086a6707265666978c4087a59387857357655a565706f636802a468
        617368d961246172676f6e32696424763d3139246d3d31393435362c743d322c703d312441774d4441774d4441774d44
        41774d4441774d44417724714c615136586b317132797151597159344a356d37734276536d567631634a336f36463062
        336351643141ab66696e6765727072696e7482a76d6164655f6279c408a1a1a1a1a1a1a1a1ab66696e6765727072696e
        74c420f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2aa637265617465645f7573cf00
        060a24181e4000a7656e64735f7573cf00060a24eeb1e400aa637265617465645f7573cf00060a24181e4000aa657870
        697265735f7573cf0006651728988000aa7265766f6b65645f7573cf0006379da05b6000a961646472657373657392aa
        31302e302e302e302f38ab323030313a6462383a3a31a47261746583a56c696d69743cab77696e646f775f736563733c
        a562757273743ca86d65746164617461ac7b227465616d223a2261227db1726571756972655f7369676e6174757265c3";
    const BARE: &str = "
        0185a776657273696f6e04a9776f726b7370616365c41000000000000000000000000000000007a77365637265747391
        84a6707265666978c4086142336445366748a565706f636801a468617368d961246172676f6e32696424763d3139246d
        3d31393435362c743d322c703d312441774d4441774d4441774d4441774d4441774d44417724714c615136586b317132
        797151597159344a356d37734276536d567631634a336f36463062336351643141aa637265617465645f7573cf00060a
        24181e4000aa637265617465645f7573cf00060a24181e4000b1726571756972655f7369676e6174757265c2";

    const SINCE_3: &str = "
        0387a776657273696f6e04a9776f726b7370616365c41000000000000000000000000000000007a77365637265747391
        84a6707265666978c4086142336445366748a565706f636801a468617368d961246172676f6e32696424763d3139246d
        3d31393435362c743d322c703d312441774d4441774d4441774d4441774d4441774d44417724714c615136586b317132
        797151597159344a356d37734276536d567631634a336f36463062336351643141aa637265617465645f7573cf00060a
        24181e4000aa637265617465645f7573cf00060a24181e4000a47261746583a56c696d69740aab77696e646f775f7365
        637301a562757273740ab1726571756972655f7369676e6174757265c2aa6d6f72655f72617465739183a56c696d6974
        3cab77696e646f775f736563733ca562757273743c";
    const SINCE_2: &str = "
        0286a776657273696f6e04a9776f726b7370616365c41000000000000000000000000000000007a77365637265747391
        87a6707265666978c4086142336445366748a565706f636801a468617368d961246172676f6e32696424763d3139246d
        3d31393435362c743d322c703d312441774d4441774d4441774d4441774d4441774d44417724714c615136586b317132
        797151597159344a356d37734276536d567631634a336f36463062336351643141ab66696e6765727072696e7482a76d
        6164655f6279c408a1a1a1a1a1a1a1a1ab66696e6765727072696e74c420f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2
        f2f2f2f2f2f2f2f2f2f2f2f2f2f2a8696d706f7274656483a770726f66696c65a9736f6369616c63726da468656164aa
        736b5f6c6976655f3966a969735f72616e646f6dc3aa637265617465645f7573cf00060a24181e4000a7656e64735f75
        73cf00060a24eeb1e400aa637265617465645f7573cf00060a24181e4000b1726571756972655f7369676e6174757265
        c2ad74616b65735f7265706c617973c3";
}
