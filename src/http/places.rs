//! How many connections may be open: all together, and of one address.
//!
//! A place is taken before a connection is, so that what cannot be served waits in the system's queue. One
//! address gets at most its share of all places, so that a client that opens all it can leaves room for
//! others.
//!
//! Never here: a connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most connections of all clients, where nobody counts descriptors.
const CONNECTIONS_MAX: usize = 8192;

/// The places of one server, or of several that share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    address_max: usize,
    /// Connections of each address that has some; never more entries than places.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(CONNECTIONS_MAX)
    }
}

impl Places {
    /// So many places. One address may have half of them: a proxy in front is one address with many callers,
    /// and whoever floods from one machine still leaves the other half.
    pub fn new(connections_max: usize) -> Self {
        let address_max = connections_max.div_ceil(2);
        let free = Arc::new(Semaphore::new(connections_max));
        Self(Arc::new(Shared { free, address_max, taken: Mutex::default() }))
    }

    /// Waits for a free place.
    pub(super) async fn free(&self) -> Option<FreePlace> {
        let permit = Arc::clone(&self.0.free).acquire_owned().await.ok()?;
        Some(FreePlace { places: self.clone(), permit })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing between two statements can panic here.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for a connection that is still to come.
#[derive(Debug)]
pub(super) struct FreePlace {
    places: Places,
    permit: OwnedSemaphorePermit,
}

impl FreePlace {
    /// Gives it to a connection from `address`; `None` when that has its share already. Peers without an
    /// address are on this machine and share all places.
    pub(super) fn taken_by(self, address: Option<IpAddr>) -> Option<Place> {
        let network = address.map(network_of);
        if let Some(network) = network {
            let mut taken = self.places.taken();
            let of_network = taken.entry(network).or_default();
            if *of_network >= self.places.0.address_max {
                return None;
            }
            *of_network += 1;
        }
        Some(Place { places: self.places, network, _permit: self.permit })
    }
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut taken = self.places.taken();
        if let Some(of_network) = taken.get_mut(&network) {
            *of_network = of_network.saturating_sub(1);
            if *of_network == 0 {
                taken.remove(&network);
            }
        }
    }
}

/// Whoever has one IPv6 address has its network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_gets_half_of_the_places_and_others_the_rest() {
        let places = Places::new(4);
        let take = async |address: Option<&str>| {
            places.free().await.unwrap().taken_by(address.map(|address| address.parse().unwrap()))
        };
        let first = take(Some("192.0.2.1")).await.unwrap();
        let _second = take(Some("::ffff:192.0.2.1")).await.unwrap();
        assert!(take(Some("192.0.2.1")).await.is_none());
        let _other = take(Some("2001:db8::1")).await.unwrap();
        drop(first);
        let _again = take(Some("192.0.2.1")).await.unwrap();
        let _unix = take(None).await.unwrap();
        assert_eq!(places.0.free.available_permits(), 0);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_address_and_nothing_is_kept_of_who_left() {
        let places = Places::new(2);
        let address = |text: &str| Some(text.parse().unwrap());
        let held = places.free().await.unwrap().taken_by(address("2001:db8::1")).unwrap();
        assert!(places.free().await.unwrap().taken_by(address("2001:db8::ffff:2")).is_none());
        assert!(places.free().await.unwrap().taken_by(address("2001:db8:0:1::1")).is_some());
        drop(held);
        assert!(places.taken().is_empty());
        assert_eq!(places.0.free.available_permits(), 2);
    }
}
