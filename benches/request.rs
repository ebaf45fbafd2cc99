//! What does a whole request over loopback cost, one connection kept alive, against a bare hyper server that
//! looks at nothing?
//!
//! Three requests: the verify call, a REST call forwarded to the sandbox, a refusal for an unknown key.
//! Guessed before measuring: the verify call 1.2 × the bare server, the forwarded call 2.5 ×, the refusal 1.1
//! ×.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

mod world;

use std::convert::Infallible;
use std::net::SocketAddr;

use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyward::app::{LaunchFlags, launch};
use keyward::clock::Clock;
use keyward::config::{ConfigFile, Flags, resolve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One kept-alive connection that sends the same bytes again and again.
struct Caller {
    socket: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Caller {
    async fn connect(address: SocketAddr, request: String) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, request: request.into_bytes(), buffer: vec![0; 64 * 1024] }
    }

    /// Sends the request and reads its answer; gives the status and the body.
    async fn call(&mut self) -> (u16, String) {
        self.socket.write_all(&self.request).await.unwrap();
        let mut filled = 0;
        loop {
            filled += self.socket.read(&mut self.buffer[filled..]).await.unwrap();
            let text = std::str::from_utf8(&self.buffer[..filled]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
    }
}

async fn bare_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            let answer = |_: hyper::Request<Incoming>| async {
                let mut response = hyper::Response::new(Full::new(Bytes::from_static(b"{\"data\":[]}")));
                response.headers_mut().insert("content-type", "application/json".parse().unwrap());
                Ok::<_, Infallible>(response)
            };
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service_fn(answer)),
            );
        }
    });
    address
}

fn request(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let text = "data_dir = \"data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[profile]]\nname = \"socialcrm\"\nupstream = \"sandbox\"\n[[listener]]\nlisten = \"127.0.0.1:0\"\nprofiles = [\"socialcrm\"]\n";
    let file = ConfigFile { origin: "bench", text, folder: dir.path() };
    let mut settings =
        resolve(file, [], &Flags::default(), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    settings.slow_hash.cost = world::cheap();
    let running = runtime.block_on(launch(settings, Clock::machine(), LaunchFlags::default())).unwrap();
    let admin_key = std::fs::read_to_string(running.admin_key_file()).unwrap();
    let admin = |line: &str, body: String| {
        format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            admin_key.trim(),
            body.len()
        )
    };
    let asked = |request| {
        runtime.block_on(async {
            let (_, body) = Caller::connect(running.admin(), request).await.call().await;
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        })
    };
    let made = asked(admin(
        "POST /api/v1/workspaces",
        r#"{"name":"b","profile":"socialcrm","plan":"enterprise"}"#.to_owned(),
    ));
    let workspace = made["workspace"]["id"].as_str().unwrap();
    let rate = r#"{"limit":1000000,"window_s":1}"#;
    let made = asked(admin(
        "POST /api/v1/keys",
        format!(r#"{{"workspace_id":"{workspace}","permissions":["*:*"],"rate":{rate}}}"#),
    ));
    let key = made["key"].as_str().unwrap();
    let data = running.surfaces()["socialcrm"];
    let get = |key: &str| {
        format!("GET /v1/posts HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
    };
    let unknown = "sk_live_777777777777777777777777777777Eh";
    let verify = admin("POST /api/v1/verify", format!(r#"{{"key":"{key}","permission":"posts:read"}}"#));

    let bare = runtime.block_on(bare_server());
    let mut group = c.benchmark_group("request");
    for (name, address, request, status) in [
        ("bare hyper", bare, get(key), 200),
        ("verify call", running.admin(), verify, 200),
        ("refusal of an unknown key", data, get(unknown), 401),
        ("forwarded to the sandbox", data, get(key), 200),
    ] {
        let mut caller = runtime.block_on(Caller::connect(address, request));
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(runtime.block_on(caller.call()).0, status));
        });
    }
    group.finish();
    runtime.block_on(running.stop()).unwrap();
}

criterion_group!(benches, request);
criterion_main!(benches);
