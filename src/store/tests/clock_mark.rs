//! The mark of believed time in the file.
//!
//! Never here: where it ought to lie.

use super::*;

#[tokio::test]
async fn a_file_without_a_mark_opens_and_gets_one_with_a_checkpoint() {
    let room = room().await;
    assert_eq!(room.store.clock_mark().unwrap(), None);
    let room = room.reopened();
    assert_eq!(room.store.clock_mark().unwrap(), None, "it is a file of before there was one");
    let keys: Vec<_> = (0..1_000).map(|id| (KeyId::from_u128(id), KeyCounters::default())).collect();
    let row = MeterRow { reserved: 1, used: 1, ..MeterRow::default() };
    let meter = MeterCount { workspace: SYSTEM, meter: "ai".to_owned(), period: 1, row };
    let meters = vec![Fixed::of(vec![meter])];
    let counts = [
        Counted { keys: keys.clone(), ..Counted::default() },
        Counted { keys, meters, clock_mark: None },
        Counted::default(),
    ];
    for (number, counted) in (0..).zip(counts) {
        let mark = AT.plus_micros(number);
        let parts = counted.keys.len().div_ceil(CHECKPOINT_ROWS_MAX) + counted.meters.len();
        let before = room.store.commits();
        room.store.checkpoint(Counted { clock_mark: Some(mark), ..counted }).await.unwrap();
        assert_eq!(room.store.commits() - before, parts.max(1) as u64, "the mark has no commit of its own");
        assert_eq!(room.store.clock_mark().unwrap(), Some(mark));
    }
    room.store.checkpoint(Counted::default()).await.unwrap();
    let room = room.reopened();
    assert_eq!(room.store.clock_mark().unwrap(), Some(AT.plus_micros(2)));
    assert_eq!(room.audit_rows(), [1]);
}

#[tokio::test]
async fn an_operator_s_word_sets_the_mark_back_with_one_audit_row() {
    let room = room().await;
    room.store.save_clock_mark(AT).await.unwrap();
    let back = Wall::from_micros(AT.micros() - 1);
    room.store.confirm_clock(back, audit()).await.unwrap();
    let room = room.reopened();
    assert_eq!(room.store.clock_mark().unwrap(), Some(back));
    assert_eq!(room.audit_rows(), [1, 2]);
}

#[tokio::test]
async fn a_mark_beyond_all_time_is_the_last_moment() {
    let room = room().await;
    let room = room.edited(|txn| {
        let mut marks = tables::MARKS.write(txn).unwrap();
        marks.insert(tables::CLOCK_MARK_ROW, &u64::MAX.to_be_bytes()).unwrap();
    });
    assert_eq!(room.store.clock_mark().unwrap(), Some(Wall::from_micros(i64::MAX)));
}
