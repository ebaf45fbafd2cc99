//! A place that keeps one proof for whoever brings the same text again.
//!
//! A sequence lock over a few words: a find writes nothing that is shared but a mark that it came, once between two
//! looks for room, and gives what was put together as it was put or says that it is being replaced. Only the proof of a
//! comparison goes in, so only such a one comes out. What tells two texts apart is 24 bytes of their fingerprints,
//! which nobody without the install secret can choose.
//!
//! Never here: which place a proof goes to, or two that put at once (engine).

use std::fmt;

use super::super::atomic::{AtomicU64, Ordering};
use super::super::hash::Fingerprint;
use super::super::id::KeyId;
use super::Proof;

/// Words of a fingerprint that are kept.
const NAME_WORDS: usize = 3;

/// In the first word of a cell, above the epoch: whether the proof was asked for since somebody looked for room.
const IS_USED: u64 = 1 << u32::BITS;
/// One turn of the sequence, in the bits above that; odd while a proof is replaced.
const TURN: u64 = IS_USED << 1;

/// A text, as it is told from others by its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TextName([u64; NAME_WORDS]);

/// Room for one proof. Empty at first.
#[derive(Default)]
pub struct ProofCell {
    /// The secret's epoch, whether it is used, and the turn.
    turn: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
    key: [AtomicU64; 2],
}

/// The proof is being replaced at this very moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IsChanging;

impl TextName {
    /// The name of a text with this fingerprint.
    #[inline]
    pub fn of(fingerprint: &Fingerprint) -> Self {
        let (words, _) = fingerprint.as_bytes().as_chunks::<8>();
        let word = |place: usize| words.get(place).map_or(0, |word| u64::from_le_bytes(*word));
        // 0 stands in an empty cell.
        Self([word(0).max(1), word(1), word(2)])
    }

    /// Two numbers that are as even as chance, to find a place by.
    #[inline]
    pub const fn numbers(self) -> [u64; 2] {
        let [_, one, other] = self.0;
        [one, other]
    }
}

impl ProofCell {
    /// The proof that was put under this name, with what `beside` gives: read in the same turn, so that both were put
    /// together.
    #[inline]
    pub fn find<T>(
        &self,
        name: TextName,
        beside: impl FnOnce() -> T,
    ) -> Result<Option<(Proof, T)>, IsChanging> {
        let (TextName([head, one, other]), [own_head, own_one, own_other]) = (name, &self.name);
        if own_head.load(Ordering::Acquire) != head {
            return Ok(None);
        }
        // Each of these reads is before the next one, and the last look at the turn after all of them: whoever saw a
        // word of another turn sees that turn, too.
        let turn = self.turn.load(Ordering::Acquire);
        let is_same = own_head.load(Ordering::Acquire) == head
            && own_one.load(Ordering::Acquire) == one
            && own_other.load(Ordering::Acquire) == other;
        let [high, low] = &self.key;
        let key = [high.load(Ordering::Acquire), low.load(Ordering::Acquire)];
        let beside = is_same.then(beside);
        if turn & TURN != 0 || (self.turn.load(Ordering::Acquire) ^ turn) & !IS_USED != 0 {
            return Err(IsChanging);
        }
        let Some(beside) = beside else { return Ok(None) };
        if turn & IS_USED == 0 {
            self.turn.fetch_or(IS_USED, Ordering::Relaxed);
        }
        Ok(Some((Proof::unpacked(key, turn), beside)))
    }

    /// Puts a proof in the place of what was here, and does `beside` in the same turn. One caller at a time.
    pub fn put<T>(&self, name: TextName, proof: Proof, beside: impl FnOnce() -> T) -> T {
        let turn = self.turn.load(Ordering::Relaxed) & !(TURN - 1);
        self.turn.store(turn.wrapping_add(TURN), Ordering::Relaxed);
        // Each of these writes is behind the turn's: who sees one of them, sees that.
        let (key, epoch) = proof.packed();
        let words = self.name.iter().zip(name.0).chain(self.key.iter().zip(key));
        words.for_each(|(word, value)| word.store(value, Ordering::Release));
        let beside = beside();
        self.turn.store(turn.wrapping_add(2 * TURN) | IS_USED | epoch, Ordering::Release);
        beside
    }

