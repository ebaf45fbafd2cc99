//! A key's hash at rest: argon2id for our own, and for imported keys whatever their old system had.
//!
//! Whoever holds one may run it: parameters outside the bounds do not parse, so that no record and no import
//! can make a worker run for minutes or take gigabytes. Every kind compares in constant time.
//!
//! Never here: on which thread a hash runs, or a text that was hashed.

use std::fmt;
use std::ops::RangeInclusive;

use argon2::password_hash::phc::PasswordHash;
use subtle::ConstantTimeEq;

use super::argon2id::Argon2id;
use super::scrypt::Scrypt;
use super::sha256::{read_sha256, sha256, write_sha256};
use super::{SALT_LEN, SlowHashCost, SlowHashMemory, bcrypt};
use crate::domain::key::PresentedKey;

/// The most bytes of output of any kind.
pub(super) const OUTPUT_BYTES_MAX: usize = 64;
/// What a hash's output may have: below 128 bits another text might match by chance.
pub(super) const OUTPUT_BYTES: RangeInclusive<usize> = 16..=OUTPUT_BYTES_MAX;

const WHOLE: &str = "$sha256$";
const LONG: &str = "$sha256-long$";

/// A hash at rest, its cost known to be inside the bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    text: Box<str>,
    form: Form,
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Argon2id(Argon2id),
    /// All of it is in the text.
    Bcrypt,
    Scrypt(Scrypt),
    Sha256([u8; 32]),
    Sha256Long([u8; 32]),
}

/// What a [`StoredHash`] is made by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashKind {
    /// Argon2id, as every key of our own making has.
    Argon2id,
    /// Bcrypt.
    Bcrypt,
    /// Scrypt.
    Scrypt,
    /// SHA-256 of the whole text.
    Sha256,
    /// SHA-256 of what stands behind the head that the old system showed.
    Sha256Long,
}

impl HashKind {
    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
            Self::Scrypt => "scrypt",
            Self::Sha256 => "sha256",
            Self::Sha256Long => "sha256_long",
        }
    }
}

/// Why a hash of another system is not taken. It never repeats the hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashRefused {
    /// None of the forms that are known.
    UnknownForm,
    /// It begins as one of them and does not go on so.
    Malformed {
        /// Which.
        kind: HashKind,
    },
    /// A version of argon2 other than 19, or none told.
    Argon2Version,
    /// A parameter lies outside its bounds.
    OutOfBounds {
        /// Of which kind.
        kind: HashKind,
        /// Which parameter.
        name: &'static str,
        /// The least that is taken.
        least: u32,
        /// The most that is taken.
        most: u32,
    },
}

impl fmt::Display for HashRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownForm => f.write_str(
                "a hash of no known form: expected argon2id or scrypt as a PHC string ($argon2id$…, $scrypt$…) or \
                 bcrypt ($2a$…, $2b$…, $2y$…)",
            ),
            Self::Malformed { kind } => write!(f, "a malformed {} hash", kind.name()),
            Self::Argon2Version => f.write_str("an argon2id hash of another version: expected v=19"),
            Self::OutOfBounds { kind, name, least, most } => {
                write!(f, "{} with {name} out of bounds: expected {least} to {most}", kind.name())
            }
        }
    }
}

