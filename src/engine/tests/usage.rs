//! Usage against a naive model: notes, checkpoints, crashes and hours in any order, and threads that note while
//! others read and save.
//!
//! Never here: a tolerance. Time stands still unless a test moves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::domain::denial::Refusal;
use crate::domain::usage::{HOURS_KEPT, Place, UsageRow, hour_of};

const HOUR: u64 = 3_600_000_000;

impl World {
    fn hour(&self) -> u32 {
        hour_of(self.engine.clock.now().wall)
    }

    fn noted(&self, key: KeyId, refused: Option<Denial>) {
        let decided = refused.map_or(Ok(()), |denial| Err(Refusal::from(denial)));
        let slot = self.engine.slots.key(key).unwrap();
        self.engine.note_usage(&slot, Place::Standing, self.engine.clock.now().wall, &decided, false);
    }

    /// What each step has seen, in all: granted, and refused.
    async fn counts(&self, key: KeyId, step: UsageStep) -> BTreeMap<u32, (u64, u64)> {
        let now = step.of_hour(self.hour());
        let span = UsageSpan { step, numbers: now.saturating_sub(step.kept() + 100)..now + 1 };
        let report = self.engine.key_usage(key, span).await.unwrap();
        let figures = |row: &UsageRow| (row.total().valid, row.total().requests() - row.total().valid);
        report.into_iter().map(|(number, row)| (number, figures(&row))).collect()
    }
}

#[tokio::test]
async fn each_decision_about_a_proven_key_is_counted_once_by_its_word() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ, GENERATE]).await;
    for _ in 0..5 {
        let _ = world.ask(&key, GENERATE).await;
    }
    assert_eq!(world.wants(&key, Wanted::Refused(Denial::NotFound)).await, Err("not_found"));
    let too_large = Denial::TooLarge { max_bytes: 1 };
    assert_eq!(world.wants(&key, Wanted::RefusedAt(Place::Standing, too_large)).await, Err("too_large"));
    for _ in 0..4 {
        let _ = world.ask(&key, READ).await;
    }
    world.engine.revoke_key(Actor::System, id).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
    let stranger = RawKey::mint(&world.profile.tag, &[9; 64]).unwrap();
    assert_eq!(world.ask(&stranger, READ).await, Err("unknown"));
    let hour = world.hour();
    let span = || UsageSpan { step: UsageStep::Hour, numbers: hour..hour + 1 };
    let said = |row: &UsageRow| {
        let of = |(place, usage): (&str, &crate::domain::usage::PlaceUsage)| {
            let refused: Vec<_> =
                usage.refused.iter().map(|(word, count)| format!("{word} {count}")).collect();
            format!("{place}: {} valid, {}", usage.valid, refused.join(", "))
        };
        row.places().map(of).collect::<Vec<_>>()
    };
    // The pro plan sells three, and the bucket holds ten.
    let expected = [
        "ai:generate: 3 valid, quota 2",
        "key: 0 valid, too_large 1",
        "other: 0 valid, not_found 1",
        "posts:read: 3 valid, rate 1, revoked 1",
    ];
    let report = world.engine.key_usage(id, span()).await.unwrap();
    assert_eq!(said(&report[&hour]), expected);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.engine.key_usage(id, span()).await.unwrap(), report, "after a checkpoint");
    assert_eq!(world.engine.usage_unattributed(), 0);
    let world = world.restarted();
    assert_eq!(world.engine.key_usage(id, span()).await.unwrap(), report, "after a restart");
}

