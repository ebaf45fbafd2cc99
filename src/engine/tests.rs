//! The pipeline over a real store in a temporary directory, with a manual clock and the cheapest hash.
//!
//! Never here: a socket, or a full-priced slow hash.

mod assertions;
mod clock;
mod cold_proofs;
mod endings;
mod install_secret;
mod known;
mod last_unit;
mod leases;
mod proofs;
mod races;
mod signing;
mod slots;
mod tethers;
mod undurable;
mod usage;

use std::path::Path;

use super::*;
use crate::clock::ManualTime;
use crate::domain::audit::{Actor, AuditAction};
use crate::domain::decision::Wanted;
use crate::domain::denial::Refusal;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::{RawKey, Tag};
use crate::domain::meter::Grace;
use crate::domain::period::Period;
use crate::domain::permission::{Catalogue, Permission};
use crate::domain::profile::{Plan, Requirement, Terms};
use crate::domain::record::{KeyPatch, Label, SignatureReplay, WorkspacePatch, WorkspaceStatus};
use crate::domain::time::Wall;
use crate::store::StoreOptions;

const READ: &str = "posts:read";
const GENERATE: &str = "ai:generate";
const START: i64 = 1_800_000_000;

/// A product of two permissions, one of them paid and metered, ten requests a second.
fn product() -> Arc<Profile> {
    let permissions = [READ, GENERATE].iter().map(|text| Permission::parse(text).unwrap()).collect();
    let plan = |name: &str, paid, limit| Plan {
        name: name.to_owned(),
        paid,
        rate: None,
        workspace_rate: None,
        grace: Grace::default(),
        limits: vec![limit],
    };
    Arc::new(Profile {
        name: "product".to_owned(),
        tag: Tag::parse("sk_live_").unwrap(),
        catalogue: Catalogue::new(permissions).unwrap(),
        terms: vec![Terms::default(), Terms { paid: true, meter: Some(crate::domain::profile::MeterNo(0)) }],
        meters: vec!["ai".to_owned()],
        plans: vec![plan("free", false, Some(0)), plan("pro", true, Some(3))],
        rate: Some(Rate::new(10, 1, None).unwrap().into()),
        route_rates: Vec::new(),
        signing: None,
        rest: None,
        rpc: None,
    })
}

struct World {
    dir: Arc<tempfile::TempDir>,
    store: Store,
    engine: Arc<Engine>,
    profile: Arc<Profile>,
    time: Arc<ManualTime>,
}

impl World {
    fn new() -> Self {
        Self::with_cache(100)
    }

    fn with_cache(proofs_max: usize) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = Store::open(&dir.path().join("k.redb"), StoreOptions::default()).unwrap();
        let (clock, time) = Clock::manual(Wall::from_secs(START));
        let profile = product();
        let engine = engine(&store, clock, &profile, &dir.path().join("secret"), proofs_max);
        Self { dir, store, engine, profile, time }
    }

    /// Stops without a checkpoint and starts again on the same files.
    fn restarted(&self) -> Self {
        self.restarted_with(true)
    }

    fn restarted_with(&self, stores_fingerprints: bool) -> Self {
        let now = self.engine.clock.now().wall;
        self.engine.stop();
        self.store.close().unwrap();
        let store = Store::open(&self.dir.path().join("k.redb"), StoreOptions::default()).unwrap();
        let (clock, time) = Clock::manual(now);
        let secret = self.dir.path().join("secret");
        let engine = engine_with(&store, clock, &self.profile, &secret, (1_000, stores_fingerprints));
        Self { dir: Arc::clone(&self.dir), store, engine, profile: Arc::clone(&self.profile), time }
    }

    async fn workspace(&self, plan: &str) -> (WorkspaceId, RawKey) {
        let new = NewWorkspace {
            name: Label::parse("w").unwrap(),
            profile: "product".to_owned(),
            plan: plan.to_owned(),
            billing_anchor: None,
            brands: Vec::new(),
        };
        let made = self.engine.create_workspace(Actor::System, new).await.unwrap();
        (made.workspace.id, made.default_key.raw)
    }

    async fn key(&self, workspace: WorkspaceId, permissions: &[&str]) -> (KeyId, RawKey) {
        let made = self.engine.create_key(Actor::System, new_key(workspace, permissions)).await.unwrap();
        (made.record.id, made.raw)
    }

    async fn ask(&self, raw: &RawKey, permission: &str) -> Result<(), &'static str> {
        let permission = Permission::parse(permission).unwrap();
        self.wants(raw, Wanted::Known(self.profile.requirement(&permission).unwrap())).await
    }

    async fn wants(&self, raw: &RawKey, wanted: Wanted) -> Result<(), &'static str> {
        let attempt = Attempt {
            door: Door::Verify,
            profile: &self.profile,
            credential: Ok(raw.reveal().as_bytes()),
            wanted,
            address: None,
            cost: 1,
        };
        self.engine.verify(attempt).await.map(drop).map_err(|refusal| refusal.name())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

