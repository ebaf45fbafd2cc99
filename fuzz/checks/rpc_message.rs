//! Feeds `RpcMessage::parse` with what a caller may post as a message: any bytes.
//!
//! What always holds: it never panics; what it accepts is one JSON object in which readers that are not strict see the
//! same method, the same `params.name` and the same protocol version. They keep the first or the last of equal members,
//! and take a name for another that differs by letter case (up or down), by NULs in it, or behind the first NUL; one is
//! `serde_json::Value` itself. A message is a method or an answer to all of them.
//!
//! Not covered: the values of members beyond their texts, members deeper than `params._meta`, and readers that take
//! what is no JSON.

use crate::lenient::{Reader, Tree};
use keyward::surface::rpc::message::RpcMessage;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(crate) fn check(body: &[u8]) {
    let Ok(message) = RpcMessage::parse(body) else { return };
    // A reader may refuse what is JSON, as this one does where a number is too large for it: then it sees nothing.
    let (Ok(tree), Ok(value)) =
        (serde_json::from_slice::<Tree>(body), serde_json::from_slice::<serde_json::Value>(body))
    else {
        return;
    };
    let tool = message.tool_name().ok();
    let is_answer = message.method().is_none();
    assert_eq!(value["method"].as_str(), message.method());
    assert_eq!(value["params"]["name"].as_str(), tool.as_deref());
    assert_eq!(value["params"]["_meta"][VERSION].as_str(), message.version());
    for reader in Reader::all() {
        let params = reader.member(&tree, "params");
        let text_of = |tree: Option<&Tree>, name: &str| {
            tree.and_then(|tree| reader.member(tree, name)).and_then(Tree::text).map(str::to_owned)
        };
        let told = format!("{reader:?} reads {}", String::from_utf8_lossy(body));
        assert_eq!(text_of(Some(&tree), "method").as_deref(), message.method(), "{told}");
        assert_eq!(text_of(params, "name").as_deref(), tool.as_deref(), "{told}");
        let meta = params.and_then(|params| reader.member(params, "_meta"));
        assert_eq!(text_of(meta, VERSION).as_deref(), message.version(), "{told}");
        let answers = ["result", "error"].map(|name| reader.member(&tree, name).is_some());
        assert_eq!(answers[0] || answers[1], is_answer, "{told}");
        assert!(!(answers[0] && answers[1]), "{told}");
    }
}
