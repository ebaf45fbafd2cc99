//! HTTP/2, spoken in frames that are made by hand: what a client may send, what it may not, and what ends when
//! a key does.
//!
//! The frames are as raw as the attacks need them. What is refused never reaches the upstream, and a good
//! request passes before and after it.
//!
//! Never here: HTTP/1.1, but for a control.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, Options, list_posts};
use crate::listeners::{Served, certificate, secured};
use crate::streams::{Far, Manner};
use crate::upstreams::recording::recording;
use crate::wire::PATIENCE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const CANCEL: u32 = 8;

/// A frame's bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A head in HPACK, every field a literal that nobody remembers.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // A number with a prefix of seven bits.
            match text.len() {
                short if short < 127 => bytes.push(u8::try_from(short).unwrap()),
                long => {
                    bytes.push(127);
                    let mut left = long - 127;
                    while left >= 128 {
                        bytes.push(u8::try_from(left % 128).unwrap() | 128);
                        left /= 128;
                    }
                    bytes.push(u8::try_from(left).unwrap());
                }
            }
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// The status that an answer's head begins with.
fn status_of(head: &[u8]) -> u16 {
    match head {
        // The table's new size, said once.
        [0x20, rest @ ..] => status_of(rest),
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // The name of the table, and three digits in Huffman's code.
        [0x48 | 0x08 | 0x18, length, code @ ..] if length & 0x80 != 0 => {
            let code = code[..usize::from(length & 0x7f)].iter().map(|byte| format!("{byte:08b}"));
            let bits = code.collect::<Vec<_>>().concat();
            let (mut left, mut status) = (bits.as_str(), 0);
            for _ in 0..3 {
                let (digit, length) = match u16::from_str_radix(&left[..5], 2).unwrap() {
                    short @ 0..=2 => (short, 5),
                    _ => (u16::from_str_radix(&left[..6], 2).unwrap() - 0b1_1001 + 3, 6),
                };
                (status, left) = (status * 10 + digit, &left[length..]);
            }
            status
        }
        other => panic!("{other:02x?}"),
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Status(u16),
    Reset(u32),
    /// The connection ended.
    Gone,
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// One connection.
struct Frames<S = TcpStream>(S);

impl Frames {
    async fn open(daemon: &Daemon) -> Self {
        Self::over(TcpStream::connect(daemon.data()).await.unwrap()).await
    }
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Frames<S> {
    async fn over(stream: S) -> Self {
        let mut frames = Self(stream);
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // No table of headers, so that each head says all it means.
        frames.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
        frames
    }

    /// Sends bytes; whether the other side still takes them.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok() };
        tokio::time::timeout(PATIENCE, sent).await.expect("it is taken or refused")
    }

    async fn request(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(&frame(HEADERS, flags, stream, &head(fields))).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            let mut start = [0; 9];
            self.0.read_exact(&mut start).await.ok()?;
            let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([start[5], start[6], start[7], start[8]]);
            Some(Frame { kind: start[3], stream, payload })
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a frame comes or the end does")
    }

    /// Reads until something of this kind comes on `stream`, or its end.
    async fn until(&mut self, stream: u32, kind: u8) -> Result<Frame, Outcome> {
        loop {
            let Some(frame) = self.next().await else { return Err(Outcome::Gone) };
            match frame.kind {
                GOAWAY => return Err(Outcome::Gone),
                RST_STREAM if frame.stream == stream => {
                    return Err(Outcome::Reset(u32::from_be_bytes(frame.payload.try_into().unwrap())));
                }
                found if found == kind && frame.stream == stream => return Ok(frame),
                _ => {}
            }
        }
    }

    async fn outcome(&mut self, stream: u32) -> Outcome {
        match self.until(stream, HEADERS).await {
            Ok(frame) => Outcome::Status(status_of(&frame.payload)),
            Err(outcome) => outcome,
        }
    }

    /// Whether the connection is ended by the other side, whatever comes before.
    async fn is_gone(&mut self) -> bool {
        loop {
            match self.next().await {
                None => return true,
                Some(frame) if frame.kind == GOAWAY => return true,
                Some(_) => {}
            }
        }
    }
}

fn get(authorization: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", "/v1/posts"),
        ("authorization", authorization),
    ]
}

/// The same with one field more, or in the place of one of that name.
fn with<'a>(fields: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = fields.iter().copied().filter(|(other, _)| *other != name).collect();
    let place = if name.starts_with(':') { 0 } else { fields.len() };
    fields.insert(place, (name, value));
    fields
}

