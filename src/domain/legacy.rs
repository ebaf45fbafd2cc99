//! Key texts of other systems: what they look like, and by what a presented one is found.
//!
//! A text that is no key of our own making is looked up only if it fits a [`LegacyShape`] that an import told.
//! An imported key is found by what came with it (its digest, or the head that its old system showed) and from
//! its first proof on by its fingerprint, never by characters of its secret. Whatever text comes, the shapes of
//! one profile agree on one head for it, so the keys that may have to be slow-hashed are those of that head.
//!
//! Never here: a comparison (proof), or a raw text.

use std::fmt;

use super::hash::{Fingerprint, sha256};

/// The longest text of another system's key, in bytes.
pub const LEGACY_LENGTH_MAX: usize = 256;
/// The shortest, in bytes: less than this is guessed.
pub const LEGACY_LENGTH_MIN: usize = 12;
/// The longest tag of another system, in bytes.
pub const LEGACY_TAG_LEN_MAX: usize = 64;
/// The least that stands behind tag and head, in bytes: the head is shown, and where less is hidden behind it the
/// text as good as stands in every list.
pub const HIDDEN_LENGTH_MIN: usize = 8;
/// The most shapes of one profile.
pub const SHAPES_MAX: usize = 16;
/// The most slow-hashed keys that one head may lead to: what one unknown text can cost.
pub const SLOW_KEYS_PER_HEAD_MAX: usize = 4;

/// How an imported secret's text is told from others, and what may be kept of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedText {
    /// The profile at whose doors it is taken.
    pub profile: Box<str>,
    /// What its old system showed of it: the text starts so. Never less than its tag.
    pub head: Box<str>,
    /// Whether the import vouched for at least 128 random bits. Only then is a fingerprint of it stored.
    pub is_random: bool,
}

/// By what a presented text finds keys that were made elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Handle {
    /// SHA-256 of the text, or of its long part.
    Digest([u8; 32]),
    /// Its fingerprint, once that is stored.
    Fingerprint(Fingerprint),
    /// What its old system showed of it.
    Head {
        /// The profile at whose doors it is taken.
        profile: Box<str>,
        /// The start of the text.
        text: Box<str>,
    },
}

/// Without what it is: a digest of a weak text is as good as the text.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// The characters that a key's text has behind its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alphabet {
    /// `0-9`, `A-Z`, `a-z`.
    Base62,
    /// `0-9`, and `a-f` in either case.
    Hex,
    /// Base 62 with `-` and `_`.
    Base64Url,
    /// Every visible character of ASCII.
    Printable,
}

impl Alphabet {
    /// Every alphabet.
    pub const ALL: [Self; 4] = [Self::Base62, Self::Hex, Self::Base64Url, Self::Printable];

    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base62 => "base62",
            Self::Hex => "hex",
            Self::Base64Url => "base64url",
            Self::Printable => "printable",
        }
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Base62 => byte.is_ascii_alphanumeric(),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Base64Url => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
            Self::Printable => byte.is_ascii_graphic(),
        }
    }

    /// Whether all of `text` is of this alphabet.
    pub fn has_all(self, text: &[u8]) -> bool {
        text.iter().all(|byte| self.has(*byte))
    }

    /// Characters that hold at least 128 bits when each is drawn at random. A hexadecimal digit holds 4 bits,
    /// whichever case it is written in.
    pub const fn chars_of_128_bits(self) -> usize {
        match self {
            Self::Hex => 32,
            Self::Base62 | Self::Base64Url => 22,
            Self::Printable => 20,
        }
    }
}

/// What the texts of some imported keys look like: a tag, a range of lengths, an alphabet behind the tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegacyShape {
    tag: Box<str>,
    length_min: u16,
    length_max: u16,
    alphabet: Alphabet,
    head_len: Option<u16>,
}

