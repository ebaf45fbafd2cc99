//! Completions as OpenAI's clients read them, by rules and by a model that is a server of the test's own.
//!
//! Never here: a socket of the sandbox's.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::llm::{Model, answer};
use super::{LlmOptions, NOON, Play, connect};

const QUESTION: &str = "What is the capital of France?";

fn question() -> Value {
    json!({"model": "claude-3-5-sonnet", "messages": [{"role": "user", "content": QUESTION}]})
}

/// The events of a stream, which must end as it should.
fn events(body: &str) -> Vec<Value> {
    let mut events: Vec<_> = body.split_terminator("\n\n").collect();
    assert_eq!(events.pop(), Some("data: [DONE]"), "{body}");
    events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_is_answered_in_the_shape_of_the_page_and_says_who_speaks() {
    let mut play = Play::start().await;
    let seen = play.rest("POST", "/v1/chat/completions", &question().to_string()).await;
    assert_eq!((seen.status, seen.header("content-type")), (200, "application/json"));
    let mut said = seen.json();
    let id = said["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"), "{id}");
    let text = said["choices"][0]["message"]["content"].take();
    assert!(text.as_str().unwrap().starts_with("You asked: \"What is the capital of France?\""), "{text}");
    let words = text.as_str().unwrap().split(' ').count();
    let expected = json!({
        "id": null,
        "object": "chat.completion",
        "created": NOON,
        "model": "keyward-sandbox",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": null, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop"
        }],
        "usage": {"prompt_tokens": 6, "completion_tokens": words, "total_tokens": words + 6}
    });
    assert_eq!(said.to_string(), expected.to_string(), "in this order");
    let again = play.rest("POST", "/v1/chat/completions", &question().to_string()).await.json();
    assert_eq!(again["choices"][0]["message"]["content"], text, "the same is said again");
    assert_ne!(again["id"], id);
}

#[tokio::test]
async fn a_streamed_chat_says_the_same_in_chunks_and_ends_with_done() {
    let mut play = Play::start().await;
    let whole = play.rest("POST", "/v1/chat/completions", &question().to_string()).await.json();
    let mut asked = question();
    asked["stream"] = json!(true);
    let seen = play.rest("POST", "/v1/chat/completions", &asked.to_string()).await;
    assert_eq!((seen.status, seen.header("content-type")), (200, "text/event-stream"));
    let chunks = events(&seen.body);
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    for chunk in &chunks {
        assert_eq!((&chunk["object"], &chunk["id"]), (&json!("chat.completion.chunk"), &chunks[0]["id"]));
        assert!(chunk.get("usage").is_none());
    }
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("stop")));

    asked["stream_options"] = json!({"include_usage": true});
    let chunks = events(&play.rest("POST", "/v1/chat/completions", &asked.to_string()).await.body);
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(others.iter().all(|chunk| chunk["usage"].is_null()));
}

