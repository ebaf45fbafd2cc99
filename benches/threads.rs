//! Do two threads verify twice as much as one, or do they wait for each other?
//!
//! 100,000 warm keys, each call's key drawn at random, by one thread and by two; what they call is not metered,
//! metered over a hundred workspaces, and metered in one, whose meter is one word that all calls change. For
//! comparison the same calls are made under one lock: so it would look if the path took a lock that all keys
//! share. Told are the nanoseconds that a thread spends on a call and how much more two threads do; 2.00 is
//! twice as much. Guessed before measuring: 1.8, 1.7, 1.4, and 0.9 under the lock.
//!
//! A call that outran its meter's lease waits for a commit; those are counted and are part of the time. It
//! prints a table; without `--bench` it runs for a moment, to see that it works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use keyward::clock::Clock;
use keyward::domain::decision::Wanted;
use keyward::domain::permission::Permission;
use keyward::domain::profile::Requirement;
use keyward::engine::{Attempt, Door};
use world::World;

/// Keys that are used, and as many proofs are cached.
const KEYS: usize = 100_000;
/// Workspaces that the keys of the first two rows are spread over.
const WORKSPACES: usize = 100;
/// Calls of each thread in one run.
const CALLS: u64 = 2_000_000;
/// Runs of each row; the best of them is told, since a machine does other things, too.
const RUNS: usize = 3;

fn main() {
    let is_test = world::is_smoke_run();
    let (keys, calls, runs) = if is_test { (500, 2_000, 1) } else { (KEYS, CALLS, RUNS) };
    println!("{:<40} {:>10} {:>10} {:>8} {:>9}", "hot verify", "1 thread", "2 threads", "scaling", "waited");
    let many = warmed(keys, WORKSPACES);
    for (name, permission, lock) in [
        ("not metered", "posts:read", false),
        ("not metered, under one lock", "posts:read", true),
        ("metered, 100 workspaces", "ai:generate", false),
    ] {
        tell(name, &many, permission, lock.then_some(&Mutex::new(())), (calls, runs));
    }
    drop(many);
    tell("metered, one workspace", &warmed(keys, 1), "ai:generate", None, (calls, runs));
}

/// A world whose keys have all been used, so that a proof of each is cached and each meter has a lease.
fn warmed(keys: usize, workspaces: usize) -> World {
    // Twice the keys: a cache that is nearly full lets some go.
    let world = World::with_accounts(keys, workspaces, 2 * keys);
    for permission in ["posts:read", "ai:generate"] {
        let requirement = requirement(&world, permission);
        for place in 0..keys {
            world.runtime.block_on(world.engine.verify(attempt(&world, requirement, place))).unwrap();
        }
    }
    world
}

/// Measures a row and prints it.
fn tell(name: &str, world: &World, permission: &str, lock: Option<&Mutex<()>>, (calls, runs): (u64, usize)) {
    let requirement = requirement(world, permission);
    let waited = AtomicU64::new(0);
    let best = |threads: usize| {
        let nanos = |_| run(world, requirement, lock, threads, calls, &waited);
        (0..runs).map(nanos).min().unwrap() as f64 / calls as f64
    };
    let (one, two) = (best(1), best(2));
    let waited = waited.into_inner();
    println!("{name:<40} {one:>7.0} ns {two:>7.0} ns {:>8.2} {waited:>9}", 2.0 * one / two);
}

/// Makes `calls` calls on each of so many threads; gives the nanoseconds from their common start to the end of
/// the last.
fn run(
    world: &World,
    requirement: Requirement,
    lock: Option<&Mutex<()>>,
    threads: usize,
    calls: u64,
    waited: &AtomicU64,
) -> u64 {
    let clock = Clock::machine();
    let now_nanos = || clock.now().mono.nanos();
    let start = Barrier::new(threads);
    let times: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (1..=threads as u64)
            .map(|number| {
                let (start, now_nanos) = (&start, &now_nanos);
                scope.spawn(move || {
                    let _context = world.runtime.enter();
                    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                    let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    start.wait();
                    let began = now_nanos();
                    for _ in 0..calls {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let place = usize::try_from(random % world.keys.len() as u64).unwrap();
                        let _guard = lock.map(|lock| lock.lock().unwrap());
                        let call = pin!(world.engine.verify(attempt(world, requirement, place)));
                        let (is_ok, has_waited) = outcome(call, &waker);
                        assert!(is_ok);
                        if has_waited {
                            waited.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    (began, now_nanos())
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (began, ended) =
        (times.iter().map(|time| time.0).min().unwrap(), times.iter().map(|time| time.1).max().unwrap());
    ended - began
}

fn requirement(world: &World, permission: &str) -> Requirement {
    world.profile.requirement(&Permission::parse(permission).unwrap()).unwrap()
}

fn attempt(world: &World, requirement: Requirement, place: usize) -> Attempt<'_> {
    Attempt {
        door: Door::Verify,
        profile: &world.profile,
        credential: Ok(world.keys[place].reveal().as_bytes()),
        wanted: Wanted::Known(requirement),
        address: None,
        cost: 1,
    }
}

/// Whether the call was let through, and whether it had to wait.
fn outcome<T, E>(
    mut call: std::pin::Pin<&mut impl Future<Output = Result<T, E>>>,
    waker: &Waker,
) -> (bool, bool) {
    let mut context = Context::from_waker(waker);
    let mut has_waited = false;
    loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return (outcome.is_ok(), has_waited),
            Poll::Pending => {
                has_waited = true;
                std::thread::park();
            }
        }
    }
}

/// Wakes a thread that waits for its call.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
