//! Request signatures: how one is read, over what it is made, and from when to when it may be used.
//!
//! Two forms. The *body form* is HMAC-SHA256 over `"{timestamp}.{body}"`, under header names that a profile
//! chooses; it binds neither method nor path and has no nonce. [`V1_HEADER`] is ours and binds all of them:
//! `v1;t=<unix seconds>;n=<nonce>;s=<hex>`, its MAC over [`V1_CONTEXT`], `t`, `n`, method, path, query (empty
//! when there is none) and the body's SHA-256 in lower-case hex, a line feed between each two. Both are keyed
//! by the whole key text and compared in constant time; hex may be in either letter case.
//!
//! Never here: whether a signature was used before (replays), or a header map.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::id::KeyId;
use super::proof::Proof;
use super::time::Wall;

/// How old a stamp may be, in whole seconds, the last one included.
pub const BACK_SECS_MAX: i64 = 300;
/// How far ahead of our clock a stamp may be, in whole seconds, the last one included.
pub const AHEAD_SECS_MAX: i64 = 5;
/// The one header of our own form, in lower case. It is taken in every profile.
pub const V1_HEADER: &str = "keyward-signature";
/// The first line of what our own form signs.
pub const V1_CONTEXT: &str = "keyward-v1";
/// Characters of a nonce, base64url's.
pub const NONCE_LEN: std::ops::RangeInclusive<usize> = 16..=64;

/// Bytes of a MAC.
const MAC_LEN: usize = 32;
/// The most digits of a stamp: until the year 33658.
const STAMP_DIGITS_MAX: usize = 12;

/// Under which names a profile takes the body form, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningHeaders {
    /// The header of the stamp.
    pub timestamp: String,
    /// The header of the signature.
    pub signature: String,
}

/// The whole second that a stamp names, since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp(i64);

impl Stamp {
    /// The stamp of this second.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    /// Whole seconds since the Unix epoch.
    pub const fn secs(self) -> i64 {
        self.0
    }

    /// The last stamp that may be in use at `now`.
    #[must_use]
    pub const fn last_at(now: Wall) -> Self {
        Self(now.secs().saturating_add(AHEAD_SECS_MAX))
    }

    /// Whether it is in its window at `now`, both told in whole seconds: 300 back and 5 ahead are inside, 301
    /// and 6 are not.
    pub const fn is_current(self, now: Wall) -> bool {
        !self.is_over(now) && self.0 <= Self::last_at(now).0
    }

    /// Whether it has left its window for good.
    pub const fn is_over(self, now: Wall) -> bool {
        now.secs().saturating_sub(self.0) > BACK_SECS_MAX
    }

    /// Whole seconds from `now` until it has left its window; 0 when it has.
    pub fn secs_left(self, now: Wall) -> u32 {
        let over_at = self.0.saturating_add(BACK_SECS_MAX + 1);
        u32::try_from(over_at.saturating_sub(now.secs()).max(0)).unwrap_or(u32::MAX)
    }

    /// Plain digits, none in front that could be left out.
    fn parse(text: &str) -> Option<Self> {
        let plain = (1..=STAMP_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'));
        if plain { text.parse().ok().map(Self) } else { None }
    }
}

/// A MAC. A right one is shown nowhere: until its stamp leaves the window it is worth as much as the request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignatureMac([u8; MAC_LEN]);

impl SignatureMac {
    /// The MAC with these bytes.
    pub const fn from_bytes(bytes: [u8; MAC_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; MAC_LEN] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; MAC_LEN];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for SignatureMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureMac")
    }
}

/// A signature as it was sent and could be read. It says nothing yet.
#[derive(Clone, Debug)]
pub struct SentSignature {
    stamp: Stamp,
    mac: SignatureMac,
    /// Our own form has one.
    nonce: Option<String>,
}

impl SentSignature {
    /// Reads the two headers of the body form.
    pub fn of_body(timestamp: &str, signature: &str) -> Option<Self> {
        let (stamp, mac) = (Stamp::parse(timestamp)?, SignatureMac::parse(signature)?);
        Some(Self { stamp, mac, nonce: None })
    }

    /// Reads the header of our own form: its parts in their order, nothing between or around them.
    pub fn v1(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("v1;t=")?.splitn(3, ';');
        let stamp = Stamp::parse(parts.next()?)?;
        let nonce = parts.next()?.strip_prefix("n=")?;
        let mac = SignatureMac::parse(parts.next()?.strip_prefix("s=")?)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = NONCE_LEN.contains(&nonce.len()) && nonce.bytes().all(is_plain);
        fits.then(|| Self { stamp, mac, nonce: Some(nonce.to_owned()) })
    }