    /// Whether something of this name stands here. Nobody may put anything meanwhile.
    pub fn keeps(&self, name: TextName) -> bool {
        self.name.each_ref().map(|word| word.load(Ordering::Acquire)) == name.0
    }

    /// Whether nothing was put here yet.
    pub fn is_empty(&self) -> bool {
        let [head, ..] = &self.name;
        head.load(Ordering::Acquire) == 0
    }

    /// Takes off the mark that it was asked for; whether it was there.
    pub fn take_used(&self) -> bool {
        self.turn.fetch_and(!IS_USED, Ordering::Relaxed) & IS_USED != 0
    }
}

/// Without what it keeps.
impl fmt::Debug for ProofCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofCell")
    }
}

impl Proof {
    fn packed(self) -> ([u64; 2], u64) {
        let number = self.key().as_u128();
        let word = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
        ([word(number >> u64::BITS), word(number)], u64::from(self.epoch))
    }

    /// The same again, by the words and whatever the epoch is the low half of.
    #[inline]
    fn unpacked([high, low]: [u64; 2], epoch: u64) -> Self {
        let number = (u128::from(high) << u64::BITS) | u128::from(low);
        Self::of(KeyId::from_u128(number), u32::try_from(epoch & u64::from(u32::MAX)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::KeyId;

    fn name(byte: u8) -> TextName {
        TextName::of(&Fingerprint::from_bytes([byte; 32]))
    }

    fn proof(number: u128, epoch: u32) -> Proof {
        Proof::of(KeyId::from_u128(number), epoch)
    }

    #[test]
    fn a_proof_comes_out_as_it_went_in_and_by_its_own_text_alone() {
        let cell = ProofCell::default();
        assert!(cell.is_empty());
        assert_eq!(cell.find(name(0), || ()), Ok(None), "not even by a name of zeros");
        for (number, epoch) in [(u128::MAX, u32::MAX), (7 << 64, 0), (1, 1)] {
            let proof = proof(number, epoch);
            assert_eq!(cell.put(name(1), proof, || 5), 5);
            assert_eq!(cell.find(name(1), || 6), Ok(Some((proof, 6))));
        }
        assert!(cell.keeps(name(1)) && !cell.keeps(name(2)) && !cell.is_empty());
        assert_eq!(cell.find(name(2), || ()), Ok(None));
        let mut other = [1; 32];
        other[23] = 2;
        let other = TextName::of(&Fingerprint::from_bytes(other));
        assert_eq!(cell.find(other, || ()), Ok(None), "the same but for the last byte that is kept");
    }

    #[test]
    fn a_proof_that_was_asked_for_is_marked_until_somebody_looks() {
        let cell = ProofCell::default();
        cell.put(name(1), proof(1, 9), || ());
        assert_eq!((cell.take_used(), cell.take_used()), (true, false), "a new one counts as asked for");
        assert_eq!(cell.find(name(2), || ()), Ok(None));
        assert!(!cell.take_used());
        assert!(cell.find(name(1), || ()).unwrap().is_some());
        assert!(cell.take_used());
        assert_eq!(cell.find(name(1), || ()), Ok(Some((proof(1, 9), ()))), "and is the same");
    }

    #[test]
    fn whoever_looks_while_it_is_replaced_is_told_so() {
        let cell = ProofCell::default();
        cell.put(name(1), proof(1, 1), || ());
        cell.put(name(2), proof(2, 1), || {
            assert_eq!(cell.find(name(2), || ()), Err(IsChanging));
        });
        let replaced = cell.find(name(2), || cell.put(name(2), proof(3, 1), || ()));
        assert_eq!(replaced, Err(IsChanging), "also when it was replaced between");
        assert_eq!(cell.find(name(2), || ()), Ok(Some((proof(3, 1), ()))));
    }
}
