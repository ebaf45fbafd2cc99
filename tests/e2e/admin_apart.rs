//! The admin API is apart: another listener, another brand of key, its own host names, and no word of it on
//! the data listener.
//!
//! Never here: what an admin may send.

use serde_json::json;

use crate::admin_input::check_problem;
use crate::daemon::{Daemon, Hidden};
use crate::wire::{Call, Connection, call_once};

/// Every admin route, each with a body that would do something.
fn routes(workspace: &str, key: &str) -> Vec<Call> {
    vec![
        Call::post(
            "/api/v1/workspaces",
            &json!({"name": "Evil", "profile": "socialcrm", "plan": "enterprise"}),
        ),
        Call::get("/api/v1/workspaces"),
        Call::get(&format!("/api/v1/workspaces/{workspace}")),
        Call::new("PATCH", &format!("/api/v1/workspaces/{workspace}")).json(&json!({"plan": "enterprise"})),
        Call::get(&format!("/api/v1/workspaces/{workspace}/meters")),
        Call::post("/api/v1/keys", &json!({"workspace_id": workspace, "permissions": ["*:*"]})),
        Call::get("/api/v1/keys"),
        Call::post("/api/v1/keys/import", &json!({"keys": [{"key": "x"}]})),
        Call::get(&format!("/api/v1/keys/{key}")),
        Call::get(&format!("/api/v1/keys/{key}/usage")),
        Call::new("PATCH", &format!("/api/v1/keys/{key}")).json(&json!({"permissions": ["*:*"]})),
        Call::post(&format!("/api/v1/keys/{key}/rotate"), &json!({"overlap_s": 0})),
        Call::post(&format!("/api/v1/keys/{key}/explain"), &json!({})),
        Call::post(&format!("/api/v1/keys/{key}/revoke"), &json!({})),
        Call::new("DELETE", &format!("/api/v1/workspaces/{workspace}")),
        Call::get("/api/v1/audit"),
        Call::get("/api/v1/audit/verify"),
        Call::post("/api/v1/install-secret/rotate", &json!({})),
        Call::post("/api/v1/verify", &json!({"key": "x"})),
        Call::get("/api/v1/clock"),
        Call::post("/api/v1/clock/confirm", &json!({})),
        Call::post("/mcp", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
        Call::get("/api/v1/nope"),
    ]
}

#[tokio::test]
async fn every_admin_route_has_a_handler_and_is_named_in_this_file() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = daemon.key_for(&workspace, &["posts:read"]).await;
    let profile = keyward::config::system_profile();
    let declared = profile.rest.as_ref().unwrap().routes.iter().count();
    let named = routes(&workspace.id, &key.id).into_iter().filter(|call| !call.target.ends_with("/nope"));
    assert_eq!(named.clone().count(), declared);
    for call in named {
        let told = format!("{} {}", call.method, call.target);
        let answer = daemon.admin(call).await;
        assert!((200..300).contains(&answer.status), "{told}: {}", answer.status);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn an_admin_key_that_is_revoked_while_its_body_is_awaited_makes_nothing() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let fields = json!({"workspace_id": "ws_00000000000000000000000001", "permissions": ["*:*"]});
    let thief = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    let text = thief["key"].as_str().unwrap();
    let call = Call::post("/api/v1/keys", &json!({"workspace_id": workspace.id})).bearer(text);
    let bytes = call.bytes(daemon.admin_address());
    let mut connection = Connection::open(daemon.admin_address()).await.unwrap();
    connection.send(&bytes[..bytes.len() - 5]).await;
    // Whether the revoke overtakes the half-sent request or not, its key does nothing after the revoke was
    // acknowledged.
    let revoke = format!("/api/v1/keys/{}/revoke", thief["id"].as_str().unwrap());
    daemon.admin_json(Call::post(&revoke, &json!({}))).await;
    connection.send(&bytes[bytes.len() - 5..]).await;
    assert_eq!(connection.answer_to("POST").await.status, 401);
    drop(connection);
    daemon.finish().await;
}

#[tokio::test]
async fn a_lesser_admin_key_cannot_revoke_a_greater_one() {
    let daemon = Daemon::start().await;
    let fields =
        json!({"workspace_id": "ws_00000000000000000000000001", "permissions": ["keys:write", "keys:read"]});
    let lesser = daemon.admin_json(Call::post("/api/v1/keys", &fields)).await;
    let listed = Call::get("/api/v1/keys?workspace_id=ws_00000000000000000000000001");
    let listed = daemon.admin_json(listed).await;
    let keys = listed["data"].as_array().unwrap();
    let greater = keys.iter().find(|key| key["id"] != lesser["id"]).unwrap()["id"].as_str().unwrap();
    let call = Call::post(&format!("/api/v1/keys/{greater}/revoke"), &json!({}));
    let answer = daemon.admin_bare(&call.bearer(lesser["key"].as_str().unwrap())).await;
    check_problem("a lesser key", &answer, 400, "as far as its own permissions go");
    daemon.admin_json(Call::get("/api/v1/audit")).await;
    daemon.finish().await;
}

#[tokio::test]
async fn no_admin_route_opens_without_an_admin_key_and_none_tells_what_is_there() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = &workspace.default_key;
    let strangers = [
        ("nobody", None, "An admin key is needed"),
        ("a data key", Some(key.text.clone()), "not valid"),
        ("nonsense", Some(Hidden("kwadm_nonsense".to_owned())), "not valid"),
        ("another brand's form", Some(Hidden(format!("sk_live_{}", &daemon.admin_key()[6..]))), "not valid"),
        ("nearly the key", Some(Hidden(format!("{}0", daemon.admin_key()))), "not valid"),
    ];
    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    for (told, text, said) in strangers {
        let mut bodies = Vec::new();
        for call in routes(&workspace.id, &key.id) {
            let call = match &text {
                Some(text) => call.bearer(text),
                None => call,
            };
            let answer = daemon.admin_bare(&call).await;
            check_problem(told, &answer, 401, said);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"keyward\""), "{told}");
            bodies.push(answer.text());
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{told} learns what exists");
    }
    // X-API-Key is the data listener's.
    let other_header =
        daemon.admin_bare(&Call::get("/api/v1/keys").header("X-API-Key", daemon.admin_key())).await;
    assert_eq!(other_header.status, 401);
    let two = daemon.admin(Call::get("/api/v1/keys").bearer(&key.text)).await;
    check_problem("two credentials", &two, 400, "one");
    assert_eq!(daemon.admin_json(Call::get("/api/v1/audit")).await, audit, "a stranger changed something");
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn the_data_listener_knows_nothing_of_the_admin_api() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("pro").await;
    let key = &workspace.default_key;
    daemon.is_well(key).await;
    let open = ["/livez", "/readyz", "/metrics", "/.well-known/jwks.json", "/debug", "/version", "/health"]
        .map(Call::get);
    for call in routes(&workspace.id, &key.id).into_iter().chain(open) {
        let nobody = daemon.call(&call).await;
        let with_admin_key = daemon.call(&call.clone().bearer(daemon.admin_key())).await;
        let with_data_key = daemon.call(&call.bearer(&key.text)).await;
        assert_eq!(
            (nobody.status, with_admin_key.status, with_data_key.status),
            (401, 401, 404),
            "{with_data_key:?}"
        );
        let unknown = daemon.call(&Call::get("/v1/nope").bearer(&key.text)).await;
        assert_eq!(with_data_key.body, unknown.body);
    }
    for path in ["/v1/../api/v1/keys", "/v1/%2e%2e/api/v1/keys", "//api/v1/keys", "/v1/..%2fapi/v1/keys"] {
        assert_eq!(daemon.call(&Call::get(path).bearer(daemon.admin_key())).await.status, 400, "{path}");
    }
    daemon.is_well(key).await;
    daemon.finish().await;
}

