//! A hot verify allocates nothing: not for a key as most are, not when it is metered.
//!
//! Counted on the thread that asks, by an allocator that this test program alone has.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "shared with the benches")]

#[path = "../benches/world/mod.rs"]
mod world;

use allocation_counter::measure;
use keyward::domain::decision::Wanted;
use keyward::domain::permission::Permission;
use keyward::domain::rate::Rate;
use keyward::engine::{Attempt, Door};
use world::{World, at_once};

const KEYS: usize = 40;

/// Allocations of one verify of each key, each proven before.
fn allocations(world: &World, permission: &str) -> u64 {
    let permission = Permission::parse(permission).unwrap();
    let wanted = Wanted::Known(world.profile.requirement(&permission).unwrap());
    let attempt = |place: usize| Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(world.keys[place].reveal().as_bytes()),
        wanted: wanted.clone(),
        address: Some([127, 0, 0, 1].into()),
        cost: 1,
    };
    for place in 0..KEYS {
        world.runtime.block_on(world.engine.verify(attempt(place))).unwrap();
    }
    let hot = || {
        let all = || (0..KEYS).for_each(|place| drop(at_once(world.engine.verify(attempt(place))).unwrap()));
        measure(all).count_total
    };
    // Once in an hour a key's note of the last hour goes to a table.
    hot().min(hot())
}

#[test]
fn a_hot_verify_allocates_nothing() {
    let world = World::with_rate(KEYS, &Rate::new(1_000, 1, None).unwrap().into());
    assert_eq!(
        measure(|| drop(std::hint::black_box(Box::new(7)))).count_total,
        1,
        "what is allocated is counted"
    );
    assert_eq!(allocations(&world, "posts:read"), 0);
    assert_eq!(allocations(&world, "ai:generate"), 0, "metered");
}
