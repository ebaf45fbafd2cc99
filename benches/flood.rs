//! What do valid callers feel of 200 wrong secrets a second on known prefixes?
//!
//! Over loopback, four kept-alive connections ask with good warm keys and note each answer's time: alone, under
//! a flood on the prefixes of generated keys, and under a flood on the heads of imported keys that were never
//! proven, each of which asks for a slow hash at its full price. The three take turns, and each 99th percentile is held
//! against the idle one of the same turn. Promised: within 3 times that of the idle run, and no slow hash for generated
//! keys. Guessed before measuring: 1.1 times and 2 times.
//!
//! It prints a table; without `--bench` it runs for a moment, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyward::clock::Clock;
use keyward::domain::hash::SlowHashCost;
use keyward::domain::key::{MINT_RANDOM_BYTES, PREFIX_LEN, RawKey, Tag};
use world::bars::{Bar, tell};
use world::daemon::{Caller, Daemon, list_posts};

/// Good callers, each on a connection of its own.
const CALLERS: usize = 4;
/// Rounds, in each of which every flood has this long.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(5);
/// Wrong secrets a second.
const FLOOD_PER_SEC: u32 = 200;
/// Connections that the flood comes through.
const FLOOD_CONNECTIONS: u32 = 50;
/// Keys whose prefixes are flooded.
const VICTIMS: usize = 4;

fn main() {
    let is_test = world::is_smoke_run();
    let (rounds, time) = if is_test { (1, Duration::from_millis(200)) } else { (ROUNDS, ROUND) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let cost = if is_test { world::cheap() } else { SlowHashCost::DEFAULT };
    let daemon = Daemon::start(&runtime, cost);
    let (good, generated, imported) = runtime.block_on(async {
        let workspace = daemon.workspace().await;
        let mut keys = Vec::new();
        for _ in 0..CALLERS + VICTIMS {
            keys.push(daemon.key(&workspace).await);
        }
        let generated = keys.split_off(CALLERS).iter().map(|key| key[..16].to_owned()).collect::<Vec<_>>();
        (keys, generated, import(&daemon, &workspace).await)
    });
    let floods: [(&str, Vec<String>); 3] = [
        ("idle", Vec::new()),
        ("flood on generated keys", generated),
        ("flood on imported keys, never proven", imported),
    ];
    let mut felt = [Felt::default(), Felt::default(), Felt::default()];
    for _ in 0..rounds {
        for ((_, heads), felt) in floods.iter().zip(&mut felt) {
            let before = daemon.running.engine().slow_hashes();
            let times = runtime.block_on(measure(daemon.data(), &good, heads, time));
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
            felt.p50.push(at(50));
            felt.p99.push(at(99));
            felt.slow_hashes += daemon.running.engine().slow_hashes() - before;
        }
    }
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>12}",
        "callers with good warm keys", "p50", "p99", "× idle", "slow hashes"
    );
    for ((name, _), felt_here) in floods.iter().zip(&felt) {
        let (p50, p99, times_idle) =
            (median(&felt_here.p50), median(&felt_here.p99), felt_here.times(&felt[0]));
        println!("{name:<44} {p50:>6.0} µs {p99:>6.0} µs {times_idle:>9.2} {:>12}", felt_here.slow_hashes);
    }
    let [idle, generated, imported] = &felt;
    tell(
        "11",
        "flood of wrong secrets on generated keys, valid p99 × idle",
        generated.times(idle),
        Bar::Most(1.5),
    );
    tell("11", "slow hashes by that flood", generated.slow_hashes as f64, Bar::Most(0.0));
    tell("9", "slow hashes all the time, valid p99 × idle", imported.times(idle), Bar::Most(3.0));
    runtime.block_on(daemon.running.stop()).unwrap();
}

/// What good callers felt in all rounds of one kind, in microseconds.
#[derive(Default)]
struct Felt {
    p50: Vec<f64>,
    p99: Vec<f64>,
    slow_hashes: u64,
}

impl Felt {
    /// The 99th percentile in multiples of the idle one, round by round.
    fn times(&self, idle: &Self) -> f64 {
        median(&self.p99.iter().zip(&idle.p99).map(|(of, to)| of / to).collect::<Vec<_>>())
    }
}