impl StoredHash {
    /// Reads what the store has; `None` when it is malformed or its cost out of bounds.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_imported(text).ok()
    }

    /// Reads a hash that another system made: argon2id (version 19, m at most 65,536 KiB, t and p at most 4)
    /// or scrypt (at most 64 MiB, p at most 4) as PHC strings with 8 to 48 bytes of salt and 16 to 64 of
    /// output, bcrypt of a cost of 4 to 12, or a SHA-256 in the form that the store has it in.
    pub fn parse_imported(text: &str) -> Result<Self, HashRefused> {
        let form = if bcrypt::is_meant(text) {
            bcrypt::check(text).map(|()| Form::Bcrypt)
        } else if let Some(digest) = text.strip_prefix(WHOLE) {
            canonical(digest).map(Form::Sha256).ok_or(HashRefused::Malformed { kind: HashKind::Sha256 })
        } else if let Some(digest) = text.strip_prefix(LONG) {
            canonical(digest)
                .map(Form::Sha256Long)
                .ok_or(HashRefused::Malformed { kind: HashKind::Sha256Long })
        } else {
            of_phc(text)
        };
        form.map(|form| Self { text: text.into(), form })
    }

    /// The hash of a key that is known by the SHA-256 of its whole text.
    pub fn sha256_whole(digest: [u8; 32]) -> Self {
        let text = format!("{WHOLE}{}", write_sha256(&digest)).into();
        Self { text, form: Form::Sha256(digest) }
    }

    /// The hash of a key that is known by its head and the SHA-256 of what stands behind it.
    pub fn sha256_long(digest: [u8; 32]) -> Self {
        let text = format!("{LONG}{}", write_sha256(&digest)).into();
        Self { text, form: Form::Sha256Long(digest) }
    }

    /// Runs the slow hash of our own over a key's text. `None` only if argon2 itself refuses, which a cost
    /// inside the bounds never causes.
    pub fn create(
        presented: &PresentedKey<'_>,
        salt: [u8; SALT_LEN],
        cost: SlowHashCost,
        memory: &mut SlowHashMemory,
    ) -> Option<Self> {
        let made = Argon2id::create(presented.text(), salt, cost, memory)?;
        Some(Self { text: made.phc()?.into(), form: Form::Argon2id(made) })
    }

    /// What it is made by.
    pub const fn kind(&self) -> HashKind {
        match self.form {
            Form::Argon2id(_) => HashKind::Argon2id,
            Form::Bcrypt => HashKind::Bcrypt,
            Form::Scrypt(_) => HashKind::Scrypt,
            Form::Sha256(_) => HashKind::Sha256,
            Form::Sha256Long(_) => HashKind::Sha256Long,
        }
    }

    /// Whether comparing it takes a slow-hash worker.
    pub const fn is_slow(&self) -> bool {
        self.digest().is_none()
    }

    /// The digest that its key is found by, of a fast kind.
    pub const fn digest(&self) -> Option<&[u8; 32]> {
        match &self.form {
            Form::Sha256(digest) | Form::Sha256Long(digest) => Some(digest),
            Form::Argon2id(_) | Form::Bcrypt | Form::Scrypt(_) => None,
        }
    }

    /// Whether hashing its text anew at `cost` would change nothing. A fast kind is never hashed anew.
    pub fn is_default(&self, cost: SlowHashCost) -> bool {
        match &self.form {
            Form::Argon2id(argon2id) => argon2id.is_default(cost),
            Form::Bcrypt | Form::Scrypt(_) => false,
            Form::Sha256(_) | Form::Sha256Long(_) => true,
        }
    }

    /// The longest text that it can be compared with, in bytes, where its kind has a limit: a longer one
    /// never matches.
    pub const fn text_bytes_max(&self) -> Option<usize> {
        match self.form {
            Form::Bcrypt => Some(bcrypt::TEXT_BYTES_MAX),
            _ => None,
        }
    }

    /// Runs the hash over the whole of a presented text and compares in constant time. Of a hash of the long
    /// part it is no comparison, and false: [`Self::matches_digest`] is.
    pub(in crate::domain) fn matches(
        &self,
        presented: &PresentedKey<'_>,
        memory: &mut SlowHashMemory,
    ) -> bool {
        self.matches_text(presented.text(), memory)
    }

    fn matches_text(&self, text: &[u8], memory: &mut SlowHashMemory) -> bool {
        match &self.form {
            Form::Argon2id(argon2id) => argon2id.matches(text, memory),
            Form::Bcrypt => bcrypt::matches(&self.text, text),
            Form::Scrypt(scrypt) => scrypt.matches(text),
            Form::Sha256(_) => self.matches_digest(text, ""),
            Form::Sha256Long(_) => false,
        }
    }

    /// Compares a presented text's digest in constant time, at no cost; false of a slow kind. The text must
    /// begin with `head`, what its old system showed of it, so that no other head passes with the same long
    /// part.
    pub(in crate::domain) fn matches_digest(&self, text: &[u8], head: &str) -> bool {
        let Some(long) = text.strip_prefix(head.as_bytes()) else { return false };
        match &self.form {
            Form::Sha256(digest) => sha256(text).ct_eq(digest).into(),
            Form::Sha256Long(digest) => sha256(long).ct_eq(digest).into(),
            Form::Argon2id(_) | Form::Bcrypt | Form::Scrypt(_) => false,
        }
    }

    /// Its text, for the store alone.
    pub fn as_phc(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash")
    }
}

fn of_phc(text: &str) -> Result<Form, HashRefused> {
    let read = |kind| PasswordHash::new(text).map_err(|_| HashRefused::Malformed { kind });
    match text.split('$').nth(1) {
        Some("argon2id") => Argon2id::read_own(text)
            .unwrap_or_else(|| Argon2id::read(&read(HashKind::Argon2id)?))
            .map(Form::Argon2id),
        Some("scrypt") => Scrypt::read(&read(HashKind::Scrypt)?).map(Form::Scrypt),
        _ => Err(HashRefused::UnknownForm),
    }
}

/// A digest as we write it and in no other form, so that one digest has one text at rest.
fn canonical(text: &str) -> Option<[u8; 32]> {
    read_sha256(text).filter(|digest| write_sha256(digest) == text)
}

/// The values of exactly these parameters, each named once; `None` when one is missing or another there.
pub(super) fn decimals<const N: usize>(phc: &PasswordHash, names: [&str; N]) -> Option<[u32; N]> {
    let mut values = [None; N];
    for (name, value) in phc.params.iter() {
        let place = names.iter().position(|known| *known == name.as_str())?;
        let free = values.get_mut(place).filter(|free| free.is_none())?;
        *free = Some(value.decimal().ok()?);
    }
    let known = values.map(Option::unwrap_or_default);
    values.iter().all(Option::is_some).then_some(known)
}

/// `value`, or a refusal that names its bounds.
pub(super) fn in_bounds<T: Copy + PartialOrd + TryInto<u32>>(
    kind: HashKind,
    name: &'static str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<T, HashRefused> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let [least, most] = [*bounds.start(), *bounds.end()].map(|end| end.try_into().unwrap_or(u32::MAX));
    Err(HashRefused::OutOfBounds { kind, name, least, most })
}

#[cfg(test)]
mod tests;
