//! The `ai` routes, by rules and by a model.
//!
//! Never here: a real model.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::Play;
use super::llm::{Model, answer};
use crate::sandbox::llm::Llm;

#[tokio::test]
async fn each_kind_is_written_by_rules_that_say_so() {
    let mut play = Play::start().await;
    for (kind, body, data) in [
        ("rewrite", json!({"text": "buy now", "tone": "friendly"}), json!({"text": "Hi there! Buy now."})),
        ("compose", json!({"prompt": "launch day"}), json!({"text": "Launch day. #launch"})),
        ("hashtags", json!({"text": "Launch day is here"}), json!({"hashtags": ["#launch"]})),
        ("thread", json!({"text": "one two"}), json!({"posts": ["1/1 one two"]})),
        ("optimise", json!({"text": "our launch"}), json!({"text": "Our launch. #launch"})),
    ] {
        let seen = play.rest("POST", &format!("/v1/ai/{kind}"), &body.to_string()).await;
        assert_eq!(
            (seen.status, seen.json()),
            (200, json!({"data": data, "model": "keyward-sandbox"})),
            "{kind}"
        );
    }
    let ideas = play.rest("POST", "/v1/ai/ideas", r#"{"topic":"coffee"}"#).await.json();
    assert_eq!(
        (&ideas["model"], ideas["data"]["ideas"].as_array().unwrap().len()),
        (&json!("keyward-sandbox"), 5)
    );
}

#[tokio::test]
async fn a_wrong_wish_is_refused_with_its_field_named() {
    let mut play = Play::start().await;
    let long = "x".repeat(10_001);
    for (kind, body, said) in [
        ("rewrite", json!({"tone": "dry"}), "text must"),
        ("rewrite", json!({"text": "x"}), "tone must"),
        ("rewrite", json!({"text": "x", "tone": 1}), "tone must"),
        ("rewrite", json!({"text": "x", "tone": "y".repeat(101)}), "tone must"),
        ("rewrite", json!({"text": "x", "tone": "dry", "model": "any"}), "\"model\""),
        ("compose", json!({"text": "x"}), "\"text\""),
        ("compose", json!({}), "prompt must"),
        ("hashtags", json!({"text": " "}), "text must"),
        ("thread", json!({"text": long}), "1 to 10000 characters"),
        ("ideas", json!({"topic": null}), "topic must"),
        ("optimise", json!({"text": ["x"]}), "text must"),
    ] {
        let seen = play.rest("POST", &format!("/v1/ai/{kind}"), &body.to_string()).await;
        let (status, code, message) = seen.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{kind} {body:.80}");
        assert!(message.contains(said), "{kind} {body:.80}: {message}");
    }
    assert_eq!(play.rest("GET", "/v1/ai/rewrite", "").await.header("allow"), "POST");
    assert_eq!(play.rest("POST", "/v1/ai/sing", "{}").await.status, 501);
}

#[tokio::test]
async fn a_configured_model_writes_instead_and_its_failure_is_the_upstreams() {
    let mut play = Play::start().await;
    let mut model = Model::start().await;
    play.sandbox.llm = Some(Llm::new(model.options()).unwrap());
    let mut play = play.reconnected().await;
    let said = |text: &str| json!({"choices": [{"message": {"content": text}}]}).to_string();
    let rewrite = json!({"text": "buy now", "tone": "dry"}).to_string();
    let asking = play.rest("POST", "/v1/ai/rewrite", &rewrite);
    let answering = async {
        let (_, asked, mut stream) = model.asked().await;
        let answer = answer("200 OK", "application/json", &said(" Do buy.\n"));
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked
    };
    let (seen, asked) = tokio::join!(asking, answering);
    assert_eq!((seen.status, seen.json()), (200, json!({"data": {"text": "Do buy."}, "model": "small"})));
    assert_eq!(asked["messages"][1]["content"], "buy now");
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains("dry"), "{asked}");

    for (status, text) in [("500 Internal Server Error", "oops"), ("200 OK", " ")] {
        let asking = play.rest("POST", "/v1/ai/ideas", r#"{"topic":"coffee"}"#);
        let answering = async {
            let (_, _, mut stream) = model.asked().await;
            let answer = answer(status, "application/json", &said(text));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (seen, ()) = tokio::join!(asking, answering);
        let (status, code, message) = seen.refusal();
        assert_eq!((status, code.as_str()), (502, "upstream_error"), "{message}");
    }
    // What is wrong is told before anybody is asked.
    assert_eq!(play.rest("POST", "/v1/ai/ideas", "{}").await.status, 400);
}
