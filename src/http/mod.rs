//! HTTP plumbing: accepting connections over TCP, TLS and unix sockets, reading heads and bodies within bounds,
//! and getting answers out.
//!
//! Everything that a client can make grow has a bound here. What reaches a handler was framed in one way
//! only, or says through [`framing::check`] that it was not.
//!
//! Never here: knowing what a key is, choosing the words of a refusal, or a task that outlives its listener.

pub mod answer;
pub mod body;
mod connection;
pub mod cors;
pub mod events;
pub mod forwarded;
pub mod framing;
mod http2;
pub mod listen;
mod opening;
pub mod places;
pub mod server;
mod sniffed;
pub mod socket;
pub mod target;
mod tethered;
pub mod tls;
pub mod tunnel;
mod until_stop;
pub mod virtual_hosts;
mod watch;
mod wire;

pub use body::Body;
pub use listen::{Endpoint, ListenAddress};
pub use server::Peer;
pub use tethered::{CHECK_EVERY, tethered};

/// A request as it comes from a connection, its body unread.
pub type Request = http::Request<hyper::body::Incoming>;

/// An answer on its way to a connection or from an upstream.
pub type Response = http::Response<Body>;
