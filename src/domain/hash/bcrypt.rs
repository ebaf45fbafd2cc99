//! Bcrypt, of imported keys alone.
//!
//! Bcrypt reads 72 bytes and forgets the rest, and many systems let it: the hash of a longer text is also the
//! hash of its first 72 bytes. A text of 72 bytes could therefore be the start of somebody's key, so only
//! shorter ones are ever compared.
//!
//! Never here: `$2x$`, the hash of a known bug, or a new hash.

use super::stored_hash::{HashKind, HashRefused, in_bounds};

const KIND: HashKind = HashKind::Bcrypt;
/// The longest text whose whole bytes the hash is sure to have read.
pub(super) const TEXT_BYTES_MAX: usize = 71;
/// As a power of two. 12 takes about a quarter of a second, as long as a worker may be held.
const COST: std::ops::RangeInclusive<u32> = 4..=12;

/// Whether a text says that it is of this kind.
pub(super) fn is_meant(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|start| text.starts_with(start))
}

/// Checks a hash's form and cost, without running it.
pub(super) fn check(text: &str) -> Result<(), HashRefused> {
    let malformed = HashRefused::Malformed { kind: KIND };
    // The crate's own parser takes a sign for a digit.
    let digits = text.get(4..6).filter(|cost| cost.bytes().all(|b| b.is_ascii_digit()));
    let cost = digits.and_then(|cost| cost.parse().ok()).ok_or(malformed)?;
    text.parse::<::bcrypt::HashParts>().map_err(|_| malformed)?;
    in_bounds(KIND, "cost", cost, COST).map(drop)
}

/// Runs the hash over a presented text and compares in constant time.
pub(super) fn matches(stored: &str, text: &[u8]) -> bool {
    // The password is read as if repeated with a zero byte between, so one with a zero in it has a twin.
    let is_exact = text.len() <= TEXT_BYTES_MAX && !text.contains(&0);
    is_exact && ::bcrypt::non_truncating_verify(text, stored).unwrap_or(false)
}
