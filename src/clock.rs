//! The one place that reads time.
//!
//! Wall time and monotonic time are read together, once per request, and travel as a [`Now`]. Monotonic time
//! counts from the clock's making and never goes back; wall time is whatever the machine says. Tests hold a
//! manual clock and move it.
//!
//! Never here: a decision about time, or a sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Mono, Now, Wall};

/// Reads time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine { started: Instant },
    Manual(Arc<ManualTime>),
}

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    pub fn machine() -> Self {
        Self(Source::Machine { started: Instant::now() })
    }

    /// A clock that stands at `wall` until its [`ManualTime`] is moved.
    pub fn manual(wall: Wall) -> (Self, Arc<ManualTime>) {
        let time = Arc::new(ManualTime { wall: AtomicI64::new(wall.micros()), mono: AtomicU64::new(0) });
        (Self(Source::Manual(Arc::clone(&time))), time)
    }

    /// Both times at this moment.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads time")]
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::Machine { started } => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
                let mono = started.elapsed().as_nanos();
                Now {
                    wall: Wall::from_micros(i64::try_from(wall).unwrap_or(i64::MAX)),
                    mono: Mono::from_nanos(u64::try_from(mono).unwrap_or(u64::MAX)),
                }
            }
            Source::Manual(time) => Now {
                wall: Wall::from_micros(time.wall.load(Ordering::SeqCst)),
                mono: Mono::from_nanos(time.mono.load(Ordering::SeqCst)),
            },
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Debug)]
pub struct ManualTime {
    wall: AtomicI64,
    mono: AtomicU64,
}

impl ManualTime {
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
