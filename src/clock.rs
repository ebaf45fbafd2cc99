//! The one place that reads time.
//!
//! A request's time is one reading of the monotonic clock, taken along the line of believed time
//! ([`BelievedTime`]) that *ticks* hold against the machine's wall clock. No reading that begins after another
//! one ended is earlier, on whichever thread, unless an operator moved time between them. Tests hold a manual
//! clock and move it.
//!
//! Never here: a decision about time, a sleep, or a task that ticks (app).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::believed_time::{BelievedTime, ClockState, TimeLine};
use crate::domain::time::{Mono, Now, Wall};

/// The two clocks of a machine are read again when so much time lay between them that one says nothing about
/// the other: somebody else had the processor.
const READINGS_APART_MAX: Duration = Duration::from_micros(200);
/// How often that is tried; a machine that is never quicker gets what it has.
const READINGS_MAX: usize = 8;

/// Reads time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Ticked(Arc<TickedTime>),
    Manual(Arc<ManualTime>),
}

/// What a clock says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockStatus {
    /// What decisions go by.
    pub believed: Wall,
    /// Both clocks of the machine, as they were read for this.
    pub machine: Now,
    /// How they stand to each other.
    pub state: ClockState,
}

impl Clock {
    /// The machine's clocks. What they say at this moment is believed, until [`Clock::start_from`] knows more.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    pub fn machine() -> Self {
        Self::ticked(Readings::Machine { started: Instant::now() })
    }

    /// A clock that stands at `wall` until its [`ManualTime`] is moved, and is believed whatever it says.
    pub fn manual(wall: Wall) -> (Self, Arc<ManualTime>) {
        let time = Arc::new(ManualTime::at(wall));
        (Self(Source::Manual(Arc::clone(&time))), time)
    }

    /// A clock like a machine's, whose two clocks are a [`ManualTime`]: it must be ticked to notice that its wall
    /// was set.
    pub fn ticked_by_hand(wall: Wall) -> (Self, Arc<ManualTime>) {
        let time = Arc::new(ManualTime::at(wall));
        (Self::ticked(Readings::Manual(Arc::clone(&time))), time)
    }

    fn ticked(readings: Readings) -> Self {
        Self(Source::Ticked(Arc::new(TickedTime::starting(readings))))
    }

    /// Both times at this moment.
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Ticked(ticked) => ticked.now(),
            Source::Manual(time) => time.read(),
        }
    }

    /// Starts anew from the mark that the last run left. To be called once, before any decision.
    pub fn start_from(&self, mark: Wall) {
        if let Source::Ticked(ticked) = &self.0 {
            ticked.change(|believed, reading| *believed = BelievedTime::start(reading, Some(mark)));
        }
    }

    /// Holds believed time against the machine's wall clock. To be called several times a second.
    pub fn tick(&self) {
        if let Source::Ticked(ticked) = &self.0 {
            ticked.change(BelievedTime::tick);
        }
    }

    /// What the clock says of itself, after a tick.
    pub fn status(&self) -> ClockStatus {
        self.tick();
        match &self.0 {
            Source::Ticked(ticked) => ticked.status(),
            Source::Manual(time) => {
                let machine = time.read();
                ClockStatus { believed: machine.wall, machine, state: ClockState::Ok }
            }
        }
    }

    /// Believes the machine's clock as it was read at some moment since the start, forward or back.
    pub fn confirm(&self, machine: Now) {
        if let Source::Ticked(ticked) = &self.0 {
            ticked.change(|believed, _| believed.confirm(machine));
        }
    }
}

/// Believed time over readings, for any number of threads.
///
/// The line is published as a sequence lock: readers write nothing, and one that met a change reads again. So
/// no reading of the old line is later than the first moment of the new one, which may be the slower of both.
#[derive(Debug)]
struct TickedTime {
    readings: Readings,
    /// Even while the line stands, odd while it is replaced.
    sequence: AtomicU64,
    from_nanos: AtomicU64,
    machine_micros: AtomicI64,
    lead_micros: AtomicU64,
    believed: Mutex<BelievedTime>,
}

