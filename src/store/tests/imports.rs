//! Batches of keys that were made elsewhere: one transaction, one row, and an index that follows the records.
//!
//! Never here: how a text becomes a record.

use super::*;
use crate::domain::hash::sha256;
use crate::domain::legacy::{Alphabet, Handle, ImportedText, LegacyShape};

fn shape() -> LegacyShape {
    LegacyShape::new("old_", 30, 30, Alphabet::Base62).unwrap()
}

impl Room {
    /// A key that is found by a digest.
    pub(super) fn by_digest(&self, number: u32) -> ImportedKey {
        let hash = StoredHash::sha256_whole(sha256(&number.to_be_bytes()));
        ImportedKey { record: self.elsewhere(number, hash, "old_"), shape: shape() }
    }

    /// A key that is found by its head.
    fn by_head(&self, number: u32, head: &str) -> ImportedKey {
        let text = RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[7; MINT_RANDOM_BYTES]).unwrap();
        let cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap();
        let salt = [u8::try_from(number).unwrap(); SALT_LEN];
        let hash = StoredHash::create(&text.as_presented(), salt, cost, &mut SlowHashMemory::default());
        let record = self.elsewhere(number, hash.unwrap(), head);
        ImportedKey { record, shape: shape().with_head(head.len()).unwrap() }
    }

    fn elsewhere(&self, number: u32, hash: StoredHash, head: &str) -> KeyRecord {
        let imported = ImportedText { profile: "socialcrm".into(), head: head.into(), is_random: false };
        let secret = KeySecret { hash, fingerprint: None, imported: Some(imported), ..self.secret(number) };
        KeyRecord { secrets: vec![secret], ..self.key(number) }
    }

    async fn import(&self, batch: Vec<ImportedKey>) -> Vec<ImportOutcome> {
        let cases: Vec<_> = batch.iter().map(ImportCase::from).collect();
        let rehearsed = self.store.import_rehearsed(&cases).unwrap();
        let entry = |count, root| AuditEntry {
            action: AuditAction::KeysImported,
            subject: Subject::Keys { count, root },
            ..audit()
        };
        let done = self.store.import(batch, entry).await.unwrap();
        assert_eq!(done.outcomes, rehearsed, "a rehearsal says what is done");
        done.outcomes
    }
}

#[tokio::test]
async fn a_batch_has_one_row_and_each_record_is_taken_or_refused_as_a_whole() {
    let room = room().await;
    let rows = room.audit_rows().len();
    let lost = WorkspaceId::from_u128(99);
    let mut homeless = room.by_digest(3);
    homeless.record.workspace = lost;
    let batch = vec![room.by_digest(1), room.by_digest(2), homeless.clone(), room.by_digest(1)];
    let outcomes = room.import(batch.clone()).await;
    let [taken, there] = [ImportOutcome::Taken, ImportOutcome::AlreadyThere];
    assert_eq!(outcomes, [taken, taken, ImportOutcome::NoSuchWorkspace, there]);
    assert_eq!(room.audit_rows().len(), rows + 1);
    let row = room.store.audit(0, PAGE_MAX).unwrap().pop().unwrap();
    assert!(matches!(row.entry.subject, Subject::Keys { count: 2, .. }));
    assert_eq!(room.store.key(KeyId::from_u128(3)).unwrap(), None);
    assert_eq!(room.import(batch).await[..2], [there, there]);
    assert_eq!(room.audit_rows().len(), rows + 1, "nothing was changed");
    assert_eq!(room.reopened().store.legacy_shapes().unwrap(), [("socialcrm".to_owned(), vec![shape()])]);
}

#[tokio::test]
async fn a_secret_of_elsewhere_stands_under_its_handles_and_under_no_prefix() {
    let room = room().await;
    room.import(vec![room.by_digest(1), room.by_head(2, "old_0002")]).await;
    for number in [1, 2] {
        assert!(room.store.keys_by_prefix(prefix(number)).unwrap().is_empty());
    }
    let digest = Handle::Digest(sha256(&1u32.to_be_bytes()));
    let head = |text: &str, profile: &str| Handle::Head { profile: profile.into(), text: text.into() };
    let ids = |room: &Room, handles: &[Handle]| -> Vec<u128> {
        room.store.keys_by_handles(handles).unwrap().iter().map(|record| record.id.as_u128()).collect()
    };
    let both = [digest.clone(), head("old_0002", "socialcrm"), digest];
    assert_eq!(ids(&room, &both), [1, 2]);
    for other in [head("old_000", "socialcrm"), head("old_00021", "socialcrm"), head("old_0002", "mcp")] {
        assert!(ids(&room, &[other]).is_empty());
    }
    // Another hash of the same text leaves it where it is; a stored fingerprint adds a row.
    let (hash, fingerprint) = (room.hash.clone(), Fingerprint::from_bytes([5; 32]));
    let found_anew = move |mut key: KeyRecord| {
        key.secrets[0].fingerprint =
            Some(StoredFingerprint { made_by: SecretId::from_bytes([1; 8]), fingerprint });
        key.with_hash(1, hash)
    };
    room.store.update_key(KeyId::from_u128(2), Urgency::Admin, audit(), found_anew).await.unwrap();
    assert_eq!(ids(&room, &both[1..2]), [2]);
    assert_eq!(ids(&room, &[Handle::Fingerprint(fingerprint)]), [2]);
    let again = room.import(vec![ImportedKey { shape: shape(), ..room.by_head(2, "old_0002") }]).await;
    assert_eq!(again, [ImportOutcome::AlreadyThere], "though its hash is another one now");
    let gone = |mut key: KeyRecord| {
        key.secrets.clear();
        key.version += 1;
        key
    };
    room.store.update_key(KeyId::from_u128(2), Urgency::Admin, audit(), gone).await.unwrap();
    assert!(ids(&room, &[both[1].clone(), Handle::Fingerprint(fingerprint)]).is_empty());
}

#[tokio::test]
async fn one_head_leads_to_four_slow_hashed_keys_at_most() {
    let room = room().await;
    let batch: Vec<_> = (1..=5).map(|number| room.by_head(number, "old_")).collect();
    let outcomes = room.import(batch[..3].to_vec()).await;
    assert_eq!(outcomes, [ImportOutcome::Taken; 3]);
    let outcomes = room.import(batch[3..].to_vec()).await;
    assert_eq!(outcomes, [ImportOutcome::Taken, ImportOutcome::HeadFull]);
    let outcomes = room.import(vec![room.by_digest(9), room.by_head(6, "old_0006")]).await;
    let other = crate::domain::legacy::ShapesRefused::OtherHead { head_len: 4 };
    assert_eq!(outcomes, [ImportOutcome::Taken, ImportOutcome::Shape(other)]);
}
