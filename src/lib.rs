//! Keyward issues API keys and decides, for every request to a REST API or an MCP server, whether this
//! key may do this now. One binary, one redb file.
//!
//! The rooms, from the inside out; a room uses those above it, never those below. `ARCHITECTURE.md` has
//! the picture and what each room must never do, `tests/tidy.rs` holds it.
//!
//! ```text
//! domain                           pure decisions
//! store | dialect | http | clock   the file | how outcomes are spoken | plumbing | time
//! engine | gateway                 the one pipeline | the upstream side
//!   | sandbox | bridge             the built-in upstream | an upstream that is a command
//! surface                          the doors
//! config                           TOML, environment and flags, read into plain values
//! app, cli, main                   puts it together, starts and stops it
//! ```

pub mod app;
pub mod bridge;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod domain;
pub mod engine;
pub mod gateway;
pub mod http;
pub mod sandbox;
pub mod store;
pub mod surface;
