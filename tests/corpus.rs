//! The checks that the fuzzer feeds, fed with the seeds that are kept: what once broke is tried in every run.
//!
//! Each target of `fuzz/` has its check in `fuzz/checks/` and its seeds in `fuzz/corpus/`; both are used as
//! they are. The models that take lists of operations are fed with random ones here as well, so that a change of
//! what they watch does not wait for the fuzzer.
//!
//! Never here: an input that is chosen by what the code did with the one before; that is the fuzzer's part.

#![cfg(test)]

#[path = "../fuzz/checks/caller_address.rs"]
mod caller_address;
#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/credential.rs"]
mod credential;
#[path = "../fuzz/checks/event_stream.rs"]
mod event_stream;
#[path = "../fuzz/checks/key_record.rs"]
mod key_record;
#[path = "../fuzz/checks/limiter.rs"]
mod limiter;
#[path = "../fuzz/checks/meter.rs"]
mod meter;
#[path = "../fuzz/checks/pipeline.rs"]
mod pipeline;
#[path = "../fuzz/checks/presented_key.rs"]
mod presented_key;
#[path = "../fuzz/checks/profile.rs"]
mod profile;
#[path = "../fuzz/checks/rpc_message.rs"]
mod rpc_message;
#[path = "../fuzz/checks/stored_hash.rs"]
mod stored_hash;

#[path = "../fuzz/lenient.rs"]
mod lenient;
#[path = "../fuzz/operations.rs"]
mod operations;
#[path = "../fuzz/refusals.rs"]
mod refusals;
#[path = "../fuzz/world.rs"]
mod world;

use std::path::Path;

use proptest::prelude::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 12] = [
    ("caller_address", caller_address::check),
    ("config", config::check),
    ("credential", credential::check),
    ("event_stream", event_stream::check),
    ("key_record", key_record::check),
    ("limiter", limiter::check),
    ("meter", meter::check),
    ("pipeline", pipeline::check),
    ("presented_key", presented_key::check),
    ("profile", profile::check),
    ("rpc_message", rpc_message::check),
    ("stored_hash", stored_hash::check),
];

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn every_seed_of_every_target_still_holds() {
    for (target, check) in TARGETS {
        let corpus = fuzz().join("corpus").join(target);
        let seeds: Vec<_> = names_in(&corpus).into_iter().filter(|name| name.starts_with("seed-")).collect();
        assert!(seeds.len() >= 3, "{target} has {} seeds", seeds.len());
        for seed in seeds {
            check(&std::fs::read(corpus.join(seed)).unwrap());
        }
    }
}

#[test]
fn every_target_of_the_fuzzer_is_replayed_here() {
    let targets: Vec<_> = TARGETS.iter().map(|(target, _)| format!("{target}.rs")).collect();
    assert_eq!(names_in(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names_in(&fuzz().join("checks")), targets);
}

proptest! {
    #[test]
    fn the_limiter_agrees_with_a_list_of_what_was_taken(operations in proptest::collection::vec(any::<u8>(), 0..600)) {
        limiter::check(&operations);
    }

    #[test]
    fn a_ledger_never_sells_over_its_limit_nor_loses_more_than_a_lease(
        operations in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        meter::check(&operations);
    }
}
