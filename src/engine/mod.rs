//! Living state and the one pipeline: from a credential and a wish to a grant or a refusal.
//!
//! The proof cache remembers that a text is a key and nothing else. Status, expiry, addresses, permissions,
//! plan and limits are read from the live record on every request, so every change acts on the very next one.
//! A warm request touches no disk and waits for nobody.
//!
//! Never here: a response, a header, a status code; a map guard that leaves `slots` or `generations`; a slow
//! hash outside `slow_hash`.

mod assertions;
mod changes;
mod checkpoint;
mod errands;
mod explain;
mod generations;
mod import;
mod install_secret;
mod keyring;
mod known;
mod learnt_tools;
mod leases;
mod legacy;
mod live;
mod loading;
mod outcome;
mod proofs;
mod prove;
mod replays;
mod retries;
mod route_buckets;
mod seldom;
mod sessions;
mod shared_terms;
mod signing;
mod slots;
mod slow_hash;
mod soft_delay;
mod tally;
mod tether;
mod thread_number;
mod timekeeping;
mod usage;
mod verify;
mod views;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::domain::causes::Causes;
use crate::domain::decision::OpenPass;
use crate::domain::denial::{Denial, Fault};
use crate::domain::hash::SlowHashCost;
use crate::domain::key::PresentedKey;
use crate::domain::profile::{Profile, Public};
use crate::domain::rate::Rate;
use crate::domain::rate::bucket::Bucket;
use crate::store::{Snapshot, Store, StoreError};

pub use changes::{
    ChangeRefused, CreatedKey, CreatedWorkspace, InstallSecretNames, NewKey, NewWorkspace, RotatedKey, mint,
};
pub use explain::{Explanation, ToExplain};
pub use import::{ImportContent, ImportMode, ImportRefused, ImportReport, Imported, NewImport};
pub use install_secret::{INSTALL_SECRETS_MAX, InstallSecret, InstallSecretError, InstallSecrets};
pub use known::KeysWalked;
pub use learnt_tools::LearntTools;
pub use outcome::{Granted, Reach, Refused};
pub use sessions::{SessionDigest, SessionUser};
pub use tally::{Door, OutcomeCount};
pub use timekeeping::ClockView;
pub use usage::{AwaitedAnswer, UsageReport, UsageSpan, UsageStep};
pub use verify::{Attempt, Caller};
pub use views::{KeyList, KeyView, MeterView};

pub use crate::store::{Listed, Page};

use assertions::Assertions;
use changes::PendingFingerprints;
use checkpoint::Checkpoints;
use generations::Generations;
use keyring::Keyring;
use known::Known;
use legacy::Legacy;
use proofs::Proofs;
use replays::SharedReplays;
use retries::Retries;
use route_buckets::RouteBuckets;
use seldom::Seldom;
use sessions::Sessions;
use slots::Slots;
use slow_hash::SlowHash;
use soft_delay::SoftDelay;
use tally::Tally;
use timekeeping::ClockMark;
use usage::Usage;

/// What the engine's sizes and costs are.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The most proofs in the cache; 0 turns it off.
    pub proofs_max: usize,
    /// The slow hash: its cost, its workers, its queue.
    pub slow_hash: SlowHashOptions,
    /// The rate of keyless messages from one address; `None` is unlimited.
    pub keyless_rate: Option<Rate>,
    /// The most reads of the file at the same time.
    pub reads_max: usize,
    /// The most signatures that are remembered until they leave their window, a quarter of them for one key.
    pub replays_max: usize,
    /// Whether fingerprints are stored, or kept in memory alone.
    pub stores_fingerprints: bool,
}

/// How the slow hash runs.
#[derive(Clone, Copy, Debug)]
pub struct SlowHashOptions {
    /// What a new hash costs.
    pub cost: SlowHashCost,
    /// Worker threads; each owns the memory of one hash.
    pub workers: usize,
    /// The most hashes that wait; one more is refused as busy, and so is one that is over its share.
    pub queue_max: usize,
}

/// Addresses remembered for keyless pacing.
const KEYLESS_ADDRESSES_MAX: usize = 20_000;

/// The verifier: give it an [`Attempt`], get a [`Granted`] or a refusal.
pub struct Engine {
    store: Store,
    clock: Clock,
    profiles: HashMap<String, Arc<Profile>>,
    keyring: Seldom<Arc<Keyring>>,
    known: Arc<Known>,
    assertions: Assertions,
    /// Held while one is made, so that no two are made at once.
    secrets: tokio::sync::Mutex<InstallSecrets>,
    stores_fingerprints: bool,
    pending_fingerprints: PendingFingerprints,
    proofs: Proofs,
    slots: Arc<Slots>,
    slow_hash: Arc<SlowHash>,
    legacy: Legacy,
    soft_delay: SoftDelay,
    keyless: Generations<IpAddr, Arc<Bucket>, RandomState>,
    keyless_rate: Option<Rate>,
    route_buckets: RouteBuckets,
    reads: Arc<Semaphore>,
    replays: SharedReplays,
    sessions: Sessions,
    learnt_tools: LearntTools,
    tally: Tally,
    usage: Usage,
    checkpoints: Checkpoints,
    clock_mark: ClockMark,
    retries: Arc<Retries>,
    /// Keeps a checkpoint and an operator's word about the clock apart: both set the mark.
    clock_mark_line: tokio::sync::Mutex<()>,
}

