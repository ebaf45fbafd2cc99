//! Decisions by believed time, over clocks that are set about, and the mark that a start goes on from.
//!
//! Never here: a clock that is believed whatever it says.

use super::*;
use crate::domain::believed_time::ClockState;

const SEC: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SEC;
const DAY: u64 = 24 * HOUR;

impl World {
    /// A world whose machine has a clock like others.
    fn ticked() -> Self {
        let mut world = Self::new();
        let (clock, time) = Clock::ticked_by_hand(Wall::from_secs(START));
        world.engine.stop();
        world.engine = engine(&world.store, clock, &world.profile, &world.dir.path().join("secret"), 100);
        world.time = time;
        world
    }

    /// Starts again without a checkpoint, on a machine whose clock says `machine`.
    fn restarted_at(self, machine: Wall) -> Self {
        self.engine.stop();
        self.store.close().unwrap();
        let store = Store::open(&self.dir.path().join("k.redb"), StoreOptions::default()).unwrap();
        let (clock, time) = Clock::ticked_by_hand(machine);
        if let Some(mark) = store.clock_mark().unwrap() {
            clock.start_from(mark);
        }
        let engine = engine(&store, clock, &self.profile, &self.dir.path().join("secret"), 100);
        Self { dir: Arc::clone(&self.dir), store, engine, profile: Arc::clone(&self.profile), time }
    }

    fn now(&self) -> Wall {
        self.engine.clock.now().wall
    }

    /// Sets the machine's clock so far from the time of the world's begin, and ticks.
    fn set(&self, micros: u64) -> ClockState {
        self.time.set_wall(Wall::from_secs(START).plus_micros(micros));
        self.engine.clock.status().state
    }

    /// Takes what is left of the month; how many calls that was.
    async fn use_up(&self, key: &RawKey) -> usize {
        let mut admitted = 0;
        for _ in 0..10 {
            self.time.advance_micros(SEC);
            match self.ask(key, GENERATE).await {
                Ok(()) => admitted += 1,
                Err(refusal) => assert_eq!(refusal, "quota"),
            }
        }
        admitted
    }

    /// A key that expires in an hour.
    async fn expiring(&self, workspace: WorkspaceId) -> RawKey {
        let (id, key) = self.key(workspace, &[READ]).await;
        let ends = KeyPatch { expires_at: Some(Some(self.now().plus_micros(HOUR))), ..KeyPatch::default() };
        self.engine.update_key(Actor::System, id, ends).await.unwrap();
        assert_eq!(self.ask(&key, READ).await, Ok(()));
        key
    }
}

#[tokio::test]
async fn e12_a_clock_that_goes_an_hour_or_forty_days_ahead_and_back_gives_one_more_month_at_most() {
    let world = World::ticked();
    let (_, key) = world.workspace("pro").await;
    assert_eq!(world.use_up(&key).await, 3, "the month's three");
    let begun = world.now();

    // Forty days are not believed, there or on the way back.
    assert!(matches!(world.set(40 * DAY), ClockState::Ahead { .. }));
    assert_eq!(world.use_up(&key).await, 0);
    assert_eq!(world.set(20 * SEC), ClockState::Ok);
    assert_eq!(world.use_up(&key).await, 0);
    assert!(world.now() < begun.plus_micros(60 * SEC));

    // Half an hour before the month's end, an hour ahead is believed: the one roll.
    let end = Wall::from_secs(START).plus_micros(31 * DAY);
    world.time.advance_micros(end.micros_since(world.now()) - HOUR / 2);
    world.engine.clock.tick();
    assert_eq!(world.use_up(&key).await, 0);
    let into_the_month = world.now().plus_micros(HOUR);
    world.time.set_wall(into_the_month);
    assert_eq!(world.engine.clock.status().state, ClockState::Ok);
    assert_eq!(world.use_up(&key).await, 3);
    // Back before the end, and over it once more by itself: no third month.
    world.time.set_wall(Wall::from_micros(into_the_month.micros() - i64::try_from(HOUR).unwrap()));
    assert!(matches!(world.engine.clock.status().state, ClockState::Behind { .. }));
    assert_eq!(world.use_up(&key).await, 0);
    world.time.advance_micros(3 * HOUR);
    assert_eq!(world.engine.clock.status().state, ClockState::Ok);
    assert_eq!(world.use_up(&key).await, 0);
}

#[tokio::test]
async fn e13_a_clock_that_is_set_about_fills_no_bucket_beyond_its_burst() {
    let world = World::ticked();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    let drain = async || {
        let mut admitted = 0;
        while world.ask(&key, READ).await.is_ok() {
            admitted += 1;
        }
        admitted
    };
    assert_eq!(drain().await, 10);
    // A leap second either way, and a suspended machine: its monotonic clock stood still.
    for machine in [SEC, 0, 2 * SEC, HOUR / 2, 50 * DAY, 0] {
        world.set(machine);
        assert_eq!(drain().await, 0, "{machine}");
    }
    // A stopped process: both went on.
    world.time.advance_micros(5 * SEC);
    assert_eq!(drain().await, 10);
}