/// Why a shape is none. What was expected stands in its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapeRefused {
    /// The tag is too long or has other than visible ASCII characters.
    #[error("tag: expected at most {LEGACY_TAG_LEN_MAX} visible ASCII characters, or an empty text")]
    Tag,
    /// The lengths are out of bounds, swapped, or leave nothing behind the tag.
    #[error(
        "length: expected {LEGACY_LENGTH_MIN} to {LEGACY_LENGTH_MAX} bytes, the least not above the most, the tag counted and something behind it"
    )]
    Length,
    /// The head is shorter than the tag or leaves nothing behind it.
    #[error("prefix: expected at least the tag, and less than the whole of the shortest text")]
    Head,
}

impl LegacyShape {
    /// A shape whose keys are found by the digest of their whole text alone. `length_min` and `length_max` count
    /// that text in bytes, 12 to 256, the tag among them.
    pub fn new(
        tag: &str,
        length_min: usize,
        length_max: usize,
        alphabet: Alphabet,
    ) -> Result<Self, ShapeRefused> {
        if tag.len() > LEGACY_TAG_LEN_MAX || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ShapeRefused::Tag);
        }
        let lengths = LEGACY_LENGTH_MIN.max(tag.len() + 1)..=LEGACY_LENGTH_MAX;
        if !lengths.contains(&length_min) || !lengths.contains(&length_max) || length_min > length_max {
            return Err(ShapeRefused::Length);
        }
        let short = |length: usize| u16::try_from(length).map_err(|_| ShapeRefused::Length);
        Ok(Self {
            tag: tag.into(),
            length_min: short(length_min)?,
            length_max: short(length_max)?,
            alphabet,
            head_len: None,
        })
    }

    /// The shape of keys that are found by the first `head_len` bytes of their text, which their old system
    /// showed: at least the tag, and less than the whole.
    pub fn with_head(self, head_len: usize) -> Result<Self, ShapeRefused> {
        if !(self.tag.len()..self.length_min.into()).contains(&head_len) {
            return Err(ShapeRefused::Head);
        }
        Ok(Self { head_len: Some(u16::try_from(head_len).map_err(|_| ShapeRefused::Head)?), ..self })
    }

    /// What the texts start with; may be empty.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The shortest and the longest text, in bytes.
    pub fn lengths(&self) -> (usize, usize) {
        (self.length_min.into(), self.length_max.into())
    }

    /// The characters behind the tag.
    pub const fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    /// How many of a text's first bytes are its head, where its keys are found by it.
    pub fn head_len(&self) -> Option<usize> {
        self.head_len.map(usize::from)
    }

    /// Whether a text looks so.
    pub fn fits(&self, text: &[u8]) -> bool {
        (self.length_min.into()..=self.length_max.into()).contains(&text.len())
            && text.strip_prefix(self.tag.as_bytes()).is_some_and(|body| self.alphabet.has_all(body))
    }

    /// Whether texts of this shape may start so.
    pub fn fits_head(&self, head: &str) -> bool {
        head.len() < self.length_min.into()
            && head.strip_prefix(&*self.tag).is_some_and(|body| self.alphabet.has_all(body.as_bytes()))
    }

    /// Whether enough of each text stays hidden behind tag and head.
    pub fn hides_enough(&self, head: &str) -> bool {
        usize::from(self.length_min).saturating_sub(head.len().max(self.tag.len())) >= HIDDEN_LENGTH_MIN
    }

    /// Whether a text of `length` bytes can hold 128 random bits behind the first `known` ones.
    pub fn can_be_random(&self, length: usize, known: usize) -> bool {
        length.saturating_sub(known.max(self.tag.len())) >= self.alphabet.chars_of_128_bits()
    }

    /// Whether some text may fit both, and would have two heads.
    fn disagrees_with(&self, other: &Self) -> bool {
        let both_have = self.head_len.zip(other.head_len).is_some_and(|(one, another)| one != another);
        let same_length = self.length_min <= other.length_max && other.length_min <= self.length_max;
        let reaches = |short: &Self, long: &Self| {
            long.tag.strip_prefix(&*short.tag).is_some_and(|rest| short.alphabet.has_all(rest.as_bytes()))
        };
        both_have && same_length && (reaches(self, other) || reaches(other, self))
    }
}

