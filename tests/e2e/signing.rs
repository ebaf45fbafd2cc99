//! Signed requests: what a signature binds, for how long it may be used, and that it is used once.
//!
//! Signatures are made here by the words of the documentation and not by the code under test. Rows S04, S06
//! and S07 of the attacks are here; that the comparison is constant in time is the library's.
//!
//! Never here: a signature that some other test could have used before.

use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use keyward::domain::time::Wall;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::daemon::{Daemon, Hidden, Key, Options, START};
use crate::program::{Program, configured, new_workspace};
use crate::wire::{Answer, Call, PATIENCE, call_once};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const POST: &str = r#"{"body":"Hello","account_ids":["a"]}"#;

/// The second at which the manual clocks start.
fn start() -> i64 {
    Wall::parse(START).unwrap().secs()
}

fn hex_mac(key: &str, signed: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed);
    hex::encode(mac.finalize().into_bytes())
}

/// The signature of the body form.
pub(crate) fn body_mac(key: &str, at: i64, body: &str) -> String {
    hex_mac(key, format!("{at}.{body}").as_bytes())
}

/// The header of our own form.
fn v1(key: &str, at: i64, nonce: &str, method: &str, target: &str, body: &[u8]) -> String {
    let nonce = format!("nonce-{nonce:-<16}");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let digest = hex::encode(Sha256::digest(body));
    let signed = format!("keyward-v1\n{at}\n{nonce}\n{method}\n{path}\n{query}\n{digest}");
    format!("v1;t={at};n={nonce};s={}", hex_mac(key, signed.as_bytes()))
}

/// A request without a signature.
fn bare(method: &str, target: &str, key: &Key, body: &str) -> Call {
    let call = Call::new(method, target).bearer(&key.text);
    if body.is_empty() { call } else { call.header("Content-Type", "application/json").body(body) }
}

/// A request signed in the body form.
fn by_body(method: &str, target: &str, key: &Key, at: i64, body: &str) -> Call {
    let call = bare(method, target, key, body).header("X-MCP-Timestamp", at.to_string());
    call.header("X-MCP-Signature", body_mac(&key.text, at, body))
}

/// A request signed in our own form.
fn by_v1(method: &str, target: &str, key: &Key, at: i64, nonce: &str, body: &str) -> Call {
    let signature = v1(&key.text, at, nonce, method, target, body.as_bytes());
    bare(method, target, key, body).header("Keyward-Signature", signature)
}

async fn started() -> (Daemon, Key) {
    let daemon = Daemon::start_with(Options { body_form: true, ..Options::default() }).await;
    let key = daemon.workspace("pro").await.default_key;
    (daemon, key)
}

/// The answer to a key that does not exist is the answer to every signature that is not right.
#[track_caller]
fn is_refused(answer: &Answer, about: &str) {
    assert_eq!((answer.status, answer.rest_error().0.as_str()), (401, "unauthorized"), "{about}: {answer:?}");
}

