//! What was seen, and what of it was wrong.
//!
//! Never here: a judgement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use super::truth::Outcome;

/// Wrong verdicts that are told in full.
const TOLD_MAX: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Answers by what was asked and what was said.
    answers: BTreeMap<(String, String), u64>,
    /// Those that something overlapped, so that several would have been right.
    overlapped: u64,
    cut: BTreeMap<String, u64>,
    changes: BTreeMap<&'static str, u64>,
    streams: (u64, u64),
    starts: Vec<Duration>,
    /// Resident memory of the daemon, in KiB, a sample each second.
    memory: Vec<u64>,
    wrong: Vec<String>,
    wrong_count: u64,
}

impl Report {
    pub(crate) fn judged(&self, asked: &str, outcome: Option<Outcome>, is_overlapped: bool) {
        let mut seen = self.0.lock().unwrap();
        let said = outcome.map_or_else(|| "Nothing known".to_owned(), |outcome| format!("{outcome:?}"));
        *seen.answers.entry((asked.to_owned(), said)).or_default() += 1;
        seen.overlapped += u64::from(is_overlapped);
    }

    pub(crate) fn cut(&self, asked: &str, is_excused: bool) {
        let why = if is_excused { "away, or its key ended" } else { "for nothing" };
        *self.0.lock().unwrap().cut.entry(format!("{asked}: {why}")).or_default() += 1;
    }

    pub(crate) fn changed(&self, what: &'static str) {
        *self.0.lock().unwrap().changes.entry(what).or_default() += 1;
    }

    pub(crate) fn stream_opened(&self) {
        self.0.lock().unwrap().streams.0 += 1;
    }

    pub(crate) fn stream_ended(&self) {
        self.0.lock().unwrap().streams.1 += 1;
    }

    pub(crate) fn started(&self, took: Duration) {
        self.0.lock().unwrap().starts.push(took);
    }

    pub(crate) fn remember_memory(&self, kib: u64) {
        self.0.lock().unwrap().memory.push(kib);
    }

    pub(crate) fn wrong(&self, what: String) {
        let mut seen = self.0.lock().unwrap();
        seen.wrong_count += 1;
        if seen.wrong.len() < TOLD_MAX {
            seen.wrong.push(what);
        }
    }

    pub(crate) fn all_wrong(&self) -> Vec<String> {
        self.0.lock().unwrap().wrong.clone()
    }

    /// The answers that were judged, and how many kinds of them there were.
    pub(crate) fn breadth(&self) -> (u64, usize) {
        let seen = self.0.lock().unwrap();
        (seen.answers.values().sum(), seen.answers.len())
    }

    /// The medians, in KiB, of the first and the last third of the memory that one process took.
    pub(crate) fn memory_medians(&self) -> Option<(u64, u64)> {
        let seen = self.0.lock().unwrap();
        let third = seen.memory.len() / 3;
        let median = |part: &[u64]| {
            let mut kib = part.to_vec();
            kib.sort_unstable();
            kib.get(kib.len() / 2).copied()
        };
        Some((median(seen.memory.get(..third)?)?, median(seen.memory.get(2 * third..)?)?))
    }

    /// The tables, as they stand in docs/soak.md.
    pub(crate) fn told(&self) -> String {
        let mut told = "| asked | said | answers |\n|---|---|---|\n".to_owned();
        let seen = self.0.lock().unwrap();
        for ((asked, said), count) in &seen.answers {
            let _ = writeln!(told, "| {asked} | {said} | {count} |");
        }
        let all: u64 = seen.answers.values().sum();
        told += "\n| what | figure |\n|---|---|\n";
        let mut line = |what: &str, figure: String| {
            let _ = writeln!(told, "| {what} | {figure} |");
        };
        line("answers judged", all.to_string());
        line("of these overlapped by a change, so that several were right", seen.overlapped.to_string());
        line("wrong", seen.wrong_count.to_string());
        for (what, count) in &seen.cut {
            line(&format!("cut off, {what}"), count.to_string());
        }
        for (what, count) in &seen.changes {
            line(&format!("changes: {what}"), count.to_string());
        }
        line("streams opened, and ended with their key or the daemon", format!("{:?}", seen.streams));
        let mut starts = seen.starts.clone();
        starts.sort_unstable();
        if let (Some(median), Some(most)) = (starts.get(starts.len() / 2), starts.last()) {
            line(
                "starts, median and longest until it served",
                format!("{}, {median:?}, {most:?}", starts.len()),
            );
        }
        drop(seen);
        if let Some((first, last)) = self.memory_medians() {
            let _ = writeln!(
                told,
                "| resident memory, median of the first and the last third | {first} KiB, {last} KiB |"
            );
        }
        told
    }
}
