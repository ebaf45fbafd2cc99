//! What a key did, hour by hour or day by day: what is on disk, with what memory knows better.
//!
//! The file is read first and memory then. A row leaves memory only once it is saved; when one did in between, the
//! file is read again. So nothing is missed, and nothing is counted twice.
//!
//! Never here: how a report is shown (surface).

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::loading::read_failed;
use super::super::{ChangeRefused, Engine};
use crate::domain::denial::Fault;
use crate::domain::id::KeyId;
use crate::domain::time::Wall;
use crate::domain::usage::{DAYS_KEPT, HOURS_KEPT, HOURS_OF_DAY, UsageRow, start_of_day, start_of_hour};

/// How often a report starts over because a row was closed meanwhile. They are closed after a checkpoint, each
/// second at the most.
const READS_MAX: usize = 16;

/// What one entry of a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageStep {
    /// One hour.
    Hour,
    /// One day of UTC.
    Day,
}

impl UsageStep {
    /// How many of them are kept.
    pub const fn kept(self) -> u32 {
        match self {
            Self::Hour => HOURS_KEPT,
            Self::Day => DAYS_KEPT,
        }
    }

    const fn hours(self) -> u32 {
        match self {
            Self::Hour => 1,
            Self::Day => HOURS_OF_DAY,
        }
    }

    /// The number of the step that an hour lies in.
    pub const fn of_hour(self, hour: u32) -> u32 {
        hour / self.hours()
    }

    /// When a step begins.
    pub fn start(self, number: u32) -> Wall {
        match self {
            Self::Hour => start_of_hour(number),
            Self::Day => start_of_day(number),
        }
    }
}

/// Which steps are reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageSpan {
    /// Hours or days.
    pub step: UsageStep,
    /// Their numbers from the Unix epoch.
    pub numbers: Range<u32>,
}

/// A row for each step that saw a request, in order.
pub type UsageReport = BTreeMap<u32, UsageRow>;

impl Engine {
    /// What a key did in each step of `span`.
    pub async fn key_usage(&self, key: KeyId, span: UsageSpan) -> Result<UsageReport, ChangeRefused> {
        let hours_of = |number: u32| number.saturating_mul(span.step.hours());
        let hours = hours_of(span.numbers.start)..hours_of(span.numbers.end);
        let days = match span.step {
            UsageStep::Hour => 0..0,
            UsageStep::Day => span.numbers.clone(),
        };
        for _ in 0..READS_MAX {
            let closed = self.usage.rows().closed;
            let (wanted, of_days) = (hours.clone(), days.clone());
            let read = self.read(move |store| store.usage_of(key, wanted, of_days)).await;
            let read = read.map_err(|error| read_failed(&error))?;
            let rows = self.usage.gather(&self.slots, &self.slots.key(key));
            if rows.closed != closed {
                continue;
            }
            let mut by_hour: BTreeMap<_, _> = read.hours.into_iter().collect();
            for ((hour, of), open) in &rows.open {
                if *of == key && hours.contains(hour) {
                    by_hour.insert(*hour, open.row.clone());
                }
            }
            for ((hour, of), since) in &rows.unread {
                if *of == key && hours.contains(hour) {
                    by_hour.entry(*hour).or_default().merge(since);
                }
            }
            drop(rows);
            let mut report: UsageReport = read.days.into_iter().collect();
            for (hour, row) in by_hour {
                report.entry(span.step.of_hour(hour)).or_default().merge(&row);
            }
            return Ok(report);
        }
        Err(ChangeRefused::Failed(Fault::Busy { retry_after_secs: 1 }))
    }
}
