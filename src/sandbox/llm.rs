//! A language model that answers in the sandbox's place: a server that speaks OpenAI's API.
//!
//! Whatever model a caller names, the configured one is asked. A wait has an end, an answer a bound, and of
//! calls there are only so many at once; a caller that leaves ends its call. No redirect is followed and
//! nothing is sent twice. The server's key is in no log, error or `Debug`, and neither is what the server says
//! when it refuses.
//!
//! Never here: what is asked for, a caller's key.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use zeroize::Zeroizing;

use super::answer::{Answer, whole};
use crate::http::tls::{ClientTlsError, client_config};

/// Calls under way at most.
const CALLS_MAX: usize = 64;
/// Bytes of a whole answer at most: more than any model writes in one.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of a streamed answer at most; each of its pieces repeats what it belongs to.
const STREAM_BYTES_MAX: u64 = 64 << 20;
/// The longest that a connection may take to stand.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest that an unused connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// Where the model is and how it is asked.
#[derive(Clone)]
pub struct LlmOptions {
    /// Where its API begins: `http://` or `https://`, a host, perhaps a port and a path.
    pub url: Uri,
    /// The model that is asked.
    pub model: String,
    /// The server's key, if it wants one.
    pub key: Option<Zeroizing<String>>,
    /// A PEM file of the authorities that are believed; the system's when there is none.
    pub authorities: Option<PathBuf>,
    /// The longest wait for an answer to begin, for a whole one to end, and between two pieces of a streamed
    /// one.
    pub wait_max: Duration,
}

/// Why a model cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum LlmOptionsError {
    /// Nobody could be believed.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// TLS cannot be spoken.
    #[error("no version of TLS can be spoken")]
    Versions(#[from] rustls::Error),
    /// The key has characters that no header takes.
    #[error("the key has characters that a header cannot hold")]
    Key,
}

/// Why a model gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LlmError {
    /// As many calls as may be are under way.
    Busy,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Late,
    /// The server says that the request is wrong.
    Invalid(StatusCode),
    /// The server refuses.
    Refused(StatusCode),
    /// What came is no answer, or too long.
    Broken,
}

impl LlmError {
    /// The sentence for the caller.
    pub(super) fn message(self) -> String {
        match self {
            Self::Busy => "The language model is busy. Retry later.".to_owned(),
            Self::Unreachable => "The language model behind the sandbox cannot be reached.".to_owned(),
            Self::Late => "The language model behind the sandbox did not answer in time.".to_owned(),
            Self::Invalid(status) => {
                format!(
                    "The language model behind the sandbox does not take this request: it answered {status}."
                )
            }
            Self::Refused(status) => format!("The language model behind the sandbox answered {status}."),
            Self::Broken => "The language model behind the sandbox gave no readable answer.".to_owned(),
        }
    }
}

/// A model. Clones share its connections.
#[derive(Clone)]
pub(super) struct Llm(Arc<Inner>);

struct Inner {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Without a slash at its end.
    url: String,
    model: String,
    authorization: Option<HeaderValue>,
    wait_max: Duration,
    calls: Arc<Semaphore>,
}

