//! What is true of each key and workspace at each time, as far as those can know who change it, and what may be said
//! of a request therefore.
//!
//! A change may act from the moment it is asked for, and must act once it is acknowledged. So each state may hold from
//! the start of its change to the end of the next one, and a request may be judged by every state that may hold
//! while it is under way; by one alone, where nothing changed meanwhile. What ends by itself, an expiry or an
//! overlap, ends by the daemon's clock, which after a kill is ahead of the machine's for a while.
//!
//! Never here: a request, or a word of the daemon's.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::harness::hidden::Hidden;

/// States that are remembered of one thing: far more changes than one request overlaps.
const STATES_MAX: usize = 16;
/// How far two clocks of one machine may differ as they are read.
const READING_SECS: f64 = 1.0;
/// How far a kill may put believed time ahead, and for how long it stays so: it goes on at half speed.
const LEAD_SECS: f64 = 2.5;
const LEAD_LASTS: Duration = Duration::from_secs(20);

/// What may be said of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Outcome {
    Passed,
    /// 401, whatever is wrong with the key.
    NoKey,
    TooFast,
    NotHeld,
    UsedUp,
}

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    Everything,
    Reads,
    Writes,
    Nothing,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Read,
    Write,
    Metered,
    /// Any key that stands.
    Standing,
}

/// One state of a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyState {
    pub(crate) held: Held,
    pub(crate) is_revoked: bool,
    /// Bound to an address that is nobody's here.
    pub(crate) is_bound: bool,
    /// Its rate is nothing.
    pub(crate) is_paced: bool,
    /// In seconds of the machine's clock.
    pub(crate) expires_at: Option<f64>,
    /// The texts that are good, and until when.
    pub(crate) texts: Vec<(usize, Option<f64>)>,
}

/// States, the oldest first, each with when its change was asked for and acknowledged.
#[derive(Debug)]
pub(crate) struct Timeline<S>(Mutex<Vec<Entry<S>>>);

#[derive(Debug)]
struct Entry<S> {
    state: S,
    asked_at: Instant,
    settled_at: Option<Instant>,
}

impl<S: Clone> Timeline<S> {
    pub(crate) fn new(state: S) -> Self {
        let asked_at = now();
        Self(Mutex::new(vec![Entry { state, asked_at, settled_at: Some(asked_at) }]))
    }

    /// The newest state, whether it is settled or not.
    pub(crate) fn newest(&self) -> S {
        self.0.lock().unwrap().last().unwrap().state.clone()
    }

    /// A change is asked for now.
    pub(crate) fn ask(&self, state: S) {
        let mut entries = self.0.lock().unwrap();
        entries.push(Entry { state, asked_at: now(), settled_at: None });
        if entries.len() > STATES_MAX {
            entries.remove(0);
        }
    }

    /// The change that was asked for is acknowledged, and came to this.
    pub(crate) fn settle(&self, state: S) {
        let mut entries = self.0.lock().unwrap();
        let last = entries.last_mut().unwrap();
        (last.state, last.settled_at) = (state, Some(now()));
    }

    /// Every state that may have held at some moment of this time.
    pub(crate) fn within(&self, from: Instant, to: Instant) -> Vec<S> {
        let entries = self.0.lock().unwrap();
        let is_over = |place: usize| {
            entries.iter().skip(place + 1).any(|later| later.settled_at.is_some_and(|settled| settled < from))
        };
        let held =
            entries.iter().enumerate().filter(|(place, entry)| entry.asked_at <= to && !is_over(*place));
        held.map(|(_, entry)| entry.state.clone()).collect()
    }
}

/// A key, and all that is known of it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) workspace: Arc<Workspace>,
    /// Every text that it ever had; a place is the number of a text.
    pub(crate) texts: Mutex<Vec<Hidden>>,
    pub(crate) states: Timeline<KeyState>,
    /// Held by who changes it.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// A workspace, and what was sold to it.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) id: String,
    pub(crate) limit: Option<u64>,
    pub(crate) is_suspended: Timeline<bool>,
    /// Units whose callers know that they were sold: by the gate, and by verify calls.
    pub(crate) forwarded: AtomicU64,
    pub(crate) verified: AtomicU64,
    /// Units of calls that are under way, or that were cut off and may have been sold.
    pub(crate) in_doubt: AtomicU64,
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Workspace {
    /// The most units that one kill may cost, beside the calls that are under way.
    pub(crate) fn lease(&self) -> u64 {
        self.limit.map_or(10_000, |limit| (limit / 100).max(1))
    }

    /// Whether the month may be used up, after so many kills.
    fn may_be_used_up(&self, kills: u64) -> bool {
        let counted = [&self.forwarded, &self.verified, &self.in_doubt];
        let counted: u64 = counted.into_iter().map(|count| count.load(Ordering::SeqCst)).sum();
        self.limit.is_some_and(|limit| counted + kills * self.lease() >= limit)
    }
}

