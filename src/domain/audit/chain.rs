//! Checking the audit log's chain: whether its rows are what was written. Each is looked at once, in order.
//!
//! A row is held against its hash, the hash against its seal, and the newest hashes against an anchor that
//! was kept elsewhere. A hash that fits carries the trust of any later seal back to the first row, so rows
//! whose own seal cannot be checked (their install secret is gone, or they are older than seals) count as
//! covered once a later one can be. Install secrets go in the order in which they came, so such rows come
//! first: behind a seal that was checked they are what an intruder writes who cannot make one. A cut tail
//! leaves a shorter log that is whole in itself; only an anchor shows it.
//!
//! Never here: a guess. What cannot be checked is told apart from what is wrong.

use std::sync::Arc;

use super::seal::{AuditHash, AuditHead, AuditSeal, AuditSealer, UNSEALED};
use crate::domain::hash::SecretId;

/// The most breaks that are told one by one; further ones are counted.
pub const BREAKS_MAX: usize = 100;
/// The most unknown install secrets that are told.
pub const UNKNOWN_MAX: usize = 100;

/// A row as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct SealedRow<'a> {
    /// Its number.
    pub seq: u64,
    /// The install secret that sealed it, or [`UNSEALED`].
    pub made_by: SecretId,
    /// Its hash.
    pub hash: AuditHash,
    /// Its seal.
    pub seal: AuditSeal,
    /// What it says, as bytes.
    pub record: &'a [u8],
}

/// Something that is not as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditBreak {
    /// These rows are gone.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// What stands in this row was not written as this row: edited, or moved here from elsewhere.
    Changed {
        /// Its number.
        seq: u64,
    },
    /// This row's seal was not made under the install secret that it names.
    Seal {
        /// Its number.
        seq: u64,
    },
    /// This row has no seal although an earlier one has.
    Unsealed {
        /// Its number.
        seq: u64,
    },
    /// These rows name an install secret that is not here, but stand between rows whose seals are good.
    Foreign {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The log ends before the anchor.
    Cut {
        /// Its newest row; 0 when it has none.
        newest: u64,
        /// The row that the anchor names.
        anchor: u64,
    },
    /// The row that the anchor names has another hash: it, or a row before it, is not what it was.
    Anchor {
        /// Its number.
        seq: u64,
    },
}

/// Rows under an install secret that is not here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownMaker {
    /// The install secret.
    pub made_by: SecretId,
    /// Its first row.
    pub first: u64,
    /// Its last row.
    pub last: u64,
    /// How many rows it sealed.
    pub rows: u64,
}

/// What came of looking at a whole log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditVerdict {
    /// How many rows there are.
    pub rows: u64,
    /// The newest row.
    pub head: Option<AuditHead>,
    /// What is wrong, in order; the first [`BREAKS_MAX`].
    pub breaks: Vec<AuditBreak>,
    /// How much is wrong.
    pub breaks_total: u64,
    /// How many rows are older than seals.
    pub unsealed: u64,
    /// Rows whose own seal cannot be checked here, by install secret; the first [`UNKNOWN_MAX`].
    pub unknown: Vec<UnknownMaker>,
    /// All rows up to this number are covered by a seal that was checked or by the anchor. Means nothing when
    /// something is wrong.
    pub covered_to: u64,
}

impl AuditVerdict {
    /// Whether nothing is wrong and every row is covered.
    pub fn is_whole(&self) -> bool {
        self.breaks_total == 0 && self.head.is_none_or(|head| head.seq <= self.covered_to)
    }

    fn note(&mut self, found: AuditBreak) {
        self.breaks_total += 1;
        if self.breaks.len() < BREAKS_MAX {
            self.breaks.push(found);
        }
    }

    fn note_unknown(&mut self, made_by: SecretId, seq: u64) {
        if let Some(known) = self.unknown.iter_mut().find(|known| known.made_by == made_by) {
            known.last = seq;
            known.rows += 1;
        } else if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.push(UnknownMaker { made_by, first: seq, last: seq, rows: 1 });
        }
    }
}

/// A look at a log, under way.
#[derive(Clone, Debug)]
pub struct AuditChain {
    verdict: AuditVerdict,
    anchor: Option<AuditHead>,
    /// The number of the last row met; 0 before the first.
    met: u64,
    /// The hash that the next row counts in; `None` where a row is missing.
    before: Option<AuditHash>,
    has_sealed: bool,
    has_checked: bool,
    /// Rows since the last seal that was checked whose own cannot be: the first and the last.
    foreign: Option<(u64, u64)>,
}