#[tokio::test]
async fn an_answer_counts_in_the_hour_of_its_grant_and_one_that_nobody_awaits_as_abandoned() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    let decided = async || {
        let attempt = Attempt {
            door: Door::Rest,
            profile: &world.profile,
            credential: Ok(key.reveal().as_bytes()),
            wanted: Wanted::Known(Requirement::default()),
            address: None,
            cost: 1,
        };
        world.engine.verify(attempt).await.unwrap()
    };
    let granted = async || world.engine.await_answer(&decided().await, Place::Standing);
    let hour = world.hour();
    let (late, slow) = (granted().await, decided().await);
    granted().await.came(503);
    granted().await.failed(&Denial::Revoked.into());
    drop(granted().await);
    // Its row is closed by then, and is read again.
    world.time.advance_micros(2 * HOUR);
    world.engine.checkpoint().await.unwrap();
    late.came(204);
    world.engine.await_answer(&slow, Place::Standing).came(404);
    let span = UsageSpan { step: UsageStep::Hour, numbers: hour..hour + 3 };
    for _ in 0..2 {
        let report = world.engine.key_usage(id, span.clone()).await.unwrap();
        assert_eq!(report.keys().copied().collect::<Vec<_>>(), [hour]);
        let answers: Vec<_> = report[&hour].total().answers.into_iter().collect();
        let expected = [
            ("4xx".into(), 1),
            ("5xx".into(), 1),
            ("abandoned".into(), 1),
            ("ok".into(), 1),
            ("revoked".into(), 1),
        ];
        assert_eq!(answers, expected);
        assert_eq!(report[&hour].total().valid, 5);
        world.engine.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn hours_become_part_of_their_days_and_days_end_and_no_count_is_lost_or_doubled() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let mut keys = Vec::new();
    for _ in 0..9 {
        keys.push(world.key(workspace, &[]).await.0);
    }
    let mut model: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let first = world.hour();
    // More rows than one transaction takes.
    for _ in 0..60 {
        for key in &keys {
            world.engine.key_slot(*key).await.unwrap();
            world.noted(*key, None);
            world.noted(*key, Some(Denial::Plan));
        }
        let of_hour = model.entry(world.hour()).or_default();
        *of_hour = (of_hour.0 + 1, of_hour.1 + 1);
        world.time.advance_micros(HOUR);
    }
    world.engine.checkpoint().await.unwrap();
    let by_day = |model: &BTreeMap<u32, (u64, u64)>| {
        let mut days: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (hour, (valid, refused)) in model {
            let day = days.entry(hour / 24).or_default();
            *day = (day.0 + valid, day.1 + refused);
        }
        days
    };
    let days = by_day(&model);
    let check = async |kept_from: u32| {
        let hours: BTreeMap<_, _> = model.range(kept_from..).map(|(hour, counts)| (*hour, *counts)).collect();
        for key in &keys {
            assert_eq!(world.counts(*key, UsageStep::Hour).await, hours);
            assert_eq!(world.counts(*key, UsageStep::Day).await, days);
        }
    };
    check(first).await;
    // The first of these hours is exactly 35 days old, and kept.
    world.time.advance_micros(u64::from(HOURS_KEPT - 60) * HOUR);
    world.engine.checkpoint().await.unwrap();
    check(first).await;
    for passed in [1, 30, 59] {
        let wanted = first + HOURS_KEPT + passed;
        world.time.advance_micros(u64::from(wanted - world.hour()) * HOUR);
        world.engine.checkpoint().await.unwrap();
        check(first + passed).await;
    }
    world.time.advance_micros(HOUR);
    world.engine.checkpoint().await.unwrap();
    check(u32::MAX).await;
    let last_day = *days.keys().last().unwrap();
    world.time.advance_micros(u64::from((last_day + 400) * 24 - world.hour()) * HOUR);
    world.engine.checkpoint().await.unwrap();
    let left = BTreeMap::from([days.last_key_value().map(|(day, counts)| (*day, *counts)).unwrap()]);
    assert_eq!(world.counts(keys[0], UsageStep::Day).await, left, "400 days old, and kept");
    world.time.advance_micros(24 * HOUR);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.counts(keys[0], UsageStep::Day).await, BTreeMap::new());
}

#[tokio::test]
async fn what_the_disk_refused_is_still_there() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (key, _) = world.key(workspace, &[]).await;
    world.engine.key_slot(key).await.unwrap();
    world.noted(key, None);
    world.engine.checkpoint().await.unwrap();
    world.store.close().unwrap();
    for refused in 0..3 {
        world.noted(key, None);
        assert!(world.engine.checkpoint().await.is_err());
        assert!(!world.engine.is_ready(), "{refused}");
    }
    assert_eq!(world.engine.usage.unsaved(), [(1 + 3, key)]);
}

