//! SHA-256 of a text, of imported keys alone: a fast digest, by which a key is found and compared at once.
//!
//! It is sound only over a text that cannot be guessed, which the import asks about.
//!
//! Never here: a salt, or a digest in hexadecimal at rest.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};

const EITHER_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// The digest of a text.
pub fn sha256(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Reads a digest that another system wrote: 64 hexadecimal digits of either case, or base64 or base64url
/// with or without its padding. `None` when it is none of these or not 32 bytes.
pub fn read_sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    match text.len() {
        64 => hex::decode_to_slice(text, &mut digest).ok()?,
        43 | 44 => {
            let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?;
            digest = bytes.try_into().ok()?;
        }
        _ => return None,
    }
    Some(digest)
}

/// As it stands at rest: base64 without padding.
pub(super) fn write_sha256(digest: &[u8; 32]) -> String {
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vector of FIPS 180-2, in every form.
    const ABC: [&str; 6] = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0=",
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
    ];

    #[test]
    fn a_digest_is_read_in_every_form_that_systems_write() {
        for form in ABC {
            assert_eq!(read_sha256(form), Some(sha256(b"abc")), "{form}");
        }
        assert_eq!(write_sha256(&sha256(b"abc")), ABC[3]);
    }

    #[test]
    fn what_is_no_digest_is_none() {
        let mixed = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
        let long = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0A";
        for bad in ["", "abc", &ABC[0][1..], &ABC[0].replace('b', "g"), mixed, long, "ü".repeat(22).as_str()]
        {
            assert_eq!(read_sha256(bad), None, "{bad}");
        }
    }
}
