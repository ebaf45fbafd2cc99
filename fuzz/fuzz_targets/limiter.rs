//! Feeds the check of `checks/limiter.rs` with lists of operations; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/limiter.rs"]
mod check;
#[path = "../operations.rs"]
mod operations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
