//! What Keyward believes of the wall's time: the machine's clock, as far as it moves like a clock.
//!
//! Believed time is a line over monotonic time, corrected by *ticks* that are given both readings. It never
//! goes back but by an operator's word. The machine's clock may lead it forward by an hour in all, an
//! allowance that a day refills; a wilder step is not believed and is flagged. Behind a machine's clock that
//! was set back it goes on at half speed until that clock has caught up, so it heals by itself and revives
//! nothing meanwhile.
//!
//! Never here: a reading of a clock, or what is decided by the time.

#[cfg(test)]
mod tests;

use super::time::{Mono, Now, Wall};

/// How far the machine's clock may lead believed time forward beyond monotonic time: 1 h, in nanoseconds. It
/// covers what happens to good clocks: a suspended machine, a first synchronisation.
const ALLOWANCE_NANOS: u64 = 60 * 60 * 1_000_000_000;
/// A used allowance is whole again after a day: each nanosecond of monotonic time gives back a 24th.
const REFILL_PART: u64 = 24;
/// Differences up to this are the jitter of two readings and move nothing: 1 ms, in microseconds.
const JITTER_MICROS: u64 = 1_000;
/// Differences up to this are not flagged: 3 s, in microseconds. A leap second is below it, and so is the 2 s
/// that a mark may lie ahead of a daemon that was killed.
const UNFLAGGED_MICROS: u64 = 3_000_000;
/// A machine's clock this far ahead of the mark at a start is flagged: a day, in microseconds.
const LONG_OFF_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// Believed time and why it is what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BelievedTime {
    line: TimeLine,
    /// What half speed has cost so far, in microseconds: the machine's clock may make up for it freely.
    slowed_micros: u64,
    allowance_nanos: u64,
    /// The last tick: the allowance is refilled up to here.
    read_at: Mono,
    started_ahead_micros: Option<u64>,
    state: ClockState,
}

/// Believed time as a function of monotonic time, until the next correction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeLine {
    /// Where it begins.
    pub from: Mono,
    /// What the machine's clock said there.
    pub machine: Wall,
    /// How far believed time was ahead of that, in microseconds; it melts at half of time's own speed.
    pub lead_micros: u64,
}

/// How the machine's clock stands to believed time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockState {
    /// They agree, or nearly.
    Ok,
    /// The machine's clock went ahead further than it is believed.
    Ahead {
        /// By how much, in microseconds.
        by_micros: u64,
    },
    /// The machine's clock went back, or was behind the mark at the start; believed time waits for it at half
    /// speed.
    Behind {
        /// By how much, in microseconds.
        by_micros: u64,
    },
    /// At the start the machine's clock was more than a day ahead of the mark. It was believed, since the
    /// machine may have been off; an operator may know better.
    AheadAtStart {
        /// By how much, in microseconds.
        by_micros: u64,
    },
}

impl BelievedTime {
    /// Believed time at a start: the machine's, unless the mark that the last run left is ahead of it.
    pub fn start(reading: Now, mark: Option<Wall>) -> Self {
        let mark = mark.unwrap_or(reading.wall);
        let ahead_micros = reading.wall.micros_since(mark);
        let mut started = Self {
            line: TimeLine {
                from: reading.mono,
                machine: reading.wall,
                lead_micros: mark.micros_since(reading.wall),
            },
            slowed_micros: 0,
            allowance_nanos: ALLOWANCE_NANOS,
            read_at: reading.mono,
            started_ahead_micros: (ahead_micros > LONG_OFF_MICROS).then_some(ahead_micros),
            state: ClockState::Ok,
        };
        started.state = started.steady_state(reading.mono);
        started
    }

