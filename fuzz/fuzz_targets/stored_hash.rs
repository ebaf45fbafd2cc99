//! Feeds the check of `checks/stored_hash.rs` with the texts of stored hashes; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/stored_hash.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
