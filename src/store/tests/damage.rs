//! A file with a bit turned: opening it is no panic, and it never starts empty.
//!
//! Bits are turned at seeded places of a file that was closed and of one as a kill leaves it. redb has a checksum of
//! each page and looks at it only in a full repair, so a bit inside a record may be read as it stands.
//!
//! Never here: a file that is cut short (file).

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::platter::{Platter, Random};
use super::script::room_on;
use super::*;

const KEYS: u32 = 60;
/// In each of the two files.
const OFFSETS: usize = 100;

#[tokio::test]
async fn d09_a_turned_bit_is_found_or_harmless_and_no_store_starts_empty() {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    for number in 1..=KEYS {
        room.create(number).await.unwrap();
    }
    let killed = platter.durable();
    room.store.close().unwrap();
    let seed = getrandom::u64().unwrap();
    let mut random = Random::from_seed(seed);
    let mut noticed = 0;
    for image in [killed, platter.durable()] {
        // Most of a new file is free.
        let used: Vec<_> = (0..image.len()).filter(|at| image[*at] != 0).collect();
        for _ in 0..OFFSETS {
            let mut bytes = image.clone();
            let at = used[random.below(used.len())];
            bytes[at] ^= 1 << random.below(8);
            // That it is refused is no panic either.
            let Ok(store) = Platter::of(bytes, Random::from_seed(1)).open() else {
                noticed += 1;
                continue;
            };
            // redb itself may panic at a page that makes no sense; a request that meets it is a fault.
            let read =
                || (0..=KEYS).map(|number| store.key(KeyId::from_u128(number.into()))).collect::<Vec<_>>();
            match catch_unwind(AssertUnwindSafe(read)) {
                Ok(keys) if keys.iter().all(|key| matches!(key, Ok(None))) => {
                    panic!("seed {seed}, byte {at}: it starts empty")
                }
                Ok(keys) if keys.iter().all(Result::is_ok) => {}
                Ok(_) | Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 0, "seed {seed}: no damage was met");
}
