//! A small world for the checks that ask over a socket: the doors of the shipped products at two addresses of this
//! machine, keys of every kind, and behind them an upstream in memory that notes what reaches it and answers what it
//! is told to.
//!
//! Everything runs on one thread, in the time of the one who asks, but for the store's and the slow hash's own. The
//! clock moves only when it is moved. Its files are gone once they are open.
//!
//! Never here: what should come of a request.

#![allow(dead_code, reason = "two checks use this, each a part")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyward::clock::{Clock, ManualTime};
use keyward::config::{load_profile, shipped, system_profile};
use keyward::domain::address::AddressRules;
use keyward::domain::audit::Actor;
use keyward::domain::hash::SlowHashCost;
use keyward::domain::permission::Permission;
use keyward::domain::profile::SYSTEM_PROFILE;
use keyward::domain::rate::Rate;
use keyward::domain::record::{Label, SignatureReplay};
use keyward::domain::time::Wall;
use keyward::engine::{Engine, EngineOptions, InstallSecrets, NewKey, NewWorkspace, SlowHashOptions, mint};
use keyward::gateway::{MemoryDialer, Upstream, UpstreamOptions};
use keyward::http::forwarded::TrustedProxies;
use keyward::http::server::{ServerOptions, serve};
use keyward::store::{Store, StoreOptions};
use keyward::surface::data::{DataSurface, Product};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The longest that anything is waited for. Nothing here takes a millisecond; what takes as long as this hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two requests, so that buckets fill.
const STEP_MICROS: u64 = 1_000;

/// Which listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// SocialCRM's two doors and ShingleAI's.
    SocialAndShingle,
    /// MCP-Cloud's.
    Cloud,
}

/// A key, and what is known of it.
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) product: &'static str,
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) workspace: String,
    pub(crate) plan: &'static str,
    pub(crate) scopes: &'static str,
}

/// What is special about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// May do everything.
    Everything,
    /// Holds one permission to read.
    Reader,
    /// Is bound to [`BOUND_TO`].
    Bound,
    /// Must sign each request, which nobody here can.
    Signing,
    Revoked,
    Expired,
    /// Has a rate of nothing.
    Paced,
    /// Was never made.
    Unknown,
    /// An admin key.
    Admin,
}

/// The address that one key is bound to.
pub(crate) const BOUND_TO: &str = "192.0.2.7";

/// A request that reached the upstream.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

impl Seen {
    /// Every value of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.head.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect()
    }

    /// The path and the query.
    pub(crate) fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str)
    }
}

/// An answer, its body whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.header("content-type").is_some_and(|value| value.starts_with(b"application/json"))
    }
}

/// What the upstream says to the next request.
pub(crate) struct Scripted {
    pub(crate) content_type: &'static str,
    pub(crate) pieces: Vec<Bytes>,
}

#[derive(Default)]
struct AtUpstream {
    seen: Vec<Seen>,
    scripted: Option<Scripted>,
}

pub(crate) struct World {
    runtime: Runtime,
    doors: [SocketAddr; 2],
    time: Arc<ManualTime>,
    at_upstream: Arc<Mutex<AtUpstream>>,
    pub(crate) keys: Vec<Key>,
    _engine: Arc<Engine>,
}