fn median(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Keys that only the slow hash can prove: their hashes are of texts that nobody presents.
async fn import(daemon: &Daemon, workspace: &str) -> Vec<String> {
    let hash = |letter| {
        let salt = format!("{letter}wMDAwMDAwMDAwMDAwMDAw");
        format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A")
    };
    let heads: Vec<_> = (0..VICTIMS).map(|number| format!("old_{number:04}")).collect();
    let keys: Vec<_> = ('A'..)
        .zip(&heads)
        .map(|(letter, head)| serde_json::json!({"hash": hash(letter), "prefix": head}))
        .collect();
    let shape = serde_json::json!({"tag": "old_", "length": 40, "alphabet": "base62", "head_length": 8});
    let body = serde_json::json!({"workspace_id": workspace, "shape": shape, "keys": keys});
    let report = daemon.admin("POST /api/v1/keys/import", &body.to_string()).await;
    assert_eq!(report["taken"], VICTIMS, "{report}");
    heads
}

/// How long each answer to a good caller took, sorted, while the flood goes on.
async fn measure(address: SocketAddr, good: &[String], heads: &[String], time: Duration) -> Vec<Duration> {
    let over = Arc::new(AtomicBool::new(false));
    let number = Arc::new(AtomicU64::new(1));
    let flood: Vec<_> = (0..if heads.is_empty() { 0 } else { FLOOD_CONNECTIONS })
        .map(|place| {
            // One after the other, not all at once.
            let start = Duration::from_secs(1) * place / FLOOD_PER_SEC;
            let (heads, over, number) = (heads.to_vec(), Arc::clone(&over), Arc::clone(&number));
            tokio::spawn(async move {
                tokio::time::sleep(start).await;
                flood(address, heads, over, number).await;
            })
        })
        .collect();
    let callers: Vec<_> = good.iter().map(|key| tokio::spawn(call(address, list_posts(key), time))).collect();
    let mut times = Vec::new();
    for caller in callers {
        times.append(&mut caller.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    for task in flood {
        task.await.unwrap();
    }
    times.sort();
    times
}

async fn call(address: SocketAddr, request: String, time: Duration) -> Vec<Duration> {
    let clock = Clock::machine();
    let mut caller = Caller::connect(address, request).await;
    let now_nanos = || clock.now().mono.nanos();
    let end_nanos = now_nanos() + u64::try_from(time.as_nanos()).unwrap();
    let mut times = Vec::new();
    loop {
        let before_nanos = now_nanos();
        if before_nanos > end_nanos {
            return times;
        }
        assert_eq!(caller.call().await.0, 200);
        times.push(Duration::from_nanos(now_nanos() - before_nanos));
        // A caller with a pause, as callers have: the machine must not be full before the flood comes.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One of the flood's connections: a new wrong secret each time, refused or told to come back.
async fn flood(address: SocketAddr, heads: Vec<String>, over: Arc<AtomicBool>, number: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * FLOOD_CONNECTIONS / FLOOD_PER_SEC);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = number.fetch_add(1, Ordering::Relaxed);
        let head = &heads[usize::try_from(number).unwrap() % heads.len()];
        let mut caller = Caller::connect(address, list_posts(&wrong(head, number))).await;
        let (status, _) = caller.call().await;
        assert!(status == 401 || status == 503, "{status}");
    }
}

/// A text of this head that no key has.
fn wrong(head: &str, number: u64) -> String {
    let Some(prefix) = head.strip_prefix("sk_live_") else { return format!("{head}{number:032}") };
    let mut drawn = [0; MINT_RANDOM_BYTES];
    for (byte, character) in drawn.iter_mut().zip(prefix.bytes()) {
        *byte = match character {
            b'0'..=b'9' => character - b'0',
            b'A'..=b'Z' => character - b'A' + 10,
            _ => character - b'a' + 36,
        };
    }
    for (byte, random) in drawn[PREFIX_LEN..].iter_mut().zip(blake3::hash(&number.to_le_bytes()).as_bytes()) {
        *byte = random % 62;
    }
    RawKey::mint(&Tag::parse("sk_live_").unwrap(), &drawn).unwrap().reveal().to_owned()
}
