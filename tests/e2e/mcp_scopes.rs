//! Scopes over MCP: a key lists exactly what it may call, calls exactly what it lists, and reaches nothing else
//! under any spelling; and what else refuses a call of a tool.
//!
//! What a permission covers is worked out here from the tools' names alone, not from the profile that is tested.
//!
//! Never here: how a message must be made (see `rpc`), months (see `plans`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::daemon::{Daemon, Key, Options, Workspace};
use crate::listeners::Served;
use crate::rpc_tools::tool_call;
use crate::upstreams::recording::recording;
use crate::wire::{Answer, Call, call_once};

const HIDDEN: &str = "Insufficient permissions for this tool";

/// A permission, as the resource's path and the action.
type Scope = (String, &'static str);

/// What calling a tool of `ShingleAI` takes: its resource and its children with dots, and what its verb does.
fn scope_of(tool: &str) -> Scope {
    let (resource, verb) = tool.rsplit_once('_').unwrap();
    let action = match verb {
        "list" | "get" | "search" => "read",
        "create" | "update" => "write",
        "delete" => "delete",
        other => panic!("{other}"),
    };
    (resource.replace('_', "."), action)
}

/// A parent covers its children, never the other way; an action is never another.
fn covers(held: &Scope, asked: &Scope) -> bool {
    let (held_path, asked_path) = (&held.0, &asked.0);
    held.1 == asked.1 && (held_path == asked_path || asked_path.starts_with(&format!("{held_path}.")))
}

fn at_mcp(message: &Value) -> Call {
    Call::post("/mcp", message)
}

fn raw_at_mcp(body: impl Into<Vec<u8>>) -> Call {
    Call::new("POST", "/mcp").header("Content-Type", "application/json").body(body)
}

fn list_message() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

fn call_message(name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "t-1", "method": "tools/call", "params": {"name": name, "arguments": {}}})
}

/// A message as each era sends it; the newer one says in headers what the message says.
fn in_both_eras(message: &Value) -> [Call; 2] {
    let method = message["method"].as_str().unwrap();
    let modern = at_mcp(message).header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", method);
    let modern = match message["params"]["name"].as_str() {
        Some(name) => modern.header("Mcp-Name", name),
        None => modern,
    };
    [at_mcp(message), modern]
}

fn names(answer: &Answer) -> BTreeSet<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let listed = answer.json()["result"]["tools"].as_array().unwrap().clone();
    listed.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn quick_key(daemon: &Daemon, workspace: &Workspace, permissions: &[&str]) -> Key {
    let fields = json!({"permissions": permissions, "rate": {"limit": 100_000, "window_s": 60}});
    daemon.key(workspace, fields).await
}

