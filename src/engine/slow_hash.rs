//! The only place that runs the slow hash.
//!
//! A fixed set of worker threads, each with its own memory, behind a bounded queue with shares. Proofs of one
//! fingerprint share one run (a flight), which belongs to the pool: a client that hangs up cancels nothing and
//! frees nothing early. A flight that proved a key stays on the list until its proof is where the next caller
//! looks first, so that no caller falls between the two. Who finds no place, or loses it, gets a fault with a
//! retry hint, never an admission and never a 401.
//!
//! Never here: a hash on an async thread, a lock held while a hash runs.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::SlowHashOptions;
use crate::domain::denial::Fault;
use crate::domain::hash::{Fingerprint, SALT_LEN, SlowHashCost, SlowHashMemory, StoredHash};
use crate::domain::key::RawKey;
use crate::domain::proof::Proof;
use crate::domain::record::KeyRecord;

pub(super) use queue::{Asker, FoundBy};
use queue::{Lane, Placed, Queue};

/// The most requests that may wait for one flight.
const WAITERS_PER_FLIGHT_MAX: usize = 1024;
/// What a caller is told to wait when the queue is full, in whole seconds.
const BUSY_RETRY_SECS: u32 = 1;

/// There is no place; come back.
pub(super) const BUSY: Fault = Fault::Busy { retry_after_secs: BUSY_RETRY_SECS };

impl SlowHashOptions {
    /// The most workers that this machine should have: one core stays free for those who need no slow hash.
    pub fn workers_max() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
    }
}

/// The pool.
pub(super) struct SlowHash {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    /// Taken before `waiting`, where both are.
    flights: Mutex<HashMap<Fingerprint, Flight>>,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    runs: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    /// What a test lets happen inside every run.
    #[cfg(test)]
    inside: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

struct Waiting {
    queue: Queue<Job>,
    is_open: bool,
}

enum Flight {
    UnderWay(Vec<oneshot::Sender<Answer>>),
    /// Its proof, and how many still have to put it away.
    Landed(Proof, usize),
}

/// What a flight tells each of those who wait for it; a fault when it lost its place.
type Answer = Result<Option<(Proof, Landing)>, Fault>;

/// How a proof was come by.
pub(super) enum Flown<T> {
    /// It was known by the time the flight would have started.
    Known(T),
    /// A flight proved the key. While this lives, others land on the same proof without a run.
    Proven(Proof, Landing),
    /// A flight found that the text is none of the candidates.
    Refuted,
}

/// Keeps a landed flight on the list until one of those who waited has put its proof away, or all have hung up.
pub(super) struct Landing {
    shared: Arc<Shared>,
    flight: Fingerprint,
}

impl Landing {
    /// The proof was put away. True for the first who says so.
    pub(super) fn is_first_home(&self) -> bool {
        let mut flights = lock(&self.shared.flights);
        let landed = matches!(flights.get(&self.flight), Some(Flight::Landed(..)));
        landed && flights.remove(&self.flight).is_some()
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = lock(&self.shared.flights);
        if let Some(Flight::Landed(_, left)) = flights.get_mut(&self.flight) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                flights.remove(&self.flight);
            }
        }
    }
}

enum Job {
    Prove { flight: Fingerprint, presented: RawKey, candidates: Vec<KeyRecord> },
    Create { key: RawKey, reply: oneshot::Sender<(RawKey, StoredHash)> },
}

