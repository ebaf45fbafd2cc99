//! Feeds the check of `checks/profile.rs` with what may stand in a profile; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/profile.rs"]
mod check;
#[path = "../refusals.rs"]
mod refusals;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
