//! Clients of one server side by side, each with connections of its own, so that no connection of HTTP/2 gets
//! more exchanges at a time than servers take on one.
//!
//! HTTP/2 has one connection where HTTP/1.1 has many. What a server does not take on it waits without a word,
//! behind whatever is open there, however long that lasts; so the next exchange goes to the next lane. The
//! first lane with room is used, and a quiet upstream has one connection.
//!
//! Never here: a bound on all exchanges; `places` has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::clients::Connections;

/// The most exchanges of one lane. RFC 9113 asks servers to take no fewer at a time, and common ones take
/// 100 to 250.
pub(super) const LANE_EXCHANGES_MAX: usize = 100;

/// The lanes to one server; at least one. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<[Lane]>);

#[derive(Debug)]
struct Lane {
    client: Connections,
    open: Arc<AtomicUsize>,
}

/// One exchange on a lane, until this is dropped; the default is on none that is counted.
#[derive(Debug, Default)]
pub(super) struct OnLane(Option<Arc<AtomicUsize>>);

impl Lanes {
    /// So many lanes as `exchanges_max` need. `client` makes the client of each, by its number from 0.
    pub(super) fn new(exchanges_max: usize, client: impl Fn(usize) -> Connections) -> Self {
        let lanes = exchanges_max.div_ceil(LANE_EXCHANGES_MAX).max(1);
        let lane = |number| Lane { client: client(number), open: Arc::default() };
        Self((0..lanes).map(lane).collect())
    }

    /// The client for the next exchange, which holds its room on the lane. None when there is none: lanes
    /// have room for all that places let in.
    pub(super) fn take(&self) -> Option<(&Connections, OnLane)> {
        if let [only] = &*self.0 {
            return Some((&only.client, OnLane::default()));
        }
        let has_room = |open| if open < LANE_EXCHANGES_MAX { Some(open + 1) } else { None };
        let taken =
            |lane: &&Lane| lane.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).is_ok();
        self.0.iter().find(taken).map(|lane| (&lane.client, OnLane(Some(Arc::clone(&lane.open)))))
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
