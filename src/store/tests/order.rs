//! The writer's line: what is committed together, what goes first, and what happens to the neighbours of a
//! refusal or a failure.
//!
//! The writer is held inside a change until everything else waits, so the order is known.
//!
//! Never here: a sleep.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use redb::TableDefinition;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn changes_that_wait_together_are_committed_together() {
    let room = room().await;
    let release = room.hold_writer().await;
    let before = room.store.commits();
    let mut waiters = JoinSet::new();
    for number in 1..=50 {
        let (store, key) = (room.store.clone(), room.key(number));
        waiters.spawn(async move { store.create_key(key, audit()).await });
    }
    room.until_waiting(50).await;
    drop(release);
    while let Some(done) = waiters.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(room.store.commits() - before, 1);
    assert_eq!(room.store.keys_total().unwrap(), 51);
}

#[tokio::test]
async fn a_refused_change_spoils_no_neighbour_of_its_group() {
    let room = room().await;
    let release = room.hold_writer().await;
    let same_prefix = KeyRecord { id: KeyId::from_u128(77), ..room.key(1) };
    let homeless = KeyRecord { workspace: WorkspaceId::from_u128(5), ..room.key(2) };
    let mut waiters = Vec::new();
    for key in [room.key(1), same_prefix, homeless, room.key(3)] {
        let store = room.store.clone();
        waiters.push(tokio::spawn(async move { store.create_key(key, audit()).await }));
        room.until_waiting(waiters.len()).await;
    }
    let store = room.store.clone();
    waiters.push(tokio::spawn(async move {
        let panics = |_| panic!("a defect of the caller");
        store.update_key(KeyId::from_u128(0), Urgency::Admin, audit(), panics).await.map(drop)
    }));
    room.until_waiting(waiters.len()).await;
    drop(release);
    let mut answers = Vec::new();
    for waiter in waiters {
        answers.push(waiter.await.unwrap());
    }
    assert!(matches!(
        answers.as_slice(),
        [
            Ok(()),
            Err(ChangeError::PrefixTaken),
            Err(ChangeError::NoSuchWorkspace),
            Ok(()),
            Err(ChangeError::Misfit(_))
        ]
    ));
    assert_eq!(room.store.keys_total().unwrap(), 3);
    assert_eq!(room.audit_rows(), [1, 2, 3]);
}

#[tokio::test]
async fn a_revoke_goes_before_changes_that_came_earlier() {
    let room = room().await;
    let release = room.hold_writer().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    let changes = [Urgency::Admin, Urgency::Admin, Urgency::Revoke];
    for (place, urgency) in changes.into_iter().enumerate() {
        let (store, order) = (room.store.clone(), Arc::clone(&order));
        waiters.spawn(async move {
            let note = move |key: KeyRecord| {
                order.lock().unwrap().push(place);
                key
            };
            store.update_key(KeyId::from_u128(0), urgency, audit(), note).await
        });
        room.until_waiting(place + 1).await;
    }
    drop(release);
    while let Some(done) = waiters.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [2, 0, 1]);
}

#[tokio::test]
async fn a_suspension_goes_before_changes_that_came_earlier() {
    let room = room().await;
    let release = room.hold_writer().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for (place, urgency) in [Urgency::Admin, Urgency::Revoke].into_iter().enumerate() {
        let (store, order) = (room.store.clone(), Arc::clone(&order));
        waiters.spawn(async move {
            let note = move |found: WorkspaceRecord| {
                order.lock().unwrap().push(place);
                found
            };
            store.update_workspace(SYSTEM, urgency, audit(), note, None).await
        });
        room.until_waiting(place + 1).await;
    }
    drop(release);
    while let Some(done) = waiters.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [1, 0]);
}

#[tokio::test]
async fn a_change_whose_waiter_went_away_is_made_all_the_same() {
    let room = room().await;
    let release = room.hold_writer().await;
    let (store, key) = (room.store.clone(), room.key(1));
    let waiter = tokio::spawn(async move { store.create_key(key, audit()).await });
    room.until_waiting(1).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    drop(release);
    room.store.close().unwrap();
    assert!(room.reopened().store.key(KeyId::from_u128(1)).unwrap().is_some());
}

