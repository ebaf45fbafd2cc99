//! What upstreams say that their tools do, as their own lists told it to each key.
//!
//! A key is believed only what was listed to itself, so that one customer's list says nothing of another's
//! tools, and only for a while: then it is asked anew. Of several who ask for the same at once, one does. Names
//! and keys are bounded; whoever was told of longest ago is forgotten first.
//!
//! Never here: a question to an upstream, or a verdict.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Engine;
use crate::clock::Clock;
use crate::domain::denial::Fault;
use crate::domain::id::KeyId;
use crate::domain::profile::ToolClass;
use crate::domain::time::Mono;

/// How long a listing is believed, in nanoseconds: five minutes.
const BELIEVED_NANOS: u64 = 300 * 1_000_000_000;
/// For how long after a whole list a name that it did not hold is not asked for again, in nanoseconds.
const WHOLE_NANOS: u64 = 10 * 1_000_000_000;
/// The most names of all keys together, of some 100 bytes each.
const NAMES_MAX: usize = 100_000;
/// The most names of one key; tools beyond them stay closed.
const NAMES_OF_KEY_MAX: usize = 10_000;

/// What lists told. Cheap to clone: all clones are the same.
#[derive(Clone)]
pub struct LearntTools {
    shelves: Arc<Mutex<Shelves>>,
    flights: Arc<Mutex<HashMap<FlightOf, Flight>>>,
    clock: Clock,
}

#[derive(Default)]
struct Shelves {
    of_keys: HashMap<KeyId, Shelf>,
    names: usize,
}

/// What was listed to one key.
struct Shelf {
    tools: HashMap<Box<str>, (ToolClass, Mono)>,
    /// When a list ended that was read from its first page to its last.
    whole_at: Option<Mono>,
    told_at: Mono,
    /// No name was told of longer ago.
    oldest_at: Mono,
}

/// Who asks, and in which session.
type FlightOf = (KeyId, Box<[u8]>);
/// What came of asking, where all who wait can be told the same.
type Flight = Arc<tokio::sync::Mutex<Option<Result<(), Fault>>>>;

/// Without what it holds.
impl std::fmt::Debug for LearntTools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LearntTools")
    }
}

impl Engine {
    /// What upstreams said of their tools.
    pub const fn learnt_tools(&self) -> &LearntTools {
        &self.learnt_tools
    }
}

impl LearntTools {
    pub(super) fn new(clock: Clock) -> Self {
        Self { shelves: Arc::default(), flights: Arc::default(), clock }
    }

    /// What the tool of this name does, as it was listed to this key not too long ago.
    pub fn class(&self, key: KeyId, name: &str) -> Option<ToolClass> {
        let now = self.now();
        let shelves = self.lock();
        let (class, at) = *shelves.of_keys.get(&key)?.tools.get(name)?;
        is_within(at, now, BELIEVED_NANOS).then_some(class)
    }

    /// Notes what a list told this key of a tool.
    pub fn learn(&self, key: KeyId, name: &str, class: ToolClass) {
        let now = self.now();
        let mut shelves = self.lock();
        let told = shelves.shelf(key, now);
        if let Some(known) = told.tools.get_mut(name) {
            *known = (class, now);
            return;
        }
        let forgotten = told.forget_disbelieved(now);
        let is_taken = told.tools.len() < NAMES_OF_KEY_MAX;
        if is_taken {
            told.tools.insert(name.into(), (class, now));
        }
        shelves.names = (shelves.names + usize::from(is_taken)).saturating_sub(forgotten);
        shelves.make_room(key);
    }

    /// Notes that a list was read whole: what it did not hold is not there.
    pub fn learn_end(&self, key: KeyId) {
        let now = self.now();
        let mut shelves = self.lock();
        shelves.shelf(key, now).whole_at = Some(now);
        shelves.make_room(key);
    }

    /// Whether all that is listed to this key was read just now.
    pub fn knows_all(&self, key: KeyId) -> bool {
        let now = self.now();
        let whole_at = self.lock().of_keys.get(&key).and_then(|shelf| shelf.whole_at);
        whole_at.is_some_and(|at| is_within(at, now, WHOLE_NANOS))
    }

    /// Runs `ask`, unless somebody asks the same at this moment: then what comes of that is awaited. `fault_of`
    /// says what of an outcome is everybody's; otherwise each asks for itself, one after the other.
    pub async fn ask_once<E: From<Fault>>(
        &self,
        key: KeyId,
        session: &[u8],
        ask: impl Future<Output = Result<(), E>>,
        fault_of: impl Fn(&E) -> Option<Fault>,
    ) -> Result<(), E> {
        let joined = self.join((key, session.into()));
        let mut outcome = joined.flight.lock().await;
        if let Some(outcome) = *outcome {
            return outcome.map_err(E::from);
        }
        let done = ask.await;
        *outcome = match &done {
            Ok(()) => Some(Ok(())),
            Err(error) => fault_of(error).map(Err),
        };
        if outcome.is_some() {
            joined.land();
        }
        done
    }

