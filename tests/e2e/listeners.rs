//! Where a daemon listens: unix sockets, TLS, and several virtual hosts on one socket.
//!
//! Each test writes a configuration of its own and speaks to the daemon over whatever it listens at. A daemon
//! that was started is stopped, and leaves no socket's file behind.
//!
//! Never here: what a request may do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyward::app::{LaunchFlags, Running, launch};
use keyward::clock::Clock;
use keyward::config::{ConfigFile, Flags, resolve};
use keyward::domain::time::Wall;
use keyward::http::tls::client_config;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::daemon::{Hidden, START};
use crate::wire::PATIENCE;

/// A daemon over a configuration.
pub(crate) struct Served {
    pub(crate) running: Running,
    admin_key: Hidden,
    dir: tempfile::TempDir,
}

/// A key for SocialCRM, from the admin API.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) key: Hidden,
}

impl Served {
    /// Starts over `text`, in which `DIR` is a folder of the test's own that `prepare` was shown before.
    pub(crate) async fn start(text: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let text = text.replace("DIR", dir.path().to_str().unwrap());
        let file = ConfigFile { origin: "the test's configuration", text: &text, folder: dir.path() };
        let settings = resolve(file, [], &Flags::default(), &|path| std::fs::read_to_string(path)).unwrap();
        let (clock, _) = Clock::manual(Wall::parse(START).unwrap());
        let running = launch(settings, clock, LaunchFlags::default()).await.unwrap();
        let admin_key = Hidden(std::fs::read_to_string(running.admin_key_file()).unwrap().trim().to_owned());
        Self { running, admin_key, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A connection to the first listener of a product.
    pub(crate) async fn connect(&self) -> TcpStream {
        let at = self.running.surfaces()["socialcrm"].tcp().unwrap();
        TcpStream::connect(at).await.unwrap()
    }

    /// A call to the admin API, wherever that listens.
    pub(crate) async fn admin(&self, line: &str, body: &Value) -> Value {
        let key = &*self.admin_key;
        let body = body.to_string();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = match self.running.admin().tcp() {
            Some(at) => exchange(TcpStream::connect(at).await.unwrap(), request).await,
            None => exchange(UnixStream::connect(self.path("admin.sock")).await.unwrap(), request).await,
        };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{line}: {head}");
        serde_json::from_str(body).unwrap()
    }

    /// A workspace on SocialCRM's best plan, and its key.
    pub(crate) async fn key(&self) -> Made {
        let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": "enterprise"});
        let made = self.admin("POST /api/v1/workspaces", &wanted).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Made { id: text(&made["default_key"]["id"]), key: Hidden(text(&made["default_key"]["key"])) }
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        tokio::time::timeout(PATIENCE, self.running.stop()).await.expect("it stops").unwrap();
        self.dir
    }
}

/// Sends a request that ends its connection and reads the answer.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: impl AsRef<[u8]>,
) -> String {
    stream.write_all(request.as_ref()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("an answer comes");
    String::from_utf8(answer).unwrap()
}

/// `GET /v1/posts` at this host with this key, the last on its connection.
pub(crate) fn posts(host: &str, key: &str, more: &str) -> String {
    format!(
        "GET /v1/posts HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n{more}\r\n"
    )
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Writes `NAME.pem` and `NAME.key` for these names.
pub(crate) fn certificate(dir: &Path, name: &str, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), made.cert.pem()).unwrap();
}

/// A handshake as a client that believes in the certificate `trusted` and asks for `name`.
pub(crate) async fn secured(
    stream: TcpStream,
    trusted: &Path,
    name: &str,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = client_config(Some(trusted)).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

const UNIX: &str = r#"
data_dir = "data"
[admin]
listen = "unix:DIR/admin.sock"
[[profile]]
name = "socialcrm"
upstream = "sandbox"
[[listener]]
listen = "unix:DIR/api.sock"
mode = "0660"
profiles = ["socialcrm"]
"#;

#[tokio::test]
async fn a_daemon_is_reached_over_unix_sockets_alone_and_takes_their_files_away() {
    let daemon = Served::start(UNIX, |dir| {
        // What a crash leaves is no hindrance.
        drop(std::os::unix::net::UnixListener::bind(dir.join("api.sock")).unwrap());
    })
    .await;
    let at = format!("unix:{}", daemon.path("api.sock").display());
    assert_eq!(daemon.running.surfaces()["socialcrm"].to_string(), at);
    let file_mode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        daemon.path(name).metadata().unwrap().mode() & 0o777
    };
    assert_eq!((file_mode("api.sock"), file_mode("admin.sock")), (0o660, 0o600));
    let made = daemon.key().await;
    let call = |request: String| async {
        exchange(UnixStream::connect(daemon.path("api.sock")).await.unwrap(), request).await
    };
    assert_eq!(status(&call(posts("anything", &made.key, "")).await), 200);
    assert_eq!(status(&call(posts("anything", "sk_live_wrong", "")).await), 401);

    // A caller without an address is not at any that a key asks for.
    daemon.admin(&format!("PATCH /api/v1/keys/{}", made.id), &json!({"ip_allow": ["192.0.2.7"]})).await;
    assert_eq!(status(&call(posts("a", &made.key, "x-forwarded-for: 192.0.2.7\r\n")).await), 401);
    let dir = daemon.stop().await;
    assert!(!dir.path().join("api.sock").exists() && !dir.path().join("admin.sock").exists());
}

#[tokio::test]
async fn a_proxy_at_a_unix_socket_tells_addresses_where_it_is_trusted() {
    let text = UNIX.replace("[admin]", "trusted_proxies = [\"unix\"]\n[admin]");
    let daemon = Served::start(&text, |_| ()).await;
    let made = daemon.key().await;
    daemon.admin(&format!("PATCH /api/v1/keys/{}", made.id), &json!({"ip_allow": ["192.0.2.7"]})).await;
    for (more, expected) in
        [("x-forwarded-for: 192.0.2.7\r\n", 200), ("x-forwarded-for: 192.0.2.8\r\n", 401), ("", 401)]
    {
        let stream = UnixStream::connect(daemon.path("api.sock")).await.unwrap();
        assert_eq!(status(&exchange(stream, posts("a", &made.key, more)).await), expected, "{more}");
    }
    daemon.stop().await;
}

const HOSTS: &str = r#"
data_dir = "data"
[admin]
listen = "127.0.0.1:0"
[[profile]]
name = "socialcrm"
upstream = "sandbox"
[[profile]]
name = "mcp-cloud"
upstream = "sandbox"
[[listener]]
listen = "unix:DIR/api.sock"
hosts = ["social.example"]
profiles = ["socialcrm"]
[[listener]]
listen = "unix:DIR/api.sock"
hosts = ["cloud.example", "models.example"]
profiles = ["mcp-cloud"]
"#;

#[tokio::test]
async fn virtual_hosts_of_one_socket_are_apart() {
    let daemon = Served::start(HOSTS, |_| ()).await;
    let social = daemon.key().await;
    let wanted = json!({"name": "Cloud", "profile": "mcp-cloud", "plan": "enterprise"});
    let cloud = daemon.admin("POST /api/v1/workspaces", &wanted).await;
    let cloud = cloud["default_key"]["key"].as_str().unwrap();
    let call = |host: &str, path: &str, key: &str| {
        let request = posts(host, key, "").replace("/v1/posts", path);
        async { exchange(UnixStream::connect(daemon.path("api.sock")).await.unwrap(), request).await }
    };
    assert_eq!(status(&call("social.example", "/v1/posts", &social.key).await), 200);
    for host in ["cloud.example", "Models.Example:8443"] {
        let passed = status(&call(host, "/v1/models", cloud).await);
        assert!(!matches!(passed, 400..=499), "{host}: {passed}");
        assert_eq!(status(&call(host, "/v1/posts", &social.key).await), 401, "{host}");
        assert_eq!(status(&call(host, "/v1/posts", cloud).await), 404, "{host}");
    }
    assert_eq!(status(&call("social.example", "/v1/models", cloud).await), 401);
    for host in ["evil.example", "localhost", ""] {
        let refused = call(host, "/v1/posts", &social.key).await;
        assert!(matches!(status(&refused), 400 | 403), "{host}: {refused}");
    }
    assert_eq!(status(&call("social.example", "/v1/posts", &social.key).await), 200);
    daemon.stop().await;
}

/// Two virtual hosts of one port that speak TLS. The port was free a moment ago.
fn secure_hosts() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tls = |name: &str| format!("tls = {{ cert = \"{name}.pem\", key = \"{name}.key\" }}\n");
    HOSTS
        .replace("unix:DIR/api.sock", &free.to_string())
        .replace("hosts = [\"social", &format!("{}hosts = [\"social", tls("social")))
        .replace("hosts = [\"cloud", &format!("{}hosts = [\"cloud", tls("cloud")))
}

