//! A tether asks the live record and the clock at the moment of each question.
//!
//! Never here: a gateway, or a body.

use super::*;
use crate::domain::address::AddressRules;
use crate::domain::tether::Tether;

/// A tether of a request that `key` makes from 192.0.2.7.
async fn tether(world: &World, key: &RawKey) -> Tether {
    let attempt = Attempt {
        door: Door::Rest,
        profile: &world.profile,
        credential: Ok(key.reveal().as_bytes()),
        wanted: Wanted::Known(Requirement::default()),
        address: Some([192, 0, 2, 7].into()),
        cost: 1,
    };
    world.engine.verify(attempt).await.unwrap().into_parts().1
}

async fn world_with_key() -> (World, WorkspaceId, KeyId, RawKey) {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    (world, workspace, id, key)
}

fn addresses(rule: &str) -> KeyPatch {
    KeyPatch { addresses: Some(Some(AddressRules::parse([rule]).unwrap())), ..KeyPatch::default() }
}

#[tokio::test]
async fn a_tether_breaks_with_a_revoke_and_holds_through_what_only_the_next_request_feels() {
    let (world, _, id, key) = world_with_key().await;
    let tether = tether(&world, &key).await;
    let less = KeyPatch { permissions: Some(Vec::new()), ..KeyPatch::default() };
    world.engine.update_key(Actor::System, id, less).await.unwrap();
    for _ in 0..20 {
        let _ = world.ask(&key, READ).await;
    }
    assert_eq!(world.ask(&key, READ).await, Err("rate"));
    assert_eq!(tether.check(), Ok(()), "neither a permission nor the rate is asked again");
    world.engine.revoke_key(Actor::System, id).await.unwrap();
    assert_eq!(tether.check(), Err(Denial::Revoked));
}

#[tokio::test]
async fn a_tether_breaks_before_the_disk_has_taken_the_revoke_or_the_suspension() {
    let (world, workspace, id, key) = world_with_key().await;
    let (_, other) = world.key(workspace, &[READ]).await;
    let (tether, of_other) = (tether(&world, &key).await, tether(&world, &other).await);
    world.engine.slots.key(id).unwrap().revoke();
    assert_eq!((tether.check(), of_other.check()), (Err(Denial::Revoked), Ok(())));
    world.engine.slots.workspace(workspace).unwrap().suspend();
    assert_eq!(of_other.check(), Err(Denial::Suspended));
}

#[tokio::test]
async fn a_tether_follows_suspension_addresses_expiry_and_the_clock_both_ways() {
    let (world, workspace, id, key) = world_with_key().await;
    let (engine, by, tether) = (&world.engine, Actor::System, tether(&world, &key).await);
    let set = |status| WorkspacePatch { status: Some(status), ..WorkspacePatch::default() };
    engine.update_workspace(by, workspace, set(WorkspaceStatus::Suspended)).await.unwrap();
    assert_eq!(tether.check(), Err(Denial::Suspended));
    engine.update_workspace(by, workspace, set(WorkspaceStatus::Active)).await.unwrap();
    assert_eq!(tether.check(), Ok(()));

    engine.update_key(by, id, addresses("198.51.100.0/24")).await.unwrap();
    assert_eq!(tether.check(), Err(Denial::Address));
    engine.update_key(by, id, addresses("192.0.2.0/24")).await.unwrap();
    assert_eq!(tether.check(), Ok(()));

    let ends = engine.clock.now().wall.plus_micros(1_000_000);
    let expiring = KeyPatch { expires_at: Some(Some(ends)), ..KeyPatch::default() };
    engine.update_key(by, id, expiring).await.unwrap();
    world.time.advance_micros(999_999);
    assert_eq!(tether.check(), Ok(()));
    world.time.advance_micros(1);
    assert_eq!(tether.check(), Err(Denial::Expired));
    world.time.set_wall(Wall::from_secs(START));
    assert_eq!(tether.check(), Ok(()));
}

#[tokio::test]
async fn a_tether_ends_with_its_own_secret_and_not_with_the_key() {
    let (world, _, id, key) = world_with_key().await;
    let tether = tether(&world, &key).await;
    let ends = world.engine.clock.now().wall.plus_micros(5_000_000);
    // As a rotation leaves it: the old secret has an end, the key none.
    let mut record = world.engine.key_view(id).await.unwrap().record;
    record.version += 1;
    record.secrets[0].ends_at = Some(ends);
    world.engine.slots.key(id).unwrap().apply(&record);
    world.time.advance_micros(4_999_999);
    assert_eq!(tether.check(), Ok(()));
    world.time.advance_micros(1);
    assert_eq!(tether.check(), Err(Denial::Revoked));
}

#[tokio::test]
async fn a_caller_that_is_still_being_read_for_hangs_on_its_key_as_well() {
    let (world, _, id, key) = world_with_key().await;
    let text = Ok(key.reveal().as_bytes());
    let caller = world.engine.identify(Door::Rpc, &world.profile, &text, None).await.unwrap();
    let tether = world.engine.tether(&caller);
    assert_eq!(tether.check(), Ok(()));
    world.engine.revoke_key(Actor::System, id).await.unwrap();
    assert_eq!(tether.check(), Err(Denial::Revoked));
}
