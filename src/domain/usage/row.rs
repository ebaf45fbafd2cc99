//! What one key did in one hour or day: counts by place and outcome.
//!
//! A row has at most [`CELLS_MAX`] cells of places by name; what would be one more is counted at the place
//! `other`, under its own outcome. So a sum over all places is exact, whatever a caller tries. Counts saturate.
//!
//! Never here: whose row it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{OTHER_PLACE, UpstreamAnswer, UsageOutcome};

/// The most cells (a place and an outcome, answers apart) of one row, those of `other` apart: at some 25 bytes
/// each a row stays within a page of the file.
pub const CELLS_MAX: usize = 64;

/// A word of an outcome: one of ours, or one that an older or a newer version wrote.
type Word = Cow<'static, str>;

/// Counts by place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UsageRow {
    /// In the order of their names. Most rows have one or two, and a map would ask for the room of eleven.
    places: Vec<(Box<str>, PlaceUsage)>,
}

/// Counts at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlaceUsage {
    /// Requests that were granted.
    pub valid: u64,
    /// Requests that were refused, by the refusal's word.
    pub refused: BTreeMap<Word, u64>,
    /// Granted requests by what came back; those of the verify call bring nothing back.
    pub answers: BTreeMap<Word, u64>,
}

impl UsageRow {
    /// A row of these places, as it was written down.
    pub fn of(places: impl IntoIterator<Item = (String, PlaceUsage)>) -> Self {
        let by_name: BTreeMap<_, _> = places.into_iter().collect();
        Self { places: by_name.into_iter().map(|(place, usage)| (place.into(), usage)).collect() }
    }

    /// Counts `count` more.
    pub fn note(&mut self, place: &str, outcome: UsageOutcome, count: u64) {
        match outcome {
            UsageOutcome::Valid => self.add_valid(place, count),
            UsageOutcome::Refused(refusal) => self.add_refused(place, &refusal.name().into(), count),
            UsageOutcome::Answered(answer) => self.add_answer(place, answer.name().into(), count),
        }
    }

    /// Counts all that another row counts.
    pub fn merge(&mut self, other: &Self) {
        for (place, usage) in &other.places {
            if usage.valid > 0 {
                self.add_valid(place, usage.valid);
            }
            for (word, count) in &usage.refused {
                self.add_refused(place, word, *count);
            }
            for (word, count) in &usage.answers {
                self.add_answer(place, word.clone(), *count);
            }
        }
    }

    /// The places, by name.
    pub fn places(&self) -> impl Iterator<Item = (&str, &PlaceUsage)> {
        self.places.iter().map(|(place, usage)| (&**place, usage))
    }

    /// All places together.
    pub fn total(&self) -> PlaceUsage {
        let mut total = PlaceUsage::default();
        for (_, usage) in &self.places {
            add(&mut total.valid, usage.valid);
            for (word, count) in &usage.refused {
                add(total.refused.entry(word.clone()).or_default(), *count);
            }
            for (word, count) in &usage.answers {
                add(total.answers.entry(word.clone()).or_default(), *count);
            }
        }
        total
    }

    fn add_valid(&mut self, place: &str, count: u64) {
        self.at(place, |at| at.valid > 0, |at| add(&mut at.valid, count));
    }

    fn add_refused(&mut self, place: &str, word: &Word, count: u64) {
        let has = |at: &PlaceUsage| at.refused.contains_key(word);
        self.at(place, has, |at| add(at.refused.entry(word.clone()).or_default(), count));
    }

    /// An answer goes where its grant went, as far as the place has a name here.
    fn add_answer(&mut self, place: &str, word: Word, count: u64) {
        self.at(place, |_| true, |at| add(at.answers.entry(word).or_default(), count));
    }

    /// Counts at the named place when that has this cell already or there is room for it, else at `other`.
    fn at(
        &mut self,
        place: &str,
        has: impl FnOnce(&PlaceUsage) -> bool,
        count: impl FnOnce(&mut PlaceUsage),
    ) {
        let known = self.find(place).ok().and_then(|at| self.places.get(at));
        let fits =
            place == OTHER_PLACE || known.is_some_and(|(_, usage)| has(usage)) || self.cells() < CELLS_MAX;
        let place = if fits { place } else { OTHER_PLACE };
        match self.find(place) {
            Ok(at) => {
                if let Some((_, usage)) = self.places.get_mut(at) {
                    count(usage);
                }
            }
            Err(at) => {
                let mut usage = PlaceUsage::default();
                count(&mut usage);
                self.places.reserve_exact(1);
                self.places.insert(at, (place.into(), usage));
            }
        }
    }

