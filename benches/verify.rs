//! What does a hot verify cost in the process, its proof cached, the machine's clock read, its token taken?
//!
//! Told as a multiple of one keyed BLAKE3 of a 40-byte key, measured in the same run; with ten keys and with
//! ten thousand in turn. Guessed before measuring: 1.6 × with ten, 2 × with ten thousand.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

mod world;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::domain::decision::Wanted;
use keyward::domain::permission::Permission;
use keyward::engine::{Attempt, Door};
use world::World;

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    group.bench_function("keyed blake3 of 40 bytes", |b| {
        let (key, text) = ([7; 32], [b'k'; 40]);
        b.iter(|| blake3::keyed_hash(black_box(&key), black_box(&text)));
    });
    for count in [10, 10_000] {
        let world = World::with_keys(count, 100_000);
        let wanted = Permission::parse("posts:read").unwrap();
        let requirement = world.profile.requirement(&wanted).unwrap();
        let attempt = |place: usize| Attempt {
            door: Door::Verify,
            profile: &world.profile,
            credential: Ok(world.keys[place % count].reveal().as_bytes()),
            wanted: Wanted::Known(requirement),
            address: None,
            cost: 1,
        };
        // The first use of each key reads the file; from then on the proof is cached.
        for place in 0..count {
            world.runtime.block_on(world.engine.verify(attempt(place))).unwrap();
        }
        let mut place = 0;
        group.bench_function(format!("hot, {count} keys in turn"), |b| {
            b.iter(|| {
                place += 1;
                // A hot verify never waits, so polling it once is the whole of it.
                futures_once(world.engine.verify(attempt(place))).is_ok()
            });
        });
    }
    group.finish();
}

fn futures_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a hot verify waited"),
    }
}

criterion_group!(benches, verify);
criterion_main!(benches);
