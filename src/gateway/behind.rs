//! What stands behind a product: an upstream that requests are forwarded to, or nobody.
//!
//! Where nobody does, the decision is the answer: 204, with what an upstream would have been told of the caller. That
//! takes the same pass as forwarding does, so whoever asks here spends and is counted like anyone.
//!
//! Never here: an answer to what the gate itself would ask an upstream.

use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::address::UpstreamServer;
use super::headers;
use super::link::MemoryDialer;
use super::upstream::{Outgoing, Pass, UpstreamError, UpstreamOptions, Way};
use crate::domain::denial::{Fault, Refusal};
use crate::http::{Response, answer};

/// Room for what such an answer says of a caller and of its rates, in one piece.
const HEADERS: usize = 12;

/// What stands behind a product. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Behind);

#[derive(Clone, Debug)]
enum Behind {
    Way(Way),
    Nobody,
}

impl Upstream {
    /// The upstream that is this server. No connection is made before the first request; who its certificate
    /// may come from is read now.
    pub fn server(server: &UpstreamServer) -> Result<Self, UpstreamError> {
        Way::to_server(server).map(|way| Self(Behind::Way(way)))
    }

    /// The upstream at the other end of `dialer`.
    pub fn memory(dialer: MemoryDialer, options: UpstreamOptions) -> Self {
        Self(Behind::Way(Way::to_memory(dialer, options)))
    }

    /// Nobody: what passes is answered here, and forwarded by whoever asked.
    pub const fn nobody() -> Self {
        Self(Behind::Nobody)
    }

    /// Whether that is nobody. Then no body goes anywhere.
    pub const fn is_nobody(&self) -> bool {
        matches!(self.0, Behind::Nobody)
    }

    /// Whether an absolute address is of this upstream's origin: its scheme, host and port.
    pub fn is_origin_of(&self, address: &Uri) -> bool {
        match &self.0 {
            Behind::Way(way) => way.is_origin_of(address),
            Behind::Nobody => false,
        }
    }

    /// Forwards a request and brings the answer back, its body still coming. Denied are a body that is too
    /// large or does not come, and a key that stops standing before the answer is there; the rest are faults.
    /// Where nobody stands behind the gate, the answer is that it may pass, and says for whom.
    pub async fn forward(&self, pass: Pass, outgoing: Outgoing<'_>) -> Result<Response, Refusal> {
        match &self.0 {
            // In a room of its own: who only decides does not carry it along.
            Behind::Way(way) => Box::pin(way.forward(pass, outgoing)).await,
            Behind::Nobody => passed(pass, outgoing.arrival.request_id),
        }
    }
}

/// The answer that stands for a pass, where nobody stands behind the gate.
pub fn passed(pass: Pass, request_id: HeaderValue) -> Result<Response, Refusal> {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    match pass {
        Pass::Granted(_, identity, _) => {
            headers::identify(response.headers_mut(), *identity).ok_or(Fault::Internal)?;
        }
        Pass::Open(_) => {}
        // There is nobody to ask.
        Pass::Errand(..) => return Err(Fault::UpstreamUnreachable.into()),
    }
    headers::number(response.headers_mut(), request_id);
    Ok(response)
}
