//! The terms that many keys have alike, one copy for all of them: a million keys of a few kinds then take a few lines
//! of cache where their permissions and rates are read.
//!
//! Bounded; terms beyond it stay their key's own. Those that no key has any more are let go when room is looked for.
//!
//! Never here: terms that change in place.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::facts::KeyTerms;

/// The most terms that are shared.
const TERMS_MAX: usize = 4_096;

/// The copies.
#[derive(Debug, Default)]
pub(super) struct SharedTerms(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    terms: HashSet<Arc<KeyTerms>>,
    /// How often there was no room since room was last looked for.
    full: usize,
}

impl SharedTerms {
    /// The shared copy of these terms, which they are themselves if they are the first of their kind.
    pub(super) fn copy_of(&self, terms: &Arc<KeyTerms>) -> Arc<KeyTerms> {
        // Each step leaves it whole.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.terms.get(terms) {
            return Arc::clone(known);
        }
        if shared.terms.len() >= TERMS_MAX {
            shared.full += 1;
            if shared.full % TERMS_MAX == 1 {
                shared.terms.retain(|known| Arc::strong_count(known) > 1);
            }
        }
        if shared.terms.len() < TERMS_MAX {
            shared.terms.insert(Arc::clone(terms));
        }
        Arc::clone(terms)
    }
}
