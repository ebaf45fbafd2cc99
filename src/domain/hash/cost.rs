//! What a slow hash of our own costs, and the memory that it runs in.
//!
//! A cost outside the bounds cannot be made, so whoever holds one may run it.
//!
//! Never here: a hash.

use std::fmt;

use argon2::Block;

/// What one slow hash costs: memory in KiB and passes over it, one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowHashCost {
    memory_kib: u32,
    passes: u32,
}

impl SlowHashCost {
    /// The cost of new hashes by default: 19 MiB and 2 passes, the least that OWASP's password storage sheet
    /// names for argon2id.
    pub const DEFAULT: Self = Self { memory_kib: 19_456, passes: 2 };
    /// The most memory that any hash may take, in KiB: each worker owns as much.
    pub const MEMORY_KIB_MAX: u32 = 65_536;
    /// The least memory that argon2 can run in, in KiB.
    pub const MEMORY_KIB_MIN: u32 = 8;
    /// The most passes.
    pub const PASSES_MAX: u32 = 4;

    /// A cost inside the bounds; `None` outside.
    pub fn new(memory_kib: u32, passes: u32) -> Option<Self> {
        let fits = (Self::MEMORY_KIB_MIN..=Self::MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=Self::PASSES_MAX).contains(&passes);
        fits.then_some(Self { memory_kib, passes })
    }

    pub(super) const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    pub(super) const fn passes(self) -> u32 {
        self.passes
    }
}

/// The memory that a slow hash runs in. A worker keeps one: fresh pages cost as much as the hash.
#[derive(Default)]
pub struct SlowHashMemory(Vec<Block>);

impl SlowHashMemory {
    pub(super) fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        self.0.get_mut(..count).unwrap_or_default()
    }
}

impl fmt::Debug for SlowHashMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlowHashMemory({} KiB)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_outside_its_bounds_is_none() {
        for (memory_kib, passes) in [(7, 2), (65_537, 2), (19_456, 0), (19_456, 5)] {
            assert!(SlowHashCost::new(memory_kib, passes).is_none(), "{memory_kib} {passes}");
        }
        assert!(SlowHashCost::new(65_536, 4).is_some());
    }
}
