//! `chat/completions`, `completions`, `models`: answers in OpenAI's shape, which its own clients read.
//!
//! A model that is configured answers; without one the sandbox does, and says so.
//!
//! Never here: what is said.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Answer, Sandbox, Trouble, check_method, long_body, no_query, workspace};
use crate::sandbox::answer::json as answered;
use crate::sandbox::chat::{Asked, MODEL, MODEL_CHARS_MAX, Reply};
use crate::sandbox::events::stream;
use crate::sandbox::failure::Failure;
use crate::sandbox::number::{id_of, new_number};

/// When the sandbox's models were made, for clients that sort by it: 2026-01-01.
const MODELS_CREATED: i64 = 1_767_225_600;

/// Answers `chat/completions`.
pub(super) async fn chat(sandbox: &Sandbox, request: Request<Incoming>) -> Result<Answer, Trouble> {
    answer(sandbox, request, &CHAT).await
}

/// Answers `completions`.
pub(super) async fn completion(sandbox: &Sandbox, request: Request<Incoming>) -> Result<Answer, Trouble> {
    answer(sandbox, request, &COMPLETION).await
}

/// Answers `models`, and `models/{id}` for any id.
pub(super) fn models(
    sandbox: &Sandbox,
    request: &Request<Incoming>,
    id: Option<&str>,
) -> Result<Answer, Trouble> {
    check_method(request, "GET")?;
    workspace(request.headers())?;
    no_query(request)?;
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": MODELS_CREATED, "owned_by": "keyward"});
    let Some(id) = id else {
        let known = sandbox.llm.as_ref().map(|llm| model(llm.model()));
        let data: Vec<_> = known.into_iter().chain([model(MODEL)]).collect();
        return Ok(answered(StatusCode::OK, &json!({"object": "list", "data": data})));
    };
    let id = percent_decode_str(id).decode_utf8().unwrap_or_default();
    let fits = (1..=MODEL_CHARS_MAX).contains(&id.chars().count()) && !id.contains(char::is_control);
    if fits { Ok(answered(StatusCode::OK, &model(&id))) } else { Err(Failure::NotFound("model").into()) }
}

/// What the two doors differ in.
struct Shape {
    path: &'static str,
    id_word: &'static str,
    object: &'static str,
    chunk_object: &'static str,
    read: fn(crate::sandbox::members::Members) -> Result<Asked, Failure>,
    choice: fn(&Reply) -> Value,
    /// The part of a choice that brings this piece; before the first (none) and after the last too.
    piece: fn(Piece<'_>) -> Value,
}

#[derive(Clone, Copy)]
enum Piece<'a> {
    First,
    Next(&'a str),
    Last,
}

const CHAT: Shape = Shape {
    path: "chat/completions",
    id_word: "chatcmpl-",
    object: "chat.completion",
    chunk_object: "chat.completion.chunk",
    read: Asked::chat,
    choice: |reply| json!({"message": {"role": "assistant", "content": reply.text(), "refusal": null}}),
    piece: |piece| match piece {
        Piece::First => json!({"delta": {"role": "assistant", "content": ""}}),
        Piece::Next(text) => json!({"delta": {"content": text}}),
        Piece::Last => json!({"delta": {}}),
    },
};

const COMPLETION: Shape = Shape {
    path: "completions",
    id_word: "cmpl-",
    object: "text_completion",
    chunk_object: "text_completion",
    read: Asked::completion,
    choice: |reply| json!({"text": reply.text()}),
    piece: |piece| match piece {
        Piece::First | Piece::Last => json!({"text": ""}),
        Piece::Next(text) => json!({"text": text}),
    },
};

async fn answer(sandbox: &Sandbox, request: Request<Incoming>, shape: &Shape) -> Result<Answer, Trouble> {
    check_method(&request, "POST")?;
    workspace(request.headers())?;
    let asked = (shape.read)(long_body(request).await?)?;
    if let Some(llm) = &sandbox.llm {
        return Ok(llm.relay(shape.path, asked.fields).await.map_err(Failure::Model)?);
    }
    let now = sandbox.now();
    let id = id_of(shape.id_word, new_number(now)?);
    let replies = asked.answered_by_rules();
    let head = |object: &str| json!({"id": id, "object": object, "created": now.secs(), "model": MODEL});
    if asked.stream {
        return Ok(stream(&chunks(shape, &head(shape.chunk_object), &asked, &replies)));
    }
    let choices = replies
        .iter()
        .enumerate()
        .map(|(index, reply)| choice(index, &(shape.choice)(reply), Some(reply.finish)));
    let rest = json!({"choices": choices.collect::<Vec<_>>(), "usage": asked.usage(&replies)});
    Ok(answered(StatusCode::OK, &joined(&head(shape.object), &rest)))
}

/// The events of a streamed answer.
fn chunks(shape: &Shape, head: &Value, asked: &Asked, replies: &[Reply]) -> Vec<Value> {
    let chunk = |index, piece, finish| {
        let choices = [choice(index, &(shape.piece)(piece), finish)];
        // Whoever asked for usage finds it null until the end.
        let rest = if asked.include_usage {
            json!({"choices": choices, "usage": null})
        } else {
            json!({"choices": choices})
        };
        joined(head, &rest)
    };
    let mut chunks = Vec::new();
    for (index, reply) in replies.iter().enumerate() {
        chunks.push(chunk(index, Piece::First, None));
        chunks.extend(reply.pieces.iter().map(|text| chunk(index, Piece::Next(text), None)));
        chunks.push(chunk(index, Piece::Last, Some(reply.finish)));
    }
    if asked.include_usage {
        chunks.push(joined(head, &json!({"choices": [], "usage": asked.usage(replies)})));
    }
    chunks
}

fn choice(index: usize, said: &Value, finish: Option<&str>) -> Value {
    let ends = json!({"logprobs": null, "finish_reason": finish});
    joined(&joined(&json!({"index": index}), said), &ends)
}

/// The fields of both objects, in their order.
fn joined(first: &Value, then: &Value) -> Value {
    let fields = [first, then].into_iter().filter_map(Value::as_object).flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}
