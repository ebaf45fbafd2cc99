//! Clients by the thousand who are idle, slow to send and slow to read, all at once; and a daemon that has too few
//! descriptors, or too little memory, for what is asked of it.
//!
//! That each kind of slow client is cut off at its deadline is shown with short deadlines under `src/http`; here are their
//! numbers and the real deadlines, half a minute each.
//!
//! Short: `cargo test --test faults crowds`. Long, about two minutes, with the 99th percentile of a caller beside the
//! crowd: `cargo test --release --test faults -- --ignored --nocapture thousands_of_slow_clients`.
//!
//! Never here: a deadline that a test made shorter.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use keyward::clock::Clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::harness::program::{Program, command, configured, new_workspace, text};
use crate::harness::wire::{Call, Connection, PATIENCE, call_once};

/// How many of each kind there are.
#[derive(Clone, Copy)]
struct Crowd {
    idle: usize,
    slow_heads: usize,
    slow_bodies: usize,
    /// Few: the kernel takes some ten thousand answers for each before the daemon can notice.
    slow_readers: usize,
}

const SMALL: Crowd = Crowd { idle: 100, slow_heads: 50, slow_bodies: 20, slow_readers: 2 };
const LARGE: Crowd = Crowd { idle: 2_000, slow_heads: 500, slow_bodies: 200, slow_readers: 8 };

/// Between two bytes of one who is slow.
const SLOWNESS: Duration = Duration::from_secs(5);
/// The longest that the daemon may bear any of them.
const BORNE_MAX: Duration = Duration::from_secs(90);
/// Between two calls of the caller beside the crowd.
const PAUSE: Duration = Duration::from_millis(5);
/// What the kernel keeps for one who does not read.
const UNREAD_BYTES: u32 = 4_096;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Idle,
    SlowHead,
    SlowBody,
    SlowReader,
}

/// Opens a connection from an address of its own among 250, so that no address has more than its share.
async fn open(data: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = Ipv4Addr::new(127, 1, 0, u8::try_from(number % 250).unwrap() + 1);
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.set_recv_buffer_size(UNREAD_BYTES).unwrap();
    socket.connect(data).await.unwrap()
}

/// Plays one of the crowd until the daemon ends the connection.
async fn play(kind: Kind, mut stream: TcpStream, key: String) {
    let head = format!("Host: localhost\r\nAuthorization: Bearer {key}\r\n");
    match kind {
        Kind::Idle => {
            let _ = stream.read(&mut [0; 1]).await;
        }
        Kind::SlowHead => {
            let head = format!("GET /v1/posts HTTP/1.1\r\n{head}X-Slow: ");
            let _ = stream.write_all(head.as_bytes()).await;
            send_slowly(stream).await;
        }
        Kind::SlowBody => {
            let head = format!(
                "POST /api/mcp-app HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).await;
            send_slowly(stream).await;
        }
        Kind::SlowReader => {
            let request = format!("GET /v1/posts HTTP/1.1\r\n{head}\r\n");
            while stream.write_all(request.as_bytes()).await.is_ok() {}
        }
    }
}

/// A byte now and then, until the other side has closed.
async fn send_slowly(mut stream: TcpStream) {
    let mut byte = [0; 1];
    loop {
        match tokio::time::timeout(SLOWNESS, stream.read(&mut byte)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(_) => return,
            Err(_) => drop(stream.write_all(b"x").await),
        }
    }
}

/// A caller at its own pace; the 99th percentile of its answers, until it is told to end.
async fn p99_micros(daemon: &Program, key: &str, until: impl Future<Output = ()>) -> u64 {
    let clock = Clock::machine();
    let mut connection = Connection::open(daemon.data()).await.unwrap();
    let (call, mut nanos) = (Call::get("/v1/posts").bearer(key), Vec::new());
    let mut until = std::pin::pin!(until);
    loop {
        let before = clock.now().mono.nanos();
        assert_eq!(connection.call(&call).await.status, 200);
        nanos.push(clock.now().mono.nanos() - before);
        if tokio::time::timeout(PAUSE, &mut until).await.is_ok() {
            nanos.sort_unstable();
            return nanos[(nanos.len() - 1) * 99 / 100] / 1_000;
        }
    }
}

/// A key that may ask as fast as it likes.
async fn fast_key(daemon: &Program) -> String {
    let workspace = text(&daemon.admin_json(new_workspace()).await["workspace"]["id"]);
    let rate = json!({"limit": 1_000_000, "window_s": 1});
    let wanted = json!({"workspace_id": workspace, "permissions": ["*:*"], "rate": rate});
    text(&daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await["key"])
}

/// Whether this process may open so many files, asked for up to what it is allowed.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum.or(Some(files)), maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files)
}

