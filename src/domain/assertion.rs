//! What an upstream can check of a caller without asking back: a JSON Web Token (RFC 7519), signed with
//! Ed25519 (RFC 8037).
//!
//! Whoever holds the public key knows that we said it, of whom, to which upstream, and until when. The
//! signing key comes from an install secret, so it needs no file of its own and changes when that does.
//!
//! Never here: a token that outlives its minute, or anything of a key's text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::hash::INSTALL_SECRET_LEN;
use super::id::{KeyId, WorkspaceId};
use super::time::Wall;

/// How long a token says that it holds, in seconds: enough for clocks that differ a little, and for one call.
pub const ASSERTION_SECS: i64 = 60;

const KEY_CONTEXT: &str = "keyward 2026-11-22 assertion signing key";

/// What is asserted of one caller.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// For whom: the profile's name.
    pub audience: &'a str,
    /// Who asks.
    pub key: KeyId,
    /// Whose key it is.
    pub workspace: WorkspaceId,
    /// The workspace's plan.
    pub plan: &'a str,
    /// The permissions held, with spaces between.
    pub scopes: &'a str,
    /// From when it holds, cut to whole seconds.
    pub issued_at: Wall,
}

/// The public half of a signing key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssertionKey {
    /// Its name: its thumbprint (RFC 7638).
    pub id: String,
    /// Its point, in base64url: the member `x` of its JSON Web Key.
    pub x: String,
}

/// Signs under one install secret.
pub struct AssertionSigner {
    /// Not wiped when dropped, since its crate does not: it can be made again from the secret at any time.
    pair: Ed25519KeyPair,
    key: AssertionKey,
    /// The first part of each token, with its dot.
    head: String,
}

impl AssertionSigner {
    /// The signer of an install secret; `None` when the provider refuses the seed, which no seed has had it do.
    pub fn new(install_secret: &[u8; INSTALL_SECRET_LEN]) -> Option<Self> {
        let seed = Zeroizing::new(blake3::derive_key(KEY_CONTEXT, install_secret));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // The members that RFC 7638 asks for, in its order.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        let head = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"JWT"}}"#)) + ".";
        Some(Self { pair, key: AssertionKey { id, x }, head })
    }

    /// The key that checks what this one signs.
    pub const fn key(&self) -> &AssertionKey {
        &self.key
    }

    /// The token of these claims; `None` when one of them is a text that no name of ours can be.
    pub fn sign(&self, claims: &Claims<'_>) -> Option<String> {
        let Claims { audience, key, workspace, plan, scopes, issued_at } = *claims;
        if ![audience, plan, scopes].into_iter().all(is_plain) {
            return None;
        }
        let from = issued_at.micros().div_euclid(1_000_000);
        let until = from.saturating_add(ASSERTION_SECS);
        let body = format!(
            r#"{{"iss":"keyward","aud":"{audience}","sub":"{key}","workspace":"{workspace}","plan":"{plan}","scope":"{scopes}","iat":{from},"exp":{until}}}"#
        );
        let mut token = String::with_capacity(self.head.len() + body.len() * 4 / 3 + 96);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(body, &mut token);
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

impl fmt::Debug for AssertionSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionSigner").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Whether a text stands in JSON as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn claims(plan: &str) -> Claims<'_> {
        Claims {
            audience: "my-api",
            key: KeyId::from_u128(1),
            workspace: WorkspaceId::from_u128(2),
            plan,
            scopes: "posts:read posts:*",
            issued_at: Wall::from_micros(1_767_268_800_999_999),
        }
    }

    fn decoded(part: &str) -> String {
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_token_says_of_whom_to_whom_and_until_when_and_its_key_checks_it() {
        let signer = AssertionSigner::new(&[7; 32]).unwrap();
        let token = signer.sign(&claims("pro")).unwrap();
        let (content, signature) = token.rsplit_once('.').unwrap();
        let (head, body) = content.split_once('.').unwrap();
        let (id, x) = (&signer.key().id, &signer.key().x);
        assert_eq!(decoded(head), format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"JWT"}}"#));
        let (key, workspace) = (KeyId::from_u128(1), WorkspaceId::from_u128(2));
        assert_eq!(
            decoded(body),
            format!(
                r#"{{"iss":"keyward","aud":"my-api","sub":"{key}","workspace":"{workspace}","plan":"pro","scope":"posts:read posts:*","iat":1767268800,"exp":1767268860}}"#
            )
        );
        let public = UnparsedPublicKey::new(&ED25519, URL_SAFE_NO_PAD.decode(x).unwrap());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(content.as_bytes(), &signature).unwrap();
        public.verify(content.replace('.', "_").as_bytes(), &signature).unwrap_err();
        let other = AssertionSigner::new(&[8; 32]).unwrap();
        assert_ne!(other.key(), signer.key());
        UnparsedPublicKey::new(&ED25519, URL_SAFE_NO_PAD.decode(&other.key().x).unwrap())
            .verify(content.as_bytes(), &signature)
            .unwrap_err();
    }

    #[test]
    fn one_secret_makes_one_key_and_shows_itself_nowhere() {
        let signer = AssertionSigner::new(&[7; 32]).unwrap();
        assert_eq!(AssertionSigner::new(&[7; 32]).unwrap().key(), signer.key());
        assert_eq!(signer.key().id.len(), 43);
        assert_eq!(format!("{signer:?}"), format!("AssertionSigner {{ key: {:?}, .. }}", signer.key()));
    }

    #[test]
    fn what_would_need_an_escape_is_not_signed() {
        let signer = AssertionSigner::new(&[7; 32]).unwrap();
        assert!(signer.sign(&claims("a b")).is_some());
        for plan in ["a\"b", "a\\b", "a\nb", "é", "a\u{7f}"] {
            assert!(signer.sign(&claims(plan)).is_none(), "{plan:?}");
        }
    }
}
