//! TLS by rustls, with one provider of its primitives in the whole program.
//!
//! A configuration is whole when it is made: what cannot be read is said then, not at the first connection.
//!
//! Never here: a private key or a certificate's text in an error, or a way to leave a check out.

mod client;
mod server;

pub use client::{ClientTlsError, client_config};
pub(super) use server::ALPN_HTTP2;
pub use server::{CertificateFiles, ServerTls, ServerTlsError};
