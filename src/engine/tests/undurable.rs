//! What denies already and is not durable: it denies warm and cold, says so, and is tried again.
//!
//! The store refuses here because its line of revokes is full, behind a writer that is held; what it does
//! when its file is gone is shown by a closed store.
//!
//! Never here: a sleep.

use std::sync::mpsc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;
use crate::domain::audit::{AuditAction, AuditEntry, Subject};
use crate::engine::retries::Narrowed;
use crate::store::Urgency;

/// The most changes that wait in one line of the store.
const LINE_MAX: usize = 4_096;

fn row(bystander: KeyId) -> AuditEntry {
    AuditEntry {
        at: Wall::from_secs(START),
        actor: Actor::System,
        action: AuditAction::KeyUpdated,
        subject: Subject::Key(bystander),
        changes: Vec::new(),
    }
}

/// A change of `bystander` that changes nothing and holds the writer until it is released.
pub(super) struct Hold {
    release: mpsc::Sender<()>,
    change: tokio::task::JoinHandle<()>,
}

impl Hold {
    /// Queued by the time that the other future comes; that one tells when the writer has reached it.
    pub(super) fn queue(world: &World, bystander: KeyId, line: Urgency) -> (Self, oneshot::Receiver<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (reached, reaching) = oneshot::channel();
        let store = world.store.clone();
        let change = tokio::spawn(async move {
            let stand_still = move |key| {
                let _ = reached.send(());
                let _ = released.recv();
                key
            };
            store.update_key(bystander, line, row(bystander), stand_still).await.unwrap();
        });
        (Self { release, change }, reaching)
    }

    pub(super) async fn release(self) {
        self.release.send(()).unwrap();
        self.change.await.unwrap();
    }
}

async fn until_waiting(world: &World, changes: usize) {
    while world.store.waiting_changes() < changes {
        tokio::task::yield_now().await;
    }
}

/// A store whose writer stands still and whose lines are full.
struct Jam {
    hold: Hold,
    waiting: JoinSet<()>,
}

impl Jam {
    /// Jams these lines of the store, by changes of `bystander` that change nothing.
    async fn of(world: &World, bystander: KeyId, lines: &[Urgency]) -> Self {
        let (hold, reached) = Hold::queue(world, bystander, Urgency::Revoke);
        reached.await.unwrap();
        let mut waiting = JoinSet::new();
        for line in lines.iter().flat_map(|line| [*line; LINE_MAX]) {
            let store = world.store.clone();
            waiting.spawn(async move {
                store.update_key(bystander, line, row(bystander), |key| key).await.unwrap();
            });
        }
        until_waiting(world, LINE_MAX * lines.len()).await;
        Self { hold, waiting }
    }

    /// The store works again.
    async fn clear(self) {
        self.hold.release().await;
        self.waiting.join_all().await;
    }
}

fn set(status: WorkspaceStatus) -> WorkspacePatch {
    WorkspacePatch { status: Some(status), ..WorkspacePatch::default() }
}

async fn suspend(world: &World, workspace: WorkspaceId) -> Result<(), ChangeRefused> {
    let patch = WorkspacePatch { name: Label::parse("other"), ..set(WorkspaceStatus::Suspended) };
    world.engine.update_workspace(Actor::System, workspace, patch).await.map(drop)
}

async fn activate(world: &World, workspace: WorkspaceId) -> Result<(), ChangeRefused> {
    world.engine.update_workspace(Actor::System, workspace, set(WorkspaceStatus::Active)).await.map(drop)
}

