//! Meters that are sold out of durable leases: over kills, clean stops, other limits, other months, and calls
//! that wait.
//!
//! A restart here is a kill: nothing is saved, but what was committed before.
//!
//! Never here: the arithmetic of one ledger (domain), a process that is killed for real (tests over a socket).

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::undurable::Hold;
use super::*;
use crate::domain::rotation::Overlap;
use crate::store::Urgency;

const METER: &str = "ai";

struct Metered {
    world: World,
    workspace: WorkspaceId,
    id: KeyId,
    key: RawKey,
}

impl Metered {
    /// A key that may call as often as it likes, and a month of `limit` calls.
    async fn of(limit: u64) -> Self {
        let world = World::new();
        let (workspace, _) = world.workspace("pro").await;
        let (id, key) = world.key(workspace, &["*:*"]).await;
        let metered = Self { world, workspace, id, key };
        let rate = Some(Some(Rate::new(1_000_000, 1, None).unwrap().into()));
        metered.change(WorkspacePatch { rate, ..limited(Some(limit)) }).await;
        metered
    }

    async fn change(&self, patch: WorkspacePatch) {
        self.world.engine.update_workspace(Actor::System, self.workspace, patch).await.unwrap();
    }

    async fn call(&self) -> Result<(), &'static str> {
        self.world.ask(&self.key, GENERATE).await
    }

    async fn costs(&self, cost: u64) -> Result<(), &'static str> {
        costs(&self.world.engine, &self.world.profile, self.key.reveal(), cost).await
    }

    /// So many calls at once.
    fn crowd(&self, number: usize) -> tokio::task::JoinSet<Result<(), &'static str>> {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..number {
            let (engine, profile) = (Arc::clone(&self.world.engine), Arc::clone(&self.world.profile));
            let text = self.key.reveal().to_owned();
            calls.spawn(async move { costs(&engine, &profile, &text, 1).await });
        }
        calls
    }

    /// How many of so many calls pass; the others find the month used up.
    async fn calls(&self, number: u64) -> u64 {
        let mut passed = 0;
        for _ in 0..number {
            match self.call().await {
                Ok(()) => passed += 1,
                Err(refused) => assert_eq!(refused, "quota"),
            }
        }
        passed
    }

    async fn meter(&self) -> MeterView {
        self.world.engine.meters(self.workspace).await.unwrap().remove(0)
    }

    fn killed(self) -> Self {
        Self { world: self.world.restarted(), ..self }
    }

    async fn stopped(self) -> Self {
        self.world.engine.checkpoint().await.unwrap();
        self.world.engine.seal_meters().await.unwrap();
        self.killed()
    }
}

fn limited(limit: Option<u64>) -> WorkspacePatch {
    WorkspacePatch { meters: [(METER.to_owned(), limit)].into(), ..WorkspacePatch::default() }
}

async fn costs(
    engine: &Arc<Engine>,
    profile: &Arc<Profile>,
    key: &str,
    cost: u64,
) -> Result<(), &'static str> {
    let wanted = profile.requirement(&Permission::parse(GENERATE).unwrap()).unwrap();
    let attempt = Attempt {
        door: Door::Verify,
        profile,
        credential: Ok(key.as_bytes()),
        wanted: Wanted::Known(wanted),
        address: None,
        cost,
    };
    engine.verify(attempt).await.map(drop).map_err(|refusal| refusal.name())
}

#[tokio::test]
async fn a_kill_costs_at_most_a_lease_and_sells_nothing_twice() {
    let mut metered = Metered::of(1_000).await;
    let (mut passed, mut kills) = (0, 0);
    while metered.meter().await.used + metered.meter().await.burnt < 1_000 {
        passed += metered.calls(70).await;
        metered = metered.killed();
        kills += 1;
    }
    assert_eq!(metered.calls(5).await, 0);
    assert!(passed <= 1_000 && passed >= 1_000 - kills * 10, "{passed} of 1,000 over {kills} kills");
    let meter = metered.meter().await;
    assert_eq!(meter.used + meter.burnt, 1_000);
    assert!(meter.used <= passed, "what is shown as used was used");
}