impl Engine {
    /// An engine over an open store. `profiles` are all that its workspaces may belong to. Starts the slow
    /// hash's worker threads.
    pub fn new(
        store: Store,
        clock: Clock,
        profiles: impl IntoIterator<Item = Arc<Profile>>,
        secrets: InstallSecrets,
        options: EngineOptions,
    ) -> std::io::Result<Arc<Self>> {
        secrets.seal(&store);
        let profiles: HashMap<_, _> =
            profiles.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        let shapes = store.legacy_shapes().map_err(std::io::Error::other)?;
        let clock_mark = ClockMark::new(store.clock_mark().map_err(std::io::Error::other)?);
        let learnt_tools = LearntTools::new(clock.clone());
        let legacy = Legacy::new(shapes, options.slow_hash.cost);
        let keyring = secrets.keyring();
        let known = Arc::new(Known::new(&keyring));
        let witness = Arc::clone(&known);
        store.tell_of_keys(Arc::new(move |record| witness.add(record)));
        Ok(Arc::new(Self {
            store,
            clock,
            profiles,
            keyring: Seldom::new(Arc::new(keyring)),
            known,
            assertions: Assertions::new(&secrets).map_err(std::io::Error::other)?,
            secrets: tokio::sync::Mutex::new(secrets),
            stores_fingerprints: options.stores_fingerprints,
            pending_fingerprints: PendingFingerprints::default(),
            proofs: Proofs::new(options.proofs_max),
            slots: Arc::default(),
            slow_hash: Arc::new(SlowHash::start(options.slow_hash)?),
            legacy,
            soft_delay: SoftDelay::new(),
            keyless: Generations::new(KEYLESS_ADDRESSES_MAX / 2),
            keyless_rate: options.keyless_rate,
            route_buckets: RouteBuckets::default(),
            reads: Arc::new(Semaphore::new(options.reads_max)),
            replays: SharedReplays::new(options.replays_max),
            sessions: Sessions::new()?,
            learnt_tools,
            tally: Tally::default(),
            usage: Usage::default(),
            checkpoints: Checkpoints::default(),
            clock_mark,
            clock_mark_line: tokio::sync::Mutex::default(),
            retries: Arc::default(),
        }))
    }

    /// The clock that decisions are made by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The profile with this name.
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }

    /// The profile whose tag a key text starts with; of several, the one with the longest. Where that one has no
    /// keys that look so, the one that has imported such.
    pub fn profile_of_key(&self, text: &[u8]) -> Option<&Arc<Profile>> {
        let tagged =
            self.profiles.values().filter(|profile| text.starts_with(profile.tag.as_str().as_bytes()));
        let tagged = tagged.max_by_key(|profile| profile.tag.as_str().len());
        let looks_like_one_of = |profile: &Arc<Profile>| {
            PresentedKey::parse(&profile.tag, text).is_some()
                || PresentedKey::legacy(text, &self.legacy.shapes_of(&profile.name)).is_some()
        };
        let by_shape = || {
            let fitting = self.profiles.values().filter(|profile| looks_like_one_of(profile));
            fitting.min_by(|one, other| one.name.cmp(&other.name))
        };
        tagged.filter(|profile| looks_like_one_of(profile)).or_else(by_shape).or(tagged)
    }

    /// Lets a keyless caller through to something that its profile opens, paced by address: by the rate of
    /// everything without a key, and then by the one that this alone has.
    pub fn open_pass(
        &self,
        profile: &Arc<Profile>,
        public: Public,
        address: Option<IpAddr>,
    ) -> Result<OpenPass, Denial> {
        let address = origin(address);
        let bucket = self.keyless.find_or_insert(address, Arc::default);
        let now = self.clock.now().mono;
        let pass = OpenPass::paced(public, self.keyless_rate.as_ref(), &bucket, now)?;
        match self.route_buckets.of_address(profile, public, address) {
            Some((rate, bucket)) => pass.paced_again(&rate, &bucket, now),
            None => Ok(pass),
        }
    }

    /// How often each outcome was given.
    pub fn outcomes(&self) -> Vec<OutcomeCount> {
        self.tally.outcomes()
    }

    /// Slow hashes run since the start, for proofs and for new keys.
    pub fn slow_hashes(&self) -> u64 {
        self.slow_hash.runs()
    }

    /// Texts since the start that the slow hash compared and that were no key's.
    pub fn slow_hash_failures(&self) -> u64 {
        self.slow_hash.failures()
    }

    /// Callers since the start who found no place in the slow hash's queue, or lost theirs.
    pub fn slow_hashes_refused(&self) -> u64 {
        self.slow_hash.refused()
    }

    /// Durable commits of the store since the start.
    pub fn commits(&self) -> u64 {
        self.store.commits()
    }

    /// Ends the slow hash's workers once their queue is empty.
    pub fn stop(&self) {
        self.slow_hash.stop();
    }

    /// Looks a few records up, a bounded number of look-ups at a time, right where the request runs: what memory has
    /// is read at once, which takes less than to wake another thread, and the store waits for the disk aside.
    async fn look_up<T>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed.
        let Ok(_turn) = self.reads.acquire().await else { return Err(StoreError::Closed) };
        self.store.at_one_instant(read)
    }

    /// Runs a longer read of the file on the threads made for blocking work, as many at a time.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed; a task that cannot run is a failed read.
        let Ok(turn) = Arc::clone(&self.reads).acquire_owned().await else { return Err(StoreError::Closed) };
        let store = self.store.clone();
        let read = move || {
            // The turn is the read's own: a caller that hangs up does not let another one in beside it.
            let _turn = turn;
            read(&store)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::BrokeOff))
    }
}

/// Who a caller that proved nothing yet is counted as: an IPv4 address, an IPv6 network of 64 bits (one
/// customer's, and 2⁶⁴ addresses), or everyone whose address is unknown.
fn origin(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(v6)) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        Some(v4) => v4,
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A read that failed while a credential was being checked: logged once, here, since the caller learns
/// nothing.
fn credential_fault(error: &StoreError) -> Fault {
    tracing::error!(error = %Causes(error), "a credential could not be checked");
    Fault::Credential
}
