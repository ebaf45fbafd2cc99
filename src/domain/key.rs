//! The text of a key: `<tag><8 prefix><22 secret><2 check>`, base62 behind the tag, 32 characters in all; or a
//! text that was made elsewhere and has the shape that its import told.
//!
//! A text of our form has its tag, its length, its alphabet and its check characters right, so a typo is
//! refused before any look-up. The check is no security feature: anyone can compute it.
//!
//! Never here: a way to print a whole key. [`RawKey`] shows itself only through [`RawKey::reveal`], once, to
//! the answer that creates it, and a text that was made elsewhere never.

use std::fmt;

use zeroize::Zeroizing;

use super::legacy::LegacyShape;

/// Characters of the prefix, the public index of a key.
pub const PREFIX_LEN: usize = 8;
/// Characters of the secret: 22 × log₂ 62 = 131 bits.
pub const SECRET_LEN: usize = 22;
/// Check characters at the end.
pub const CHECK_LEN: usize = 2;
/// Characters behind the tag.
pub const BODY_LEN: usize = PREFIX_LEN + SECRET_LEN + CHECK_LEN;
/// The longest tag; with the body, a key fits into one block of the fast hash (64 bytes).
pub const TAG_LEN_MAX: usize = 24;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The brand in front of every key text of one product, such as `sk_live_`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tag(Box<str>);

impl Tag {
    /// Reads a tag: 2 to 24 characters of `a-z`, `0-9` and `_`, a letter first and `_` last.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (2..=TAG_LEN_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.ends_with('_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        fits.then(|| Self(text.into()))
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The 8 characters behind the tag: public, shown in lists, the index of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix([u8; PREFIX_LEN]);

impl Prefix {
    /// Reads a prefix: exactly 8 base62 characters.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let prefix: [u8; PREFIX_LEN] = bytes.try_into().ok()?;
        prefix.iter().all(u8::is_ascii_alphanumeric).then_some(Self(prefix))
    }

    /// The characters.
    pub const fn as_bytes(&self) -> &[u8; PREFIX_LEN] {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| fmt::Write::write_char(f, char::from(*b)))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key text that somebody presented and that is well formed: of our own form, of a legacy shape, or both by
/// chance. It proves nothing yet.
#[derive(Clone, Copy)]
pub struct PresentedKey<'a> {
    text: &'a [u8],
    form: Form,
}

#[derive(Clone, Copy)]
struct Form {
    /// Of a text of our own form.
    prefix: Option<Prefix>,
    fits_shape: bool,
}

impl<'a> PresentedKey<'a> {
    /// Reads a presented text under `tag`; `None` when the tag, the length, a character or the check is
    /// wrong.
    pub fn parse(tag: &Tag, text: &'a [u8]) -> Option<Self> {
        let body: &[u8; BODY_LEN] = text.strip_prefix(tag.as_str().as_bytes())?.try_into().ok()?;
        // All of them, whatever the first ones are: that is one step for many characters at once.
        if !body.iter().fold(true, |fits, character| fits & character.is_ascii_alphanumeric()) {
            return None;
        }
        let (checked, check) = text.split_last_chunk::<CHECK_LEN>()?;
        if check_of(checked) != *check {
            return None;
        }
        let prefix = Prefix(*body.first_chunk()?);
        Some(Self { text, form: Form { prefix: Some(prefix), fits_shape: false } })
    }

    /// Reads a presented text that was made elsewhere; `None` when it fits none of the shapes.
    pub fn legacy(text: &'a [u8], shapes: &[LegacyShape]) -> Option<Self> {
        let fits_shape = shapes.iter().any(|shape| shape.fits(text));
        fits_shape.then_some(Self { text, form: Form { prefix: None, fits_shape } })
    }

    /// The same text, once it is known whether it fits one of the shapes as well.
    #[must_use]
    pub fn or_legacy(self, shapes: &[LegacyShape]) -> Self {
        let fits_shape = shapes.iter().any(|shape| shape.fits(self.text));
        Self { text: self.text, form: Form { fits_shape, ..self.form } }
    }

    /// The whole text, tag and check included: what is fingerprinted and hashed.
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The prefix to look up; none in a text that was made elsewhere.
    pub const fn prefix(&self) -> Option<Prefix> {
        self.form.prefix
    }

    /// Whether it may be a text that was made elsewhere.
    pub const fn fits_shape(&self) -> bool {
        self.form.fits_shape
    }

    /// A copy that may outlive the request, wiped when dropped: for the slow hash, which runs elsewhere.
    pub fn to_raw(&self) -> RawKey {
        // A text that parsed or fits a shape is ASCII throughout, so nothing is lost here.
        let text = Zeroizing::new(String::from_utf8_lossy(self.text).into_owned());
        RawKey { text, form: self.form }
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey")
    }
}

