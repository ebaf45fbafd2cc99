//! The replay memory: which signatures were taken, until their stamps leave the window.
//!
//! Bounded as a whole, and for each key by a share of a quarter. A full memory refuses what is new; it never
//! forgets what could still be used. Memory that was lost (a start after a kill) and memory that was let go
//! (a clock that went ahead and came back) refuse the stamps that they can no longer speak for.
//!
//! Never here: a lock, or the file that a clean stop leaves it in.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::denial::{Denial, Fault, Refusal};
use super::id::KeyId;
use super::signature::{SignatureMac, Signed, Stamp, UsedSignature};
use super::time::Wall;

/// The part of the memory that one key may fill.
const SHARE: usize = 4;

/// Signatures that were taken.
#[derive(Debug)]
pub struct Replays {
    signatures_max: usize,
    by_stamp: BTreeMap<Stamp, HashSet<(KeyId, SignatureMac)>>,
    held: usize,
    held_by_key: HashMap<KeyId, usize>,
    /// No stamp up to this one is remembered any more.
    let_go_through: Option<Stamp>,
    lost: Option<Lost>,
}

/// What a clean stop leaves for the next start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SavedReplays {
    /// Everything that was remembered.
    pub used: Vec<UsedSignature>,
    /// The last stamp that was let go, if any was: a clock that comes back finds nothing up to it.
    pub let_go_through: Option<Stamp>,
}

/// What was remembered before a start, and is not any more.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// Secrets made from here on have no signatures that were lost.
    at: Wall,
    /// The last stamp that could have been taken by then.
    through: Stamp,
}

impl Replays {
    /// An empty memory for at most `signatures_max`.
    pub fn new(signatures_max: usize) -> Self {
        Self {
            signatures_max,
            by_stamp: BTreeMap::new(),
            held: 0,
            held_by_key: HashMap::new(),
            let_go_through: None,
            lost: None,
        }
    }

    /// Goes on from what a clean stop left, or without anything that could have been remembered before `now`:
    /// then stamps up to 5 s from now are refused, but for secrets that were made since.
    pub fn recover(&mut self, saved: Option<SavedReplays>, now: Wall) {
        match saved {
            Some(SavedReplays { used, let_go_through }) => {
                // No further than after a kill: a clock that was years ahead once must not bind every start.
                self.let_go_through = let_go_through.map(|through| through.min(Stamp::last_at(now)));
                // More than fits is kept all the same: forgetting would be worse.
                for used in used {
                    self.insert(used);
                }
                self.let_go(now);
            }
            None => self.lost = Some(Lost { at: now, through: Stamp::last_at(now) }),
        }
    }

    /// Takes a signature once: a second time, and outside its window, it is refused, and so it is when there
    /// is no room to remember it. `made_at` is when the secret was made that signed it.
    pub(super) fn take(&mut self, signed: &Signed, made_at: Wall, now: Wall) -> Result<(), Refusal> {
        self.let_go(now);
        let used = signed.used();
        let is_lost = self.lost.is_some_and(|lost| made_at < lost.at && used.stamp <= lost.through);
        let was_let_go = self.let_go_through.is_some_and(|through| used.stamp <= through);
        if is_lost || was_let_go || self.holds(&used) {
            return Err(Denial::Signature.into());
        }
        let own = self.held_by_key.get(&used.key).copied().unwrap_or(0);
        if self.held >= self.signatures_max || own >= self.signatures_max.div_ceil(SHARE) {
            let oldest = self.by_stamp.keys().next().copied().unwrap_or(used.stamp);
            return Err(Fault::Busy { retry_after_secs: oldest.secs_left(now).max(1) }.into());
        }
        self.insert(used);
        Ok(())
    }

    /// Lets go of what has left its window.
    pub fn let_go(&mut self, now: Wall) {
        while let Some(oldest) = self.by_stamp.first_entry().filter(|oldest| oldest.key().is_over(now)) {
            let (stamp, gone) = oldest.remove_entry();
            self.held -= gone.len();
            for (key, _) in gone {
                if let Some(own) = self.held_by_key.get_mut(&key) {
                    *own -= 1;
                    if *own == 0 {
                        self.held_by_key.remove(&key);
                    }
                }
            }
            self.let_go_through = self.let_go_through.max(Some(stamp));
        }
    }

