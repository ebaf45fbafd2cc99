//! The buckets of single routes and tools: one for each key that used one of those that have a rate.
//!
//! In memory alone: a start finds them full. The map is bounded; a bucket that was not asked for while as many
//! others as it holds came is forgotten, and full when it is asked for again.
//!
//! Never here: the key's own bucket, or its workspace's.

use std::hash::RandomState;
use std::sync::Arc;

use super::Engine;
use super::generations::Generations;
use super::live::LiveKey;
use crate::domain::decision::{Buckets, Wanted};
use crate::domain::id::KeyId;
use crate::domain::profile::RouteBucketNo;
use crate::domain::rate::Rate;
use crate::domain::rate::bucket::Bucket;

/// The most buckets that are remembered.
const ROUTE_BUCKETS_MAX: usize = 200_000;

/// The buckets, by key and route.
pub(super) struct RouteBuckets(Generations<(KeyId, RouteBucketNo), Arc<Bucket>, RandomState>);

impl Default for RouteBuckets {
    fn default() -> Self {
        Self(Generations::new(ROUTE_BUCKETS_MAX / 2))
    }
}

impl RouteBuckets {
    /// Drops what was forgotten.
    pub(super) fn sweep(&self) {
        self.0.sweep();
    }
}

impl Engine {
    /// The key's bucket for what it wants, and its rate, where it has one.
    pub(super) fn route_bucket(&self, key: &LiveKey, wanted: &Wanted) -> Option<(Rate, Arc<Bucket>)> {
        let (number, rate) = rate_of(key, wanted)?;
        Some((rate, self.route_buckets.0.find_or_insert((key.id(), number), Arc::default)))
    }

    /// The same, to be looked at: none is made for it.
    pub(super) fn route_bucket_as_it_stands(
        &self,
        key: &LiveKey,
        wanted: &Wanted,
    ) -> Option<(Rate, Arc<Bucket>)> {
        let (number, rate) = rate_of(key, wanted)?;
        Some((rate, self.route_buckets.0.peek(&(key.id(), number)).unwrap_or_default()))
    }

    /// All buckets that a decision may look into, none of them made for it.
    pub(super) fn buckets<'a>(&self, key: &'a LiveKey, wanted: &Wanted) -> Buckets<'a> {
        Buckets { route: self.route_bucket_as_it_stands(key, wanted), ..key.buckets() }
    }
}

impl LiveKey {
    /// The buckets of the key and its workspace.
    pub(super) fn buckets(&self) -> Buckets<'_> {
        Buckets { key: self.bucket.windows(), workspace: &self.workspace.bucket, route: None }
    }
}

fn rate_of(key: &LiveKey, wanted: &Wanted) -> Option<(RouteBucketNo, Rate)> {
    let Wanted::Known(requirement) = wanted else { return None };
    let number = requirement.bucket?;
    Some((number, *key.workspace.profile.route_rate(number)?))
}
