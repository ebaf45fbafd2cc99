//! The tools that keep records, as they follow from the names that a profile gives them.
//!
//! Never here: a credential; the gate has decided before.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::schema::fits;
use super::{NOON, Play, connect};
use crate::dialect::Envelope;
use crate::sandbox::{RestShape, SandboxProduct};

const ENDPOINT: &str = "/mcp";

/// A library whose tools are these.
async fn library(tools: &[&str]) -> Play {
    let play = Play::start().await;
    let sandbox = play.sandbox.behind(SandboxProduct {
        endpoint: Some(ENDPOINT.to_owned()),
        tools: tools.iter().map(|name| (*name).to_owned()).collect(),
        sse: None,
        rest: Some(RestShape { base: "/v1".to_owned(), envelope: Envelope::Error }),
    });
    Play { connection: connect(&sandbox).await, sandbox, ..play }
}

const ALL: [&str; 21] = [
    "books_list",
    "books_get",
    "books_search",
    "books_create",
    "books_update",
    "books_delete",
    "books_pages_list",
    "books_pages_get",
    "books_pages_search",
    "books_pages_create",
    "books_pages_update",
    "books_pages_delete",
    "books_pages_notes_list",
    "books_pages_notes_create",
    "resources_list",
    "resources_get",
    "shelves_list",
    "shelves_create",
    "shelves_delete",
    "shelves_burn",
    "reindex",
];

impl Play {
    async fn kept(&mut self, name: &str, arguments: Value) -> Value {
        self.tool_of(1, ENDPOINT, name, arguments).await
    }

    /// What a tool gives that does well.
    async fn gives(&mut self, name: &str, arguments: Value) -> Value {
        let result = self.kept(name, arguments.clone()).await;
        assert_eq!(result["isError"], false, "{name} {arguments}: {result}");
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"], "{name}");
        text
    }