fn certificates(dir: &Path) {
    certificate(dir, "social", &["social.example"]);
    certificate(dir, "cloud", &["cloud.example", "models.example"]);
}

#[tokio::test]
async fn over_tls_the_name_picks_the_certificate_and_no_request_crosses_to_another_host() {
    let daemon = Served::start(&secure_hosts(), certificates).await;
    assert!(daemon.running.surfaces()["socialcrm"].to_string().starts_with("https://127.0.0.1:"));
    let made = daemon.key().await;
    let call = |name: &'static str, trusted: &'static str, request: String| async {
        let secured = secured(daemon.connect().await, &daemon.path(trusted), name, b"http/1.1").await;
        exchange(secured.unwrap(), request).await
    };
    let well = posts("social.example", &made.key, "");
    assert_eq!(status(&call("social.example", "social.pem", well.clone()).await), 200);
    let answer = call("models.example", "cloud.pem", posts("cloud.example", &made.key, "")).await;
    assert_eq!(status(&answer), 401, "another name of the same host: {answer}");
    let crossed = call("cloud.example", "cloud.pem", well.clone()).await;
    assert!(crossed.starts_with("HTTP/1.1 421 "), "{crossed}");
    // A name that is nobody's gets the first certificate, which is not for it.
    assert!(
        secured(daemon.connect().await, &daemon.path("social.pem"), "evil.example", b"http/1.1")
            .await
            .is_err()
    );
    assert_eq!(status(&call("social.example", "social.pem", well).await), 200);
    daemon.stop().await;
}

