//! What does the slow path cost beside argon2id alone, and how much of it runs at once?
//!
//! An engine that keeps no proofs and no fingerprints proves every key by the slow hash at its full price, which is
//! held against the same hash in the same memory, made by the library alone, one after the other in turn. Then many ask
//! at once: promised is that all cores but one hash at the same time, and that it takes no more memory. Guessed before
//! measuring: 1.01 times (the hop to a worker and a read of the file), 1 on two cores, nothing.
//!
//! What hot callers feel of it is the question of `flood`. It prints a table; without `--bench` it runs for a moment
//! with a cheap hash, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use keyward::clock::Clock;
use keyward::config::{load_profile, shipped};
use keyward::domain::audit::Actor;
use keyward::domain::decision::Wanted;
use keyward::domain::hash::SlowHashCost;
use keyward::domain::key::RawKey;
use keyward::domain::permission::Permission;
use keyward::domain::profile::{Profile, Requirement};
use keyward::domain::record::{Label, SignatureReplay};
use keyward::engine::{
    Attempt, Door, Engine, EngineOptions, InstallSecrets, NewKey, NewWorkspace, SlowHashOptions,
};
use keyward::store::{Store, StoreOptions};
use world::bars::{Bar, tell};

/// KiB and passes of the default.
const COST: (u32, u32) = (19_456, 2);
/// Pairs that are measured one after the other.
const PAIRS: usize = 60;
/// Keys that ask at once; each asks again and again.
const CROWD: usize = 8;
const CROWD_CALLS: usize = 10;

fn main() {
    let is_test = world::is_smoke_run();
    let (cost, pairs, calls) = if is_test { ((8, 1), 3, 1) } else { (COST, PAIRS, CROWD_CALLS) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let workers = cores.saturating_sub(1).max(1);
    let slow = Slow::start(&runtime, dir.path(), cost, workers);
    let clock = Clock::machine();
    let timed = |work: &mut dyn FnMut()| {
        let before = clock.now().mono.nanos();
        work();
        (clock.now().mono.nanos() - before) as f64
    };

    let mut alone = Alone::new(cost);
    let (mut of_library, mut of_engine) = (Vec::new(), Vec::new());
    let hashes_before = slow.engine.slow_hashes();
    for pair in 0..pairs {
        of_library.push(timed(&mut || alone.hash()));
        of_engine.push(timed(&mut || runtime.block_on(slow.verify(pair % CROWD))));
    }
    let hashes = slow.engine.slow_hashes() - hashes_before;
    assert_eq!(hashes, pairs as u64, "a key was proven without the slow hash");
    let ratios: Vec<_> =
        of_engine.iter().zip(&of_library).map(|(engine, library)| engine / library).collect();
    let library_nanos = median(&of_library);
    println!("{:<44} {:>10}", "one at a time", "time");
    println!("{:<44} {:>7.2} ms", "argon2id alone", library_nanos / 1e6);
    println!("{:<44} {:>7.2} ms", "a verify that needs it", median(&of_engine) / 1e6);
    tell("9", "slow path × argon2id alone", median(&ratios), Bar::Most(1.03));

    let resident_before = resident_bytes();
    let hashes_before = slow.engine.slow_hashes();
    let slow = Arc::new(slow);
    let took = timed(&mut || {
        let crowd: Vec<_> = (0..CROWD)
            .map(|key| {
                let slow = Arc::clone(&slow);
                runtime.spawn(async move {
                    for _ in 0..calls {
                        slow.verify(key).await;
                    }
                })
            })
            .collect();
        for one in crowd {
            runtime.block_on(one).unwrap();
        }
    });
    // Who asks again at once may still share what its key was just proven by.
    let hashes = slow.engine.slow_hashes() - hashes_before;
    let at_once = library_nanos * hashes as f64 / took;
    tell(
        "9",
        &format!("slow hashes in flight at once, on {cores} cores"),
        at_once,
        Bar::Most(workers as f64 * 1.03),
    );
    let grown = (resident_bytes() as f64 - resident_before as f64) / 1024.0 / 1024.0;
    tell(
        "9",
        "memory that a crowd at the slow path takes beside its workers' own, MiB",
        grown,
        Bar::Most(1.0),
    );
    runtime.block_on(async { slow.engine.stop() });
}

/// An engine whose keys are proven by the slow hash each time.
struct Slow {
    engine: Arc<Engine>,
    profile: Arc<Profile>,
    keys: Vec<RawKey>,
}

impl Slow {
    fn start(
        runtime: &tokio::runtime::Runtime,
        dir: &std::path::Path,
        cost: (u32, u32),
        workers: usize,
    ) -> Self {
        let store = Store::open(&dir.join("keyward.redb"), StoreOptions::default()).unwrap();
        let profile = load_profile(shipped("socialcrm").unwrap(), "socialcrm").unwrap().profile;
        let cost = SlowHashCost::new(cost.0, cost.1).unwrap();
        let options = EngineOptions {
            proofs_max: 0,
            slow_hash: SlowHashOptions { cost, workers, queue_max: 64 },
            keyless_rate: None,
            reads_max: 32,
            replays_max: 1_000,
            stores_fingerprints: false,
        };
        let secret = InstallSecrets::create(&dir.join("install.secret")).unwrap();
        let engine = Engine::new(store, Clock::machine(), [Arc::clone(&profile)], secret, options).unwrap();
        let keys = runtime.block_on(async {
            let wanted = NewWorkspace {
                name: Label::parse("bench").unwrap(),
                profile: "socialcrm".to_owned(),
                plan: "enterprise".to_owned(),
                billing_anchor: None,
                brands: Vec::new(),
            };
            let workspace = engine.create_workspace(Actor::System, wanted).await.unwrap().workspace.id;
            let mut keys = Vec::new();
            for _ in 0..CROWD {
                let wanted = NewKey {
                    workspace,
                    name: None,
                    description: None,
                    permissions: vec![Permission::everything()],
                    expires_at: None,
                    addresses: None,
                    rate: None,
                    metadata: None,
                    require_signature: false,
                    signature_replay: SignatureReplay::Once,
                };
                keys.push(engine.create_key(Actor::System, wanted).await.unwrap().raw);
            }
            keys
        });
        Self { engine, profile, keys }
    }

    async fn verify(&self, key: usize) {
        let attempt = Attempt {
            door: Door::Verify,
            profile: &self.profile,
            credential: Ok(self.keys[key].reveal().as_bytes()),
            wanted: Wanted::Known(Requirement::default()),
            address: None,
            cost: 1,
        };
        self.engine.verify(attempt).await.unwrap();
    }
}

/// The library's hash in memory that is kept.
struct Alone {
    argon2: Argon2<'static>,
    blocks: Vec<Block>,
}

impl Alone {
    fn new((memory_kib, passes): (u32, u32)) -> Self {
        let params = Params::new(memory_kib, passes, 1, Some(32)).unwrap();
        let blocks = vec![Block::new(); params.block_count()];
        Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), blocks }
    }

    fn hash(&mut self) {
        let mut out = [0; 32];
        let (text, salt) = (b"sk_live_777777777777777777777777777777Eh", [7; 16]);
        self.argon2.hash_password_into_with_memory(text, &salt, &mut out, &mut self.blocks).unwrap();
        std::hint::black_box(out);
    }
}

fn median(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// What of this process lies in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