#[tokio::test]
async fn a_restart_with_the_clock_set_back_revives_nothing() {
    let world = World::ticked();
    let (workspace, well) = world.workspace("pro").await;
    let key = world.expiring(workspace).await;
    world.time.advance_micros(HOUR);
    assert_eq!(world.ask(&key, READ).await, Err("expired"));
    assert_eq!(world.ask(&well, READ).await, Ok(()));
    world.engine.checkpoint().await.unwrap();
    let seen = world.now();
    // What a kill leaves.
    let world = world.restarted_at(Wall::from_secs(START));
    assert!(world.now() >= seen, "{:?} behind {seen:?}", world.now());
    assert!(matches!(world.engine.clock.status().state, ClockState::Behind { .. }));
    assert_eq!(world.ask(&key, READ).await, Err("expired"));
    assert_eq!(world.ask(&well, READ).await, Ok(()));
}

#[tokio::test]
async fn the_mark_is_ahead_of_every_time_that_was_decided_by_and_a_clean_stop_lowers_it() {
    let world = World::ticked();
    let mark = || world.store.clock_mark().unwrap().unwrap();
    let (_, key) = world.workspace("pro").await;
    // The default interval, and the longest that can be set.
    for interval in [SEC, SEC, 60 * SEC, 60 * SEC] {
        assert_eq!(world.ask(&key, READ).await, Ok(()));
        world.engine.checkpoint().await.unwrap();
        let saved = mark();
        assert_eq!(world.engine.clock_view().mark, Some(saved));
        assert!(saved >= world.now().plus_micros(2 * SEC));
        world.time.advance_micros(interval);
        if interval == SEC {
            assert!(world.now() <= saved);
        }
    }
    world.engine.checkpoint().await.unwrap();
    // Without traffic it stays for ten minutes.
    let saved = mark();
    world.time.set_wall(saved.plus_micros(600 * SEC));
    world.engine.clock.tick();
    world.engine.checkpoint().await.unwrap();
    assert_eq!(mark(), saved);
    world.time.advance_micros(SEC);
    world.engine.checkpoint().await.unwrap();
    assert!(mark() > saved);
    world.engine.save_clock_mark().await.unwrap();
    assert_eq!(mark(), world.now());
    let (stopped, world) = (world.now(), world.restarted_at(Wall::from_secs(START)));
    assert_eq!(world.now(), stopped);
}

#[tokio::test]
async fn an_operator_s_word_moves_time_with_one_audit_row_and_not_before_that_is_durable() {
    let world = World::ticked();
    let (workspace, _) = world.workspace("pro").await;
    let key = world.expiring(workspace).await;
    assert!(matches!(world.set(40 * DAY), ClockState::Ahead { .. }));
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let before = world.now();
    let view = world.engine.confirm_clock(Actor::System).await.unwrap();
    let after = Wall::from_secs(START).plus_micros(40 * DAY);
    assert_eq!((view.believed, view.machine, view.state), (after, after, ClockState::Ok));
    assert_eq!(world.ask(&key, READ).await, Err("expired"));
    // And back, which brings the key back: the operator said so.
    assert!(matches!(world.set(SEC), ClockState::Behind { .. }));
    assert_eq!(world.ask(&key, READ).await, Err("expired"));
    let view = world.engine.confirm_clock(Actor::System).await.unwrap();
    assert_eq!(view.believed, Wall::from_secs(START).plus_micros(SEC));
    assert_eq!(view.mark, world.store.clock_mark().unwrap());
    assert!(
        view.mark.unwrap() < before.plus_micros(4 * SEC),
        "a start goes on from the time that was confirmed"
    );
    assert_eq!(world.ask(&key, READ).await, Ok(()));

    let rows = world.engine.audit(0, 100).await.unwrap();
    let said: Vec<_> = rows
        .iter()
        .map(|row| &row.entry)
        .filter(|entry| entry.action == AuditAction::ClockConfirmed)
        .collect();
    assert_eq!(said.len(), 2);
    let [change] = said[0].changes.as_slice() else { panic!("{:?}", said[0]) };
    assert_eq!(change.before, Some(before.to_rfc3339()));
    assert_eq!(change.after, Some(after.to_rfc3339()));

    world.set(40 * DAY);
    world.store.close().unwrap();
    let refused = world.engine.confirm_clock(Actor::System).await;
    assert!(matches!(refused, Err(ChangeRefused::NotDurable(_))), "{refused:?}");
    assert!(world.now() < before.plus_micros(4 * SEC));
    assert_eq!(world.ask(&key, READ).await, Ok(()));
}
