//! The upstreams that a test puts behind the gate, each with what only it can show: what was sent, how often, how it
//! is read, when it is answered.
//!
//! Each binds a port of its own on loopback and ends with its test.
//!
//! Never here: an expectation about the gate.

pub(crate) mod lenient;
pub(crate) mod recording;
pub(crate) mod scripted;
pub(crate) mod sse;
pub(crate) mod tool_server;

pub(crate) use crate::harness::counting;