    /// Whether `signer` made it over this request. Constant time in the MAC.
    pub fn signed_by(&self, signer: &Signer, request: &Signable<'_>) -> Option<Signed> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&signer.text).ok()?;
        // A stamp was read in its one spelling, so this is the text that was sent.
        let stamp = self.stamp.0.to_string();
        match &self.nonce {
            None => {
                mac.update(stamp.as_bytes());
                mac.update(b".");
                mac.update(request.body);
            }
            Some(nonce) => {
                let body = hex::encode(Sha256::digest(request.body));
                let query = request.query.unwrap_or_default();
                for line in [V1_CONTEXT, &stamp, nonce, request.method, request.path, query] {
                    mac.update(line.as_bytes());
                    mac.update(b"\n");
                }
                mac.update(body.as_bytes());
            }
        }
        mac.verify_slice(&self.mac.0).ok()?;
        Some(Signed { proof: signer.proof, stamp: self.stamp, mac: self.mac })
    }
}

/// What a request says of its signature.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// Something that is no signature: half of one, two, or one that cannot be read.
    Unreadable,
    /// This.
    Signature(SentSignature),
}

/// What can be signed of a request, as it was received and as it is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, escapes and all.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: Option<&'a str>,
    /// The body's bytes, without their framing.
    pub body: &'a [u8],
}

/// A proven key's text, as the key of its MACs. Shows itself nowhere, wiped when dropped.
pub struct Signer {
    proof: Proof,
    text: Zeroizing<Vec<u8>>,
}

impl Signer {
    /// The signer behind a text and the proof that it gave.
    pub fn new(proof: Proof, text: &[u8]) -> Self {
        Self { proof, text: Zeroizing::new(text.to_vec()) }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Evidence that a key signed a request. It says nothing of its window, nor whether it was used before.
#[derive(Debug)]
pub struct Signed {
    proof: Proof,
    stamp: Stamp,
    mac: SignatureMac,
}

impl Signed {
    /// By which key and secret.
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// When, as the signer says.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What it is remembered by.
    pub(super) const fn used(&self) -> UsedSignature {
        UsedSignature { key: self.proof.key(), stamp: self.stamp, mac: self.mac }
    }
}

/// A signature that was taken, as the replay memory keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedSignature {
    /// The key that made it.
    pub key: KeyId,
    /// Its stamp.
    pub stamp: Stamp,
    /// Its MAC.
    pub mac: SignatureMac,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::proof::samples::proof_of;

    const KEY: &[u8] = b"sk_mcp_AbCdEfGh0123456789abcdefghijklXY";
    const AT: i64 = 1_800_000_000;
    const BODY: &[u8] = br#"{"model":"small","prompt":"hi"}"#;
    // Made with Python's hmac and hashlib.
    const OF_BODY: &str = "12d0a2f16c0b2b918b26d7998ab84f68512f894630f405ae88b33c4d358e7565";
    const OF_V1: &str = "42d7bf30e2cdfe879b048cd72caf50212b5473cf1d70d312a14dedd6cd1ce786";
    const OF_EMPTY: &str = "352577954b8c9f7c9f1b5c3af5b0dc5468a0b2d4422a8fd5e7bd20f6194c48dc";
    const NONCE: &str = "AAAAbbbb-___0000";

    fn signer() -> Signer {
        Signer::new(proof_of(KeyId::from_u128(7)), KEY)
    }

    const fn request() -> Signable<'static> {
        Signable { method: "POST", path: "/v1/chat/completions", query: Some("a=1&b=%20"), body: BODY }
    }

    fn v1(stamp: &str, nonce: &str, mac: &str) -> Option<SentSignature> {
        SentSignature::v1(&format!("v1;t={stamp};n={nonce};s={mac}"))
    }

    #[test]
    fn the_body_form_is_the_mac_of_stamp_dot_body() {
        let sent = SentSignature::of_body(&AT.to_string(), OF_BODY).unwrap();
        let signed = sent.signed_by(&signer(), &request()).unwrap();
        assert_eq!((signed.proof().key(), signed.stamp()), (KeyId::from_u128(7), Stamp::from_secs(AT)));
        let shouted = SentSignature::of_body(&AT.to_string(), &OF_BODY.to_ascii_uppercase()).unwrap();
        assert!(shouted.signed_by(&signer(), &request()).is_some());
        // Neither method nor path is bound: that is this form's weakness, and not ours to mend.
        let elsewhere = Signable { method: "PUT", path: "/x", query: None, body: BODY };
        assert!(sent.signed_by(&signer(), &elsewhere).is_some());
        let other = Signable { body: b"{}", ..request() };
        assert!(sent.signed_by(&signer(), &other).is_none());
        let later = SentSignature::of_body(&(AT + 1).to_string(), OF_BODY).unwrap();
        assert!(later.signed_by(&signer(), &request()).is_none());
        assert!(sent.signed_by(&Signer::new(signer().proof, b"another"), &request()).is_none());
    }