impl World {
    /// The one world of this process.
    pub(crate) fn get() -> MutexGuard<'static, Self> {
        static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
        // A check that failed says so itself.
        WORLD.get_or_init(|| Mutex::new(Self::build())).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dir = std::env::temp_dir().join(format!(
            "keyward-fuzz-{}-{:p}",
            std::process::id(),
            &raw const runtime
        ));
        std::fs::create_dir_all(&dir).expect("a directory");
        let products: Vec<_> = ["socialcrm", "shingleai", "mcp-cloud"]
            .into_iter()
            .map(|name| load_profile(shipped(name).expect("it is shipped"), name).expect("it loads"))
            .collect();
        let (clock, time) = Clock::manual(Wall::parse("2027-03-10T12:00:00Z").expect("a time"));
        let engine = {
            let store = Store::open(&dir.join("keyward.redb"), StoreOptions::default()).expect("a store");
            let secrets = InstallSecrets::create(&dir.join("install.secret")).expect("an install secret");
            let cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).expect("a cost");
            let options = EngineOptions {
                proofs_max: 1_000,
                slow_hash: SlowHashOptions { cost, workers: 1, queue_max: 16 },
                keyless_rate: None,
                reads_max: 8,
                replays_max: 1_000,
                stores_fingerprints: true,
            };
            let profiles =
                products.iter().map(|product| Arc::clone(&product.profile)).chain([system_profile()]);
            Engine::new(store, clock, profiles, secrets, options).expect("an engine")
        };
        std::fs::remove_dir_all(&dir).expect("its files are open");
        let keys = runtime.block_on(make_keys(&engine, &time));
        let at_upstream = Arc::<Mutex<AtUpstream>>::default();
        let doors = runtime.block_on(async {
            let products = products.into_iter().map(|loaded| {
                Arc::new(Product {
                    profile: loaded.profile,
                    rest: loaded.rest,
                    rpc: loaded.rpc,
                    rate_headers: loaded.rate_headers,
                    cors: loaded.cors,
                    upstream: upstream(&at_upstream),
                    asserts: false,
                })
            });
            let [social, shingle, cloud]: [_; 3] =
                products.collect::<Vec<_>>().try_into().unwrap_or_else(|_| unreachable!("three products"));
            [listen(&engine, vec![social, shingle]).await, listen(&engine, vec![cloud]).await]
        });
        let mut world = Self { runtime, doors, time, at_upstream, keys, _engine: engine };
        world.is_well(Door::SocialAndShingle);
        world.is_well(Door::Cloud);
        world
    }

    pub(crate) fn key(&self, product: &str, kind: Kind) -> &Key {
        self.keys.iter().find(|key| key.product == product && key.kind == kind).expect("there is such a key")
    }

    /// The input with keys in the place of the bytes that stand for them: 0x10 and so on for each key, 0x1E and three
    /// more for a key with another character at some place.
    pub(crate) fn expanded(&self, input: &[u8]) -> Vec<u8> {
        const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_- ";
        let mut expanded = Vec::with_capacity(input.len() * 2);
        let mut rest = input;
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            let place = usize::from(*byte).checked_sub(0x10);
            if let Some(key) = place.and_then(|place| self.keys.get(place)) {
                expanded.extend(key.text.bytes());
            } else if let (0x1E, [key, place, other, ..]) = (byte, rest) {
                let mut text = self.keys[usize::from(*key) % self.keys.len()].text.clone().into_bytes();
                let place = usize::from(*place) % text.len();
                text[place] = ALPHABET[usize::from(*other) % ALPHABET.len()];
                expanded.extend(text);
                rest = &rest[3..];
            } else {
                expanded.push(*byte);
            }
        }
        expanded
    }

    /// Lets the upstream say this to the next request.
    pub(crate) fn script(&self, scripted: Scripted) {
        self.at_upstream().scripted = Some(scripted);
    }

    fn at_upstream(&self) -> MutexGuard<'_, AtUpstream> {
        self.at_upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What reached the upstream since the last look.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.at_upstream().seen)
    }

    /// Sends the bytes of one HTTP/1 request and gives its answer and what reached the upstream. Then a good key asks
    /// on the same connection, if that is still open: what came before must have left nothing behind.
    pub(crate) fn http1(&mut self, door: Door, request: &[u8]) -> (Answer, Vec<Seen>) {
        self.time.advance_micros(STEP_MICROS);
        let control = self.control(door);
        let is_head = request.starts_with(b"HEAD ");
        self.runtime.block_on(async {
            let mut stream = self.connect(door).await;
            // A server that has answered may have closed already.
            let _ = stream.write_all(request).await;
            let mut unread = Vec::new();
            let answer = read_answer(&mut stream, &mut unread, is_head).await.expect("no answer");
            let seen = self.seen();
            assert!(unread.is_empty(), "bytes behind the answer");
            let closes =
                answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
            if !closes && stream.write_all(&control).await.is_ok() {
                // The connection of a caller who does not keep it is closed without a word.
                if let Some(well) = read_answer(&mut stream, &mut unread, false).await {
                    self.is_control(&well, door);
                }
            }
            let mut behind = Vec::new();
            if closes {
                let _ = timeout(PATIENCE, stream.read_to_end(&mut behind)).await.expect("it closes");
            }
            assert!(behind.is_empty() && unread.is_empty(), "bytes behind the last answer");
            (answer, seen)
        })
    }

    /// Sends the bytes of one HTTP/1 request and gives what came of its answer, and whether that is whole; nothing when
    /// it was broken off before its first byte.
    pub(crate) fn as_far_as_it_came(&mut self, door: Door, request: &[u8]) -> Option<(Answer, bool)> {
        self.time.advance_micros(STEP_MICROS);
        self.runtime.block_on(async {
            let mut stream = self.connect(door).await;
            stream.write_all(request).await.expect("it is taken");
            let mut unread = Vec::new();
            loop {
                if let Some((answer, end)) = parsed(&unread, false) {
                    assert_eq!(unread.len(), end, "bytes behind the answer");
                    return Some((answer, true));
                }
                let read = timeout(PATIENCE, stream.read_buf(&mut unread)).await.expect("no answer in time");
                if !matches!(read, Ok(1..)) {
                    assert!(unread.is_empty() || head_of(&unread).is_some(), "half a head");
                    let head = head_of(&unread)?;
                    let body = dechunked(&unread[head.len..]).0;
                    return Some((Answer { status: head.status, headers: head.headers, body }, false));
                }
            }
        })
    }

    /// The same over HTTP/2; nothing when the stream was reset.
    pub(crate) fn http2(
        &mut self,
        door: Door,
        request: http::Request<Full<Bytes>>,
    ) -> Option<(Answer, Vec<Seen>)> {
        self.time.advance_micros(STEP_MICROS);
        self.runtime.block_on(async {
            let stream = TokioIo::new(self.connect(door).await);
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = timeout(PATIENCE, shaken).await.expect("in time").ok()?;
            let connection = tokio::spawn(connection);
            let answered = async {
                let (head, body) = sender.send_request(request).await.ok()?.into_parts();
                let body = body.collect().await.ok()?.to_bytes().to_vec();
                let headers = head.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
                Some(Answer { status: head.status.as_u16(), headers, body })
            };
            let answer = timeout(PATIENCE, answered).await.expect("no answer");
            connection.abort();
            let seen = self.seen();
            answer.map(|answer| (answer, seen))
        })
    }

    /// The positive control: a good key passes.
    pub(crate) fn is_well(&mut self, door: Door) {
        let control = self.control(door);
        self.runtime.block_on(async {
            let mut stream = self.connect(door).await;
            stream.write_all(&control).await.expect("it is taken");
            let answer =
                read_answer(&mut stream, &mut Vec::new(), false).await.expect("no answer to a good key");
            self.is_control(&answer, door);
        });
    }

    fn control(&self, door: Door) -> Vec<u8> {
        let (product, path) = match door {
            Door::SocialAndShingle => ("socialcrm", "/v1/posts"),
            Door::Cloud => ("mcp-cloud", "/v1/models"),
        };
        let key = &self.key(product, Kind::Everything).text;
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n").into_bytes()
    }

    fn is_control(&self, answer: &Answer, door: Door) {
        let product = if door == Door::Cloud { "mcp-cloud" } else { "socialcrm" };
        let id = &self.key(product, Kind::Everything).id;
        assert_eq!(answer.status, 200, "a good key was refused");
        let seen = self.seen();
        assert!(seen.len() == 1 && seen[0].values("x-keyward-key-id") == [id.as_bytes()], "{seen:?}");
    }

    async fn connect(&self, door: Door) -> TcpStream {
        let stream = TcpStream::connect(self.doors[door as usize]).await.expect("a connection");
        // No port stays taken behind a connection.
        stream.set_zero_linger().expect("a reset at the end");
        stream
    }
}

