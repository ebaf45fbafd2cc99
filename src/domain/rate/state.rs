//! Where a caller's rates and its month stand, as it is told: how much is left of each, and when it is full again.
//!
//! Of rates it is taken in the very step that took a token or refused one, so that no other caller's token lies
//! between.
//!
//! Never here: a header, or a decision.

use super::super::meter::Quota;
use super::WINDOWS_MAX;

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

    /// Nanoseconds until each of them has a token again; `None` when one of them never will.
    pub(in crate::domain) fn longest_wait(&self) -> Option<u64> {
        self.iter().try_fold(0, |longest: u64, (_, state)| Some(longest.max(state.next_nanos?)))
    }

    /// The one with the fewest tokens left; of equals, the one that takes longest to fill. `None` without any
    /// rate.
    pub fn tightest(&self) -> Option<(RateOf, &RateState)> {
        let fills_in = |state: &RateState| state.next_nanos.map_or(u64::MAX, |_| state.reset_nanos);
        self.iter().min_by_key(|(_, state)| (state.remaining, u64::MAX - fills_in(state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
