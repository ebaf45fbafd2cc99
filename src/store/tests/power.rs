//! Power cuts at every instant of every kind of change, with any part of what was not synced lost.
//!
//! One run over a disk that notes what is asked of it; each instant of it gives as many images as one likes, and
//! each image must open and hold exactly what was acknowledged, or that and the one change under way. The short
//! run takes a few of them. The long one:
//!
//!     cargo test --lib power_cuts -- --ignored --nocapture
//!
//! Never here: a disk that says that it failed (sickness).

use super::platter::{Image, Platter, Random};
use super::script::{Held, STEPS, difference, held, is_chained, room_on};
use super::*;

/// What was asked of the disk, and when each change was acknowledged.
struct Run {
    start: Image,
    log: Vec<platter::Asked>,
    /// What the store held: at the beginning, and after each change.
    held: Vec<Held>,
    /// How much was asked by the time of each acknowledgement.
    acknowledged: Vec<usize>,
}

async fn run() -> Run {
    let platter = Platter::with_a_store(Random::from_seed(1));
    let room = room_on(&platter).await;
    let start = platter.begin_log();
    let (mut after, mut acknowledged) = (vec![held(&room.store)], Vec::new());
    for step in 0..STEPS {
        room.step(step).await.unwrap();
        acknowledged.push(platter.asked());
        after.push(held(&room.store));
    }
    Run { start, log: platter.log(), held: after, acknowledged }
}

impl Run {
    /// Checks images of some instants; gives how many.
    async fn check(&self, seed: u64, each: usize, one_instant_in: usize) -> usize {
        let (mut random, mut image) = (Random::from_seed(seed), self.start.clone());
        let mut images = 0;
        for instant in 0..=self.log.len() {
            if random.below(one_instant_in) == 0 {
                for _ in 0..each {
                    let bytes = image.cut(&mut random);
                    self.check_image(
                        bytes,
                        instant,
                        &format!("seed {seed}, instant {instant}, image {images}"),
                    )
                    .await;
                    images += 1;
                }
            }
            if let Some(asked) = self.log.get(instant) {
                image.ask(asked);
            }
        }
        images
    }

    async fn check_image(&self, bytes: Vec<u8>, instant: usize, told: &str) {
        let done = self.acknowledged.iter().filter(|at| **at <= instant).count();
        let store = Platter::of(bytes, Random::from_seed(1)).open().unwrap_or_else(|error| {
            panic!("{told}: it does not open: {error:?}");
        });
        let found = held(&store);
        let possible = &self.held[done..self.held.len().min(done + 2)];
        let differences: Vec<_> = possible.iter().map(|expected| difference(&found, expected)).collect();
        assert!(differences.contains(&None), "{told}, {done} changes done: {differences:?}");
        assert!(is_chained(&store), "{told}: the audit log is not whole");
        // It goes on where it stopped.
        let id = KeyId::from_u128(0);
        let renamed = store.update_key(id, Urgency::Admin, audit(), |mut key: KeyRecord| {
            key.version += 1;
            key
        });
        assert!(renamed.await.is_ok(), "{told}: it takes no change");
        assert!(is_chained(&store), "{told}: the audit log does not go on");
    }
}

#[tokio::test]
async fn after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half() {
    let run = run().await;
    let seed = getrandom::u64().unwrap();
    assert!(run.check(seed, 1, 8).await > 20, "{} instants", run.log.len());
}

#[tokio::test]
#[ignore = "half a minute and more: at least 2,000 power cuts"]
async fn power_cuts_at_every_instant() {
    let run = run().await;
    let (mut images, seed) = (0, getrandom::u64().unwrap());
    for round in 0.. {
        if images >= 2_000 {
            break;
        }
        images += run.check(seed.wrapping_add(round), 2, 1).await;
    }
    eprintln!("{images} power cuts at {} instants, seed {seed}", run.log.len());
}

#[tokio::test]
async fn a_disk_that_forgets_a_sync_is_found_out() {
    // The control: were syncs no syncs, changes that were acknowledged would be missing.
    let mut run = run().await;
    run.log.retain(|asked| !matches!(asked, platter::Asked::Sync));
    run.acknowledged.iter_mut().for_each(|at| *at = (*at).min(run.log.len()));
    let lost = tokio::spawn(async move { run.check(7, 1, 8).await });
    assert!(lost.await.is_err());
}
