//! The built-in upstream that lets people try Keyward with nothing beside it: what the products' pages show, as
//! REST and as MCP tools, kept per workspace in a redb file and a folder of its own.
//!
//! It is reached only as an HTTP/1.1 upstream over an in-memory connection, and it believes the identity
//! headers on it, since the gateway alone can write them. `rest` and `mcp` are two thin doors onto the rules,
//! of which each kind of thing has a file (`posts`, `media`, `files`, `chat`, `writing`, `collections`; `kinds` reads
//! which records a product's tools keep out of their names); what
//! is kept goes through `records` and `blobs`. What is not built says so and invents nothing.
//!
//! Never here: a credential, a permission, a limit (they were decided before), a call into another room but
//! `domain` (and `dialect`, for the shape of an error), a database call on an async thread.

mod accounts;
mod answer;
mod blobs;
mod chat;
mod collections;
mod discovery;
mod events;
mod failure;
mod files;
mod form;
mod intake;
mod kinds;
mod llm;
mod mcp;
mod media;
mod members;
mod number;
mod page;
mod posts;
mod product;
mod records;
mod rest;
mod samples;
mod upkeep;
mod writing;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use crate::domain::id::WorkspaceId;
use crate::domain::time::Wall;

use answer::Answer;
use blobs::Blobs;
pub use failure::SandboxError;
use failure::{Failure, Fault};
use kinds::Kinds;
use llm::Llm;
pub use llm::{LlmOptions, LlmOptionsError};
use media::Uploads;
use posts::views::Views;
use product::Server;
pub use product::{RestShape, SandboxProduct};
use records::Records;

/// Where the gateway names the workspace whose key was proven. Absent on keyless requests.
const WORKSPACE: &str = "x-keyward-workspace";

/// Headers of one request at most: the 64 that a listener lets in, and room for those that the gateway adds.
const HEADERS_MAX: usize = 160;

/// The built-in upstream. Cheap to clone: every clone is the same file.
#[derive(Clone)]
pub struct Sandbox {
    records: Records,
    blobs: Blobs,
    llm: Option<Llm>,
    views: Arc<Views>,
    uploads: Arc<Uploads>,
    wall: Arc<dyn Fn() -> Wall + Send + Sync>,
    product: Arc<SandboxProduct>,
    streams: mcp::sse::Streams,
    /// What the product's tools speak of.
    kinds: Arc<Kinds>,
}

/// What a sandbox is made of.
pub struct SandboxOptions {
    /// Its file, in a directory that exists.
    pub file: PathBuf,
    /// The folder of what is uploaded, in a directory that exists.
    pub uploads: PathBuf,
    /// The time, asked for once per write.
    pub wall: Arc<dyn Fn() -> Wall + Send + Sync>,
    /// The language model that answers in its place, if any.
    pub llm: Option<LlmOptions>,
}

impl Sandbox {
    /// Opens the file and the folder, or makes them with modes 0600 and 0700; uploads whose record is gone
    /// are removed. Blocks.
    ///
    /// Fails when one cannot be made or read, is open to other users, when the file is held by another
    /// process or is not a database of ours, and when the language model cannot be asked at all.
    pub fn open(options: SandboxOptions) -> Result<Self, SandboxError> {
        let records = Records::open(&options.file)?;
        let blobs = Blobs::open(&options.uploads)?;
        blobs.keep_only(|name| records.holds(name))?;
        let llm = options.llm.map(Llm::new).transpose().map_err(SandboxError::Llm)?;
        let uploads = Arc::new(records.uploads()?);
        let (wall, product, kinds, streams) =
            (options.wall, Arc::default(), Arc::default(), mcp::sse::Streams::default());
        Ok(Self { records, blobs, llm, views: Arc::default(), uploads, wall, product, streams, kinds })
    }

    /// The same upstream as it stands behind this product.
    #[must_use]
    pub fn behind(&self, product: SandboxProduct) -> Self {
        let kinds = Arc::new(Kinds::of_tools(&product.tools));
        let streams = mcp::sse::Streams::default();
        Self { product: Arc::new(product), streams, kinds, ..self.clone() }
    }

    /// Serves one in-memory HTTP/1.1 connection until the peer closes it.
    pub async fn serve(self, connection: DuplexStream) {
        let service = service_fn(move |request| {
            let sandbox = self.clone();
            async move { Ok::<_, Infallible>(sandbox.answer(request).await) }
        });
        // No header timeout: the peer is the gateway's own pool, which decides how long a connection idles.
        let served = hyper::server::conn::http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(connection), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a sandbox connection ended early");
        }
    }

    /// Adds the views that still wait to their posts, closes the file and says whether that went well. Requests
    /// still under way finish first; later ones answer 503. Nothing acknowledged depends on this: every write
    /// was durable before its answer.
    pub async fn close(self) -> Result<(), SandboxError> {
        let saved = self.save_views().await;
        self.records.close().await?;
        saved
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        // HEAD is a GET whose body the server leaves out (RFC 9110, section 9.3.2).
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        match request.uri().path() {
            mcp::ENDPOINT => mcp::answer(self, Server::Built, request).await,
            discovery::PATH => discovery::answer(&request),
            path if self.product.endpoint.as_deref() == Some(path) => {
                mcp::answer(self, Server::Named(&self.product.tools), request).await
            }
            path => match self.product.sse.as_deref().filter(|sse| mcp::sse::is_at(sse, path)) {
                Some(sse) => mcp::sse::answer(self, sse, request).await,
                None => rest::answer(self, request).await,
            },
        }
    }

    fn now(&self) -> Wall {
        (self.wall)()
    }
}

/// The workspace that the gateway named, or a fault: whoever opens these routes to keyless callers has no
/// workspace to show them.
fn workspace(headers: &HeaderMap) -> Result<WorkspaceId, Failure> {
    let mut named = headers.get_all(WORKSPACE).iter();
    match (named.next(), named.next()) {
        (Some(value), None) => value.to_str().ok().and_then(WorkspaceId::parse),
        _ => None,
    }
    .ok_or(Failure::Fault(Fault::NoWorkspace))
}

#[cfg(test)]
mod tests;
