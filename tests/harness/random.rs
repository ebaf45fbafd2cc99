//! Numbers that look random and are the same again from the same seed (xorshift64).
//!
//! A seed is never 0, from which nothing else would follow.
//!
//! Never here: a secret. What is drawn here can be foretold.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// Another seed in every run, for a test that shows it when it fails.
    pub(crate) fn seeded() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        Self::from_seed(u64::from_le_bytes(bytes))
    }

    /// What the next numbers follow from.
    pub(crate) const fn seed(self) -> u64 {
        self.0
    }

    /// A number from 0 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (most + 1)
    }

    /// A place in a list of `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.up_to(end as u64 - 1)).unwrap()
    }
}
