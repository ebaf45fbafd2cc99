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
use tokio::net::TcpListener;
use world::daemon::{Caller, Daemon, list_posts};

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
    let daemon = Daemon::start(&runtime, world::cheap());
    let key = runtime.block_on(async { daemon.key(&daemon.workspace().await).await });
    let (data, admin) = (daemon.data(), daemon.running.admin().tcp().unwrap());
    let unknown = "sk_live_777777777777777777777777777777Eh";
    let verify = daemon
        .admin_request("POST /api/v1/verify", &format!(r#"{{"key":"{key}","permission":"posts:read"}}"#));

    let bare = runtime.block_on(bare_server());
    let mut group = c.benchmark_group("request");
    for (name, address, request, status) in [
        ("bare hyper", bare, list_posts(&key), 200),
        ("verify call", admin, verify, 200),
        ("refusal of an unknown key", data, list_posts(unknown), 401),
        ("forwarded to the sandbox", data, list_posts(&key), 200),
    ] {
        let mut caller = runtime.block_on(Caller::connect(address, request));
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(runtime.block_on(caller.call()).0, status));
        });
    }
    group.finish();
    runtime.block_on(daemon.running.stop()).unwrap();
}

criterion_group!(benches, request);
criterion_main!(benches);
