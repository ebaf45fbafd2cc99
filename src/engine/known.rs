//! What could be proven at all: a piece of 64 bits for each stored fingerprint, and one for whatever else leads to a
//! secret that has none.
//!
//! A text none of whose pieces is here is no key, and the file is not asked. A piece that nothing belongs to
//! any more costs a read and nothing else, so pieces are only added: before the commit of the record that
//! they are of, on the writer's thread, and by a walk over the file that a start begins with. Until the walk
//! is over the file is asked, and so it is where the walk met a key that cannot be read: its pieces are not
//! known, and it is no unknown key. Once many pieces may be stale, the next walk fills another set, which
//! takes the place of this one.
//!
//! Never here: a proof. What is here was compared with nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Engine;
use super::keyring::Keyring;
use crate::domain::hash::{Fingerprint, SecretId, StoredFingerprint};
use crate::domain::key::PresentedKey;
use crate::domain::legacy::{Handle, LegacyShape, handles_of};
use crate::domain::profile::Profile;
use crate::domain::record::{KeyRecord, KeySecret};
use crate::store::{ChangeError, Store, StoreError};

/// Parts of a set, each with a lock for those who add: growing one part moves a sixty-fourth.
const PARTS: usize = 64;
/// Pieces of an empty part.
const PART_PIECES_MIN: usize = 64;
/// A set is filled anew once it holds so many pieces more than twice what the last walk found.
const STALE_PIECES_MAX: usize = 100_000;
/// No piece.
const NONE: u64 = 0;

/// What a walk over the file found.
#[derive(Clone, Debug)]
pub struct KeysWalked {
    /// How many pieces stand for the keys that could be read.
    pub pieces: usize,
    /// How many keys cannot be read. While there is one, the file is asked for every text, as before the walk.
    pub unreadable: u64,
    /// What is wrong with the first of them.
    pub first_unreadable: Option<StoreError>,
}

/// The pieces of every secret in the file.
pub(super) struct Known {
    /// `None` until the first walk is over.
    whole: ArcSwapOption<Pieces>,
    /// Into which a walk under way writes.
    filling: ArcSwapOption<Pieces>,
    /// The secrets that fingerprints can be compared under. None ever leaves while the daemon runs.
    makers: Mutex<Vec<SecretId>>,
    /// Pieces when the last walk was over.
    walked: AtomicUsize,
    /// Keys that the last walk could not read.
    unreadable: AtomicU64,
    walking: tokio::sync::Mutex<()>,
    /// Pieces other than fingerprints are of public or guessable things: spread by numbers that nobody knows.
    spread: RandomState,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

impl Known {
    /// Nothing is known yet. `keyring` is that of the start.
    pub(super) fn new(keyring: &Keyring) -> Self {
        Self {
            whole: ArcSwapOption::empty(),
            filling: ArcSwapOption::empty(),
            makers: Mutex::new(keyring.names().collect()),
            walked: AtomicUsize::new(0),
            unreadable: AtomicU64::new(0),
            walking: tokio::sync::Mutex::default(),
            spread: RandomState::new(),
        }
    }

    /// A new install secret, before anything is made under it.
    pub(super) fn take_maker(&self, maker: SecretId) {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner).push(maker);
    }

    /// Whether a text may be a key: by its fingerprints, its prefix and its handles. Always, before the walk is over.
    pub(super) fn may_be_key(
        &self,
        presented: &PresentedKey<'_>,
        mut fingerprints: impl Iterator<Item = Fingerprint>,
        handles: &[Handle],
    ) -> bool {
        let whole = self.whole.load();
        let Some(pieces) = whole.as_ref() else { return true };
        fingerprints.any(|fingerprint| pieces.has(piece_of(&fingerprint)))
            || pieces.has_prefixes.load(Ordering::Acquire)
                && presented.prefix().is_some_and(|prefix| pieces.has(self.piece(prefix.as_bytes())))
            || handles.iter().any(|handle| pieces.has(self.piece_of_handle(handle)))
    }

    /// Adds what leads to a record's secrets. Whoever writes it calls this before the commit.
    pub(super) fn add(&self, record: &KeyRecord) {
        // First the one that a walk fills: once that is whole, it is the other one as well.
        let sets = [self.filling.load_full(), self.whole.load_full()];
        for pieces in sets.iter().flatten() {
            self.add_to(pieces, &record.secrets);
        }
    }

    fn add_to(&self, pieces: &Pieces, secrets: &[KeySecret]) {
        for secret in secrets {
            if secret.imported.is_some() {
                for handle in secret.handles() {
                    pieces.add(self.piece_of_handle(&handle));
                }
            }
            match secret.fingerprint.as_ref().filter(|stored| self.knows(stored.made_by)) {
                Some(stored) => pieces.add(piece_of(&stored.fingerprint)),
                // Its text is told from others by the slow hash alone, which its prefix leads to.
                None if secret.imported.is_none() => {
                    pieces.add(self.piece(secret.prefix.as_bytes()));
                    pieces.has_prefixes.store(true, Ordering::Release);
                }
                None => {}
            }
        }
    }