#[tokio::test]
async fn each_permission_alone_lists_and_calls_exactly_its_tools() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let all = names(&daemon.call(&at_mcp(&list_message()).bearer(&workspace.default_key.text)).await);
    let scopes: BTreeSet<Scope> = all.iter().map(|name| scope_of(name)).collect();
    assert_eq!((all.len(), scopes.len()), (98, 49));
    let mut connection = daemon.connect().await;
    for held in &scopes {
        let key = quick_key(&daemon, &workspace, &[&format!("{}:{}", held.0, held.1)]).await;
        let expected: BTreeSet<String> =
            all.iter().filter(|name| covers(held, &scope_of(name))).cloned().collect();
        assert!(!expected.is_empty());
        for listing in in_both_eras(&list_message()) {
            assert_eq!(names(&connection.call(&listing.bearer(&key.text)).await), expected, "{held:?}");
        }
        for name in &all {
            let answer = connection.call(&at_mcp(&call_message(name)).bearer(&key.text)).await;
            if expected.contains(name) {
                let result = answer.json()["result"].clone();
                assert!(answer.status == 200 && result["content"].is_array(), "{held:?} {name}: {answer:?}");
            } else {
                let refused = (403, (-32003, HIDDEN.to_owned()));
                assert_eq!((answer.status, answer.rpc_error()), refused, "{held:?} {name}");
                assert_eq!(answer.json()["id"], "t-1", "{held:?} {name}");
            }
        }
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_key_for_reading_contacts_reads_contacts_and_what_hangs_on_them() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let writer = quick_key(&daemon, &workspace, &["contacts:write"]).await;
    let reader = quick_key(&daemon, &workspace, &["contacts:read"]).await;
    let mut connection = daemon.connect().await;
    let kinds = ["contacts", "contacts_addresses", "contacts_emails", "contacts_phones"];
    let listed = names(&connection.call(&at_mcp(&list_message()).bearer(&reader.text)).await);
    let readers: BTreeSet<_> = kinds
        .iter()
        .flat_map(|kind| ["get", "list", "search"].map(|verb| format!("{kind}_{verb}")))
        .collect();
    assert_eq!(listed, readers);
    let result = |answer: Answer| answer.json()["result"]["structuredContent"].clone();
    let with = |name: &str, arguments: Value| {
        let mut message = call_message(name);
        message["params"]["arguments"] = arguments;
        message
    };
    let made = with("contacts_create", json!({"fields": {"name": "Ada"}}));
    let contact = result(connection.call(&at_mcp(&made).bearer(&writer.text)).await)["id"].clone();
    for kind in kinds {
        let mut id = contact.clone();
        if kind != "contacts" {
            let arguments = json!({"contact_id": contact, "fields": {"name": "Ada's"}});
            let made = with(&format!("{kind}_create"), arguments);
            id = result(connection.call(&at_mcp(&made).bearer(&writer.text)).await)["id"].clone();
        }
        for (verb, arguments) in
            [("get", json!({"id": id})), ("list", json!({})), ("search", json!({"query": "ADA"}))]
        {
            for call in in_both_eras(&with(&format!("{kind}_{verb}"), arguments)) {
                let given = result(connection.call(&call.bearer(&reader.text)).await);
                let record = if verb == "get" { &given } else { &given["data"][0] };
                assert_eq!(record["id"], id, "{kind}_{verb}: {given}");
            }
        }
    }
    daemon.finish().await;
}

/// Ways to write a tool's name that a reader somewhere might take for it.
fn spellings(name: &str) -> Vec<String> {
    vec![
        name.to_uppercase(),
        name.replacen(|_| true, &name[..1].to_uppercase(), 1),
        format!(" {name}"),
        format!("{name} "),
        format!("{name}\n"),
        format!("{name}\t"),
        format!("{name}\0"),
        format!("{name}\0contacts_list"),
        format!("contacts_list\0{name}"),
        format!("{name}\u{200b}"),
        format!("\u{feff}{name}"),
        format!("\u{202e}{name}"),
        name.replace('_', "\u{ff3f}"),
        name.replace('_', "-"),
        name.replace('_', "."),
        name.replace('_', "/"),
        name.replace('_', "__"),
        name.replace('s', "\u{17f}"),
        name.replace('c', "\u{441}"),
        name.replace('e', "\u{435}"),
        name.replace('a', "a\u{301}"),
        format!("/{name}"),
        format!("{name}/"),
        format!("contacts_list/../{name}"),
        format!("contacts_list,{name}"),
        format!("contacts_list;{name}"),
        format!("{name}?"),
        format!("{name}#"),
        format!("\"{name}\""),
        name.replace('_', "%5f"),
        name.replace('_', "*"),
        format!("mcp__shingleai__{name}"),
        format!("shingleai:{name}"),
    ]
}

