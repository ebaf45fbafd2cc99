//! How much memory bodies that are read whole may take at one time.
//!
//! Whoever reads a body takes room for the most that it may become, before the first byte, and keeps what it became
//! afterwards. Callers with a key and those without have rooms of their own, and no workspace or address takes more
//! than its share of one, so that many slow senders neither add up nor lock others out. Without room a request is
//! refused as busy.
//!
//! Never here: a body, or a wait for room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::denial::Fault;
use crate::domain::id::WorkspaceId;
use crate::http::events::EventRoom;

/// Room for all bodies of proven callers together, where nobody says otherwise: 256 MiB.
const PROVEN_BYTES_MAX: u64 = 256 << 20;
/// What everybody else has together beside it: an eighth.
const KEYLESS_SHARE: u64 = 8;
/// The part of a room that one workspace or address may take, unless it is a single body.
const SHARE: u64 = 8;
/// What a caller is told to wait when there is no room, in whole seconds.
const BUSY_RETRY_SECS: u32 = 1;

/// Who a body is read for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Holder {
    /// A proven caller of this workspace.
    Workspace(WorkspaceId),
    /// A caller without a key, or without a token, at this address; unknown ones share one place.
    Address(Option<IpAddr>),
}

/// The rooms.
#[derive(Debug)]
pub struct Buffers {
    proven: Room,
    keyless: Room,
    /// For events that are not whole yet.
    pub(super) events: EventRoom,
}

#[derive(Debug)]
struct Room {
    bytes_max: u64,
    held: Mutex<HeldBytes>,
}

#[derive(Debug, Default)]
struct HeldBytes {
    all: u64,
    by_holder: HashMap<Holder, u64>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new(PROVEN_BYTES_MAX)
    }
}

impl Buffers {
    /// Rooms of so many bytes for the bodies of proven callers, and an eighth of that for all others.
    pub fn new(proven_bytes_max: u64) -> Self {
        let room = |bytes_max| Room { bytes_max, held: Mutex::default() };
        Self {
            proven: room(proven_bytes_max),
            keyless: room(proven_bytes_max / KEYLESS_SHARE),
            events: EventRoom::default(),
        }
    }

    /// Room for a body of at most `bytes`, until what is given back is dropped.
    pub(super) fn hold(&self, holder: Holder, bytes: u64) -> Result<Held<'_>, Fault> {
        let room = match holder {
            Holder::Workspace(_) => &self.proven,
            Holder::Address(_) => &self.keyless,
        };
        let mut held = room.lock();
        let own = held.by_holder.get(&holder).copied().unwrap_or(0);
        // In a small room a share may be less than one body; who holds nothing else is not refused for that.
        let is_beyond_share = own > 0 && own + bytes > room.bytes_max / SHARE;
        if held.all + bytes > room.bytes_max || is_beyond_share {
            return Err(Fault::Busy { retry_after_secs: BUSY_RETRY_SECS });
        }
        held.all += bytes;
        held.by_holder.insert(holder, own + bytes);
        drop(held);
        Ok(Held { room, holder, bytes })
    }
}

impl Room {
    /// Nothing here leaves half a change behind, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HeldBytes> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, holder: Holder, bytes: u64) {
        let mut held = self.lock();
        held.all = held.all.saturating_sub(bytes);
        if let Some(own) = held.by_holder.get_mut(&holder) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                held.by_holder.remove(&holder);
            }
        }
    }
}

/// Room that is taken.
#[derive(Debug)]
pub(super) struct Held<'a> {
    room: &'a Room,
    holder: Holder,
    bytes: u64,
}

impl Held<'_> {
    /// Gives back what a body did not need.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let needed = u64::try_from(bytes).unwrap_or(u64::MAX).min(self.bytes);
        if needed == self.bytes {
            return;
        }
        self.room.give_back(self.holder, self.bytes - needed);
        self.bytes = needed;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.room.give_back(self.holder, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn workspace(number: u128) -> Holder {
        Holder::Workspace(WorkspaceId::from_u128(number))
    }

    #[test]
    fn no_holder_takes_more_than_its_share_and_all_of_them_no_more_than_the_room() {
        let buffers = Buffers::default();
        let mut held: Vec<_> = (0..32).map(|_| buffers.hold(workspace(1), MIB).unwrap()).collect();
        assert!(buffers.hold(workspace(1), 1).is_err(), "an eighth is its share");
        for other in 2..9 {
            held.extend((0..32).map(|_| buffers.hold(workspace(other), MIB).unwrap()));
        }
        assert!(matches!(buffers.hold(workspace(9), 1), Err(Fault::Busy { .. })));
        assert!(buffers.hold(Holder::Address(None), MIB).is_ok(), "another room");
        drop(held);
        assert!(buffers.hold(workspace(1), MIB).is_ok());
        assert!(buffers.proven.lock().by_holder.is_empty());
    }

    #[test]
    fn in_a_small_room_one_body_beyond_its_share_finds_a_place_and_a_second_of_its_holder_does_not() {
        let buffers = Buffers::new(4 * MIB);
        let one = buffers.hold(workspace(1), MIB).unwrap();
        assert!(buffers.hold(workspace(1), MIB).is_err(), "half a mebibyte is its share");
        assert!(buffers.hold(workspace(2), 4 * MIB).is_err(), "there is no room for it beside another");
        drop(one);
        assert!(buffers.hold(workspace(2), 4 * MIB).is_ok());
        assert!(buffers.hold(workspace(2), 5 * MIB).is_err());
        assert!(buffers.hold(Holder::Address(None), MIB).is_err(), "an eighth is for those without a key");
    }

    #[test]
    fn what_a_body_did_not_need_is_given_back_at_once() {
        let buffers = Buffers::default();
        let mut held: Vec<_> = (0..32).map(|_| buffers.hold(workspace(1), MIB).unwrap()).collect();
        for held in &mut held {
            held.shrink_to(100);
        }
        assert!(buffers.hold(workspace(1), MIB).is_ok());
        drop(held);
        assert_eq!(buffers.proven.lock().all, 0);
    }
}