    fn knows(&self, maker: SecretId) -> bool {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner).contains(&maker)
    }

    fn piece(&self, content: &(impl std::hash::Hash + ?Sized)) -> u64 {
        self.spread.hash_one(content).max(NONE + 1)
    }

    fn piece_of_handle(&self, handle: &Handle) -> u64 {
        match handle {
            Handle::Fingerprint(fingerprint) => piece_of(fingerprint),
            Handle::Digest(digest) => self.piece(digest),
            Handle::Head { profile, text } => self.piece(&(profile, text)),
        }
    }

    /// How many pieces stand for the file.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> usize {
        self.whole.load().as_ref().map_or(0, |pieces| pieces.len())
    }

    /// Begins to fill another set, with room for the pieces of so many keys.
    fn begin(&self, keys: usize) -> Arc<Pieces> {
        let pieces = Arc::new(Pieces::with_room(keys));
        self.filling.store(Some(Arc::clone(&pieces)));
        pieces
    }

    /// A walk is over: what it filled stands for the file from here on.
    fn finish(&self, pieces: Arc<Pieces>) {
        self.walked.store(pieces.len(), Ordering::Relaxed);
        self.whole.store(Some(pieces));
    }

    /// No walk is under way any more.
    fn give_up(&self) {
        self.filling.store(None);
    }

    /// Whether a walk is due: the first, or one that gets rid of stale pieces.
    fn is_walk_due(&self) -> bool {
        let most = self.walked.load(Ordering::Relaxed).saturating_mul(2).saturating_add(STALE_PIECES_MAX);
        self.whole.load().as_ref().is_none_or(|pieces| pieces.len() > most)
    }
}

impl Engine {
    /// Whether the file may have a key of this text, whose fingerprint was just made.
    pub(super) fn may_be_key(
        &self,
        profile: &Profile,
        presented: &PresentedKey<'_>,
        shapes: &[LegacyShape],
        made: &StoredFingerprint,
    ) -> bool {
        let keyring = self.keyring.load();
        if keyring.made_by() != made.made_by {
            // The install secret was replaced in between.
            return true;
        }
        let handles = handles_of(presented.text(), &profile.name, shapes, made.fingerprint);
        self.known.may_be_key(presented, keyring.fingerprints(presented, made.fingerprint), &handles)
    }

    /// Walks over the file when that is due, so that texts that are no key are refused without it. Without effect
    /// but on speed, at any time and as often as wanted. Gives what a walk found.
    pub async fn keep_known(&self) -> Result<Option<KeysWalked>, ChangeError> {
        if self.known.is_walk_due() { self.walk_known().await.map(Some) } else { Ok(None) }
    }

    /// How many keys could not be read when the file was last walked over.
    pub fn unreadable_keys(&self) -> u64 {
        self.known.unreadable.load(Ordering::Relaxed)
    }

    pub(super) async fn walk_known(&self) -> Result<KeysWalked, ChangeError> {
        // Two at once would leave the first one's set untold of changes.
        let _turn = self.known.walking.lock().await;
        let keys = self.read(Store::keys_total).await?;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        let walk = Walk { known: &self.known, pieces: self.known.begin(keys) };
        // Whoever was told of before this set was there is committed by now, and the walk finds it.
        self.store.pass_the_writer().await?;
        let (mut after, mut unreadable, mut first_unreadable) = (None, 0, None);
        loop {
            let (known, pieces) = (Arc::clone(&self.known), Arc::clone(&walk.pieces));
            let step =
                move |store: &Store| store.walk_secrets(after, |secrets| known.add_to(&pieces, secrets));
            let walked = self.read(step).await?;
            unreadable += walked.unreadable;
            first_unreadable = first_unreadable.or(walked.first_unreadable);
            after = walked.go_on_after;
            if after.is_none() {
                break;
            }
        }
        self.known.unreadable.store(unreadable, Ordering::Relaxed);
        if unreadable == 0 {
            self.known.finish(Arc::clone(&walk.pieces));
        }
        Ok(KeysWalked { pieces: walk.pieces.len(), unreadable, first_unreadable })
    }
}

/// A walk under way: given up when it is dropped.
struct Walk<'a> {
    known: &'a Known,
    pieces: Arc<Pieces>,
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.known.give_up();
    }
}

/// The first eight bytes of a fingerprint: uniform to whoever does not know the install secret.
fn piece_of(fingerprint: &Fingerprint) -> u64 {
    let first = fingerprint.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first).max(NONE + 1)
}

