//! Does an unknown prefix cost the same as a wrong secret, and what does each refusal cost in the process beside an
//! acceptance?
//!
//! For keys with a fingerprint both are found among nothing that is known, without a read of the file, so their medians
//! must lie within each other's noise: nobody learns from the time whether a prefix exists. (That the bytes of the two
//! answers are the same is a test.) Guessed before measuring: the same within 3 %, and no refusal of a proven key dearer
//! than an acceptance by more than the box that carries its rates.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::domain::decision::Wanted;
use keyward::domain::denial::Denial;
use keyward::domain::key::{MINT_RANDOM_BYTES, PREFIX_LEN, RawKey, SECRET_LEN};
use keyward::domain::permission::Permission;
use keyward::domain::profile::Requirement;
use keyward::domain::rate::{Rate, Rates};
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

/// One world each, since what refuses is a property of its keys.
fn in_memory(c: &mut Criterion) {
    const FEW: usize = 64;
    let mut group = c.benchmark_group("refusal in memory");
    let rates = |limit| Rates::from(Rate::new(limit, 1, None).unwrap());
    let (fast, nothing) = (World::with_rate(FEW, &rates(1_000_000)), World::with_rate(FEW, &rates(0)));
    let revoked = World::with_rate(FEW, &rates(1_000_000));
    let reader = World::with_permissions(FEW, &[Permission::parse("posts:read").unwrap()]);
    let worlds = [
        ("accepted", &fast, "posts:read"),
        ("rate", &nothing, "posts:read"),
        ("revoked", &revoked, "posts:read"),
        ("permission", &reader, "posts:write"),
    ];
    for (name, world, permission) in worlds {
        let requirement = world.profile.requirement(&Permission::parse(permission).unwrap()).unwrap();
        let ask = |place: usize| Attempt {
            door: Door::Verify,
            profile: &world.profile,
            credential: Ok(world.keys[place % FEW].reveal().as_bytes()),
            wanted: Wanted::Known(requirement),
            address: None,
            cost: 1,
        };
        for place in 0..FEW {
            drop(world.runtime.block_on(world.engine.verify(ask(place))));
        }
        if name == "revoked" {
            world.revoke_all();
        }
        let expected = (name != "accepted").then_some(name);
        let mut place = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                place += 1;
                let said = world::at_once(world.engine.verify(ask(place)));
                assert_eq!(said.err().map(|refused| refused.name()), expected);
            });
        });
    }
    for (name, credential) in [
        ("missing", Err(Denial::Missing)),
        ("malformed", Ok(b"sk_live_0000000000000000000000000000000000".as_slice())),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let attempt = Attempt {
                    door: Door::Verify,
                    profile: &fast.profile,
                    credential: credential.clone(),
                    wanted: Wanted::Known(Requirement::default()),
                    address: None,
                    cost: 1,
                };
                world::at_once(fast.engine.verify(attempt)).unwrap_err()
            });
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

criterion_group!(benches, refusal, in_memory);
criterion_main!(benches);