/// When the daemon was away, and how often it was killed.
#[derive(Debug, Default)]
pub(crate) struct Absences(Mutex<Vec<(Instant, Option<Instant>, IsKill)>>);

type IsKill = bool;

impl Absences {
    pub(crate) fn begin(&self, is_kill: bool) {
        self.0.lock().unwrap().push((now(), None, is_kill));
    }

    pub(crate) fn end(&self) {
        self.0.lock().unwrap().last_mut().unwrap().1 = Some(now());
    }

    /// Whether the daemon was away at some moment of this time.
    pub(crate) fn overlap(&self, from: Instant, to: Instant) -> bool {
        let absences = self.0.lock().unwrap();
        absences.iter().any(|(begun, ended, _)| *begun <= to && ended.is_none_or(|ended| ended >= from))
    }

    pub(crate) fn kills(&self) -> u64 {
        self.0.lock().unwrap().iter().filter(|(_, _, is_kill)| *is_kill).count() as u64
    }

    /// How far believed time may be ahead, in seconds.
    fn lead_secs(&self, at: Instant) -> f64 {
        let absences = self.0.lock().unwrap();
        let recent = absences.iter().filter(|(begun, _, is_kill)| *is_kill && *begun + LEAD_LASTS > at);
        READING_SECS + LEAD_SECS * f64::from(u32::try_from(recent.count()).unwrap())
    }
}

/// This moment. Who judges a daemon does not ask the daemon's clock.
#[expect(clippy::disallowed_methods, reason = "the one place here where it is read")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The machine's clock in seconds.
#[expect(clippy::disallowed_methods, reason = "the one place here where it is read")]
pub(crate) fn wall_secs() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A request's time: by both clocks, from its first byte to the end of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    from_wall: f64,
    to_wall: f64,
}

impl Span {
    pub(crate) fn since(from: Instant, from_wall: f64) -> Self {
        Self { from, to: now(), from_wall, to_wall: wall_secs() }
    }
}

impl Key {
    /// What may be said of a request with this text for this, in this time.
    pub(crate) fn may_be(
        &self,
        text: usize,
        asked: Asked,
        span: Span,
        absences: &Absences,
    ) -> BTreeSet<Outcome> {
        let mut may_be = BTreeSet::new();
        let ended = |until: Option<f64>| {
            let Some(until) = until else { return vec![false] };
            let may_have_ended = span.to_wall + absences.lead_secs(span.to) >= until;
            let may_go_on = span.from_wall - READING_SECS < until;
            [may_go_on.then_some(false), may_have_ended.then_some(true)].into_iter().flatten().collect()
        };
        for state in self.states.within(span.from, span.to) {
            let of_text = state.texts.iter().find(|(known, _)| *known == text);
            let text_ended = of_text.map_or(vec![true], |(_, until)| ended(*until));
            for is_suspended in self.workspace.is_suspended.within(span.from, span.to) {
                for text_ended in &text_ended {
                    for is_expired in ended(state.expires_at) {
                        let stands = !(is_suspended
                            || *text_ended
                            || is_expired
                            || state.is_revoked
                            || state.is_bound);
                        may_be.insert(state.outcome(stands, asked));
                    }
                }
            }
        }
        let is_sold = asked == Asked::Metered && may_be.contains(&Outcome::Passed);
        if is_sold && self.workspace.may_be_used_up(absences.kills()) {
            may_be.insert(Outcome::UsedUp);
        }
        may_be
    }
}

impl KeyState {
    fn outcome(&self, stands: bool, asked: Asked) -> Outcome {
        if !stands {
            Outcome::NoKey
        } else if self.is_paced {
            Outcome::TooFast
        } else if self.held.covers(asked) {
            Outcome::Passed
        } else {
            Outcome::NotHeld
        }
    }
}

impl Held {
    pub(crate) const ALL: [Self; 4] = [Self::Everything, Self::Reads, Self::Writes, Self::Nothing];

    /// As the admin API writes it.
    pub(crate) const fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::Everything => &["*:*"],
            Self::Reads => &["posts:read"],
            Self::Writes => &["posts:write"],
            Self::Nothing => &[],
        }
    }

    const fn covers(self, asked: Asked) -> bool {
        match asked {
            Asked::Standing => true,
            Asked::Read => matches!(self, Self::Everything | Self::Reads),
            Asked::Write => matches!(self, Self::Everything | Self::Writes),
            Asked::Metered => matches!(self, Self::Everything),
        }
    }

    /// The tools that a key may call, of those that the upstream lists.
    pub(crate) fn sees(self, tool: &str) -> bool {
        match tool {
            "posts_list" | "posts_get" => self.covers(Asked::Read),
            "posts_create" | "posts_update" | "posts_delete" => self.covers(Asked::Write),
            "not_mapped" => false,
            _ => self == Self::Everything,
        }
    }
}
