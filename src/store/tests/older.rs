//! Files of older schemas, made out of one of the newest: what a migration begins with, and that it keeps all of it.
//!
//! Never here: a kill in the middle (chain, `tests/faults`).

use redb::{TableDefinition, TableHandle};

use super::super::rows::{IndexOf, RecordsOf, RowKey};
use super::super::tables::{CLOCK_MARK_ROW, MARKS, META, SCHEMA_ROW};
use super::script::{difference, held};
use super::*;

/// A row of the audit log as schema 1 had it.
const OLD_ROW: &str = "
    0185a561745f7573cf00060a24181e4000ac62795f61646d696e5f6b6579c41000000000000000000000000000000001
    a6616374696f6eab6b65792e75706461746564a6746f5f6b6579c41000000000000000000000000000000009a6666965
    6c647392a46e616d65a472617465";

/// Makes the file one of schema 1, as it would have been after as many changes.
pub(super) fn put_back_to_schema_1(txn: &WriteTransaction) {
    put_back_to_schema_3(txn);
    let row = hex::decode(OLD_ROW.split_whitespace().collect::<String>()).unwrap();
    let newer: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/2");
    let count = txn.open_table(newer).unwrap().len().unwrap();
    txn.delete_table(newer).unwrap();
    let older: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/1");
    let mut older = txn.open_table(older).unwrap();
    for seq in 1..=count {
        older.insert(seq, row.as_slice()).unwrap();
    }
    txn.open_table(META).unwrap().insert(SCHEMA_ROW, 1).unwrap();
}

/// Makes the file one of schema 3: without checksums, and with the keys that its tables had.
pub(super) fn put_back_to_schema_3(txn: &WriteTransaction) {
    records::<u128>(txn, "workspaces/2", "workspaces/1");
    records::<u128>(txn, "keys/2", "keys/1");
    index::<([u8; 8], u128)>(txn, "keys_by_prefix/2", "keys_by_prefix/1");
    index::<(u128, u128)>(txn, "keys_by_workspace/2", "keys_by_workspace/1");
    index::<(&'static [u8], u128)>(txn, "keys_by_handle/2", "keys_by_handle/1");
    records::<u128>(txn, "key_counters/2", "key_counters/1");
    records::<u64>(txn, "audit/3", "audit/2");
    index::<[u8; 8]>(txn, "fingerprint_makers/2", "fingerprint_makers/1");
    records::<u32>(txn, "replays/2", "replays/1");
    records::<(u32, u128)>(txn, "usage_hours/2", "usage_hours/1");
    records::<(u32, u128)>(txn, "usage_days/2", "usage_days/1");
    let older: TableDefinition<'_, (u128, &str, u32), &[u8]> = TableDefinition::new("meters/1");
    let mut older = txn.open_table(older).unwrap();
    for row in tables::METERS.write(txn).unwrap().records().unwrap() {
        let (place, record) = row.unwrap();
        let (workspace, rest) = place.value().split_first_chunk().unwrap();
        let (meter, period) = rest.split_last_chunk().unwrap();
        let meter = str::from_utf8(meter).unwrap();
        let place = (u128::from_be_bytes(*workspace), meter, u32::from_be_bytes(*period));
        older.insert(place, record.value()).unwrap();
    }
    let older: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("legacy_shapes/1");
    let mut older = txn.open_table(older).unwrap();
    for row in tables::LEGACY_SHAPES.write(txn).unwrap().records().unwrap() {
        let (profile, record) = row.unwrap();
        older.insert(str::from_utf8(profile.value()).unwrap(), record.value()).unwrap();
    }
    let mut meta = txn.open_table(META).unwrap();
    if let Some(mark) = MARKS.write(txn).unwrap().get(CLOCK_MARK_ROW).unwrap() {
        meta.insert("clock_mark", u64::from_be_bytes(mark.value().try_into().unwrap())).unwrap();
    }
    meta.insert(SCHEMA_ROW, 3).unwrap();
    for newer in txn.list_tables().unwrap() {
        let is_newer = ["meters/2", "legacy_shapes/2", "marks/1"].contains(&newer.name());
        assert!(!is_newer || txn.delete_table(newer).unwrap());
    }
}

fn records<K: RowKey>(txn: &WriteTransaction, from: &'static str, to: &str) {
    {
        let newer = RecordsOf::<K>::new(from).write(txn).unwrap();
        let mut older = txn.open_table(TableDefinition::<K, &[u8]>::new(to)).unwrap();
        for row in newer.records().unwrap() {
            let (key, record) = row.unwrap();
            older.insert(key.value(), record.value()).unwrap();
        }
    }
    let_go(txn, from);
}

fn index<K: RowKey>(txn: &WriteTransaction, from: &'static str, to: &str) {
    {
        let newer = IndexOf::<K>::new(from).write(txn).unwrap();
        let mut older = txn.open_table(TableDefinition::<K, ()>::new(to)).unwrap();
        for key in newer.keys().unwrap() {
            older.insert(key.unwrap().value(), ()).unwrap();
        }
    }
    let_go(txn, from);
}

fn let_go(txn: &WriteTransaction, name: &str) {
    let table = txn.list_tables().unwrap().find(|table| table.name() == name).unwrap();
    assert!(txn.delete_table(table).unwrap());
}

#[tokio::test]
async fn a_file_of_schema_3_keeps_all_that_it_held_and_its_rows_are_checked_from_then_on() {
    let room = room().await;
    for step in [0, 1, 4, 5, 6, 7, 9, 10] {
        room.step(step).await.unwrap();
    }
    room.store.save_used_signatures(replays::saved(3)).await.unwrap();
    let before = held(&room.store);
    // What was damaged before the step cannot be told from what was meant.
    let room = room.edited(put_back_to_schema_3);
    let after = held(&room.store);
    assert!(difference(&after, &before).is_none(), "{:?}", difference(&after, &before));
    let room = room.edited(|txn| {
        let keys = TableDefinition::<u128, &[u8]>::new("keys/2");
        let mut keys = txn.open_table(keys).unwrap();
        let mut stored = keys.remove(1).unwrap().unwrap().value().to_vec();
        // The record's last byte says whether requests must be signed; its checksum stands behind it.
        let last = stored.len() - 5;
        stored[last] ^= 1;
        keys.insert(1, stored.as_slice()).unwrap();
    });
    let damaged = room.store.key(KeyId::from_u128(1));
    assert!(matches!(damaged, Err(StoreError::Corrupt { table: "keys", .. })), "{damaged:?}");
    assert!(room.store.key(KeyId::from_u128(0)).unwrap().is_some());
}
