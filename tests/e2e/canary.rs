//! A canary: keys that are driven through every door and every way to fail, at the finest log level, and then
//! looked for wherever something of them could have stayed.
//!
//! What counts is the secret part of a key, since the tag and the prefix are public, and what is stored in its
//! place. The search is shown to find what it should find: the key's prefix and id, and the key itself in the
//! one answer that shows it.
//!
//! Never here: a daemon inside the test's process, whose memory the test shares.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Hidden, Key};
use crate::program::{Program, command, files_under, new_workspace, text};
use crate::stored;
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call, Connection, call_once};

/// One thing that must not be seen, and what it is called in a failure.
struct Hush {
    name: &'static str,
    text: Hidden,
}

/// Something that was kept of a run: where, and its bytes.
type Kept = (String, Vec<u8>);

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn configuration(dir: &Path, upstream: &str, format: &str) {
    let config = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        name = "socialcrm"
        upstream = "{upstream}"
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        [checkpoint]
        interval = "100ms"
        [log]
        level = "trace"
        format = "{format}"
    "#
    );
    std::fs::write(dir.join("keyward.toml"), config).unwrap();
}

async fn start(dir: &Path, more: &[&str]) -> Program {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let arguments = ["serve", "--config", "keyward.toml", "--json"];
    let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
    let mut command = command(dir, &arguments);
    // A file takes any number of lines; a pipe would stop the daemon when it is full.
    command.stderr(log);
    Program::spawn(dir, &mut command).await
}

/// The key's own characters: behind the tag and the prefix, before the check.
fn secret_part(key: &str) -> Hidden {
    Hidden(key[16..38].to_owned())
}

/// Calls to the data listener: good ones, and every way to be refused with a key at hand.
fn data_calls(key: &str, poor: &str, wrong: &str, malformed: &str) -> Vec<(Call, u16)> {
    let rpc = |method: &str, params: &Value| {
        Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    };
    let list = || Call::get("/v1/posts");
    let tools = || rpc("tools/list", &json!({}));
    let mut calls = vec![
        (list().bearer(key), 200),
        (list().header("X-API-Key", key), 200),
        (tools().bearer(key), 200),
        (list().bearer(wrong), 401),
        (list().bearer(malformed), 401),
        (list().header("X-API-Key", malformed), 401),
        (tools().bearer(wrong), 401),
        (tools().bearer(malformed), 401),
        (list().header("Authorization", key), 401),
        (list().header("Authorization", format!("Basic {key}")), 401),
        (list().header("Authorization", format!("Bearer  {key}")), 401),
        (list().header("Authorization", format!("Bearer {key} ")), 200),
        (Call::post("/v1/posts", &json!({"body": "b", "account_ids": ["a"]})).bearer(poor), 403),
        (rpc("tools/call", &json!({"name": "create_post", "arguments": {}})).bearer(poor), 403),
        (Call::get("/v1/nope").bearer(key), 404),
        (Call::new("DELETE", "/v1/posts").bearer(key), 405),
        (Call::post("/v1/posts", &json!({})).bearer(key).header("Content-Type", "text/plain"), 0),
        (Call::new("POST", "/v1/posts").bearer(key).header("Content-Length", "999999999").body("{"), 413),
        (Call::rpc(&json!({})).bearer(key).header("Content-Length", "999999999"), 413),
        (list().bearer(key).header("X-API-Key", key), 400),
        (list().bearer(key).header("X-API-Key", wrong), 400),
        (list().bearer(key).bearer(key), 400),
        (list().bearer(key).header("Host", "a b"), 400),
        (Call::get("/v1/posts/%zz").bearer(key), 400),
        (
            Call::new("POST", "/api/mcp-app")
                .bearer(key)
                .header("Content-Type", "application/json")
                .body("{"),
            400,
        ),
        (rpc("no/such", &json!({})).bearer(key), 0),
        (Call::get(&format!("/v1/posts?api_key={key}")), 401),
        (Call::get(&format!("/v1/posts?access_token={key}")), 401),
        (Call::get(&format!("/v1/posts/{key}")), 401),
        (Call::get(&format!("/{key}")), 401),
        (list().header("Cookie", format!("key={key}; api_key={key}")), 401),
        (Call::post("/v1/posts", &json!({"api_key": key, "key": key})), 401),
        (rpc("tools/list", &json!({"api_key": key})), 401),
        (rpc("tools/list", &json!({"_meta": {"Authorization": format!("Bearer {key}")}})), 401),
    ];
    calls.extend((0..4).map(|_| (list().bearer(poor), 0)));
    calls
}