#[tokio::test]
async fn a_signature_over_the_body_passes_once_and_only_over_that_body() {
    let (daemon, key) = started().await;
    let signed = by_body("POST", "/v1/posts", &key, start(), POST);
    assert_eq!(daemon.call(&signed).await.status, 201);
    is_refused(&daemon.call(&signed).await, "a replay");
    let mac = body_mac(&key.text, start() - 1, POST);
    let send = |stamp: &str, mac: &str, body: &str| {
        let call = bare("POST", "/v1/posts", &key, body).header("X-MCP-Timestamp", stamp);
        call.header("X-MCP-Signature", mac)
    };
    let stamp = (start() - 1).to_string();
    let unknown = daemon.call(&Call::get("/v1/posts").bearer(&crate::credentials::near_miss(&key))).await;
    for (about, call) in [
        ("a byte of the body", send(&stamp, &mac, &POST.replace("Hello", "hello"))),
        ("another stamp", send(&start().to_string(), &mac, POST)),
        ("a stamp spelt otherwise", send(&format!("0{stamp}"), &mac, POST)),
        ("a stamp in milliseconds", send(&format!("{stamp}000"), &mac, POST)),
        ("a cut MAC", send(&stamp, &mac[2..], POST)),
        ("no MAC", send(&stamp, "", POST)),
        ("another key's", send(&stamp, &body_mac("sk_live_other", start() - 1, POST), POST)),
        ("two stamps", send(&stamp, &mac, POST).header("X-MCP-Timestamp", &stamp)),
        ("two MACs", send(&stamp, &mac, POST).header("x-mcp-signature", &mac)),
        ("no stamp", bare("POST", "/v1/posts", &key, POST).header("X-MCP-Signature", &mac)),
        ("a stamp alone", bare("POST", "/v1/posts", &key, POST).header("X-MCP-Timestamp", &stamp)),
        (
            "both forms",
            send(&stamp, &mac, POST).header(
                "Keyward-Signature",
                v1(&key.text, start(), "both", "POST", "/v1/posts", POST.as_bytes()),
            ),
        ),
    ] {
        let answer = daemon.call(&call).await;
        is_refused(&answer, about);
        assert_eq!(answer.text(), unknown.text(), "{about}");
    }
    assert_eq!(
        daemon.call(&send(&stamp, &mac.to_ascii_uppercase(), POST)).await.status,
        201,
        "none of them used it"
    );
    daemon.is_well(&key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn mcp_cloud_takes_the_signature_of_its_page() {
    let daemon = Daemon::start_with(Options::of("mcp-cloud", None)).await;
    let key = daemon.workspace("enterprise").await.default_key;
    let body = r#"{"model":"claude-3-5-sonnet","messages":[{"role":"user","content":"hi"}]}"#;
    let (path, at) = ("/v1/chat/completions", start());
    let signed = by_body("POST", path, &key, at, body);
    assert_eq!(daemon.call(&signed).await.status, 200);
    let half = bare("POST", path, &key, body).header("X-MCP-Timestamp", at.to_string());
    for (told, call) in [
        ("again", signed),
        ("one header", half),
        ("too old", by_body("POST", path, &key, at - 301, body)),
        ("too early", by_body("POST", path, &key, at + 6, body)),
        ("another body", by_body("POST", path, &key, at - 1, body).body(r#"{"model":"other"}"#)),
    ] {
        let answer = daemon.call(&call).await;
        let said = (answer.status, answer.rest_error().0);
        assert_eq!(said, (401, "invalid_api_key".to_owned()), "{told}");
    }
    assert_eq!(daemon.call(&bare("POST", path, &key, body)).await.status, 200);
    daemon.finish().await;
}

#[tokio::test]
async fn our_own_form_binds_method_path_query_and_body() {
    let (daemon, key) = started().await;
    let header = |nonce: &str, method: &str, target: &str, body: &str| {
        v1(&key.text, start(), nonce, method, target, body.as_bytes())
    };
    let sent = |signature: String, method: &str, target: &str, body: &str| {
        bare(method, target, &key, body).header("Keyward-Signature", signature)
    };
    let signature = header("one", "GET", "/v1/posts?limit=7", "");
    for (about, method, target) in [
        ("the path", "GET", "/v1/accounts?limit=7"),
        ("the query", "GET", "/v1/posts?limit=8"),
        ("no query", "GET", "/v1/posts"),
        ("the method", "HEAD", "/v1/posts?limit=7"),
    ] {
        let answer = daemon.call(&sent(signature.clone(), method, target, "")).await;
        assert_eq!(answer.status, 401, "{about}: {answer:?}");
    }
    assert_eq!(daemon.call(&sent(signature.clone(), "GET", "/v1/posts?limit=7", "")).await.status, 200);
    is_refused(&daemon.call(&sent(signature, "GET", "/v1/posts?limit=7", "")).await, "a replay");
    let posted = header("two", "POST", "/v1/posts", POST);
    is_refused(&daemon.call(&sent(posted.clone(), "POST", "/v1/posts", "{}")).await, "the body");
    let twice = sent(posted.clone(), "POST", "/v1/posts", POST).header("Keyward-Signature", &posted);
    is_refused(&daemon.call(&twice).await, "twice");
    assert_eq!(daemon.call(&sent(posted, "POST", "/v1/posts", POST)).await.status, 201);
    // A nonce lets equal calls of one second pass, which the body form cannot.
    for nonce in ["a", "b", "c"] {
        assert_eq!(daemon.call(&by_v1("GET", "/v1/posts", &key, start(), nonce, "")).await.status, 200);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_stamp_may_be_300_seconds_old_and_5_ahead_and_no_more() {
    let (daemon, key) = started().await;
    for (form, call) in [
        ("body", by_body as fn(&str, &str, &Key, i64, &str) -> Call),
        ("v1", |method, target, key, at, body| by_v1(method, target, key, at, "window", body)),
    ] {
        for (ahead, status) in [(-301, 401), (-300, 200), (0, 200), (5, 200), (6, 401)] {
            let answer = daemon.call(&call("GET", "/v1/posts", &key, start() + ahead, "")).await;
            assert_eq!(answer.status, status, "{form} {ahead}: {answer:?}");
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_signature_that_one_door_took_is_refused_at_every_other() {
    let (daemon, key) = started().await;
    let rpc = |at| by_body("POST", "/api/mcp-app", &key, at, PING);
    let rest = |at| by_body("POST", "/v1/posts", &key, at, PING);
    assert_eq!(daemon.call(&rpc(start())).await.json()["result"], json!({}));
    let replayed = daemon.call(&rpc(start())).await;
    assert_eq!((replayed.status, replayed.rpc_error()), (401, (-32001, "Invalid API key.".to_owned())));
    is_refused(&daemon.call(&rest(start())).await, "from JSON-RPC to REST");
    let passed = daemon.call(&rest(start() + 1)).await;
    assert_ne!(passed.status, 401, "{passed:?}");
    assert_eq!(daemon.call(&rpc(start() + 1)).await.status, 401, "from REST to JSON-RPC");
    daemon.finish().await;
}

#[tokio::test]
async fn of_many_equal_requests_at_once_exactly_one_passes() {
    let (daemon, key) = started().await;
    let daemon = Arc::new(daemon);
    for round in 0..8 {
        let call = by_v1("POST", "/v1/posts", &key, start(), &format!("round{round}"), POST);
        let sent: Vec<_> = (0..16)
            .map(|_| {
                let (daemon, call) = (Arc::clone(&daemon), call.clone());
                tokio::spawn(async move { daemon.call(&call).await.status })
            })
            .collect();
        let mut passed = 0;
        for answer in sent {
            match answer.await.unwrap() {
                201 => passed += 1,
                other => assert_eq!(other, 401),
            }
        }
        assert_eq!(passed, 1, "round {round}");
    }
    Arc::into_inner(daemon).unwrap().finish().await;
}

#[tokio::test]
async fn a_key_that_requires_signatures_is_refused_without_one_at_every_door() {
    let (daemon, default) = started().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "require_signature": true})).await;
    assert_eq!(daemon.show_key(&key).await["require_signature"], true);
    is_refused(&daemon.call(&bare("GET", "/v1/posts", &key, "")).await, "REST");
    let rpc = daemon.call(&bare("POST", "/api/mcp-app", &key, PING)).await;
    assert_eq!((rpc.status, rpc.rpc_error()), (401, (-32001, "Invalid API key.".to_owned())));
    // Nobody can sign a request to the verify call's own caller.
    let asked = daemon.verify(&key.text, json!({})).await;
    assert_eq!((&asked["valid"], &asked["code"]), (&json!(false), &json!("signature")));
    let asked = daemon.verify(&key.text, json!({"dry_run": true})).await;
    assert_eq!(asked["code"], "signature");
    assert_eq!(daemon.call(&by_v1("GET", "/v1/posts", &key, start(), "rest", "")).await.status, 200);
    assert_eq!(daemon.call(&by_body("POST", "/api/mcp-app", &key, start(), PING)).await.status, 200);
    // What can be turned on and off acts on the next request.
    daemon.patch_key(&key, json!({"require_signature": false})).await;
    daemon.is_well(&key).await;
    daemon.patch_key(&key, json!({"require_signature": true})).await;
    is_refused(&daemon.call(&bare("GET", "/v1/posts", &key, "")).await, "again");
    // A key that need not sign may, and is checked then.
    let wrong = by_v1("GET", "/v1/posts", &default, start() - 301, "old", "");
    is_refused(&daemon.call(&wrong).await, "not required, and wrong");
    assert_eq!(daemon.call(&by_v1("GET", "/v1/posts", &default, start(), "now", "")).await.status, 200);
    daemon.is_well(&default).await;
    daemon.finish().await;
}

#[tokio::test]
async fn nothing_is_read_of_a_request_that_lacks_its_signature() {
    let (daemon, _) = started().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "require_signature": true})).await;
    let waits = |call: Call| {
        let call = call.bearer(&key.text).header("Content-Type", "application/json");
        call.header("Content-Length", "1000").header("Expect", "100-continue")
    };
    let first = async |call: Call| {
        let mut socket = TcpStream::connect(daemon.data()).await.unwrap();
        socket.write_all(&call.bytes(daemon.data())).await.unwrap();
        let mut status = [0; "HTTP/1.1 100".len()];
        timeout(PATIENCE, socket.read_exact(&mut status)).await.unwrap().unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    for path in ["/api/mcp-app", "/v1/posts"] {
        assert_eq!(first(waits(Call::new("POST", path))).await, "HTTP/1.1 401", "{path}");
        // A wrong signature can only be told from a right one with the body.
        let begun = waits(Call::new("POST", path)).header("X-MCP-Timestamp", start().to_string());
        let begun = begun.header("X-MCP-Signature", "00".repeat(32));
        assert_eq!(first(begun).await, "HTTP/1.1 100", "{path}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn an_admin_key_may_be_made_to_sign() {
    let (daemon, _) = started().await;
    let fields = json!({"workspace_id": Value::Null, "permissions": ["keys:read", "workspaces:write"],
        "require_signature": true});
    let mut fields = fields;
    let admins = daemon.admin_json(Call::get("/api/v1/audit")).await["data"][0]["subject"].clone();
    fields["workspace_id"] = admins;
    let made = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let admin = Key { id: text(&made["id"]), text: Hidden(text(&made["key"])) };
    let send = async |call: Call| daemon.admin_bare(&call).await.status;
    assert_eq!(send(bare("GET", "/api/v1/keys", &admin, "")).await, 401);
    let list = by_v1("GET", "/api/v1/keys?limit=1", &admin, start(), "list", "");
    assert_eq!(send(list.clone()).await, 200);
    assert_eq!(send(list).await, 401, "a replay");
    let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": "pro"}).to_string();
    let create = by_v1("POST", "/api/v1/workspaces", &admin, start(), "create", &wanted);
    assert_eq!(send(create).await, 201);
    assert_eq!(send(by_v1("GET", "/api/v1/nope", &admin, start(), "nope", "")).await, 404);
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_may_relax_replay_to_the_window() {
    let (daemon, key) = started().await;
    assert_eq!(daemon.show_key(&key).await["signature_replay"], "once");
    daemon.patch_key(&key, json!({"signature_replay": "window"})).await;
    assert_eq!(daemon.show_key(&key).await["signature_replay"], "window");
    let signed = by_body("GET", "/v1/posts", &key, start(), "");
    for _ in 0..3 {
        assert_eq!(daemon.call(&signed).await.status, 200);
    }
    daemon.advance_secs(300);
    assert_eq!(daemon.call(&signed).await.status, 200);
    daemon.advance_secs(1);
    is_refused(&daemon.call(&signed).await, "outside the window");
    daemon.finish().await;
}

#[tokio::test]
async fn what_is_wrong_before_a_signature_uses_it_not_and_what_is_wrong_in_it_costs_nothing() {
    let (daemon, default) = started().await;
    let workspace = daemon.workspace("pro").await;
    daemon.is_well(&default).await;
    let rate = json!({"limit": 1, "window_s": 60});
    let fields =
        json!({"permissions": ["*:*"], "rate": rate, "ip_allow": ["192.0.2.1"], "require_signature": true});
    let key = daemon.key(&workspace, fields).await;
    let rest = by_v1("GET", "/v1/posts", &key, start(), "rest", "");
    is_refused(&daemon.call(&rest).await, "the address");
    daemon.patch_key(&key, json!({"ip_allow": null})).await;
    for at in [start() - 301, start() + 6] {
        is_refused(&daemon.call(&by_v1("GET", "/v1/posts", &key, at, "rest", "")).await, "its stamp");
        assert_eq!(daemon.call(&by_v1("POST", "/api/mcp-app", &key, at, "rpc", PING)).await.status, 401);
    }
    is_refused(&daemon.call(&bare("GET", "/v1/posts", &key, "")).await, "none");
    assert_eq!(daemon.call(&bare("POST", "/api/mcp-app", &key, PING)).await.status, 401);
    // The one token is still there, and the first signature too.
    assert_eq!(daemon.call(&rest).await.status, 200);
    let slow = by_v1("GET", "/v1/posts", &key, start(), "slow", "");
    assert_eq!(daemon.call(&slow).await.status, 429);
    is_refused(&daemon.call(&slow).await, "used, though too fast");
    let slow = daemon.call(&by_v1("POST", "/api/mcp-app", &key, start(), "slow2", PING)).await;
    assert_eq!(slow.rpc_error().0, -32004);
    daemon.finish().await;
}

#[tokio::test]
async fn a_signed_body_is_read_up_to_eight_mebibytes_and_up_to_its_routes_bound() {
    let (daemon, key) = started().await;
    let send = async |target: &str, len: usize, nonce: &str| {
        let body = "x".repeat(len);
        daemon.call(&by_v1("POST", target, &key, start(), nonce, &body)).await.status
    };
    let most = 8 * 1024 * 1024;
    assert_eq!(send("/v1/nope", most, "most").await, 404, "read, checked, and no route");
    assert_eq!(send("/v1/nope", most + 1, "over").await, 413);
    assert_eq!(send("/v1/posts", (1 << 20) + 1, "route").await, 413);
    let unsigned = daemon.call(&bare("POST", "/v1/nope", &key, &"x".repeat(most + 1))).await.status;
    assert_eq!(unsigned, 404, "a body that is not signed is not read");
    daemon.is_well(&key).await;
    daemon.finish().await;
}

/// S04.
#[tokio::test]
async fn s04_a_full_memory_refuses_new_signatures_and_the_old_ones_still() {
    let options = Options { body_form: true, replays_max: Some(8), ..Options::default() };
    let daemon = Daemon::start_with(options).await;
    let workspace = daemon.workspace("pro").await;
    let key = workspace.default_key.clone();
    let signed = |key: &Key, nonce: &str, at: i64| by_v1("GET", "/v1/posts", key, at, nonce, "");
    for nonce in ["a", "b"] {
        assert_eq!(daemon.call(&signed(&key, nonce, start())).await.status, 200);
    }
    let full = daemon.call(&signed(&key, "c", start())).await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("301")), "a quarter is one key's");
    is_refused(&daemon.call(&signed(&key, "a", start())).await, "a replay");
    for _ in 0..3 {
        let other = daemon.key_for(&workspace, &["*:*"]).await;
        for nonce in ["a", "b"] {
            assert_eq!(daemon.call(&signed(&other, nonce, start())).await.status, 200);
        }
    }
    let late = daemon.key_for(&workspace, &["*:*"]).await;
    assert_eq!(daemon.call(&signed(&late, "a", start())).await.status, 503, "and eight are all");
    daemon.is_well(&late).await;
    daemon.advance_secs(300);
    is_refused(&daemon.call(&signed(&key, "b", start())).await, "to the end of its window");
    daemon.advance_secs(1);
    assert_eq!(daemon.call(&signed(&late, "a", start() + 301)).await.status, 200);
    daemon.finish().await;
}

/// S07: the bytes that were signed are the bytes that go on, however they were framed.
#[tokio::test]
async fn s07_the_upstream_gets_the_signed_bytes_and_no_signature() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<String>> = Arc::default();
    let into = Arc::clone(&seen);
    let upstream = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            while !String::from_utf8_lossy(&bytes).ends_with(POST) {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            *into.lock().unwrap() = String::from_utf8(bytes).unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let upstream_url = Some(&*url.leak());
    let options = Options { body_form: true, upstream: upstream_url, ..Options::default() };
    let daemon = Daemon::start_with(options).await;
    let key = daemon.workspace("pro").await.default_key;
    let target = "/v1/posts?draft=1&x=%20y";
    let whole = by_body("POST", target, &key, start(), POST).header("X_MCP_Signature", "x");
    let mac = body_mac(&key.text, start() + 1, POST);
    let (front, back) = POST.split_at(7);
    let chunks = format!("7\r\n{front}\r\n{:x};a=b\r\n{back}\r\n0\r\nX-Trailer: x\r\n\r\n", back.len());
    let chunked = bare("POST", target, &key, "")
        .header("X-MCP-Timestamp", (start() + 1).to_string())
        .header("X-MCP-Signature", mac)
        .header("Transfer-Encoding", "chunked")
        .body(chunks);
    let own = by_v1("POST", target, &key, start(), "own", POST).header("keyward_signature", "x");
    for (about, call) in [("whole", whole), ("chunked", chunked), ("own", own)] {
        let answer = daemon.call(&call).await;
        assert_eq!(answer.status, 200, "{about}: {answer:?}");
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(
            seen.starts_with(&format!("POST {target} HTTP/1.1\r\n")) && seen.ends_with(POST),
            "{about}: {seen}"
        );
        let head = seen.to_ascii_lowercase();
        assert!(!head.contains("signature") && !head.contains("x-mcp-timestamp"), "{about}: {seen}");
        assert!(!seen.contains(&*key.text), "{about}: the upstream saw the key");
    }
    daemon.finish().await;
    upstream.abort();
}

#[tokio::test]
async fn a_clean_stop_forgets_no_signature_and_holds_up_no_new_one() {
    let (mut daemon, key) = started().await;
    let signed = by_v1("GET", "/v1/posts", &key, start(), "before", "");
    assert_eq!(daemon.call(&signed).await.status, 200);
    for round in ["one", "two"] {
        daemon.restart_after(|_| {}).await;
        is_refused(&daemon.call(&signed).await, round);
        assert_eq!(daemon.call(&by_v1("GET", "/v1/posts", &key, start(), round, "")).await.status, 200);
    }
    daemon.finish().await;
}

/// S06, with the real binary and the machine's clock.
#[tokio::test]
async fn s06_a_replay_is_refused_after_a_kill_and_after_a_clean_stop() {
    let dir = configured();
    let program = Program::serve(dir.path()).await;
    let made = program.admin_json(new_workspace()).await;
    let key = default_key(&made);
    let now = || Wall::from_micros(keyward::clock::Clock::machine().now().wall.micros()).secs();
    let signed = by_v1("GET", "/v1/posts", &key, now(), "killed", "");
    let send = async |program: &Program, call: &Call| call_once(program.data(), call).await.status;
    assert_eq!(send(&program, &signed).await, 200);
    assert_eq!(send(&program, &signed).await, 401);
    program.kill();

    let program = Program::serve(dir.path()).await;
    assert_eq!(send(&program, &signed).await, 401, "after a kill");
    assert_eq!(send(&program, &bare("GET", "/v1/posts", &key, "")).await, 200, "the key itself is well");
    // A key of after the start has no signatures that could have been forgotten.
    let young = default_key(&program.admin_json(new_workspace()).await);
    let stopped = by_v1("GET", "/v1/posts", &young, now(), "stopped", "");
    assert_eq!(send(&program, &stopped).await, 200);
    let (status, _) = program.end_by("TERM").await;
    assert!(status.success());

    let program = Program::serve(dir.path()).await;
    assert_eq!(send(&program, &stopped).await, 401, "after a clean stop");
    assert_eq!(send(&program, &by_v1("GET", "/v1/posts", &young, now(), "fresh", "")).await, 200, "at once");
    program.kill();
}

fn default_key(made: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Key { id: text(&made["default_key"]["id"]), text: Hidden(text(&made["default_key"]["key"])) }
}
