//! A small HTTP/1.1 client that sends exactly the bytes it is given and reads one answer at a time.
//!
//! Every wait has an end, so that a daemon that hangs fails a test instead of stopping the run. A connection
//! stays open until it is dropped.
//!
//! Never here: following, retrying, decoding or repairing anything.

use std::fmt;
use std::io::Result;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that one answer is waited for. A debug build on a busy machine is slow; a hang is for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A request, built up to its bytes.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    /// A JSON-RPC message to SocialCRM's endpoint.
    pub(crate) fn rpc(message: &Value) -> Self {
        Self::post("/api/mcp-app", message)
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("Authorization", format!("Bearer {key}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// The request for a client of hyper's.
    pub(crate) fn request(&self, host: SocketAddr) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::builder().method(&*self.method).uri(&*self.target);
        if !self.has("host") {
            request = request.header("host", host.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, &value[..]);
        }
        request.body(Full::from(self.body.clone())).unwrap()
    }

    /// The request as it is sent. `Host` and `Content-Length` are added where they were not given.
    pub(crate) fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !self.has("host") {
            bytes.extend(format!("Host: {host}\r\n").bytes());
        }
        let framed = self.has("content-length") || self.has("transfer-encoding");
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend(name.bytes().chain(*b": ").chain(value.iter().copied()).chain(*b"\r\n"));
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// One open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, unread: Vec::new() })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call(&mut self, call: &Call) -> Answer {
        self.send(&call.bytes(self.address)).await;
        self.answer_to(&call.method).await
    }

    /// Sends bytes. A peer that closed has answered already, so that is no error here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = within(self.stream.write_all(bytes)).await;
    }

    /// Reads the next answer; `method` tells whether a body may follow.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        match self.answer_unless_cut(method).await {
            Some(answer) => answer,
            None => panic!("cut off; so far: {:?}", String::from_utf8_lossy(&self.unread)),
        }
    }

    /// The same, or nothing when the peer cut the connection off before the answer was whole.
    pub(crate) async fn answer_unless_cut(&mut self, method: &str) -> Option<Answer> {
        use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
        match within(read_answer(&mut self.stream, &mut self.unread, method)).await {
            Ok(answer) => Some(answer),
            Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset) => None,
            Err(error) => {
                panic!("no answer to {method}: {error}; so far: {:?}", String::from_utf8_lossy(&self.unread))
            }
        }
    }

    /// The head of a stream of events and its first event, as an answer. What comes behind them stays unread.
    pub(crate) async fn stream_begun(&mut self) -> Answer {
        let read = async {
            let head_len = read_until(&mut self.stream, &mut self.unread, b"\r\n\r\n").await?;
            let head =
                String::from_utf8_lossy(&self.unread.drain(..head_len).collect::<Vec<_>>()).into_owned();
            let (status, headers) = parse_head(&head)?;
            let mut body = Vec::new();
            while !body.ends_with(b"\n\n") {
                body.extend(read_chunk(&mut self.stream, &mut self.unread).await?);
            }
            Ok(Answer { status, head, headers, body })
        };
        match within(read).await {
            Ok(answer) => answer,
            Err(error) => panic!("no stream: {error}; so far: {:?}", String::from_utf8_lossy(&self.unread)),
        }
    }

    /// The statuses of the next answer and of what comes ahead of it.
    pub(crate) async fn answer_with_interim(&mut self, method: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        while let Ok(Ok(end)) =
            tokio::time::timeout(PATIENCE, read_until(&mut self.stream, &mut self.unread, b"\r\n\r\n")).await
        {
            let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
            let (status, _) = parse_head(&head).unwrap();
            statuses.push(status);
            if status >= 200 {
                let _ = self.answer_to(method).await;
                break;
            }
            self.unread.drain(..end);
        }
        statuses
    }

    /// Whether the peer closes without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.unread.is_empty() && matches!(within(self.stream.read(&mut byte)).await, Ok(0) | Err(_))
    }
}