/// A key text of our own making, on its way to the one answer that shows it; or one that was presented or
/// imported, which is never shown. Wiped when dropped.
pub struct RawKey {
    text: Zeroizing<String>,
    form: Form,
}

/// Random bytes that [`RawKey::mint`] takes: 30 characters need 30 of them, and each is usable with
/// probability 248/256; fewer than 30 usable ones in 64 happen less than once in 10³⁰ calls.
pub const MINT_RANDOM_BYTES: usize = 64;

impl RawKey {
    /// Makes a key from random bytes, without modulo bias: a byte of 248 or more is skipped. `None` when too
    /// many were skipped; draw anew.
    pub fn mint(tag: &Tag, random: &[u8; MINT_RANDOM_BYTES]) -> Option<Self> {
        let drawn = random.iter().filter(|byte| **byte < 248).map(|byte| usize::from(byte % 62));
        let mut text = Zeroizing::new(String::with_capacity(tag.as_str().len() + BODY_LEN));
        text.push_str(tag.as_str());
        text.extend(drawn.take(PREFIX_LEN + SECRET_LEN).map(character));
        if text.len() != tag.as_str().len() + PREFIX_LEN + SECRET_LEN {
            return None;
        }
        let check = check_of(text.as_bytes());
        text.extend(check.map(char::from));
        Self::adopt(tag, &text)
    }

    /// Takes a text that was made elsewhere by the same rules (a key file); `None` when it is not well
    /// formed.
    pub fn adopt(tag: &Tag, text: &str) -> Option<Self> {
        let form = PresentedKey::parse(tag, text.as_bytes())?.form;
        Some(Self { text: Zeroizing::new(text.to_owned()), form })
    }

    /// Takes an imported text; `None` when it does not have the shape that its import tells.
    pub fn imported(text: &str, shape: &LegacyShape) -> Option<Self> {
        let form = PresentedKey::legacy(text.as_bytes(), std::slice::from_ref(shape))?.form;
        Some(Self { text: Zeroizing::new(text.to_owned()), form })
    }

    /// The text, for the one answer or 0600 file that shows it. Of a text that was made elsewhere, nothing:
    /// whoever has it needs no copy of ours.
    pub fn reveal(&self) -> &str {
        if self.form.prefix.is_some() { &self.text } else { "" }
    }

    /// The key as its holder would present it.
    pub fn as_presented(&self) -> PresentedKey<'_> {
        PresentedKey { text: self.text.as_bytes(), form: self.form }
    }

    /// The public prefix; none in a text that was made elsewhere.
    pub const fn prefix(&self) -> Option<Prefix> {
        self.form.prefix
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawKey")
    }
}

fn character(index: usize) -> char {
    char::from(ALPHABET.get(index).copied().unwrap_or(b'0'))
}

