//! Where a caller's rates and its month stand, as it is told: how much is left of each, and when it is full again.
//!
//! Of rates it is taken in the very step that took a token or refused one, so that no other caller's token lies
//! between.
//!
//! Never here: a header, or a decision.

use super::meter::Quota;
use super::rates::WINDOWS_MAX;

/// Where one rate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
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
pub enum PaceOf {
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
pub struct Paces {
    pub(super) key: [Option<Pace>; WINDOWS_MAX],
    pub(super) workspace: Option<Pace>,
    pub(super) route: Option<Pace>,
    /// The month's quota, once that was asked.
    pub quota: Option<Quota>,
}

impl Paces {
    /// Each with what it is: the key's, then the workspace's, then the route's.
    pub fn iter(&self) -> impl Iterator<Item = (PaceOf, &Pace)> {
        let is_alone = self.key.iter().flatten().count() == 1;
        let key = self.key.iter().flatten().enumerate();
        let key = key
            .map(move |(place, pace)| (if is_alone { PaceOf::Key } else { PaceOf::Window(place + 1) }, pace));
        let others = [(PaceOf::Workspace, &self.workspace), (PaceOf::Route, &self.route)];
        key.chain(others.into_iter().filter_map(|(of, pace)| Some((of, pace.as_ref()?))))
    }

    /// Nanoseconds until each of them has a token again; `None` when one of them never will.
    pub(super) fn longest_wait(&self) -> Option<u64> {
        self.iter().try_fold(0, |longest: u64, (_, pace)| Some(longest.max(pace.next_nanos?)))
    }

    /// The one with the fewest tokens left; of equals, the one that takes longest to fill. `None` without any
    /// rate.
    pub fn tightest(&self) -> Option<(PaceOf, &Pace)> {
        let fills_in = |pace: &Pace| pace.next_nanos.map_or(u64::MAX, |_| pace.reset_nanos);
        self.iter().min_by_key(|(_, pace)| (pace.remaining, u64::MAX - fills_in(pace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(remaining: u64, reset_nanos: u64) -> Pace {
        Pace { limit: 9, window_secs: 1, remaining, reset_nanos, next_nanos: Some(0) }
    }

    #[test]
    fn the_tightest_has_the_fewest_left_and_of_equals_fills_last() {
        let key = [Some(pace(5, 1)), Some(pace(2, 1)), Some(pace(2, 7)), None];
        let paces = Paces { key, workspace: Some(pace(3, 9)), ..Paces::default() };
        assert_eq!(paces.tightest().map(|(of, _)| of), Some(PaceOf::Window(3)));
        let paces = Paces { route: Some(pace(1, 0)), ..paces };
        assert_eq!(paces.tightest().map(|(of, _)| of), Some(PaceOf::Route));
        let never = Pace { next_nanos: None, ..pace(0, 0) };
        let paces = Paces { workspace: Some(never), route: Some(pace(0, 9)), ..paces };
        assert_eq!(paces.tightest().map(|(of, _)| of), Some(PaceOf::Workspace), "one that never fills");
        assert_eq!(Paces::default().tightest(), None);
    }

    #[test]
    fn a_keys_only_rate_is_no_numbered_one() {
        let paces = Paces {
            key: [Some(pace(5, 1)), None, None, None],
            workspace: Some(pace(1, 1)),
            ..Paces::default()
        };
        assert_eq!(paces.iter().map(|(of, _)| of).collect::<Vec<_>>(), [PaceOf::Key, PaceOf::Workspace]);
    }
}