impl TickedTime {
    fn starting(readings: Readings) -> Self {
        let believed = BelievedTime::start(readings.read(), None);
        let line = believed.line();
        Self {
            readings,
            sequence: AtomicU64::new(0),
            from_nanos: AtomicU64::new(line.from.nanos()),
            machine_micros: AtomicI64::new(line.machine.micros()),
            lead_micros: AtomicU64::new(line.lead_micros),
            believed: Mutex::new(believed),
        }
    }

    fn now(&self) -> Now {
        loop {
            let sequence = self.sequence.load(Ordering::SeqCst);
            if sequence % 2 == 1 {
                // Whoever replaces the line holds the lock; nothing panics there, so the wait ends.
                drop(self.believed.lock());
                continue;
            }
            let line = TimeLine {
                from: Mono::from_nanos(self.from_nanos.load(Ordering::SeqCst)),
                machine: Wall::from_micros(self.machine_micros.load(Ordering::SeqCst)),
                lead_micros: self.lead_micros.load(Ordering::SeqCst),
            };
            let mono = self.readings.mono();
            if self.sequence.load(Ordering::SeqCst) == sequence {
                return Now { wall: line.at(mono), mono };
            }
        }
    }

    /// Changes what is believed by a fresh reading. Readers are held up only when the line becomes another one.
    fn change(&self, change: impl Fn(&mut BelievedTime, Now)) {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = *believed;
        change(&mut next, self.readings.read());
        if next.line() != believed.line() {
            self.sequence.fetch_add(1, Ordering::SeqCst);
            // Read again: a reader may have gone further along the old line than the first reading.
            next = *believed;
            change(&mut next, self.readings.read());
            let line = next.line();
            self.from_nanos.store(line.from.nanos(), Ordering::SeqCst);
            self.machine_micros.store(line.machine.micros(), Ordering::SeqCst);
            self.lead_micros.store(line.lead_micros, Ordering::SeqCst);
            self.sequence.fetch_add(1, Ordering::SeqCst);
        }
        *believed = next;
    }

    fn status(&self) -> ClockStatus {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = self.readings.read();
        ClockStatus { believed: believed.line().at(machine.mono), machine, state: believed.state() }
    }
}

/// Where readings come from.
#[derive(Debug)]
enum Readings {
    Machine { started: Instant },
    Manual(Arc<ManualTime>),
}

impl Readings {
    /// The monotonic clock alone.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    fn mono(&self) -> Mono {
        match self {
            Self::Machine { started } => {
                Mono::from_nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
            Self::Manual(time) => time.read().mono,
        }
    }

    /// Both clocks. The monotonic one is read last: what lies between them makes the wall look late, and so
    /// moves nothing forward.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    fn read(&self) -> Now {
        if let Self::Manual(time) = self {
            return time.read();
        }
        let mut before = self.mono();
        for attempt in 1.. {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
            let mono = self.mono();
            let apart = Duration::from_nanos(mono.nanos().saturating_sub(before.nanos()));
            if apart <= READINGS_APART_MAX || attempt == READINGS_MAX {
                return Now { wall: Wall::from_micros(i64::try_from(wall).unwrap_or(i64::MAX)), mono };
            }
            before = mono;
        }
        Now { wall: Wall::from_micros(0), mono: before }
    }
}

/// The hand that moves a manual clock.
#[derive(Debug)]
pub struct ManualTime {
    wall: AtomicI64,
    mono: AtomicU64,
}

impl ManualTime {
    fn at(wall: Wall) -> Self {
        Self { wall: AtomicI64::new(wall.micros()), mono: AtomicU64::new(0) }
    }

    fn read(&self) -> Now {
        Now {
            wall: Wall::from_micros(self.wall.load(Ordering::SeqCst)),
            mono: Mono::from_nanos(self.mono.load(Ordering::SeqCst)),
        }
    }