    /// What a tool says that refuses.
    async fn refuses(&mut self, name: &str, arguments: Value) -> String {
        let result = self.kept(name, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{name} {arguments}: {result}");
        assert!(result.get("structuredContent").is_none());
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    async fn made(&mut self, name: &str, arguments: Value) -> String {
        self.gives(name, arguments).await["id"].as_str().unwrap().to_owned()
    }

    /// The titles of what a tool lists.
    async fn titles(&mut self, name: &str, arguments: Value) -> Vec<String> {
        let given = self.gives(name, arguments).await;
        let data = given["data"].as_array().unwrap().clone();
        data.iter().map(|record| record["title"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn exactly_the_tools_of_the_profile_are_listed_each_by_its_verb() {
    let mut play = library(&ALL).await;
    let tools = play.listed(ENDPOINT).await;
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ALL);
    for tool in &tools {
        let name = tool["name"].as_str().unwrap();
        if name == "reindex" || name == "shelves_burn" {
            assert_eq!(tool["description"], "The sandbox does not have this tool.", "{name}");
            assert!(tool.get("annotations").is_none(), "{name}");
            continue;
        }
        let (_, verb) = name.rsplit_once('_').unwrap();
        let (reads, deletes, repeats) = match verb {
            "list" | "get" | "search" => (true, false, true),
            "create" => (false, false, false),
            "update" => (false, false, true),
            "delete" => (false, true, true),
            other => panic!("{other}"),
        };
        let expected = json!({
            "readOnlyHint": reads, "destructiveHint": deletes, "idempotentHint": repeats, "openWorldHint": false
        });
        assert_eq!(tool["annotations"], expected, "{name}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
    }
    let of = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    assert_eq!(of("books_pages_create")["title"], "Create one book page");
    assert_eq!(of("books_pages_create")["inputSchema"]["required"], json!(["book_id", "fields"]));
    assert_eq!(of("shelves_list")["title"], "List shelves");
    assert!(of("books_delete")["description"].as_str().unwrap().ends_with("with all that hangs on it."));
}

#[tokio::test]
async fn records_are_made_found_changed_and_deleted_and_fit_their_schemas() {
    let mut play = library(&ALL).await;
    let tools = play.listed(ENDPOINT).await;
    let book = play
        .made("books_create", json!({"fields": {"title": "Emma", "tags": ["old", {"x": "Ünder"}]}}))
        .await;
    assert!(book.starts_with("book_"), "{book}");
    play.seconds.store(NOON + 5, Ordering::Relaxed);
    let page = play
        .made("books_pages_create", json!({"book_id": book, "fields": {"title": "One", "n": 1812}}))
        .await;
    assert!(page.starts_with("page_"), "{page}");
    let cases = [
        ("books_list", json!({"limit": 3, "offset": 0})),
        ("books_get", json!({"id": book})),
        ("books_search", json!({"query": "emm"})),
        ("books_update", json!({"id": book, "fields": {"title": "Emma", "tags": null, "year": 1815}})),
        ("books_pages_list", json!({"book_id": book})),
        ("books_pages_get", json!({"id": page})),
        ("books_pages_search", json!({"query": "181", "book_id": book})),
        ("books_pages_update", json!({"id": page, "fields": {"n": 2, "book_id": book}})),
        ("books_pages_create", json!({"book_id": book, "fields": {}})),
        ("books_pages_delete", json!({"id": page})),
        ("resources_list", json!({})),
        ("resources_get", json!({"id": "books.pages"})),
        ("books_delete", json!({"id": book})),
    ];
    for (name, arguments) in cases {
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        fits(&arguments, &tool["inputSchema"]).unwrap_or_else(|why| panic!("{name}: {why}"));
        let given = play.gives(name, arguments).await;
        fits(&given, &tool["outputSchema"]).unwrap_or_else(|why| panic!("{name}: {why} in {given}"));
        if name == "books_update" {
            assert_eq!((&given["year"], given.get("tags")), (&json!(1815), None));
            let times = ["2026-01-01T12:00:00.000Z", "2026-01-01T12:00:05.000Z"];
            assert_eq!([&given["created_at"], &given["updated_at"]], times);
        }
    }
    assert_eq!(play.gives("books_list", json!({})).await, json!({"data": []}));
}

#[tokio::test]
async fn a_search_finds_what_a_field_holds_in_any_letter_case_newest_first() {
    let mut play = library(&ALL).await;
    for (title, more) in
        [("Emma", json!(["Hartfield"])), ("Ärger", json!({"a": {"b": 42}})), ("ema", json!(null))]
    {
        play.made("books_create", json!({"fields": {"title": title, "more": more}})).await;
    }
    for (query, found) in [
        ("EM", vec!["ema", "Emma"]),
        ("hartFIELD", vec!["Emma"]),
        ("ÄR", vec!["Ärger"]),
        ("42", vec!["Ärger"]),
        ("2026", vec![]),
        ("book_", vec![]),
        ("title", vec![]),
    ] {
        assert_eq!(play.titles("books_search", json!({"query": query})).await, found, "{query}");
    }
    assert_eq!(play.titles("books_search", json!({"query": "em", "limit": 1, "offset": 1})).await, ["Emma"]);
}

#[tokio::test]
async fn a_child_hangs_on_one_parent_and_goes_with_it_to_the_last() {
    let mut play = library(&ALL).await;
    let first = play.made("books_create", json!({"fields": {"title": "First"}})).await;
    let second = play.made("books_create", json!({"fields": {"title": "Second"}})).await;
    let mut pages = Vec::new();
    for (book, title) in [(&first, "a"), (&second, "b"), (&first, "c")] {
        pages.push(
            play.made("books_pages_create", json!({"book_id": book, "fields": {"title": title}})).await,
        );
    }
    for (page, title) in [(&pages[0], "on a"), (&pages[1], "on b"), (&pages[2], "on c"), (&pages[2], "too")] {
        play.made("books_pages_notes_create", json!({"page_id": page, "fields": {"title": title}})).await;
    }
    assert_eq!(play.titles("books_pages_list", json!({})).await, ["c", "b", "a"]);
    assert_eq!(play.titles("books_pages_list", json!({"book_id": first})).await, ["c", "a"]);
    assert_eq!(play.titles("books_pages_list", json!({"book_id": first, "offset": 1})).await, ["a"]);
    assert_eq!(play.titles("books_pages_list", json!({"book_id": "book_1"})).await, [""; 0]);
    assert_eq!(play.titles("books_pages_search", json!({"book_id": second, "query": "a"})).await, [""; 0]);
    let count = async |play: &mut Play, id: &str| {
        play.gives("resources_get", json!({"id": id})).await["count"].clone()
    };
    assert_eq!(count(&mut play, "books.pages.notes").await, 4);

    // It is made nowhere else and moves nowhere.
    for parent in [json!("book_1"), json!(pages[0]), json!(format!("book_{}", "0".repeat(32)))] {
        let said = play.refuses("books_pages_create", json!({"book_id": parent, "fields": {}})).await;
        assert_eq!(said, "book_id must be the id of a record that is there.", "{parent}");
    }
    let moved = json!({"id": pages[0], "fields": {"book_id": second}});
    assert!(play.refuses("books_pages_update", moved).await.starts_with("book_id must be the one"));
    let freed = json!({"id": pages[0], "fields": {"book_id": null}});
    assert!(play.refuses("books_pages_update", freed).await.starts_with("book_id must be the one"));

    let gone = play.gives("books_delete", json!({"id": first})).await;
    assert_eq!(gone, json!({"id": first, "deleted": true, "children_deleted": 5}));
    assert_eq!(play.titles("books_list", json!({})).await, ["Second"]);
    assert_eq!(play.titles("books_pages_list", json!({})).await, ["b"]);
    assert_eq!(play.titles("books_pages_notes_list", json!({})).await, ["on b"]);
    assert_eq!(count(&mut play, "books.pages.notes").await, 1);
    assert_eq!(play.refuses("books_pages_get", json!({"id": pages[0]})).await, "No record with this id.");
    assert_eq!(play.refuses("books_delete", json!({"id": first})).await, "No record with this id.");

    // REST has the same books, and what it deletes takes its pages along.
    let shown = play.rest("GET", &format!("/v1/books/{second}"), "").await;
    assert_eq!((shown.status, &shown.json()["title"]), (200, &json!("Second")));
    assert_eq!(play.rest("DELETE", &format!("/v1/books/{second}"), "").await.status, 204);
    assert_eq!(count(&mut play, "books.pages").await, 0);
    assert_eq!(count(&mut play, "books.pages.notes").await, 0);
}

#[tokio::test]
async fn resources_are_the_kinds_and_how_many_there_are_of_each() {
    let mut play = library(&ALL).await;
    let book = play.made("books_create", json!({"fields": {}})).await;
    play.made("books_pages_create", json!({"book_id": book, "fields": {}})).await;
    let listed = play.gives("resources_list", json!({})).await;
    let kinds = json!([
        {"id": "books", "count": 1},
        {"id": "books.pages", "parent": "books", "count": 1},
        {"id": "books.pages.notes", "parent": "books.pages", "count": 0},
        {"id": "shelves", "count": 0}
    ]);
    assert_eq!(listed["data"], kinds);
    assert_eq!(
        play.gives("resources_list", json!({"limit": 1, "offset": 3})).await["data"],
        json!([kinds[3]])
    );
    assert_eq!(play.gives("resources_get", json!({"id": "books.pages"})).await, kinds[1]);
    assert_eq!(
        play.refuses("resources_get", json!({"id": "posts"})).await,
        "No kind of things with this id."
    );
    // Another workspace has its own.
    let other = play.tool_of(2, ENDPOINT, "resources_get", json!({"id": "books"})).await;
    assert_eq!(other["structuredContent"]["count"], 0);
    let other = play.tool_of(2, ENDPOINT, "books_get", json!({"id": book})).await;
    assert_eq!(other["isError"], true);
}

#[tokio::test]
async fn wrong_arguments_are_told_in_words_and_change_nothing() {
    let mut play = library(&ALL).await;
    let book = play.made("books_create", json!({"fields": {"title": "Emma"}})).await;
    let page = play.made("books_pages_create", json!({"book_id": book, "fields": {"title": "One"}})).await;
    let long = "x".repeat(201);
    for (name, arguments, said) in [
        ("books_list", json!({"limit": 51}), "limit must"),
        ("books_list", json!({"book_id": "x"}), "\"book_id\""),
        ("books_get", json!({}), "id must"),
        ("books_get", json!({"id": 7}), "id must"),
        ("books_get", json!({"id": page}), "No record"),
        ("books_get", json!({"id": book, "fields": {}}), "\"fields\""),
        ("books_search", json!({}), "query must"),
        ("books_search", json!({"query": " "}), "query must"),
        ("books_search", json!({"query": long}), "query must"),
        ("books_create", json!({}), "fields must"),
        ("books_create", json!({"fields": []}), "fields must"),
        ("books_create", json!({"fields": null}), "fields must"),
        ("books_create", json!({"title": "x"}), "\"title\""),
        ("books_create", json!({"fields": {"id": "x"}}), "id is set"),
        ("books_create", json!({"fields": {"created_at": "x"}}), "created_at is set"),
        ("books_create", json!({"fields": {"x": "y".repeat(65 << 10)}}), "65536"),
        ("books_update", json!({"id": book}), "fields must"),
        ("books_update", json!({"fields": {}}), "id must"),
        ("books_update", json!({"id": book, "fields": {"id": page}}), "id must be that of the record"),
        ("books_pages_list", json!({"book_id": 7}), "book_id must"),
        ("books_pages_create", json!({"fields": {}}), "book_id must"),
        ("books_pages_create", json!({"book_id": book, "fields": {"book_id": book}}), "beside fields"),
        ("books_delete", json!({"id": book, "all": true}), "\"all\""),
        ("resources_list", json!({"id": "books"}), "\"id\""),
    ] {
        let told = play.refuses(name, arguments.clone()).await;
        assert!(told.contains(said), "{name} {arguments}: {told}");
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"books_update","arguments":
        {"id":"ID","fields":{"title":"A","title":"B"}}}}"#;
    let seen = play.rpc_of(1, ENDPOINT, "", &twice.replace("ID", &book)).await.json();
    assert_eq!(seen["result"]["isError"], true, "{seen}");
    assert!(seen["result"]["content"][0]["text"].as_str().unwrap().contains("\"title\" is given twice"));
    assert_eq!(play.titles("books_list", json!({})).await, ["Emma"]);
    assert_eq!(play.titles("books_pages_list", json!({})).await, ["One"]);
}

#[tokio::test]
async fn a_tool_that_nobody_built_says_so_and_one_that_nobody_names_is_unknown() {
    let mut play = library(&ALL).await;
    let call = |name: &str| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}).to_string()
    };
    for (version, status) in [("2025-11-25", 200), ("2026-07-28", 404)] {
        for name in ["shelves_burn", "reindex"] {
            let seen = play.rpc_of(1, ENDPOINT, version, &call(name)).await;
            assert_eq!((seen.status, &seen.json()["error"]["code"]), (status, &json!(-32601)), "{name}");
            assert_eq!(seen.json()["error"]["message"], "The sandbox does not have this tool.");
        }
    }
    for name in ["shelves_get", "books", "posts_list", "Books_list", "books_list ", ""] {
        let seen = play.rpc_of(1, ENDPOINT, "", &call(name)).await;
        assert_eq!((seen.status, &seen.json()["error"]["code"]), (200, &json!(-32602)), "{name}");
    }
    assert_eq!(play.kept("books_list", json!({})).await["isError"], false);
}

#[tokio::test]
async fn what_a_profile_adds_to_the_tools_with_rules_of_their_own_is_kept_too() {
    let mut play = library(&["posts_list", "books_create", "books_list"]).await;
    let names: Vec<_> = play.listed("/api/mcp-app").await.iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names.len(), 22, "{names:?}");
    assert_eq!(names[20..], [json!("books_create"), json!("books_list")]);
    let made = play.tool("books_create", json!({"fields": {"title": "Emma"}})).await;
    assert_eq!(made["structuredContent"]["title"], "Emma");
    play.post("A post.").await;
    assert_eq!(play.tool("posts_list", json!({})).await["structuredContent"]["data"][0]["body"], "A post.");
}
