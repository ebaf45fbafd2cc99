//! A small HTTP/1.1 client for the admin API: one connection a call, bounded in time and bytes.
//!
//! The admin key goes into one header and nowhere else. What a daemon refuses comes back in the daemon's own
//! words.
//!
//! Never here: a retry (a create that was lost on its way back would be made twice), or TLS.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::arguments::ReachArguments;
use super::failure::CliError;
use super::key_file::read_admin_key;
use super::reach::{AdminUrl, Connect, Reach};
use crate::domain::key::RawKey;

/// To connect: a daemon on this machine or in this network answers in far less.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// For one whole call: a durable change behind a busy disk may take seconds.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The most bytes of an answer: a page of 100 keys with all their metadata is under 2 MiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(place: &Connect) -> io::Result<Box<dyn Stream>> {
    Ok(match place {
        Connect::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Connect::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(
        "no daemon answers at {admin}: start it with `keyward serve --config FILE` or `keyward demo`, or say where it is with --admin URL"
    )]
    NoDaemon { admin: AdminUrl, source: io::Error },
    #[error("the daemon at {admin} did not answer in {} seconds; a change may have been made or not", .longest.as_secs())]
    Late { admin: AdminUrl, longest: Duration },
    #[error("the connection to {admin} broke; a change may have been made or not")]
    Broken {
        admin: AdminUrl,
        #[source]
        source: BoxError,
    },
    #[error("{admin} does not answer as an admin API does (status {})", .status.as_u16())]
    NotKeyward { admin: AdminUrl, status: StatusCode },
    #[error("refused ({}): {detail}", .status.as_u16())]
    Refused { status: StatusCode, detail: String },
}

/// Speaks to one daemon.
pub(super) struct AdminClient {
    admin: AdminUrl,
    authorization: HeaderValue,
}

/// An answer that says success.
pub(super) struct Answer {
    /// The body as it came.
    pub(super) text: String,
    /// The same, read.
    pub(super) value: Value,
}

