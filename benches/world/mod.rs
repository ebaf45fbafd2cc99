//! A small world for the benches: a store in a temporary directory, an engine over it, keys that may do
//! everything.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "shared by benches, each of which uses a part"
)]

pub(crate) mod bars;
pub(crate) mod checks;
pub(crate) mod daemon;
pub(crate) mod imported;

use std::path::Path;
use std::sync::Arc;

use keyward::clock::Clock;
use keyward::config::{load_profile, shipped};
use keyward::domain::audit::Actor;
use keyward::domain::hash::SlowHashCost;
use keyward::domain::id::WorkspaceId;
use keyward::domain::key::RawKey;
use keyward::domain::permission::Permission;
use keyward::domain::profile::Profile;
use keyward::domain::rate::{Rate, Rates};
use keyward::domain::record::{Label, SignatureReplay};
use keyward::engine::{Engine, EngineOptions, InstallSecrets, NewKey, NewWorkspace, SlowHashOptions};
use keyward::store::{Store, StoreOptions};
use tokio::runtime::Runtime;

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Store,
    pub(crate) profile: Arc<Profile>,
    pub(crate) keys: Vec<RawKey>,
    dir: tempfile::TempDir,
}

/// Whether a bench that prints a table of its own shall only show that it works: `cargo bench` says that it
/// measures, `cargo test --bench` says nothing.
pub(crate) fn is_smoke_run() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// What becomes of something that never waits, such as a hot verify: polling it once is the whole of it.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waited"),
    }
}

/// The cheapest hash there is: the benches measure what happens without one.
pub(crate) fn cheap() -> SlowHashCost {
    SlowHashCost::new(8, 1).unwrap()
}

/// Creations under way at once: they share commits.
const CREATIONS: usize = 256;

impl World {
    /// A world with so many keys of the one tag, and a proof cache of this size.
    pub(crate) fn with_keys(count: usize, proofs_max: usize) -> Self {
        Self::with_accounts(count, 1, proofs_max)
    }

    /// The same with the keys spread evenly over so many workspaces, in turn.
    pub(crate) fn with_accounts(count: usize, workspaces: usize, proofs_max: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (store, profile) = (open_store(&dir), profile());
        let secret = InstallSecrets::create(&dir.path().join(SECRET_FILE)).unwrap();
        let engine = engine(&store, &profile, secret, proofs_max);
        let keys = runtime.block_on(make_keys(&engine, count, workspaces, &|new| new));
        Self { runtime, engine, store, profile, keys, dir }
    }

    /// Where its files lie.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A world whose keys have this rate, each in a workspace of its own, and room for a proof of each.
    pub(crate) fn with_rate(count: usize, rate: &Rates) -> Self {
        Self::with_each(count, &|new| NewKey { rate: Some(rate.clone()), ..new })
    }

    /// The same of keys that hold these permissions.
    pub(crate) fn with_permissions(count: usize, held: &[Permission]) -> Self {
        Self::with_each(count, &|new| NewKey { permissions: held.to_vec(), ..new })
    }

    fn with_each(count: usize, change: &dyn Fn(NewKey) -> NewKey) -> Self {
        let mut world = Self::with_keys(0, 4 * count);
        // One after the other: so the same happens each time.
        world.keys =
            (0..count).flat_map(|_| world.runtime.block_on(make_keys(&world.engine, 1, 1, change))).collect();
        world
    }

    /// Revokes every key.
    pub(crate) fn revoke_all(&self) {
        for key in &self.keys {
            let found = self.store.keys_by_prefix(key.prefix().unwrap()).unwrap();
            let revoke = self.engine.revoke_key(Actor::System, found[0].id);
            self.runtime.block_on(revoke).unwrap();
        }
    }

    /// The same world after a stop without a checkpoint and a start on the same files.
    pub(crate) fn restarted(self) -> Self {
        let Self { runtime, engine: stopped, store: closed, profile, keys, dir } = self;
        stopped.stop();
        closed.close().unwrap();
        let store = open_store(&dir);
        let secret = InstallSecrets::read(&dir.path().join(SECRET_FILE)).unwrap().unwrap();
        let engine = engine(&store, &profile, secret, keys.len());
        Self { runtime, engine, store, profile, keys, dir }
    }
}

/// The files of a world, as a daemon has them in its data directory.
const STORE_FILE: &str = "keyward.redb";
const SECRET_FILE: &str = "install.secret";

fn open_store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join(STORE_FILE), StoreOptions::default()).unwrap()
}

fn profile() -> Arc<Profile> {
    load_profile(shipped("socialcrm").unwrap(), "socialcrm").unwrap().profile
}

fn engine(store: &Store, profile: &Arc<Profile>, secret: InstallSecrets, proofs_max: usize) -> Arc<Engine> {
    let options = EngineOptions {
        proofs_max,
        slow_hash: SlowHashOptions { cost: cheap(), workers: 2, queue_max: 2 * CREATIONS },
        keyless_rate: None,
        reads_max: 32,
        replays_max: 1_000,
        stores_fingerprints: true,
    };
    Engine::new(store.clone(), Clock::machine(), [Arc::clone(profile)], secret, options).unwrap()
}

async fn make_keys(
    engine: &Arc<Engine>,
    count: usize,
    workspaces: usize,
    change: &dyn Fn(NewKey) -> NewKey,
) -> Vec<RawKey> {
    let mut made = Vec::with_capacity(workspaces);
    for _ in 0..workspaces {
        let new = NewWorkspace {
            name: Label::parse("bench").unwrap(),
            profile: "socialcrm".to_owned(),
            plan: "enterprise".to_owned(),
            billing_anchor: None,
            brands: Vec::new(),
        };
        made.push(engine.create_workspace(Actor::System, new).await.unwrap().workspace.id);
    }
    let mut accounts = made.into_iter().cycle();
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        let group: Vec<_> = (0..CREATIONS.min(count - keys.len()))
            .map(|_| {
                let engine = Arc::clone(engine);
                let new = change(new_key(accounts.next().unwrap()));
                tokio::spawn(async move { engine.create_key(Actor::System, new).await })
            })
            .collect();
        for made in group {
            keys.push(made.await.unwrap().unwrap().raw);
        }
    }
    keys
}

/// The fastest there is, so that a bench in turn over ten keys is never refused.
fn fastest() -> Rates {
    Rate::new(1_000_000, 1, None).unwrap().into()
}

pub(crate) fn new_key(workspace: WorkspaceId) -> NewKey {
    NewKey {
        workspace,
        name: None,
        description: None,
        permissions: vec![Permission::everything()],
        expires_at: None,
        addresses: None,
        rate: Some(fastest()),
        metadata: None,
        require_signature: false,
        signature_replay: SignatureReplay::Once,
    }
}