#[tokio::test]
async fn the_admin_listener_serves_no_product() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("pro").await.default_key;
    for path in ["/v1/posts", "/api/mcp-app", "/mcp.json"] {
        assert_eq!(daemon.admin_bare(&Call::get(path).bearer(&key.text)).await.status, 401, "{path}");
        assert_eq!(daemon.admin(Call::get(path)).await.status, 404, "{path}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn health_and_metrics_need_no_key_and_show_none() {
    let daemon = Daemon::start().await;
    let key = daemon.workspace("pro").await.default_key;
    daemon.is_well(&key).await;
    for path in ["/livez", "/readyz"] {
        let answer = daemon.admin_bare(&Call::get(path)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let metrics = daemon.admin_bare(&Call::get("/metrics")).await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(text.contains(r#"keyward_verify_total{surface="rest",outcome="valid"} 1"#), "{text}");
    for name in ["keyward_slow_hashes_total", "keyward_checkpoint_age_seconds"] {
        assert!(text.contains(name), "{name} is missing");
    }
    assert!(!text.contains(&key.id) && !text.contains(&key.text[8..16]), "a key is a label");
    daemon.finish().await;
}

#[tokio::test]
async fn a_web_page_cannot_reach_the_admin_api_under_a_name_of_its_own() {
    let daemon = Daemon::start().await;
    let port = daemon.admin_address().port();
    for host in [
        "attacker.example",
        "attacker.example:80",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "0.0.0.0",
        "[::2]",
    ] {
        for path in ["/api/v1/keys", "/livez", "/metrics"] {
            let answer = daemon.admin(Call::get(path).header("Host", host)).await;
            assert_eq!(answer.status, 403, "{host} {path}: {answer:?}");
        }
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "localhost".to_owned(),
        "LOCALHOST".to_owned(),
    ] {
        let answer = daemon.admin(Call::get("/api/v1/keys").header("Host", &host)).await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    for origin in ["http://attacker.example", "null", "http://127.0.0.1.attacker.example"] {
        let answer = daemon.admin(Call::get("/api/v1/keys").header("Origin", origin)).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn o10_an_admin_key_gives_no_more_than_it_holds() {
    let daemon = Daemon::start().await;
    let customers = daemon.workspace("pro").await;
    // The first row of the audit log is the making of the admin keys' own workspace.
    let audit = daemon.admin_json(Call::get("/api/v1/audit")).await;
    let own = audit["data"][0]["subject"].as_str().unwrap().to_owned();
    let make = |permissions: &[&str]| {
        Call::post("/api/v1/keys", &json!({"workspace_id": own, "permissions": permissions}))
    };
    let clerk = daemon.admin_json(make(&["keys:read", "keys:write"])).await;
    let clerk_key = Hidden(clerk["key"].as_str().unwrap().to_owned());
    let as_clerk = async |call: Call| call_once(daemon.admin_address(), &call.bearer(&clerk_key)).await;
    let customer_key = json!({"workspace_id": customers.id, "permissions": ["*:*"]});
    assert_eq!(as_clerk(Call::post("/api/v1/keys", &customer_key)).await.status, 201);
    let reader = as_clerk(make(&["keys:read"])).await;
    assert_eq!(reader.status, 201);
    let path = |key: &serde_json::Value| format!("/api/v1/keys/{}", key["id"].as_str().unwrap());
    for permissions in [&["*:*"][..], &["keys:read", "audit:read"], &["*:read"], &["workspaces:write"]] {
        let answer = as_clerk(make(permissions)).await;
        assert!(matches!(answer.status, 400 | 403), "{permissions:?}: {answer:?}");
        let widening = Call::new("PATCH", &path(&reader.json())).json(&json!({"permissions": permissions}));
        let answer = as_clerk(widening).await;
        assert!(matches!(answer.status, 400 | 403), "{permissions:?}: {answer:?}");
    }
    for fields in [
        json!({"permissions": []}),
        json!({"expires_at": "2001-01-01T00:00:00Z"}),
        json!({"ip_allow": ["203.0.113.1"]}),
        json!({"rate": {"limit": 0, "window_s": 1}}),
    ] {
        let answer = as_clerk(Call::new("PATCH", &path(&clerk)).json(&fields)).await;
        check_problem("locking oneself out", &answer, 409, "use another one");
    }
    let renamed = as_clerk(Call::new("PATCH", &path(&clerk)).json(&json!({"name": "clerk"}))).await;
    assert_eq!(renamed.status, 200);
    for call in [
        Call::get("/api/v1/workspaces"),
        Call::post("/api/v1/workspaces", &json!({"name": "x", "profile": "socialcrm", "plan": "pro"})),
        Call::get("/api/v1/audit"),
        Call::post("/api/v1/verify", &json!({"key": &*customers.default_key.text})),
    ] {
        check_problem("beyond its permissions", &as_clerk(call).await, 403, "");
    }
    // A revoked admin key is no key.
    let path = format!("/api/v1/keys/{}/revoke", clerk["id"].as_str().unwrap());
    daemon.admin_json(Call::post(&path, &json!({}))).await;
    assert_eq!(as_clerk(Call::get("/api/v1/keys")).await.status, 401);
    daemon.finish().await;
}