    /// What the next start is to know.
    pub fn saved(&self) -> SavedReplays {
        SavedReplays { used: self.iter().collect(), let_go_through: self.let_go_through }
    }

    /// Everything that is remembered, oldest first.
    fn iter(&self) -> impl Iterator<Item = UsedSignature> + '_ {
        let of = |(stamp, used): (&Stamp, &HashSet<(KeyId, SignatureMac)>)| {
            let stamp = *stamp;
            used.iter()
                .map(move |(key, mac)| UsedSignature { key: *key, stamp, mac: *mac })
                .collect::<Vec<_>>()
        };
        self.by_stamp.iter().flat_map(of)
    }

    fn holds(&self, used: &UsedSignature) -> bool {
        self.by_stamp.get(&used.stamp).is_some_and(|second| second.contains(&(used.key, used.mac)))
    }

    fn insert(&mut self, used: UsedSignature) {
        if self.by_stamp.entry(used.stamp).or_default().insert((used.key, used.mac)) {
            self.held += 1;
            *self.held_by_key.entry(used.key).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::proof::samples::proof_of;
    use crate::domain::signature::{SentSignature, Signable, Signer};

    const AT: i64 = 1_800_000_000;
    const LONG_AGO: Wall = Wall::from_secs(1);

    fn at(secs: i64) -> Wall {
        Wall::from_secs(AT + secs)
    }

    /// A signature of this key's, stamped so many seconds behind [`AT`]; `number` tells it from others.
    fn signed(key: u128, secs: i64, number: usize) -> Signed {
        use hmac::{Hmac, KeyInit, Mac};
        let body = number.to_string();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap();
        mac.update(format!("{}.{body}", AT + secs).as_bytes());
        let mac = hex::encode(mac.finalize().into_bytes());
        let signer = Signer::new(proof_of(KeyId::from_u128(key)), b"k");
        let request = Signable { method: "", path: "", query: None, body: body.as_bytes() };
        SentSignature::of_body(&(AT + secs).to_string(), &mac).unwrap().signed_by(&signer, &request).unwrap()
    }

    fn is_busy(refusal: &Result<(), Refusal>) -> Option<u32> {
        match refusal {
            Err(Refusal::Failed(Fault::Busy { retry_after_secs })) => Some(*retry_after_secs),
            _ => None,
        }
    }

    const REPLAYED: Result<(), Refusal> = Err(Refusal::Denied(Denial::Signature));

    #[test]
    fn a_signature_is_taken_once_until_its_stamp_has_left_the_window() {
        let mut replays = Replays::new(100);
        assert_eq!(replays.take(&signed(1, 0, 0), LONG_AGO, at(0)), Ok(()));
        for later in [0, 1, 299, 300] {
            assert_eq!(replays.take(&signed(1, 0, 0), LONG_AGO, at(later)), REPLAYED, "{later}");
        }
        assert_eq!(replays.take(&signed(2, 0, 0), LONG_AGO, at(300)), Ok(()), "another key's");
        assert_eq!(replays.take(&signed(1, 1, 0), LONG_AGO, at(300)), Ok(()), "another second's");
        replays.let_go(at(301));
        assert_eq!((replays.held, replays.held_by_key.len()), (1, 1));
        replays.let_go(at(302));
        assert_eq!((replays.held, replays.held_by_key.len(), replays.by_stamp.len()), (0, 0, 0));
    }

    #[test]
    fn a_full_memory_refuses_the_new_and_forgets_nothing() {
        let mut replays = Replays::new(8);
        for number in 0..2 {
            for key in 0..4 {
                assert_eq!(replays.take(&signed(key, 0, number), LONG_AGO, at(0)), Ok(()));
            }
        }
        assert_eq!(is_busy(&replays.take(&signed(9, 0, 0), LONG_AGO, at(0))), Some(301));
        assert_eq!(is_busy(&replays.take(&signed(9, 0, 0), LONG_AGO, at(300))), Some(1));
        for key in 0..4 {
            assert_eq!(replays.take(&signed(key, 0, 1), LONG_AGO, at(300)), REPLAYED);
        }
        assert_eq!(replays.take(&signed(9, 301, 0), LONG_AGO, at(301)), Ok(()));
        assert_eq!(replays.held, 1);
    }

    #[test]
    fn no_key_takes_more_than_a_quarter() {
        let mut replays = Replays::new(8);
        for number in 0..2 {
            assert_eq!(replays.take(&signed(1, 0, number), LONG_AGO, at(0)), Ok(()));
        }
        assert!(is_busy(&replays.take(&signed(1, 0, 2), LONG_AGO, at(0))).is_some());
        assert_eq!(replays.take(&signed(1, 0, 1), LONG_AGO, at(0)), REPLAYED);
        assert_eq!(replays.take(&signed(2, 0, 2), LONG_AGO, at(0)), Ok(()));
    }

    #[test]
    fn what_was_lost_is_refused_up_to_five_seconds_behind_the_start() {
        let mut replays = Replays::new(100);
        replays.recover(None, at(0));
        for (stamp, now) in [(-300, 0), (0, 0), (5, 0), (5, 305)] {
            assert_eq!(replays.take(&signed(1, stamp, 0), at(-1), at(now)), REPLAYED, "{stamp}");
        }
        assert_eq!(replays.take(&signed(1, 6, 0), at(-1), at(1)), Ok(()));
        assert_eq!(replays.take(&signed(2, 0, 0), at(0), at(0)), Ok(()), "of a secret made since");
    }

    #[test]
    fn what_was_saved_is_remembered_and_the_rest_is_free() {
        let mut before = Replays::new(100);
        assert_eq!(before.take(&signed(1, 0, 0), LONG_AGO, at(0)), Ok(()));
        assert_eq!(before.take(&signed(1, 10, 1), LONG_AGO, at(10)), Ok(()));
        let mut after = Replays::new(1);
        after.recover(Some(before.saved()), at(301));
        assert_eq!(after.iter().count(), 1, "the older one has left its window");
        assert_eq!(after.take(&signed(1, 10, 1), LONG_AGO, at(301)), REPLAYED);
        let mut roomy = Replays::new(100);
        roomy.recover(Some(before.saved()), at(11));
        assert_eq!(roomy.take(&signed(1, 10, 2), LONG_AGO, at(11)), Ok(()));
    }

    #[test]
    fn a_clock_that_comes_back_finds_nothing_forgotten() {
        let mut replays = Replays::new(100);
        assert_eq!(replays.take(&signed(1, 0, 0), LONG_AGO, at(0)), Ok(()));
        replays.let_go(at(3_600));
        assert_eq!(replays.held, 0);
        assert_eq!(replays.take(&signed(1, 0, 0), LONG_AGO, at(0)), REPLAYED);
        assert_eq!(replays.take(&signed(1, 1, 0), LONG_AGO, at(1)), Ok(()));
    }

    #[test]
    fn a_clock_that_comes_back_over_a_clean_stop_finds_nothing_forgotten() {
        let mut before = Replays::new(100);
        assert_eq!(before.take(&signed(1, 0, 0), LONG_AGO, at(0)), Ok(()));
        // Ahead at the start, and ahead at the stop.
        let mut after = Replays::new(100);
        after.recover(Some(before.saved()), at(3_600));
        before.let_go(at(3_600));
        let mut again = Replays::new(100);
        again.recover(Some(before.saved()), at(0));
        for replays in [&mut after, &mut again] {
            assert_eq!(replays.take(&signed(1, 0, 0), LONG_AGO, at(0)), REPLAYED);
            assert_eq!(replays.take(&signed(1, 1, 0), LONG_AGO, at(1)), Ok(()));
        }
    }

    #[test]
    fn what_a_clock_let_go_that_was_far_ahead_binds_the_next_start_no_longer_than_a_kill() {
        let mut before = Replays::new(100);
        assert_eq!(before.take(&signed(1, 3_600, 0), LONG_AGO, at(3_600)), Ok(()));
        before.let_go(at(7_200));
        let mut after = Replays::new(100);
        after.recover(Some(before.saved()), at(0));
        assert_eq!(after.take(&signed(1, 5, 0), LONG_AGO, at(0)), REPLAYED);
        assert_eq!(after.take(&signed(1, 6, 0), LONG_AGO, at(1)), Ok(()));
    }
}
