//! What only shows over many tries: a million near misses of a good key, and ten thousand keys after a
//! restart (promises 4 and 5). The engine is asked directly, over a real file; a socket would add nothing but
//! time.
//!
//! Never here: a full-priced slow hash.

#[path = "../../benches/world/mod.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward::domain::decision::Wanted;
use keyward::domain::key::{BODY_LEN, CHECK_LEN, MINT_RANDOM_BYTES, RawKey};
use keyward::domain::profile::{Profile, Requirement};
use keyward::engine::{Attempt, Door, Engine};
use world::World;

use crate::random::Random;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Texts with one thing changed and the check characters left as they were; nearly all are seen as typos.
const TYPOS: u64 = 1_000_000;
/// Texts whose check characters were made to fit, so that each is looked up.
const FORGERIES: u64 = 4_000;
const THREADS: u64 = 2;

async fn passes(engine: &Engine, profile: &Arc<Profile>, text: &[u8]) -> bool {
    let attempt = Attempt {
        door: Door::Verify,
        profile,
        credential: Ok(text),
        wanted: Wanted::Known(Requirement::default()),
        address: None,
        cost: 1,
    };
    engine.verify(attempt).await.is_ok()
}

/// The key's text with one thing changed: a character, its case, two neighbours, the length, a stray byte.
fn typo(text: &[u8], numbers: &mut Random) -> Vec<u8> {
    let mut typo = text.to_vec();
    let place = numbers.below(text.len());
    match numbers.below(8) {
        0 => typo.swap(place, (place + 1) % text.len()),
        1 => typo[place] ^= 0x20,
        2 => typo.insert(place, ALPHABET[numbers.below(62)]),
        3 => drop(typo.remove(place)),
        4 => typo[place] = u8::try_from(numbers.below(256)).unwrap(),
        _ => typo[place] = ALPHABET[numbers.below(62)],
    }
    typo
}

/// The key with one or two characters of its prefix or secret changed, and the check made to fit.
fn forgery(raw: &RawKey, profile: &Profile, numbers: &mut Random) -> RawKey {
    let body = &raw.reveal().as_bytes()[profile.tag.as_str().len()..][..BODY_LEN - CHECK_LEN];
    // A random byte below 62 becomes the character at that place of the alphabet.
    let mut drawn = [0; MINT_RANDOM_BYTES];
    for (byte, character) in drawn.iter_mut().zip(body) {
        *byte = u8::try_from(ALPHABET.iter().position(|known| known == character).unwrap()).unwrap();
    }
    for _ in 0..=numbers.below(2) {
        drawn[numbers.below(body.len())] = u8::try_from(numbers.below(62)).unwrap();
    }
    RawKey::mint(&profile.tag, &drawn).unwrap()
}

#[test]
fn a_million_near_misses_of_a_good_key_are_refused_cold_and_warm() {
    for proofs_max in [0, 100] {
        let world = World::with_keys(2, proofs_max);
        let good = &world.keys[0];
        let asked = |text: &[u8]| world.runtime.block_on(passes(&world.engine, &world.profile, text));
        assert!(asked(good.reveal().as_bytes()));
        let accepted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (world, accepted) = (&world, &accepted);
                scope.spawn(move || {
                    let mut numbers = Random::from_seed(0x9E37_79B9_7F4A_7C15 ^ thread);
                    world.runtime.block_on(async {
                        for _ in 0..TYPOS / THREADS {
                            let text = typo(good.reveal().as_bytes(), &mut numbers);
                            let passed = text != good.reveal().as_bytes()
                                && passes(&world.engine, &world.profile, &text).await;
                            accepted.fetch_add(u64::from(passed), Ordering::Relaxed);
                        }
                        for _ in 0..FORGERIES / THREADS {
                            let forged = forgery(good, &world.profile, &mut numbers);
                            let passed = forged.reveal() != good.reveal()
                                && passes(&world.engine, &world.profile, forged.reveal().as_bytes()).await;
                            accepted.fetch_add(u64::from(passed), Ordering::Relaxed);
                        }
                    });
                });
            }
        });
        assert_eq!(accepted.into_inner(), 0);
        assert!(asked(good.reveal().as_bytes()), "the good key passes afterwards");
        assert_eq!(
            world.engine.slow_hashes(),
            3,
            "two keys and a workspace's own were made, no more was hashed"
        );
    }
}

#[test]
fn the_first_use_of_ten_thousand_keys_after_a_restart_runs_no_slow_hash() {
    let world = World::with_keys(10_000, 100_000).restarted();
    for raw in &world.keys {
        assert!(world.runtime.block_on(passes(&world.engine, &world.profile, raw.reveal().as_bytes())));
    }
    assert_eq!(world.engine.slow_hashes(), 0);
}