#[tokio::test]
async fn plain_http_at_a_tls_port_is_told_so_and_closed() {
    let daemon = Served::start(&secure_hosts(), certificates).await;
    let answer = exchange(daemon.connect().await, "GET / HTTP/1.1\r\nhost: social.example\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("connection: close"), "{answer}");
    assert!(head.ends_with(&format!("content-length: {}\r\nconnection: close", body.len())), "{answer}");
    assert!(body.contains("https://"), "{answer}");
    // Neither does it upgrade by the preface of HTTP/2, nor hang on a handshake that is none.
    let answer = exchange(daemon.connect().await, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut silent = daemon.connect().await;
    silent.write_all(b"\x16\x03\x01\xff\xff").await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_from_the_reload_on_and_a_broken_one_changes_nothing() {
    let daemon = Served::start(&secure_hosts(), certificates).await;
    let made = daemon.key().await;
    let well = posts("social.example", &made.key, "");
    std::fs::copy(daemon.path("social.pem"), daemon.path("first.pem")).unwrap();
    let call = |trusted: &'static str| async {
        let stream =
            secured(daemon.connect().await, &daemon.path(trusted), "social.example", b"http/1.1").await?;
        Ok::<_, std::io::Error>(status(&exchange(stream, &well).await))
    };
    let mut open = secured(daemon.connect().await, &daemon.path("first.pem"), "social.example", b"http/1.1")
        .await
        .unwrap();
    assert_eq!(call("first.pem").await.unwrap(), 200);

    std::fs::write(daemon.path("social.pem"), "not a certificate").unwrap();
    daemon.running.reload_certificates().await;
    assert_eq!(call("first.pem").await.unwrap(), 200);

    certificate(daemon.path("").as_path(), "social", &["social.example"]);
    assert_eq!(call("first.pem").await.unwrap(), 200, "nobody has read it again yet");
    daemon.running.reload_certificates().await;
    assert_eq!(call("social.pem").await.unwrap(), 200);
    assert!(call("first.pem").await.is_err(), "the old one is out of use");
    // What was open before goes on.
    open.write_all(well.as_bytes()).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 200);
    daemon.stop().await;
}
