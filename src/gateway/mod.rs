//! The upstream side: what may proceed is forwarded, and the upstream's answer brought back.
//!
//! Nothing is forwarded without a [`Pass`], which only the order of checks can make. The upstream sees an
//! identity that is ours alone and never the caller's key; its address comes from configuration, never from a
//! request. What was sent is not sent again. Where nobody stands behind the gate, its answer is the decision.
//!
//! Never here: a decision about a caller, a followed redirect, or a decoded body.

mod address;
mod answer_body;
mod answer_head;
mod behind;
mod clients;
mod connection;
mod headers;
mod interim;
mod lanes;
mod link;
mod patience;
mod places;
mod pool;
mod reader;
mod sending;
mod trace;
mod upgrade;
mod upstream;

pub use address::{AddressError, Http2, ServerAddress, UpstreamServer, plain_authority};
pub use behind::{Upstream, passed};
pub use headers::Encodings;
pub use link::MemoryDialer;
pub use upgrade::Upgrades;
pub use upstream::{Arrival, Outgoing, Pass, Stay, UpstreamError, UpstreamOptions};

#[cfg(test)]
mod tests;
