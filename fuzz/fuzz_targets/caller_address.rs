//! Feeds the check of `checks/caller_address.rs` with address rules and the headers of proxies; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/caller_address.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