fn new_key(workspace: WorkspaceId, permissions: &[&str]) -> NewKey {
    NewKey {
        workspace,
        name: None,
        description: None,
        permissions: permissions.iter().map(|text| Permission::parse(text).unwrap()).collect(),
        expires_at: None,
        addresses: None,
        rate: None,
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    }
}

fn engine(
    store: &Store,
    clock: Clock,
    profile: &Arc<Profile>,
    secret: &Path,
    proofs_max: usize,
) -> Arc<Engine> {
    engine_with(store, clock, profile, secret, (proofs_max, true))
}

fn engine_with(
    store: &Store,
    clock: Clock,
    profile: &Arc<Profile>,
    secret: &Path,
    (proofs_max, stores_fingerprints): (usize, bool),
) -> Arc<Engine> {
    let secrets =
        InstallSecrets::read(secret).unwrap().unwrap_or_else(|| InstallSecrets::create(secret).unwrap());
    let slow_hash = SlowHashOptions { cost: SlowHashCost::new(8, 1).unwrap(), workers: 2, queue_max: 64 };
    let options = EngineOptions {
        proofs_max,
        slow_hash,
        keyless_rate: Rate::new(2, 60, None).ok(),
        reads_max: 8,
        replays_max: 1_000,
        stores_fingerprints,
    };
    Engine::new(store.clone(), clock, [Arc::clone(profile)], secrets, options).unwrap()
}

#[tokio::test]
async fn a_key_passes_for_what_it_holds_and_a_refusal_names_the_first_check_that_fails() {
    let world = World::new();
    let (workspace, _) = world.workspace("free").await;
    let (_, reader) = world.key(workspace, &[READ]).await;
    let (_, generator) = world.key(workspace, &[GENERATE]).await;
    assert_eq!(world.ask(&reader, READ).await, Ok(()));
    assert_eq!(world.ask(&reader, GENERATE).await, Err("permission"));
    assert_eq!(world.ask(&generator, GENERATE).await, Err("plan"));
    let stranger = RawKey::mint(&world.profile.tag, &[9; 64]).unwrap();
    assert_eq!(world.ask(&stranger, READ).await, Err("unknown"));
}

#[tokio::test]
async fn a_refusal_told_to_everybody_still_takes_the_proven_caller_s_token() {
    let world = World::new();
    let (workspace, _) = world.workspace("free").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    for _ in 0..10 {
        assert_eq!(world.wants(&key, Wanted::Refused(Denial::NotFound)).await, Err("not_found"));
    }
    assert_eq!(world.ask(&key, READ).await, Err("rate"));
    world.time.advance_micros(99_999);
    assert_eq!(world.ask(&key, READ).await, Err("rate"));
    world.time.advance_micros(1);
    assert_eq!(world.ask(&key, READ).await, Ok(()));
}

