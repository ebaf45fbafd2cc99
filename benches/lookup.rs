//! Does finding one key by its prefix cost more among ten thousand keys of one tag than among ten?
//!
//! The index is the eight characters behind the tag; on the first eight of the whole text it would be one
//! bucket and grow with every key. Told for the look-up alone, and for a whole verify whose proof is not
//! cached. Guessed before measuring: the same within noise, two levels of the tree apart at most.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::domain::decision::Wanted;
use keyward::domain::profile::Requirement;
use keyward::engine::{Attempt, Door};
use world::World;

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup by prefix");
    for count in [10, 10_000] {
        let world = World::with_keys(count, 0);
        let mut place = 0;
        group.bench_function(format!("among {count} keys"), |b| {
            b.iter(|| {
                place = (place + 7919) % count;
                let found = world.store.keys_by_prefix(world.keys[place].prefix().unwrap()).unwrap();
                assert_eq!(found.len(), 1);
            });
        });
        let attempt = |place: usize| Attempt {
            door: Door::Verify,
            profile: &world.profile,
            credential: Ok(world.keys[place].reveal().as_bytes()),
            wanted: Wanted::Known(Requirement::default()),
            address: None,
            cost: 1,
        };
        group.bench_function(format!("a whole verify without the cache, among {count} keys"), |b| {
            b.iter(|| {
                place = (place + 7919) % count;
                world.runtime.block_on(world.engine.verify(attempt(place))).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
