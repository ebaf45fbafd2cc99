//! Bar 12: what of the real binary lies in memory, idle and with keys in use.
//!
//! Never here: memory of this process.

use crate::Bench;
use crate::hot::{PROOFS_MAX, get, in_words, warmed};
use crate::keyward::{Behind, Files};
use crate::measure::Contestant;
use crate::world::bars::{Bar, tell};

pub(crate) fn memory(bench: &Bench) {
    let none = Files::make(&bench.runtime, bench.dir("none"), 0);
    let idle = none.serve(&Behind::Nobody, PROOFS_MAX).process.resident_bytes();
    let files = bench.many();
    let with_many = in_use(bench, files);
    tell("12", "memory, idle, MiB", mebibytes(idle), Bar::Most(20.0));
    tell(
        "12",
        &format!("memory, {} keys in use, MiB", in_words(files.keys.len())),
        mebibytes(with_many),
        Bar::Most(25.0),
    );
}

/// What lies in memory after each of these keys was used.
fn in_use(bench: &Bench, files: &Files) -> u64 {
    let process =
        std::rc::Rc::new(files.serve(&Behind::Nobody, PROOFS_MAX.max(2 * files.keys.len())).process);
    let keyward = Contestant::new("Keyward", std::rc::Rc::clone(&process), get(&files.keys), 204);
    drop(warmed(bench, vec![keyward]));
    process.resident_bytes()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