/// One HTTP/1 answer; nothing when the connection closes before its first byte.
async fn read_answer(stream: &mut TcpStream, unread: &mut Vec<u8>, is_head: bool) -> Option<Answer> {
    loop {
        match parsed(unread, is_head) {
            Some((answer, end)) => {
                unread.drain(..end);
                // What comes ahead of an answer is none.
                if answer.status >= 200 {
                    return Some(answer);
                }
            }
            None => match timeout(PATIENCE, stream.read_buf(unread)).await.expect("no answer in time") {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => {
                    assert!(unread.is_empty(), "half an answer");
                    return None;
                }
            },
        }
    }
}

/// The first answer of these bytes and where it ends; nothing while it is not whole.
fn parsed(bytes: &[u8], is_head: bool) -> Option<(Answer, usize)> {
    let Head { status, headers, len } = head_of(bytes)?;
    let named = |name: &str| {
        let mut values = headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "two {name}");
        value.and_then(|value| str::from_utf8(value).ok())
    };
    let (length, coding) = (named("content-length"), named("transfer-encoding"));
    assert!(length.is_none() || coding.is_none(), "two framings");
    let rest = &bytes[len..];
    let (body, body_len) = if is_head || status < 200 || status == 204 || status == 304 {
        (Vec::new(), 0)
    } else if coding == Some("chunked") {
        let (body, body_len) = dechunked(rest);
        (body, body_len?)
    } else {
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        (rest.get(..length)?.to_vec(), length)
    };
    Some((Answer { status, headers, body }, len + body_len))
}