    /// Where a place stands, or would.
    fn find(&self, place: &str) -> Result<usize, usize> {
        self.places.binary_search_by(|(known, _)| (**known).cmp(place))
    }

    fn cells(&self) -> usize {
        let named = self.places.iter().filter(|(place, _)| **place != *OTHER_PLACE);
        named.map(|(_, at)| (usize::from(at.valid > 0) + at.refused.len()).max(1)).sum()
    }
}

impl PlaceUsage {
    /// Requests that were decided on.
    pub fn requests(&self) -> u64 {
        self.refused.values().fold(self.valid, |sum, count| sum.saturating_add(*count))
    }

    /// Answers, and those among them that were not fine.
    pub fn answered(&self) -> (u64, u64) {
        let all = self.answers.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        (all, all.saturating_sub(self.answers.get(UpstreamAnswer::FINE).copied().unwrap_or(0)))
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::super::super::denial::{Denial, REFUSAL_NAMES, Refusal};
    use super::super::RefusalNo;
    use super::*;
    use proptest::prelude::*;

    fn refused(denial: Denial) -> UsageOutcome {
        UsageOutcome::Refused(RefusalNo::of(&Refusal::from(denial)))
    }

    #[test]
    fn a_row_counts_by_place_and_outcome() {
        let mut row = UsageRow::default();
        row.note("GET /a", UsageOutcome::Valid, 2);
        row.note("GET /a", UsageOutcome::Answered(UpstreamAnswer::of_status(503)), 1);
        row.note("GET /a", UsageOutcome::Answered(UpstreamAnswer::Fine), 1);
        row.note("other", refused(Denial::NotFound), 3);
        let total = row.total();
        assert_eq!((total.valid, total.requests(), total.answered()), (2, 5, (2, 1)));
        assert_eq!(total.refused, BTreeMap::from([("not_found".into(), 3)]));
        assert_eq!(row.places().map(|(place, _)| place).collect::<Vec<_>>(), ["GET /a", "other"]);
    }

    #[test]
    fn what_is_beyond_the_cells_is_other_and_keeps_its_outcome() {
        let mut row = UsageRow::default();
        for number in 0..CELLS_MAX + 10 {
            row.note(&format!("tool_{number}"), UsageOutcome::Valid, 1);
            row.note(&format!("tool_{number}"), UsageOutcome::Answered(UpstreamAnswer::Fine), 1);
        }
        row.note("tool_0", refused(Denial::Plan), 7);
        row.note("tool_0", UsageOutcome::Valid, 1);
        let of = |name: &str| row.places().find(|(place, _)| *place == name).unwrap().1.clone();
        assert_eq!(row.places().count(), CELLS_MAX + 1);
        assert_eq!((of("other").valid, of("other").answered(), of("tool_0").valid), (10, (10, 0), 2));
        assert_eq!(of("other").refused, BTreeMap::from([("plan".into(), 7)]));
        assert_eq!(row.total().requests(), 64 + 10 + 7 + 1);
    }

    #[test]
    fn counts_saturate() {
        let mut row = UsageRow::default();
        row.note("a", UsageOutcome::Valid, u64::MAX);
        row.note("a", UsageOutcome::Valid, 2);
        row.note("a", refused(Denial::Plan), 2);
        assert_eq!((row.total().valid, row.total().requests()), (u64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn rows_that_are_merged_count_all_that_each_counts(
            notes in proptest::collection::vec((0u16..100, 0usize..4, any::<bool>(), 1u64..9), 0..400),
        ) {
            let (mut one, mut other, mut model) = (UsageRow::default(), UsageRow::default(), [0u64; 4]);
            for (place, outcome, is_one, count) in notes {
                model[outcome] += count;
                let outcome = [
                    UsageOutcome::Valid,
                    refused(Denial::Plan),
                    refused(Denial::NotFound),
                    UsageOutcome::Answered(UpstreamAnswer::Fine),
                ][outcome];
                if is_one { &mut one } else { &mut other }.note(&format!("p{place}"), outcome, count);
            }
            one.merge(&other);
            let total = one.total();
            let of = |words: &BTreeMap<Word, u64>, word: &str| words.get(word).copied().unwrap_or(0);
            let sums = [total.valid, of(&total.refused, "plan"), of(&total.refused, "not_found"), total.answered().0];
            prop_assert_eq!(sums, model);
            let named: usize = one.places().filter(|(place, _)| *place != OTHER_PLACE)
                .map(|(_, at)| usize::from(at.valid > 0) + at.refused.len()).sum();
            prop_assert!(named <= CELLS_MAX);
            prop_assert!(one.places().all(|(_, at)| at.refused.len() <= REFUSAL_NAMES.len()));
        }
    }
}
