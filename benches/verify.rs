//! What does a hot verify cost in the process, the whole pipeline with its clock: its proof cached, its token taken, its
//! usage noted?
//!
//! Told as a multiple of one keyed BLAKE3 of a 40-byte key, batch by batch in turn with it: ten keys, ten thousand,
//! a million asked evenly and a million as the world asks (Zipf, exponent 1); the last but one by two threads as well,
//! over what one thread needs. Texts are copied to where a socket would leave them before a batch begins: fetching
//! them from a bench's own memory is none of the daemon's work. The memory that a proof in use takes is told beside it,
//! from the resident size before and after. Guessed before measuring: 1.6 × with ten keys, 2 × with ten thousand.
//!
//! `-- few` leaves the million out.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a bench"
)]

mod world;

use std::hint::black_box;
use std::sync::Barrier;

use keyward::clock::Clock;
use keyward::domain::decision::Wanted;
use keyward::domain::permission::Permission;
use keyward::domain::profile::Requirement;
use keyward::engine::{Attempt, Door};
use world::World;
use world::bars::{Bar, tell};

/// Requests of one batch: their texts stay in the nearest caches.
const BATCH: usize = 500;
/// Batches of each row.
const BATCHES: usize = 2_000;
/// A key text has at most this many bytes.
const TEXT_BYTES_MAX: usize = 56;

fn main() {
    let is_smoke = world::is_smoke_run();
    let is_few = std::env::args().any(|argument| argument == "few");
    let batches = if is_smoke { 3 } else { BATCHES };
    for (count, bar) in [(10, Bar::Told), (if is_smoke { 100 } else { 10_000 }, Bar::Most(1.6))] {
        let world = World::with_keys(count, 4 * count);
        warm(&world);
        let ratio = ratio_of(&world, batches, |draw| usize::try_from(draw % count as u64).unwrap());
        tell("7", &format!("hot verify, {count} keys evenly, × keyed BLAKE3"), ratio, bar);
    }
    if is_few {
        return;
    }
    let count = if is_smoke { 200 } else { 1_000_000 };
    let before = resident_bytes();
    let world = World::imported_with(count, 2 * count);
    warm(&world);
    let per_key = resident_bytes().saturating_sub(before) as f64 / count as f64;
    let name = format!("bytes resident for each of {count} keys in use, the bench's own texts among them");
    tell("12", &name, per_key, Bar::Told);
    let evenly = |draw: u64| usize::try_from(draw % count as u64).unwrap();
    let harmonic = (count as f64).ln();
    // The inverse of the distribution function, whose sum is close to a logarithm: exponent 1.
    // Strewn, since keys that are used alike were not made one after the other.
    let zipf = |draw: u64| ((draw as f64 / u64::MAX as f64 * harmonic).exp() as usize) * 7_919_953 % count;
    let name = |how: &str| format!("hot verify, {count} keys {how}, × keyed BLAKE3");
    tell("7", &name("by Zipf"), ratio_of(&world, batches, zipf), Bar::Most(2.9));
    tell("7", &name("evenly"), ratio_of(&world, batches, evenly), Bar::Most(5.2));
    let (one, two) = (nanos_of(&world, batches, 1, &evenly), nanos_of(&world, batches, 2, &evenly));
    tell(
        "7",
        &format!("a hot verify of two threads, {count} keys evenly, × one thread's"),
        two / one,
        Bar::Most(1.1),
    );
}

/// Asks with every key until the proof of each is cached.
fn warm(world: &World) {
    let requirement = requirement(world);
    for place in 0..world.keys.len() {
        let text = world.keys[place].reveal().as_bytes();
        world.runtime.block_on(world.engine.verify(attempt(world, text, requirement))).unwrap();
        if place % 50_000 == 0 {
            world.runtime.block_on(world.engine.checkpoint()).unwrap();
        }
    }
    world.runtime.block_on(world.engine.checkpoint()).unwrap();
}

fn attempt<'a>(world: &'a World, text: &'a [u8], requirement: Requirement) -> Attempt<'a> {
    Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(text),
        wanted: Wanted::Known(requirement),
        address: None,
        cost: 1,
    }
}

fn requirement(world: &World) -> Requirement {
    world.profile.requirement(&Permission::parse("posts:read").unwrap()).unwrap()
}

/// A hot verify as a multiple of the hash, from the medians of batches in turn.
fn ratio_of(world: &World, batches: usize, place_of: impl Fn(u64) -> usize) -> f64 {
    let (clock, mut random) = (Clock::machine(), 0x9E37_79B9_7F4A_7C15);
    let key = [7; 32];
    let mut texts = no_texts();
    let (mut verifies, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        draw(world, &mut texts, &mut random, &place_of);
        verifies.push(timed_verifies(world, &clock, &texts));
        let began = clock.now().mono.nanos();
        for _ in 0..BATCH {
            black_box(blake3::keyed_hash(black_box(&key), black_box(&[b'k'; 40])));
        }
        hashes.push(clock.now().mono.nanos() - began);
    }
    let (verify, hash) = (median(&mut verifies), median(&mut hashes));
    println!("a hot verify {:.0} ns, a hash {:.0} ns", verify / BATCH as f64, hash / BATCH as f64);
    verify / hash
}

/// The median nanoseconds of a batch, with so many threads at it at once.
fn nanos_of(world: &World, batches: usize, threads: u64, place_of: &(impl Fn(u64) -> usize + Sync)) -> f64 {
    let start = Barrier::new(usize::try_from(threads).unwrap());
    let run = |number: u64| {
        let (clock, mut random) = (Clock::machine(), number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut texts = no_texts();
        start.wait();
        let batch = |_| {
            draw(world, &mut texts, &mut random, place_of);
            timed_verifies(world, &clock, &texts)
        };
        (0..batches).map(batch).collect::<Vec<_>>()
    };
    let mut times: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (1..=threads)
            .map(|number| {
                scope.spawn({
                    let run = &run;
                    move || run(number)
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    median(&mut times)
}

/// A text, where a socket would leave it.
#[derive(Clone)]
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

fn no_texts() -> Vec<Text> {
    vec![Text { bytes: [0; TEXT_BYTES_MAX], len: 0 }; BATCH]
}

/// Draws the keys of one batch.
fn draw(world: &World, texts: &mut [Text], random: &mut u64, place_of: &impl Fn(u64) -> usize) {
    for text in texts {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let key = world.keys[place_of(*random)].reveal().as_bytes();
        text.len = key.len();
        text.bytes[..key.len()].copy_from_slice(key);
    }
}

/// The nanoseconds of one batch.
fn timed_verifies(world: &World, clock: &Clock, texts: &[Text]) -> u64 {
    let (requirement, _context) = (requirement(world), world.runtime.enter());
    let began = clock.now().mono.nanos();
    for text in texts {
        let attempt = attempt(world, &text.bytes[..text.len], requirement);
        black_box(to_the_end(world.engine.verify(attempt))).unwrap();
    }
    clock.now().mono.nanos() - began
}

/// What becomes of a verify. Nearly all need one look; a proof that lost its place among a million reads the file.
fn to_the_end<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64
}

/// What this process has in memory, as Linux says; 0 elsewhere.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}