impl SlowHash {
    /// Starts the workers.
    pub(super) fn start(options: SlowHashOptions) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            flights: Mutex::default(),
            waiting: Mutex::new(Waiting { queue: Queue::new(options.queue_max), is_open: true }),
            arrived: Condvar::new(),
            runs: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            #[cfg(test)]
            inside: Mutex::default(),
        });
        let spawn = |number| {
            let shared = Arc::clone(&shared);
            let work = move || work(&shared, options.cost);
            std::thread::Builder::new().name(format!("slow-hash-{number}")).spawn(work)
        };
        let workers = (0..options.workers.max(1)).map(spawn).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shared, workers: Mutex::new(workers) })
    }

    /// Proves `presented` against `candidates`, sharing the run with everyone who asks for the same
    /// fingerprint meanwhile. `known` looks once more where proofs are kept, before a new flight starts, which
    /// takes one place of the asker's shares; without an asker, one of those of new keys.
    pub(super) async fn prove<T>(
        &self,
        asker: Option<Asker>,
        flight: Fingerprint,
        presented: RawKey,
        candidates: Vec<KeyRecord>,
        known: impl FnOnce() -> Option<T>,
    ) -> Result<Flown<T>, Fault> {
        let (reply, answer) = oneshot::channel();
        {
            let mut flights = lock(&self.shared.flights);
            match flights.get_mut(&flight) {
                Some(Flight::Landed(proof, left)) => {
                    *left += 1;
                    return Ok(Flown::Proven(*proof, self.landing(flight)));
                }
                Some(Flight::UnderWay(waiters)) if waiters.len() >= WAITERS_PER_FLIGHT_MAX => {
                    return Err(self.refuse());
                }
                Some(Flight::UnderWay(waiters)) => waiters.push(reply),
                None => {
                    if let Some(known) = known() {
                        return Ok(Flown::Known(known));
                    }
                    let lane = asker.map_or(Lane::NewKey, Lane::Proof);
                    let displaced = self.enqueue(lane, Job::Prove { flight, presented, candidates })?;
                    flights.insert(flight, Flight::UnderWay(vec![reply]));
                    if let Some(Job::Prove { flight: displaced, .. }) = displaced {
                        self.turn_away(flights.remove(&displaced));
                    }
                }
            }
        }
        // A dropped sender means that the run broke: a fault, never an admission.
        let answer = answer.await.map_err(|_| Fault::Credential)??;
        Ok(answer.map_or(Flown::Refuted, |(proof, landing)| Flown::Proven(proof, landing)))
    }

    fn landing(&self, flight: Fingerprint) -> Landing {
        Landing { shared: Arc::clone(&self.shared), flight }
    }

    /// Hashes a new key.
    pub(super) async fn create(&self, key: RawKey) -> Result<(RawKey, StoredHash), Fault> {
        self.hash(Lane::NewKey, key).await
    }

    /// Hashes the text of a key anew that was just proven, when nobody waits for anything else. Busy is an
    /// answer too: the key keeps the hash that it has.
    pub(super) async fn rehash(&self, key: RawKey) -> Result<StoredHash, Fault> {
        self.hash(Lane::Rehash, key).await.map(|(_, hash)| hash)
    }

    async fn hash(&self, lane: Lane, key: RawKey) -> Result<(RawKey, StoredHash), Fault> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(lane, Job::Create { key, reply })?;
        answer.await.map_err(|_| Fault::Internal)
    }

    /// Runs since the start.
    pub(super) fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    /// Texts since the start that were compared and proved no key.
    pub(super) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Callers since the start for whom there was no place, or none any more.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Takes no more jobs and waits until the queue is empty.
    pub(super) fn stop(&self) {
        lock(&self.shared.waiting).is_open = false;
        self.shared.arrived.notify_all();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            if worker.join().is_err() {
                tracing::error!("a slow-hash worker broke");
            }
        }
    }

    /// Lets a job wait for a worker; gives back the one that it took the place of.
    fn enqueue(&self, lane: Lane, job: Job) -> Result<Option<Job>, Fault> {
        let mut waiting = lock(&self.shared.waiting);
        if !waiting.is_open {
            return Err(self.refuse());
        }
        let displaced = match waiting.queue.place(lane, job) {
            Placed::Waits => None,
            Placed::InPlaceOf(displaced) => Some(displaced),
            Placed::Refused => return Err(self.refuse()),
        };
        drop(waiting);
        self.shared.arrived.notify_one();
        Ok(displaced)
    }

    fn refuse(&self) -> Fault {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        BUSY
    }

    /// Tells those who waited for a flight that lost its place.
    fn turn_away(&self, flight: Option<Flight>) {
        if let Some(Flight::UnderWay(waiters)) = flight {
            for waiter in waiters {
                let _ = waiter.send(Err(self.refuse()));
            }
        }
    }
}

fn work(shared: &Arc<Shared>, cost: SlowHashCost) {
    let mut memory = SlowHashMemory::default();
    while let Some(job) = shared.next_job() {
        match job {
            Job::Prove { flight, presented, candidates } => {
                let run = || {
                    let presented = presented.as_presented();
                    candidates.iter().find_map(|record| {
                        shared.begin();
                        record.prove_by_slow_hash(&presented, &mut memory)
                    })
                };
                if let Ok(proof) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
                    land(shared, flight, proof);
                } else {
                    tracing::error!("a slow hash broke while a text was compared");
                    // Those who wait are dropped, which they take for a fault.
                    drop(take_waiters(shared, flight, None));
                }
            }
            Job::Create { key, reply } => {
                let run = || {
                    shared.begin();
                    let mut salt = [0; SALT_LEN];
                    getrandom::fill(&mut salt).ok()?;
                    StoredHash::create(&key.as_presented(), salt, cost, &mut memory)
                };
                if let Ok(Some(hash)) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
                    let _ = reply.send((key, hash));
                } else {
                    // The reply is dropped, which is a fault to whoever waits.
                    tracing::error!("a slow hash broke while a key was hashed");
                }
            }
        }
    }
}

impl Shared {
    /// The next job, as soon as there is one; `None` once the queue is closed and empty.
    fn next_job(&self) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(job) = waiting.queue.next() {
                return Some(job);
            }
            if !waiting.is_open {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One more hash is run.
    fn begin(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        {
            let inside = lock(&self.inside).clone();
            if let Some(happens) = inside {
                happens();
            }
        }
    }
}

/// Tells everyone who waits.
fn land(shared: &Arc<Shared>, flight: Fingerprint, proof: Option<Proof>) {
    if proof.is_none() {
        shared.failures.fetch_add(1, Ordering::Relaxed);
    }
    let waiters = take_waiters(shared, flight, proof);
    for waiter in waiters {
        // To one who hung up the answer comes back unread, and its landing takes the flight off the list.
        let landed = proof.map(|proof| (proof, Landing { shared: Arc::clone(shared), flight }));
        let _ = waiter.send(Ok(landed));
    }
}

/// Ends a flight; one that proved a key stays on the list as landed.
fn take_waiters(shared: &Shared, flight: Fingerprint, proof: Option<Proof>) -> Vec<oneshot::Sender<Answer>> {
    let mut flights = lock(&shared.flights);
    let waiters = match flights.remove(&flight) {
        Some(Flight::UnderWay(waiters)) => waiters,
        Some(Flight::Landed(..)) | None => Vec::new(),
    };
    if let Some(proof) = proof.filter(|_| !waiters.is_empty()) {
        flights.insert(flight, Flight::Landed(proof, waiters.len()));
    }
    waiters
}

/// No critical section of ours leaves half a change behind, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for SlowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlowHash({} runs)", self.runs())
    }
}