#[tokio::test]
async fn a_revoke_that_the_store_refuses_denies_warm_and_cold_and_becomes_durable_by_itself() {
    let mut world = World::new();
    let (workspace, bystander) = world.workspace("pro").await;
    let (warm_id, warm) = world.key(workspace, &[READ]).await;
    let (cold_id, cold) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&warm, READ).await, Ok(()));
    let jam = Jam::of(&world, warm_id, &[Urgency::Revoke]).await;
    for id in [warm_id, cold_id, warm_id] {
        let refused = world.engine.revoke_key(Actor::System, id).await;
        assert!(matches!(refused, Err(ChangeRefused::InForce(_))));
    }
    assert_eq!(world.engine.undurable_changes(), 2, "one for each key");
    for key in [&warm, &cold] {
        assert_eq!(world.ask(key, READ).await, Err("revoked"));
    }
    world.engine.retry_undurable().await;
    assert_eq!(world.engine.undurable_changes(), 2, "the store still refuses");
    let began = world.engine.clock.now().wall;
    world.time.advance_micros(7_000_000);
    jam.clear().await;

    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.engine.undurable_changes(), 0);
    let audited = || async { world.engine.audit(0, 1_000).await.unwrap().len() };
    let rows = audited().await;
    for id in [warm_id, cold_id] {
        let again = world.engine.revoke_key(Actor::System, id).await.unwrap();
        assert_eq!(again.revoked_at, Some(began), "it was revoked when it was asked for");
    }
    assert_eq!(audited().await, rows, "again changes nothing");
    world = world.restarted();
    assert_eq!(world.ask(&warm, READ).await, Err("revoked"));
    assert_eq!(world.ask(&cold, READ).await, Err("revoked"));
    assert_eq!(world.ask(&bystander, READ).await, Ok(()));
}

#[tokio::test]
async fn a_revoke_sent_again_once_the_store_works_is_durable_at_once_and_tried_no_more() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, _) = world.key(workspace, &[READ]).await;
    let jam = Jam::of(&world, id, &[Urgency::Revoke]).await;
    assert!(world.engine.revoke_key(Actor::System, id).await.is_err());
    jam.clear().await;
    assert!(world.engine.revoke_key(Actor::System, id).await.is_ok());
    assert_eq!(world.engine.undurable_changes(), 0);
}

#[tokio::test]
async fn a_suspension_that_the_store_refuses_denies_and_is_tried_again_alone() {
    let mut world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke]).await;
    assert!(matches!(suspend(&world, workspace).await, Err(ChangeRefused::InForce(_))));
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    jam.clear().await;
    assert_eq!(world.ask(&key, READ).await, Err("suspended"), "before it is tried again");
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.engine.undurable_changes(), 0);
    let record = world.engine.workspace(workspace).await.unwrap();
    assert_eq!((record.status, record.name.as_str()), (WorkspaceStatus::Suspended, "w"));
    world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    activate(&world, workspace).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
}

#[tokio::test]
async fn an_activation_takes_the_place_of_a_suspension_that_waits_and_no_try_follows_it() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke]).await;
    assert!(suspend(&world, workspace).await.is_err());
    jam.clear().await;
    activate(&world, workspace).await.unwrap();
    assert_eq!(world.engine.undurable_changes(), 0);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let record = world.engine.workspace(workspace).await.unwrap();
    assert_eq!(record.status, WorkspaceStatus::Active);
}

#[tokio::test]
async fn no_try_comes_behind_an_activation_that_the_writer_has_made_and_not_yet_answered() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke]).await;
    assert!(suspend(&world, workspace).await.is_err());
    jam.clear().await;
    // The activation shares its transaction with a change that holds it open.
    let (before, reached) = Hold::queue(&world, bystander, Urgency::Admin);
    reached.await.unwrap();
    let engine = Arc::clone(&world.engine);
    let activation = tokio::spawn(async move {
        let patch = set(WorkspaceStatus::Active);
        engine.update_workspace(Actor::System, workspace, patch).await.map(drop)
    });
    until_waiting(&world, 1).await;
    let (behind, reached) = Hold::queue(&world, bystander, Urgency::Admin);
    until_waiting(&world, 2).await;
    before.release().await;
    reached.await.unwrap();
    let engine = Arc::clone(&world.engine);
    let tries = tokio::spawn(async move { engine.retry_undurable().await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    behind.release().await;
    activation.await.unwrap().unwrap();
    tries.await.unwrap();
    let record = world.engine.workspace(workspace).await.unwrap();
    assert_eq!(record.status, WorkspaceStatus::Active);
    assert_eq!(world.ask(&key, READ).await, Ok(()));
}

#[tokio::test]
async fn a_try_that_was_taken_out_on_its_way_to_the_writer_changes_nothing() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke]).await;
    assert!(suspend(&world, workspace).await.is_err());
    jam.clear().await;
    let of = Narrowed::Workspace(workspace);
    let taken_out = world.engine.retries.withdraw(of).unwrap();
    taken_out.clone().try_again(&world.store, &world.engine.retries).await;
    let status = async || world.engine.workspace(workspace).await.unwrap().status;
    assert_eq!(status().await, WorkspaceStatus::Active);
    assert_eq!(world.ask(&key, READ).await, Err("suspended"), "what took it out has not been made yet");
    // The positive control: put back, it is made.
    world.engine.retries.give_back(taken_out.clone());
    taken_out.try_again(&world.store, &world.engine.retries).await;
    assert_eq!(status().await, WorkspaceStatus::Suspended);
    assert_eq!(world.engine.undurable_changes(), 0);
}