    /// Lets this many microseconds pass on both clocks.
    pub fn advance_micros(&self, micros: u64) {
        self.wall.fetch_add(i64::try_from(micros).unwrap_or(0), Ordering::SeqCst);
        self.mono.fetch_add(micros.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Sets the wall's clock alone, as an operator or NTP would.
    pub fn set_wall(&self, wall: Wall) {
        self.wall.store(wall.micros(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    const START: Wall = Wall::from_secs(1_800_000_000);
    const SEC: u64 = 1_000_000;

    fn back_by(secs: i64) -> Wall {
        Wall::from_secs(START.secs() - secs)
    }

    #[test]
    fn a_step_is_noticed_by_the_next_tick_and_not_before() {
        let (clock, time) = Clock::ticked_by_hand(START);
        time.set_wall(START.plus_micros(60 * SEC));
        assert_eq!(clock.now().wall, START);
        clock.tick();
        assert_eq!(clock.now().wall, START.plus_micros(60 * SEC));
        time.advance_micros(7);
        assert_eq!(clock.now().wall, START.plus_micros(60 * SEC + 7), "it runs without a tick");
    }

    #[test]
    fn a_start_from_a_mark_ahead_of_the_machine_is_at_the_mark() {
        let (clock, time) = Clock::ticked_by_hand(back_by(600));
        clock.start_from(START);
        assert_eq!(clock.now().wall, START);
        let status = clock.status();
        assert_eq!((status.believed, status.machine.wall), (START, back_by(600)));
        assert_eq!(status.state, ClockState::Behind { by_micros: 600 * SEC });
        time.advance_micros(10 * SEC);
        assert_eq!(clock.now().wall, START.plus_micros(5 * SEC));
        let machine = clock.status().machine;
        time.advance_micros(SEC);
        clock.confirm(machine);
        assert_eq!(clock.now().wall, back_by(589), "what was confirmed went on meanwhile");
        assert_eq!(clock.status().state, ClockState::Ok);
    }

    #[test]
    fn a_manual_clock_is_believed_whatever_it_says() {
        let (clock, time) = Clock::manual(START);
        clock.start_from(START.plus_micros(SEC));
        time.set_wall(back_by(600));
        assert_eq!(clock.now().wall, back_by(600));
        assert_eq!(clock.status().state, ClockState::Ok);
    }

    #[test]
    fn the_machine_s_clocks_are_read_together() {
        let clock = Clock::machine();
        let (before, status, after) = (clock.now(), clock.status(), clock.now());
        assert!(before.mono <= status.machine.mono && status.machine.mono <= after.mono);
        assert!(before.wall <= status.believed && status.believed <= after.wall);
        assert!(after.wall > Wall::from_secs(1_700_000_000), "this is no clock of today: {after:?}");
        assert_eq!(status.state, ClockState::Ok);
    }

    /// Each reading of a thread is held against the latest that any thread had finished before it began.
    #[test]
    fn threads_that_read_while_a_clock_is_set_about_never_see_time_go_back() {
        let clocks = [Clock::machine(), Clock::ticked_by_hand(START).0];
        for (clock, time) in clocks.into_iter().zip([None, Some(())]) {
            let (latest, is_over) = (AtomicI64::new(i64::MIN), AtomicBool::new(false));
            let hand = match &clock.0 {
                Source::Ticked(ticked) => Arc::clone(ticked),
                Source::Manual(_) => unreachable!(),
            };
            let look = || {
                let mut readings = 0_u64;
                while !is_over.load(Ordering::SeqCst) || readings < 1_000 {
                    let finished = latest.load(Ordering::SeqCst);
                    let wall = clock.now().wall.micros();
                    assert!(wall >= finished, "{wall} after {finished}");
                    latest.fetch_max(wall, Ordering::SeqCst);
                    readings += 1;
                }
            };
            thread::scope(|scope| {
                let readers: Vec<_> = (0..3).map(|_| scope.spawn(look)).collect();
                for round in 0..2_000_i64 {
                    match (&hand.readings, time) {
                        (Readings::Manual(time), Some(())) => {
                            time.advance_micros(50);
                            let off = [0, 400_000, -400_000, 30_000][usize::try_from(round % 4).unwrap()];
                            time.set_wall(Wall::from_micros(START.micros() + round * 50 + off));
                            clock.tick();
                        }
                        // The machine's clock cannot be set; that it was is what a reading says.
                        _ => hand.change(|believed, mut reading| {
                            let off = [0, 400_000, -400_000, 30_000][usize::try_from(round % 4).unwrap()];
                            reading.wall = Wall::from_micros(reading.wall.micros() + off);
                            believed.tick(reading);
                        }),
                    }
                }
                is_over.store(true, Ordering::SeqCst);
                for reader in readers {
                    reader.join().unwrap();
                }
            });
        }
    }
}
