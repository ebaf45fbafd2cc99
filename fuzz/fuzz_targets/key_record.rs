//! Feeds the check of `checks/key_record.rs` with the bytes of key records; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/key_record.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
