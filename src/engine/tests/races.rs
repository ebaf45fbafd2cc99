//! A narrowing against requests that are under way: whatever starts after its acknowledgement is refused,
//! wherever the request was when it landed.
//!
//! What is raced is raced many times, with the distance between the two swept. Numbers drawn from one counter
//! say what came before what.
//!
//! Never here: a delay that is asserted, or a socket.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;
use crate::domain::address::AddressRules;
use crate::domain::rotation::Overlap;

/// A hang is for ever; a debug build on a busy machine is only slow.
const PATIENCE: Duration = Duration::from_mins(1);

/// One request of a key that wants to read.
#[derive(Clone)]
struct Asking {
    engine: Arc<Engine>,
    profile: Arc<Profile>,
    text: String,
    wanted: Wanted,
}

impl Asking {
    fn of(world: &World, key: &RawKey, permission: &str) -> Self {
        let permission = Permission::parse(permission).unwrap();
        Self {
            engine: Arc::clone(&world.engine),
            profile: Arc::clone(&world.profile),
            text: key.reveal().to_owned(),
            wanted: Wanted::Known(world.profile.requirement(&permission).unwrap()),
        }
    }

    async fn ask(&self) -> Result<(), &'static str> {
        let attempt = Attempt {
            door: Door::Verify,
            profile: &self.profile,
            credential: Ok(self.text.as_bytes()),
            wanted: self.wanted.clone(),
            address: Some([192, 0, 2, 7].into()),
            cost: 1,
        };
        self.engine.verify(attempt).await.map(drop).map_err(|refusal| refusal.name())
    }
}

/// A rate that no test uses up, and so deep that a clock which somebody else moves a second on, between a
/// request's look at it and its token, empties nothing.
fn deep_rate() -> Rate {
    Rate::new(1_000_000_000, 3_600, None).unwrap()
}

/// Spins for about this many microseconds; what counts is that the distances differ.
fn spin(micros: u32) {
    for _ in 0..micros * 20 {
        std::hint::spin_loop();
    }
}

