//! This program again, as the least that hyper can do: a server that looks at nothing and gives a fixed answer, and a
//! proxy that forwards everything as it is. Built from the same dependencies as Keyward, with the same bounds on a head
//! and the same deadline for it.
//!
//! Never here: anything that depends on the request.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keyward::http::server::{BUFFER_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, ServerOptions};
use tokio::net::TcpListener;

use crate::process::{Core, Process, on};

/// What this program is started with to be one of them; the answer or the upstream's address follows.
const SERVER: &str = "--be-bare-server";
const UPSTREAM: &str = "--be-upstream";
const PROXY: &str = "--be-bare-proxy";

/// If this process was started to be one of them, it is one until it is stopped; false at once if it was not.
pub(crate) fn was_what_is_asked() -> bool {
    let mut arguments =
        std::env::args().skip_while(|argument| ![SERVER, UPSTREAM, PROXY].contains(&argument.as_str()));
    let (Some(what), Some(told)) = (arguments.next(), arguments.next()) else { return false };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match what.as_str() {
            SERVER => be_server(&told).await,
            UPSTREAM => be_upstream(&told).await,
            _ => be_proxy(told).await,
        }
    });
    true
}

/// A server that gives this answer to everything, header by header and byte by byte. It reads no body.
pub(crate) fn server(head: &str, body: &[u8]) -> Process {
    start(Core::Servers, SERVER, &format!("{head}\r\n\r\n{}", std::str::from_utf8(body).unwrap()))
}

/// What lies behind a proxy: the same, but it reads bodies, and it runs beside the clients.
pub(crate) fn upstream(answer: &str) -> Process {
    start(Core::Clients, UPSTREAM, answer)
}

/// A proxy to this upstream.
pub(crate) fn proxy(upstream: SocketAddr) -> Process {
    start(Core::Servers, PROXY, &upstream.to_string())
}

fn start(core: Core, what: &str, told: &str) -> Process {
    let mut command = on(core, std::env::current_exe().unwrap());
    Process::announcing(command.args([what, told]), |line| line.trim().parse().unwrap()).0
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    listener
}

async fn be_server(answer: &str) {
    let answer = parsed(answer);
    serve(listen().await, move |_: hyper::Request<Incoming>| {
        let answer = answer.clone();
        async { answer }
    })
    .await;
}

async fn be_upstream(answer: &str) {
    let answer = parsed(answer);
    serve(listen().await, move |request: hyper::Request<Incoming>| {
        let answer = answer.clone();
        async {
            request.into_body().collect().await.unwrap();
            answer
        }
    })
    .await;
}

fn parsed(answer: &str) -> hyper::Response<Full<Bytes>> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut response = hyper::Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = head[9..12].parse().unwrap();
    // hyper says the date and the length itself.
    let said = head.lines().skip(1).map(header).filter(|(name, _)| name != DATE && name != CONTENT_LENGTH);
    *response.headers_mut() = said.collect();
    response
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.parse().unwrap(), value.parse().unwrap())
}

async fn be_proxy(upstream: String) {
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    serve(listen().await, move |mut request| {
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() = format!("http://{upstream}{path}").parse().unwrap();
        let answering = client.request(request);
        async { answering.await.unwrap() }
    })
    .await;
}

async fn serve<F, B>(
    listener: TcpListener,
    answer: impl Fn(hyper::Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = hyper::Response<B>> + Send,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let head_time_max = ServerOptions::default().head_time_max;
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answering = answer(request);
            async { Ok::<_, Infallible>(answering.await) }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_time_max)
                .max_header_size(HEAD_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .max_buf_size(BUFFER_BYTES_MAX)
                .half_close(false)
                .serve_connection(TokioIo::new(socket), service),
        );
    }
}
