//! Feeds the check of `checks/config.rs` with what may stand in a configuration; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/config.rs"]
mod check;
#[path = "../refusals.rs"]
mod refusals;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