/// Calls to the admin listener with keys where an admin key belongs, and in the verify call.
fn admin_calls(admin: &str, key: &Key, wrong: &str, malformed: &str) -> Vec<(Call, u16)> {
    let verify = |body: &Value| Call::post("/api/v1/verify", body).bearer(admin);
    let (text, id) = (&*key.text, &key.id);
    let raw = |body: String| {
        Call::new("POST", "/api/v1/verify")
            .bearer(admin)
            .header("Content-Type", "application/json")
            .body(body)
    };
    let mut calls = vec![
        (verify(&json!({"key": text})), 200),
        (verify(&json!({"key": text, "permission": "posts:read"})), 200),
        (verify(&json!({"key": text, "method": "GET", "path": "/v1/posts"})), 200),
        (verify(&json!({"key": text, "tool": "list_posts", "dry_run": true})), 200),
        (verify(&json!({"key": wrong})), 200),
        (verify(&json!({"key": malformed})), 200),
        (verify(&json!({"key": text, "permission": "posts:fly"})), 400),
        (verify(&json!({"key": text, "api_key": text})), 400),
        (verify(&json!({"key": [text]})), 400),
        (verify(&json!({"kay": text})), 400),
        (verify(&json!({"key": text, "ip": "not an address"})), 400),
        (verify(&json!({"key": text, "cost": -1})), 400),
        (raw(format!(r#"{{"key": "{text}""#)), 400),
        (raw(format!(r#"{{"key": "{text}", "key": "{text}"}}"#)), 400),
        (raw(format!(r#"{{"key": "{text}"}} behind"#)), 400),
        (raw(text.to_owned()), 400),
        (
            Call::post("/api/v1/verify", &json!({"key": text}))
                .bearer(admin)
                .header("Content-Type", "text/plain"),
            0,
        ),
        (Call::get("/api/v1/keys").bearer(admin), 200),
        (Call::get(&format!("/api/v1/keys/{id}")).bearer(admin), 200),
        (Call::get("/api/v1/audit").bearer(admin), 200),
        (Call::get("/api/v1/workspaces").bearer(admin), 200),
        (Call::get("/metrics"), 200),
        (
            Call::post(
                "/mcp",
                &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                        "params": {"name": "show_key", "arguments": {"id": text, text: text}}}),
            )
            .bearer(admin),
            200,
        ),
        (Call::post("/api/v1/install-secret/rotate", &json!({})).bearer(admin), 200),
    ];
    for credential in [text, wrong, malformed] {
        calls.extend([
            (Call::get("/api/v1/keys").bearer(credential), 401),
            (Call::get(&format!("/api/v1/keys/{id}")).bearer(credential), 401),
            (Call::post("/api/v1/workspaces", &json!({"name": "n"})).bearer(credential), 401),
            (Call::post(&format!("/api/v1/keys/{id}/revoke"), &json!({})).bearer(credential), 401),
            (Call::get("/api/v1/nope").bearer(credential), 401),
        ]);
    }
    calls.extend([
        (Call::get("/api/v1/keys").bearer(admin).header("X-API-Key", text), 0),
        (Call::get("/api/v1/keys").bearer(admin).bearer(text), 400),
        // A slip of the hand: the key where an id or a filter belongs.
        (Call::get(&format!("/api/v1/keys/{text}")).bearer(admin), 0),
        (Call::get(&format!("/api/v1/keys?workspace_id={text}")).bearer(admin), 400),
        (Call::get(&format!("/api/v1/keys?status={text}")).bearer(admin), 400),
        (Call::get(&format!("/api/v1/keys?{text}=1")).bearer(admin), 400),
        (Call::get(&format!("/api/v1/audit?after={text}")).bearer(admin), 400),
    ]);
    calls
}

/// Sends each call over a connection of its own and keeps what was answered.
async fn drive(address: SocketAddr, calls: Vec<(Call, u16)>, kept: &mut Vec<Kept>) -> Vec<Answer> {
    let (mut answers, mut unexpected) = (Vec::new(), Vec::new());
    for (number, (call, expected)) in calls.into_iter().enumerate() {
        let answer = call_once(address, &call).await;
        let told = format!("the answer to {} number {number} at {address}", call.method);
        if expected != 0 && answer.status != expected {
            unexpected.push(format!("{told}: {answer:?}, not {expected}"));
        }
        kept.push((told, [answer.head.as_bytes(), &answer.body].concat()));
        answers.push(answer);
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    answers
}

async fn made(daemon: &Program, workspace: &str, fields: Value) -> Key {
    let mut fields = fields;
    fields["workspace_id"] = json!(workspace);
    let made = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    Key { id: text(&made["id"]), text: Hidden(text(&made["key"])) }
}

/// Garbage around a key, which no parser takes for a request.
async fn mumble(address: SocketAddr, key: &str, kept: &mut Vec<Kept>) {
    for bytes in [
        format!("GET /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization Bearer {key}\r\n\r\n"),
        format!("GET /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\0\r\n\r\n"),
        format!("{key}\r\n\r\n"),
    ] {
        let mut connection = Connection::open(address).await.unwrap();
        connection.send(bytes.as_bytes()).await;
        let answer = connection.answer_to("GET").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        kept.push(("the answer to garbage".to_owned(), [answer.head.as_bytes(), &answer.body].concat()));
    }
}

fn of_process(daemon: &Program) -> Vec<Kept> {
    let read = |name: &str| {
        let path = format!("/proc/{}/{name}", daemon.child.id());
        // A process that cannot be traced keeps its environment from its own user.
        let content = std::fs::read(&path).or_else(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Ok(Vec::new()),
            _ => Err(error),
        });
        (path, content.unwrap())
    };
    ["cmdline", "environ", "status"].map(read).to_vec()
}

async fn nothing_of_a_key_stays(format: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (url, recorded, upstream) = recording().await;
    configuration(dir.path(), &url, format);
    let daemon = start(dir.path(), &[]).await;
    let workspace = daemon.admin_json(new_workspace()).await;
    let id = text(&workspace["workspace"]["id"]);
    let canary = made(&daemon, &id, json!({"permissions": ["*:*"], "name": "canary"})).await;
    let slow = json!({"limit": 2, "window_s": 2_678_400});
    let poor = made(&daemon, &id, json!({"permissions": ["posts:read"], "rate": slow})).await;
    let wrong = crate::credentials::near_miss(&canary);
    // A typing error behind the secret: it says all of it and parses nowhere.
    let malformed = Hidden(format!("{}{}", &canary.text[..38], "__"));
    let (key, other) = (&*canary.text, &*wrong);

    let mut kept = Vec::new();
    let answers = drive(daemon.data, data_calls(key, &poor.text, other, &malformed), &mut kept).await;
    assert!(answers.iter().any(|answer| answer.status == 429), "the poor key is not paced");
    mumble(daemon.data, key, &mut kept).await;
    mumble(daemon.admin, key, &mut kept).await;
    let calls = admin_calls(&daemon.admin_key, &canary, other, &malformed);
    let answers = drive(daemon.admin, calls, &mut kept).await;
    assert!(
        answers.iter().any(|answer| answer.text().contains(&canary.id))
            && answers.iter().any(|answer| answer.text().contains(&canary.text[8..16])),
        "the id and the prefix are found in lists, or nothing can be"
    );
    // The one answer of a tool that shows a key, and its call, are in nobody's log.
    let arguments = json!({"workspace_id": id, "permissions": ["*:*"]});
    let params = json!({"name": "create_key", "arguments": arguments});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let by_tool = daemon.admin_json(Call::post("/mcp", &call)).await;
    let by_tool = Hidden(text(&by_tool["result"]["structuredContent"]["key"]));
    let revoke = format!("/api/v1/keys/{}/revoke", canary.id);
    daemon.admin_json(Call::post(&revoke, &json!({}))).await;
    drive(daemon.data, vec![(Call::get("/v1/posts").bearer(key), 401)], &mut kept).await;
    kept.extend(of_process(&daemon));
    assert_eq!(daemon.stop("TERM").await.code(), Some(0));
    // Without the install secret a start is refused; with leave to go on, the slow hash proves and refuses.
    std::fs::remove_file(dir.path().join("data/install.secret")).unwrap();
    let refused = command(dir.path(), &["serve", "--config", "keyward.toml"]).output().unwrap();
    assert!(!refused.status.success());
    kept.push(("a start that is refused".to_owned(), [refused.stdout, refused.stderr].concat()));
    let daemon = start(dir.path(), &["--new-install-secret"]).await;
    let default_key = text(&workspace["default_key"]["key"]);
    let list = |key: &str| Call::get("/v1/posts").bearer(key);
    let calls = vec![(list(&default_key), 200), (list(key), 401), (list(other), 401)];
    drive(daemon.data, calls, &mut kept).await;
    drive(daemon.admin, vec![(Call::get("/api/v1/audit").bearer(&daemon.admin_key), 200)], &mut kept).await;
    assert_eq!(daemon.stop("TERM").await.code(), Some(0));

    kept.push(("the log".to_owned(), std::fs::read(dir.path().join("log")).unwrap()));
    let seen = recorded.lock().unwrap().join("\n").into_bytes();
    assert!(holds(&seen, &canary.id), "the upstream is told the key's id");
    kept.push(("what the upstream was sent".to_owned(), seen));
    let store = dir.path().join("data/keyward.redb");
    let (hash, fingerprint) = stored::secrets_at_rest(&store, &canary.id);
    assert!(stored::file_holds(&store, &hash), "the search finds what stands in the file");
    assert!(stored::file_holds(&store, &canary.id) || stored::file_holds(&store, "canary"));
    for file in files_under(&dir.path().join("data")) {
        let name = file.display().to_string();
        kept.push((name, std::fs::read(&file).unwrap()));
    }
    let mut hushed = vec![
        Hush { name: "the secret part", text: secret_part(key) },
        Hush { name: "the poor key's secret part", text: secret_part(&poor.text) },
        Hush { name: "the wrong secret part", text: secret_part(other) },
        Hush { name: "the default key's", text: secret_part(&default_key) },
        Hush { name: "the secret part of a tool's key", text: secret_part(&by_tool) },
        Hush { name: "the fingerprint", text: Hidden(fingerprint) },
    ];
    // The admin key stands in its own file alone.
    hushed.push(Hush { name: "the admin key's", text: Hidden(daemon_key_part(&dir)) });
    for hush in &hushed {
        assert!(hush.text.len() >= 16, "{}", hush.name);
        for (place, bytes) in &kept {
            assert!(!holds(bytes, &hush.text), "{} is in {place}", hush.name);
        }
    }
    for (place, bytes) in kept.iter().filter(|(place, _)| *place != store.display().to_string()) {
        assert!(!holds(bytes, &hash) && !holds(bytes, "$argon2"), "a hash is in {place}");
    }
    upstream.abort();
}

fn daemon_key_part(dir: &tempfile::TempDir) -> String {
    let key = std::fs::read_to_string(dir.path().join("admin.key")).unwrap();
    key.trim()[14..36].to_owned()
}

#[tokio::test]
async fn nothing_of_a_key_stays_where_it_went_through_with_a_log_for_people() {
    nothing_of_a_key_stays("human").await;
}

#[tokio::test]
async fn nothing_of_a_key_stays_where_it_went_through_with_a_log_in_json() {
    nothing_of_a_key_stays("json").await;
}

/// Attack O03.
#[tokio::test]
async fn what_callers_send_cannot_forge_a_line_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    // An upstream that is not there makes the daemon log about requests.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configuration(dir.path(), &format!("http://{gone}"), "json");
    let daemon = start(dir.path(), &[]).await;
    let workspace = daemon.admin_json(new_workspace()).await;
    let id = text(&workspace["workspace"]["id"]);
    let key = text(&workspace["default_key"]["key"]);
    let hostile = ["a\r\n{\"level\":\"ERROR\"}", "a\u{1b}[31mred", "a\u{2028}b", "a\u{85}b", "\u{7}bell"];
    for text in hostile {
        let named = json!({"workspace_id": id, "name": text});
        let refused = daemon.admin(Call::post("/api/v1/keys", &named)).await;
        assert_eq!(refused.status, 400, "{text:?}: {refused:?}");
        let noted = json!({"workspace_id": id, "description": text, "metadata": {"note": text}});
        let answer = daemon.admin(Call::post("/api/v1/keys", &noted)).await;
        assert!(answer.status == 201 || answer.status == 400, "{text:?}: {answer:?}");
        assert!(!answer.body.contains(&0x1b) && !answer.head.contains("forged"));
    }
    let endless = "x".repeat(1 << 20);
    let named = json!({"workspace_id": id, "name": endless});
    assert!(daemon.admin(Call::post("/api/v1/keys", &named)).await.status >= 400);
    let encoded = "/v1/posts/a%0d%0a%7b%22level%22:%22ERROR%22%7d%1b%5b31m%e2%80%a8";
    for call in [
        Call::get(encoded).bearer(&key),
        Call::get("/v1/posts").bearer(&key).header("User-Agent", "a\u{1b}[31m\u{2028}b"),
        Call::get("/v1/posts").bearer(&key).header("User-Agent", [b'a', 0x9b, b'2', b'J', 0xff]),
        Call::get("/v1/posts").bearer(&key).header("X-Request-Id", "a\u{1b}[31m"),
    ] {
        let answer = call_once(daemon.data, &call).await;
        assert!(answer.status >= 400, "nothing answers behind the gate: {answer:?}");
    }
    mumble(daemon.data, "a\u{1b}[31m\u{2028}", &mut Vec::new()).await;
    assert_eq!(daemon.stop("TERM").await.code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("the upstream did not answer"), "something was logged of a request");
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no object: {line:?}"));
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.contains(['\u{2028}', '\u{2029}']), "{line:?}");
    }
}
