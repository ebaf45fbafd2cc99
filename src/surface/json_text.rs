//! One pass over a JSON text: where its values end, and which members an object has.
//!
//! What is passed is JSON to every reader that keeps to RFC 8259, and what is not is to none. No member of an
//! object twice, and none that looks like a known one. Nesting is bounded, and nothing is kept but places in
//! the text.
//!
//! Never here: a value that is decoded.

use std::borrow::Cow;

use memchr::memchr;

use super::members::{BorrowedText, MEMBERS_MAX, resembles};
use crate::domain::denial::Invalid;

/// A JSON text that is read, and how far it was.
#[derive(Debug)]
pub(super) struct JsonText<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
}

/// An object as it is written, and its known members as they are.
type Object<'a, const N: usize> = (&'a str, Result<[Option<&'a str>; N], Invalid>);

impl<'a> JsonText<'a> {
    /// A text whose arrays and objects may nest so deeply. `None` when it is none.
    pub(super) fn new(text: &'a [u8], depth_max: usize) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(text).ok()?, at: 0, depth_left: depth_max })
    }

    /// Passes an object and gives it as it is written, and the values of its known members; each of them is
    /// passed by `value`, which is told its name. `None` when it is no JSON. `NotRpc` when it is no object
    /// that can be read, `AmbiguousMember` when two readers could see two.
    pub(super) fn object<const N: usize>(
        &mut self,
        known: &[&str; N],
        mut value: impl FnMut(&mut Self, &str) -> Option<&'a str>,
    ) -> Option<Object<'a, N>> {
        self.pass_space();
        let start = self.at;
        if !self.pass(b'{') {
            return self.value().map(|written| (written, Err(Invalid::NotRpc)));
        }
        let mut found = [None; N];
        let mut others: Vec<Cow<'a, str>> = Vec::new();
        let (mut count, mut is_unreadable, mut is_ambiguous) = (0, false, false);
        self.members(|text, name| {
            count += 1;
            let Some(name) = decoded(name).filter(|_| count <= MEMBERS_MAX) else {
                is_unreadable = true;
                return text.value().map(drop);
            };
            let place = known.iter().zip(&mut found).find(|(known, _)| **known == name);
            if let Some((known, found)) = place {
                is_ambiguous |= found.replace(value(text, known)?).is_some();
            } else {
                text.value()?;
                is_ambiguous |= others.contains(&name) || known.iter().any(|known| resembles(&name, known));
                others.push(name);
            }
            Some(())
        })?;
        let read = match (is_unreadable, is_ambiguous) {
            (true, _) => Err(Invalid::NotRpc),
            (false, true) => Err(Invalid::AmbiguousMember),
            (false, false) => Ok(found),
        };
        Some((self.text.get(start..self.at)?, read))
    }

    /// Passes a value and gives it as it is written.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        self.pass_space();
        let start = self.at;
        match self.next()? {
            b'"' => self.rest_of_string()?,
            b'{' => self.members(|text, _| text.value().map(drop))?,
            b'[' => self.items()?,
            b't' => self.pass_all(b"rue")?,
            b'f' => self.pass_all(b"alse")?,
            b'n' => self.pass_all(b"ull")?,
            b'-' => {
                let first = self.next()?;
                self.number(first)?;
            }
            first => self.number(first)?,
        }
        self.text.get(start..self.at)
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&mut self) -> bool {
        self.pass_space();
        self.at == self.text.len()
    }

    /// What is left of an object whose brace was passed; `value` passes each member's, and is told its name
    /// as it is written.
    fn members(&mut self, mut value: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.within(b'}', |text| {
            text.pass_space();
            let start = text.at;
            text.pass(b'"').then(|| text.rest_of_string())??;
            let name = text.text.get(start..text.at)?;
            text.pass_space();
            text.pass(b':').then(|| value(text, name))?
        })
    }

    /// What is left of an array whose bracket was passed.
    fn items(&mut self) -> Option<()> {
        self.within(b']', |text| text.value().map(drop))
    }

    fn within(&mut self, end: u8, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.depth_left = self.depth_left.checked_sub(1)?;
        self.pass_space();
        if !self.pass(end) {
            loop {
                part(self)?;
                self.pass_space();
                match self.next()? {
                    b',' => {}
                    last => break (last == end).then_some(())?,
                }
            }
        }
        self.depth_left += 1;
        Some(())
    }

    /// What is left of a string whose quote was passed.
    fn rest_of_string(&mut self) -> Option<()> {
        loop {
            let end = plain_length(self.rest());
            let (length, is_end) = match self.rest().get(end..)? {
                [b'"', ..] => (1, true),
                [b'\\', b'u', digits @ ..] => {
                    let digits = digits.get(..4)?;
                    digits.iter().all(u8::is_ascii_hexdigit).then_some((6, false))?
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => (2, false),
                _ => return None,
            };
            self.at += end + length;
            if is_end {
                return Some(());
            }
        }
    }

    /// What is left of a number behind its sign and first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        if !first.is_ascii_digit() {
            return None;
        }
        if first != b'0' {
            self.pass_digits();
        }
        if self.pass(b'.') && self.pass_digits() == 0 {
            return None;
        }
        if self.pass(b'e') || self.pass(b'E') {
            let _ = self.pass(b'+') || self.pass(b'-');
            return (self.pass_digits() > 0).then_some(());
        }
        Some(())
    }

    fn pass_digits(&mut self) -> usize {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    fn pass_space(&mut self) {
        while matches!(self.rest().first(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn pass_all(&mut self, expected: &[u8]) -> Option<()> {
        let is_there = self.rest().starts_with(expected);
        self.at += expected.len();
        is_there.then_some(())
    }

    fn pass(&mut self, expected: u8) -> bool {
        let is_there = self.rest().first() == Some(&expected);
        self.at += usize::from(is_there);
        is_there
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.rest().first().copied();
        self.at += 1;
        next
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// How many bytes of a string come before its end, an escape, or what no string has. Eight are looked at at
/// once.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    // The highest bit of the first byte below `least`, counted from the lowest; what stands behind that may
    // be wrong.
    let below = |eight: u64, least: u8| eight.wrapping_sub(ONES * u64::from(least)) & !eight & HIGHEST;
    let (eights, rest) = bytes.as_chunks::<8>();
    for (place, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
        let found = below(eight, b' ') | is(b'"') | is(b'\\');
        if found != 0 {
            return 8 * place + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| !matches!(byte, 0..b' ' | b'"' | b'\\');
    8 * eights.len() + rest.iter().take_while(is_plain).count()
}

/// What a string says that stands in the text like this. `None` where it is no string, or no text: half of a
/// pair of surrogates is JSON and none.
pub(super) fn decoded(string: &str) -> Option<Cow<'_, str>> {
    let inner = string.strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<BorrowedText<'_>>(string).ok().map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    const DEPTH_MAX: usize = 8;

    /// The value that a text is.
    fn read(text: &[u8]) -> Option<&str> {
        let mut json = JsonText::new(text, DEPTH_MAX)?;
        let value = json.value()?;
        json.is_over().then_some(value)
    }

    fn is_as_serde_reads(text: &[u8]) {
        let serde = serde_json::from_slice::<&RawValue>(text).ok().map(RawValue::get);
        assert_eq!(read(text), serde, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn what_is_json_to_serde_is_json_here_and_nothing_else() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "{}",
            "[]",
            " {} ",
            "[1,2 , 3]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1}",
            "{\"a\" : [ ] , \"b\":{}}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "{a:1}",
            "[1}",
            "{]",
            "\"\"",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\\"\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\/\\b\\f\\n\\r\\t\\\\\"",
            "\"\n\"",
            "\"\u{7f}\u{1f600}\"",
            "\u{feff}1",
            "0",
            "-0",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            "1.0",
            ".5",
            "1e",
            "1e5",
            "1E+5",
            "1e-",
            "1.5e-07",
            "1e999",
            "1 ",
            "1x",
            "0x1",
            "true",
            "false",
            "null",
            "tru",
            "truer",
            "nul",
            "NaN",
            "Infinity",
            "'a'",
            "1//",
            "\u{a0}1",
            "\u{b}1",
            "[[[[[[[[1]]]]]]]]",
        ] {
            is_as_serde_reads(text.as_bytes());
        }
        for text in [&b"\"\xff\""[..], b"\xff", b"\"\xc3\"", b"\"\0\"", b"[1\0]"] {
            is_as_serde_reads(text);
        }
        assert_eq!(read(b"[[[[[[[[[1]]]]]]]]]"), None, "deeper than it may be");
        assert_eq!(read(br#"{"a":[{"a":[{"a":[{"a":[{}]}]}]}]}"#), None, "deeper than it may be");
    }

    proptest! {
        #[test]
        fn a_string_is_plain_up_to_the_first_byte_that_is_not(bytes: Vec<u8>, plain in 0..30_usize) {
            let bytes = [vec![b'x'; plain], bytes].concat();
            let is_not = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
            prop_assert_eq!(plain_length(&bytes), bytes.iter().position(is_not).unwrap_or(bytes.len()));
        }

        #[test]
        fn any_text_is_read_as_serde_reads_it(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"a\":", "\\u00", "4f", "1", "0", "-", ".", "e",
                    "+", "true", "null", " ", "\n", "\u{1}", "\u{e9}", "\"\\n\"",
                ]),
                0..14,
            ),
        ) {
            let text = parts.concat();
            if text.matches(['{', '[']).count() <= DEPTH_MAX {
                is_as_serde_reads(text.as_bytes());
            }
        }

        #[test]
        fn a_json_text_that_one_byte_was_changed_in_is_read_as_serde_reads_it(place in 0..80_usize, byte: u8) {
            let mut text = br#" {"a" : [1.5e-3, -0, true, null, "\u00e9\n\"x"], "b":{"c":"" , "d":false}, "e":10 } "#.to_vec();
            if let Some(there) = text.get_mut(place) {
                *there = byte;
            }
            is_as_serde_reads(&text);
        }
    }

    #[test]
    fn an_object_tells_the_known_members_as_they_are_written() {
        let mut text = JsonText::new(br#" {"x":[1, 2],"a": "b\u0063" ,"\u0062":{ }} "#, DEPTH_MAX).unwrap();
        let (written, found) = text.object(&["a", "b", "c"], |text, _| text.value()).unwrap();
        assert_eq!(found.unwrap(), [Some(r#""b\u0063""#), Some("{ }"), None]);
        assert_eq!(written, r#"{"x":[1, 2],"a": "b\u0063" ,"\u0062":{ }}"#);
        assert!(text.is_over());
        assert_eq!(decoded(r#""b\u0063""#).unwrap(), "bc");
        assert_eq!(decoded(r#""\ud800""#), None);
        assert_eq!(decoded("7"), None);
    }
}
