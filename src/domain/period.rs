//! Billing periods: months counted from an anchor, in UTC.
//!
//! The start of period n is the anchor plus n calendar months, always from the anchor and never from the
//! period before, so that an anchor on the 31st gives 28 February and then 31 March. Periods tile time: each
//! ends where the next begins.
//!
//! Never here: a float, a time zone but UTC, or a count of what was used.

use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::time::Wall;

/// The number of a period, counted from its anchor. A moment before the anchor lies in period 0.
pub type PeriodIndex = u32;

/// One billing month: from `start` on, before `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// Which month after the anchor.
    pub index: PeriodIndex,
    /// Its first moment.
    pub start: Wall,
    /// The first moment of the next.
    pub end: Wall,
}

impl Period {
    /// The period of `anchor` that `at` lies in.
    pub fn containing(anchor: Wall, at: Wall) -> Self {
        let from = anchor.to_jiff().to_zoned(TimeZone::UTC);
        let to = at.to_jiff().to_zoned(TimeZone::UTC);
        let months = (i64::from(to.year()) - i64::from(from.year())) * 12 + i64::from(to.month())
            - i64::from(from.month());
        // The calendar's difference is right or, when the day of month is not reached yet, one too many.
        let guess = PeriodIndex::try_from(months).unwrap_or(0);
        let index = if start_of(anchor, guess) > at { guess.saturating_sub(1) } else { guess };
        Self::numbered(anchor, index)
    }

    /// The period of `anchor` with this number.
    pub fn numbered(anchor: Wall, index: PeriodIndex) -> Self {
        Self { index, start: start_of(anchor, index), end: start_of(anchor, index.saturating_add(1)) }
    }

    /// Whether the period has ended at `at`.
    pub fn is_over(&self, at: Wall) -> bool {
        at >= self.end
    }
}

fn start_of(anchor: Wall, index: PeriodIndex) -> Wall {
    let from = anchor.to_jiff().to_zoned(TimeZone::UTC);
    from.checked_add(i64::from(index).months())
        .map_or(Wall::from_micros(i64::MAX), |start| Wall::from_micros(start.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wall(text: &str) -> Wall {
        Wall::parse(text).unwrap()
    }

    #[test]
    fn the_31st_gives_the_last_day_of_short_months_and_comes_back() {
        let anchor = wall("2026-01-31T10:00:00Z");
        let starts: Vec<_> = (0..5).map(|n| Period::numbered(anchor, n).start.to_rfc3339()).collect();
        assert_eq!(
            starts,
            [
                "2026-01-31T10:00:00.000Z",
                "2026-02-28T10:00:00.000Z",
                "2026-03-31T10:00:00.000Z",
                "2026-04-30T10:00:00.000Z",
                "2026-05-31T10:00:00.000Z"
            ]
        );
        assert_eq!(Period::numbered(wall("2027-12-31T00:00:00Z"), 2).start, wall("2028-02-29T00:00:00Z"));
    }

    #[test]
    fn a_moment_before_the_anchor_lies_in_the_first_period() {
        let anchor = wall("2026-06-15T00:00:00Z");
        assert_eq!(Period::containing(anchor, wall("2026-01-01T00:00:00Z")).index, 0);
    }

    #[test]
    fn periods_tile_time_for_every_anchor_day_over_48_months() {
        for day in 1..=31 {
            let anchor = wall(&format!("2027-01-{day:02}T12:34:56Z"));
            for index in 0..48 {
                let period = Period::numbered(anchor, index);
                let before = Wall::from_micros(period.end.micros() - 1_000_000);
                assert!(period.start < period.end);
                assert_eq!(Period::containing(anchor, period.start), period);
                assert_eq!(Period::containing(anchor, before), period);
                let after = Wall::from_micros(period.end.micros() + 1_000_000);
                assert_eq!(Period::containing(anchor, period.end), Period::numbered(anchor, index + 1));
                assert_eq!(Period::containing(anchor, after), Period::numbered(anchor, index + 1));
                assert_eq!(Period::numbered(anchor, index + 1).start, period.end);
            }
        }
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_exactly_one_period(anchor in 0i64..4_000_000_000, later in 0i64..4_000_000_000) {
            let anchor = Wall::from_secs(anchor);
            let at = Wall::from_secs(anchor.micros() / 1_000_000 + later);
            let period = Period::containing(anchor, at);
            prop_assert!(period.start <= at && at < period.end);
            prop_assert_eq!(Period::numbered(anchor, period.index), period);
        }
    }
}
