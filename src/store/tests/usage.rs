//! Rows of usage in files as they may be found: without their tables, and damaged.
//!
//! Never here: what a row says (codec), or when one is old (engine).

use redb::TableDefinition;

use super::super::tables::USAGE_HOURS;
use super::older::put_back_to_schema_3;
use super::*;
use crate::domain::usage::{UsageOutcome, UsageRow};

const KEY: KeyId = KeyId::from_u128(0);

fn row(count: u64) -> UsageRow {
    let mut row = UsageRow::default();
    row.note("a", UsageOutcome::Valid, count);
    row
}

#[tokio::test]
async fn a_file_from_before_usage_reads_as_empty_and_takes_it() {
    let room = room().await.edited(|txn| {
        put_back_to_schema_3(txn);
        for name in ["usage_hours/1", "usage_days/1"] {
            let table: TableDefinition<'_, (u32, u128), &[u8]> = TableDefinition::new(name);
            assert!(txn.delete_table(table).unwrap());
        }
    });
    assert_eq!(room.store.usage_of(KEY, 0..9, 0..9).unwrap(), StoredUsage::default());
    assert!(room.store.usage_rows(&[(1, KEY)]).unwrap().is_empty());
    room.store.save_usage(vec![((1, KEY), row(5))]).await.unwrap();
    assert_eq!(room.store.usage_of(KEY, 0..9, 0..9).unwrap().hours, [(1, row(5))]);
    assert_eq!(room.store.usage_of(KEY, 2..9, 0..9).unwrap().hours, []);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_told_of_and_stands_in_nobodys_way() {
    let room = room().await;
    let rows = (0..500).map(|hour| ((hour, KEY), row(1))).collect::<Vec<_>>();
    for part in rows.chunks(USAGE_ROWS_MAX) {
        room.store.save_usage(part.to_vec()).await.unwrap();
    }
    let room = room.edited(|txn| {
        USAGE_HOURS.write(txn).unwrap().insert((3, KEY.as_u128()), &[0xff]).unwrap();
    });
    assert!(matches!(room.store.usage_of(KEY, 0..9, 0..9), Err(StoreError::NewerFormat { .. })));
    let read = room.store.usage_rows(&[(2, KEY), (3, KEY), (4, KEY)]).unwrap();
    assert_eq!(read.iter().map(|((hour, _), _)| *hour).collect::<Vec<_>>(), [2, 4]);
    let mut gone = 0;
    loop {
        match room.store.roll_up_usage(480, 0).await.unwrap() {
            0 => break,
            rows => gone += rows,
        }
    }
    let left = room.store.usage_of(KEY, 0..500, 0..500).unwrap();
    assert_eq!((gone, left.hours.len(), left.days.len()), (480, 20, 20));
    assert_eq!(left.days.iter().map(|(_, row)| row.total().valid).sum::<u64>(), 479);
}

#[tokio::test]
async fn a_save_beyond_its_bound_is_refused() {
    let room = room().await;
    let rows = (0..=u32::try_from(USAGE_ROWS_MAX).unwrap()).map(|hour| ((hour, KEY), row(1))).collect();
    assert!(matches!(room.store.save_usage(rows).await, Err(ChangeError::Misfit(_))));
}