#[tokio::test]
async fn clean_stops_cost_nothing() {
    let mut metered = Metered::of(1_000).await;
    let mut passed = 0;
    for _ in 0..15 {
        passed += metered.calls(70).await;
        metered = metered.stopped().await;
        let meter = metered.meter().await;
        assert_eq!((meter.used, meter.burnt, meter.reserved), (passed, 0, passed));
    }
    assert_eq!(passed, 1_000);
}

#[tokio::test]
async fn a_warm_call_waits_for_no_commit() {
    let metered = Metered::of(1_000_000).await;
    assert_eq!(metered.call().await, Ok(()));
    let (hold, reached) = Hold::queue(&metered.world, metered.id, Urgency::Revoke);
    reached.await.unwrap();
    // Nothing can be written, and the lease holds 10,000.
    for _ in 0..9_000 {
        assert_eq!(metered.call().await, Ok(()));
    }
    hold.release().await;
}

#[tokio::test]
async fn a_call_that_outruns_its_lease_is_a_fault_when_nothing_can_be_written_and_never_admitted() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(5).await, 5);
    let (hold, reached) = Hold::queue(&metered.world, metered.id, Urgency::Revoke);
    reached.await.unwrap();
    let said = metered.crowd(10).join_all().await;
    assert!(said.iter().all(|said| matches!(said, Ok(()) | Err("busy"))), "{said:?}");
    let passed = 5 + said.iter().filter(|said| said.is_ok()).count() as u64;
    assert!(passed <= 10, "two leases of five");
    assert_eq!(metered.meter().await.used, passed);
    hold.release().await;
    assert_eq!(metered.calls(500).await, 500 - passed, "the units of those who left are there again");
}

#[tokio::test]
async fn a_meter_that_can_no_more_be_written_faults() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(3).await, 3);
    metered.world.store.close().unwrap();
    let mut last = Ok(());
    for _ in 0..20 {
        last = metered.call().await;
    }
    assert_eq!(last, Err("busy"));
}

#[tokio::test]
async fn calls_that_wait_share_a_commit() {
    let metered = Metered::of(100).await;
    assert_eq!(metered.call().await, Ok(()));
    let (hold, reached) = Hold::queue(&metered.world, metered.id, Urgency::Revoke);
    reached.await.unwrap();
    let before = metered.world.engine.commits();
    let calls = metered.crowd(64);
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    hold.release().await;
    assert!(calls.join_all().await.into_iter().all(|said| said.is_ok()));
    let commits = metered.world.engine.commits() - before;
    assert!(commits <= 4, "{commits} commits for 64 calls of a lease of one");
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_call_waits_is_refused_and_its_unit_comes_back() {
    let metered = Metered::of(100).await;
    assert_eq!(metered.call().await, Ok(()));
    let (bystander, _) = metered.world.key(metered.workspace, &[]).await;
    // Empties the lease of one, and what was reserved behind it.
    metered.world.engine.checkpoint().await.unwrap();
    let (hold, reached) = Hold::queue(&metered.world, bystander, Urgency::Revoke);
    reached.await.unwrap();
    let calls = async { (metered.call().await, metered.call().await) };
    let revoked = async {
        tokio::task::yield_now().await;
        metered.world.engine.slots.key(metered.id).unwrap().revoke();
        hold.release().await;
    };
    let ((first, second), ()) = tokio::join!(calls, revoked);
    assert_eq!(second, Err("revoked"));
    let used = 1 + u64::from(first.is_ok());
    metered.world.engine.checkpoint().await.unwrap();
    assert_eq!(metered.meter().await.used, used);
}

#[tokio::test]
async fn a_cost_is_taken_whole_or_not_at_all_and_may_be_larger_than_a_lease() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.costs(499).await, Ok(()));
    assert_eq!(metered.costs(2).await, Err("quota"));
    assert_eq!(metered.costs(u64::MAX).await, Err("quota"));
    assert_eq!(metered.meter().await.used, 499);
    assert_eq!((metered.costs(1).await, metered.call().await), (Ok(()), Err("quota")));
}

