//! Does an unknown prefix cost the same as a wrong secret?
//!
//! For keys with a fingerprint both read the file once and compare at most 32 bytes, so their medians must lie
//! within each other's noise: nobody learns from the time whether a prefix exists. (That the bytes of the two
//! answers are the same is a test.) Guessed before measuring: the same within 3 %.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::domain::decision::Wanted;
use keyward::domain::key::{MINT_RANDOM_BYTES, PREFIX_LEN, RawKey, SECRET_LEN};
use keyward::domain::profile::Requirement;
use keyward::engine::{Attempt, Door};
use world::World;

const KEYS: usize = 1_000;

fn refusal(c: &mut Criterion) {
    let world = World::with_keys(KEYS, 100_000);
    let mut group = c.benchmark_group("refusal");
    let mut number: u64 = 1;
    for known in [true, false] {
        let name = if known { "wrong secret behind a known prefix" } else { "unknown prefix" };
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    number += 1;
                    mutant(&world, known, number)
                },
                |text| {
                    let attempt = Attempt {
                        door: Door::Verify,
                        profile: &world.profile,
                        credential: Ok(text.reveal().as_bytes()),
                        wanted: Wanted::Known(Requirement::default()),
                        address: None,
                        cost: 1,
                    };
                    world.runtime.block_on(world.engine.verify(attempt)).unwrap_err()
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A well-formed text of no key: with the prefix of one of the keys, or with a prefix of its own.
fn mutant(world: &World, keeps_prefix: bool, number: u64) -> RawKey {
    let tag = &world.profile.tag;
    let seed = blake3::hash(&number.to_le_bytes());
    let mut drawn = [0; MINT_RANDOM_BYTES];
    for (place, byte) in drawn.iter_mut().take(PREFIX_LEN + SECRET_LEN).enumerate() {
        *byte = seed.as_bytes()[place % 32] % 62;
    }
    if keeps_prefix {
        let key = &world.keys[usize::try_from(number).unwrap() % KEYS];
        for (byte, character) in drawn.iter_mut().zip(key.prefix().unwrap().as_bytes()) {
            *byte = match character {
                b'0'..=b'9' => character - b'0',
                b'A'..=b'Z' => character - b'A' + 10,
                _ => character - b'a' + 36,
            };
        }
    }
    RawKey::mint(tag, &drawn).unwrap()
}

criterion_group!(benches, refusal);
criterion_main!(benches);
