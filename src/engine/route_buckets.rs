//! The buckets of single routes and tools: one for each key that used one of those that have a rate, and one
//! for each address that came without a key.
//!
//! In memory alone: a start finds them full. The map is bounded; a bucket that was not asked for while as many
//! others as it holds came is forgotten, and full when it is asked for again.
//!
//! Never here: the key's own bucket, or its workspace's.

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::generations::Generations;
use super::live::LiveKey;
use crate::domain::decision::{Buckets, Wanted};
use crate::domain::id::KeyId;
use crate::domain::profile::{Profile, Public, RouteBucketNo};
use crate::domain::rate::Rate;
use crate::domain::rate::bucket::Bucket;

/// The most buckets of keys that are remembered.
const ROUTE_BUCKETS_MAX: usize = 200_000;
/// The most buckets of addresses that are remembered.
const ADDRESS_BUCKETS_MAX: usize = 100_000;

/// Which of one address's buckets: a profile, by where it lies (the engine's live as long as it does), and the
/// number in it.
type AddressBucket = (IpAddr, usize, RouteBucketNo);

/// The buckets, by key and route, and by address and route.
pub(super) struct RouteBuckets {
    by_key: Generations<(KeyId, RouteBucketNo), Arc<Bucket>, RandomState>,
    by_address: Generations<AddressBucket, Arc<Bucket>, RandomState>,
}

impl Default for RouteBuckets {
    fn default() -> Self {
        Self {
            by_key: Generations::new(ROUTE_BUCKETS_MAX / 2),
            by_address: Generations::new(ADDRESS_BUCKETS_MAX / 2),
        }
    }
}

impl RouteBuckets {
    /// Drops what was forgotten.
    pub(super) fn sweep(&self) {
        self.by_key.sweep();
        self.by_address.sweep();
    }

    /// An address's bucket for what a profile opens to it, and its rate, where it has one.
    pub(super) fn of_address(
        &self,
        profile: &Arc<Profile>,
        public: Public,
        address: IpAddr,
    ) -> Option<(Rate, Arc<Bucket>)> {
        let number = public.bucket()?;
        let rate = *profile.route_rate(number)?;
        let name = (address, Arc::as_ptr(profile).addr(), number);
        Some((rate, self.by_address.find_or_insert(name, Arc::default)))
    }
}

impl Engine {
    /// The key's bucket for what it wants, and its rate, where it has one.
    pub(super) fn route_bucket(&self, key: &LiveKey, wanted: &Wanted) -> Option<(Rate, Arc<Bucket>)> {
        let (number, rate) = rate_of(key, wanted)?;
        Some((rate, self.route_buckets.by_key.find_or_insert((key.id(), number), Arc::default)))
    }

    /// The same, to be looked at: none is made for it.
    pub(super) fn route_bucket_as_it_stands(
        &self,
        key: &LiveKey,
        wanted: &Wanted,
    ) -> Option<(Rate, Arc<Bucket>)> {
        let (number, rate) = rate_of(key, wanted)?;
        Some((rate, self.route_buckets.by_key.peek(&(key.id(), number)).unwrap_or_default()))
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
