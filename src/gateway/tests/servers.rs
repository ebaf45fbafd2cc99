//! Servers behind TLS, in HTTP/2 and at unix sockets, against ones that say what reached them.
//!
//! Every certificate here is made by its test.
//!
//! Never here: a server outside this process.

use super::*;
use crate::gateway::Http2;
use http::{HeaderMap, Version};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;

/// What a server saw of a request.
#[derive(Debug)]
struct Seen {
    version: Version,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Serves one connection and tells what comes.
async fn serve_telling(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    in_http2: bool,
    tell: mpsc::UnboundedSender<Seen>,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            let collected = body.collect().await.unwrap();
            let trailers = collected.trailers().cloned();
            let (version, headers, target) = (head.version, head.headers, head.uri.to_string());
            let seen = Seen { version, target, headers, body: collected.to_bytes(), trailers };
            tell.send(seen).unwrap();
            let answer = http::Response::builder().header("x-keyward-plan", "hidden").header("x-own", "a");
            Ok::<_, Infallible>(answer.body(http_body_util::Full::new(Bytes::from_static(b"ok"))).unwrap())
        }
    });
    // How a connection ends is its client's business.
    if in_http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    }
}

/// A server with a certificate for `name`, offering these protocols; the file of its authority.
struct Secure {
    address: SocketAddr,
    folder: tempfile::TempDir,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Secure {
    async fn start(name: &str, protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                connections.spawn(async move {
                    // Clients that do not believe us leave.
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let in_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve_telling(stream, in_http2, tell).await;
                });
            }
        });
        Self { address, folder, seen, task }
    }

    /// The server as an upstream that is called `host` and believed by its own file.
    fn upstream(&self, host: Option<&str>, http2: Http2) -> UpstreamServer {
        UpstreamServer {
            host: host.map(|host| host.parse().unwrap()),
            http2,
            authorities: Some(self.folder.path().join("ca.pem")),
            ..UpstreamServer::at(ServerAddress::parse(&format!("https://{}", self.address)).unwrap())
        }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn check_seen(seen: &Seen, version: Version, target: &str) {
    assert_eq!((seen.version, seen.target.as_str()), (version, target), "{seen:?}");
    let of = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(of("x-keyward-plan"), Some("pro"));
    assert_eq!(of("x-forwarded-host"), Some("api.example:8080"));
    let hops = ["connection", "te", "upgrade", "authorization", "x-hop", "keep-alive", "transfer-encoding"];
    for absent in hops {
        assert_eq!(of(absent), None, "{absent}");
    }
    assert_eq!(of("content-length"), Some("2"));
    assert_eq!((&seen.body[..], &seen.trailers), (&b"{}"[..], &None));
}

#[tokio::test]
async fn over_tls_a_server_proves_its_name_and_chooses_the_version() {
    for (protocols, http2, version) in [
        (&["h2", "http/1.1"][..], Http2::IfOffered, Version::HTTP_2),
        (&["h2", "http/1.1"], Http2::Never, Version::HTTP_11),
        (&["h2"], Http2::Always, Version::HTTP_2),
        (&["http/1.1"], Http2::IfOffered, Version::HTTP_11),
        (&[], Http2::IfOffered, Version::HTTP_11),
    ] {
        let mut secure = Secure::start("api.internal", protocols).await;
        let upstream = Upstream::server(&secure.upstream(Some("api.internal"), http2)).unwrap();
        for _ in 0..2 {
            let response = upstream.forward(granted(), spoofing()).await.unwrap();
            assert_eq!(response.headers().keys().filter(|name| name.as_str() == "x-keyward-plan").count(), 0);
            assert_eq!(response.headers()["x-own"], "a");
            assert_eq!(response.version(), Version::HTTP_11);
            assert_eq!(text(response).await.unwrap(), "ok");
            let seen = secure.seen.recv().await.unwrap();
            if version == Version::HTTP_2 {
                check_seen(&seen, version, "https://api.internal/v1/a?b=%20c&b=d");
                assert!(!seen.headers.contains_key("host"), "{seen:?}");
            } else {
                check_seen(&seen, version, "/v1/a?b=%20c&b=d");
                assert_eq!(seen.headers["host"], "api.internal");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_is_unreachable_and_sees_nothing() {
    let unreachable = Refusal::Failed(Fault::UpstreamUnreachable);
    let mut secure = Secure::start("api.internal", &["http/1.1"]).await;
    let other = Secure::start("api.internal", &[]).await;
    let right = secure.upstream(Some("api.internal"), Http2::IfOffered);
    for (wrong, server) in [
        ("its address is not its name", UpstreamServer { host: None, ..right.clone() }),
        ("another name", secure.upstream(Some("other.internal"), Http2::IfOffered)),
        (
            "another authority",
            UpstreamServer { authorities: other.upstream(None, Http2::Never).authorities, ..right.clone() },
        ),
        ("no HTTP/2", secure.upstream(Some("api.internal"), Http2::Always)),
        ("no word of a protocol", other.upstream(Some("api.internal"), Http2::Always)),
    ] {
        let upstream = Upstream::server(&server).unwrap();
        assert_eq!(upstream.forward(granted(), get("/a")).await.unwrap_err(), unreachable, "{wrong}");
        assert!(secure.seen.try_recv().is_err(), "{wrong}");
    }
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    let far = tokio::spawn(async move { say(plain.accept().await.unwrap().0, OK).await });
    let server = UpstreamServer {
        authorities: right.authorities.clone(),
        ..UpstreamServer::at(ServerAddress::parse(&url).unwrap())
    };
    let in_the_clear = Upstream::server(&server).unwrap();
    assert_eq!(in_the_clear.forward(granted(), get("/a")).await.unwrap_err(), unreachable);
    far.abort();
    let upstream = Upstream::server(&right).unwrap();
    assert_eq!(text(upstream.forward(granted(), get("/a")).await.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn http2_in_the_clear_is_spoken_where_it_is_set_and_carries_a_body_without_end_mark() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, mut seen) = mpsc::unbounded_channel();
    let far = tokio::spawn(async move {
        // One connection is all that the requests below need.
        serve_telling(listener.accept().await.unwrap().0, true, tell).await;
    });
    let at = UpstreamServer::at(ServerAddress::parse(&url).unwrap());
    let upstream = Upstream::server(&UpstreamServer { http2: Http2::Always, ..at }).unwrap();
    let response = upstream.forward(granted(), spoofing()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "ok");
    check_seen(&seen.recv().await.unwrap(), Version::HTTP_2, &format!("{url}/v1/a?b=%20c&b=d"));
    // A body whose length nobody told, with trailers behind it.
    let (address, near_end, near) = gate(upstream).await;
    let request = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
        3\r\nabc\r\n0\r\nx-keyward-plan: spoofed\r\n\r\n";
    let answer = exchange(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    let chunked = seen.recv().await.unwrap();
    assert_eq!((&chunked.body[..], &chunked.trailers), (&b"abc"[..], &None));
    assert!(!chunked.headers.contains_key("transfer-encoding") && chunked.headers["x-keyward-plan"] == "pro");
    near_end.cancel();
    near.await.unwrap();
    far.await.unwrap();
}

#[tokio::test]
async fn exchanges_beyond_what_one_connection_of_http2_takes_get_another_and_wait_for_nobody() {
    /// What servers take at a time, when they follow RFC 9113.
    const STREAMS: u32 = 100;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (connected, mut connections) = mpsc::unbounded_channel();
    let far = tokio::spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            connected.send(()).unwrap();
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let ends = request.uri().path() == "/a";
                let body = if ends { Some(Bytes::new()) } else { None };
                let body = body.map_or_else(
                    || http_body_util::combinators::BoxBody::new(Endless),
                    |whole| http_body_util::Full::new(whole).boxed(),
                );
                Ok::<_, Infallible>(http::Response::new(body))
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(STREAMS);
            serving.spawn(server.serve_connection(TokioIo::new(socket), service));
        }
    });
    let at = UpstreamServer::at(ServerAddress::parse(&url).unwrap());
    let upstream = Upstream::server(&UpstreamServer { http2: Http2::Always, ..at }).unwrap();
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(upstream.forward(granted(), get("/held")).await.unwrap());
    }
    let beyond = tokio::time::timeout(LONG / 6, upstream.forward(granted(), get("/a"))).await;
    assert_eq!(beyond.expect("it does not wait for the others").unwrap().status(), StatusCode::OK);
    // Who leaves makes room on the first.
    drop(held);
    upstream.forward(granted(), get("/a")).await.unwrap();
    far.abort();
    assert!(connections.recv().await.is_some() && connections.recv().await.is_some());
    assert!(connections.recv().await.is_none(), "two connections were enough");
}

/// A body that says nothing more and does not end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let upstream = server_at(&format!("unix:{}", path.display()), UpstreamOptions::default());
    let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
    assert_eq!(refused, Refusal::Failed(Fault::UpstreamUnreachable));
    let listener = UnixListener::bind(&path).unwrap();
    let far = tokio::spawn(async move { say(listener.accept().await.unwrap().0, OK).await });
    let response = upstream.forward(granted(), spoofing()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "ok");
    check_what_arrived(&far.await.unwrap(), "localhost");
}