fn without<'a>(fields: &[(&'a str, &'a str)], name: &str) -> Vec<(&'a str, &'a str)> {
    fields.iter().copied().filter(|(other, _)| *other != name).collect()
}

#[tokio::test]
async fn f19_what_is_malformed_or_says_two_things_in_http2_is_never_forwarded() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let bearer = format!("Bearer {}", &*key.text);
    let good = get(&bearer);
    let mut control = Frames::open(&daemon).await;
    control.request(1, &good, true).await;
    assert_eq!(control.outcome(1).await, Outcome::Status(200));
    assert_eq!(recorded.lock().unwrap().len(), 1);

    let twice = |name: &'static str, value: &'static str| {
        let mut fields = good.clone();
        fields.insert(if name.starts_with(':') { 1 } else { fields.len() }, (name, value));
        fields
    };
    let mut late = good.clone();
    late.rotate_left(1);
    let connect = vec![(":method", "CONNECT"), (":authority", "api.example:80"), ("authorization", &bearer)];
    for (told, fields) in [
        ("a space in the path", with(&good, ":path", "/v1/posts x")),
        ("a line end in the path", with(&good, ":path", "/v1/posts\r\nx: y")),
        ("a path that is none", with(&good, ":path", "v1/posts")),
        ("an empty path", with(&good, ":path", "")),
        ("dot segments", with(&good, ":path", "/v1/x/../posts")),
        ("no path", without(&good, ":path")),
        ("no method", without(&good, ":method")),
        ("no scheme", without(&good, ":scheme")),
        ("another scheme", with(&good, ":scheme", "ftp")),
        ("no host at all", without(&good, ":authority")),
        ("a user in the authority", with(&good, ":authority", "u@api.example")),
        ("two paths", twice(":path", "/v1/posts")),
        ("two methods", twice(":method", "POST")),
        ("two authorities", twice(":authority", "api.example")),
        ("a pseudo-header behind the others", late),
        ("an unknown pseudo-header", with(&good, ":protocol", "websocket")),
        ("another host", with(&good, "host", "evil.example")),
        ("a connection header", with(&good, "connection", "keep-alive")),
        ("a connection that is kept", with(&good, "keep-alive", "5")),
        ("a transfer coding", with(&good, "transfer-encoding", "chunked")),
        ("an upgrade", with(&good, "upgrade", "websocket")),
        ("te", with(&good, "te", "gzip")),
        ("a name in capitals", with(&good, "X-Upper", "y")),
        ("a name with a line end", with(&good, "x\r\ny", "z")),
        ("a value with a line end", with(&good, "x", "y\r\nz: a")),
        ("a value with a zero", with(&good, "x", "y\0z")),
        ("two credentials", twice("authorization", "Bearer x")),
        ("a tunnel", connect),
    ] {
        let mut frames = Frames::open(&daemon).await;
        frames.request(1, &fields, true).await;
        let outcome = frames.outcome(1).await;
        let is_refused = match outcome {
            Outcome::Status(status) => (400..500).contains(&status),
            Outcome::Reset(_) | Outcome::Gone => true,
        };
        assert!(is_refused, "{told}: {outcome:?}");
        assert_eq!(recorded.lock().unwrap().len(), 1, "{told} was forwarded");
    }
    control.request(3, &good, true).await;
    assert_eq!(control.outcome(3).await, Outcome::Status(200));
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn f19_a_body_is_as_long_as_it_says_or_its_stream_is_reset() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let bearer = format!("Bearer {}", &*key.text);
    let body = br#"{"body":"x","account_ids":["a"]}"#;
    let length = body.len().to_string();
    let post = with(&get(&bearer), ":method", "POST");
    let post = with(&post, "content-type", "application/json");
    for (told, length, is_right) in
        [("right", length.as_str(), true), ("long", "99", false), ("short", "3", false)]
    {
        let mut frames = Frames::open(&daemon).await;
        frames.request(1, &with(&post, "content-length", length), false).await;
        frames.send(&frame(DATA, END_STREAM, 1, body)).await;
        let outcome = frames.outcome(1).await;
        match outcome {
            Outcome::Status(201) => assert!(is_right, "{told}"),
            Outcome::Status(status) => assert!(!is_right && (400..500).contains(&status), "{told}: {status}"),
            Outcome::Reset(_) | Outcome::Gone => assert!(!is_right, "{told}: {outcome:?}"),
        }
    }
    let posts = daemon.call(&list_posts(&key)).await.json();
    assert_eq!(posts["data"].as_array().unwrap().len(), 1, "only the right one was made");
    daemon.finish().await;
}

