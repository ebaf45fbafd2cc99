//! Signatures that were taken, over a stop: what is saved is read once, and nothing is not the same as none.
//!
//! What a start makes of it is the engine's.
//!
//! Never here: a window of time.

use super::*;
use crate::domain::replays::SavedReplays;
use crate::domain::signature::{SignatureMac, Stamp, UsedSignature};

pub(super) fn saved(count: u32) -> SavedReplays {
    let one = |number: u32| UsedSignature {
        stamp: Stamp::from_secs(1_800_000_000),
        key: KeyId::from_u128(u128::from(number)),
        mac: SignatureMac::from_bytes([7; 32]),
    };
    SavedReplays { used: (0..count).map(one).collect(), let_go_through: Some(Stamp::from_secs(count.into())) }
}

#[tokio::test]
async fn what_a_stop_saved_is_taken_once() {
    let mut room = room().await;
    assert_eq!(room.store.take_used_signatures().await.unwrap(), None, "there was no stop");
    // Less than a piece, exactly one, and more.
    for count in [0, 3, 4_096, 10_000] {
        room.store.save_used_signatures(saved(count)).await.unwrap();
        room = room.reopened();
        assert_eq!(room.store.take_used_signatures().await.unwrap(), Some(saved(count)), "{count}");
        room = room.reopened();
        assert_eq!(room.store.take_used_signatures().await.unwrap(), None, "{count}");
    }
}

#[tokio::test]
async fn what_is_saved_stands_in_the_place_of_what_was() {
    let room = room().await;
    room.store.save_used_signatures(saved(10_000)).await.unwrap();
    room.store.save_used_signatures(saved(1)).await.unwrap();
    assert_eq!(room.store.take_used_signatures().await.unwrap(), Some(saved(1)));
}