/// It may hold a new key, so its content is nobody's to print.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl AdminClient {
    /// A client of the daemon that the arguments name, with the key that they lead to.
    pub(super) fn reach(arguments: &ReachArguments) -> Result<Self, CliError> {
        let reach = Reach::find(arguments)?;
        let key = read_admin_key(&reach.key_file)?;
        Ok(Self::new(reach.admin, &key))
    }

    /// A client that shows this admin key.
    pub(super) fn new(admin: AdminUrl, key: &RawKey) -> Self {
        let text = Zeroizing::new(format!("Bearer {}", key.reveal()));
        // A key that parsed is plain ASCII, so the header can always be made.
        let mut authorization = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"));
        authorization.set_sensitive(true);
        Self { admin, authorization }
    }

    /// Makes one call; `path` is origin-form and ready for the wire.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let body = body.map(|value| Bytes::from(value.to_string()));
        self.call_within(CALL_MAX, method, path, body).await
    }

    /// The same with JSON that is ready for the wire, and another time to wait for the answer.
    pub(super) async fn call_within(
        &self,
        longest: Duration,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, ClientError> {
        let connecting = timeout(CONNECT_MAX, connect(&self.admin.connect)).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream =
            connected.map_err(|source| ClientError::NoDaemon { admin: self.admin.clone(), source })?;
        let exchange = self.exchange(stream, method, path, body);
        let (status, bytes) = timeout(longest, exchange)
            .await
            .map_err(|_| ClientError::Late { admin: self.admin.clone(), longest })??;
        self.read(status, &bytes)
    }

    async fn exchange(
        &self,
        stream: Box<dyn Stream>,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |source: BoxError| ClientError::Broken { admin: self.admin.clone(), source };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.admin.host)
            .header(USER_AGENT, concat!("keyward/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(body.unwrap_or_default())).map_err(|error| broken(error.into()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
        let talk = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
            // Dropping the sender here ends the connection.
            Ok::<_, BoxError>((status, bytes))
        };
        let (answered, _) = tokio::join!(talk, connection);
        answered.map_err(broken)
    }

    fn read(&self, status: StatusCode, bytes: &[u8]) -> Result<Answer, ClientError> {
        let not_keyward = || ClientError::NotKeyward { admin: self.admin.clone(), status };
        let text = std::str::from_utf8(bytes).map_err(|_| not_keyward())?;
        let value: Value = serde_json::from_str(text).map_err(|_| not_keyward())?;
        if status.is_success() {
            return Ok(Answer { text: text.trim_end().to_owned(), value });
        }
        let told = value.get("detail").or_else(|| value.get("title")).and_then(Value::as_str);
        Err(ClientError::Refused { status, detail: told.ok_or_else(not_keyward)?.to_owned() })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::system_profile;
    use crate::http::ListenAddress;

    pub(in crate::cli) fn admin_key() -> RawKey {
        RawKey::mint(&system_profile().tag, &[7; 64]).unwrap()
    }

    /// A server that gives each connection the next of these answers; its address, and what it was asked.
    pub(in crate::cli) async fn server(
        answers: Vec<(u16, &'static str, String)>,
    ) -> (AdminClient, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client =
            AdminClient::new(AdminUrl::at(&ListenAddress::Tcp(listener.local_addr().unwrap())), &admin_key());
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for (status, kind, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked.push(request(&mut stream).await);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.ok();
            }
            asked
        });
        (client, asked)
    }

    async fn request(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return so_far;
                }
            }
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "the request broke off: {so_far}");
        }
    }

    const PROBLEM: &str = "application/problem+json";

    #[tokio::test]
    async fn a_call_carries_the_key_the_host_and_the_body() {
        let (client, asked) =
            server(vec![(201, "application/json", "{\"id\":\"key_1\"}\n".to_owned())]).await;
        let body = serde_json::json!({"name": "n"});
        let answer = client.call(Method::POST, "/api/v1/keys", Some(&body)).await.unwrap();
        assert_eq!(answer.text, "{\"id\":\"key_1\"}");
        assert_eq!(answer.value["id"], "key_1");
        let asked = asked.await.unwrap().remove(0);
        assert!(asked.starts_with("POST /api/v1/keys HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("authorization: Bearer {}\r\n", admin_key().reveal())));
        assert!(asked.contains("host: 127.0.0.1:") && asked.contains("content-type: application/json\r\n"));
        assert!(asked.ends_with("\r\n\r\n{\"name\":\"n\"}"), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_daemons_words() {
        let body = "{\"status\":400,\"title\":\"Bad\",\"detail\":\"plan: expected a plan\"}".to_owned();
        let (client, _asked) = server(vec![(400, PROBLEM, body)]).await;
        let error = client.call(Method::GET, "/api/v1/keys", None).await.unwrap_err();
        assert_eq!(error.to_string(), "refused (400): plan: expected a plan");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_the_admin_apis_is_told_as_such() {
        let answers = vec![(200, "text/html", "<html>".to_owned()), (404, PROBLEM, "{}".to_owned())];
        let (client, _asked) = server(answers).await;
        for _ in 0..2 {
            let error = client.call(Method::GET, "/api/v1/keys", None).await.unwrap_err();
            assert!(matches!(error, ClientError::NotKeyward { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let long = format!("\"{}\"", "x".repeat(ANSWER_BYTES_MAX));
        let (client, _asked) = server(vec![(200, "application/json", long)]).await;
        let error = client.call(Method::GET, "/api/v1/keys", None).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    }

    #[tokio::test]
    async fn where_nobody_listens_the_error_says_how_to_start_a_daemon() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = AdminUrl::at(&ListenAddress::Tcp(listener.local_addr().unwrap()));
        drop(listener);
        let client = AdminClient::new(admin, &admin_key());
        let error = client.call(Method::GET, "/api/v1/keys", None).await.unwrap_err();
        assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
        assert!(error.to_string().contains("keyward serve --config FILE"), "{error}");
    }
}