/// Sends one request over a connection of its own.
pub(crate) async fn call_once(address: SocketAddr, call: &Call) -> Answer {
    match Connection::open(address).await {
        Ok(mut connection) => connection.call(call).await,
        Err(error) => panic!("{address} takes no connection: {error}"),
    }
}

/// An answer, its body whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers as they came, with the empty line.
    pub(crate) head: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The one value of a header; two of a name fail the test.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} is given twice:\n{}", self.head);
        first.map(|(_, value)| value.as_str())
    }

    /// Every header, names in lower case.
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {}{}", self.head, self.text()),
        }
    }

    /// A REST error's code and message; empty when it is none.
    pub(crate) fn rest_error(&self) -> (String, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"))
    }

    /// A JSON-RPC error's code and message; 0 when it is none.
    pub(crate) fn rpc_error(&self) -> (i64, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        (body["error"]["code"].as_i64().unwrap_or_default(), message)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head, without_keys(&self.text()))
    }
}

/// The text with every key cut down to its brand.
fn without_keys(text: &str) -> String {
    let cut = |text: String, tag: &str| {
        let mut parts = text.split(tag);
        let first = parts.next().unwrap_or_default().to_owned();
        let shown = |part: &str| part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).to_owned();
        parts.fold(first, |whole, part| whole + tag + "(hidden)" + &shown(part))
    };
    ["sk_live_", "kwadm_"].into_iter().fold(text.to_owned(), cut)
}

async fn within<T>(io: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, io).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn read_answer(stream: &mut TcpStream, unread: &mut Vec<u8>, method: &str) -> Result<Answer> {
    let (status, head, headers) = loop {
        let head_len = read_until(stream, unread, b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&unread.drain(..head_len).collect::<Vec<_>>()).into_owned();
        let (status, headers) = parse_head(&head)?;
        // An interim answer is not the answer.
        if status >= 200 {
            break (status, head, headers);
        }
    };
    let named = |name: &str| headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let bodiless = method == "HEAD" || status == 204 || status == 304;
    let body = if bodiless {
        Vec::new()
    } else if named("transfer-encoding") == Some("chunked") {
        read_chunks(stream, unread).await?
    } else {
        let len = named("content-length").unwrap_or("0").parse().map_err(|_| malformed("content-length"))?;
        take(stream, unread, len).await?
    };
    Ok(Answer { status, head, headers, body })
}

fn parse_head(head: &str) -> Result<(u16, Vec<(String, String)>)> {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed("status line"))?;
    let split = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = lines.map(split).collect::<Option<_>>().ok_or_else(|| malformed("header"))?;
    Ok((status, headers))
}

async fn read_chunks(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let chunk = read_chunk(stream, unread).await?;
        if chunk.is_empty() {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

/// One chunk's data; the last one has none.
async fn read_chunk(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<Vec<u8>> {
    let line_len = read_until(stream, unread, b"\r\n").await?;
    let line: Vec<u8> = unread.drain(..line_len).collect();
    let digits = String::from_utf8_lossy(&line);
    let len = usize::from_str_radix(digits.trim_end(), 16).map_err(|_| malformed("chunk"))?;
    let chunk = take(stream, unread, len).await?;
    if take(stream, unread, 2).await? == b"\r\n" { Ok(chunk) } else { Err(malformed("chunk's end")) }
}

/// Reads until `mark` is there and gives the length up to its end.
async fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, mark: &[u8]) -> Result<usize> {
    loop {
        if let Some(place) = unread.windows(mark.len()).position(|window| window == mark) {
            return Ok(place + mark.len());
        }
        fill(stream, unread).await?;
    }
}

async fn take(stream: &mut TcpStream, unread: &mut Vec<u8>, len: usize) -> Result<Vec<u8>> {
    while unread.len() < len {
        fill(stream, unread).await?;
    }
    Ok(unread.drain(..len).collect())
}

async fn fill(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<()> {
    if unread.len() > ANSWER_BYTES_MAX {
        return Err(malformed("answer without an end"));
    }
    match stream.read_buf(unread).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn malformed(what: &'static str) -> std::io::Error {
    std::io::Error::other(format!("malformed {what}"))
}