#[tokio::test]
async fn a_limit_that_falls_in_mid_lease_acts_on_the_next_call_and_burns_no_more_than_its_own_lease() {
    // The plan's three calls are lifted to a million: a lease of 10,000.
    let metered = Metered::of(1_000_000).await;
    assert_eq!(metered.calls(20).await, 20);
    assert!(metered.meter().await.reserved >= 10_000);
    metered.change(limited(Some(200))).await;
    let metered = metered.killed();
    let meter = metered.meter().await;
    assert_eq!((meter.used, meter.burnt), (20, 2), "one percent of 200 was reserved ahead");
    metered.change(limited(Some(25))).await;
    assert_eq!(metered.calls(10).await, 3);
    metered.change(limited(Some(10))).await;
    assert_eq!(metered.calls(2).await, 0);
    metered.change(limited(Some(0))).await;
    assert_eq!(metered.calls(2).await, 0);
    metered.change(limited(Some(26))).await;
    assert_eq!(metered.calls(2).await, 1);
}

#[tokio::test]
async fn e15_what_was_used_stays_through_every_change_in_mid_period() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(100).await, 100);
    metered.change(WorkspacePatch { plan: Some("free".to_owned()), ..WorkspacePatch::default() }).await;
    metered.change(WorkspacePatch { plan: Some("pro".to_owned()), ..WorkspacePatch::default() }).await;
    metered.change(WorkspacePatch { name: Label::parse("other"), ..WorkspacePatch::default() }).await;
    let anchor = Some(Wall::from_secs(START - 86_400));
    metered.change(WorkspacePatch { billing_anchor: anchor, ..WorkspacePatch::default() }).await;
    metered.world.engine.rotate_key(Actor::System, metered.id, Overlap::NONE).await.unwrap();
    let patch = KeyPatch { description: Some(None), ..KeyPatch::default() };
    metered.world.engine.update_key(Actor::System, metered.id, patch).await.unwrap();
    assert_eq!(metered.meter().await.used, 100);
    let meter = metered.killed().meter().await;
    assert!((100..=105).contains(&(meter.used + meter.burnt)));
}

#[tokio::test]
async fn a_new_month_begins_at_its_instant_and_the_old_one_keeps_its_row() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(500).await, 500);
    let resets_at = metered.meter().await.resets_at;
    let now = metered.world.engine.clock.now().wall;
    metered.world.time.advance_micros(resets_at.micros_since(now) - 1);
    assert_eq!(metered.call().await, Err("quota"));
    metered.world.time.advance_micros(1);
    assert_eq!(metered.meter().await.used, 0);
    assert_eq!(metered.calls(7).await, 7);
    metered.world.engine.checkpoint().await.unwrap();
    let row = |period| metered.world.store.meter_row(metered.workspace, METER, period).unwrap().unwrap();
    assert_eq!((row(0).reserved, row(0).used, row(1).used), (500, 500, 7));
    let metered = metered.killed();
    assert_eq!(metered.calls(500).await, 500 - 7 - metered.meter().await.burnt);
}

#[tokio::test]
async fn marks_are_passed_once_in_a_period_and_again_under_a_higher_limit() {
    let metered = Metered::of(10).await;
    let thresholds = async || {
        metered.world.engine.checkpoint().await.unwrap();
        metered.meter().await.thresholds.iter().map(|(threshold, _)| threshold.name()).collect::<Vec<_>>()
    };
    assert_eq!(metered.calls(7).await, 7);
    assert_eq!(thresholds().await, [""; 0]);
    assert_eq!(metered.calls(1).await, 1);
    assert_eq!(thresholds().await, ["80%"]);
    assert_eq!(metered.calls(2).await, 2);
    assert_eq!(thresholds().await, ["80%", "100%"]);
    metered.change(limited(Some(12))).await;
    assert_eq!(thresholds().await, ["80%"]);
}

