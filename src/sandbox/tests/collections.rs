//! Collections that have no rules of their own: MCP-Cloud's contexts, and whatever a user's profile names.
//!
//! Never here: a credential; the gate has decided before.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{NOON, Play};
use crate::dialect::Envelope;
use crate::sandbox::{RestShape, SandboxProduct};

#[tokio::test]
async fn a_context_is_made_read_replaced_merged_and_deleted() {
    let mut play = Play::start().await;
    let made = play.rest("POST", "/v1/contexts", r#"{"name":"notes","items":[1,{"a":null}]}"#).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("context_"), "{id}");
    let whole = |fields: &str, updated: &str| {
        format!(
            "{{\"id\":\"{id}\",{fields}\"created_at\":\"2026-01-01T12:00:00.000Z\",\
             \"updated_at\":\"2026-01-01T12:00:{updated}.000Z\"}}"
        )
    };
    assert_eq!((made.status, made.body), (201, whole(r#""name":"notes","items":[1,{"a":null}],"#, "00")));
    let path = format!("/v1/contexts/{id}");
    let read = play.rest("GET", &path, "").await;
    assert_eq!(read.json()["name"], "notes");
    assert_eq!(play.rest("GET", "/v1/contexts", "").await.body, format!("{{\"data\":[{}]}}", read.body));

    play.seconds.store(NOON + 5, Ordering::Relaxed);
    let replaced = play.rest("PUT", &path, r#"{"text":"new"}"#).await;
    assert_eq!((replaced.status, replaced.body), (200, whole(r#""text":"new","#, "05")));
    let merged = play.rest("PATCH", &path, r#"{"text":null,"more":{"x":1,"y":null}}"#).await;
    assert_eq!((merged.status, merged.body.clone()), (200, whole(r#""more":{"x":1},"#, "05")));
    // What was read can be sent back whole.
    assert_eq!(play.rest("PUT", &path, &merged.body).await.body, merged.body);

    assert_eq!(play.rest("DELETE", &path, "").await.status, 204);
    for (method, body) in [("GET", ""), ("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
        assert_eq!(play.rest(method, &path, body).await.refusal().1, "not_found", "{method}");
    }
}

#[tokio::test]
async fn any_collection_works_the_same_way_and_stands_for_itself_in_each_workspace() {
    let mut play = Play::start().await;
    let made = play.rest("POST", "/v1/Order-Items", r#"{"price":12.5}"#).await.json();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("order_item_"), "{id}");
    let path = format!("/v1/Order-Items/{id}");
    assert_eq!(play.rest("GET", &path, "").await.json(), made);
    assert_eq!(play.rest_of(2, "GET", &path, "").await.status, 404);
    for method in ["PUT", "PATCH"] {
        assert_eq!(play.rest_of(2, method, &path, r#"{"a":1}"#).await.status, 404);
    }
    assert_eq!(play.rest_of(2, "DELETE", &path, "").await.status, 404);
    for other in ["/v1/orders", "/v1/order-items", "/v1/contexts"] {
        assert_eq!(play.rest("GET", other, "").await.body, r#"{"data":[]}"#, "{other}");
    }
    let mut play = play.restart().await;
    assert_eq!(play.rest("GET", &path, "").await.json(), made);
}

#[tokio::test]
async fn a_products_base_may_be_the_root() {
    let play = Play::start().await;
    let rest = Some(RestShape { base: "/".to_owned(), envelope: Envelope::Error });
    let sandbox = play.sandbox.behind(SandboxProduct { rest, ..SandboxProduct::default() });
    let mut play = Play { sandbox, ..play }.reconnected().await;
    let made = play.rest("POST", "/things", "{}").await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(play.rest("GET", "/things", "").await.body, format!("{{\"data\":[{}]}}", made.body));
    let wanted = r#"{"filename":"a.png","content_type":"image/png"}"#;
    let invited = play.rest("POST", "/media/upload-url", wanted).await.json();
    assert!(
        invited["data"]["upload_url"].as_str().unwrap().starts_with("http://upstream/media/"),
        "{invited}"
    );
}

#[tokio::test]
async fn a_collection_is_listed_page_by_page() {
    let mut play = Play::start().await;
    for number in 0..23 {
        play.rest("POST", "/v1/things", &json!({"number": number}).to_string()).await;
    }
    let mut numbers = async |query: &str| {
        let list = play.rest("GET", &format!("/v1/things{query}"), "").await.json();
        list["data"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("").await, (3..23).rev().collect::<Vec<_>>());
    assert_eq!(numbers("?limit=2&offset=20").await, [2, 1]);
    assert_eq!(play.rest("GET", "/v1/things?limit=51", "").await.status, 400);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_name_and_changes_nothing() {
    let mut play = Play::start().await;
    let made = play.rest("POST", "/v1/contexts", r#"{"a":1}"#).await;
    let path = format!("/v1/contexts/{}", made.json()["id"].as_str().unwrap());
    let large = json!({"text": "x".repeat(64 << 10)}).to_string();
    let half = json!({"text": "x".repeat(40 << 10)}).to_string();
    for (method, path, body, said) in [
        ("POST", "/v1/contexts", "[]", "JSON object"),
        ("POST", "/v1/contexts", r#"{"a":1,"a":2}"#, "\"a\" is given twice"),
        ("POST", "/v1/contexts", r#"{"id":"mine"}"#, "id is set by the sandbox"),
        ("POST", "/v1/contexts", r#"{"created_at":"now"}"#, "created_at is set"),
        ("POST", "/v1/contexts", large.as_str(), "at most 65536 bytes"),
        ("PUT", path.as_str(), large.as_str(), "at most 65536 bytes"),
        ("PUT", path.as_str(), r#"{"id":"other"}"#, "id must be that of the record"),
        ("PATCH", path.as_str(), large.as_str(), "at most 65536 bytes"),
        ("PATCH", path.as_str(), "1", "JSON object"),
    ] {
        let (status, code, message) = play.rest(method, path, body).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{method} {body:.40}");
        assert!(message.contains(said), "{method} {body:.40}: {message}");
    }
    assert_eq!(play.rest("GET", &path, "").await.body, made.body);
    // Two halves that fit do not fit together.
    assert_eq!(play.rest("PATCH", &path, &half).await.status, 200);
    let second = json!({"more": "x".repeat(40 << 10)}).to_string();
    assert!(play.rest("PATCH", &path, &second).await.refusal().2.contains("this has"));
    assert!(play.rest("GET", &path, "").await.json().get("more").is_none());
}

#[tokio::test]
async fn a_workspace_has_so_many_collections_and_no_more() {
    let mut play = Play::start().await;
    let mut last = String::new();
    for number in 0..100 {
        let made = play.rest("POST", &format!("/v1/kind{number}"), "{}").await;
        assert_eq!(made.status, 201, "{number}");
        last = format!("/v1/kind{number}/{}", made.json()["id"].as_str().unwrap());
    }
    assert_eq!(play.rest("POST", "/v1/another", "{}").await.refusal().1, "invalid_request");
    assert_eq!(play.rest("POST", "/v1/kind7", "{}").await.status, 201, "one more in one that is there");
    assert_eq!(play.rest_of(2, "POST", "/v1/another", "{}").await.status, 201);
    play.rest("DELETE", &last, "").await;
    assert_eq!(play.rest("POST", "/v1/another", "{}").await.status, 201, "an emptied one makes room");
}

#[tokio::test]
async fn other_shapes_are_not_built_and_other_methods_not_allowed() {
    let mut play = Play::start().await;
    for path in ["/v1/orders/1/items", "/v1/orders/", "/v1/", "/v1/1orders", "/v1/a.b", "/v1/own.contexts/x"]
    {
        assert_eq!(play.rest("GET", path, "").await.refusal().0, 501, "{path}");
    }
    let post = play.rest("POST", "/v1/orders/1", "{}").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, PUT, PATCH, DELETE"));
    let put = play.rest("PUT", "/v1/orders", "{}").await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, POST"));
}
