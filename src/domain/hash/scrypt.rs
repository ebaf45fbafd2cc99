//! Scrypt, of imported keys alone.
//!
//! Memory and time are bounded together: the table of one run is at most 64 MiB, and it is filled at most
//! four times.
//!
//! Never here: a new hash.

use std::ops::RangeInclusive;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::stored_hash::{HashKind, HashRefused, OUTPUT_BYTES, OUTPUT_BYTES_MAX, decimals, in_bounds};

const KIND: HashKind = HashKind::Scrypt;
/// Blocks of 128 bytes in one step. Nearly everyone has 8; the bound keeps what is held beside the table small.
const BLOCKS: RangeInclusive<u32> = 1..=64;
/// The most times that the table is filled.
const FILLS: RangeInclusive<u32> = 1..=4;
/// The table takes 2^ln × r × 128 bytes, so this is ln for r = 1: 64 MiB.
const LOG_STEPS_MAX: u32 = 19;

/// A scrypt hash, its cost known to be inside the bounds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Scrypt {
    log_steps: u8,
    blocks: u32,
    fills: u32,
    salt: Salt,
    output: Output,
}

impl Scrypt {
    pub(super) fn read(phc: &PasswordHash) -> Result<Self, HashRefused> {
        let malformed = HashRefused::Malformed { kind: KIND };
        let [log_steps, blocks, fills] = decimals(phc, ["ln", "r", "p"]).ok_or(malformed)?;
        let blocks = in_bounds(KIND, "r", blocks, BLOCKS)?;
        let fills = in_bounds(KIND, "p", fills, FILLS)?;
        // The largest ln for which the table stays within its bound.
        let log_steps_max = LOG_STEPS_MAX - blocks.next_power_of_two().trailing_zeros();
        let log_steps = in_bounds(KIND, "ln (64 MiB for this r)", log_steps, 1..=log_steps_max)?;
        let (None, Some(salt), Some(output)) = (phc.version, phc.salt, phc.hash) else {
            return Err(malformed);
        };
        in_bounds(KIND, "output bytes", output.len(), OUTPUT_BYTES)?;
        let log_steps = u8::try_from(log_steps).map_err(|_| malformed)?;
        Ok(Self { log_steps, blocks, fills, salt, output })
    }

    /// Runs the hash over a presented text and compares in constant time.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        // HMAC fills its key up with zero bytes, so a text that ends with one has a shorter twin.
        if text.contains(&0) {
            return false;
        }
        let stored = self.output.as_bytes();
        let mut output = Zeroizing::new([0; OUTPUT_BYTES_MAX]);
        let Some(presented) = output.get_mut(..stored.len()) else { return false };
        let Ok(params) = ::scrypt::Params::new(self.log_steps, self.blocks, self.fills) else { return false };
        let ran = ::scrypt::scrypt(text, self.salt.as_ref(), &params, presented);
        ran.is_ok() && bool::from((*presented).ct_eq(stored))
    }
}