#[tokio::test]
async fn chunks_come_one_by_one() {
    let play = Play::start().await;
    let mut connection = connect(&play.sandbox).await;
    let mut asked = question();
    asked["stream"] = json!(true);
    let answer = connection.send_request(super::posted("/v1/chat/completions", &asked)).await.unwrap();
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(first.to_vec()).unwrap();
    assert!(text.contains("\"role\"") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_limit_of_tokens_and_a_number_of_choices_are_kept() {
    let mut play = Play::start().await;
    for field in ["max_tokens", "max_completion_tokens"] {
        let mut asked = question();
        asked[field] = json!(2);
        asked["n"] = json!(3);
        let said = play.rest("POST", "/v1/chat/completions", &asked.to_string()).await.json();
        let choices = said["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 3);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
            assert_eq!(
                (&choice["message"]["content"], &choice["finish_reason"]),
                (&json!("You asked: "), &json!("length"))
            );
        }
        assert_eq!(said["usage"]["completion_tokens"], 6);
    }
}

#[tokio::test]
async fn a_completion_answers_each_prompt_plain_and_streamed() {
    let mut play = Play::start().await;
    let asked = json!({"model": "any", "prompt": ["one", "two words"]});
    let said = play.rest("POST", "/v1/completions", &asked.to_string()).await.json();
    assert!(said["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!((&said["object"], &said["model"]), (&json!("text_completion"), &json!("keyward-sandbox")));
    let text = |place: usize| said["choices"][place]["text"].as_str().unwrap();
    assert!(text(0).starts_with("You asked: \"one\"") && text(1).starts_with("You asked: \"two words\""));
    assert_eq!(said["usage"]["prompt_tokens"], 3);

    let asked = json!({"model": "any", "prompt": "one", "stream": true});
    let seen = play.rest("POST", "/v1/completions", &asked.to_string()).await;
    let chunks = events(&seen.body);
    let streamed: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(streamed, text(0));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    for (bad, said) in [
        (json!({"model": "m"}), "prompt must"),
        (json!({"model": "m", "prompt": []}), "prompt must"),
        (json!({"model": "m", "prompt": [1, 2]}), "prompt must"),
        (json!({"prompt": "x"}), "model must"),
    ] {
        let (status, code, message) = play.rest("POST", "/v1/completions", &bad.to_string()).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{bad}");
        assert!(message.starts_with(said), "{bad}: {message}");
    }
}

#[tokio::test]
async fn what_is_read_of_a_chat_is_checked_by_name_and_the_rest_is_let_be() {
    let mut play = Play::start().await;
    let with = |name: &str, value: Value| {
        let mut asked = question();
        asked[name] = value;
        asked
    };
    let message = |message: Value| with("messages", json!([{"role": "user", "content": "a"}, message]));
    for (asked, said) in [
        (json!({"messages": question()["messages"]}), "model must"),
        (with("model", json!("")), "model must"),
        (with("model", json!(1)), "model must"),
        (json!({"model": "m"}), "messages must"),
        (with("messages", json!([])), "messages must"),
        (with("messages", json!("hi")), "messages must"),
        (message(json!("hi")), "messages[1] must"),
        (message(json!({"content": "a"})), "messages[1].role must"),
        (message(json!({"role": "king", "content": "a"})), "messages[1].role must"),
        (message(json!({"role": "user"})), "messages[1].content must"),
        (message(json!({"role": "user", "content": []})), "messages[1].content must"),
        (message(json!({"role": "user", "content": [{"text": "a"}]})), "messages[1].content[0].type must"),
        (message(json!({"role": "user", "content": [{"type": "text"}]})), "messages[1].content[0].text must"),
        (with("stream", json!("yes")), "stream must"),
        (with("stream_options", json!(true)), "stream_options must"),
        (with("stream_options", json!({"include_usage": 1})), "stream_options.include_usage must"),
        (with("max_tokens", json!(0)), "max_tokens must"),
        (with("max_completion_tokens", json!(-1)), "max_completion_tokens must"),
        (with("n", json!(9)), "n must"),
    ] {
        let (status, code, message) =
            play.rest("POST", "/v1/chat/completions", &asked.to_string()).await.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{asked}");
        assert!(message.starts_with(said), "{asked}: {message}");
    }
    let twice = r#"{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(play.rest("POST", "/v1/chat/completions", twice).await.status, 400);
    assert_eq!(play.rest("GET", "/v1/chat/completions", "").await.header("allow"), "POST");

    let many = json!({
        "model": "m", "temperature": 0.2, "top_p": 1, "tools": [], "tool_choice": "auto", "seed": 7,
        "user": "u", "stop": null, "n": null, "stream": null, "stream_options": null, "max_tokens": null,
        "response_format": {"type": "text"}, "metadata": {"a": "b"},
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                {"type": "text", "text": "this?"}
            ]},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "tool_call_id": "t", "content": "x"}
        ]
    });
    let said = play.rest("POST", "/v1/chat/completions", &many.to_string()).await.json();
    let text = said["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("You asked: \"What is\\nthis?\""), "{text}");
}

#[tokio::test]
async fn a_conversation_may_be_long_and_not_longer() {
    let mut play = Play::start().await;
    let of =
        |length: usize| json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(length)}]});
    let long = play.rest("POST", "/v1/chat/completions", &of(9 << 20).to_string()).await;
    assert_eq!(long.status, 200, "{long:?}");
    let too_long = play.rest("POST", "/v1/chat/completions", &of(10 << 20).to_string()).await.refusal();
    assert_eq!((too_long.0, too_long.1.as_str()), (413, "invalid_request"));
}