async fn gather(daemon: &Program, key: &str, crowd: Crowd) -> JoinSet<Kind> {
    let mut played = JoinSet::new();
    let kinds = [
        (Kind::Idle, crowd.idle),
        (Kind::SlowHead, crowd.slow_heads),
        (Kind::SlowBody, crowd.slow_bodies),
        (Kind::SlowReader, crowd.slow_readers),
    ];
    for (kind, count) in kinds {
        for number in 0..count {
            let (stream, key) = (open(daemon.data(), number).await, key.to_owned());
            played.spawn(async move {
                play(kind, stream, key).await;
                kind
            });
        }
    }
    played
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x01_x02_x03_idle_and_slow_clients_keep_nobody_out() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let key = fast_key(&daemon).await;
    let crowd = gather(&daemon, &key, SMALL).await;
    let mut connection = Connection::open(daemon.data()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(connection.call(&Call::get("/v1/posts").bearer(&key)).await.status, 200);
    }
    drop(crowd);
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let (ended, said) = daemon.end_by("TERM").await;
    assert!(ended.success() && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "real deadlines take a minute: run it by name in a release build"]
async fn x01_x02_x03_thousands_of_slow_clients_are_let_go_and_others_are_served_meanwhile() {
    if !may_open(8_000) {
        println!("NOT CHECKED: 8,000 files may not be open here (ulimit -Hn)");
        return;
    }
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let key = fast_key(&daemon).await;
    let quiet = p99_micros(&daemon, &key, tokio::time::sleep(Duration::from_secs(10))).await;
    let before_kib = daemon.memory_kib("VmRSS");
    let mut played = gather(&daemon, &key, LARGE).await;
    let clock = Clock::machine();
    let began = clock.now().mono.nanos();
    let let_go: Mutex<BTreeMap<Kind, (usize, u64)>> = Mutex::default();
    let gone = async {
        while let Some(ended) = played.join_next().await {
            let secs = (clock.now().mono.nanos() - began) / 1_000_000_000;
            let mut let_go = let_go.lock().unwrap();
            let (count, last_secs) = let_go.entry(ended.unwrap()).or_default();
            (*count, *last_secs) = (*count + 1, secs);
        }
    };
    let beside = tokio::time::timeout(BORNE_MAX, p99_micros(&daemon, &key, gone)).await;
    let let_go = let_go.into_inner().unwrap();
    let beside = beside.unwrap_or_else(|_| panic!("not all are let go, only (count, seconds) {let_go:?}"));
    let most_kib = daemon.memory_kib("VmHWM");
    println!(
        "crowd: 2,000 idle, 500 slow heads, 200 slow bodies, 8 who do not read; the last of each was let go after \
         {let_go:?} (count, seconds); p99 of a caller beside them {beside} µs, {quiet} µs without them (promised: 50,000); \
         {} KiB more at most",
        most_kib.saturating_sub(before_kib)
    );
    assert_eq!(daemon.list_posts(&key).await.status, 200);
}

/// Starts a daemon under limits of the shell's, its log in a file.
async fn serve_under(dir: &Path, limits: &str) -> Program {
    let unlimited = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limits} exec \"$0\" \"$@\"")]).arg(unlimited.get_program());
    limited.args(unlimited.get_args()).current_dir(dir).stdin(Stdio::null());
    limited.stdout(Stdio::piped()).stderr(File::create(dir.join("log")).unwrap());
    Program::spawn(dir, &mut limited).await
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(daemon: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn x04_a_daemon_whose_descriptors_run_out_waits_without_spinning_and_goes_on() {
    let dir = configured();
    let daemon = serve_under(dir.path(), "").await;
    let key = fast_key(&daemon).await;
    let mut open = Connection::open(daemon.data()).await.unwrap();
    let mut admin = Connection::open(daemon.admin).await.unwrap();
    let call = Call::get("/v1/posts").bearer(&key);
    assert_eq!(open.call(&call).await.status, 200);
    let pid = daemon.child.id().to_string();
    let limit = |files: &str| {
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        limited.is_ok_and(|limited| limited.success())
    };
    // Below what it counted on when it started: the kernel refuses every further one.
    if !limit("48") {
        println!("NOT CHECKED: prlimit cannot limit the descriptors of a running process here");
        return;
    }
    let mut held = Vec::new();
    // No more than any system's queue of connections bears.
    for _ in 0..100 {
        held.push(TcpStream::connect(daemon.data()).await.unwrap());
    }
    let met = async {
        while !log(dir.path()).contains("cannot accept connections") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("descriptors run out");
    let before = processor_time(&daemon);
    // Time itself is under test: what the wait costs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = processor_time(&daemon) - before;
    assert!(spent < 50, "it spins: {spent} hundredths of a second in one");
    // Who is connected is served, and the store writes.
    assert_eq!(open.call(&call).await.status, 200);
    let made = admin.call(&new_workspace().bearer(&daemon.admin_key)).await;
    assert_eq!(made.status, 201, "{made:?}");
    drop(held);
    let served = async {
        loop {
            let Ok(mut connection) = Connection::open(daemon.data()).await else { continue };
            connection.send(&call.bytes(daemon.data())).await;
            if connection.answer_unless_cut("GET").await.is_some_and(|answer| answer.status == 200) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("it takes connections again, below the limit");
    assert!(limit("4096"));
    assert_eq!(daemon.list_posts(&key).await.status, 200);
    let ended = daemon.stop("TERM").await;
    assert!(ended.success() && !log(dir.path()).contains("panicked"), "{}", log(dir.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x08_a_daemon_that_may_have_half_a_gibibyte_sheds_what_does_not_fit_and_does_not_abort() {
    fill_with_bodies("ulimit -d 524288 &&").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x08_a_daemon_that_may_have_200_megabytes_sheds_what_does_not_fit_and_does_not_abort() {
    fill_with_bodies("ulimit -d 204800 &&").await;
}

/// Sends a daemon under a limit more bodies at once than it has memory for.
async fn fill_with_bodies(limit: &str) {
    const BODY_BYTES: usize = 1 << 20;
    const CALLS: usize = 400;
    let dir = configured();
    let daemon = serve_under(dir.path(), limit).await;
    let mut keys = Vec::new();
    for _ in 0..10 {
        keys.push(fast_key(&daemon).await);
    }
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let key = keys[number % keys.len()].clone();
        let mut stream = open(daemon.data(), number).await;
        calls.spawn(async move {
            let head = format!(
                "POST /api/mcp-app HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
                 Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            );
            // All of a body but its last byte; who is refused may be told so before.
            let _ = stream.write_all(&[head.into_bytes(), vec![b' '; BODY_BYTES - 1]].concat()).await;
            let mut status = [0; 12];
            let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await;
            (String::from_utf8_lossy(&status).into_owned(), read.is_ok_and(|read| read.is_ok()))
        });
    }
    let told = async {
        let (mut shed, mut served) = (0, 0);
        while shed < CALLS / 4 {
            let (status, is_whole) = calls.join_next().await.expect("most find no room").unwrap();
            if is_whole {
                assert_eq!(status, "HTTP/1.1 503");
                shed += 1;
            }
            // Everybody else is served meanwhile.
            assert_eq!(daemon.list_posts(&keys[0]).await.status, 200);
            served += 1;
        }
        served
    };
    assert!(tokio::time::timeout(3 * PATIENCE, told).await.expect("what does not fit is refused") > 0);
    let most_kib = daemon.memory_kib("VmHWM");
    println!("memory: {most_kib} KiB resident at most, with {CALLS} bodies of a mebibyte under way");
    drop(calls);
    let made = daemon.admin_json(new_workspace()).await;
    assert_eq!(daemon.list_posts(&text(&made["default_key"]["key"])).await.status, 200);
    assert_eq!(call_once(daemon.admin, &Call::get("/livez")).await.status, 200);
    let ended = daemon.stop("TERM").await;
    assert!(ended.success() && !log(dir.path()).contains("panicked"), "{}", log(dir.path()));
}
