//! What does deciding cost a request over HTTP, against a bare hyper server that looks at nothing?
//!
//! The daemon has nobody behind it (`upstream = "none"`), so that a request is its head, a decision and an answer. The
//! bare server sends the very headers that the daemon sent, under the same deadlines, from a runtime of the same kind.
//! Each is a process of its own. All of them are loaded at the same time, so they share the machine's noise, and told
//! is the processor time of a request, which the kernel counts in nanoseconds: this is good to 1 % where requests a
//! second are off by more than ten. Where `taskset` is there, the servers share one core and the callers have another.
//!
//! Asked are: a hot key of a few, ten thousand keys in turn, a call of a tool, the verify call, and each refusal that
//! keeps the connection, against an acceptance beside it. Guessed before measuring: 1.20 for a few keys, 1.30 for ten
//! thousand, 1.45 for the call of a tool, 2.0 for the verify call, 1.1 for a refusal that needs no file.
//!
//! It tells its figures in one form and a table; without `--bench` it runs for a moment, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keyward::app::{LaunchFlags, launch};
use keyward::clock::Clock;
use keyward::config::{ConfigFile, Flags, resolve};
use keyward::http::Body;
use keyward::http::server::ServerOptions;
use tokio::net::TcpListener;
use world::bars::{Bar, tell};
use world::daemon::Caller;

/// Connections that ask each server at once.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_secs(1);
/// Keys that are asked for in turn.
const MANY: usize = 10_000;
/// Keys made at once: they share commits.
const CREATIONS: usize = 64;
/// Says to this program that it shall be a daemon, or the bare server.
const DAEMON: &str = "--be-a-daemon";
const BARE: &str = "--be-bare";
/// Ends what such a process is told.
const END: &str = "that is all";

