//! What is refused without the file, and that no good key ever is.
//!
//! Never here: the set by itself (`known`).

use super::*;
use crate::domain::rotation::Overlap;

/// A well-formed text of no key.
fn stranger(number: u64) -> RawKey {
    let mut random = [0; 64];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut random);
    RawKey::mint(&Tag::parse("sk_live_").unwrap(), &random.map(|byte| byte % 248)).unwrap()
}

#[tokio::test]
async fn once_the_file_was_walked_over_a_text_of_no_key_is_refused_without_it() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    for walked in [false, true] {
        let world = world.restarted();
        if walked {
            let walked = world.engine.keep_known().await.unwrap().unwrap();
            assert_eq!((walked.pieces, walked.unreadable), (2, 0), "its own and the workspace's");
            assert!(world.engine.keep_known().await.unwrap().is_none(), "not due again");
        }
        world.store.close().unwrap();
        let said = if walked { "unknown" } else { "credential_fault" };
        assert_eq!(world.ask(&stranger(1), READ).await, Err(said));
        let wrong_secret = cold_proofs::wrong_secret_for(&key, 1);
        assert_eq!(world.ask(&wrong_secret, READ).await, Err(said), "it costs what an unknown prefix does");
        assert_eq!(world.ask(&key, READ).await, Err("credential_fault"), "a good one is looked up");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_a_fault_and_never_unknown_and_costs_no_other_its_verdict() {
    const NAME: &[u8] = b"a name as no other key has it";
    let world = World::with_cache(0);
    let (workspace, _) = world.workspace("pro").await;
    let (_, whole) = world.key(workspace, &[READ]).await;
    let (id, damaged) = world.key(workspace, &[READ]).await;
    let (_, younger) = world.key(workspace, &[READ]).await;
    let name = Some(Some(Label::parse(std::str::from_utf8(NAME).unwrap()).unwrap()));
    world.engine.update_key(Actor::System, id, KeyPatch { name, ..KeyPatch::default() }).await.unwrap();
    world.engine.stop();
    world.store.close().unwrap();
    let file = world.dir.path().join("k.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(NAME)).collect();
    assert!(!places.is_empty(), "it stands in the file");
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();
    let world = world.restarted();
    for _ in 0..2 {
        let walked =
            world.engine.keep_known().await.unwrap().expect("it is due as long as a key cannot be read");
        assert_eq!((walked.pieces, walked.unreadable), (3, 1), "those behind it are met");
        let said = walked.first_unreadable.unwrap().to_string();
        assert!(said.contains(&id.to_string()), "{said}");
        assert_eq!(world.engine.unreadable_keys(), 1);
        assert_eq!(world.ask(&damaged, READ).await, Err("credential_fault"));
        assert_eq!(world.ask(&stranger(1), READ).await, Err("unknown"));
        for key in [&whole, &younger] {
            assert_eq!(world.ask(key, READ).await, Ok(()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_good_key_is_refused_while_keys_are_made_and_rotated_beside_walks() {
    let world = World::with_cache(0);
    let (workspace, _) = world.workspace("pro").await;
    let engine = Arc::clone(&world.engine);
    let walks = tokio::spawn(async move {
        loop {
            engine.walk_known().await.unwrap();
        }
    });
    for _ in 0..40 {
        let (id, first) = world.key(workspace, &[READ]).await;
        assert_eq!(world.ask(&first, READ).await, Ok(()));
        let overlap = Overlap::from_secs(60).unwrap();
        let second = world.engine.rotate_key(Actor::System, id, overlap).await.unwrap().raw;
        assert_eq!(world.ask(&second, READ).await, Ok(()));
        assert_eq!(world.ask(&first, READ).await, Ok(()));
        world.engine.revoke_key(Actor::System, id).await.unwrap();
        assert_eq!(world.ask(&second, READ).await, Err("revoked"), "its holder is told");
    }
    walks.abort();
    assert!(walks.await.unwrap_err().is_cancelled(), "no walk failed");
}

#[tokio::test]
async fn what_only_the_slow_hash_can_tell_is_known_by_its_prefix() {
    let world = World::with_cache(0);
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    // Another install secret: the stored fingerprints say nothing any more.
    std::fs::remove_file(world.dir.path().join("secret")).unwrap();
    let world = world.restarted();
    world.engine.walk_known().await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.slow_hashes(), 1);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));

    // Learnt by now; then a new install secret, and fingerprints that are kept in memory alone.
    world.engine.rotate_install_secret(Actor::System).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let (_, younger) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&younger, READ).await, Ok(()));
    let world = world.restarted_with(false);
    world.engine.walk_known().await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.forget_fingerprints().await.unwrap(), 3);
    for key in [&key, &younger] {
        assert_eq!(world.ask(key, READ).await, Ok(()));
        assert_eq!(world.ask(&stranger(2), READ).await, Err("unknown"));
    }
}

/// Attack X09.
#[tokio::test]
async fn a_hundred_thousand_unknown_keys_leave_nothing_behind() {
    const TEXTS: u64 = 100_000;
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    let pieces = world.engine.walk_known().await.unwrap().pieces;
    for number in 0..TEXTS {
        assert_eq!(world.ask(&stranger(number), READ).await, Err("unknown"));
    }
    assert_eq!(world.engine.known.pieces(), pieces);
    assert_eq!(world.engine.proofs.len(), 0, "no failure is remembered");
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.proofs.len(), 1);
}

/// Attack C09: nobody waits for a slow hash, and nobody is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_thousand_keys_that_all_come_at_once_after_a_restart_all_pass() {
    const KEYS: usize = 2_000;
    const MADE_AT_ONCE: usize = 16;
    let world = Arc::new(World::new());
    let (workspace, _) = world.workspace("pro").await;
    let mut keys = Vec::new();
    while keys.len() < KEYS {
        let made: Vec<_> = (0..MADE_AT_ONCE)
            .map(|_| {
                let world = Arc::clone(&world);
                tokio::spawn(async move { world.key(workspace, &[READ]).await.1 })
            })
            .collect();
        for made in made {
            keys.push(made.await.unwrap());
        }
    }
    let world = Arc::new(world.restarted());
    let engine = Arc::clone(&world.engine);
    let walk = tokio::spawn(async move { engine.keep_known().await.unwrap() });
    let asked: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.ask(&key, READ).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(()));
    }
    assert_eq!(walk.await.unwrap().unwrap().pieces, KEYS + 1);
    assert_eq!(world.engine.slow_hashes(), 0);
}
