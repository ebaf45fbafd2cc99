#![cfg(test)]
//! Everything that is seen over a socket: each module holds one theme and says which promises it keeps.
//!
//! [`daemon`] starts a whole daemon in the test's process with a clock that the test moves; [`program`]
//! starts the real binary, for what only a process can show. Behind them stands the sandbox, or one of the
//! [`upstreams`]. [`transcript`] plays the examples of the public pages; [`wire`] is a client. A test that expects refusals has a good key pass before and after, since a daemon that is dead
//! refuses everything.
//!
//! Never here: a sleep that waits for a state, an address that is not loopback, a key in a failure's text.

mod admin_apart;
mod admin_input;
mod admin_lists;
#[cfg(feature = "mcp")]
mod admin_mcp;
mod assertion;
mod audit;
mod bad_input;
mod canary;
mod clock;
mod cloud;
mod cors;
mod credentials;
mod daemon;
mod deletion;
mod durability;
mod encodings;
mod exhaustion;
mod explain;
mod framing_attacks;
mod h2;
mod hardening;
#[path = "../harness/mod.rs"]
mod harness;
mod ill_disk;
mod import;
mod install_secret;
mod keys_in_number;
mod kills;
mod limits;
mod listeners;
mod mcp_command;
mod mcp_discovery;
mod mcp_idle_streams;
mod mcp_messages;
mod mcp_scopes;
mod mcp_sessions;
mod mcp_sse;
mod mcp_streams;
mod mcp_tool_mapping;
mod memory;
mod mixed_load;
mod narrowing;
mod nobody;
mod order;
mod own_api;
mod plans;
mod products;
mod program;
mod public_routes;
mod races;
mod rates;
mod rotation;
mod routes;
mod rpc;
mod rpc_tools;
mod scopes;
mod signing;
mod smuggling;
mod social;
mod stored;
mod streaming;
mod streams;
mod transcript;
mod transcripts;
mod upstream;
mod upstream_attacks;
mod upstreams;
mod usage;
mod verify_call;

use harness::{random, wire};
