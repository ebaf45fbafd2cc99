//! What ends a secret or a workspace: rotations and deletions against proofs that are under way, and against a
//! disk that refuses.
//!
//! Never here: which secrets a rotation leaves (domain).

use super::*;
use crate::domain::decision::Check;
use crate::domain::denial::Denial;
use crate::domain::rotation::Overlap;

impl World {
    async fn rotate(&self, id: KeyId, overlap_secs: u64) -> RawKey {
        let overlap = Overlap::from_secs(overlap_secs).unwrap();
        self.engine.rotate_key(Actor::System, id, overlap).await.unwrap().raw
    }

    async fn explained(&self, id: KeyId) -> Vec<(Check, Denial)> {
        let secret = self.engine.key_view(id).await.unwrap().record.secrets.pop().unwrap();
        let to_explain = ToExplain {
            key: id,
            secret: (secret.prefix, secret.epoch),
            wanted: Wanted::Known(Requirement::default()),
            address: None,
            cost: 1,
        };
        let findings = self.engine.explain(&to_explain).await.unwrap().findings;
        findings.into_iter().filter_map(|finding| Some((finding.check, finding.outcome.err()?))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_cold_proof_that_races_a_rotation_is_accepted_after_it() {
    let (cached, uncached) = (World::new(), World::with_cache(0));
    for round in 0..200 {
        for world in [&cached, &uncached] {
            let (workspace, _) = world.workspace("pro").await;
            let (id, old) = world.key(workspace, &[READ]).await;
            let text = old.reveal().to_owned();
            let (engine, profile) = (Arc::clone(&world.engine), Arc::clone(&world.profile));
            let start = Arc::new(tokio::sync::Barrier::new(2));
            let started = Arc::clone(&start);
            let racing = tokio::spawn(async move {
                started.wait().await;
                // Swept from before the rotation's commit until past it.
                for _ in 0..round {
                    tokio::task::yield_now().await;
                }
                let credential = Ok(text.as_bytes());
                engine.identify(Door::Verify, &profile, &credential, None).await.is_ok()
            });
            start.wait().await;
            let new = world.rotate(id, 0).await;
            let refused = world.ask(&old, READ).await;
            assert!(matches!(refused, Err("revoked" | "unknown")), "round {round}: {refused:?}");
            let _ = racing.await.unwrap();
            // Its proof may be in the cache by now; the secret's epoch is gone.
            let refused = world.ask(&old, READ).await;
            assert!(matches!(refused, Err("revoked" | "unknown")), "round {round}: {refused:?}");
            assert_eq!(world.ask(&new, READ).await, Ok(()), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_was_proven_before_its_rotation_and_decided_on_after_it_opens_nothing() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, old) = world.key(workspace, &[READ]).await;
    let text = Ok(old.reveal().as_bytes());
    let caller = world.engine.identify(Door::Verify, &world.profile, &text, None).await.unwrap();
    world.rotate(id, 0).await;
    let refused = world.engine.admit(caller, &Wanted::Known(Requirement::default()), 1).await;
    assert_eq!(refused.map(drop).unwrap_err().refusal, Refusal::Denied(Denial::Revoked));
}

#[tokio::test]
async fn the_uses_of_both_secrets_come_back_as_of_the_last_checkpoint() {
    let mut world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, old) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&old, READ).await, Ok(()));
    let old_used = Some(world.engine.clock.now().wall);
    world.time.advance_micros(1_000_000);
    let new = world.rotate(id, 3600).await;
    world.time.advance_micros(1_000_000);
    assert_eq!(world.ask(&new, READ).await, Ok(()));
    let new_used = Some(world.engine.clock.now().wall);
    world.engine.checkpoint().await.unwrap();
    for _ in 0..2 {
        let view = world.engine.key_view(id).await.unwrap();
        assert_eq!((view.last_used_at, view.secrets_used_at), (new_used, vec![old_used, new_used]));
        world = world.restarted();
    }
    world.rotate(id, 0).await;
    for _ in 0..2 {
        let view = world.engine.key_view(id).await.unwrap();
        assert_eq!((view.last_used_at, view.secrets_used_at), (new_used, vec![None]));
        world.engine.checkpoint().await.unwrap();
        world = world.restarted();
    }
}

#[tokio::test]
async fn a_deletion_that_the_disk_refuses_denies_all_the_same_and_is_explained() {
    let world = World::new();
    let (workspace, fine) = world.workspace("pro").await;
    let (deleted, _) = world.workspace("pro").await;
    let (id, key) = world.key(deleted, &[READ]).await;
    for raw in [&key, &fine] {
        assert_eq!(world.ask(raw, READ).await, Ok(()));
    }
    assert_eq!(world.explained(id).await, []);
    // As far as a deletion comes whose commit is still under way, or failed.
    world.engine.slots.workspace(deleted).unwrap().delete();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
    assert_eq!(world.explained(id).await, [(Check::Workspace, Denial::Revoked)]);
    // An activation does not bring it back.
    let patch = WorkspacePatch { status: Some(WorkspaceStatus::Active), ..WorkspacePatch::default() };
    let refused = world.engine.update_workspace(Actor::System, deleted, patch).await;
    assert!(matches!(refused, Err(ChangeRefused::WorkspaceDeleted)));
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
    let record = world.engine.delete_workspace(Actor::System, deleted).await.unwrap();
    assert_eq!(record.status, WorkspaceStatus::Deleted);
    assert_eq!(world.ask(&fine, READ).await, Ok(()));
    world.store.close().unwrap();
    let refused = world.engine.delete_workspace(Actor::System, workspace).await;
    assert!(matches!(refused, Err(ChangeRefused::InForce(_))));
    assert_eq!(world.engine.undurable_changes(), 1);
    assert_eq!(world.ask(&fine, READ).await, Err("revoked"));
}

#[tokio::test]
async fn a_workspace_whose_profile_is_not_served_any_more_can_still_be_deleted() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let other = Profile { name: "other".to_owned(), ..Arc::into_inner(product()).unwrap() };
    let (clock, _) = Clock::manual(Wall::from_secs(START));
    let elsewhere = engine(&world.store, clock, &Arc::new(other), &world.dir.path().join("secret"), 100);
    let deleted = elsewhere.delete_workspace(Actor::System, workspace).await.unwrap();
    assert_eq!(deleted.status, WorkspaceStatus::Deleted);
    elsewhere.stop();
    let world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
}
