//! Feeds the check of `checks/presented_key.rs` with what a caller may send as a key; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/presented_key.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
