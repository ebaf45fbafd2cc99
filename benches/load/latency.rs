//! Bars 10 and 11: how long answers take when requests come at their own times, whoever is still being answered.
//!
//! Each request has a planned time (the gaps between them are random, as those of many callers are), and an answer's
//! time is counted from there: a server that stands still for a moment is charged for everyone who would have come.
//!
//! Never here: a client that waits for one answer before it plans the next request.

use std::collections::VecDeque;
use std::time::Duration;

use ::keyward::clock::Clock;

use crate::Bench;
use crate::client::{Connection, Expected, Requests, ask, now_nanos};
use crate::hot::{FEW, PROOFS_MAX, beside_bare, get, in_words};
use crate::keyward::Behind;
use crate::measure::{Scale, Spread, in_turn, nanos};
use crate::process::Process;
use crate::world::bars::{Bar, tell};

/// Connections that requests find a free one of; more than are ever busy at half load.
const CONNECTIONS: usize = 64;
/// Requests a second of the bar about checkpoints: each of so many keys once.
const DIRTY_PER_SEC: f64 = 10_000.0;

/// One server and who asks it at planned times.
struct Paced<'a> {
    name: &'a str,
    connections: Vec<Connection>,
    requests: Requests,
    expected: Expected,
}

impl<'a> Paced<'a> {
    fn new(name: &'a str, process: &Process, mut requests: Requests) -> Self {
        let expected = Expected::like(&ask(process.address, &mut requests));
        let connections = (0..CONNECTIONS).map(|_| Connection::open(process.address)).collect();
        Self { name, connections, requests, expected }
    }

    /// Asks so many times a second for so long; gives the answers' times in nanoseconds, sorted.
    fn answer_nanos(&mut self, clock: &Clock, per_sec: f64, time: Duration, gaps: &mut Gaps) -> Vec<u64> {
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut out: Vec<(usize, u64)> = Vec::new();
        let mut taken = Vec::new();
        let mut planned = now_nanos(clock);
        let end = planned + nanos(time);
        while planned < end || !out.is_empty() {
            let now = now_nanos(clock);
            while planned < end.min(now) {
                let Some(place) = free.pop_front() else { break };
                self.connections[place].send(self.requests.next());
                out.push((place, planned));
                planned += gaps.next_nanos(per_sec);
            }
            out.retain(|&(place, planned)| {
                let is_out = !self.connections[place].has_answer(&self.expected);
                if !is_out {
                    taken.push(now_nanos(clock) - planned);
                    free.push_back(place);
                }
                is_out
            });
        }
        taken.sort_unstable();
        taken
    }
}

/// Times between requests that come independently of each other; the same in each run.
struct Gaps(u64);

impl Gaps {
    fn next_nanos(&mut self, per_sec: f64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let part = ((self.0 >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-part.ln() / per_sec).as_nanos().try_into().unwrap()
    }
}

/// The parts of all answers whose times are told.
const PARTS: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// Asks all in turn, round by round; gives for each of them, and each part, what the rounds said, in nanoseconds.
fn measure(bench: &Bench, paced: &mut [Paced<'_>], per_sec: f64) -> Vec<[Vec<f64>; 3]> {
    let mut gaps = Gaps(0x9E37_79B9_7F4A_7C15);
    let mut told: Vec<[Vec<f64>; 3]> = paced.iter().map(|_| Default::default()).collect();
    for round in 0..bench.scale.latency_rounds {
        for step in 0..paced.len() {
            let place = (round + step) % paced.len();
            let taken =
                paced[place].answer_nanos(&bench.clock, per_sec, bench.scale.latency_round, &mut gaps);
            for ((_, part), told) in PARTS.iter().zip(&mut told[place]) {
                let at = ((taken.len() - 1) as f64 * part).round();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a place in the list"
                )]
                told.push(taken[at as usize] as f64);
            }
        }
    }
    let first = &told[0];
    for (paced, told) in paced.iter().zip(&told) {
        for (part, (name, _)) in PARTS.iter().enumerate() {
            let (median, ratio) =
                (Spread::of(&told[part]).median / 1e3, Spread::ratio(&told[part], &first[part]));
            println!("  {:<50} {name:>5} {median:>9.0} µs {ratio}", paced.name);
        }
    }
    told
}

pub(crate) fn half_load(bench: &Bench) {
    let files = bench.many();
    let keyward = files.serve(&Behind::Nobody, PROOFS_MAX);
    let requests = get(&files.keys[..FEW.min(files.keys.len())]);
    let mut contestants = beside_bare(bench, keyward, requests.clone(), 204, 1);
    let few = Scale { rounds: bench.scale.rounds.div_ceil(5), ..bench.scale };
    let most = Spread::of(&in_turn(&mut contestants, &bench.clock, &few)[1]).median;
    let per_sec = (most / 2.0).min(bench.scale.latency_per_sec_max);
    println!("\nbar 10: open loop, {per_sec:.0} requests a second, half of what Keyward can");
    let mut paced: Vec<_> =
        contestants.iter().map(|one| Paced::new(one.name, &one.process, requests.clone())).collect();
    let told = measure(bench, &mut paced, per_sec);
    let ratio = |part: usize| Spread::ratio(&told[1][part], &told[0][part]).median;
    tell("10", "open loop at half load, p50 × bare hyper", ratio(0), Bar::Told);
    tell("10", "open loop at half load, p99 × bare hyper", ratio(1), Bar::Most(1.5));
    tell("10", "open loop at half load, p99.9 × bare hyper", ratio(2), Bar::Most(2.0));
}

pub(crate) fn checkpoints(bench: &Bench) {
    let files = bench.many();
    let process = files.serve(&Behind::Nobody, PROOFS_MAX).process;
    let per_sec = DIRTY_PER_SEC.min(bench.scale.latency_per_sec_max);
    let few = get(&files.keys[..FEW.min(files.keys.len())]);
    let keys = in_words(files.keys.len());
    let many = format!("{keys} keys in turn");
    println!(
        "\nbar 11: open loop, {per_sec:.0} requests a second; each second's checkpoint saves 10 keys or all of them"
    );
    let mut paced =
        [Paced::new("10 keys in turn", &process, few), Paced::new(&many, &process, get(&files.keys))];
    // Each key's first use reads the file.
    for paced in &mut paced {
        paced.answer_nanos(&bench.clock, per_sec, bench.scale.latency_round, &mut Gaps(1));
    }
    let told = measure(bench, &mut paced, per_sec);
    let ratio = Spread::ratio(&told[1][1], &told[0][1]).median;
    tell(
        "11",
        &format!("checkpoint of {keys} dirty keys a second, valid p99 × that of 10 keys"),
        ratio,
        Bar::Most(1.5),
    );
}
