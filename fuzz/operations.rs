//! Lists of operations out of a fuzzer's bytes.
//!
//! Any bytes are a list, and one byte more or less changes one operation or the last one. What is missing at the
//! end reads as 0.
//!
//! Never here: what an operation means.

/// Bytes that are read as operations and their numbers.
pub(crate) struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    /// So many operations at the most: the models compare each with all before it.
    pub(crate) const MOST: usize = 300;

    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte that chooses; nothing when the list has ended.
    pub(crate) fn next_choice(&mut self) -> Option<u8> {
        let (choice, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*choice)
    }

    /// A number below `end`, of two bytes.
    pub(crate) fn number(&mut self, end: u64) -> u64 {
        let low = self.next_choice().unwrap_or(0);
        u64::from(u16::from_be_bytes([low, self.next_choice().unwrap_or(0)])) % end
    }
}