impl Llm {
    pub(super) fn new(options: LlmOptions) -> Result<Self, LlmOptionsError> {
        let tls = if options.url.scheme_str() == Some("https") {
            client_config(options.authorities.as_deref())?
        } else {
            believing_nobody()?
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_timer(TokioTimer::new())
            .retry_canceled_requests(false)
            .build(connector);
        let authorization = options.key.map(|key| {
            let text = Zeroizing::new(format!("Bearer {}", key.as_str()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| LlmOptionsError::Key)?;
            value.set_sensitive(true);
            Ok::<_, LlmOptionsError>(value)
        });
        Ok(Self(Arc::new(Inner {
            client,
            url: options.url.to_string().trim_end_matches('/').to_owned(),
            model: options.model,
            authorization: authorization.transpose()?,
            wait_max: options.wait_max,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        })))
    }

    /// The model that is asked.
    pub(super) fn model(&self) -> &str {
        &self.0.model
    }

    /// What the model says to `prompt`, told `system` about how.
    pub(super) async fn complete(&self, system: &str, prompt: &str) -> Result<String, LlmError> {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": prompt}]);
        let request = Map::from_iter([("messages".to_owned(), messages)]);
        let answer: Value =
            serde_json::from_slice(&self.whole("chat/completions", request).await?).unwrap_or_default();
        let content = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        content.map(ToOwned::to_owned).ok_or(LlmError::Broken)
    }

    /// Passes a request on to `path` of the server, and its answer back: as it comes, where it is streamed.
    pub(super) async fn relay(&self, path: &str, request: Map<String, Value>) -> Result<Answer, LlmError> {
        let is_streamed = request.get("stream").and_then(Value::as_bool) == Some(true);
        if !is_streamed {
            let mut answer = Response::new(whole(self.whole(path, request).await?));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(answer);
        }
        let (answer, call) = self.ask(path, request).await?;
        if !says(answer.headers(), "text/event-stream") {
            return Err(LlmError::Broken);
        }
        let relayed = Relayed {
            body: answer.into_body(),
            left: STREAM_BYTES_MAX,
            wait_max: self.0.wait_max,
            wait: Box::pin(sleep(self.0.wait_max)),
            _call: call,
        };
        let mut answer = Response::new(relayed.boxed_unsync());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(answer)
    }

    /// A whole answer: the text of a JSON object.
    async fn whole(&self, path: &str, request: Map<String, Value>) -> Result<Bytes, LlmError> {
        let (answer, _call) = self.ask(path, request).await?;
        if !says(answer.headers(), "application/json") {
            return Err(LlmError::Broken);
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = timeout(self.0.wait_max, body).await.map_err(|_| LlmError::Late)?;
        let bytes = body.map_err(|error| {
            let why = if error.is::<LengthLimitError>() { "too long an answer" } else { "half an answer" };
            tracing::warn!("the language model of the sandbox gave {why}");
            LlmError::Broken
        })?;
        let bytes = bytes.to_bytes();
        serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|_| LlmError::Broken)?;
        Ok(bytes)
    }

    /// Sends a request and waits for the head of a good answer.
    async fn ask(
        &self,
        path: &str,
        mut request: Map<String, Value>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), LlmError> {
        let call = Arc::clone(&self.0.calls).try_acquire_owned().map_err(|_| LlmError::Busy)?;
        request.insert("model".to_owned(), Value::String(self.0.model.clone()));
        let body = serde_json::to_vec(&request).map_err(|_| LlmError::Broken)?;
        let mut asked = Request::post(format!("{}/{path}", self.0.url))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|_| LlmError::Unreachable)?;
        if let Some(authorization) = &self.0.authorization {
            asked.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = timeout(self.0.wait_max, self.0.client.request(asked)).await;
        let answer = answer.map_err(|_| LlmError::Late)?.map_err(|error| {
            let lost = if error.is_connect() { LlmError::Unreachable } else { LlmError::Broken };
            tracing::warn!("the language model of the sandbox: {}", crate::domain::causes::Causes(&error));
            lost
        })?;
        match answer.status() {
            status if status.is_success() => Ok((answer, call)),
            // What is wrong with the request is the caller's to hear; all else is between us and the server.
            status @ (StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY) => Err(LlmError::Invalid(status)),
            status => {
                tracing::warn!("the language model of the sandbox answered {status}");
                Err(LlmError::Refused(status))
            }
        }
    }
}

/// A streamed answer on its way, its place among the calls with it.
struct Relayed {
    body: Incoming,
    left: u64,
    wait_max: Duration,
    wait: Pin<Box<Sleep>>,
    _call: OwnedSemaphorePermit,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.wait.as_mut().poll(cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into())));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(io::Error::other)?;
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = this.left.checked_sub(bytes) else {
            return Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into())));
        };
        this.left = left;
        this.wait.set(sleep(this.wait_max));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// For a server without TLS, to which nothing of this is ever shown.
fn believing_nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn says(headers: &HeaderMap, kind: &str) -> bool {
    let label = headers.get(CONTENT_TYPE).and_then(|label| label.to_str().ok()).unwrap_or_default();
    label.split(';').next().is_some_and(|label| label.trim().eq_ignore_ascii_case(kind))
}