#[tokio::test]
async fn models_are_listed_and_any_name_is_one() {
    let mut play = Play::start().await;
    let one =
        |id: &str| json!({"id": id, "object": "model", "created": 1_767_225_600, "owned_by": "keyward"});
    let list = play.rest("GET", "/v1/models", "").await.json();
    assert_eq!(list, json!({"object": "list", "data": [one("keyward-sandbox")]}));
    for (path, id) in [("claude-3-5-sonnet", "claude-3-5-sonnet"), ("a%3Ab%20c", "a:b c")] {
        assert_eq!(play.rest("GET", &format!("/v1/models/{path}"), "").await.json(), one(id));
    }
    assert_eq!(play.rest("GET", "/v1/models/%07", "").await.status, 404);
    assert_eq!(play.rest("POST", "/v1/models", "{}").await.status, 405);
}

#[tokio::test]
async fn a_model_that_is_configured_is_asked_for_what_came_and_its_answer_passes() {
    let mut model = Model::start().await;
    let mut play = Play::start_before(Some(model.options())).await;
    for (path, asked, said) in [
        ("chat/completions", question(), r#"{"id":"chatcmpl-7","choices":[],"extra":[1.5]}"#),
        ("completions", json!({"model": "any", "prompt": "x", "top_k": 4}), r#"{"id":"cmpl-7"}"#),
    ] {
        let asking = tokio::spawn(async move {
            let seen = play.rest("POST", &format!("/v1/{path}"), &asked.to_string()).await;
            (play, asked, seen)
        });
        let (head, body, mut stream) = model.asked().await;
        assert!(head.starts_with(&format!("POST /v1/{path} ")), "{head}");
        stream.write_all(answer("200 OK", "application/json; charset=utf-8", said).as_bytes()).await.unwrap();
        let (again, mut asked, seen) = asking.await.unwrap();
        assert_eq!((seen.status, seen.body.as_str()), (200, said));
        asked["model"] = json!("small");
        assert_eq!(body, asked, "all that came, but for the model");
        play = again;
    }
    let wrong = json!({"model": "m", "messages": []}).to_string();
    assert_eq!(play.rest("POST", "/v1/chat/completions", &wrong).await.status, 400, "not worth asking");
    let models = play.rest("GET", "/v1/models", "").await.json();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][1]["id"]),
        (&json!("small"), &json!("keyward-sandbox"))
    );
}

#[tokio::test]
async fn a_models_stream_is_relayed_as_it_comes_and_ends_when_the_caller_leaves() {
    let mut model = Model::start().await;
    let play = Play::start_before(Some(model.options())).await;
    let mut connection = connect(&play.sandbox).await;
    let mut asked = question();
    asked["stream"] = json!(true);
    let asking = tokio::spawn(async move {
        let answer = connection.send_request(super::posted("/v1/chat/completions", &asked)).await.unwrap();
        (connection, answer)
    });
    let (_, body, mut stream) = model.asked().await;
    assert_eq!(body["stream"], true);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await.unwrap();
    let (connection, answered) = asking.await.unwrap();
    assert_eq!(answered.headers()["content-type"], "text/event-stream");
    let mut body = answered.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    stream.write_all(b"9\r\ndata: 2\n\n\r\n").await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    drop((body, connection));
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "the model's stream was closed");
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_ends_the_call() {
    let mut model = Model::start().await;
    let play = Play::start_before(Some(model.options())).await;
    let mut connection = connect(&play.sandbox).await;
    let asking = tokio::spawn(async move {
        connection.send_request(super::posted("/v1/chat/completions", &question())).await
    });
    let (.., mut stream) = model.asked().await;
    asking.abort();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_model_that_fails_is_told_as_an_upstream_that_does() {
    let mut model = Model::start().await;
    let options = LlmOptions { wait_max: Duration::from_millis(50), ..model.options() };
    let mut play = Play::start_before(Some(options)).await;
    let json = "application/json";
    for (wire, status, code) in [
        (answer("401 Unauthorized", json, r#"{"error":"hunter2"}"#), 502, "upstream_error"),
        (answer("503 Busy", json, "{}"), 502, "upstream_error"),
        (answer("400 Bad Request", json, "{}"), 400, "invalid_request"),
        (answer("200 OK", "text/html", ""), 502, "upstream_error"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n".to_owned(),
            504,
            "upstream_error",
        ),
    ] {
        let asking = tokio::spawn(async move {
            let seen = play.rest("POST", "/v1/chat/completions", &question().to_string()).await;
            (play, seen)
        });
        let (.., mut stream) = model.asked().await;
        stream.write_all(wire.as_bytes()).await.unwrap();
        let (again, seen) = asking.await.unwrap();
        let refusal = seen.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), (status, code), "{wire}");
        assert!(!seen.body.contains("hunter2"));
        play = again;
    }
}