    fn join(&self, of: FlightOf) -> Joined<'_> {
        let flight = Arc::clone(self.flights().entry(of.clone()).or_default());
        Joined { learnt: self, of, flight }
    }

    fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// Nothing here leaves half a change behind, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<FlightOf, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Where there is no room for one more name, forgets those that are not believed any more; gives how many. An
    /// upstream that renames its tools would fill the shelf for good.
    fn forget_disbelieved(&mut self, now: Mono) -> usize {
        // Looked for at most once in the time that the last look was good for.
        if self.tools.len() < NAMES_OF_KEY_MAX || is_within(self.oldest_at, now, BELIEVED_NANOS) {
            return 0;
        }
        let before = self.tools.len();
        self.tools.retain(|_, (_, at)| is_within(*at, now, BELIEVED_NANOS));
        self.oldest_at = self.tools.values().map(|(_, at)| *at).min_by_key(|at| at.nanos()).unwrap_or(now);
        before - self.tools.len()
    }
}

impl Shelves {
    fn shelf(&mut self, key: KeyId, now: Mono) -> &mut Shelf {
        let names = &mut self.names;
        let told = self.of_keys.entry(key).or_insert_with(|| {
            // A shelf takes room like a name.
            *names += 1;
            Shelf { tools: HashMap::new(), whole_at: None, told_at: now, oldest_at: now }
        });
        told.told_at = now;
        told
    }

    /// Forgets whoever was told of longest ago until all fit; `key` stays.
    fn make_room(&mut self, key: KeyId) {
        while self.names > NAMES_MAX {
            let others = self.of_keys.iter().filter(|(other, _)| **other != key);
            let Some(oldest) = others.min_by_key(|(_, shelf)| shelf.told_at.nanos()).map(|(key, _)| *key)
            else {
                return;
            };
            let gone = self.of_keys.remove(&oldest).map_or(0, |shelf| shelf.tools.len() + 1);
            self.names = self.names.saturating_sub(gone);
        }
    }
}

/// One who waits for a flight, or is on it.
struct Joined<'a> {
    learnt: &'a LearntTools,
    of: FlightOf,
    flight: Flight,
}

impl Joined<'_> {
    /// Whoever comes from here on asks anew.
    fn land(&self) {
        let mut flights = self.learnt.flights();
        if flights.get(&self.of).is_some_and(|known| Arc::ptr_eq(known, &self.flight)) {
            flights.remove(&self.of);
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let mut flights = self.learnt.flights();
        // Given up under the lock: of two who leave at once, the second must see that it is the last.
        drop(std::mem::take(&mut self.flight));
        if flights.get(&self.of).is_some_and(|known| Arc::strong_count(known) == 1) {
            flights.remove(&self.of);
        }
    }
}