struct Head {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// With the empty line.
    len: usize,
}

fn head_of(bytes: &[u8]) -> Option<Head> {
    let len = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(&bytes[..len]).expect("a head of ours is text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
    let headers = lines
        .map(|line| line.split_once(": ").or_else(|| line.split_once(':')).expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec()))
        .collect();
    Some(Head { status: status.expect("a status line"), headers, len: len + 4 })
}

/// A chunked body as far as it has come, and its length on the wire once it is whole.
fn dechunked(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line_len) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, None);
        };
        let line = str::from_utf8(&rest[..line_len]).expect("a chunk's length");
        let length = usize::from_str_radix(line, 16).expect("a chunk's length");
        let chunk = &rest[line_len + 2..];
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        let Some(end) = chunk.get(length..length + 2) else { return (body, None) };
        assert_eq!(end, b"\r\n", "a chunk's end");
        at += line_len + 2 + length + 2;
        if length == 0 {
            return (body, Some(at));
        }
    }
}

async fn listen(engine: &Arc<Engine>, products: Vec<Arc<Product>>) -> SocketAddr {
    let addresses = AddressRules::parse(["127.0.0.0/8"]).expect("a rule");
    let trusted = Arc::new(TrustedProxies { addresses: Some(addresses), unix: false });
    let surface = Arc::new(DataSurface::new(Arc::clone(engine), Vec::new(), products, trusted));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = move |request, peer| {
        let surface = Arc::clone(&surface);
        async move { surface.answer(request, peer).await }
    };
    tokio::spawn(serve(listener, ServerOptions::default(), CancellationToken::new(), answer));
    address
}

/// An upstream that notes what it is asked.
fn upstream(at_upstream: &Arc<Mutex<AtUpstream>>) -> Upstream {
    let (dialer, mut dialled) = MemoryDialer::new();
    let at_upstream = Arc::clone(at_upstream);
    tokio::spawn(async move {
        while let Some(connection) = dialled.recv().await {
            let at_upstream = Arc::clone(&at_upstream);
            let service = service_fn(move |request| noted(request, Arc::clone(&at_upstream)));
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(connection), service));
        }
    });
    Upstream::memory(dialer, UpstreamOptions::default())
}

async fn noted(
    request: http::Request<Incoming>,
    at_upstream: Arc<Mutex<AtUpstream>>,
) -> Result<http::Response<Pieces>, Infallible> {
    let (head, body) = request.into_parts();
    // A caller that leaves takes its body along.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (content_type, piece) = if head.uri.path() == "/sse" {
        ("text/event-stream", &b"event: endpoint\ndata: /messages?id=1\n\n"[..])
    } else {
        ("application/json", &br#"{"jsonrpc":"2.0","id":1,"result":{}}"#[..])
    };
    let plain = || Scripted { content_type, pieces: vec![Bytes::from_static(piece)] };
    let mut at_upstream = at_upstream.lock().unwrap_or_else(PoisonError::into_inner);
    at_upstream.seen.push(Seen { head, body });
    let Scripted { content_type, pieces } = at_upstream.scripted.take().unwrap_or_else(plain);
    let response = http::Response::builder().header("content-type", content_type);
    Ok(response.body(Pieces(pieces.into())).expect("an answer"))
}