    #[test]
    fn our_form_binds_every_part_of_the_request() {
        let sent = v1(&AT.to_string(), NONCE, OF_V1).unwrap();
        assert!(sent.signed_by(&signer(), &request()).is_some());
        for other in [
            Signable { method: "PUT", ..request() },
            Signable { path: "/v1/chat/completion", ..request() },
            Signable { query: Some("a=1&b=%21"), ..request() },
            Signable { query: None, ..request() },
            Signable { body: br#"{"model":"small","prompt":"hI"}"#, ..request() },
        ] {
            assert!(sent.signed_by(&signer(), &other).is_none(), "{other:?}");
        }
        assert!(
            v1(&(AT + 1).to_string(), NONCE, OF_V1).unwrap().signed_by(&signer(), &request()).is_none(),
            "its stamp"
        );
        let another = v1(&AT.to_string(), "AAAAbbbb-___0001", OF_V1).unwrap();
        assert!(another.signed_by(&signer(), &request()).is_none(), "its nonce");
        let empty = Signable { method: "GET", path: "/v1/models", query: None, body: b"" };
        assert!(v1(&AT.to_string(), NONCE, OF_EMPTY).unwrap().signed_by(&signer(), &empty).is_some());
    }

    #[test]
    fn what_is_not_exactly_a_signature_is_not_read() {
        assert!(SentSignature::of_body("1800000000", OF_BODY).is_some());
        for stamp in ["", "+1800000000", "-1", "01800000000", "1.8e9", " 1800000000", "18000000000000", "1_8"]
        {
            assert!(SentSignature::of_body(stamp, OF_BODY).is_none(), "{stamp:?}");
            assert!(v1(stamp, NONCE, OF_V1).is_none(), "{stamp:?}");
        }
        let short = &OF_BODY[1..];
        for mac in ["", short, &format!("{OF_BODY}00"), &format!("g{short}"), &format!(" {short}")] {
            assert!(SentSignature::of_body("1", mac).is_none(), "{mac:?}");
            assert!(v1("1", NONCE, mac).is_none(), "{mac:?}");
        }
        for nonce in ["", "fifteen_is_less", &"x".repeat(65), "sixteen_chars+/=", "sixteen_chars;xx"] {
            assert!(v1("1", nonce, OF_V1).is_none(), "{nonce:?}");
        }
        assert!(v1("1", &"x".repeat(64), OF_V1).is_some());
        for text in ["", "v1", "v2;t=1;n=", "V1;t=1;n=AAAAbbbb-___0000;s=", "v1; t=1;n=AAAAbbbb-___0000;s="] {
            assert!(SentSignature::v1(&format!("{text}{OF_V1}")).is_none(), "{text}");
        }
        let twice = format!("v1;t=1;t=1;n={NONCE};s={OF_V1}");
        let turned = format!("v1;n={NONCE};t=1;s={OF_V1}");
        for text in [twice, turned, format!("v1;t=1;n={NONCE};s={OF_V1};")] {
            assert!(SentSignature::v1(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_window_is_300_seconds_back_and_5_ahead_and_takes_in_both_ends() {
        let now = Wall::from_secs(AT).plus_micros(999_999);
        let at = |ahead: i64| Stamp::from_secs(AT + ahead);
        assert!(at(-300).is_current(now) && at(0).is_current(now) && at(5).is_current(now));
        assert!(!at(-301).is_current(now) && at(-301).is_over(now));
        assert!(!at(6).is_current(now) && !at(6).is_over(now));
        assert_eq!((at(-300).secs_left(now), at(0).secs_left(now), at(-301).secs_left(now)), (1, 301, 0));
    }

    #[test]
    fn nothing_here_shows_a_mac_or_a_key() {
        let sent = SentSignature::of_body("1", OF_BODY).unwrap();
        let shown = format!("{sent:?} {:?}", signer());
        assert!(!shown.contains(&OF_BODY[..8]) && !shown.contains("sk_mcp"), "{shown}");
    }
}