#[tokio::test]
async fn every_change_acts_on_the_next_request_of_a_warm_key() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    let by = Actor::System;
    let engine = &world.engine;
    assert_eq!(world.ask(&key, READ).await, Ok(()));

    let none = KeyPatch { permissions: Some(Vec::new()), ..KeyPatch::default() };
    engine.update_key(by, id, none).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("permission"));

    let all = KeyPatch { permissions: Some(vec![Permission::everything()]), ..KeyPatch::default() };
    engine.update_key(by, id, all).await.unwrap();
    assert_eq!(world.ask(&key, GENERATE).await, Ok(()));

    let downgrade = WorkspacePatch { plan: Some("free".to_owned()), ..WorkspacePatch::default() };
    engine.update_workspace(by, workspace, downgrade).await.unwrap();
    assert_eq!(world.ask(&key, GENERATE).await, Err("plan"));

    let set = |status| WorkspacePatch { status: Some(status), ..WorkspacePatch::default() };
    engine.update_workspace(by, workspace, set(WorkspaceStatus::Suspended)).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    engine.update_workspace(by, workspace, set(WorkspaceStatus::Active)).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));

    let ends = engine.clock.now().wall.plus_micros(1_000_000);
    let expiring = KeyPatch { expires_at: Some(Some(ends)), ..KeyPatch::default() };
    engine.update_key(by, id, expiring).await.unwrap();
    world.time.advance_micros(999_999);
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    world.time.advance_micros(1);
    assert_eq!(world.ask(&key, READ).await, Err("expired"));

    let endless = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
    engine.update_key(by, id, endless).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    engine.revoke_key(by, id).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
    assert!(engine.revoke_key(by, id).await.is_ok(), "again is fine");
    let patch = KeyPatch { permissions: Some(Vec::new()), ..KeyPatch::default() };
    let refused = engine.update_key(by, id, patch).await;
    assert!(matches!(refused, Err(ChangeRefused::KeyRevoked)));
}

#[tokio::test]
async fn sixty_four_first_uses_of_a_key_without_a_fingerprint_run_one_slow_hash() {
    let mut world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    // Another install secret: the stored fingerprint says nothing any more.
    std::fs::remove_file(world.dir.path().join("secret")).unwrap();
    world = world.restarted();
    let (engine, profile) = (&world.engine, &world.profile);
    let first_uses = (0..64).map(|_| {
        let (engine, profile, text) = (Arc::clone(engine), Arc::clone(profile), key.reveal().to_owned());
        tokio::spawn(async move {
            engine.identify(Door::Verify, &profile, &Ok(text.as_bytes()), None).await.is_ok()
        })
    });
    for first_use in first_uses.collect::<Vec<_>>() {
        assert!(first_use.await.unwrap());
    }
    assert_eq!(engine.slow_hashes(), 1);
    let mut wrong = key.reveal().to_owned();
    wrong.replace_range(20..21, if &wrong[20..21] == "a" { "b" } else { "a" });
    assert!(engine.identify(Door::Verify, profile, &Ok(wrong.as_bytes()), None).await.is_err());
}

#[tokio::test]
async fn a_full_slow_hash_queue_is_busy_and_neither_an_admission_nor_a_refusal_of_the_key() {
    let options = SlowHashOptions { cost: SlowHashCost::DEFAULT, workers: 1, queue_max: 1 };
    let pool = Arc::new(SlowHash::start(options).unwrap());
    let key = || RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[7; 64]).unwrap();
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let (pool, key) = (Arc::clone(&pool), key());
            tokio::spawn(async move { pool.create(key).await.map(drop) })
        })
        .collect();
    let mut busy = 0;
    for said in asked {
        match said.await.unwrap() {
            Ok(()) => {}
            Err(fault) => {
                assert_eq!(fault, Fault::Busy { retry_after_secs: 1 });
                busy += 1;
            }
        }
    }
    // One waits; the worker may or may not have taken one or two by then.
    assert!((12..=15).contains(&busy), "{busy} of 16");
    pool.stop();
}

#[tokio::test]
async fn what_the_slow_hash_proved_once_is_known_by_its_fingerprint_from_then_on() {
    let mut world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    std::fs::remove_file(world.dir.path().join("secret")).unwrap();
    world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.slow_hashes(), 1);
    world.engine.checkpoint().await.unwrap();
    assert_eq!(world.engine.key_view(id).await.unwrap().record.version, 2);
    world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.slow_hashes(), 0);
    let learnt = world.engine.audit(0, 100).await.unwrap().pop().unwrap().entry;
    assert_eq!((learnt.actor, learnt.action), (Actor::System, AuditAction::FingerprintsLearnt));
}

