//! The two ways to compare servers, and what is told of them.
//!
//! *Together*: all are loaded at the same time on the same core, and what counts is the processor time that each one
//! spends on a request, second by second. Whatever else the machine does hits all of them alike, so this is good to
//! one part in a hundred. *In turn*: one after the other is loaded alone, and what counts is the requests a second.
//! That needs many rounds, and a client that is as busy as the server hides differences.
//!
//! Never here: which servers there are.

use std::rc::Rc;
use std::time::Duration;

use keyward::clock::Clock;

use super::client::{Load, Requests, ask, drive, now_nanos};
use super::process::Process;

/// Connections to each server.
pub(crate) const CONNECTIONS: usize = 16;

/// How long everything takes.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Together: so many pieces of so long.
    pub(crate) pieces: usize,
    pub(crate) piece: Duration,
    /// In turn: so many rounds, in each of which every server is loaded for so long.
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// Open loop: so many rounds for each server, of so long, at no more than this pace.
    pub(crate) latency_rounds: usize,
    pub(crate) latency_round: Duration,
    pub(crate) latency_per_sec_max: f64,
    /// How long each contestant is asked before, at least.
    pub(crate) warm_up: Duration,
    /// What "many keys" is.
    pub(crate) keys: usize,
    /// What "very many keys" is, and how many of them are asked for in turn.
    pub(crate) keys_stored: usize,
    pub(crate) keys_in_use: usize,
}

/// A server and who asks it.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) process: Rc<Process>,
    load: Load,
}

impl Contestant {
    /// Asks once, to see that the answer is this one.
    pub(crate) fn new(
        name: &'static str,
        process: impl Into<Rc<Process>>,
        mut requests: Requests,
        status: u16,
    ) -> Self {
        let process = process.into();
        let answer = ask(process.address, &mut requests);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let load = Load::new(process.address, CONNECTIONS, requests, &answer);
        Self { name, process, load }
    }

    /// Asks with each of its requests at least once, so that what is measured is warm.
    pub(crate) fn warmed(mut self, clock: &Clock, least: Duration) -> Self {
        let requests = u64::try_from(self.load.different()).unwrap() + 1;
        let end_nanos = now_nanos(clock) + nanos(least);
        drive(&mut [&mut self.load], clock, |loads, now| loads[0].answers < requests || now < end_nanos);
        self
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// The processor time of a request in nanoseconds, of each contestant in each piece.
pub(crate) fn together(contestants: &mut [Contestant], clock: &Clock, scale: &Scale) -> Vec<Vec<f64>> {
    let (mut loads, processes): (Vec<_>, Vec<_>) =
        contestants.iter_mut().map(|contestant| (&mut contestant.load, &*contestant.process)).unzip();
    let mut told = vec![Vec::with_capacity(scale.pieces); loads.len()];
    let mut before: Vec<(u64, u64)> = Vec::new();
    // What connecting costs is not in the first piece.
    let mut piece_ends = now_nanos(clock) + nanos(scale.piece) / 4;
    drive(&mut loads, clock, |loads, now| {
        if now < piece_ends {
            return true;
        }
        piece_ends = now + nanos(scale.piece);
        let stand: Vec<_> =
            loads.iter().zip(&processes).map(|(load, process)| (process.cpu_nanos(), load.answers)).collect();
        for ((told, before), stand) in told.iter_mut().zip(&before).zip(&stand) {
            told.push((stand.0 - before.0) as f64 / (stand.1 - before.1) as f64);
        }
        before = stand;
        told[0].len() < scale.pieces
    });
    told
}

/// The requests a second of each contestant in each round.
pub(crate) fn in_turn(contestants: &mut [Contestant], clock: &Clock, scale: &Scale) -> Vec<Vec<f64>> {
    let mut told = vec![Vec::with_capacity(scale.rounds); contestants.len()];
    for round in 0..scale.rounds {
        for step in 0..contestants.len() {
            // Nobody is always the first.
            let place = (round + step) % contestants.len();
            let load = &mut contestants[place].load;
            let (began, before) = (now_nanos(clock), load.answers);
            drive(&mut [load], clock, |_, now| now < began + nanos(scale.round));
            let answers = contestants[place].load.answers - before;
            told[place].push(answers as f64 * 1e9 / (now_nanos(clock) - began) as f64);
        }
    }
    told
}

/// Shows what was measured, each beside the first: a median and, behind it, where half of the measurements lie.
pub(crate) fn show(title: &str, unit: &str, contestants: &[Contestant], measured: &[Vec<f64>]) {
    println!("\n{title:<58} {unit:>12} {:>8}   half of them lie", "×");
    for (contestant, told) in contestants.iter().zip(measured) {
        let ratio = Spread::ratio(told, &measured[0]);
        println!("  {:<56} {:>12.0} {ratio}", contestant.name, Spread::of(told).median);
    }
}

/// What many measurements of one thing say: half of them lie between `low` and `high`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(measured: &[f64]) -> Self {
        let mut sorted = measured.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| sorted[(sorted.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Of what was measured at the same time (or right beside each other), piece by piece.
    pub(crate) fn ratio(of: &[f64], to: &[f64]) -> Self {
        let ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Self::of(&ratios)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7.3}  ({:.3} to {:.3})", self.median, self.low, self.high)
    }
}
