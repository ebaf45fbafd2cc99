//! Feeds the check of `checks/pipeline.rs` with requests; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/pipeline.rs"]
mod check;
#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