#[tokio::test]
async fn an_unrelated_change_does_not_lift_a_suspension_that_the_disk_refused() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    let slot = world.engine.slots.workspace(workspace).unwrap();
    // As far as a suspension comes whose commit is still under way, or failed.
    slot.suspend();
    let rename = WorkspacePatch { name: Label::parse("other"), ..WorkspacePatch::default() };
    world.engine.update_workspace(Actor::System, workspace, rename).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("suspended"));
    let activate = WorkspacePatch { status: Some(WorkspaceStatus::Active), ..WorkspacePatch::default() };
    world.engine.update_workspace(Actor::System, workspace, activate).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
}

#[tokio::test]
async fn a_key_that_is_revoked_between_identity_and_admission_is_refused() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    let text = Ok(key.reveal().as_bytes());
    let mut caller = world.engine.identify(Door::Rpc, &world.profile, &text, None).await.unwrap();
    world.engine.pace(&mut caller);
    world.engine.revoke_key(Actor::System, id).await.unwrap();
    let said = world.engine.admit(caller, &Wanted::Known(Requirement::default()), 1).await;
    assert_eq!(said.map(drop).unwrap_err().refusal, Refusal::Denied(Denial::Revoked));
}

#[tokio::test]
async fn a_token_is_paid_once_whether_before_the_body_or_with_the_decision() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    for left in (0..10).rev() {
        let text = Ok(key.reveal().as_bytes());
        let mut caller = world.engine.identify(Door::Rpc, &world.profile, &text, None).await.unwrap();
        world.engine.pace(&mut caller);
        assert!(!caller.is_too_fast());
        let granted = world.engine.admit(caller, &Wanted::Known(Requirement::default()), 1).await.unwrap();
        assert_eq!(granted.limit_states().tightest().map(|(_, state)| state.remaining), Some(left));
    }
    let text = Ok(key.reveal().as_bytes());
    let mut caller = world.engine.identify(Door::Rpc, &world.profile, &text, None).await.unwrap();
    world.engine.pace(&mut caller);
    assert!(caller.is_too_fast());
    assert_eq!(world.ask(&key, READ).await, Err("rate"));
}

#[tokio::test]
async fn a_key_whose_profile_is_not_served_any_more_can_still_be_revoked() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    let (clock, _) = Clock::manual(Wall::from_secs(START));
    let mut other = Arc::into_inner(product()).unwrap();
    other.name = "other".to_owned();
    let elsewhere = engine(&world.store, clock, &Arc::new(other), &world.dir.path().join("secret"), 100);
    assert!(elsewhere.revoke_key(Actor::System, id).await.unwrap().revoked_at.is_some());
    elsewhere.stop();
    let world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
}

#[tokio::test]
async fn a_key_with_a_fingerprint_is_never_slow_hashed_not_even_after_a_restart() {
    let mut world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    world = world.restarted();
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.engine.slow_hashes(), 0);
}

#[tokio::test]
async fn what_is_counted_comes_back_as_of_the_last_checkpoint_and_what_was_sold_since_is_burnt() {
    let mut world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &["*:*"]).await;
    for _ in 0..2 {
        assert_eq!(world.ask(&key, GENERATE).await, Ok(()));
    }
    let used_at = world.engine.clock.now().wall;
    assert_eq!(world.engine.checkpoint().await.unwrap(), 2, "one key and one workspace");
    assert_eq!(world.engine.checkpoint().await.unwrap(), 0, "nothing changed since");
    // This one comes after the checkpoint: its use is lost with the memory, its unit is not.
    world.time.advance_micros(50_000);
    assert_eq!(world.ask(&key, GENERATE).await, Ok(()));
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"));

    world = world.restarted();
    assert_eq!(world.engine.key_view(id).await.unwrap().last_used_at, Some(used_at));
    let meters = world.engine.meters(workspace).await.unwrap();
    assert_eq!((meters[0].used, meters[0].burnt, meters[0].admitted), (2, 1, Some(3)));
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"));
    // Two of ten tokens were taken 50 ms before the stop; half of one came back, and one more is taken since.
    for _ in 0..7 {
        assert_eq!(world.ask(&key, READ).await, Ok(()));
    }
    assert_eq!(world.ask(&key, READ).await, Err("rate"));
}