#[tokio::test]
async fn a_suspension_that_is_put_back_while_a_try_of_it_ends_is_tried_again() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke]).await;
    assert!(suspend(&world, workspace).await.is_err());
    jam.clear().await;
    // An activation has taken it out; the try finds nothing to do, in a transaction that is held open.
    let taken_out = world.engine.retries.withdraw(Narrowed::Workspace(workspace)).unwrap();
    let (before, reached) = Hold::queue(&world, bystander, Urgency::Admin);
    reached.await.unwrap();
    let (store, retries) = (world.store.clone(), Arc::clone(&world.engine.retries));
    let trying = taken_out.clone();
    let tried = tokio::spawn(async move {
        trying.try_again(&store, &retries).await;
    });
    until_waiting(&world, 1).await;
    let (behind, reached) = Hold::queue(&world, bystander, Urgency::Admin);
    until_waiting(&world, 2).await;
    before.release().await;
    reached.await.unwrap();
    // The activation fails, and the try hears of its own end only now.
    world.engine.retries.give_back(taken_out);
    behind.release().await;
    tried.await.unwrap();
    assert_eq!(world.engine.undurable_changes(), 1);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.engine.undurable_changes(), 0);
    let record = world.engine.workspace(workspace).await.unwrap();
    assert_eq!(record.status, WorkspaceStatus::Suspended);
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
}

#[tokio::test]
async fn an_activation_that_fails_leaves_the_suspension_in_force_and_to_be_tried_again() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    let (other, _) = world.workspace("pro").await;
    let (bystander, _) = world.key(other, &[]).await;
    let jam = Jam::of(&world, bystander, &[Urgency::Revoke, Urgency::Admin]).await;
    assert!(suspend(&world, workspace).await.is_err());
    assert!(matches!(activate(&world, workspace).await, Err(ChangeRefused::Failed(Fault::Busy { .. }))));
    assert_eq!(world.engine.undurable_changes(), 1);
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    jam.clear().await;
    world.engine.checkpoint().await.unwrap();
    let record = world.engine.workspace(workspace).await.unwrap();
    assert_eq!(record.status, WorkspaceStatus::Suspended);
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
}

#[tokio::test]
async fn an_older_activation_does_not_end_a_suspension_that_began_after_it() {
    let world = World::new();
    let (workspace, key) = world.workspace("pro").await;
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let slot = world.engine.slots.workspace(workspace).unwrap();
    let activation = slot.next_status_number();
    let suspension = slot.suspend();
    slot.status_is_committed(activation);
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    slot.status_is_committed(suspension);
    assert_eq!(world.ask(&key, READ).await, Ok(()), "the facts have the word again");
}

#[tokio::test]
async fn a_revoke_over_a_lost_file_denies_and_waits() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    world.store.close().unwrap();
    for _ in 0..2 {
        assert!(matches!(world.engine.revoke_key(Actor::System, id).await, Err(ChangeRefused::InForce(_))));
        assert_eq!(world.ask(&key, READ).await, Err("revoked"));
        world.engine.retry_undurable().await;
        assert_eq!(world.engine.undurable_changes(), 1);
    }
}