#[tokio::test]
async fn what_is_told_while_threads_count_and_checkpoints_save_never_moves_back_and_ends_exact() {
    const NOTES: u64 = 4_000;
    let world = Arc::new(World::new());
    let (workspace, _) = world.workspace("pro").await;
    let (key, _) = world.key(workspace, &[]).await;
    world.engine.key_slot(key).await.unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    let noting: Vec<_> = (0..4)
        .map(|_| {
            let world = Arc::clone(&world);
            std::thread::spawn(move || {
                for number in 0..NOTES {
                    world.noted(key, (number % 4 == 0).then_some(Denial::Plan));
                    // Hours pass, and rows close, under everything that goes on.
                    if number % 1_000 == 0 {
                        world.time.advance_micros(HOUR / 2);
                    }
                }
            })
        })
        .collect();
    let saving = tokio::spawn({
        let (world, is_done) = (Arc::clone(&world), Arc::clone(&is_done));
        async move {
            while !is_done.load(Ordering::SeqCst) {
                world.engine.checkpoint().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let mut told = 0;
    while !noting.iter().all(std::thread::JoinHandle::is_finished) {
        let (valid, refused) = sum(&world.counts(key, UsageStep::Hour).await);
        assert!(valid + refused >= told, "{told} were told before");
        told = valid + refused;
        tokio::task::yield_now().await;
    }
    for thread in noting {
        thread.join().unwrap();
    }
    assert_eq!(sum(&world.counts(key, UsageStep::Hour).await), (NOTES * 3, NOTES));
    is_done.store(true, Ordering::SeqCst);
    saving.await.unwrap();
    world.engine.checkpoint().await.unwrap();
    assert_eq!(sum(&world.restarted().counts(key, UsageStep::Day).await), (NOTES * 3, NOTES));
}

fn sum(counts: &BTreeMap<u32, (u64, u64)>) -> (u64, u64) {
    counts.values().fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
}

#[derive(Clone, Debug)]
enum Step {
    Note {
        key: usize,
        refused: bool,
    },
    /// Forwards, or back as a clock that is set.
    Hours(i8),
    Checkpoint,
    Report,
    Crash,
    /// A stop that saves.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0usize..2, any::<bool>()).prop_map(|(key, refused)| Step::Note { key, refused }),
        2 => (-2i8..4).prop_map(Step::Hours),
        3 => Just(Step::Checkpoint),
        2 => Just(Step::Report),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn usage_agrees_with_a_plain_count_through_checkpoints_crashes_and_hours(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut world = World::new();
            let (workspace, _) = world.workspace("pro").await;
            let keys = [world.key(workspace, &[]).await.0, world.key(workspace, &[]).await.0];
            let mut counted: [BTreeMap<u32, (u64, u64)>; 2] = Default::default();
            let mut saved = counted.clone();
            let first = world.hour();
            for step in steps {
                match step {
                    Step::Note { key, refused } => {
                        world.engine.key_slot(keys[key]).await.unwrap();
                        world.noted(keys[key], refused.then_some(Denial::Plan));
                        let count = counted[key].entry(world.hour()).or_default();
                        if refused { count.1 += 1 } else { count.0 += 1 }
                    }
                    Step::Hours(hours) => {
                        let wall = world.engine.clock.now().wall;
                        world.time.set_wall(Wall::from_micros(wall.micros() + i64::from(hours) * HOUR.cast_signed()));
                    }
                    Step::Checkpoint => {
                        world.engine.checkpoint().await.unwrap();
                        saved = counted.clone();
                    }
                    Step::Report => {}
                    Step::Crash => {
                        world = world.restarted();
                        counted = saved.clone();
                    }
                    Step::Restart => {
                        world.engine.checkpoint().await.unwrap();
                        saved = counted.clone();
                        world = world.restarted();
                    }
                }
                if matches!(step, Step::Report | Step::Crash | Step::Restart) {
                    for (key, counted) in keys.iter().zip(&counted) {
                        let span = UsageSpan { step: UsageStep::Hour, numbers: first - 200..first + 400 };
                        let report = world.engine.key_usage(*key, span).await.unwrap();
                        let told: BTreeMap<_, _> = report.into_iter().map(|(hour, row)| {
                            (hour, (row.total().valid, row.total().requests() - row.total().valid))
                        }).collect();
                        assert_eq!(&told, counted);
                    }
                }
            }
        });
    }
}
