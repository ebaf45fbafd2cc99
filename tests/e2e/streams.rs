//! What a key has open ends with the key: streams that trickle, streams that stand still, and requests that
//! still wait for their answer.
//!
//! The upstream here says a head and a first piece, then trickles or is silent for ever. A stream of another
//! key beside it goes on, so that what ended was the key's and not the daemon's. How soon is a promise (within
//! one second) that no assertion here is as strict about, since machines can be slow.
//!
//! Never here: a stream that ends because somebody had nothing more to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::daemon::{Daemon, Key, Options, Workspace, call_tool, list_posts, list_tools};
use crate::wire::Call;

/// A stream is promised to end within one second.
const SOON: Duration = Duration::from_secs(5);

/// What the upstream does once it has a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// A piece each 20 ms.
    Trickles,
    /// One piece and then nothing.
    IsSilent,
    /// Not even a head.
    Waits,
}

pub(crate) struct Far {
    pub(crate) url: &'static str,
    /// Requests that are under way.
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Far {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).leak();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    say(stream, manner, &counted).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, open, task }
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    pub(crate) async fn until_open(&self, requests: usize) {
        let until = async {
            while self.open.load(Ordering::SeqCst) != requests {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, until).await.expect("the upstream's side follows");
    }
}

/// Answers one request until the gate lets go.
async fn say(mut stream: TcpStream, manner: Manner, open: &AtomicUsize) {
    let mut got = Vec::new();
    while !got.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut got).await.unwrap_or(0) == 0 {
            open.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
    open.fetch_add(1, Ordering::SeqCst);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut reading, mut writing) = stream.into_split();
    let speaking = async {
        if matches!(manner, Manner::Waits) {
            return std::future::pending::<()>().await;
        }
        let mut said = writing.write_all(format!("{head}1\r\nx\r\n").as_bytes()).await;
        while said.is_ok() {
            if matches!(manner, Manner::IsSilent) {
                return std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            said = writing.write_all(b"1\r\nx\r\n").await;
        }
    };
    let leaving = async { while reading.read_buf(&mut got).await.unwrap_or(0) > 0 {} };
    tokio::select! {
        () = speaking => {}
        () = leaving => {}
    }
}

/// A request that is under way.
struct Open(TcpStream);

impl Open {
    async fn new(daemon: &Daemon, call: &Call) -> Self {
        let mut stream = TcpStream::connect(daemon.data()).await.unwrap();
        stream.write_all(&call.bytes(daemon.data())).await.unwrap();
        Self(stream)
    }

