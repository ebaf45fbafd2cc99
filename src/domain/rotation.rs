//! Rotation: a key gets a second secret, and the first ends after an overlap.
//!
//! The key keeps its id, permissions, bucket and meters. At most two secrets live at once, an overlap never
//! prolongs what was there, and the epoch of a secret that is gone never returns: a proof by it stays worthless.
//!
//! Never here: a key's text, or when a rotation is due.

use super::record::{KeyRecord, KeySecret, SECRETS_MAX};
use super::time::Wall;

/// The longest overlap: 90 days, in seconds.
pub const OVERLAP_SECS_MAX: u64 = 90 * 24 * 60 * 60;

/// How long the secret that is replaced stays good beside the new one; 0 ends it at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Overlap {
    secs: u64,
}

impl Overlap {
    /// The old secret ends at once.
    pub const NONE: Self = Self { secs: 0 };

    /// So many seconds, at most [`OVERLAP_SECS_MAX`].
    pub fn from_secs(secs: u64) -> Option<Self> {
        (secs <= OVERLAP_SECS_MAX).then_some(Self { secs })
    }

    /// Its seconds.
    pub const fn secs(self) -> u64 {
        self.secs
    }

    /// When an overlap that starts at `at` ends.
    fn end(self, at: Wall) -> Wall {
        at.plus_micros(self.secs * 1_000_000)
    }
}

/// Why a key is not rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotationRefused {
    /// It was revoked, for good.
    Revoked,
    /// Two secrets live already. Only a rotation without an overlap, which ends both, can come between.
    UnderWay {
        /// When the older of them ends.
        ends_at: Wall,
    },
    /// It was rotated as often as a key can be, 2³² times.
    WornOut,
}

impl KeyRecord {
    /// Whether the key can be rotated at `at`.
    pub fn can_rotate(&self, at: Wall, overlap: Overlap) -> Result<(), RotationRefused> {
        if self.revoked_at.is_some() {
            return Err(RotationRefused::Revoked);
        }
        let mut living = self.secrets.iter().filter(|secret| secret.lives_at(at));
        let (oldest, count) = (living.next(), 1 + living.count());
        match oldest.and_then(|oldest| oldest.ends_at) {
            Some(ends_at) if overlap > Overlap::NONE && count >= SECRETS_MAX => {
                Err(RotationRefused::UnderWay { ends_at })
            }
            _ => Ok(()),
        }
    }

    /// The record with `new` as its newest secret. The one before ends with the overlap, or when it would have
    /// ended anyway; all others, and without an overlap that one too, are gone. `new` gets the next epoch.
    pub fn rotated(mut self, new: KeySecret, at: Wall, overlap: Overlap) -> Result<Self, RotationRefused> {
        self.can_rotate(at, overlap)?;
        let newest = self.secrets.iter().map(|secret| secret.epoch).max().unwrap_or(0);
        let epoch = newest.checked_add(1).ok_or(RotationRefused::WornOut)?;
        let end = overlap.end(at);
        self.secrets.retain(|secret| overlap > Overlap::NONE && secret.lives_at(at));
        for old in &mut self.secrets {
            old.ends_at = Some(old.ends_at.map_or(end, |own| own.min(end)));
        }
        self.secrets.push(KeySecret { epoch, ends_at: None, ..new });
        self.version += 1;
        Ok(self)
    }
}

impl KeySecret {
    /// Whether it has not ended at `at`.
    pub fn lives_at(&self, at: Wall) -> bool {
        self.ends_at.is_none_or(|end| at < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::StoredHash;
    use crate::domain::id::{KeyId, WorkspaceId};
    use crate::domain::key::Prefix;
    use crate::domain::record::SignatureReplay;
    use proptest::prelude::*;

    const PHC: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";

    fn secret(letter: u8) -> KeySecret {
        KeySecret {
            prefix: Prefix::from_bytes(&[letter; 8]).unwrap(),
            epoch: 1,
            hash: StoredHash::parse(PHC).unwrap(),
            fingerprint: None,
            imported: None,
            created_at: Wall::from_secs(0),
            ends_at: None,
        }
    }

    fn key() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_u128(9),
            version: 4,
            workspace: WorkspaceId::from_u128(7),
            name: None,
            description: None,
            permissions: Vec::new(),
            secrets: vec![secret(b'a')],
            created_at: Wall::from_secs(0),
            expires_at: None,
            revoked_at: None,
            addresses: None,
            rate: None,
            metadata: None,
            require_signature: false,
            signature_replay: SignatureReplay::Once,
        }
    }

    fn at(secs: i64) -> Wall {
        Wall::from_secs(secs)
    }