/// A product that is nobody's, with both doors.
const PROFILE: &str = r#"
name = "asked"
tag = "ask_"
[[permission]]
name = "things:read"
[[permission]]
name = "things:write"
[[plan]]
name = "all"
rate = { limit = 1000000, window_s = 1 }
[rest]
base = "/v1"
envelope = "error"
words = "standard"
[[rest.route]]
method = "GET"
path = "/v1/things/{id}"
permission = "things:read"
[[rest.route]]
method = "POST"
path = "/v1/things/{id}"
permission = "things:write"
[rpc]
endpoint = "/mcp"
words = "standard"
methods = ["tools/list"]
[rpc.tools]
things_list = "things:read"
"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|argument| argument == DAEMON) {
        return be_a_daemon(&runtime);
    }
    if std::env::args().any(|argument| argument == BARE) {
        return runtime.block_on(be_bare());
    }
    let is_smoke = world::is_smoke_run();
    let rounds = if is_smoke { (1, Duration::from_millis(50)) } else { (ROUNDS, ROUND) };
    let many = if is_smoke { 20 } else { MANY };
    keep_to_core(std::process::id(), 1);
    let [few, turned, refusing] = [(); 3].map(|()| Served::start(DAEMON, ""));
    let admin = |served: &Served| Admin { address: served.admin, key: served.admin_key.clone() };
    let (few_admin, turned_admin, refusing_admin) = (admin(&few), admin(&turned), admin(&refusing));
    let key = runtime.block_on(few_admin.keys(1)).remove(0);
    let keys = runtime.block_on(turned_admin.keys(many));
    let ask = |key: &str| get("/v1/things/7", key);

    let answer = runtime.block_on(head_of(few.address, &ask(&key)));
    let bare = Served::start(BARE, &answer);
    println!("each answer is, with its length and its date: {}", answer.replace('\n', " | "));
    let loads = [
        Load::of(&bare, vec![ask(&key)], answer_status(&answer)),
        Load::of(&few, vec![ask(&key)], 204),
        Load::of(&turned, keys.iter().map(|key| ask(key)).collect(), 204),
    ];
    let costs = together(&runtime, &loads, rounds);
    tell(
        "1",
        "hot verify over HTTP, few keys, CPU together, × bare hyper",
        costs[1] / costs[0],
        Bar::Most(1.07),
    );
    tell("2", "the same, 10 thousand keys in turn, × bare hyper", costs[2] / costs[0], Bar::Most(1.13));
    tell("1", "a bare hyper server's request, µs of CPU", costs[0] / 1e3, Bar::Told);
    drop(bare);

    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"things_list","arguments":{"limit":10}}}"#;
    let verify = format!(r#"{{"key":"{key}","permission":"things:read"}}"#);
    for (number, what, request, address) in [
        ("2", "a call of a tool, read and decided on, × bare hyper", post("/mcp", &key, call), few.address),
        (
            "2",
            "POST /api/v1/verify, × bare hyper",
            post("/api/v1/verify", &few.admin_key, &verify),
            few.admin,
        ),
    ] {
        let answer = runtime.block_on(head_of(address, &request));
        let bare = Served::start(BARE, &answer);
        let status = answer_status(&answer);
        let loads = [
            Load::of(&bare, vec![request.clone()], status),
            Load { process: few.id(), address, requests: vec![request].into(), status },
        ];
        let costs = together(&runtime, &loads, rounds);
        tell(number, what, costs[1] / costs[0], Bar::Most(1.13));
    }

    let (scoped, paced, revoked) = runtime.block_on(async {
        let workspace = refusing_admin.workspace().await;
        let (_, scoped) = refusing_admin.key(&workspace, r#""permissions":["things:write"]"#).await;
        let slow = r#""permissions":["*:*"],"rate":{"limit":1,"window_s":86400}"#;
        let (_, paced) = refusing_admin.key(&workspace, slow).await;
        let (id, revoked) = refusing_admin.key(&workspace, r#""permissions":["*:*"]"#).await;
        refusing_admin.call(&format!("POST /api/v1/keys/{id}/revoke"), "").await;
        (scoped, paced, revoked)
    });
    let mut taken = [0.0; 2];
    for (what, request) in [
        ("without a key", "GET /v1/things/7 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()),
        ("malformed", ask("ask_none")),
        ("unknown prefix", ask(&minted("77777777"))),
        ("wrong secret", ask(&minted(&paced[4..12]))),
        ("revoked", ask(&revoked)),
        ("without the permission", ask(&scoped)),
        ("over its rate", ask(&paced)),
    ] {
        // One of a rate is let through first.
        runtime.block_on(head_of(refusing.address, &request));
        let status = answer_status(&runtime.block_on(head_of(refusing.address, &request)));
        assert!(status >= 400, "{what}: {status}");
        let loads = [Load::of(&few, vec![ask(&key)], 204), Load::of(&refusing, vec![request], status)];
        let costs = together(&runtime, &loads, rounds);
        let ratio = costs[1] / costs[0];
        tell("4", &format!("a refusal ({what}: {status}), × an acceptance"), ratio, Bar::Most(1.05));
        match what {
            "unknown prefix" => taken[0] = ratio,
            "wrong secret" => taken[1] = ratio,
            _ => {}
        }
    }
    tell("4", "a wrong secret, × an unknown prefix", taken[1] / taken[0], Bar::Told);
}

/// The processor time of a request at each of them in nanoseconds: the median of rounds in which all are asked at once.
fn together(
    runtime: &tokio::runtime::Runtime,
    loads: &[Load],
    (rounds, round): (usize, Duration),
) -> Vec<f64> {
    let mut costs = vec![Vec::new(); loads.len()];
    for _ in 0..rounds {
        let before: Vec<_> = loads.iter().map(|load| cpu_nanos(load.process)).collect();
        let asking: Vec<_> = loads.iter().map(|load| runtime.spawn(load.clone().ask(round))).collect();
        for (place, asking) in asking.into_iter().enumerate() {
            let answers = runtime.block_on(asking).unwrap();
            let nanos = cpu_nanos(loads[place].process) - before[place];
            costs[place].push(nanos as f64 / answers as f64);
        }
    }
    costs
        .into_iter()
        .map(|mut costs| {
            costs.sort_by(f64::total_cmp);
            costs[costs.len() / 2]
        })
        .collect()
}

/// Nanoseconds that all threads of a process have run.
fn cpu_nanos(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanos = |thread: std::fs::DirEntry| -> Option<u64> {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    threads.filter_map(|thread| nanos(thread.ok()?)).sum()
}

/// What is asked of one server, over and over.
#[derive(Clone)]
struct Load {
    process: u32,
    address: SocketAddr,
    requests: Arc<[String]>,
    status: u16,
}

impl Load {
    fn of(served: &Served, requests: Vec<String>, status: u16) -> Self {
        Self { process: served.id(), address: served.address, requests: requests.into(), status }
    }

    /// Asks over all connections for so long; gives the number of answers.
    async fn ask(self, time: Duration) -> u64 {
        let clock = Clock::machine();
        let (began, nanos) = (clock.now().mono.nanos(), u64::try_from(time.as_nanos()).unwrap());
        let asking: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                let (load, clock) = (self.clone(), clock.clone());
                tokio::spawn(async move {
                    // Each connection has its own part of the requests.
                    let requests =
                        load.requests.iter().skip(first % load.requests.len()).step_by(CONNECTIONS);
                    let mut caller = Caller::connect(load.address, String::new()).await;
                    let mut answers = 0;
                    for request in requests.cycle() {
                        assert_eq!(caller.call_with(request).await.0, load.status);
                        answers += 1;
                        if clock.now().mono.nanos() - began >= nanos {
                            break;
                        }
                    }
                    answers
                })
            })
            .collect();
        let mut answers = 0;
        for asking in asking {
            answers += asking.await.unwrap();
        }
        answers
    }
}

/// A process that serves; it ends when its input does.
struct Served {
    child: Child,
    _input: ChildStdin,
    address: SocketAddr,
    admin: SocketAddr,
    admin_key: String,
}

impl Served {
    /// This program as `what`, with `told` on its input's first lines.
    fn start(what: &str, told: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child =
            Command::new(program).arg(what).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        write!(input, "{told}\n{END}\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Vec<&str> = line.split_whitespace().collect();
        let at = |place: usize| said[place].parse().unwrap();
        keep_to_core(child.id(), 0);
        Self { address: at(0), admin: at(1), admin_key: said[2].to_owned(), child, _input: input }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps all threads of a process to a core, where that can be said and there are two.
fn keep_to_core(process: u32, core: usize) {
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let (core, process) = (core.to_string(), process.to_string());
        let _ =
            Command::new("taskset").args(["-a", "-c", "-p", &core, &process]).stdout(Stdio::null()).status();
    }
}

/// The admin side of a daemon.
#[derive(Clone)]
struct Admin {
    address: SocketAddr,
    key: String,
}

impl Admin {
    async fn call(&self, line: &str, body: &str) -> serde_json::Value {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let (status, body) = Caller::connect(self.address, request).await.call().await;
        assert!(status < 300, "{line}: {status}");
        serde_json::from_str(&body).unwrap()
    }

    async fn workspace(&self) -> String {
        let made =
            self.call("POST /api/v1/workspaces", r#"{"name":"b","profile":"asked","plan":"all"}"#).await;
        made["workspace"]["id"].as_str().unwrap().to_owned()
    }

    /// A key's id and its text.
    async fn key(&self, workspace: &str, fields: &str) -> (String, String) {
        let made =
            self.call("POST /api/v1/keys", &format!(r#"{{"workspace_id":"{workspace}",{fields}}}"#)).await;
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    }

    /// So many keys that may do everything.
    async fn keys(&self, count: usize) -> Vec<String> {
        let workspace = self.workspace().await;
        let mut keys = Vec::with_capacity(count);
        while keys.len() < count {
            let group: Vec<_> = (0..CREATIONS.min(count - keys.len()))
                .map(|_| {
                    let (admin, workspace) = (self.clone(), workspace.clone());
                    tokio::spawn(async move { admin.key(&workspace, r#""permissions":["*:*"]"#).await.1 })
                })
                .collect();
            for made in group {
                keys.push(made.await.unwrap());
            }
        }
        keys
    }
}

/// A text of this prefix that no key has.
fn minted(prefix: &str) -> String {
    let text = format!("ask_{prefix}{}", "w".repeat(22));
    let sum = crc32fast::hash(text.as_bytes()) % (62 * 62);
    let character = |digit: u32| match u8::try_from(digit).unwrap() {
        digit @ 0..10 => char::from(b'0' + digit),
        digit @ 10..36 => char::from(b'A' + digit - 10),
        digit => char::from(b'a' + digit - 36),
    };
    format!("{text}{}{}", character(sum / 62), character(sum % 62))
}

fn get(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
}

fn post(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The answer's status, its headers and its body, as the bare server is told them: a line each.
async fn head_of(address: SocketAddr, request: &str) -> String {
    let mut caller = Caller::connect(address, request.to_owned()).await;
    let (status, head, body) = caller.call_for_head().await;
    let lines = head
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("content-length: "));
    let lines: Vec<_> = [status.to_string(), body].into_iter().chain(lines.map(str::to_owned)).collect();
    lines.join("\n")
}

fn answer_status(answer: &str) -> u16 {
    answer.lines().next().unwrap().parse().unwrap()
}

/// A daemon of this product with a cheap hash, since thousands of keys are made; it says where it is and its admin key.
fn be_a_daemon(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("asked.toml"), PROFILE).unwrap();
    let text = "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nfile = \"asked.toml\"\nupstream = \"none\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"asked\"]\n";
    let file = ConfigFile { origin: "bench", text, folder: dir.path() };
    let mut settings = resolve(file, [], &Flags::default(), &|path| std::fs::read_to_string(path)).unwrap();
    (settings.slow_hash.cost, settings.slow_hash.queue_max) = (world::cheap(), 2 * CREATIONS);
    let running = runtime.block_on(launch(settings, Clock::machine(), LaunchFlags::default())).unwrap();
    let admin_key = std::fs::read_to_string(running.admin_key_file()).unwrap();
    let (data, admin) = (running.surfaces()["asked"].tcp().unwrap(), running.admin().tcp().unwrap());
    println!("{data} {admin} {}", admin_key.trim());
    // Until whoever started it is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.block_on(running.stop()).unwrap();
}

/// Looks at nothing and answers what it was told to: a line of status, one of body, and one for each header.
async fn be_bare() {
    let mut told = String::new();
    for line in std::io::stdin().lines().map(Result::unwrap) {
        if line == END {
            break;
        }
        told += &line;
        told.push('\n');
    }
    let mut lines = told.lines();
    let status: hyper::StatusCode = lines.next().unwrap().parse().unwrap();
    let body = bytes::Bytes::from(lines.next().unwrap().to_owned());
    let headers: Arc<[(HeaderName, HeaderValue)]> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    println!("{address} {address} none");
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let (headers, body) = (Arc::clone(&headers), body.clone());
        let answer = move |_: hyper::Request<Incoming>| {
            let mut response = hyper::Response::new(Body::from(body.clone()));
            *response.status_mut() = status;
            *response.headers_mut() = HeaderMap::with_capacity(headers.len());
            for (name, value) in headers.iter() {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            async { Ok::<_, Infallible>(response) }
        };
        let head_time_max = ServerOptions::default().head_time_max;
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_time_max)
                .serve_connection(TokioIo::new(socket), service_fn(answer)),
        );
    }
}
