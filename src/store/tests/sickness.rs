//! A disk that fails, at each thing that is asked of it, once or from then on: what is refused was not made, reads
//! go on, and the store goes on by itself once the disk does.
//!
//! The short runs try some of the places. The long one tries all:
//!
//!     cargo test --lib sickness -- --ignored --nocapture
//!
//! Never here: a power cut alone (power).

use super::platter::{Asked, Fault, Platter, Random};
use super::script::{Held, STEPS, difference, held, is_chained, room_on};
use super::*;

/// The most refusals of one change on a disk that is well again.
const REFUSALS_MAX: usize = 100;

/// What a store holds after each change, and all that is asked of the disk.
async fn expected() -> (Vec<Held>, Vec<Asked>) {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    platter.begin_log();
    let mut after = vec![held(&room.store)];
    for step in 0..STEPS {
        room.step(step).await.unwrap();
        after.push(held(&room.store));
    }
    (after, platter.log())
}

fn check(store: &Store, expected: &Held, told: &str) {
    assert_eq!(difference(&held(store), expected), None, "{told}");
    assert!(is_chained(store), "{told}: the audit log is not whole");
}

/// Makes a change, as often as it is refused.
async fn insist(room: &Room, step: usize, told: &str) -> usize {
    for refusals in 0..REFUSALS_MAX {
        match room.step(step).await {
            Ok(()) => return refusals,
            Err(ChangeError::NotDurable(_)) => {}
            Err(error) => panic!("{told}: {error:?}"),
        }
    }
    panic!("{told}: it does not heal");
}

/// Every change over a disk that fails once.
async fn fails_once(at: usize, expected: &[Held]) -> bool {
    let platter = Platter::with_a_store(Random::from_seed(at as u64 + 1));
    let room = room_on(&platter).await;
    platter.begin_log();
    platter.set_fault(Some(Fault::Once(at)));
    let mut refusals = 0;
    for step in 0..STEPS {
        let told = format!("fault {at}, step {step}");
        match room.step(step).await {
            Ok(()) => {}
            Err(ChangeError::NotDurable(_)) => {
                check(&room.store, &expected[step], &told);
                refusals += 1 + insist(&room, step, &told).await;
            }
            Err(error) => panic!("{told}: {error:?}"),
        }
        check(&room.store, &expected[step + 1], &told);
        // What a power cut right behind the acknowledgement is certain to leave.
        if platter.has_failed() && step % 4 == 0 {
            let left = Platter::of(platter.durable(), Random::from_seed(1)).open().unwrap();
            check(&left, &expected[step + 1], &told);
        }
    }
    // A read that met the fault last is not looked after yet.
    let same = || room.store.update_key(KeyId::from_u128(0), Urgency::Admin, audit(), |key| key);
    let mut refused = 0;
    while same().await.is_err() {
        refused += 1;
        assert!(refused < REFUSALS_MAX, "fault {at}: it does not heal");
    }
    let health = room.store.disk_health();
    assert_eq!((health.is_ill, health.failures), (false, health.recoveries), "fault {at}");
    // What a read meets refuses nobody.
    assert!(refusals == 0 || health.failures > 0, "fault {at}");
    assert!(health.failures > 0 || !platter.has_failed(), "fault {at} was not noticed");
    // The fault may be the last thing that is met: that is told, and costs nothing.
    let has_failed = platter.has_failed();
    assert_eq!(room.store.close().is_err(), platter.has_failed() && !has_failed, "fault {at}, closing");
    let was_met = platter.has_failed();
    platter.set_fault(None);
    check(&platter.open().unwrap(), &expected[STEPS], &format!("fault {at}, closed"));
    was_met
}

/// Changes up to a disk that fails from there on, and after it is well again.
async fn fails_from(at: usize, expected: &[Held]) {
    let platter = Platter::with_a_store(Random::from_seed(at as u64 + 1));
    let room = room_on(&platter).await;
    platter.begin_log();
    platter.set_fault(Some(Fault::From(at)));
    for step in 0..STEPS {
        let told = format!("fault from {at}, step {step}");
        match room.step(step).await {
            Ok(()) => {
                check(&room.store, &expected[step + 1], &told);
                continue;
            }
            Err(ChangeError::NotDurable(_)) => {}
            Err(error) => panic!("{told}: {error:?}"),
        }
        // Nothing more is acknowledged, and all can be read.
        for _ in 0..2 {
            check(&room.store, &expected[step], &told);
            assert!(matches!(room.step(step).await, Err(ChangeError::NotDurable(_))), "{told}");
        }
        assert!(room.store.disk_health().is_ill, "{told}");
        for _ in 0..2 {
            let left = Platter::of(platter.cut(), Random::from_seed(1)).open().unwrap();
            let found = held(&left);
            let whole = [&expected[step], &expected[step + 1]];
            assert!(whole.iter().any(|held| difference(&found, held).is_none()), "{told}");
        }
        platter.set_fault(None);
        insist(&room, step, &told).await;
        check(&room.store, &expected[step + 1], &told);
        let left = Platter::of(platter.durable(), Random::from_seed(1)).open().unwrap();
        check(&left, &expected[step + 1], &told);
        return;
    }
}

