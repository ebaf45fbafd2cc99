//! Feeds what an upstream answers to a question for tools: one byte chooses whether it is a document or a stream of
//! events, who asked and what, one the length of the pieces that it comes in, and the rest is the answer's body.
//!
//! What always holds: nothing panics; what comes out is a well-formed answer, or one that is broken off; and whatever a
//! reader takes it for, strict or not (`lenient.rs`), line ends and broken ends included, it lists no tool that this
//! caller may not call. However a stream is cut into pieces, the same comes out. Events without members pass as they
//! are.
//!
//! Not covered: encodings, other headers of the answer, standing streams and what is learnt of tools.

use crate::lenient::{Reader, Tree};
use crate::world::{Door, Kind, Scripted, World};
use bytes::Bytes;

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"posts_list"}}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;

/// What the key that reads alone may call.
const READ: [&str; 2] = ["posts_list", "posts_get"];

pub(crate) fn check(data: &[u8]) {
    let [choice, piece_len, body @ ..] = data else { return };
    let is_stream = choice & 1 == 0;
    let (message, is_anonymous) = match choice >> 1 & 3 {
        0 | 1 => (LIST, false),
        2 => (CALL, false),
        _ => (INITIALIZE, true),
    };
    let mut world = World::get();
    let mut came = |piece_len| world.answered(is_stream, message, is_anonymous, piece_len, body);
    let (at_once, in_pieces) = (came(body.len().max(1)), came(usize::from(*piece_len).max(1)));
    assert!(at_once.is_whole == in_pieces.is_whole, "whether an answer is whole changes with how it is cut");
    assert!(!at_once.is_whole || at_once.body == in_pieces.body, "an answer changes with how it is cut");
    if !is_stream && message != LIST {
        // Outside of a session a document that answers something else passes unread.
        return;
    }
    let may_see: &[&str] = if is_anonymous { &[] } else { &READ };
    for shown in [at_once.body, in_pieces.body] {
        for text in if is_stream { events(&shown) } else { vec![shown] } {
            for tool in tools(&text) {
                assert!(may_see.contains(&&*tool), "{tool} is listed for who may not call it");
            }
        }
    }
}

/// What a caller got.
struct Came {
    body: Vec<u8>,
    /// Whether it was not broken off.
    is_whole: bool,
}

impl World {
    /// What a caller gets when the upstream answers with this body in pieces of this length.
    fn answered(
        &mut self,
        is_stream: bool,
        message: &str,
        is_anonymous: bool,
        piece_len: usize,
        body: &[u8],
    ) -> Came {
        let content_type = if is_stream { "text/event-stream" } else { "application/json" };
        let pieces = body.chunks(piece_len).map(Bytes::copy_from_slice).collect();
        self.script(Scripted { content_type, pieces });
        let credential = if is_anonymous {
            String::new()
        } else {
            format!("authorization: Bearer {}\r\n", self.key("socialcrm", Kind::Reader).text)
        };
        let head = "POST /api/mcp-app HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let accept = "accept: application/json, text/event-stream\r\n";
        let length = message.len();
        let request = format!("{head}{accept}{credential}content-length: {length}\r\n\r\n{message}");
        let came = self.as_far_as_it_came(Door::SocialAndShingle, request.as_bytes());
        assert_eq!(self.seen().len(), 1, "the question did not reach the upstream");
        let Some((answer, is_whole)) = came else { return Came { body: Vec::new(), is_whole: false } };
        assert!(matches!(answer.status, 200 | 502), "{}", answer.status);
        Came { body: answer.body, is_whole }
    }
}

/// The data of all events of a stream, as readers read it: lines end with CR, LF or both; of an event that the stream
/// breaks off in, some take what there is.
fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut events, mut data) = (Vec::new(), None::<Vec<u8>>);
    let mut rest = stream;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let line = &rest[..end];
        let ending = if rest[end..].starts_with(b"\r\n") { 2 } else { usize::from(end < rest.len()) };
        rest = &rest[end + ending..];
        let value = line.strip_prefix(b"data").filter(|value| value.is_empty() || value.starts_with(b":"));
        match value.map(|value| value.strip_prefix(b":").unwrap_or(value)) {
            Some(value) => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                // A reader that does not join lines sees each by itself.
                events.push(value.to_vec());
                match &mut data {
                    Some(data) => data.extend([b"\n", value].concat()),
                    None => data = Some(value.to_vec()),
                }
            }
            None if line.is_empty() => events.extend(data.take()),
            None => {}
        }
    }
    events.extend(data);
    events
}

/// The names of all tools that any reader finds listed in a message, or in a batch of them.
fn tools(text: &[u8]) -> Vec<String> {
    let Ok(tree) = serde_json::from_slice::<Tree>(text) else { return Vec::new() };
    let mut names = Vec::new();
    for reader in Reader::all() {
        let messages = match &tree {
            Tree::Array(messages) => messages.iter().collect(),
            message => vec![message],
        };
        for message in messages {
            let result = reader.member(message, "result");
            let Some(Tree::Array(tools)) = result.and_then(|result| reader.member(result, "tools")) else {
                continue;
            };
            let name_of = |tool| reader.member(tool, "name").and_then(Tree::text).map(str::to_owned);
            names.extend(tools.iter().filter_map(name_of));
        }
    }
    names
}