/// One step of the model below.
#[derive(Clone, Copy, Debug)]
enum Step {
    Calls(u64),
    Limit(u64),
    Month,
    Anchor(u64),
    /// The clock is set back by so many days for a few calls, and forth again.
    Back(i64),
    Checkpoint,
    Kill,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..40).prop_map(Step::Calls),
        2 => (0u64..400).prop_map(Step::Limit),
        1 => Just(Step::Month),
        1 => (1u64..20).prop_map(Step::Anchor),
        1 => (1i64..100).prop_map(Step::Back),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..25)
}

/// What a naive keeper counts: exactly what passed, and what each kill may have cost.
async fn run_model(steps: &[Step]) {
    let mut limit = 200;
    let mut metered = Metered::of(limit).await;
    let (mut passed, mut lost) = (0, 0);
    for step in steps {
        // What is left for sure: a kill may have cost less.
        let left = limit.saturating_sub(passed + lost);
        match *step {
            Step::Calls(number) => {
                let now = metered.calls(number).await;
                assert!(now == 0 || passed + now <= limit, "{now} passed with {passed} of {limit} used");
                assert!(now >= number.min(left), "{now} of {number} passed with {left} left for sure");
                passed += now;
            }
            Step::Back(days) => {
                let now = metered.world.engine.clock.now().wall;
                metered.world.time.set_wall(Wall::from_micros(now.micros() - days * 86_400_000_000));
                let there = metered.calls(3).await;
                assert!(there == 0 || passed + there <= limit, "a clock set back sold {there}");
                assert!(there >= left.min(3));
                passed += there;
                metered.world.time.set_wall(now);
            }
            Step::Limit(other) => {
                limit = other;
                metered.change(limited(Some(limit))).await;
            }
            Step::Month => {
                let meter = metered.meter().await;
                let now = metered.world.engine.clock.now().wall;
                metered.world.time.advance_micros(meter.resets_at.micros_since(now));
                (passed, lost) = (0, 0);
            }
            Step::Anchor(days) => {
                // A month that has begun stays the present one when its anchor moves back by days.
                let started = metered.meter().await.started_at;
                let anchor =
                    Wall::from_micros(started.micros() - i64::try_from(days).unwrap() * 86_400_000_000);
                let now = metered.world.engine.clock.now().wall;
                if Period::containing(anchor, now).start == anchor {
                    let billing_anchor = Some(anchor);
                    metered.change(WorkspacePatch { billing_anchor, ..WorkspacePatch::default() }).await;
                }
            }
            Step::Checkpoint => {
                metered.world.engine.checkpoint().await.unwrap();
            }
            Step::Kill => {
                // The last lease may have been a larger limit's when its renewal was under way.
                lost += (limit / 100).max(1);
                metered = metered.killed();
            }
            Step::Stop => metered = metered.stopped().await,
        }
        let meter = metered.meter().await;
        assert!(meter.used + meter.burnt >= passed && meter.used <= passed);
        assert!(meter.used + meter.burnt <= passed + lost, "{meter:?} after {passed} and {lost} lost");
    }
}

