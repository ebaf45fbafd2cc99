//! What does a request cost through the gate, against nginx's `proxy_pass` to the same upstream?
//!
//! A GET, and a POST of 1 KiB, over kept-alive connections to an upstream that answers at once. The gate proves a
//! key, takes a token of its rate, counts its use and says who asks; nginx does nothing of this, and a bare hyper
//! proxy shows what of the difference is the library's. Each is a process of its own with as many threads as the
//! machine has cores; rounds are interleaved, since a machine does other things, too. Told are the median of the
//! rounds' requests a second and the processor time per request, which the kernel counts. Clients and upstream
//! run on the same cores, so requests a second say less than processor time does. Guessed before measuring: 0.6 ×
//! nginx's requests a second at twice its processor time; 1.3 times the bare proxy's.
//!
//! Without nginx it says so and compares with the bare proxy alone. It prints a table; without `--bench` it runs
//! for a moment, to see that it works.

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
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyward::clock::Clock;
use tokio::net::TcpListener;
use world::daemon::Caller;

/// Connections that ask at once.
const CONNECTIONS: usize = 32;
/// Rounds of each way and kind of request.
const ROUNDS: usize = 7;
/// How long a round takes.
const ROUND: Duration = Duration::from_secs(3);
/// How often it is asked, each 10 ms, whether a process serves already.
const START_TRIES_MAX: usize = 3_000;
/// Ticks of the kernel's clock of processor time in a second, as Linux tells them to programs.
const TICKS_PER_SEC: f64 = 100.0;
/// Says to this program that it shall be the bare proxy to the upstream whose address follows.
const BARE: &str = "--bare-proxy-to";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(upstream) = std::env::args().skip_while(|argument| argument != BARE).nth(1) {
        return runtime.block_on(be_bare_proxy(upstream));
    }
    let (connections, rounds, round) =
        if world::is_smoke_run() { (4, 1, Duration::from_millis(100)) } else { (CONNECTIONS, ROUNDS, ROUND) };
    let upstream = runtime.block_on(upstream());
    let dir = tempfile::tempdir().unwrap();
    let (gate, key) = gate(&runtime, dir.path(), upstream);
    let mut ways = vec![("gate", gate)];
    match nginx(dir.path(), upstream) {
        Some(nginx) => ways.push(("nginx", nginx)),
        None => println!("nginx is not installed: compared with a bare hyper proxy alone"),
    }
    ways.push(("bare hyper proxy", bare_proxy(upstream)));
    let body = format!("{{\"body\":\"{}\"}}", "x".repeat(1024 - 11));
    let head = format!("HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n");
    let kinds = [
        ("GET", format!("GET /v1/posts {head}\r\n")),
        (
            "POST 1 KiB",
            format!(
                "POST /v1/posts {head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        ),
    ];
    println!(
        "{:<12} {:<18} {:>12} {:>9} {:>14} {:>9}",
        "request", "through", "requests/s", "× gate", "CPU µs/request", "× gate"
    );
    for (kind, request) in kinds {
        let mut measured: Vec<_> = ways.iter().map(|_| Measured::default()).collect();
        for number in 0..rounds {
            for step in 0..ways.len() {
                // Nobody is always the first.
                let place = (number + step) % ways.len();
                let (_, process) = &ways[place];
                let before = process.ticks();
                let (requests, took) =
                    runtime.block_on(ask(process.address, request.clone(), connections, round));
                measured[place].add(requests, took, process.ticks() - before);
            }
        }
        let (gate_rate, gate_micros) = (measured[0].requests_per_sec(), measured[0].micros_per_request());
        for ((name, _), measured) in ways.iter().zip(&mut measured) {
            let (rate, micros) = (measured.requests_per_sec(), measured.micros_per_request());
            let (by_rate, by_micros) = (rate / gate_rate, micros / gate_micros);
            println!("{kind:<12} {name:<18} {rate:>12.0} {by_rate:>9.2} {micros:>14.1} {by_micros:>9.2}");
        }
    }
}

/// What all rounds of one way and kind came to.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    requests: u64,
    ticks: u64,
}

impl Measured {
    fn add(&mut self, requests: u64, took: Duration, ticks: u64) {
        self.rates.push(requests as f64 / took.as_secs_f64());
        self.requests += requests;
        self.ticks += ticks;
    }

