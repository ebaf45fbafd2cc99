//! Ready JSON text with at most one gap in it, for the one thing that varies.
//!
//! Never here: escaping at the time of a request. What fills a gap is a number or a text of ours that needs
//! none.

/// JSON text, cut at its gap.
#[derive(Debug)]
pub(super) struct Text {
    before: Box<str>,
    after: Option<Box<str>>,
}

impl Text {
    /// The text as it is.
    pub(super) fn whole(json: &str) -> Self {
        Self { before: json.into(), after: None }
    }

    /// The text with a gap where `mark` last stands; whole when it stands nowhere.
    pub(super) fn with_gap(json: &str, mark: &str) -> Self {
        match json.rsplit_once(mark) {
            Some((before, after)) => Self { before: before.into(), after: Some(after.into()) },
            None => Self::whole(json),
        }
    }

    /// Appends the text, its gap filled.
    pub(super) fn write(&self, filling: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
        if let Some(after) = &self.after {
            out.extend_from_slice(filling.as_bytes());
            out.extend_from_slice(after.as_bytes());
        }
    }

    /// Bytes that the text takes with this filling.
    pub(super) fn len(&self, filling: &str) -> usize {
        self.before.len() + self.after.as_ref().map_or(0, |after| filling.len() + after.len())
    }
}

/// A JSON string of this text, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &Text, filling: &str) -> String {
        let mut out = Vec::new();
        text.write(filling, &mut out);
        assert_eq!(out.len(), text.len(filling));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_gap_is_filled_and_a_whole_text_takes_no_filling() {
        assert_eq!(filled(&Text::with_gap("a {n} b", "{n}"), "7"), "a 7 b");
        assert_eq!(filled(&Text::with_gap("a b", "{n}"), "7"), "a b");
        assert_eq!(filled(&Text::whole("{n}"), "7"), "{n}");
    }
}