/// A set of pieces that is read without a lock.
struct Pieces {
    parts: Box<[Part]>,
    /// Whether there is one of a prefix. Where all fingerprints are stored there is none, and none is looked for.
    has_prefixes: AtomicBool,
}

struct Part {
    table: ArcSwap<Box<[AtomicU64]>>,
    /// How many pieces the table holds; held by whoever adds one.
    adding: Mutex<usize>,
}

impl Pieces {
    fn with_room(pieces: usize) -> Self {
        let part =
            |_| Part { table: ArcSwap::from_pointee(table(grown(pieces / PARTS))), adding: Mutex::new(0) };
        Self { parts: (0..PARTS).map(part).collect(), has_prefixes: AtomicBool::new(false) }
    }

    fn has(&self, piece: u64) -> bool {
        self.part(piece).is_some_and(|part| find(&part.table.load(), piece) == Some(piece))
    }

    fn add(&self, piece: u64) {
        if let Some(part) = self.part(piece) {
            part.add(piece);
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| *part.adding.lock().unwrap_or_else(PoisonError::into_inner)).sum()
    }

    fn part(&self, piece: u64) -> Option<&Part> {
        // The lowest bits; the place in the part comes from the highest.
        self.parts.get(usize::try_from(piece % PARTS as u64).ok()?)
    }
}

impl Part {
    fn add(&self, piece: u64) {
        // A table is never half-made, so a poisoned lock is still good.
        let mut len = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.table.load_full();
        if find(&present, piece) == Some(piece) {
            return;
        }
        if (*len + 1) * 5 > present.len() * 4 {
            let larger = table(grown(*len + 1));
            for old in present.iter() {
                put(&larger, old.load(Ordering::Relaxed));
            }
            put(&larger, piece);
            self.table.store(Arc::new(larger));
        } else {
            put(&present, piece);
        }
        *len += 1;
    }
}

/// Places for so many pieces and a quarter more before the table must grow again; at most four fifths are taken.
fn grown(pieces: usize) -> usize {
    let roomy = pieces.saturating_add(pieces / 4).max(PART_PIECES_MIN);
    roomy.saturating_add(roomy / 4)
}

fn table(places: usize) -> Box<[AtomicU64]> {
    (0..places).map(|_| AtomicU64::new(NONE)).collect()
}

/// The place of a piece, as a fraction of the table, or what stands where it would be added; `None` in a full table,
/// which there is not.
fn find(table: &[AtomicU64], piece: u64) -> Option<u64> {
    places(table, piece)
        .map(|place| place.load(Ordering::Acquire))
        .find(|found| *found == piece || *found == NONE)
}

/// Puts a piece into the first free place. Readers beside this see it or do not.
fn put(table: &[AtomicU64], piece: u64) {
    if piece == NONE {
        return;
    }
    if let Some(free) = places(table, piece).find(|place| place.load(Ordering::Relaxed) == NONE) {
        free.store(piece, Ordering::Release);
    }
}

/// The places of a table in the order in which a piece tries them.
fn places(table: &[AtomicU64], piece: u64) -> impl Iterator<Item = &AtomicU64> {
    let first = (u128::from(piece) * table.len() as u128) >> 64;
    let (before, behind) = table.split_at(usize::try_from(first).unwrap_or(0).min(table.len()));
    behind.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_set_has_what_was_added_and_nothing_else(
            added in proptest::collection::vec(prop_oneof![any::<u64>(), 1u64..3_000, (u64::MAX - 3_000)..], 0..3_000),
            asked in proptest::collection::vec(prop_oneof![any::<u64>(), 1u64..3_000], 0..500),
            room in 0usize..2_000,
        ) {
            let (pieces, mut model) = (Pieces::with_room(room), HashSet::new());
            for piece in added.into_iter().map(|piece| piece.max(1)) {
                pieces.add(piece);
                model.insert(piece);
                prop_assert!(pieces.has(piece));
            }
            prop_assert_eq!(pieces.len(), model.len());
            for piece in model.iter().copied().chain(asked.into_iter().map(|piece| piece.max(1))) {
                prop_assert_eq!(pieces.has(piece), model.contains(&piece));
            }
        }
    }

    #[test]
    fn a_piece_costs_at_most_thirteen_bytes() {
        let pieces = Pieces::with_room(0);
        let mut most = 0.0_f64;
        for number in 1..200_000_u64 {
            pieces.add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if number % 1_000 == 0 && number > 20_000 {
                let places: usize = pieces.parts.iter().map(|part| part.table.load().len()).sum();
                most = most.max(
                    8.0 * f64::from(u32::try_from(places).unwrap())
                        / f64::from(u32::try_from(number).unwrap()),
                );
            }
        }
        assert!(most < 13.5, "{most}");
    }
}
