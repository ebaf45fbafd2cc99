//! The only place that runs the slow hash.
//!
//! A fixed set of worker threads, each with its own memory, behind a bounded queue. Proofs of one fingerprint
//! share one run (a flight), which belongs to the pool: a client that hangs up cancels nothing and frees
//! nothing early. A flight that proved a key stays on the list until its proof is where the next caller looks
//! first, so that no caller falls between the two. A full queue is a fault with a retry hint, never an
//! admission and never a 401.
//!
//! Never here: a hash on an async thread, a lock held while a hash runs.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::SlowHashOptions;
use crate::domain::denial::Fault;
use crate::domain::hash::{Fingerprint, SALT_LEN, SlowHashCost, SlowHashMemory, StoredHash};
use crate::domain::key::RawKey;
use crate::domain::proof::Proof;
use crate::domain::record::KeyRecord;

/// The most requests that may wait for one flight.
const WAITERS_PER_FLIGHT_MAX: usize = 1024;
/// What a caller is told to wait when the queue is full, in whole seconds.
const BUSY_RETRY_SECS: u32 = 1;

const BUSY: Fault = Fault::Busy { retry_after_secs: BUSY_RETRY_SECS };

/// The pool.
pub(super) struct SlowHash {
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<Job>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    flights: Mutex<HashMap<Fingerprint, Flight>>,
    runs: AtomicU64,
}

enum Flight {
    UnderWay(Vec<oneshot::Sender<Answer>>),
    /// Its proof, and how many still have to put it away.
    Landed(Proof, usize),
}

/// What a flight tells each of those who wait for it.
type Answer = Option<(Proof, Landing)>;

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
        let (queue, jobs) = sync_channel(options.queue_max);
        let jobs = Arc::new(Mutex::new(jobs));
        let shared = Arc::new(Shared::default());
        let spawn = |number| {
            let (jobs, shared) = (Arc::clone(&jobs), Arc::clone(&shared));
            let work = move || work(&jobs, &shared, options.cost);
            std::thread::Builder::new().name(format!("slow-hash-{number}")).spawn(work)
        };
        let workers = (0..options.workers.max(1)).map(spawn).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shared, queue: Mutex::new(Some(queue)), workers: Mutex::new(workers) })
    }

    /// Proves `presented` against `candidates`, sharing the run with everyone who asks for the same
    /// fingerprint meanwhile. `known` looks once more where proofs are kept, before a new flight starts.
    pub(super) async fn prove<T>(
        &self,
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
                    return Err(BUSY);
                }
                Some(Flight::UnderWay(waiters)) => waiters.push(reply),
                None => {
                    if let Some(known) = known() {
                        return Ok(Flown::Known(known));
                    }
                    self.enqueue(Job::Prove { flight, presented, candidates })?;
                    flights.insert(flight, Flight::UnderWay(vec![reply]));
                }
            }
        }
        // A dropped sender means that the run broke: a fault, never an admission.
        let answer = answer.await.map_err(|_| Fault::Credential)?;
        Ok(answer.map_or(Flown::Refuted, |(proof, landing)| Flown::Proven(proof, landing)))
    }

    fn landing(&self, flight: Fingerprint) -> Landing {
        Landing { shared: Arc::clone(&self.shared), flight }
    }

    /// Hashes a new key.
    pub(super) async fn create(&self, key: RawKey) -> Result<(RawKey, StoredHash), Fault> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Create { key, reply })?;
        answer.await.map_err(|_| Fault::Internal)
    }

    /// Runs since the start.
    pub(super) fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    /// Takes no more jobs and waits until the queue is empty.
    pub(super) fn stop(&self) {
        drop(lock(&self.queue).take());
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            if worker.join().is_err() {
                tracing::error!("a slow-hash worker broke");
            }
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), Fault> {
        match lock(&self.queue).as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => Err(BUSY),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, shared: &Arc<Shared>, cost: SlowHashCost) {
    let mut memory = SlowHashMemory::default();
    loop {
        // The lock is held while waiting, which is fine: a job that arrives goes to one worker anyway.
        let Ok(job) = lock(jobs).recv() else { return };
        shared.runs.fetch_add(1, Ordering::Relaxed);
        match job {
            Job::Prove { flight, presented, candidates } => {
                let run = || {
                    let presented = presented.as_presented();
                    candidates.iter().find_map(|record| record.prove_by_slow_hash(&presented, &mut memory))
                };
                match std::panic::catch_unwind(AssertUnwindSafe(run)) {
                    Ok(proof) => land(shared, flight, proof),
                    // Those who wait are dropped, which they take for a fault.
                    Err(_) => drop(take_waiters(shared, flight, None)),
                }
            }
            Job::Create { key, reply } => {
                let run = || {
                    let mut salt = [0; SALT_LEN];
                    getrandom::fill(&mut salt).ok()?;
                    StoredHash::create(&key.as_presented(), salt, cost, &mut memory)
                };
                // A reply that is dropped is a fault to whoever waits.
                if let Ok(Some(hash)) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
                    let _ = reply.send((key, hash));
                }
            }
        }
    }
}

/// Tells everyone who waits.
fn land(shared: &Arc<Shared>, flight: Fingerprint, proof: Option<Proof>) {
    let waiters = take_waiters(shared, flight, proof);
    for waiter in waiters {
        // To one who hung up the answer comes back unread, and its landing takes the flight off the list.
        let _ = waiter.send(proof.map(|proof| (proof, Landing { shared: Arc::clone(shared), flight })));
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
