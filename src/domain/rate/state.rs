//! Where a caller's rates and its month stand, as it is told: how much is left of each, and when it is full again.
//!
//! Of rates it is taken in the very step that took a token or refused one, so that no other caller's token lies
//! between. A decision carries it small, as marks; the arithmetic is done by whoever tells it.
//!
//! Never here: a header, or a decision.

use super::super::meter::Quota;
use super::bucket::{longer_wait, state_of};
use super::{Rate, WINDOWS_MAX};

/// Where one rate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateState {
    /// Tokens each window.
    pub limit: u64,
    /// The window in seconds.
    pub window_secs: u32,
    /// Tokens that could be taken now.
    pub remaining: u64,
    /// Nanoseconds until the bucket is full, if nobody takes; 0 for a limit of 0, which never is.
    pub reset_nanos: u64,
    /// Nanoseconds until one more token can be taken, if nobody takes; `None` when none ever can.
    pub next_nanos: Option<u64>,
}

/// Which rate it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateOf {
    /// The key's only one.
    Key,
    /// One of the key's several, counted from 1.
    Window(usize),
    /// The one that all keys of the workspace share.
    Workspace,
    /// The key's own for this route or tool.
    Route,
}

/// Where all rates of one request and its month stand, as far as they were looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LimitStates {
    pub(in crate::domain) key: [Option<RateState>; WINDOWS_MAX],
    pub(in crate::domain) workspace: Option<RateState>,
    pub(in crate::domain) route: Option<RateState>,
    /// The month's quota, once that was asked.
    pub quota: Option<Quota>,
}

impl LimitStates {
    /// Each with what it is: the key's, then the workspace's, then the route's.
    pub fn iter(&self) -> impl Iterator<Item = (RateOf, &RateState)> {
        let is_alone = self.key.iter().flatten().count() == 1;
        let key = self.key.iter().flatten().enumerate();
        let key = key.map(move |(place, state)| {
            (if is_alone { RateOf::Key } else { RateOf::Window(place + 1) }, state)
        });
        let others = [(RateOf::Workspace, &self.workspace), (RateOf::Route, &self.route)];
        key.chain(others.into_iter().filter_map(|(of, state)| Some((of, state.as_ref()?))))
    }

    /// The one with the fewest tokens left; of equals, the one that takes longest to fill. `None` without any
    /// rate.
    pub fn tightest(&self) -> Option<(RateOf, &RateState)> {
        let fills_in = |state: &RateState| state.next_nanos.map_or(u64::MAX, |_| state.reset_nanos);
        self.iter().min_by_key(|(_, state)| (state.remaining, u64::MAX - fills_in(state)))
    }
}

/// Where one rate stands, not yet reckoned out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::domain) struct RateMark {
    pub(super) rate: Rate,
    /// How far its bucket is from full.
    pub(super) debt_ticks: u64,
}

impl RateMark {
    pub(in crate::domain) fn state(&self) -> RateState {
        // Only the distance counts, so it may be told from any moment.
        state_of(self.debt_ticks, &self.rate, 0)
    }
}

/// Where the key's own rates stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::domain) enum KeyMarks {
    One(RateMark),
    Several(Box<[RateMark]>),
}

/// None at all.
impl Default for KeyMarks {
    fn default() -> Self {
        Self::Several(Box::default())
    }
}

impl KeyMarks {
    pub(in crate::domain) fn all(&self) -> &[RateMark] {
        match self {
            Self::One(mark) => std::slice::from_ref(mark),
            Self::Several(marks) => marks,
        }
    }

    pub(in crate::domain) fn states(&self) -> [Option<RateState>; WINDOWS_MAX] {
        let mut states = [None; WINDOWS_MAX];
        for (state, mark) in states.iter_mut().zip(self.all()) {
            *state = Some(mark.state());
        }
        states
    }
}

/// Where all rates of one request stand, as its decision carries them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitMarks {
    pub(in crate::domain) key: KeyMarks,
    /// Apart, since most requests have none and every one carries this about.
    pub(super) others: Option<Box<OtherMarks>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct OtherMarks {
    workspace: Option<RateMark>,
    route: Option<RateMark>,
}

impl LimitMarks {
    /// What a caller is told, beside where its month stands.
    pub fn states(&self, quota: Option<Quota>) -> LimitStates {
        LimitStates {
            key: self.key.states(),
            workspace: self.others().workspace.as_ref().map(RateMark::state),
            route: self.others().route.as_ref().map(RateMark::state),
            quota,
        }
    }

    /// Whether no rate was looked at.
    pub fn is_empty(&self) -> bool {
        self.key.all().is_empty() && self.others.is_none()
    }

    pub(in crate::domain) fn note_workspace(&mut self, mark: RateMark) {
        self.others.get_or_insert_default().workspace = Some(mark);
    }

    pub(in crate::domain) fn note_route(&mut self, mark: RateMark) {
        self.others.get_or_insert_default().route = Some(mark);
    }

    fn others(&self) -> OtherMarks {
        self.others.as_deref().copied().unwrap_or_default()
    }

    /// Nanoseconds until each of them has a token again; `None` when one of them never will.
    pub(in crate::domain) fn longest_wait(&self) -> Option<u64> {
        let others = self.others();
        let all = self.key.all().iter().chain(&others.workspace).chain(&others.route);
        all.map(|mark| mark.state().next_nanos).fold(Some(0), longer_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decision_carries_is_small() {
        assert_eq!((size_of::<KeyMarks>(), size_of::<LimitMarks>()), (48, 56));
    }

    fn state(remaining: u64, reset_nanos: u64) -> RateState {
        RateState { limit: 9, window_secs: 1, remaining, reset_nanos, next_nanos: Some(0) }
    }

    #[test]
    fn the_tightest_has_the_fewest_left_and_of_equals_fills_last() {
        let key = [Some(state(5, 1)), Some(state(2, 1)), Some(state(2, 7)), None];
        let limit_states = LimitStates { key, workspace: Some(state(3, 9)), ..LimitStates::default() };
        assert_eq!(limit_states.tightest().map(|(of, _)| of), Some(RateOf::Window(3)));
        let limit_states = LimitStates { route: Some(state(1, 0)), ..limit_states };
        assert_eq!(limit_states.tightest().map(|(of, _)| of), Some(RateOf::Route));
        let never = RateState { next_nanos: None, ..state(0, 0) };
        let limit_states = LimitStates { workspace: Some(never), route: Some(state(0, 9)), ..limit_states };
        assert_eq!(
            limit_states.tightest().map(|(of, _)| of),
            Some(RateOf::Workspace),
            "one that never fills"
        );
        assert_eq!(LimitStates::default().tightest(), None);
    }

    #[test]
    fn a_keys_only_rate_is_no_numbered_one() {
        let limit_states = LimitStates {
            key: [Some(state(5, 1)), None, None, None],
            workspace: Some(state(1, 1)),
            ..LimitStates::default()
        };
        assert_eq!(
            limit_states.iter().map(|(of, _)| of).collect::<Vec<_>>(),
            [RateOf::Key, RateOf::Workspace]
        );
    }
}