impl AuditChain {
    /// Before the first row. `anchor` is the newest row as it once was.
    pub fn new(anchor: Option<AuditHead>) -> Self {
        let verdict = AuditVerdict::default();
        Self {
            verdict,
            anchor,
            met: 0,
            before: Some(AuditHash::START),
            has_sealed: false,
            has_checked: false,
            foreign: None,
        }
    }

    /// The number of the last row met; 0 before the first.
    pub const fn met(&self) -> u64 {
        self.met
    }

    /// Looks at the next row. `sealers` are those of every install secret that is here.
    pub fn meet(&mut self, row: &SealedRow<'_>, sealers: &[Arc<AuditSealer>]) {
        self.step_to(row.seq);
        let fits = self.before.is_none_or(|before| before.next(row.seq, row.made_by, row.record) == row.hash);
        if !fits {
            self.verdict.note(AuditBreak::Changed { seq: row.seq });
        }
        self.check_seal(row, sealers, fits);
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.seq == row.seq) {
            if anchor.hash == row.hash {
                self.cover(row.seq);
            } else {
                self.verdict.note(AuditBreak::Anchor { seq: row.seq });
            }
        }
        self.verdict.head = Some(AuditHead { seq: row.seq, hash: row.hash });
        self.before = Some(row.hash);
    }

    /// Passes over a row too short to be one.
    pub fn meet_unreadable(&mut self, seq: u64) {
        self.step_to(seq);
        self.verdict.note(AuditBreak::Changed { seq });
        self.verdict.head = Some(AuditHead { seq, hash: AuditHash::START });
        self.before = Some(AuditHash::START);
    }

    /// What came of it, behind the last row.
    pub fn finish(mut self) -> AuditVerdict {
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.seq > self.met) {
            self.verdict.note(AuditBreak::Cut { newest: self.met, anchor: anchor.seq });
        }
        self.verdict
    }

    fn step_to(&mut self, seq: u64) {
        let expected = self.met.saturating_add(1);
        if seq > expected {
            self.verdict.note(AuditBreak::Missing { first: expected, last: seq - 1 });
            self.before = None;
        }
        self.met = seq;
        self.verdict.rows += 1;
    }

    fn check_seal(&mut self, row: &SealedRow<'_>, sealers: &[Arc<AuditSealer>], fits: bool) {
        if row.made_by == UNSEALED {
            self.verdict.unsealed += 1;
            if self.has_sealed {
                self.verdict.note(AuditBreak::Unsealed { seq: row.seq });
            }
            return;
        }
        self.has_sealed = true;
        match sealers.iter().find(|sealer| sealer.made_by() == row.made_by) {
            Some(sealer) if sealer.made(&row.seal, &row.hash) => {
                self.check_foreign();
                self.has_checked = true;
                self.cover(row.seq);
            }
            // A row is told once, however much of it is wrong.
            Some(_) if fits => self.verdict.note(AuditBreak::Seal { seq: row.seq }),
            Some(_) => {}
            None => {
                self.verdict.note_unknown(row.made_by, row.seq);
                if self.has_checked {
                    self.foreign = Some((self.foreign.map_or(row.seq, |(first, _)| first), row.seq));
                }
            }
        }
    }

    /// Before a seal that was checked. Of rows up to the anchor, the anchor says whether they are as they were.
    fn check_foreign(&mut self) {
        let Some((first, last)) = self.foreign.take() else { return };
        if self.anchor.is_none_or(|anchor| anchor.seq < last) {
            self.verdict.note(AuditBreak::Foreign { first, last });
        }
    }

    fn cover(&mut self, seq: u64) {
        if self.verdict.breaks_total == 0 {
            self.verdict.covered_to = seq;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that owns what it says.
    #[derive(Clone)]
    struct Row {
        seq: u64,
        made_by: SecretId,
        hash: AuditHash,
        seal: AuditSeal,
        record: Vec<u8>,
    }

    fn sealer(number: u8) -> Arc<AuditSealer> {
        Arc::new(AuditSealer::new(&[number; 32]))
    }

    /// A log whose rows are sealed under these install secrets; 0 is none.
    fn log(makers: &[u8]) -> Vec<Row> {
        let mut before = AuditHash::START;
        let rows = makers.iter().zip(1..).map(|(maker, seq)| {
            let record = format!("row {seq}").into_bytes();
            let sealer = (*maker != 0).then(|| sealer(*maker));
            let made_by = sealer.as_ref().map_or(UNSEALED, |sealer| sealer.made_by());
            before = before.next(seq, made_by, &record);
            let seal = sealer.map_or(AuditSeal::NONE, |sealer| sealer.seal(&before));
            Row { seq, made_by, hash: before, seal, record }
        });
        rows.collect()
    }

    fn verdict(rows: &[Row], known: &[u8], anchor: Option<AuditHead>) -> AuditVerdict {
        let sealers: Vec<_> = known.iter().map(|number| sealer(*number)).collect();
        let mut chain = AuditChain::new(anchor);
        for row in rows {
            let Row { seq, made_by, hash, seal, record } = row;
            let row = SealedRow { seq: *seq, made_by: *made_by, hash: *hash, seal: *seal, record };
            chain.meet(&row, &sealers);
        }
        chain.finish()
    }

    fn head(rows: &[Row], seq: usize) -> AuditHead {
        AuditHead { seq: rows[seq - 1].seq, hash: rows[seq - 1].hash }
    }

    #[test]
    fn a_log_as_it_was_written_is_whole() {
        assert!(verdict(&[], &[1], None).is_whole());
        let rows = log(&[1; 9]);
        let found = verdict(&rows, &[1], Some(head(&rows, 5)));
        assert!(found.is_whole(), "{found:?}");
        assert_eq!((found.rows, found.covered_to, found.head), (9, 9, Some(head(&rows, 9))));
    }

    #[test]
    fn o14_an_edited_row_is_found_and_named() {
        for place in 0..9 {
            let mut rows = log(&[1; 9]);
            rows[place].record[0] ^= 1;
            let found = verdict(&rows, &[1], None);
            assert_eq!(found.breaks, [AuditBreak::Changed { seq: rows[place].seq }]);
            assert!(!found.is_whole());
        }
    }

    #[test]
    fn o14_a_row_that_was_edited_and_hashed_anew_has_the_wrong_seal_and_so_have_all_behind_it() {
        for place in 0..9 {
            let mut rows = log(&[1; 9]);
            rows[place].record[0] ^= 1;
            let mut before = place.checked_sub(1).map_or(AuditHash::START, |earlier| rows[earlier].hash);
            for row in &mut rows[place..] {
                before = before.next(row.seq, row.made_by, &row.record);
                row.hash = before;
            }
            let found = verdict(&rows, &[1], None);
            assert_eq!(found.breaks[0], AuditBreak::Seal { seq: rows[place].seq });
            assert_eq!(found.breaks.len(), 9 - place);
        }
    }

    #[test]
    fn o14_a_deleted_row_is_found_with_its_gap_and_without_it() {
        for place in 0..8 {
            let mut rows = log(&[1; 9]);
            let gone = rows.remove(place).seq;
            assert_eq!(
                verdict(&rows, &[1], None).breaks,
                [AuditBreak::Missing { first: gone, last: gone }],
                "{gone}"
            );
            for (row, seq) in rows.iter_mut().zip(1..) {
                row.seq = seq;
            }
            let found = verdict(&rows, &[1], None);
            assert_eq!(found.breaks[0], AuditBreak::Changed { seq: gone });
        }
    }

    #[test]
    fn o14_two_rows_in_each_others_place_are_found() {
        for place in 0..8 {
            let mut rows = log(&[1; 9]);
            rows.swap(place, place + 1);
            for (row, seq) in rows.iter_mut().zip(1..) {
                row.seq = seq;
            }
            let found = verdict(&rows, &[1], None);
            let seq = rows[place].seq;
            assert_eq!(
                found.breaks[..2],
                [AuditBreak::Changed { seq }, AuditBreak::Changed { seq: seq + 1 }]
            );
        }
    }

    #[test]
    fn o14_a_cut_tail_is_found_against_the_anchor_and_another_past_is_too() {
        let rows = log(&[1; 9]);
        let anchor = Some(head(&rows, 9));
        assert!(verdict(&rows[..6], &[1], None).is_whole(), "without an anchor nothing shows it");
        assert_eq!(verdict(&rows[..6], &[1], anchor).breaks, [AuditBreak::Cut { newest: 6, anchor: 9 }]);
        assert_eq!(verdict(&[], &[1], anchor).breaks, [AuditBreak::Cut { newest: 0, anchor: 9 }]);
        // Cut, and grown again by the daemon itself.
        let mut other = log(&[1; 5]);
        other[4].record = b"another".to_vec();
        other[4].hash = other[3].hash.next(5, other[4].made_by, b"another");
        other[4].seal = sealer(1).seal(&other[4].hash);
        assert!(verdict(&other, &[1], None).is_whole());
        assert_eq!(verdict(&other, &[1], Some(head(&rows, 5))).breaks, [AuditBreak::Anchor { seq: 5 }]);
    }

    #[test]
    fn rows_under_an_install_secret_that_is_gone_are_told_apart_and_covered_by_a_later_seal() {
        let rows = log(&[1, 1, 1, 2, 2]);
        let found = verdict(&rows, &[2], None);
        let made_by = sealer(1).made_by();
        assert_eq!(found.unknown, [UnknownMaker { made_by, first: 1, last: 3, rows: 3 }]);
        assert!(found.is_whole(), "{found:?}");
        // Nothing covers the end.
        let found = verdict(&rows, &[1], None);
        assert_eq!((found.breaks_total, found.covered_to, found.is_whole()), (0, 3, false));
        // But an anchor does.
        assert!(verdict(&rows, &[], Some(head(&rows, 5))).is_whole());
        // An edit among them is found by the hashes, and by the first seal behind them when those are made anew.
        for rehashed in [false, true] {
            let mut rows = rows.clone();
            rows[2].record[0] ^= 1;
            if rehashed {
                rows[2].hash = rows[1].hash.next(3, rows[2].made_by, &rows[2].record);
            }
            let seq = if rehashed { 4 } else { 3 };
            assert_eq!(verdict(&rows, &[2], None).breaks, [AuditBreak::Changed { seq }]);
        }
    }

    #[test]
    fn a_row_that_claims_an_unknown_install_secret_hides_no_edit() {
        let mut rows = log(&[1; 5]);
        rows[2].record[0] ^= 1;
        rows[2].made_by = sealer(9).made_by();
        rows[2].hash = rows[1].hash.next(3, rows[2].made_by, &rows[2].record);
        let foreign = AuditBreak::Foreign { first: 3, last: 3 };
        assert_eq!(verdict(&rows, &[1], None).breaks, [AuditBreak::Changed { seq: 4 }, foreign]);
    }

    #[test]
    fn o14_rows_rewritten_to_the_end_under_an_unknown_install_secret_are_found_once_the_log_goes_on() {
        let mut rows = log(&[1, 1, 1, 9, 9, 1, 2]);
        // Without the install secret of row 6 an intruder cannot write it; the daemon does, behind the others.
        let whole = head(&rows, 7);
        assert_eq!(verdict(&rows, &[1, 2], None).breaks, [AuditBreak::Foreign { first: 4, last: 5 }]);
        assert!(verdict(&rows, &[1, 9, 2], None).is_whole(), "with their install secret back");
        assert!(verdict(&rows, &[1, 2], Some(whole)).is_whole(), "an anchor vouches for them");
        assert_eq!(verdict(&rows, &[1, 2], Some(head(&rows, 3))).breaks.len(), 1, "not one before them");
        rows.truncate(5);
        let found = verdict(&rows, &[1, 2], None);
        assert_eq!((found.breaks_total, found.is_whole()), (0, false), "until then nothing covers them");
    }

    #[test]
    fn rows_older_than_seals_are_covered_by_the_first_seal_and_none_may_follow_it() {
        let found = verdict(&log(&[0, 0, 1]), &[1], None);
        assert_eq!((found.unsealed, found.is_whole()), (2, true));
        assert!(!verdict(&log(&[0, 0]), &[1], None).is_whole());
        let found = verdict(&log(&[0, 1, 0, 1]), &[1], None);
        assert_eq!(found.breaks, [AuditBreak::Unsealed { seq: 3 }]);
    }

    #[test]
    fn what_is_told_has_a_bound_and_what_is_counted_has_none() {
        let mut rows = log(&[1; BREAKS_MAX + 5]);
        for row in &mut rows {
            row.record.clear();
        }
        let found = verdict(&rows, &[1], None);
        assert_eq!((found.breaks.len(), found.breaks_total), (BREAKS_MAX, BREAKS_MAX as u64 + 5));
    }
}
