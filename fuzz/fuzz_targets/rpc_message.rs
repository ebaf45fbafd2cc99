//! Feeds the check of `checks/rpc_message.rs` with what a caller may post as a message; what must hold and what is not covered stands there.

#![no_main]

#[path = "../checks/rpc_message.rs"]
mod check;
#[path = "../lenient.rs"]
mod lenient;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