    /// Holds the line against both clocks and corrects it. A reading from before the last one says nothing new.
    pub fn tick(&mut self, reading: Now) {
        if reading.mono < self.read_at {
            return;
        }
        self.refill(reading.mono);
        let supposed = self.line.machine_at(reading.mono);
        let jitter_micros = supposed.micros_since(reading.wall).max(reading.wall.micros_since(supposed));
        if jitter_micros <= JITTER_MICROS {
            self.state = self.steady_state(reading.mono);
            return;
        }
        let believed = self.line.at(reading.mono);
        let slowed_micros = self.slowed_by(reading.mono);
        let step_micros = reading.wall.micros_since(believed);
        let charged_nanos = step_micros.saturating_sub(slowed_micros).saturating_mul(1_000);
        let Some(allowance_nanos) = self.allowance_nanos.checked_sub(charged_nanos) else {
            // Not believed: it goes on by monotonic time, since there is no machine's clock behind it to wait for.
            self.line = TimeLine { from: reading.mono, machine: believed, lead_micros: 0 };
            // A small step waits for the allowance to refill; that is no reason to call anyone.
            self.state = if step_micros > UNFLAGGED_MICROS {
                ClockState::Ahead { by_micros: step_micros }
            } else {
                self.steady_state(reading.mono)
            };
            return;
        };
        self.allowance_nanos = allowance_nanos;
        let lead_micros = believed.micros_since(reading.wall);
        self.slowed_micros = if lead_micros == 0 { 0 } else { slowed_micros };
        self.line = TimeLine { from: reading.mono, machine: reading.wall, lead_micros };
        self.state = self.steady_state(reading.mono);
    }

    /// Believes the machine's clock as it was read, forward or back: the word of an operator, and the one thing
    /// that moves time back.
    pub fn confirm(&mut self, reading: Now) {
        self.line = TimeLine { from: reading.mono, machine: reading.wall, lead_micros: 0 };
        self.slowed_micros = 0;
        self.started_ahead_micros = None;
        self.state = ClockState::Ok;
    }

    /// Believed time from here on.
    pub const fn line(&self) -> TimeLine {
        self.line
    }

    /// How the machine's clock stood to it at the last tick.
    pub const fn state(&self) -> ClockState {
        self.state
    }

    /// The state of a machine's clock that goes on as the line supposes.
    fn steady_state(&self, at: Mono) -> ClockState {
        let lead_micros = self.line.lead_at(at);
        match self.started_ahead_micros {
            _ if lead_micros > UNFLAGGED_MICROS => ClockState::Behind { by_micros: lead_micros },
            Some(by_micros) => ClockState::AheadAtStart { by_micros },
            None => ClockState::Ok,
        }
    }

    fn refill(&mut self, at: Mono) {
        let gained = at.nanos().saturating_sub(self.read_at.nanos()) / REFILL_PART;
        self.allowance_nanos = self.allowance_nanos.saturating_add(gained).min(ALLOWANCE_NANOS);
        self.read_at = at;
    }

    /// What half speed has cost until `at`, in microseconds, as long as it lasts.
    fn slowed_by(&self, at: Mono) -> u64 {
        match self.line.lead_at(at) {
            0 => 0,
            left => self.slowed_micros.saturating_add(self.line.lead_micros.saturating_sub(left)),
        }
    }
}

impl TimeLine {
    /// Believed time at a moment; at one before the line's begin it is that of the begin.
    pub fn at(&self, at: Mono) -> Wall {
        self.machine_at(at).plus_micros(self.lead_at(at))
    }

    /// What the machine's clock should say then, if nobody sets it.
    fn machine_at(&self, at: Mono) -> Wall {
        self.machine.plus_micros(self.elapsed_micros(at))
    }

    /// What is left of the lead.
    const fn lead_at(&self, at: Mono) -> u64 {
        self.lead_micros.saturating_sub(self.elapsed_micros(at) / 2)
    }

    const fn elapsed_micros(&self, at: Mono) -> u64 {
        at.nanos().saturating_sub(self.from.nanos()) / 1_000
    }
}

impl ClockState {
    /// A stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Ahead { .. } => "ahead",
            Self::Behind { .. } => "behind",
            Self::AheadAtStart { .. } => "ahead_at_start",
        }
    }

    /// Every word.
    pub const NAMES: [&str; 4] = ["ok", "ahead", "behind", "ahead_at_start"];

    /// By how much, in whole seconds, rounded down; 0 when they agree.
    pub const fn by_secs(self) -> u64 {
        match self {
            Self::Ok => 0,
            Self::Ahead { by_micros } | Self::Behind { by_micros } | Self::AheadAtStart { by_micros } => {
                by_micros / 1_000_000
            }
        }
    }
}
