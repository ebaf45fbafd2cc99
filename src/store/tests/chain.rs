//! The audit log in a real file: what an intruder with redb in hand changes is found, and a file from before
//! there were seals keeps all that it had.
//!
//! Never here: each kind of break by itself; those are the domain's tests.

use redb::{ReadableTable, TableDefinition, TableHandle};

use super::older::put_back_to_schema_1;
use super::*;
use crate::domain::audit::FieldChange;
use crate::domain::audit::chain::{AuditBreak, AuditChain, AuditVerdict, SealedRow};
use crate::domain::audit::seal::AuditHead;
use crate::store::migrations::STEPS;
use crate::store::tables::{AUDIT, META, SCHEMA_ROW, SCHEMA_VERSION};

type Rows<'txn> = tables::WriteRecords<'txn, u64>;

impl Room {
    fn verdict(&self, anchor: Option<AuditHead>) -> AuditVerdict {
        let mut chain = AuditChain::new(anchor);
        while self.store.check_audit(&mut chain, u64::MAX).unwrap() {}
        chain.finish()
    }

    fn tampered(self, edit: impl FnOnce(&mut Rows<'_>)) -> Self {
        self.edited(|txn| edit(&mut AUDIT.write(txn).unwrap()))
    }
}

/// A room with `rows` audit rows.
async fn room_with(rows: u32) -> Room {
    let room = room().await;
    for number in 1..rows {
        room.create(number).await.unwrap();
    }
    room
}

fn bytes(rows: &Rows<'_>, seq: u64) -> Vec<u8> {
    rows.get(seq).unwrap().unwrap().value().to_vec()
}

#[tokio::test]
async fn promise_11_each_change_is_told_with_its_before_and_after_in_its_own_transaction() {
    let room = room().await;
    room.create(1).await.unwrap();
    let id = KeyId::from_u128(1);
    for name in ["CI", "nightly"] {
        room.rename(id, name).await.unwrap();
    }
    let told: Vec<_> =
        room.store.audit(0, PAGE_MAX).unwrap().into_iter().map(|row| row.entry.changes).collect();
    let renamed = |before: Option<&str>, after: &str| FieldChange {
        field: "name".to_owned(),
        before: before.map(str::to_owned),
        after: Some(after.to_owned()),
    };
    assert_eq!(told.len(), 4);
    assert!(told[0].iter().any(|change| change.field == "default_key"), "{:?}", told[0]);
    assert!(told[1].iter().any(|change| change.field == "secret.1"), "{:?}", told[1]);
    assert_eq!(told[2..], [vec![renamed(None, "CI")], vec![renamed(Some("CI"), "nightly")]]);
    let all = format!("{told:?}");
    assert!(!all.contains(room.hash.as_phc()) && !all.contains(&hex::encode([2; 32])), "{all}");
}

#[tokio::test]
async fn promise_11_a_log_that_nobody_touched_is_whole_across_starts_and_install_secrets() {
    let room = room_with(5).await.reopened();
    let anchor = room.store.audit_head().unwrap();
    room.store.seal_with(AuditSealer::new(&[2; 32]));
    room.create(5).await.unwrap();
    let found = room.verdict(anchor);
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.rows, found.covered_to, found.unknown.len()), (6, 6, 0));
    assert_eq!(found.head, room.store.audit_head().unwrap());
    let shown = room.store.audit(5, 1).unwrap();
    assert_eq!(found.head, Some(AuditHead { seq: 6, hash: shown[0].hash }));
}

#[tokio::test]
async fn o14_an_edited_row_is_found() {
    let room = room_with(5).await.tampered(|rows| {
        let mut row = bytes(rows, 3);
        *row.last_mut().unwrap() ^= 1;
        rows.insert(3, &row).unwrap();
    });
    assert_eq!(room.verdict(None).breaks, [AuditBreak::Changed { seq: 3 }]);
}

#[tokio::test]
async fn o14_a_deleted_row_is_found() {
    let room = room_with(5).await.tampered(|rows| rows.remove(2).unwrap());
    assert_eq!(room.verdict(None).breaks, [AuditBreak::Missing { first: 2, last: 2 }]);
}

#[tokio::test]
async fn o14_two_swapped_rows_are_found() {
    let room = room_with(5).await.tampered(|rows| {
        let (two, three) = (bytes(rows, 2), bytes(rows, 3));
        rows.insert(2, &three).unwrap();
        rows.insert(3, &two).unwrap();
    });
    let found = room.verdict(None).breaks;
    assert_eq!(found[..2], [AuditBreak::Changed { seq: 2 }, AuditBreak::Changed { seq: 3 }]);
}

