//! Builds the daemon out of its rooms, starts its long tasks, and stops them in order.
//!
//! The store is opened before anything listens: its lock is what keeps a second daemon away. A stop drains
//! the listeners, saves a last checkpoint, ends the slow hash and closes the files, in this order, so that
//! nothing is counted that is not saved.
//!
//! Never here: a decision about a request.

mod bootstrap;
mod certificates;
mod files;
mod hardening;
mod listening;
mod memory;
mod tasks;
mod timekeeping;
mod upstreams;
mod verification;

pub(crate) use files::write_key;
pub(crate) use hardening::harden;
pub use verification::{AuditUnreadable, verify_audit};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{LoadedProfile, Settings, UpstreamSetting, system_profile};
use crate::engine::{ChangeRefused, Engine, EngineOptions, InstallSecretError, SlowHashOptions};
use crate::http::server::ServerOptions;
use crate::http::tls::ServerTlsError;
use crate::http::virtual_hosts::{Misdirected, VirtualHosts};
use crate::http::{Endpoint, ListenAddress, answer};
use crate::sandbox::{Sandbox, SandboxError};
use crate::store::{ChangeError, Store, StoreError, StoreOptions};
use crate::surface::admin::AdminSurface;
use crate::surface::data::{Buffers, DataSurface, Product};

use certificates::Certificates;
use listening::{Bound, bind_admin, bind_all, server_options};
use memory::Allotment;
use upstreams::{open_sandbox, upstream};

/// The store's file in the data directory.
const STORE_FILE: &str = "keyward.redb";
/// The install secret's file in the data directory.
const INSTALL_SECRET_FILE: &str = "install.secret";

/// Reads of the file at the same time: enough to keep a disk busy, few enough that a flood leaves threads for
/// others.
const READS_MAX: usize = 32;