#[tokio::test]
async fn a_request_reaches_the_upstream_in_the_shape_of_http1() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options { upstream: Some(url.leak()), ..Options::default() }).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let bearer = format!("Bearer {}", &*key.text);
    let mut fields = with(&get(&bearer), ":path", "/v1/posts?limit=7#cut");
    fields.extend([("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("host", "API.example")]);
    let mut frames = Frames::open(&daemon).await;
    frames.request(1, &fields, true).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let seen = recorded.lock().unwrap().last().unwrap().to_ascii_lowercase();
    assert!(seen.starts_with("get /v1/posts?limit=7 http/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\ncookie: a=1; b=2\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-host: api.example\r\n"), "{seen}");
    assert!(!seen.contains("\r\nte:") && !seen.contains(&key.text.to_ascii_lowercase()));
    daemon.finish().await;
    task.abort();
}

#[tokio::test]
async fn early_refusals_cost_a_stream_and_not_the_connection() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let bearer = format!("Bearer {}", &*key.text);
    let mut frames = Frames::open(&daemon).await;
    // Each has a body that never ends; none of it is waited for longer than a moment.
    for stream in (1..40).step_by(2) {
        let post = with(&get("Bearer sk_live_wrong"), ":method", "POST");
        frames.request(stream, &post, false).await;
        frames.send(&frame(DATA, 0, stream, b"some")).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Status(401));
    }
    frames.request(41, &get(&bearer), true).await;
    assert_eq!(frames.outcome(41).await, Outcome::Status(200));
    daemon.finish().await;
}

#[tokio::test]
async fn a_revoked_keys_streams_are_reset_and_the_others_of_its_connection_go_on() {
    for manner in [Manner::Trickles, Manner::IsSilent] {
        let far = Far::start(manner).await;
        let daemon = Daemon::start_with(Options { upstream: Some(far.url), ..Options::default() }).await;
        let workspace = daemon.workspace("enterprise").await;
        let ends = daemon.key_for(&workspace, &["posts:read"]).await;
        let stays = daemon.key_for(&workspace, &["posts:read"]).await;
        let mut frames = Frames::open(&daemon).await;
        for (stream, key) in [(1, &ends), (3, &stays)] {
            frames.request(stream, &get(&format!("Bearer {}", &*key.text)), true).await;
            assert_eq!(frames.outcome(stream).await, Outcome::Status(200));
            assert_eq!(frames.until(stream, DATA).await.unwrap().payload, b"x");
        }
        daemon.revoke(&ends).await;
        let Err(Outcome::Reset(_)) = frames.until(1, GOAWAY).await else { panic!("{manner:?}: not reset") };
        if matches!(manner, Manner::Trickles) {
            frames.until(3, DATA).await.unwrap();
        }
        frames.request(5, &get(&format!("Bearer {}", &*ends.text)), true).await;
        assert_eq!(frames.outcome(5).await, Outcome::Status(401));
        // The stream is taken back, or the daemon's end would wait for it.
        frames.send(&frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes())).await;
        far.until_open(0).await;
        daemon.finish().await;
        far.stop();
    }
}

