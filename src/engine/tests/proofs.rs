//! The proof cache under more texts than it has places, and under threads.
//!
//! Never here: what a proof is made by.

use super::super::live::CachedProof;
use super::super::proofs::Proofs;
use super::*;
use crate::domain::hash::Fingerprint;

fn fingerprint(number: u64) -> Fingerprint {
    Fingerprint::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Proofs of two keys, for any text.
async fn two_proofs(world: &World) -> [CachedProof; 2] {
    let (workspace, _) = world.workspace("pro").await;
    let mut proofs = Vec::new();
    for _ in 0..2 {
        let (_, key) = world.key(workspace, &[READ]).await;
        let text = Ok(key.reveal().as_bytes());
        proofs.push(world.engine.prove(&text, &world.profile, None).await.unwrap());
    }
    proofs.try_into().unwrap()
}

/// Row B12 of the attacks, on the cache alone.
#[tokio::test]
async fn a_cache_of_ten_thousand_stays_bounded_under_two_hundred_thousand_and_keeps_what_is_used() {
    let [proof, _] = two_proofs(&World::new()).await;
    let proofs = Proofs::new(10_000);
    for number in 0..200_000 {
        proofs.insert(&fingerprint(number), &proof);
        assert!(proofs.find(&fingerprint(7)).is_some() || number < 7, "at {number}");
    }
    assert!((9_900..=10_240).contains(&proofs.len()), "{}", proofs.len());
    assert!(proofs.find(&fingerprint(199_999)).is_some(), "the newest");
    assert!(proofs.find(&fingerprint(200_000)).is_none(), "one that never was");
}

#[tokio::test]
async fn of_four_fifths_as_many_proofs_as_there_are_places_all_but_a_few_are_kept() {
    let [proof, _] = two_proofs(&World::new()).await;
    let proofs = Proofs::new(10_000);
    for number in 0..8_000 {
        proofs.insert(&fingerprint(number), &proof);
    }
    let kept = (0..8_000).filter(|number| proofs.find(&fingerprint(*number)).is_some()).count();
    assert!(kept >= 7_840, "all but 2 in a hundred: {kept}");
}

#[tokio::test]
async fn a_small_cache_uses_all_of_its_places() {
    let [proof, _] = two_proofs(&World::new()).await;
    let proofs = Proofs::new(160);
    for number in 0..80 {
        proofs.insert(&fingerprint(number), &proof);
    }
    assert!((0..80).all(|number| proofs.find(&fingerprint(number)).is_some()));
}

#[tokio::test]
async fn a_newer_proof_of_a_text_replaces_the_older_one() {
    let [one, other] = two_proofs(&World::new()).await;
    let proofs = Proofs::new(100);
    proofs.insert(&fingerprint(1), &one);
    proofs.insert(&fingerprint(1), &other);
    assert_eq!(proofs.find(&fingerprint(1)).unwrap().proof, other.proof);
    assert_eq!(proofs.len(), 1);
}

#[tokio::test]
async fn a_cache_of_no_places_keeps_nothing_and_one_of_a_few_keeps_a_few() {
    let [proof, _] = two_proofs(&World::new()).await;
    for places in [0, 1, 3, 64, 256, 512] {
        let proofs = Proofs::new(places);
        for number in 0..20_000 {
            proofs.insert(&fingerprint(number), &proof);
        }
        assert_eq!(proofs.len(), places);
        assert_eq!(proofs.find(&fingerprint(19_999)).is_some(), places > 0);
    }
}

#[tokio::test]
async fn threads_that_find_and_insert_get_each_text_its_own_proof() {
    let two = two_proofs(&World::new()).await;
    let proofs = Proofs::new(200);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (two, proofs) = (&two, &proofs);
            scope.spawn(move || {
                for round in 0..20_000_u64 {
                    let number = (round * 7 + thread) % 400;
                    let own = &two[usize::try_from(number % 2).unwrap()];
                    match proofs.find(&fingerprint(number)) {
                        Some(found) => assert_eq!(found.proof, own.proof),
                        None => proofs.insert(&fingerprint(number), own),
                    }
                }
            });
        }
    });
}
