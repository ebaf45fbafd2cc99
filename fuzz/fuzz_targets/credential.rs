//! Feeds the check of `checks/credential.rs` with the headers that may carry a key; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/credential.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