#[tokio::test]
async fn every_hidden_tool_is_refused_under_every_spelling_and_reaches_nothing() {
    let (url, recorded, task) = recording().await;
    let daemon = Daemon::start_with(Options::of("shingleai", Some(url.leak()))).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = quick_key(&daemon, &workspace, &["contacts:read"]).await;
    let profile: toml::Table = keyward::config::shipped("shingleai").unwrap().parse().unwrap();
    let tools: Vec<_> = profile["rpc"]["tools"].as_table().unwrap().keys().cloned().collect();
    let held: Scope = ("contacts".to_owned(), "read");
    let hidden: Vec<_> = tools.iter().filter(|name| !covers(&held, &scope_of(name))).collect();
    assert_eq!((tools.len(), hidden.len()), (98, 86));
    let mut connection = daemon.connect().await;
    // The control: what it may call arrives, also when it is written in another way that means the same.
    let escaped = |name: &str| {
        let first = name.chars().next().unwrap();
        format!("\\u{:04x}{}", u32::from(first), &name[1..])
    };
    let written = |name: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"t-1","method":"tools/call","params":{{"name":"{name}"}}}}"#)
    };
    for call in in_both_eras(&call_message("contacts_list"))
        .into_iter()
        .chain([raw_at_mcp(written(&escaped("contacts_list")))])
    {
        assert_eq!(connection.call(&call.bearer(&key.text)).await.status, 200);
    }
    assert_eq!(recorded.lock().unwrap().len(), 3);
    let refused = (403, (-32003, HIDDEN.to_owned()));
    for name in hidden {
        for call in in_both_eras(&call_message(name)).into_iter().chain([raw_at_mcp(written(&escaped(name)))])
        {
            let answer = connection.call(&call.bearer(&key.text)).await;
            assert_eq!((answer.status, answer.rpc_error()), refused, "{name}: {answer:?}");
        }
        for spelled in spellings(name) {
            let answer = connection.call(&at_mcp(&call_message(&spelled)).bearer(&key.text)).await;
            assert_eq!((answer.status, answer.rpc_error()), refused, "{spelled:?}: {answer:?}");
        }
        // Two readings, a batch, and a header that says something else.
        let shown = call_message("contacts_list");
        let hiding = call_message(name);
        let pair = |first: &str, second: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{first}:"contacts_list",{second}:"{name}"}}}}"#
            )
        };
        for call in [
            raw_at_mcp(pair("\"name\"", "\"name\"")),
            raw_at_mcp(pair("\"name\"", "\"Name\"")),
            raw_at_mcp(pair("\"name\"", "\"n\\u0061me\"")),
            raw_at_mcp(pair("\"name\"", "\"name\\u0000\"")),
            raw_at_mcp(json!([shown, hiding]).to_string()),
            raw_at_mcp(json!([hiding]).to_string()),
            raw_at_mcp(format!("{shown}{hiding}")),
            at_mcp(&hiding).header("Mcp-Name", "contacts_list"),
            at_mcp(&shown).header("Mcp-Name", name),
            at_mcp(&hiding).header("Mcp-Method", "tools/list"),
            at_mcp(&hiding).header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", "ping"),
        ] {
            let answer = connection.call(&call.bearer(&key.text)).await;
            assert_eq!(answer.status, 400, "{name}: {answer:?}");
            // What cannot be framed may end the connection.
            if answer.header("connection") == Some("close") {
                connection = daemon.connect().await;
            }
        }
        for method in
            ["tools/Call", "TOOLS/CALL", "tools/call ", "tools//call", "tools.call", "tools/call\u{0}"]
        {
            let mut message = call_message(name);
            message["method"] = json!(method);
            let answer = connection.call(&at_mcp(&message).bearer(&key.text)).await;
            assert_eq!(answer.rpc_error().0, -32601, "{method:?}: {answer:?}");
        }
    }
    assert_eq!(recorded.lock().unwrap().len(), 3, "a hidden tool's call went through");
    daemon.finish().await;
    task.abort();
}

/// What a tool of `SocialCRM` asks, by the page of its REST API.
fn social_scopes() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("posts_list", "posts:read"),
        ("posts_get", "posts:read"),
        ("posts_create", "posts:write"),
        ("posts_update", "posts:write"),
        ("posts_delete", "posts:write"),
        ("posts_schedule", "posts:publish"),
        ("posts_publish", "posts:publish"),
        ("posts_analytics", "insights:read"),
        ("media_upload_url", "media:write"),
        ("media_confirm", "media:write"),
        ("ai_rewrite", "ai:generate"),
        ("ai_compose", "ai:generate"),
        ("ai_hashtags", "ai:generate"),
        ("ai_thread", "ai:generate"),
        ("ai_ideas", "ai:generate"),
        ("ai_optimise", "ai:generate"),
        ("accounts_list", "insights:read"),
        ("accounts_analytics", "insights:read"),
        ("persona_get", "insights:read"),
        ("trending_list", "insights:read"),
    ])
}