#[tokio::test]
async fn a_meter_starts_anew_exactly_at_the_anniversary_and_a_moved_anchor_keeps_what_was_used() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &["*:*"]).await;
    for _ in 0..3 {
        assert_eq!(world.ask(&key, GENERATE).await, Ok(()));
    }
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"));
    let resets_at = world.engine.meters(workspace).await.unwrap()[0].resets_at;

    let moved =
        WorkspacePatch { billing_anchor: Some(Wall::from_secs(START - 86_400)), ..WorkspacePatch::default() };
    world.engine.update_workspace(Actor::System, workspace, moved).await.unwrap();
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"), "moving the anchor sells nothing");
    let moved_reset = world.engine.meters(workspace).await.unwrap()[0].resets_at;
    assert_eq!(resets_at.micros_since(moved_reset), 86_400_000_000);

    // Acknowledged is durable: a kill right after the move, before any checkpoint, sells nothing either.
    let world = world.restarted();
    assert_eq!(world.engine.meters(workspace).await.unwrap()[0].resets_at, moved_reset);
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"), "the count moved with the anchor");

    world.time.set_wall(Wall::from_micros(moved_reset.micros() - 1));
    world.time.advance_micros(0);
    assert_eq!(world.ask(&key, GENERATE).await, Err("quota"));
    world.time.advance_micros(1_000_000);
    assert_eq!(world.ask(&key, GENERATE).await, Ok(()));
    // A clock set back revives nothing: the new period's count goes on.
    world.time.set_wall(Wall::from_secs(START));
    let used = world.engine.meters(workspace).await.unwrap()[0].used;
    assert_eq!(used, 1);
}

#[tokio::test]
async fn a_rehearsal_spends_nothing() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &["*:*"]).await;
    let wanted = Wanted::Known(world.profile.requirement(&Permission::parse(GENERATE).unwrap()).unwrap());
    for _ in 0..50 {
        let text = Ok(key.reveal().as_bytes());
        let caller = world.engine.identify(Door::Verify, &world.profile, &text, None).await.unwrap();
        assert_eq!(world.engine.rehearse(&caller, &wanted, 1), Ok(()));
    }
    assert_eq!(world.engine.meters(workspace).await.unwrap()[0].used, 0);
    for _ in 0..10 {
        assert_eq!(world.ask(&key, READ).await, Ok(()));
    }
}

#[tokio::test]
async fn without_a_cache_the_answers_are_the_same() {
    let world = World::with_cache(0);
    let (workspace, _) = world.workspace("pro").await;
    let (id, key) = world.key(workspace, &[READ]).await;
    assert_eq!(world.ask(&key, READ).await, Ok(()));
    assert_eq!(world.ask(&key, GENERATE).await, Err("permission"));
    world.engine.revoke_key(Actor::System, id).await.unwrap();
    assert_eq!(world.ask(&key, READ).await, Err("revoked"));
}

#[tokio::test]
async fn keyless_callers_are_paced_by_address() {
    let world = World::new();
    let door = crate::domain::profile::RpcDoor {
        endpoint: "/rpc".to_owned(),
        sse: None,
        public_paths: Vec::new(),
        keyless_methods: vec!["ping".to_owned()],
        methods: Vec::new(),
        tools: HashMap::new(),
        method_requirements: Vec::new(),
        tool_patterns: Vec::new(),
        refused_key_id: crate::domain::profile::RefusedKeyId::Null,
    };
    let pass = |address: [u8; 4]| {
        let public = door.keyless_method("ping").unwrap();
        world.engine.open_pass(&world.profile, public, Some(IpAddr::from(address))).is_ok()
    };
    assert_eq!([pass([10, 0, 0, 1]), pass([10, 0, 0, 1]), pass([10, 0, 0, 1])], [true, true, false]);
    assert!(pass([10, 0, 0, 2]));
    assert!(door.keyless_method("tools/list").is_none());
}

#[tokio::test]
async fn d16_a_store_that_cannot_be_read_is_a_fault_and_never_an_answer_about_the_key() {
    let world = World::new();
    let (workspace, _) = world.workspace("pro").await;
    let (_, key) = world.key(workspace, &[READ]).await;
    world.store.close().unwrap();
    let requirement = Requirement::default();
    let attempt = Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(key.reveal().as_bytes()),
        wanted: Wanted::Known(requirement),
        address: None,
        cost: 1,
    };
    let refused = world.engine.verify(attempt).await.map(drop).unwrap_err();
    assert_eq!(refused.refusal, Refusal::Failed(Fault::Credential));
}
