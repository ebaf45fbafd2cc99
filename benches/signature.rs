//! Does the time of a comparison tell how much of a signature is right?
//!
//! Wrong signatures of one request and one key, whose first byte is right or is not, in random order: 5,000 of each, each
//! timed alone. Told is the area under the curve (AUC) of telling one kind from the other by time: 0.5 is a coin, and
//! what is promised is no more than 0.55, or no less than 0.45. Guessed before measuring: 0.50, since the library compares
//! in constant time. As a control the same is told of a comparison that ends at the first byte that differs, over the whole
//! length and over the first byte.
//!
//! `cargo bench --bench signature`; without `--bench` it compares a few, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::hint::black_box;

use hmac::{Hmac, KeyInit, Mac};
use keyward::clock::Clock;
use keyward::domain::signature::{Sent, SentSignature, Signable};
use keyward::engine::Door;
use sha2::Sha256;
use world::World;
use world::bars::{Bar, tell};

/// Comparisons of each kind.
const COMPARISONS: usize = 5_000;
/// The second that is signed; whether it is now is asked elsewhere.
const STAMP: i64 = 1_800_000_000;
const BODY: &[u8] = b"{}";

fn main() {
    let comparisons = if world::is_smoke_run() { 50 } else { COMPARISONS };
    let world = World::with_keys(1, 10);
    let text = world.keys[0].reveal().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(text).unwrap();
    mac.update(format!("{STAMP}.").as_bytes());
    mac.update(BODY);
    let right: [u8; 32] = mac.finalize().into_bytes().into();
    let credential = Ok(text);
    let identified = world.engine.identify(Door::Verify, &world.profile, &credential, None);
    let mut caller = world.runtime.block_on(identified).unwrap();
    let request = Signable { method: "POST", path: "/", query: None, body: BODY };

    // All but the first byte are wrong, or all are.
    let wrong = right.map(|byte| !byte);
    let mut near = wrong;
    near[0] = right[0];
    let sent = |mac: [u8; 32]| {
        let signature = SentSignature::of_body(&STAMP.to_string(), &hex::encode(mac));
        Sent::Signature(signature.unwrap())
    };
    let sent = [sent(wrong), sent(near)];
    let ours = area(comparisons, |kind| caller.check_signature(black_box(&sent[kind]), &request));
    tell(
        "S05",
        "a signature whose first byte is right against one without: |AUC - 0.5|",
        off(ours),
        Bar::Most(0.05),
    );
    let long = [wrong.repeat(64), right.repeat(64)];
    let expected = right.repeat(64);
    let leaky = area(comparisons, |kind| {
        black_box(black_box(&long[kind]).iter().zip(black_box(&expected)).all(|(a, b)| a == b));
    });
    tell("S05", "control, a comparison that ends early: |AUC - 0.5|", off(leaky), Bar::Told);
}

fn off(area: f64) -> f64 {
    (area - 0.5).abs()
}

/// How well the time of `compare` tells kind 1 from kind 0: the share of pairs in which kind 1 took longer.
fn area(comparisons: usize, mut compare: impl FnMut(usize)) -> f64 {
    let clock = Clock::machine();
    let mut nanos = [Vec::new(), Vec::new()];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    while nanos.iter().any(|of_kind| of_kind.len() < comparisons) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let kind = usize::from(state >> 63 == 1);
        let before = clock.now().mono.nanos();
        compare(kind);
        nanos[kind].push(clock.now().mono.nanos() - before);
    }
    let [without, mut with] = nanos.map(|mut of_kind| {
        of_kind.truncate(comparisons);
        of_kind
    });
    with.sort_unstable();
    let share = |time: &u64| {
        let below = with.partition_point(|other| other < time);
        let not_above = with.partition_point(|other| other <= time);
        (with.len() - not_above) as f64 + (not_above - below) as f64 / 2.0
    };
    without.iter().map(share).sum::<f64>() / (without.len() * with.len()) as f64
}