#[tokio::test]
async fn o14_a_cut_tail_is_found_against_the_anchor() {
    let room = room_with(5).await;
    let anchor = room.store.audit_head().unwrap();
    let room = room.tampered(|rows| rows.remove(5).unwrap());
    assert!(room.verdict(None).is_whole(), "a cut tail shows only against an anchor");
    assert_eq!(room.verdict(anchor).breaks, [AuditBreak::Cut { newest: 4, anchor: 5 }]);
    // Another change in its place does not hide it.
    room.create(8).await.unwrap();
    assert_eq!(room.verdict(anchor).breaks, [AuditBreak::Anchor { seq: 5 }]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_change_and_is_found() {
    let room = room_with(3).await.tampered(|rows| rows.insert(3, b"short").unwrap());
    let id = KeyId::from_u128(1);
    room.store.update_key(id, Urgency::Revoke, audit(), |key| key.revoked(AT)).await.unwrap();
    assert_eq!(room.verdict(None).breaks, [AuditBreak::Changed { seq: 3 }]);
    assert!(matches!(room.store.audit(0, 9), Err(StoreError::Corrupt { table: "audit", .. })));
}

#[tokio::test]
async fn a_check_goes_page_by_page_and_stops_where_it_is_told() {
    let room = room_with(2).await;
    let last = u64::try_from(2 * PAGE_MAX).unwrap();
    let head = room.store.audit_head().unwrap().unwrap();
    let room = room.tampered(|rows| {
        let sealer = AuditSealer::new(&[1; 32]);
        let mut hash = head.hash;
        for seq in 3..=last {
            hash = hash.next(seq, sealer.made_by(), b"row");
            let (made_by, seal) = (sealer.made_by(), sealer.seal(&hash));
            let row = SealedRow { seq, made_by, hash, seal, record: b"row" };
            rows.insert(seq, &audit::to_bytes(&row)).unwrap();
        }
    });
    let mut chain = AuditChain::new(None);
    assert!(room.store.check_audit(&mut chain, last - 1).unwrap());
    assert_eq!(chain.met(), PAGE_MAX as u64);
    assert!(!room.store.check_audit(&mut chain, last - 1).unwrap());
    let found = chain.finish();
    assert_eq!((found.rows, found.is_whole()), (last - 1, true));
    assert_eq!(room.verdict(None).rows, last);
}

#[tokio::test]
async fn without_a_sealer_no_change_is_made() {
    let mut room = room().await;
    room.store.close().unwrap();
    room.store = Store::open(&room.path, StoreOptions::default()).unwrap();
    let refused = room.create(1).await;
    assert!(matches!(refused, Err(ChangeError::NotDurable(StoreError::Unsealed))), "{refused:?}");
    assert_eq!((room.store.keys_total().unwrap(), room.audit_rows()), (1, vec![1]));
    // Counts are no changes.
    room.store
        .checkpoint(Counted {
            keys: vec![(KeyId::from_u128(0), KeyCounters::default())],
            ..Counted::default()
        })
        .await
        .unwrap();
    room.store.seal_with(AuditSealer::new(&[1; 32]));
    room.create(1).await.unwrap();
}

#[tokio::test]
async fn a_file_of_schema_1_keeps_its_records_and_rows_and_the_first_seal_vouches_for_them() {
    let room = room_with(3).await;
    let keys: Vec<_> = (0..3).map(|number| room.store.key(KeyId::from_u128(number)).unwrap()).collect();
    let room = room.edited(put_back_to_schema_1);
    let after: Vec<_> = (0..3).map(|number| room.store.key(KeyId::from_u128(number)).unwrap()).collect();
    assert_eq!(after, keys);
    let rows = room.store.audit(0, 9).unwrap();
    let fields: Vec<_> = rows[2].entry.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!((rows.len(), fields), (3, vec!["name", "rate"]));
    let found = room.verdict(None);
    assert_eq!((found.unsealed, found.breaks_total, found.is_whole()), (3, 0, false));
    let room = room.reopened();
    room.create(3).await.unwrap();
    let found = room.verdict(None);
    assert_eq!((found.unsealed, found.covered_to, found.is_whole()), (3, 4, true));
    let room = room.tampered(|rows| {
        let mut row = bytes(rows, 2);
        *row.last_mut().unwrap() ^= 1;
        rows.insert(2, &row).unwrap();
    });
    assert_eq!(room.verdict(None).breaks, [AuditBreak::Changed { seq: 2 }]);
}

const AUDIT_1: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/1");

#[tokio::test]
async fn d14_a_kill_in_a_migration_leaves_the_old_schema_whole() {
    let mut room = room_with(3).await;
    let newest = room.path.clone();
    room.store.close().unwrap();
    let database = Database::open(&room.path).unwrap();
    let mut txn = database.begin_write().unwrap();
    txn.set_quick_repair(true);
    put_back_to_schema_1(&txn);
    txn.commit().unwrap();
    let txn = database.begin_write().unwrap();
    STEPS[0](&txn).unwrap();
    // The bytes on the disk at this instant are what a kill would leave.
    room.path = room.path.with_file_name("killed.redb");
    std::fs::copy(&newest, &room.path).unwrap();
    txn.abort().unwrap();
    let room = room.edited(|txn| {
        assert_eq!(txn.open_table(META).unwrap().get(SCHEMA_ROW).unwrap().unwrap().value(), 1);
        assert_eq!(txn.open_table(AUDIT_1).unwrap().len().unwrap(), 3);
        assert!(txn.list_tables().unwrap().all(|table| table.name() != "audit/2"));
    });
    assert_eq!((room.audit_rows(), room.verdict(None).unsealed), (vec![1, 2, 3], 3));
    let room = room.edited(|txn| {
        assert_eq!(txn.open_table(META).unwrap().get(SCHEMA_ROW).unwrap().unwrap().value(), SCHEMA_VERSION);
        assert!(txn.list_tables().unwrap().all(|table| table.name() != "audit/1"), "the old table is gone");
    });
    room.store.close().unwrap();
}