#[tokio::test]
async fn a_full_lane_refuses_at_once_and_revokes_have_their_own() {
    let room = room().await;
    let release = room.hold_writer().await;
    let mut waiters = JoinSet::new();
    for _ in 0..queue::LANE_MAX {
        let store = room.store.clone();
        waiters.spawn(async move {
            store.update_workspace(SYSTEM, Urgency::Admin, audit(), |found| found, None).await
        });
    }
    room.until_waiting(queue::LANE_MAX).await;
    assert!(matches!(room.create(1).await, Err(ChangeError::Busy)));
    let store = room.store.clone();
    waiters.spawn(async move {
        let id = KeyId::from_u128(0);
        store.update_key(id, Urgency::Revoke, audit(), |key| key.revoked(AT)).await.unwrap();
        store.workspace(SYSTEM).map(|found| found.unwrap()).map_err(ChangeError::from)
    });
    room.until_waiting(queue::LANE_MAX + 1).await;
    drop(release);
    while let Some(done) = waiters.join_next().await {
        done.unwrap().unwrap();
    }
    assert!(room.create(1).await.is_ok());
}

#[tokio::test]
async fn a_change_that_cannot_be_written_is_never_acknowledged() {
    // A table of another shape in the place of ours makes every transaction fail, as a failing disk would.
    let wrong: TableDefinition<'_, u64, u64> = TableDefinition::new("audit/3");
    let room = room().await.edited(|txn| {
        let table = TableDefinition::<u64, &[u8]>::new("audit/3");
        txn.delete_table(table).unwrap();
        txn.open_table(wrong).unwrap();
    });
    assert!(matches!(room.create(1).await, Err(ChangeError::NotDurable(StoreError::Database { .. }))));
    assert_eq!(room.store.key(KeyId::from_u128(1)).unwrap(), None);
    assert!(room.store.key(KeyId::from_u128(0)).unwrap().is_some());
}

/// Meters that count how often they were drawn up, and note what they were told.
#[derive(Default)]
struct Noting {
    drawn: AtomicUsize,
    told: Mutex<Vec<bool>>,
}

impl MeterRows for Noting {
    fn rows_max(&self) -> usize {
        20
    }

    fn draw_up(&self, _: &StoredMeters<'_, '_>, _: Option<&WorkspaceRecord>) -> Vec<MeterCount> {
        self.drawn.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }

    fn settle(&self, is_durable: bool) {
        self.told.lock().unwrap().push(is_durable);
    }
}

#[tokio::test]
async fn leases_however_many_leave_the_first_admin_change_its_place() {
    let room = room().await;
    let release = room.hold_writer().await;
    let leases = Arc::new(Noting::default());
    for _ in 0..50 {
        room.store.write_meters(leases.clone()).unwrap();
    }
    let (store, before, noted) = (room.store.clone(), Arc::clone(&leases), Arc::new(AtomicUsize::new(0)));
    let note = Arc::clone(&noted);
    let change = tokio::spawn(async move {
        let count = move |key: KeyRecord| {
            note.store(before.drawn.load(Ordering::SeqCst), Ordering::SeqCst);
            key
        };
        store.update_key(KeyId::from_u128(0), Urgency::Admin, audit(), count).await.unwrap();
    });
    room.until_waiting(51).await;
    drop(release);
    change.await.unwrap();
    let drawn = noted.load(Ordering::SeqCst);
    assert!((1..=25).contains(&drawn), "{drawn} of 50 leases went before it");
}

#[tokio::test]
async fn a_refused_change_does_not_tell_its_meters_that_a_commit_failed() {
    let room = room().await;
    let meters = Arc::new(Noting::default());
    let nowhere = WorkspaceId::from_u128(5);
    let refused = room
        .store
        .update_workspace(nowhere, Urgency::Admin, audit(), |found| found, Some(meters.clone()))
        .await;
    assert!(matches!(refused, Err(ChangeError::NoSuchWorkspace)));
    assert_eq!(*meters.told.lock().unwrap(), [true]);
}
