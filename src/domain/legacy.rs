//! Key texts of other systems: what they look like, and by what a presented one is found.
//!
//! A text that is no key of our own making is looked up only if it fits a [`LegacyShape`] that an import told.
//! An imported key is found by what came with it (its digest, or the head that its old system showed) and from
//! its first proof on by its fingerprint, never by characters of its secret.
//!
//! Never here: a comparison (proof), or a raw text.

use std::fmt;

use super::hash::Fingerprint;

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
