//! Slots of keys that nobody holds are let go, and nothing is forgotten with them.
//!
//! Never here: what is in a slot.

use super::super::live::LiveKey;
use super::*;

/// More keys than have a slot without being held.
const KEYS: usize = 800;

async fn many_keys(world: &World) -> Vec<KeyId> {
    let (workspace, _) = world.workspace("pro").await;
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        keys.push(world.key(workspace, &[READ]).await.0);
    }
    keys
}

#[tokio::test]
async fn keys_that_come_once_leave_few_slots_and_those_that_are_held_or_deny_undurably_stay() {
    let world = World::new();
    let keys = many_keys(&world).await;
    let held = world.engine.key_slot(keys[0]).await.unwrap();
    world.engine.key_slot(keys[1]).await.unwrap().revoke();
    let ticket = world.engine.slots.ticket();
    let old = world.store.key(keys[2]).unwrap().unwrap();
    for _ in 0..3 {
        for key in &keys[2..] {
            world.engine.key_slot(*key).await.unwrap();
        }
    }
    let slots = &world.engine.slots;
    assert!(slots.keys_len() < KEYS * 7 / 8, "{}", slots.keys_len());
    assert!(Arc::ptr_eq(&slots.key(keys[0]).unwrap(), &held), "one that is held");
    assert!(slots.key(keys[1]).unwrap().is_revoked(), "one that denies what the file does not");
    // What was read before slots were let go may be older than one of them was.
    let made = || LiveKey::new(&old, None, Arc::clone(&held.workspace), world.engine.clock.now());
    if slots.key(keys[2]).is_none() {
        assert!(slots.fill_key(made(), ticket).is_err());
        assert!(slots.key(keys[2]).is_none());
    }
    assert!(slots.fill_key(made(), slots.ticket()).is_ok());
}

/// Row B12 of the attacks, on the pipeline: what a key did is counted whether or not its slot stays.
#[tokio::test]
async fn keys_in_turn_through_a_small_cache_are_bounded_and_counted_exactly() {
    let world = World::with_cache(64);
    let (workspace, _) = world.workspace("enterprise").await;
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        keys.push(world.key(workspace, &[READ]).await);
    }
    for round in 0..3 {
        for (number, (_, key)) in keys.iter().enumerate() {
            assert_eq!(world.ask(key, READ).await, Ok(()), "{round} {number}");
            if number % 100 == 99 {
                world.engine.checkpoint().await.unwrap();
            }
        }
    }
    assert!(world.engine.slots.keys_len() < KEYS * 7 / 8, "{}", world.engine.slots.keys_len());
    for (id, _) in &keys {
        let hour = crate::domain::usage::hour_of(world.engine.clock.now().wall);
        let span = UsageSpan { step: UsageStep::Hour, numbers: hour..hour + 1 };
        let report = world.engine.key_usage(*id, span).await.unwrap();
        assert_eq!(report[&hour].total().valid, 3);
        assert_eq!(report[&hour].places().map(|(place, _)| place).collect::<Vec<_>>(), [READ]);
    }
}