/// CRC-32 (IEEE 802.3) of all before it, modulo 62², as two base62 characters.
fn check_of(checked: &[u8]) -> [u8; CHECK_LEN] {
    let sum = crc32fast::hash(checked) % (62 * 62);
    [sum / 62, sum % 62].map(|digit| ALPHABET.get(digit as usize).copied().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::legacy::Alphabet;
    use proptest::prelude::*;

    fn tag() -> Tag {
        Tag::parse("sk_live_").unwrap()
    }

    fn minted(random: [u8; MINT_RANDOM_BYTES]) -> Option<RawKey> {
        RawKey::mint(&tag(), &random)
    }

    #[test]
    fn a_social_crm_key_is_40_characters_long() {
        let key = minted([7; MINT_RANDOM_BYTES]).unwrap();
        assert_eq!(key.reveal().len(), 40);
        assert!(key.reveal().starts_with("sk_live_7777"));
    }

    #[test]
    fn the_check_characters_are_pinned() {
        // Keys that customers hold depend on this sum; it can never change.
        let key = minted([7; MINT_RANDOM_BYTES]).unwrap();
        assert_eq!(key.reveal(), "sk_live_777777777777777777777777777777Eh");
    }

    #[test]
    fn bytes_that_would_bias_the_draw_are_skipped() {
        let mut random = [7; MINT_RANDOM_BYTES];
        random[..10].fill(255);
        assert_eq!(minted(random).unwrap().reveal(), minted([7; MINT_RANDOM_BYTES]).unwrap().reveal());
        assert!(minted([250; MINT_RANDOM_BYTES]).is_none());
    }

    /// Attack A15. The randomness is a fixed stream, so that only a defect of ours can fail it.
    #[test]
    fn of_a_hundred_thousand_keys_no_two_are_alike_and_every_place_has_every_character_as_often() {
        const KEYS: usize = 100_000;
        let mut stream = blake3::Hasher::new().update(b"a hundred thousand keys").finalize_xof();
        let mut seen = std::collections::HashSet::new();
        let mut counts = [[0_u32; 62]; PREFIX_LEN + SECRET_LEN];
        for _ in 0..KEYS {
            let mut random = [0; MINT_RANDOM_BYTES];
            stream.fill(&mut random);
            let key = minted(random).unwrap();
            let drawn = &key.reveal().as_bytes()["sk_live_".len()..][..PREFIX_LEN + SECRET_LEN];
            for (counts, character) in counts.iter_mut().zip(drawn) {
                counts[ALPHABET.iter().position(|known| known == character).unwrap()] += 1;
            }
            assert!(seen.insert(drawn.to_vec()));
        }
        // Of 61 degrees of freedom: above 111 once in ten thousand places. Bytes taken modulo 62 as they come give
        // some 700.
        let expected = f64::from(u32::try_from(KEYS).unwrap()) / 62.0;
        for (place, counts) in counts.iter().enumerate() {
            let chi_squared: f64 =
                counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
            assert!(chi_squared < 111.0, "place {place}: {chi_squared}");
        }
    }

    #[test]
    fn a_key_never_shows_itself_in_debug_output() {
        let key = minted([7; MINT_RANDOM_BYTES]).unwrap();
        assert_eq!(format!("{key:?} {:?}", key.as_presented()), "RawKey PresentedKey");
    }

    #[test]
    fn an_imported_text_is_presented_as_it_is_and_never_revealed() {
        let shape = LegacyShape::new("acme_", 21, 21, Alphabet::Hex).unwrap();
        let text = "acme_0123456789abcdef";
        assert!(RawKey::imported("acme_0123456789abcdeg", &shape).is_none());
        let raw = RawKey::imported(text, &shape).unwrap();
        assert_eq!((raw.reveal(), raw.prefix()), ("", None));
        assert_eq!(raw.as_presented().text(), text.as_bytes());
        let presented = PresentedKey::legacy(text.as_bytes(), std::slice::from_ref(&shape)).unwrap();
        assert!(presented.fits_shape() && presented.to_raw().as_presented().fits_shape());
        assert!(PresentedKey::parse(&tag(), text.as_bytes()).is_none());
        let own = minted([7; MINT_RANDOM_BYTES]).unwrap();
        assert!(!own.as_presented().or_legacy(&[shape]).fits_shape());
        let both = LegacyShape::new("sk_", 40, 40, Alphabet::Base64Url).unwrap();
        let both = own.as_presented().or_legacy(&[both]);
        assert!(both.fits_shape() && both.prefix() == own.prefix());
    }

    #[test]
    fn a_malformed_tag_is_refused() {
        for bad in ["", "_", "sk", "SK_", "1k_", "sk-live_", "sk_live_sk_live_sk_live_sk_"] {
            assert!(Tag::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nearly_every_changed_character_is_seen_as_a_typo() {
        let key = minted(std::array::from_fn(|place| u8::try_from(place * 3).unwrap())).unwrap();
        let mut slipped = 0;
        let mut tried = 0;
        for place in 8..key.reveal().len() {
            for other in ALPHABET {
                let mut text = key.reveal().as_bytes().to_vec();
                if text[place] != *other {
                    text[place] = *other;
                    tried += 1;
                    slipped += usize::from(PresentedKey::parse(&tag(), &text).is_some());
                }
            }
        }
        // CRC-32 sees each single change; modulo 62² about one in 3,844 slips through, to the look-up.
        assert_eq!(tried, 32 * 61);
        assert!(slipped <= 4, "{slipped} of {tried}");
    }

    proptest! {
        #[test]
        fn parsing_a_minted_key_gives_it_back(random in proptest::array::uniform32(any::<u8>())) {
            let mut bytes = [0; MINT_RANDOM_BYTES];
            bytes[..32].copy_from_slice(&random);
            bytes[32..].copy_from_slice(&random);
            if let Some(key) = minted(bytes) {
                let presented = PresentedKey::parse(&tag(), key.reveal().as_bytes()).unwrap();
                prop_assert_eq!(presented.text(), key.reveal().as_bytes());
                prop_assert_eq!(presented.prefix(), key.prefix());
                prop_assert_eq!(&key.reveal()[8..16], key.prefix().unwrap().to_string());
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = PresentedKey::parse(&tag(), &text);
        }
    }
}