/// Races the first use of each key against its revoke; `most_micros` is how far the revoke is held back.
async fn race_first_uses(world: &World, keys: Vec<(KeyId, RawKey)>, most_micros: u32) {
    let rounds = u32::try_from(keys.len()).unwrap();
    let mut outcomes = [0; 2];
    for (round, (id, key)) in (0..).zip(keys) {
        let asking = Asking::of(world, &key, READ);
        let (start, racer) = (Arc::new(Barrier::new(2)), asking.clone());
        let started = Arc::clone(&start);
        let racing = tokio::spawn(async move {
            started.wait().await;
            racer.ask().await
        });
        start.wait().await;
        spin(most_micros * round / rounds);
        world.engine.revoke_key(Actor::System, id).await.unwrap();
        assert_eq!(asking.ask().await, Err("revoked"), "round {round}: started after the revoke returned");
        match racing.await.unwrap() {
            Ok(()) => outcomes[0] += 1,
            Err("revoked") => outcomes[1] += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
        assert_eq!(asking.ask().await, Err("revoked"), "round {round}: the racing proof left nothing behind");
    }
    assert_eq!(outcomes.iter().sum::<u32>(), rounds);
}

async fn keys(world: &World, count: usize) -> Vec<(KeyId, RawKey)> {
    let (workspace, _) = world.workspace("pro").await;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(world.key(workspace, &[READ]).await);
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_first_use_that_races_a_revoke_is_accepted_after_it() {
    let world = World::new();
    let keys = keys(&world, 200).await;
    race_first_uses(&world, keys, 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_first_use_by_the_slow_hash_that_races_a_revoke_is_accepted_after_it() {
    let world = World::new();
    let keys = keys(&world, 200).await;
    // Another install secret: nothing but the slow hash proves these keys.
    std::fs::remove_file(world.dir.path().join("secret")).unwrap();
    let world = world.restarted();
    race_first_uses(&world, keys, 2_000).await;
    assert!(world.engine.slow_hashes() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_hash_that_is_under_way_when_the_revoke_lands_lets_nobody_in() {
    let world = World::new();
    // Expensive enough that the revoke is there long before its end.
    let slow_hash =
        SlowHashOptions { cost: SlowHashCost::new(64 * 1024, 4).unwrap(), workers: 1, queue_max: 64 };
    let options = EngineOptions {
        proofs_max: 100,
        slow_hash,
        keyless_rate: None,
        reads_max: 8,
        replays_max: 100,
        stores_fingerprints: true,
    };
    let start_with = |secret_file: &str| {
        let (clock, _) = Clock::manual(Wall::from_secs(START));
        let secrets = InstallSecrets::create(&world.dir.path().join(secret_file)).unwrap();
        Engine::new(world.store.clone(), clock, [Arc::clone(&world.profile)], secrets, options).unwrap()
    };
    let (workspace, _) = world.workspace("pro").await;
    let dear = World {
        dir: Arc::clone(&world.dir),
        store: world.store.clone(),
        engine: start_with("first"),
        profile: Arc::clone(&world.profile),
        time: Arc::clone(&world.time),
    };
    let (id, key) = dear.key(workspace, &[READ]).await;
    drop(dear);
    let engine = start_with("second");
    let asking = Asking { engine: Arc::clone(&engine), ..Asking::of(&world, &key, READ) };
    let first_uses: Vec<_> = (0..8)
        .map(|_| {
            let asking = asking.clone();
            tokio::spawn(async move { asking.ask().await })
        })
        .collect();
    while engine.slow_hashes() == 0 {
        tokio::task::yield_now().await;
    }
    engine.revoke_key(Actor::System, id).await.unwrap();
    for first_use in first_uses {
        assert_eq!(first_use.await.unwrap(), Err("revoked"));
    }
    assert_eq!(engine.slow_hashes(), 1);
    engine.stop();
}

/// What is taken away, and what the next request is told.
const NARROWINGS: [(&str, &str); 7] = [
    ("permissions", "permission"),
    ("addresses", "address"),
    ("expiry", "expired"),
    ("rate", "rate"),
    ("plan", "plan"),
    ("limit", "quota"),
    ("suspension", "suspended"),
];

async fn change(world: &World, key: KeyId, workspace: WorkspaceId, what: &str, away: bool) {
    let (engine, by) = (&world.engine, Actor::System);
    let now = engine.clock.now().wall;
    let of_key = |patch| engine.update_key(by, key, patch);
    let of_workspace = |patch| engine.update_workspace(by, workspace, patch);
    let none = KeyPatch::default();
    match what {
        "permissions" => {
            let held = if away { Vec::new() } else { vec![Permission::everything()] };
            drop(of_key(KeyPatch { permissions: Some(held), ..none }).await.unwrap());
        }
        "addresses" => {
            let rule = AddressRules::parse([if away { "198.51.100.0/24" } else { "192.0.2.0/24" }]).unwrap();
            drop(of_key(KeyPatch { addresses: Some(Some(rule)), ..none }).await.unwrap());
        }
        "expiry" => {
            drop(of_key(KeyPatch { expires_at: Some(away.then_some(now)), ..none }).await.unwrap());
        }
        "rate" => {
            let rate = if away { Rate::new(0, 1, None).unwrap() } else { deep_rate() };
            drop(of_key(KeyPatch { rate: Some(Some(rate.into())), ..none }).await.unwrap());
        }
        "limit" => {
            let meters = [("ai".to_owned(), Some(if away { 0 } else { u64::MAX }))].into();
            drop(of_workspace(WorkspacePatch { meters, ..WorkspacePatch::default() }).await.unwrap());
        }
        "plan" => {
            let plan = Some(if away { "free" } else { "pro" }.to_owned());
            drop(of_workspace(WorkspacePatch { plan, ..WorkspacePatch::default() }).await.unwrap());
        }
        _ => {
            let status = Some(if away { WorkspaceStatus::Suspended } else { WorkspaceStatus::Active });
            drop(of_workspace(WorkspacePatch { status, ..WorkspacePatch::default() }).await.unwrap());
        }
    }
}

/// Takes one thing away from a warm key that is in use all the time, and gives it back, again and again.
async fn race_narrowing(world: &World, what: &str, told: &str, rounds: usize) {
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &["*:*"]).await;
    change(world, id, workspace, "limit", false).await;
    change(world, id, workspace, "rate", false).await;
    let asking = Asking::of(world, &key, GENERATE);
    // Odd from each acknowledgement until what was taken away is given back.
    let phase = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(AtomicU64::new(0));
    let hammer = {
        let (asking, stop, phase) = (asking.clone(), Arc::clone(&stop), Arc::clone(&phase));
        let accepted = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut late = 0;
            while !stop.load(Ordering::SeqCst) {
                let start = phase.load(Ordering::SeqCst);
                let passed = asking.ask().await.is_ok();
                accepted.fetch_add(u64::from(passed), Ordering::SeqCst);
                late += u64::from(passed && start % 2 == 1 && phase.load(Ordering::SeqCst) == start);
                tokio::task::yield_now().await;
            }
            late
        })
    };
    for round in 0..rounds {
        // Time alone fills the bucket that the hammer empties.
        world.time.advance_micros(1_000_000);
        let before = accepted.load(Ordering::SeqCst);
        while accepted.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        change(world, id, workspace, what, true).await;
        phase.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(asking.ask().await, Err(told), "{what}, round {round}");
        }
        phase.fetch_add(1, Ordering::SeqCst);
        change(world, id, workspace, what, false).await;
        assert_eq!(asking.ask().await, Ok(()), "{what} given back, round {round}");
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(hammer.await.unwrap(), 0, "{what}: accepted although it started later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_narrowing_of_a_warm_key_refuses_each_request_that_starts_after_it() {
    const ROUNDS: usize = 200;
    let world = Arc::new(World::new());
    // Side by side, so that they share commits.
    let mut races = JoinSet::new();
    for (what, told) in NARROWINGS {
        let world = Arc::clone(&world);
        races.spawn(async move { race_narrowing(&world, what, told, ROUNDS).await });
    }
    races.join_all().await;
}

/// What ends a key or its secret for good, raced with a warm key's requests, as far apart as `most_micros`.
async fn race_warm_end(world: &World, ends: &str, rounds: u32, most_micros: u32) {
    for round in 0..rounds {
        let (workspace, _) = world.workspace("pro").await;
        let (id, key) = world.key(workspace, &[READ]).await;
        change(world, id, workspace, "rate", false).await;
        let asking = Asking::of(world, &key, READ);
        assert_eq!(asking.ask().await, Ok(()), "{ends}, round {round}: warm");
        let (start, racer) = (Arc::new(Barrier::new(2)), asking.clone());
        let started = Arc::clone(&start);
        let racing = tokio::spawn(async move {
            started.wait().await;
            while racer.ask().await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        start.wait().await;
        spin(most_micros * round / rounds);
        let (engine, by) = (&world.engine, Actor::System);
        match ends {
            "revoke" => drop(engine.revoke_key(by, id).await.unwrap()),
            "deletion" => drop(engine.delete_workspace(by, workspace).await.unwrap()),
            _ => drop(engine.rotate_key(by, id, Overlap::NONE).await.unwrap()),
        }
        for _ in 0..3 {
            assert_eq!(asking.ask().await, Err("revoked"), "{ends}, round {round}");
        }
        racing.await.unwrap();
        assert_eq!(asking.ask().await, Err("revoked"), "{ends}, round {round}: nothing was left behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_end_of_a_warm_key_or_secret_refuses_each_request_that_starts_after_it() {
    let world = Arc::new(World::new());
    let mut races = JoinSet::new();
    for ends in ["revoke", "deletion", "rotation"] {
        let world = Arc::clone(&world);
        races.spawn(async move { race_warm_end(&world, ends, 200, 200).await });
    }
    races.join_all().await;
}

/// One key of the model: when its revoke began and when it was acknowledged; 0 is not yet.
struct Modelled {
    id: KeyId,
    asking: Asking,
    revoke_began: AtomicU64,
    revoke_acknowledged: AtomicU64,
}

/// What the tasks of the model share.
struct Model {
    world: World,
    workspace: WorkspaceId,
    clock: AtomicU64,
    keys: Mutex<Vec<Arc<Modelled>>>,
    stop: AtomicBool,
}

impl Model {
    /// A number behind all that were drawn before.
    fn stamp(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn some_key(&self, random: u64) -> Option<Arc<Modelled>> {
        let keys = self.keys.lock().unwrap();
        let place = usize::try_from(random).unwrap().checked_rem(keys.len())?;
        Some(Arc::clone(&keys[place]))
    }

    async fn create(&self) {
        // Time alone fills the buckets.
        self.world.time.advance_micros(1_000_000);
        let (id, key) = self.world.key(self.workspace, &[READ]).await;
        let fast = KeyPatch { rate: Some(Some(deep_rate().into())), ..KeyPatch::default() };
        self.world.engine.update_key(Actor::System, id, fast).await.unwrap();
        let asking = Asking::of(&self.world, &key, READ);
        let (revoke_began, revoke_acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
        let made = Modelled { id, asking, revoke_began, revoke_acknowledged };
        self.keys.lock().unwrap().push(Arc::new(made));
    }

    async fn verify(&self, key: &Modelled) {
        let start = self.stamp();
        let said = key.asking.ask().await;
        let end = self.stamp();
        let (began, acknowledged) =
            (key.revoke_began.load(Ordering::SeqCst), key.revoke_acknowledged.load(Ordering::SeqCst));
        match said {
            Ok(()) => assert!(acknowledged == 0 || start < acknowledged, "accepted after the revoke"),
            Err("revoked") => assert!(began != 0 && began < end, "refused before the revoke"),
            Err(other) => panic!("{other}"),
        }
    }

    async fn revoke(&self, key: &Modelled) {
        let _ = key.revoke_began.compare_exchange(0, self.stamp(), Ordering::SeqCst, Ordering::SeqCst);
        self.world.engine.revoke_key(Actor::System, key.id).await.unwrap();
        let _ = key.revoke_acknowledged.compare_exchange(0, self.stamp(), Ordering::SeqCst, Ordering::SeqCst);
    }

    async fn list(&self) {
        let known = self.keys.lock().unwrap().clone();
        let acknowledged: Vec<_> =
            known.iter().map(|key| key.revoke_acknowledged.load(Ordering::SeqCst) != 0).collect();
        let list =
            KeyList { workspace: Some(self.workspace), leave_out: None, status: None, unused_since: None };
        let mut shown = HashMap::new();
        loop {
            let page = Page::new(shown.len(), 100);
            let listed = self.world.engine.key_views(list, page).await.unwrap();
            let before = shown.len();
            shown.extend(listed.items.into_iter().map(|view| (view.record.id, view.record.revoked_at)));
            if shown.len() == before {
                break;
            }
        }
        for (key, acknowledged) in known.iter().zip(acknowledged) {
            let revoked_at = shown.get(&key.id).expect("a key that was acknowledged is listed");
            assert!(!acknowledged || revoked_at.is_some(), "listed as it was before its revoke");
            let began = key.revoke_began.load(Ordering::SeqCst);
            assert!(began != 0 || revoked_at.is_none(), "listed as revoked before it was");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn b10_creates_verifications_revokes_and_lists_at_random_agree_with_a_model() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (clock, keys, stop) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
    let model = Arc::new(Model { world, workspace, clock, keys, stop });
    model.create().await;
    let mut tasks = JoinSet::new();
    for task in 1..=6u64 {
        let model = Arc::clone(&model);
        tasks.spawn(async move {
            let mut random = task.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut steps = 0;
            while !model.stop.load(Ordering::SeqCst) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let key = model.some_key(random >> 8).unwrap();
                let doing = async {
                    match random % 64 {
                        0..=3 => model.create().await,
                        4..=5 => model.revoke(&key).await,
                        6 => model.list().await,
                        _ => model.verify(&key).await,
                    }
                };
                tokio::time::timeout(PATIENCE, doing).await.expect("no call hangs");
                steps += 1;
            }
            steps
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    model.stop.store(true, Ordering::SeqCst);
    let steps = tokio::time::timeout(PATIENCE, tasks.join_all()).await.expect("no task hangs");
    assert!(steps.into_iter().all(|steps: u32| steps > 0));
    model.list().await;
}