/// A body that comes in pieces.
struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

async fn make_keys(engine: &Arc<Engine>, time: &ManualTime) -> Vec<Key> {
    const SOCIAL: (&str, &str) = ("socialcrm", "enterprise");
    const FREE: (&str, &str) = ("socialcrm", "free");
    const SHINGLE: (&str, &str) = ("shingleai", "enterprise");
    const CLOUD: (&str, &str) = ("mcp-cloud", "enterprise");
    let wanted = [
        (SOCIAL, Kind::Everything, "*:*"),
        (FREE, Kind::Reader, "posts:read"),
        (SOCIAL, Kind::Revoked, "*:*"),
        (SOCIAL, Kind::Expired, "*:*"),
        (SOCIAL, Kind::Paced, "*:*"),
        (SOCIAL, Kind::Bound, "*:*"),
        (SHINGLE, Kind::Everything, "*:*"),
        (SHINGLE, Kind::Reader, "contacts:read"),
        (CLOUD, Kind::Everything, "*:*"),
        (CLOUD, Kind::Signing, "*:*"),
        (SOCIAL, Kind::Unknown, "*:*"),
        ((SYSTEM_PROFILE, "admin"), Kind::Admin, "*:*"),
    ];
    let mut keys = Vec::new();
    for ((product, plan), kind, scopes) in wanted {
        keys.push(make_key(engine, product, plan, kind, scopes).await);
    }
    time.advance_micros(3_600_000_000);
    keys
}

async fn make_key(
    engine: &Arc<Engine>,
    product: &'static str,
    plan: &'static str,
    kind: Kind,
    scopes: &'static str,
) -> Key {
    let account = NewWorkspace {
        name: Label::parse("fuzz").expect("a name"),
        profile: product.to_owned(),
        plan: plan.to_owned(),
        billing_anchor: None,
        brands: Vec::new(),
    };
    let told = |text: String, id: String, workspace: String| Key {
        kind,
        product,
        text,
        id,
        workspace,
        plan,
        scopes,
    };
    let never_made = |product: &str| {
        let tag = &engine.profile(product).expect("a product").tag;
        mint(tag).expect("random bytes").reveal().to_owned()
    };
    if kind == Kind::Unknown {
        return told(never_made(product), String::new(), String::new());
    }
    if kind == Kind::Admin {
        let raw = mint(&system_profile().tag).expect("random bytes");
        let text = raw.reveal().to_owned();
        let made = engine.create_system_workspace(account, raw).await.expect("a workspace");
        return told(text, made.default_key.record.id.to_string(), made.workspace.id.to_string());
    }
    let workspace = engine.create_workspace(Actor::System, account).await.expect("a workspace").workspace.id;
    let soon = engine.clock().now().wall.plus_micros(60_000_000);
    let new = NewKey {
        workspace,
        name: None,
        description: None,
        permissions: vec![Permission::parse(scopes).expect("a permission")],
        expires_at: (kind == Kind::Expired).then_some(soon),
        addresses: (kind == Kind::Bound).then(|| AddressRules::parse([BOUND_TO]).expect("a rule")),
        rate: Some(
            Rate::new(if kind == Kind::Paced { 0 } else { 1_000_000 }, 1, None).expect("a rate").into(),
        ),
        metadata: None,
        require_signature: kind == Kind::Signing,
        signature_replay: SignatureReplay::Once,
    };
    let made = engine.create_key(Actor::System, new).await.expect("a key");
    if kind == Kind::Revoked {
        engine.revoke_key(Actor::System, made.record.id).await.expect("it is revoked");
    }
    told(made.raw.reveal().to_owned(), made.record.id.to_string(), workspace.to_string())
}