#[tokio::test]
async fn every_subset_of_socialcrms_scopes_lists_and_calls_exactly_its_tools() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let tools = social_scopes();
    let scopes: Vec<_> = tools.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!((tools.len(), scopes.len()), (20, 6));
    let mut connection = daemon.connect().await;
    for subset in 0..1_u32 << scopes.len() {
        let held: Vec<_> =
            (0..scopes.len()).filter(|bit| subset >> bit & 1 == 1).map(|bit| scopes[bit]).collect();
        let key = quick_key(&daemon, &workspace, &held).await;
        let shown = names(&connection.call(&Call::rpc(&list_message()).bearer(&key.text)).await);
        for (name, scope) in &tools {
            let answer = connection.call(&tool_call(&json!(9), name, &json!({})).bearer(&key.text)).await;
            assert_eq!(shown.contains(*name), held.contains(scope), "{name} with {held:?}");
            let expected = if held.contains(scope) { (200, 0) } else { (403, -32003) };
            assert_eq!((answer.status, answer.rpc_error().0), expected, "{name} with {held:?}");
        }
        assert!(shown.iter().all(|name| tools.contains_key(name.as_str())));
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_hundred_messages_a_minute_then_the_seconds_to_wait_are_told_and_kept() {
    let daemon = Daemon::start_with(Options::of("shingleai", None)).await;
    let workspace = daemon.workspace("enterprise").await;
    let key = daemon.key_for(&workspace, &["contacts:read"]).await;
    let other = daemon.key_for(&workspace, &["contacts:read"]).await;
    let mut connection = daemon.connect().await;
    let mixed = [list_message(), call_message("contacts_list"), call_message("contacts_delete")];
    for number in 0..100 {
        // What is refused for another reason takes its token too.
        let answer = connection.call(&at_mcp(&mixed[number % 3]).bearer(&key.text)).await;
        assert_ne!(answer.rpc_error().0, -32004, "message {number}");
    }
    let refused = json!({"jsonrpc": "2.0", "id": "t-1", "error": {
        "code": -32004, "message": "Rate limit exceeded", "data": {"retryAfter": 1}
    }});
    let call = at_mcp(&call_message("contacts_list")).bearer(&key.text);
    let answer = connection.call(&call).await;
    assert_eq!((answer.status, answer.header("retry-after")), (200, Some("1")), "{answer:?}");
    assert_eq!(answer.json(), refused);
    // A token comes back each 0.6 s, and not a microsecond before.
    daemon.advance_micros(599_999);
    assert_eq!(connection.call(&call).await.json(), refused);
    daemon.advance_micros(1);
    assert_eq!(connection.call(&call).await.json()["result"]["isError"], false);
    assert_eq!(connection.call(&call).await.json(), refused);
    daemon.advance_secs(1);
    assert_eq!(connection.call(&call).await.json()["result"]["isError"], false);
    assert_eq!(
        connection.call(&at_mcp(&call_message("contacts_list")).bearer(&other.text)).await.rpc_error().0,
        0
    );
    daemon.finish().await;
}

const THREE_PRODUCTS: &str = r#"
data_dir = "DIR/data"
[admin]
listen = "127.0.0.1:0"
[[profile]]
name = "socialcrm"
upstream = "sandbox"
[[profile]]
name = "mcp-cloud"
upstream = "sandbox"
[[profile]]
name = "shingleai"
upstream = "sandbox"
[[listener]]
listen = "127.0.0.1:0"
profiles = ["socialcrm"]
[[listener]]
listen = "127.0.0.1:0"
profiles = ["mcp-cloud"]
[[listener]]
listen = "127.0.0.1:0"
profiles = ["shingleai"]
"#;

#[tokio::test]
async fn a_key_of_one_product_is_no_key_of_another() {
    let served = Served::start(THREE_PRODUCTS, |_| {}).await;
    let mut keys = Vec::new();
    for (product, tag) in [("socialcrm", "sk_live_"), ("mcp-cloud", "mcp_sk_"), ("shingleai", "mcp_live_")] {
        let wanted = json!({"name": "Acme", "profile": product, "plan": "enterprise"});
        let made = served.admin("POST /api/v1/workspaces", &wanted).await;
        let key = made["default_key"]["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with(tag), "{product}");
        keys.push((product, key));
    }
    let doors = [
        ("socialcrm", Call::rpc(&list_message())),
        ("socialcrm", Call::get("/v1/posts")),
        ("mcp-cloud", Call::get("/v1/models")),
        ("shingleai", at_mcp(&list_message())),
    ];
    for (door, call) in doors {
        let address = served.running.surfaces()[door].tcp().unwrap();
        for (product, key) in &keys {
            let answer = call_once(address, &call.clone().bearer(key)).await;
            let expected = if *product == door { 200 } else { 401 };
            assert_eq!(answer.status, expected, "a key of {product} at {door}");
        }
    }
    drop(served.stop().await);
}
