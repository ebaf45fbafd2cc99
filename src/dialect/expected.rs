//! What was expected of a request that cannot be read one way: one text for each reason, the same in all
//! dialects.
//!
//! The texts stand inside JSON strings as they are: plain ASCII without quotes or backslashes, which a test
//! holds.
//!
//! Never here: a word about who asked or what the request held.

use crate::domain::denial::Invalid;

/// What would have been taken instead.
pub(super) const fn expected(invalid: Invalid) -> &'static str {
    match invalid {
        Invalid::Host => "exactly one well-formed Host header that agrees with the request target",
        Invalid::ForeignHost => "a Host and an Origin that this listener serves",
        Invalid::Target => {
            "a path without dot segments, empty segments, encoded slashes or plain characters, backslashes, control characters or parameters"
        }
        Invalid::Framing => "one body length, no transfer coding but chunked and no content encoding",
        Invalid::Header => "header values that are plain text",
        Invalid::NotJson => "a body that is JSON, at most 32 levels deep",
        Invalid::NotRpc => "one JSON-RPC 2.0 request object",
        Invalid::AmbiguousMember => "every member once and spelled exactly",
        Invalid::Params => "params as the method takes them",
        Invalid::HeaderMismatch => "headers that agree with the body",
        Invalid::Session => "a session of this key",
        Invalid::Expectation => "no expectation but 100-continue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_stand_in_json_as_they_are_and_differ() {
        let mut texts: Vec<_> = Invalid::ALL.into_iter().map(expected).collect();
        for text in &texts {
            assert_eq!(serde_json::to_string(text).unwrap(), format!("\"{text}\""));
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Invalid::ALL.len());
    }
}
