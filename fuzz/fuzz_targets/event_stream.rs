//! Feeds the check of `checks/event_stream.rs` with an upstream's answers; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/event_stream.rs"]
mod check;
#[path = "../lenient.rs"]
mod lenient;
#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