#[tokio::test]
async fn d06_what_the_disk_fails_at_once_is_refused_not_made_and_made_when_asked_again() {
    let (expected, asked) = expected().await;
    let mut random = Random::from_seed(getrandom::u64().unwrap());
    // The last sync of a commit: the change is there to be seen, and nobody knows whether it is on the disk.
    let is_last_sync = |at: &usize| {
        let head = |asked: &Asked| matches!(asked, Asked::Write { offset: 0, .. });
        matches!(asked[*at], Asked::Sync) && head(&asked[*at - 1]) && matches!(asked[*at - 2], Asked::Sync)
    };
    let last_syncs: Vec<_> = (2..asked.len()).filter(is_last_sync).collect();
    assert!(last_syncs.len() >= STEPS, "each change has one");
    let some = [last_syncs[random.below(last_syncs.len())], last_syncs[random.below(last_syncs.len())]];
    let others: Vec<_> = (0..4).map(|_| random.below(asked.len())).collect();
    for at in some.into_iter().chain(others) {
        assert!(fails_once(at, &expected).await, "fault {at} of {}", asked.len());
    }
}

#[tokio::test]
async fn d05_a_disk_that_goes_on_failing_costs_no_read_and_nothing_acknowledged_and_heals() {
    let (expected, asked) = expected().await;
    let mut random = Random::from_seed(getrandom::u64().unwrap());
    for _ in 0..4 {
        fails_from(random.below(asked.len()), &expected).await;
    }
}

#[tokio::test]
#[ignore = "some minutes: every place at which a disk can fail"]
async fn sickness_at_every_place() {
    let (expected, asked) = expected().await;
    let mut at = 0;
    // A failure costs some more of the disk, so the end is further than without one.
    while fails_once(at, &expected).await {
        at += 1;
    }
    for from in 0..asked.len() {
        fails_from(from, &expected).await;
    }
    eprintln!("failed once at {at} places, and for good at {}", asked.len());
}

#[tokio::test]
async fn when_the_disk_fails_nobody_of_the_group_is_acknowledged_and_reads_go_on() {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    let release = room.hold_writer().await;
    let mut waiters = tokio::task::JoinSet::new();
    // The refused one is told the same: what it was refused for was not made either.
    for key in [room.key(1), room.key(1), room.key(2)] {
        let store = room.store.clone();
        waiters.spawn(async move { store.create_key(key, audit()).await });
    }
    room.until_waiting(3).await;
    platter.set_fault(Some(Fault::From(0)));
    drop(release);
    while let Some(done) = waiters.join_next().await {
        assert!(matches!(done.unwrap(), Err(ChangeError::NotDurable(StoreError::Database { .. }))));
    }
    assert_eq!(room.store.keys_total().unwrap(), 1);
    assert_eq!(room.store.key(KeyId::from_u128(0)).unwrap(), Some(room.key(0)));
    assert!(matches!(room.create(3).await, Err(ChangeError::NotDurable(_))));
    assert!(room.store.close().is_err(), "what waits for the disk at a stop is told of");
}

#[tokio::test]
async fn reads_go_on_while_the_disk_fails_and_heals_again_and_again() {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    for number in 1..=200 {
        room.create(number).await.unwrap();
    }
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2_u32)
        .map(|reader| {
            let (store, stop, mut read) = (room.store.clone(), Arc::clone(&stop), 0_u32);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = 1 + (read * 7 + reader) % 200;
                    assert!(store.key(KeyId::from_u128(number.into())).unwrap().is_some());
                    assert_eq!(store.keys_by_prefix(prefix(number)).unwrap().len(), 1);
                    read += 1;
                }
                read
            })
        })
        .collect();
    for round in 0..20_u32 {
        let told = format!("round {round}");
        platter.begin_log();
        platter.set_fault(Some(Fault::Once(round as usize % 8)));
        insist_on_key(&room, 1_000 + round, &told).await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().expect("no read fails") > 0);
    }
    assert!(room.store.disk_health().recoveries >= 10);
    assert!(is_chained(&room.store));
}

async fn insist_on_key(room: &Room, number: u32, told: &str) {
    for _ in 0..REFUSALS_MAX {
        match room.create(number).await {
            Ok(()) => return,
            Err(ChangeError::NotDurable(_)) => {}
            Err(error) => panic!("{told}: {error:?}"),
        }
    }
    panic!("{told}: it does not heal");
}

#[tokio::test]
async fn no_change_is_made_in_a_stand_in_whoever_met_the_failure() {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    // As when a read makes room in redb's cache by a write, and that fails: the writer knows nothing of it.
    let shared = &room.store.0.shared;
    let open = shared.current().unwrap();
    open.watch.fence();
    shared.stand_in_for(&open);
    drop(open);
    insist_on_key(&room, 1, "in a stand-in").await;
    let killed = Platter::of(platter.durable(), Random::from_seed(1)).open().unwrap();
    assert!(killed.key(KeyId::from_u128(1)).unwrap().is_some(), "what was acknowledged is on the disk");
}

#[tokio::test]
async fn a_panic_in_a_transaction_costs_its_group_and_nothing_after_it() {
    struct Panics;
    impl MeterRows for Panics {
        fn rows_max(&self) -> usize {
            1
        }
        fn draw_up(&self, _: &StoredMeters<'_, '_>, _: Option<&WorkspaceRecord>) -> Vec<MeterCount> {
            panic!("a defect of the caller")
        }
        fn settle(&self, _: bool) {}
    }
    let room = room().await;
    let counted = Counted { meters: vec![Arc::new(Panics)], ..Counted::default() };
    assert!(matches!(
        room.store.checkpoint(counted).await,
        Err(ChangeError::NotDurable(StoreError::BrokeOff))
    ));
    insist_on_key(&room, 1, "after a panic").await;
    let room = room.reopened();
    assert!(room.store.key(KeyId::from_u128(1)).unwrap().is_some());
}
