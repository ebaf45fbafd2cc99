//! What the tests over sockets share: the real binary, a client, an upstream that counts, numbers from a seed.
//!
//! Each test target takes this module in by its path and uses what it needs.
//!
//! Never here: a test.

#![allow(dead_code, reason = "each test target uses its part")]

pub(crate) mod counting;
pub(crate) mod hidden;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod wire;