/// What is said at the start and stands in no file.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaunchFlags {
    /// Go on although the install secret is missing or another one: stored fingerprints are of no use then,
    /// and the slow hash proves every key.
    pub new_install_secret: bool,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be had.
    #[error("the data directory {path} cannot be used: {why}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox's file cannot be opened.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The key of the sandbox's language model cannot be read.
    #[error("the key of the sandbox's language model {path} cannot be used: {why}")]
    LlmKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// The install secret cannot be had.
    #[error(transparent)]
    InstallSecret(#[from] InstallSecretError),
    /// The install secret under which the stored fingerprints were made is not there.
    #[error(
        "{path} is {what}, but fingerprints and audit seals in the store were made under the install secret that was there: put that file back, or start with --new-install-secret (no key is lost; each key's next first use runs the slow hash)"
    )]
    InstallSecretLost {
        /// The file.
        path: PathBuf,
        /// `missing`, or `another secret`.
        what: &'static str,
    },
    /// The first admin key cannot be read or made.
    #[error("the admin key {path} cannot be used: {why}")]
    AdminKey {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// What the last stop saved of signatures could not be taken over.
    #[error("the signatures that were taken before could not be read")]
    Replays(#[source] ChangeError),
    /// The name of a new install secret could not be stored.
    #[error("the new install secret could not be noted in the store")]
    NewSecret(#[source] ChangeError),
    /// The first admin key could not be stored.
    #[error("the first admin key could not be stored")]
    FirstKey(#[source] ChangeRefused),
    /// A listener cannot be bound.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// Why, and what can be done.
        why: String,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    /// An upstream cannot be used.
    #[error("the upstream of profile {profile} cannot be used: {why}")]
    Upstream {
        /// The profile.
        profile: String,
        /// Why.
        why: String,
    },
    /// The operating system refused a thread.
    #[error("a worker thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A part broke while it was being built.
    #[error("the start was given up: {0}")]
    BrokeOff(&'static str),
}

/// Why a stop was not clean. Everything that could be saved was.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The last checkpoint could not be saved: what was counted since the one before is lost.
    #[error("the last checkpoint could not be saved")]
    Checkpoint(#[source] ChangeError),
    /// What was reserved of meters and not used could not be given back: it is burnt.
    #[error("what was reserved of the meters could not be given back")]
    Meters(#[source] ChangeError),
    /// The signatures that were taken could not be saved: the next start refuses those stamped before it.
    #[error("the signatures that were taken could not be saved")]
    Replays(#[source] ChangeError),
    /// The mark of believed time could not be lowered: the next start may go on some seconds ahead of the
    /// machine's clock.
    #[error("the mark of the clock could not be saved")]
    ClockMark(#[source] ChangeError),
    /// The store could not be closed cleanly; the next start repairs it.
    #[error("the store could not be closed")]
    Store(#[from] StoreError),
    /// The sandbox's file could not be closed cleanly.
    #[error("the sandbox could not be closed")]
    Sandbox(#[from] SandboxError),
}

/// A daemon that serves.
pub struct Running {
    surfaces: BTreeMap<String, Endpoint>,
    admin: Endpoint,
    certificates: Certificates,
    admin_key_file: PathBuf,
    engine: Arc<Engine>,
    store: Store,
    sandbox: Option<Sandbox>,
    /// Ends the listeners and the checkpoints.
    shutdown: CancellationToken,
    serving: TaskTracker,
    /// Ends the sandbox and the commands, once nothing is forwarded any more.
    sandbox_shutdown: CancellationToken,
    sandbox_tasks: TaskTracker,
}

/// Starts a daemon. It serves when this returns.
pub async fn launch(settings: Settings, clock: Clock, flags: LaunchFlags) -> Result<Running, StartError> {
    files::data_dir(&settings.data_dir)?;
    let memory = Allotment::read(settings.cache.store_bytes);
    let store = open_store(&settings, memory.store_cache_bytes).await?;
    let launched = launch_over(&store, settings, clock, flags, memory).await;
    if launched.is_err() {
        let _ = blocking(move || store.close()).await;
    }
    launched
}

async fn launch_over(
    store: &Store,
    settings: Settings,
    clock: Clock,
    flags: LaunchFlags,
    memory: Allotment,
) -> Result<Running, StartError> {
    timekeeping::start(store, &clock)?;
    let secrets = bootstrap::install_secrets(&settings.data_dir.join(INSTALL_SECRET_FILE), store, flags)?;
    bootstrap::note_install_secret(&secrets, store, &clock).await?;
    let system = system_profile();
    let profiles = settings.profiles.iter().map(|profile| Arc::clone(&profile.loaded.profile));
    let options = engine_options(&settings);
    let profiles: Vec<_> = profiles.chain([Arc::clone(&system)]).collect();
    let engine =
        Engine::new(store.clone(), clock.clone(), profiles, secrets, options).map_err(StartError::Thread)?;
    bootstrap::first_admin_key(&engine, &settings.admin.key_file).await?;

    let (sandbox_shutdown, sandbox_tasks) = (CancellationToken::new(), TaskTracker::new());
    let uses_sandbox = settings.profiles.iter().any(|profile| profile.upstream == UpstreamSetting::Sandbox);
    let sandbox = if uses_sandbox { Some(open_sandbox(&settings, &clock).await?) } else { None };
    if let Some(sandbox) = &sandbox {
        tasks::sandbox_upkeep(&sandbox_tasks, sandbox, &sandbox_shutdown);
    }

    let (admin_socket, admin) = bind_admin(&settings.admin).await?;
    let bound = bind_all(settings.listeners).await?;
    let (data_options, admin_options) = server_options();

    // A start that fails from here on leaves no process behind.
    let behind = sandbox_shutdown.clone().drop_guard();
    let (shutdown, serving) = (CancellationToken::new(), TaskTracker::new());
    let mut products = Vec::new();
    for profile in settings.profiles {
        let upstream = upstream(&profile, sandbox.as_ref(), &sandbox_shutdown, &sandbox_tasks)?;
        let (loaded, asserts) = (profile.loaded, profile.asserts);
        let LoadedProfile { profile, rest, rpc, rate_headers, cors } = loaded;
        let product = Product { profile, rest, rpc, rate_headers, cors, upstream, asserts };
        products.push(Arc::new(product));
    }
    // Nothing is served yet, and all that can easily fail has not failed.
    engine.recover_replays().await.map_err(StartError::Replays)?;
    let trusted = Arc::new(settings.trusted_proxies);
    let buffers = Arc::new(Buffers::new(memory.bodies_bytes_max));
    let mut surfaces = BTreeMap::new();
    let certificates = Certificates::new(bound.iter().filter_map(|bound| bound.tls.clone()));
    for Bound { socket, endpoint, tls, hosts } in bound {
        let mut doors = Vec::new();
        for host in hosts {
            let served: Vec<_> =
                host.profiles.iter().filter_map(|place| products.get(*place).cloned()).collect();
            for product in &served {
                surfaces.entry(product.profile.name.clone()).or_insert_with(|| endpoint.clone());
            }
            let (engine, trusted) = (Arc::clone(&engine), Arc::clone(&trusted));
            let surface = DataSurface::new(engine, host.hosts.clone(), served, trusted);
            doors.push((host.hosts, surface.reading_in(Arc::clone(&buffers))));
        }
        let doors = Arc::new(VirtualHosts::new(doors));
        let options = ServerOptions { tls, ..data_options.clone() };
        tasks::serve_door(&serving, socket, options, &shutdown, move |request, peer| {
            let doors = Arc::clone(&doors);
            async move {
                match doors.door(&request) {
                    Ok(Some(surface)) => surface.answer(request, peer).await,
                    // There is no listener without a door.
                    Ok(None) | Err(Misdirected) => answer::misdirected(),
                }
            }
        });
    }
    let hosts = bootstrap::admin_hosts(settings.admin.hosts, &admin.address);
    let surface = Arc::new(AdminSurface::new(Arc::clone(&engine), system, hosts));
    tasks::serve_door(&serving, admin_socket, admin_options, &shutdown, move |request, peer| {
        let surface = Arc::clone(&surface);
        async move { surface.answer(request, peer).await }
    });
    certificates.keep(&serving, &shutdown);
    if !settings.fingerprints.stored {
        tasks::forget_fingerprints(&serving, &engine, &shutdown);
    }
    tasks::known_keys(&serving, &engine, &shutdown);
    tasks::checkpoints(&serving, &engine, settings.checkpoint_interval, &shutdown);
    timekeeping::keep(&serving, &clock, &shutdown);
    serving.close();
    let told: BTreeMap<_, _> = surfaces.iter().map(|(name, endpoint)| (name, endpoint.to_string())).collect();
    tracing::info!(admin = %admin, surfaces = ?told, "keyward is serving");
    behind.disarm();
    Ok(Running {
        surfaces,
        admin,
        certificates,
        admin_key_file: settings.admin.key_file,
        engine,
        store: store.clone(),
        sandbox,
        shutdown,
        serving,
        sandbox_shutdown,
        sandbox_tasks,
    })
}

impl Running {
    /// Where each profile is served: on the first listener that serves it.
    pub const fn surfaces(&self) -> &BTreeMap<String, Endpoint> {
        &self.surfaces
    }

    /// Where the admin API is served.
    pub const fn admin(&self) -> &Endpoint {
        &self.admin
    }

    /// Reads the certificates again. One that cannot be used changes nothing and is told of in the log.
    pub async fn reload_certificates(&self) {
        self.certificates.reload(true).await;
    }

    /// The file that the first admin key stands in.
    pub fn admin_key_file(&self) -> &Path {
        &self.admin_key_file
    }

    /// The engine behind the doors.
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Lets requests in flight end, saves what is counted and closes the files.
    pub async fn stop(self) -> Result<(), StopError> {
        self.shutdown.cancel();
        self.serving.wait().await;
        self.sandbox_shutdown.cancel();
        self.sandbox_tasks.close();
        self.sandbox_tasks.wait().await;
        let saved = self.engine.checkpoint().await;
        let sealed = self.engine.seal_meters().await;
        let kept = self.engine.save_replays().await;
        let marked = self.engine.save_clock_mark().await;
        let (engine, store) = (self.engine, self.store);
        let closed = blocking(move || {
            engine.stop();
            store.close()
        })
        .await;
        let sandbox_closed = match self.sandbox {
            Some(sandbox) => sandbox.close().await,
            None => Ok(()),
        };
        // Everything was tried; the gravest failure is told.
        saved.map_err(StopError::Checkpoint)?;
        sealed.map_err(StopError::Meters)?;
        kept.map_err(StopError::Replays)?;
        marked.map_err(StopError::ClockMark)?;
        closed.unwrap_or(Err(StoreError::BrokeOff))?;
        sandbox_closed?;
        tracing::info!("keyward has stopped");
        Ok(())
    }
}

fn engine_options(settings: &Settings) -> EngineOptions {
    EngineOptions {
        proofs_max: settings.cache.proofs_max,
        slow_hash: SlowHashOptions {
            cost: settings.slow_hash.cost,
            workers: workers(settings.slow_hash.workers),
            queue_max: settings.slow_hash.queue_max,
        },
        keyless_rate: Some(settings.keyless_rate),
        reads_max: READS_MAX,
        replays_max: settings.replays_max,
        stores_fingerprints: settings.fingerprints.stored,
    }
}

/// As many workers as are wanted, if one core stays free.
fn workers(wanted: usize) -> usize {
    let most = SlowHashOptions::workers_max();
    if wanted > most {
        tracing::info!(wanted, most, "fewer slow-hash workers than slow_hash.workers: one core stays free");
    }
    wanted.min(most)
}

async fn open_store(settings: &Settings, cache_bytes: u64) -> Result<Store, StartError> {
    let path = settings.data_dir.join(STORE_FILE);
    let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    let opened = blocking(move || Store::open(&path, StoreOptions { cache_bytes })).await;
    Ok(opened.ok_or(StartError::BrokeOff("the store"))??)
}

/// Runs what blocks on a thread made for it; `None` when it broke off.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