#[test]
fn meters_agree_with_a_naive_count_over_calls_changes_months_kills_and_stops() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(run_model(&steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_hand_goes_on_with_the_count_of_that_month() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(400).await, 400);
    let (world, before) = (&metered.world, metered.world.engine.clock.now().wall);
    world.time.set_wall(metered.meter().await.resets_at);
    assert_eq!(metered.calls(30).await, 30);
    world.time.set_wall(before);
    assert_eq!((metered.calls(1).await, metered.meter().await.used), (1, 31), "the next month goes on");
    world.engine.reopen_meters();
    assert_eq!(metered.meter().await.used, 400);
    assert_eq!(metered.calls(200).await, 100);
    world.time.set_wall(metered.meter().await.resets_at);
    assert_eq!(metered.meter().await.used, 31);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_its_meter_alone_and_is_never_written_over() {
    let metered = Metered::of(500).await;
    assert_eq!(metered.calls(100).await, 100);
    metered.world.engine.stop();
    metered.world.store.close().unwrap();
    {
        let meters = redb::TableDefinition::<&[u8], &[u8]>::new("meters/2");
        let database = redb::Database::open(metered.world.dir.path().join("k.redb")).unwrap();
        let txn = database.begin_write().unwrap();
        let row = [&metered.workspace.as_u128().to_be_bytes(), METER.as_bytes(), &[0; 4]].concat();
        txn.open_table(meters).unwrap().insert(row.as_slice(), [255, 255].as_slice()).unwrap().unwrap();
        txn.commit().unwrap();
    }
    let metered = metered.killed();
    for _ in 0..3 {
        assert_eq!(metered.call().await, Err("busy"));
        metered.world.engine.checkpoint().await.unwrap();
    }
    assert!(metered.world.store.meter_row(metered.workspace, METER, 0).is_err(), "it is there still");
    assert_eq!(metered.world.ask(&metered.key, READ).await, Ok(()));
    metered.world.engine.revoke_key(Actor::System, metered.id).await.unwrap();
}

#[tokio::test]
async fn an_anchor_that_moves_by_whole_months_takes_the_count_along_over_a_kill() {
    let metered = Metered::of(500).await;
    metered.world.time.set_wall(metered.meter().await.resets_at);
    assert_eq!(metered.calls(300).await, 300);
    // The bounds of the month stay, and its number becomes another.
    let billing_anchor = Some(metered.meter().await.started_at);
    metered.change(WorkspacePatch { billing_anchor, ..WorkspacePatch::default() }).await;
    let metered = metered.killed();
    let meter = metered.meter().await;
    assert!((300..=305).contains(&(meter.used + meter.burnt)), "{meter:?}");
    assert_eq!(metered.calls(500).await, 200 - meter.burnt);
}

#[tokio::test]
async fn a_change_that_is_the_first_thing_in_a_month_forgets_nothing_of_it() {
    let metered = Metered::of(500).await;
    let (world, before) = (&metered.world, metered.world.engine.clock.now().wall);
    let next = metered.meter().await.resets_at;
    world.time.set_wall(next);
    assert_eq!(metered.calls(30).await, 30);
    world.time.set_wall(before);
    world.engine.reopen_meters();
    assert_eq!(metered.calls(1).await, 1);
    world.time.set_wall(next);
    metered.change(limited(Some(400))).await;
    assert_eq!(metered.meter().await.used, 30);
}

#[tokio::test]
async fn a_write_that_broke_off_before_it_drew_up_keeps_no_later_one_away() {
    let metered = Metered::of(100).await;
    assert_eq!(metered.call().await, Ok(()));
    // Behind the renewal that the call began.
    metered.world.engine.checkpoint().await.unwrap();
    let slot = metered.world.engine.slots.workspace(metered.workspace).unwrap();
    let ask = || {
        let (facts, now) = (slot.facts.load(), metered.world.engine.clock.now().wall);
        slot.meters.ask(crate::domain::profile::MeterNo(0), 50, &facts, now)
    };
    let first = ask();
    assert!(matches!(first, live::Asked::Waits(_)));
    assert_eq!((slot.meters.begins_write(), slot.meters.begins_write()), (true, false));
    assert!(!slot.meters.settle(false));
    let _second = ask();
    assert!(slot.meters.begins_write());
}