/// Why a profile cannot take on one more shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShapesRefused {
    /// It has [`SHAPES_MAX`] already.
    TooMany,
    /// Texts that look so have heads of another length already, which is told.
    OtherHead {
        /// Their length, in bytes.
        head_len: usize,
    },
}

/// Takes a shape on among those of its profile; nothing changes when it is there or refused. True when it is
/// new.
pub fn take_on(shapes: &mut Vec<LegacyShape>, new: &LegacyShape) -> Result<bool, ShapesRefused> {
    if shapes.contains(new) {
        return Ok(false);
    }
    let other = shapes.iter().find(|known| known.disagrees_with(new));
    if let Some(head_len) = other.and_then(LegacyShape::head_len) {
        return Err(ShapesRefused::OtherHead { head_len });
    }
    if shapes.len() >= SHAPES_MAX {
        return Err(ShapesRefused::TooMany);
    }
    shapes.push(new.clone());
    Ok(true)
}

/// Everything that a presented text is looked up by, at the doors of `profile`. Nothing when it fits none of
/// the shapes.
pub fn handles_of(
    text: &[u8],
    profile: &str,
    shapes: &[LegacyShape],
    fingerprint: Fingerprint,
) -> Vec<Handle> {
    let mut fitting = shapes.iter().filter(|shape| shape.fits(text)).peekable();
    if fitting.peek().is_none() {
        return Vec::new();
    }
    let mut handles = vec![Handle::Fingerprint(fingerprint), Handle::Digest(sha256(text))];
    // The shapes agree: one head is the head of all that have one.
    let head_len = fitting.find_map(LegacyShape::head_len);
    let parts = head_len.and_then(|length| text.split_at_checked(length));
    // A text that fits is ASCII.
    if let Some((head, long)) = parts.and_then(|(head, long)| Some((std::str::from_utf8(head).ok()?, long))) {
        handles.push(Handle::Digest(sha256(long)));
        handles.push(Handle::Head { profile: profile.into(), text: head.into() });
    }
    handles
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A shape of one length; without a head where that is 0.
    fn shape(tag: &str, length: usize, alphabet: Alphabet, head_len: usize) -> LegacyShape {
        let shape = LegacyShape::new(tag, length, length, alphabet).unwrap();
        if head_len == 0 { shape } else { shape.with_head(head_len).unwrap() }
    }

    #[test]
    fn a_text_fits_by_tag_length_and_alphabet() {
        let shape = LegacyShape::new("acme_", 21, 23, Alphabet::Hex).unwrap();
        for good in ["acme_0123456789abcdef", "acme_0123456789ABCDEF01"] {
            assert!(shape.fits(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "acme_",
            "acme_0123456789abcde",
            "acme_0123456789abcdef012",
            "acme_0123456789abcdeg",
            "acmf_0123456789abcdef",
            "ACME_0123456789abcdef",
            "acme_0123456789abcd\u{e9}",
        ] {
            assert!(!shape.fits(bad.as_bytes()), "{bad}");
        }
        assert!(!shape.fits(b"acme_0123456789abcde\0"));
    }

    #[test]
    fn a_shape_outside_its_bounds_is_refused() {
        let new = |tag: &str, min, max| LegacyShape::new(tag, min, max, Alphabet::Base62).err();
        assert_eq!(new("", 12, 256), None);
        assert_eq!(new("a b", 40, 40), Some(ShapeRefused::Tag));
        assert_eq!(new(&"a".repeat(65), 100, 100), Some(ShapeRefused::Tag));
        for (min, max) in [(11, 40), (40, 257), (41, 40), (0, 0)] {
            assert_eq!(new("sk_", min, max), Some(ShapeRefused::Length), "{min} {max}");
        }
        assert_eq!(new("a_tag_of_its_own", 16, 40), Some(ShapeRefused::Length));
        for (head, refused) in [(8, false), (39, false), (7, true), (40, true)] {
            let shape = LegacyShape::new("sk_live_", 40, 44, Alphabet::Base62).unwrap();
            assert_eq!(shape.with_head(head).is_err(), refused, "{head}");
        }
    }

    #[test]
    fn a_vouch_needs_room_for_128_bits_behind_what_is_known() {
        for (alphabet, chars) in [
            (Alphabet::Hex, 32),
            (Alphabet::Base62, 22),
            (Alphabet::Base64Url, 22),
            (Alphabet::Printable, 20),
        ] {
            let shape = LegacyShape::new("sk_live_", 12, 60, alphabet).unwrap();
            assert!(shape.can_be_random(8 + chars, 8), "{alphabet:?}");
            assert!(!shape.can_be_random(8 + chars, 9), "{alphabet:?}");
            assert!(!shape.can_be_random(7 + chars, 0), "{alphabet:?}: the tag is known");
        }
    }

    #[test]
    fn shapes_that_one_text_may_fit_agree_on_its_head() {
        let mut shapes = vec![shape("sk_", 40, Alphabet::Base64Url, 3)];
        let other = |head| shape("sk_live_", 40, Alphabet::Base62, head);
        let conflict = ShapesRefused::OtherHead { head_len: 3 };
        assert_eq!(take_on(&mut shapes, &other(12)), Err(conflict));
        assert_eq!(take_on(&mut shapes, &shape("sk_", 40, Alphabet::Hex, 4)), Err(conflict));
        assert_eq!(take_on(&mut shapes, &other(0)), Ok(true), "digests need no head");
        assert_eq!(take_on(&mut shapes, &other(0)), Ok(false), "it is there");
        let elsewhere = [
            shape("sk_live_", 41, Alphabet::Base62, 12),
            shape("pk_", 40, Alphabet::Base62, 12),
            shape("sk.", 40, Alphabet::Base62, 12),
        ];
        for shape in elsewhere {
            assert_eq!(take_on(&mut shapes, &shape), Ok(true), "{shape:?}");
        }
        for length in 50..61 {
            assert_eq!(take_on(&mut shapes, &shape("a_", length, Alphabet::Hex, 0)), Ok(true));
        }
        assert_eq!(shapes.len(), SHAPES_MAX);
        assert_eq!(take_on(&mut shapes, &shape("b_", 40, Alphabet::Hex, 0)), Err(ShapesRefused::TooMany));
    }

    #[test]
    fn a_text_is_looked_up_only_if_it_fits() {
        let shapes = [shape("acme_", 21, Alphabet::Hex, 9), shape("acme_", 21, Alphabet::Base62, 0)];
        let fingerprint = Fingerprint::from_bytes([7; 32]);
        let text = b"acme_0123456789abcdef";
        let head = Handle::Head { profile: "p".into(), text: "acme_0123".into() };
        let all = [
            Handle::Fingerprint(fingerprint),
            Handle::Digest(sha256(text)),
            Handle::Digest(sha256(b"456789abcdef")),
            head,
        ];
        assert_eq!(handles_of(text, "p", &shapes, fingerprint), all);
        let no_hex = b"acme_0123456789abcdeg";
        let by_digest = [Handle::Fingerprint(fingerprint), Handle::Digest(sha256(no_hex))];
        assert_eq!(handles_of(no_hex, "p", &shapes, fingerprint), by_digest);
        assert!(handles_of(b"acme_0123456789abcde", "p", &shapes, fingerprint).is_empty());
        assert!(handles_of(text, "p", &[], fingerprint).is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_look_up_panic(text in proptest::collection::vec(any::<u8>(), 0..80), head in 0usize..12) {
            let shape = LegacyShape::new("a", 12, 80, Alphabet::Printable).unwrap();
            let shapes: Vec<_> = shape.with_head(head).into_iter().collect();
            let handles = handles_of(&text, "p", &shapes, Fingerprint::from_bytes([0; 32]));
            prop_assert!(handles.len() <= 4);
        }
    }
}