#[tokio::test]
async fn a_client_chooses_http2_over_tls_and_crosses_to_no_other_host() {
    let text = r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        name = "socialcrm"
        upstream = "sandbox"
        [[listener]]
        listen = "127.0.0.1:0"
        hosts = ["api.example"]
        tls = { cert = "api.pem", key = "api.key" }
        profiles = ["socialcrm"]
    "#;
    let daemon = Served::start(text, |dir| certificate(dir, "api", &["api.example"])).await;
    let made = daemon.key().await;
    let bearer = format!("Bearer {}", &*made.key);
    let stream =
        secured(daemon.connect().await, &daemon.path("api.pem"), "api.example", b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut frames = Frames::over(stream).await;
    frames.request(1, &with(&get(&bearer), ":scheme", "https"), true).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    frames.request(3, &with(&get(&bearer), ":authority", "evil.example"), true).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(403));
    // Who chose HTTP/2 and speaks HTTP/1.1 is let go.
    let stream =
        secured(daemon.connect().await, &daemon.path("api.pem"), "api.example", b"h2").await.unwrap();
    let answer =
        crate::listeners::exchange(stream, "GET /v1/posts HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    assert_eq!(answer, "");
    drop(frames);
    daemon.stop().await;
}

/// Runs an attack on a connection of its own while a good client is served on another.
async fn attacked(attack: impl AsyncFnOnce(&mut Frames, &str)) {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("enterprise").await.default_key;
    let bearer = format!("Bearer {}", &*key.text);
    let mut good = Frames::open(&daemon).await;
    good.request(1, &get(&bearer), true).await;
    assert_eq!(good.outcome(1).await, Outcome::Status(200));
    let mut bad = Frames::open(&daemon).await;
    attack(&mut bad, &bearer).await;
    good.request(3, &get(&bearer), true).await;
    assert_eq!(good.outcome(3).await, Outcome::Status(200));
    daemon.is_well(&key).await;
    drop((good, bad));
    daemon.finish().await;
}

#[tokio::test]
async fn x07_rapid_resets_end_their_connection() {
    attacked(async |bad, bearer| {
        let mut flood = Vec::new();
        for stream in (1..4000).step_by(2) {
            flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(&get(bearer))));
            flood.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
        bad.send(&flood).await;
        assert!(bad.is_gone().await);
    })
    .await;
}

#[tokio::test]
async fn x07_resets_that_we_are_made_to_send_end_their_connection() {
    attacked(async |bad, bearer| {
        // A window update of nothing is a stream error of ours each time.
        let mut flood = Vec::new();
        for stream in (1..4000).step_by(2) {
            let post = with(&get(bearer), ":method", "POST");
            flood.extend(frame(HEADERS, END_HEADERS, stream, &head(&post)));
            flood.extend(frame(8, 0, stream, &[0; 4]));
        }
        bad.send(&flood).await;
        assert!(bad.is_gone().await);
    })
    .await;
}

#[tokio::test]
async fn x07_a_head_without_end_is_not_gathered() {
    attacked(async |bad, bearer| {
        bad.send(&frame(HEADERS, END_STREAM, 1, &head(&get(bearer)))).await;
        let more = frame(CONTINUATION, 0, 1, &head(&[("x-more", &"y".repeat(1000))]));
        let mut is_taken = true;
        for _ in 0..10_000 {
            is_taken = is_taken && bad.send(&more).await;
        }
        assert!(bad.is_gone().await);
    })
    .await;
}

#[tokio::test]
async fn x07_frames_that_say_nothing_do_no_harm() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let ping = frame(PING, 0, 0, &[7; 8]);
    let empty = frame(DATA, 0, 1, &[]);
    let acks = frame(SETTINGS, ACK, 0, &[]);
    for (told, flood) in [("settings", settings), ("pings", ping), ("empty data", empty), ("acks", acks)] {
        attacked(async |bad, bearer| {
            let post = with(&get(bearer), ":method", "POST");
            bad.request(1, &post, false).await;
            let flood = flood.repeat(500);
            // A client that does not read is not written to for ever either: its own writes stop being taken.
            for _ in 0..100 {
                let sent = tokio::time::timeout(Duration::from_millis(200), bad.send(&flood)).await;
                if !matches!(sent, Ok(true)) {
                    break;
                }
            }
            let _ = told;
        })
        .await;
    }
}

#[tokio::test]
async fn x07_more_streams_than_agreed_are_refused_and_closed_windows_hold_up_nobody_else() {
    attacked(async |bad, bearer| {
        // An initial window of nothing.
        bad.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
        for stream in (1..300).step_by(2) {
            bad.request(stream, &get(bearer), true).await;
        }
        // Which of the two is told first is nobody's promise.
        let (mut first, mut beyond) = (None, false);
        while first.is_none() || !beyond {
            let Some(told) = bad.next().await.filter(|told| told.kind != GOAWAY) else { break };
            match (told.kind, told.stream) {
                (HEADERS, 1) => first = Some(status_of(&told.payload)),
                (HEADERS, 299) => panic!("more streams than agreed are served"),
                (RST_STREAM, 299) => beyond = true,
                _ => {}
            }
        }
        assert!(first.is_none_or(|status| status == 200), "{first:?}");
    })
    .await;
}