fn is_within(at: Mono, now: Mono, nanos: u64) -> bool {
    now.nanos().saturating_sub(at.nanos()) < nanos
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::ManualTime;
    use crate::domain::time::Wall;

    fn learnt() -> (LearntTools, Arc<ManualTime>) {
        let (clock, time) = Clock::manual(Wall::from_secs(1_800_000_000));
        (LearntTools::new(clock), time)
    }

    fn key(number: u128) -> KeyId {
        KeyId::from_u128(number)
    }

    #[test]
    fn what_was_listed_to_a_key_is_believed_for_five_minutes_and_of_that_key_alone() {
        let (learnt, time) = learnt();
        learnt.learn(key(1), "a", ToolClass::Read);
        learnt.learn(key(1), "a", ToolClass::Delete);
        assert_eq!(learnt.class(key(1), "a"), Some(ToolClass::Delete), "the newest list is right");
        assert_eq!((learnt.class(key(2), "a"), learnt.class(key(1), "b")), (None, None));
        time.advance_micros(299_999_999);
        assert_eq!(learnt.class(key(1), "a"), Some(ToolClass::Delete));
        time.advance_micros(1);
        assert_eq!(learnt.class(key(1), "a"), None);
    }

    #[test]
    fn a_name_that_a_whole_list_did_not_hold_is_not_asked_for_at_once_again() {
        let (learnt, time) = learnt();
        assert!(!learnt.knows_all(key(1)));
        learnt.learn_end(key(1));
        assert!(learnt.knows_all(key(1)) && !learnt.knows_all(key(2)));
        time.advance_micros(10_000_000);
        assert!(!learnt.knows_all(key(1)));
    }

    #[test]
    fn names_are_bounded_for_one_key_and_for_all() {
        let (learnt, time) = learnt();
        for number in 0..=NAMES_OF_KEY_MAX {
            learnt.learn(key(1), &format!("t{number}"), ToolClass::Read);
        }
        assert_eq!(learnt.class(key(1), &format!("t{NAMES_OF_KEY_MAX}")), None);
        for other in 2..=11 {
            time.advance_micros(1);
            for number in 0..NAMES_OF_KEY_MAX {
                learnt.learn(key(other), &format!("t{number}"), ToolClass::Read);
            }
            assert!(learnt.lock().names <= NAMES_MAX);
        }
        assert_eq!(learnt.class(key(1), "t0"), None, "the oldest is forgotten");
        assert_eq!(learnt.class(key(11), "t0"), Some(ToolClass::Read));
    }

    #[test]
    fn names_that_are_not_believed_any_more_make_room_for_new_ones() {
        let (learnt, time) = learnt();
        for number in 0..NAMES_OF_KEY_MAX {
            learnt.learn(key(1), &format!("t{number}"), ToolClass::Read);
        }
        time.advance_micros(299_999_999);
        learnt.learn(key(1), "t0", ToolClass::Delete);
        learnt.learn(key(1), "new", ToolClass::Write);
        assert_eq!(learnt.class(key(1), "new"), None, "all others are believed still");
        time.advance_micros(1);
        learnt.learn(key(1), "new", ToolClass::Write);
        assert_eq!(learnt.class(key(1), "new"), Some(ToolClass::Write));
        assert_eq!(learnt.class(key(1), "t0"), Some(ToolClass::Delete));
        assert_eq!(learnt.lock().names, 3, "two names, and their shelf");
    }

    #[test]
    fn of_two_who_leave_at_once_the_last_takes_the_flight_along() {
        let (learnt, _time) = learnt();
        let start = std::sync::Barrier::new(2);
        for _ in 0..5_000 {
            let pair = [0, 1].map(|_| learnt.join((key(1), Box::default())));
            std::thread::scope(|scope| {
                let [one, other] = pair;
                for joined in [one, other] {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        drop(joined);
                    });
                }
            });
            assert!(learnt.flights().is_empty());
        }
    }

    #[derive(Debug, PartialEq)]
    enum Failed {
        All(Fault),
        One,
    }

    impl From<Fault> for Failed {
        fn from(fault: Fault) -> Self {
            Self::All(fault)
        }
    }

    fn fault_of(failed: &Failed) -> Option<Fault> {
        match failed {
            Failed::All(fault) => Some(*fault),
            Failed::One => None,
        }
    }

    /// Asks three times at once, twice in one session, and says what came of it and how often it was asked.
    async fn asked(result: fn() -> Result<(), Failed>) -> (Vec<Result<(), Failed>>, u32) {
        let (learnt, _time) = learnt();
        let (count, gate) = (AtomicU32::new(0), tokio::sync::Semaphore::new(0));
        let ask = |session: &'static [u8]| {
            let (count, gate) = (&count, &gate);
            let asking = async move {
                count.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                result()
            };
            learnt.ask_once(key(1), session, asking, fault_of)
        };
        let open = async { gate.add_permits(9) };
        let (one, two, three, ()) = tokio::join!(ask(b"s"), ask(b"s"), ask(b"t"), open);
        assert!(learnt.flights().is_empty(), "no flight is left");
        (vec![one, two, three], count.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn of_several_who_ask_at_once_in_one_session_one_asks() {
        assert_eq!(asked(|| Ok(())).await, (vec![Ok(()), Ok(()), Ok(())], 2));
        let late = || Err(Failed::All(Fault::UpstreamLate));
        assert_eq!(asked(late).await, (vec![late(), late(), late()], 2), "all learn of one failure");
        let own = || Err(Failed::One);
        assert_eq!(asked(own).await, (vec![own(), own(), own()], 3), "what is one's own is nobody else's");
    }

    #[tokio::test]
    async fn one_who_leaves_lets_the_next_ask() {
        let (learnt, _time) = learnt();
        let stuck = learnt.ask_once::<Failed>(key(1), b"", std::future::pending(), fault_of);
        let mut stuck = Box::pin(stuck);
        assert!(futures_poll(&mut stuck).await.is_none());
        let next = learnt.ask_once::<Failed>(key(1), b"", async { Ok(()) }, fault_of);
        let mut next = Box::pin(next);
        assert!(futures_poll(&mut next).await.is_none(), "it waits");
        drop(stuck);
        assert_eq!(next.await, Ok(()));
        assert!(learnt.flights().is_empty());
    }

    /// What a future says now.
    async fn futures_poll<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(done) => Some(done),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
