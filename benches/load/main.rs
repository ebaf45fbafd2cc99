//! What does Keyward cost, as a whole and over HTTP, beside servers that do less or the same?
//!
//! The real binary and its yardsticks run at the same time on one core, and are asked by a client on another over kept
//! connections: a bare hyper server that gives the same answer and looks at nothing, nginx and HAProxy with a map of
//! keys and a limit for each, nginx with Lua, and proxies to the same upstream. Told are ratios within one run: of the
//! processor time of a request, all loaded together (good to 1 %: two copies of the same server are compared to show
//! it), and of requests a second, loaded in turn. Behind each median stand the quartiles.
//!
//! Guessed before measuring: a hot verify 1.4 × bare hyper (and 1.5 with 10 thousand keys, 1.6 with a body), a refusal
//! of an unknown key 1.5 × an acceptance and any other one 1.1, the gate 2 × nginx's `proxy_pass`, a tool's call 1.2 ×
//! that; p99 at half load 1.3 × bare hyper's.
//!
//! ```text
//! cargo bench --bench load                        everything: half an hour on a machine that does nothing else
//! cargo bench --bench load -- --quick             everything, coarsely: a few minutes
//! cargo bench --bench load -- bar1 bar5           these alone
//! ```
//!
//! It needs Linux and two cores, and `taskset` to keep servers and clients apart. A yardstick that is not installed is
//! named and left out. limitador, better-auth and LiteLLM are not run: bar 17 is told from their published distance to
//! bare hyper. Without `--bench` it runs for a moment, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod client;
mod gate;
mod hot;
mod keyward;
mod latency;
mod measure;
mod memory;
mod process;
mod refusals;
#[path = "../world/mod.rs"]
mod world;
mod wrk;
mod yardsticks;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use ::keyward::clock::Clock;
use tokio::runtime::Runtime;

use crate::keyward::Files;
use crate::measure::Scale;

/// As long as figures need that are to be believed.
const FULL: Scale = Scale {
    pieces: 20,
    piece: Duration::from_secs(1),
    rounds: 30,
    round: Duration::from_secs(1),
    latency_rounds: 12,
    latency_round: Duration::from_secs(2),
    latency_per_sec_max: f64::INFINITY,
    warm_up: Duration::from_secs(2),
    keys: 10_000,
    keys_stored: 1_000_000,
    keys_in_use: 100_000,
};

/// To see roughly.
const QUICK: Scale = Scale {
    pieces: 5,
    piece: Duration::from_millis(500),
    rounds: 6,
    round: Duration::from_millis(300),
    latency_rounds: 4,
    latency_round: Duration::from_millis(500),
    latency_per_sec_max: f64::INFINITY,
    warm_up: Duration::from_millis(300),
    keys: 10_000,
    keys_stored: 100_000,
    keys_in_use: 50_000,
};

/// To see that it works.
const SMOKE: Scale = Scale {
    pieces: 2,
    piece: Duration::from_millis(50),
    rounds: 1,
    round: Duration::from_millis(50),
    latency_rounds: 1,
    latency_round: Duration::from_millis(100),
    latency_per_sec_max: 500.0,
    warm_up: Duration::ZERO,
    keys: 50,
    keys_stored: 100,
    keys_in_use: 60,
};

/// What all bars share.
pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(crate) scale: Scale,
    pub(crate) runtime: Runtime,
    dir: tempfile::TempDir,
    many: OnceCell<Files>,
}

impl Bench {
    /// A place for files that goes away with the bench.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Keyward's files with many keys, made at the first call.
    pub(crate) fn many(&self) -> &Files {
        self.many.get_or_init(|| Files::make(&self.runtime, self.dir("many"), self.scale.keys))
    }
}

fn main() {
    if yardsticks::hyper::was_what_is_asked() {
        return;
    }
    let scale = if world::is_smoke_run() {
        SMOKE
    } else if std::env::args().any(|argument| argument == "--quick") {
        QUICK
    } else {
        FULL
    };
    if process::pin_to_clients_core() {
        println!("servers on core 0, clients on core 1");
    } else {
        println!("nothing is pinned (one core, or no `taskset`): the figures say little");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench { clock: Clock::machine(), scale, runtime, dir, many: OnceCell::new() };
    let asked: Vec<_> = std::env::args().filter(|argument| argument.starts_with("bar")).collect();
    let is_asked =
        |names: &[&str]| asked.is_empty() || names.iter().any(|name| asked.iter().any(|bar| bar == name));
    for (names, measure) in BARS {
        if is_asked(names) {
            measure(&bench);
        }
    }
}

type Measure = fn(&Bench);

/// What is measured, by the numbers of the bars that it tells.
const BARS: [(&[&str], Measure); 9] = [
    (&["bar1", "bar17"], hot::few_keys),
    (&["bar2"], hot::many_keys),
    (&["bar2"], hot::stored_keys),
    (&["bar3"], hot::beside_limiters),
    (&["bar4"], refusals::refusals),
    (&["bar5", "bar6"], gate::proxied),
    (&["bar10"], latency::half_load),
    (&["bar11"], latency::checkpoints),
    (&["bar12"], memory::memory),
];