    fn requests_per_sec(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    fn micros_per_request(&self) -> f64 {
        self.ticks as f64 / TICKS_PER_SEC * 1e6 / self.requests as f64
    }
}

/// Asks over so many connections for so long; gives the answers and the time that they took.
async fn ask(address: SocketAddr, request: String, connections: usize, time: Duration) -> (u64, Duration) {
    let clock = Clock::machine();
    let (began, nanos) = (clock.now().mono.nanos(), u64::try_from(time.as_nanos()).unwrap());
    let asking: Vec<_> = (0..connections)
        .map(|_| {
            let (request, clock) = (request.clone(), clock.clone());
            tokio::spawn(async move {
                let mut caller = Caller::connect(address, request).await;
                let mut answers = 0;
                while clock.now().mono.nanos() - began < nanos {
                    let (status, body) = caller.call().await;
                    assert_eq!((status, body.as_str()), (200, ANSWER));
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let mut answers = 0;
    for asking in asking {
        answers += asking.await.unwrap();
    }
    (answers, Duration::from_nanos(clock.now().mono.nanos() - began))
}

/// A process that stands in front of the upstream; it is stopped when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// The processor time that it and its children have used, in ticks.
    fn ticks(&self) -> u64 {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        std::iter::once(id).chain(children).map(ticks).sum()
    }

    /// Waits until it takes connections.
    fn wait(self) -> Self {
        for _ in 0..START_TRIES_MAX {
            if std::net::TcpStream::connect(self.address).is_ok() {
                return self;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("a process does not start to serve");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not killed: nginx would leave its workers behind.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name may hold anything; the fields behind it do not.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

const ANSWER: &str = "{\"data\":[]}";

/// An upstream that reads what it is sent and answers at once.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, |request: hyper::Request<Incoming>| async {
        request.into_body().collect().await.unwrap();
        let mut response = hyper::Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }));
    address
}

async fn serve<F, B>(
    listener: TcpListener,
    answer: impl Fn(hyper::Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = hyper::Response<B>> + Send,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answering = answer(request);
            async { Ok::<_, Infallible>(answering.await) }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
        );
    }
}

/// The daemon in front of the upstream, and a key as fast as a key can be.
fn gate(runtime: &tokio::runtime::Runtime, dir: &Path, upstream: SocketAddr) -> (Process, String) {
    let text = format!(
        "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"http://{upstream}\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n[log]\nlevel = \"error\"\n"
    );
    std::fs::write(dir.join("keyward.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["serve", "--config", "keyward.toml", "--json"]).current_dir(dir);
    let (mut process, announced) = announcing(&mut command);
    let announced: serde_json::Value = serde_json::from_str(&announced).unwrap();
    let address = |url: &serde_json::Value| url.as_str().unwrap()["http://".len()..].parse().unwrap();
    let admin_key = std::fs::read_to_string(dir.join("admin.key"))
        .or_else(|_| std::fs::read_to_string(dir.join("data/admin.key")))
        .unwrap();
    let admin = address(&announced["admin"]);
    let make = |path: &str, body: serde_json::Value| {
        let body = body.to_string();
        let request = format!(
            "POST /api/v1/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            admin_key.trim(),
            body.len()
        );
        let (status, made) = runtime.block_on(async { Caller::connect(admin, request).await.call().await });
        assert_eq!(status, 201, "{path}");
        serde_json::from_str::<serde_json::Value>(&made).unwrap()
    };
    let workspace =
        make("workspaces", serde_json::json!({"name": "b", "profile": "socialcrm", "plan": "enterprise"}));
    let rate = serde_json::json!({"limit": 1_000_000, "window_s": 1});
    let wanted = serde_json::json!({"workspace_id": workspace["workspace"]["id"], "permissions": ["*:*"], "rate": rate});
    let key = make("keys", wanted)["key"].as_str().unwrap().to_owned();
    process.address = address(&announced["surfaces"]["socialcrm"]);
    (process, key)
}

/// Debian's nginx in front of the upstream, as its own guide sets up a proxy: HTTP/1.1 and connections kept.
fn nginx(dir: &Path, upstream: SocketAddr) -> Option<Process> {
    // Debian's lies where a user's path does not lead.
    let works = |program: &&str| Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok();
    let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(works)?;
    // Free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let workers = std::thread::available_parallelism().unwrap();
    let mut paths = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(paths, "{name}_temp_path {}/{name};", dir.display()).unwrap();
    }
    let text = format!(
        "worker_processes {workers};\ndaemon off;\npid {dir}/nginx.pid;\nevents {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\n{paths}\
         upstream far {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{\nlisten {address};\nlocation / {{\nproxy_pass http://far;\nproxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n}}\n}}\n}}\n",
        dir = dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), text).unwrap();
    let (prefix, log) = (dir.display().to_string(), dir.join("nginx.log"));
    let child = Command::new(program)
        .args(["-p", &prefix, "-c", &dir.join("nginx.conf").display().to_string(), "-e"])
        .arg(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Some(Process { child, address }.wait())
}

/// This program as the bare proxy, in a process of its own.
fn bare_proxy(upstream: SocketAddr) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (mut process, address) = announcing(command.args([BARE, &upstream.to_string()]));
    process.address = address.trim().parse().unwrap();
    process
}

/// A process that says a line once it serves; its address is not known yet.
fn announcing(command: &mut Command) -> (Process, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Process { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) }, line)
}

/// Forwards every request as it is, and every answer.
async fn be_bare_proxy(upstream: String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut said = std::io::stdout();
    writeln!(said, "{}", listener.local_addr().unwrap()).unwrap();
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    serve(listener, move |mut request| {
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() = format!("http://{upstream}{path}").parse().unwrap();
        let answering = client.request(request);
        async { answering.await.unwrap() }
    })
    .await;
}