    fn overlap(secs: u64) -> Overlap {
        Overlap::from_secs(secs).unwrap()
    }

    /// What is left: first letter of the prefix, epoch, end.
    fn left(key: &KeyRecord) -> Vec<(char, u32, Option<Wall>)> {
        key.secrets
            .iter()
            .map(|secret| (char::from(secret.prefix.as_bytes()[0]), secret.epoch, secret.ends_at))
            .collect()
    }

    #[test]
    fn an_overlap_keeps_the_old_secret_until_its_end() {
        let rotated = key().rotated(secret(b'b'), at(100), overlap(60)).unwrap();
        assert_eq!(left(&rotated), [('a', 1, Some(at(160))), ('b', 2, None)]);
        assert_eq!(rotated.version, 5);
        let same = KeyRecord { secrets: key().secrets, version: 4, ..rotated };
        assert_eq!(same, key(), "something else of the key was changed");
    }

    #[test]
    fn no_overlap_leaves_the_new_secret_alone() {
        let rotated = key().rotated(secret(b'b'), at(100), Overlap::NONE).unwrap();
        assert_eq!(left(&rotated), [('b', 2, None)]);
    }

    #[test]
    fn an_overlap_never_prolongs_what_was_there() {
        let mut ending = key();
        ending.secrets[0].ends_at = Some(at(110));
        // Ends by itself, and there is no older one: not an overlap that is under way.
        let rotated = ending.clone().rotated(secret(b'b'), at(109), Overlap::NONE).unwrap();
        assert_eq!(left(&rotated), [('b', 2, None)]);
        let rotated = ending.clone().rotated(secret(b'b'), at(109), overlap(60)).unwrap();
        assert_eq!(left(&rotated), [('a', 1, Some(at(110))), ('b', 2, None)]);
        let rotated = ending.rotated(secret(b'b'), at(110), overlap(60)).unwrap();
        assert_eq!(left(&rotated), [('b', 2, None)]);
    }

    #[test]
    fn during_an_overlap_only_a_rotation_without_one_comes_between() {
        let under_way = key().rotated(secret(b'b'), at(100), overlap(60)).unwrap();
        let refused = Err(RotationRefused::UnderWay { ends_at: at(160) });
        assert_eq!(under_way.clone().rotated(secret(b'c'), at(159), overlap(1)), refused);
        let replaced = under_way.clone().rotated(secret(b'c'), at(159), Overlap::NONE).unwrap();
        assert_eq!(left(&replaced), [('c', 3, None)]);
        let next = under_way.rotated(secret(b'c'), at(160), overlap(10)).unwrap();
        assert_eq!(left(&next), [('b', 2, Some(at(170))), ('c', 3, None)]);
    }

    #[test]
    fn a_revoked_or_worn_out_key_is_not_rotated() {
        let revoked = key().revoked(at(1));
        assert_eq!(revoked.rotated(secret(b'b'), at(2), Overlap::NONE), Err(RotationRefused::Revoked));
        let mut worn = key();
        worn.secrets[0].epoch = u32::MAX;
        assert_eq!(worn.rotated(secret(b'b'), at(2), Overlap::NONE), Err(RotationRefused::WornOut));
    }

    #[test]
    fn an_overlap_is_at_most_90_days() {
        assert_eq!(Overlap::from_secs(7_776_000).map(Overlap::secs), Some(7_776_000));
        assert_eq!(Overlap::from_secs(7_776_001), None);
    }

    proptest! {
        #[test]
        fn two_secrets_live_at_most_and_no_epoch_returns(steps in proptest::collection::vec((0i64..100, 0u64..100), 1..40)) {
            let (mut key, mut now, mut newest) = (key(), 0, 1);
            for (later, secs) in steps {
                now += later;
                let ends: Vec<_> = key.secrets.iter().map(|secret| (secret.epoch, secret.ends_at)).collect();
                if let Ok(rotated) = key.clone().rotated(secret(b'b'), at(now), overlap(secs)) {
                    key = rotated;
                    newest += 1;
                }
                prop_assert!(key.secrets.len() <= SECRETS_MAX);
                prop_assert_eq!(key.secrets.last().map(|secret| (secret.epoch, secret.ends_at)), Some((newest, None)));
                for secret in &key.secrets {
                    let before = ends.iter().find(|(epoch, _)| *epoch == secret.epoch).and_then(|(_, end)| *end);
                    prop_assert!(before.is_none_or(|before| secret.ends_at.is_some_and(|end| end <= before)));
                }
                // Two that live have epochs side by side, which is what tells their uses apart.
                if let [old, new] = key.secrets.as_slice() {
                    prop_assert_eq!(old.epoch + 1, new.epoch);
                }
            }
        }
    }
}