    /// The same, up to the first piece of its answer.
    async fn streaming(daemon: &Daemon, call: &Call) -> Self {
        let mut open = Self::new(daemon, call).await;
        let mut got = Vec::new();
        while !got.ends_with(b"1\r\nx\r\n") {
            assert!(open.0.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
        }
        assert!(got.starts_with(b"HTTP/1.1 200 "));
        open
    }

    /// Reads to the end, which comes soon. A connection that is cut may be reset.
    async fn end(mut self) -> String {
        let mut all = Vec::new();
        let _ = tokio::time::timeout(SOON, self.0.read_to_end(&mut all)).await.expect("the stream ends");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Is refused, soon. The connection may go on.
    async fn ends_refused(mut self, told: &str) {
        let mut got = Vec::new();
        let head = async {
            while !got.windows(4).any(|four| four == b"\r\n\r\n") {
                assert!(self.0.read_buf(&mut got).await.unwrap() > 0, "{told}: closed without an answer");
            }
        };
        tokio::time::timeout(SOON, head).await.expect("an answer comes");
        assert!(got.starts_with(b"HTTP/1.1 401 "), "{told}: {}", String::from_utf8_lossy(&got));
    }

    /// Ends, and not as if it were whole.
    async fn ends_cut(self, told: &str) {
        assert!(!self.end().await.ends_with("0\r\n\r\n"), "{told}: the stream looks whole");
    }

    /// Goes on: another piece comes, or nothing does and the connection stands.
    async fn goes_on(&mut self, manner: Manner, told: &str) {
        let mut some = [0; 16];
        if matches!(manner, Manner::Trickles) {
            assert!(self.0.read(&mut some).await.unwrap() > 0, "{told}");
        } else {
            let read = tokio::time::timeout(Duration::from_millis(50), self.0.read(&mut some)).await;
            assert!(read.is_err(), "{told}: something came");
        }
    }
}

const NARROWINGS: [&str; 4] = ["revoke", "suspension", "expiry", "lost address"];

async fn narrow(daemon: &Daemon, workspace: &Workspace, key: &Key, how: &str) {
    match how {
        "revoke" => daemon.revoke(key).await,
        "suspension" => drop(daemon.patch_workspace(workspace, json!({"status": "suspended"})).await),
        // Nothing wakes anybody: the clock alone goes on.
        "expiry" => daemon.advance_secs(60),
        _ => drop(daemon.patch_key(key, json!({"ip_allow": ["192.0.2.7"]})).await),
    }
}

#[tokio::test]
async fn b06_an_open_stream_ends_with_its_key_and_with_nobody_elses() {
    for manner in [Manner::Trickles, Manner::IsSilent] {
        let far = Far::start(manner).await;
        let daemon = Daemon::start_with(Options { upstream: Some(far.url), ..Options::default() }).await;
        let beside = daemon.workspace("enterprise").await;
        let mut other = Open::streaming(&daemon, &list_posts(&beside.default_key)).await;
        for how in NARROWINGS {
            let told = format!("{how}, {manner:?}");
            let workspace = daemon.workspace("enterprise").await;
            let fields = json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(60)});
            let key = daemon.key(&workspace, fields).await;
            let mut rest = Open::streaming(&daemon, &list_posts(&key)).await;
            let mut rpc = Open::streaming(&daemon, &call_tool(&key, "posts_list")).await;
            far.until_open(3).await;
            rest.goes_on(manner, &told).await;
            rpc.goes_on(manner, &told).await;
            narrow(&daemon, &workspace, &key, how).await;
            rest.ends_cut(&told).await;
            rpc.ends_cut(&told).await;
            far.until_open(1).await;
            other.goes_on(manner, &told).await;
        }
        drop(other);
        far.until_open(0).await;
        daemon.finish().await;
        far.task.abort();
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_refused_as_soon_as_its_key_ends() {
    // A tool list is read whole before it is shown, so its waits are of both kinds.
    for manner in [Manner::Waits, Manner::Trickles] {
        let far = Far::start(manner).await;
        let daemon = Daemon::start_with(Options { upstream: Some(far.url), ..Options::default() }).await;
        for how in NARROWINGS {
            let told = format!("{how}, {manner:?}");
            let workspace = daemon.workspace("enterprise").await;
            let fields = json!({"permissions": ["*:*"], "expires_at": daemon.in_secs(60)});
            let key = daemon.key(&workspace, fields).await;
            let mut waiting = vec![Open::new(&daemon, &list_tools(&key)).await];
            if matches!(manner, Manner::Waits) {
                waiting.push(Open::new(&daemon, &list_posts(&key)).await);
                waiting.push(Open::new(&daemon, &call_tool(&key, "posts_list")).await);
                // This one's body is still on its way: the head is told, the rest never comes.
                let call = Call::new("POST", "/v1/posts").bearer(&key.text).header("Content-Length", "100");
                waiting.push(Open::new(&daemon, &call.body("{")).await);
            }
            far.until_open(waiting.len()).await;
            narrow(&daemon, &workspace, &key, how).await;
            for open in waiting {
                open.ends_refused(&told).await;
            }
            far.until_open(0).await;
        }
        daemon.finish().await;
        far.task.abort();
    }
}

#[tokio::test]
async fn a_message_that_is_still_being_read_is_refused_as_soon_as_its_key_ends() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["*:*"]).await;
    let call = Call::new("POST", "/api/mcp-app").bearer(&key.text).header("Content-Type", "application/json");
    let mut open = Open::new(&daemon, &call.header("Content-Length", "100").body("{")).await;
    open.goes_on(Manner::IsSilent, "before").await;
    daemon.revoke(&key).await;
    open.ends_refused("a message").await;
    daemon.is_well(&workspace.default_key).await;
    daemon.finish().await;
}
