//! The two times that decisions take: the wall's, for what people agreed on, and the monotonic one, for
//! what must only move forward.
//!
//! Both are plain numbers that came in as arguments; only the `clock` room reads them off the machine.
//!
//! Never here: the clock.

/// A moment on the wall: microseconds since the Unix epoch, UTC, leap seconds ignored.
///
/// Range: years 1970 to 9999 when it came through [`Wall::parse`]; arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Wall(i64);

/// The latest moment accepted from outside: 9999-12-30T00:00:00Z, the last whole day that jiff can hold.
const LATEST_MICROS: i64 = 253_402_128_000_000_000;

impl Wall {
    /// The moment this many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment this many whole seconds after the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Milliseconds since the Unix epoch; 0 for anything earlier.
    pub fn millis_since_epoch(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// Microseconds from `earlier` to `self`; 0 when `earlier` is not earlier.
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// This moment moved forward; saturates.
    #[must_use]
    pub fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// Reads an RFC 3339 date-time as section 5.6 of that RFC writes it: a capital `T`, seconds, and `Z` or
    /// a numeric offset. Nothing looser, so that one text has one meaning everywhere.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() <= 40
            && bytes.get(10) == Some(&b'T')
            && !text.contains([' ', '[', 't', 'z'])
            && bytes.get(17..19) != Some(b"60");
        if !well_formed {
            return None;
        }
        let micros = text.parse::<jiff::Timestamp>().ok()?.as_microsecond();
        (0..=LATEST_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// RFC 3339 in UTC with milliseconds, as every answer of ours writes a time.
    pub fn to_rfc3339(self) -> String {
        let moment = self.to_jiff();
        format!("{moment:.3}")
    }

    pub(super) fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

/// Monotonic time: nanoseconds since the process started. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mono(u64);

impl Mono {
    /// This many nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn nanos(self) -> u64 {
        self.0
    }
}

/// Both times, read together once per request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The wall's time: expiry, periods, what is told.
    pub wall: Wall,
    /// The monotonic time: buckets.
    pub mono: Mono,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_only_as_rfc_3339_writes_it() {
        for good in ["2026-01-31T00:00:00Z", "2026-01-31T00:00:00.123456Z", "2026-01-31T02:00:00+02:00"] {
            assert!(Wall::parse(good).is_some(), "{good}");
        }
        for bad in [
            "2026-01-31 00:00:00Z",
            "2026-01-31t00:00:00z",
            "2026-01-31T00:00:60Z",
            "2026-01-31T00:00:00+02:00[Europe/Oslo]",
            "2026-01-31",
            "2026-01-31T00:00:00",
            "1969-12-31T23:59:59Z",
            "",
        ] {
            assert!(Wall::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        let text = Wall::parse("2026-01-31T02:00:00+02:00").unwrap().to_rfc3339();
        assert_eq!(text, "2026-01-31T00:00:00.000Z");
    }
}
