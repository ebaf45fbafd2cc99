//! Feeds `PresentedKey::parse` with what a caller may send as a key: any bytes, under three tags.
//!
//! What always holds: it never panics; what parses has the tag, the length and the alphabet, gives its own
//! text back, shows as prefix the 8 characters behind the tag, and parses again when a key file gives it to
//! `RawKey::adopt`. So that the check characters do not stop every input at the door, the same bytes are also
//! minted into a key, which must parse, and then lose one character, which must not.
//!
//! Not covered: headers and framing around the key, the look-up behind it, and any proof. A changed character
//! behind the tag may meet the check of another key (one in 3,844), so only a cut text is asked to be
//! refused.

use keyward::domain::key::{BODY_LEN, MINT_RANDOM_BYTES, PREFIX_LEN, PresentedKey, RawKey, Tag};

const TAGS: [&str; 3] = ["sk_live_", "mcp_", "a_"];

pub(crate) fn check(text: &[u8]) {
    for tag in TAGS.into_iter().filter_map(Tag::parse) {
        if let Some(key) = PresentedKey::parse(&tag, text) {
            what_parses_round_trips(&tag, text, &key);
        }
        what_is_minted_parses(&tag, text);
    }
}

fn what_parses_round_trips(tag: &Tag, text: &[u8], key: &PresentedKey<'_>) {
    assert!(key.text() == text, "a parsed key gives another text back");
    let body = text.strip_prefix(tag.as_str().as_bytes()).expect("a parsed key has its tag");
    assert!(body.len() == BODY_LEN && body.iter().all(u8::is_ascii_alphanumeric));
    assert!(
        key.prefix().is_some_and(|prefix| prefix.as_bytes()[..] == body[..PREFIX_LEN]),
        "the prefix is not what stands behind the tag"
    );

    let written = str::from_utf8(text).expect("tag and body are ASCII");
    let adopted = RawKey::adopt(tag, written).expect("what parses is adopted");
    assert!(adopted.reveal() == written && adopted.prefix() == key.prefix());
}

fn what_is_minted_parses(tag: &Tag, text: &[u8]) {
    let mut random = [0; MINT_RANDOM_BYTES];
    for (place, byte) in random.iter_mut().zip(text) {
        *place = *byte;
    }
    let Some(key) = RawKey::mint(tag, &random) else {
        return;
    };
    let presented = PresentedKey::parse(tag, key.reveal().as_bytes()).expect("what is minted parses");
    what_parses_round_trips(tag, key.reveal().as_bytes(), &presented);
    let (_, cut) = key.reveal().as_bytes().split_last().expect("a key is not empty");
    assert!(PresentedKey::parse(tag, cut).is_none(), "a cut key parses");
}
