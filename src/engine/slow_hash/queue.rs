//! Who waits for a slow hash, and whose turn it is.
//!
//! Bounded as a whole and by shares, so that nobody's flood takes the places of all others: new keys have half
//! of the places and texts that want to be proven the rest; of all places one address may hold a quarter and so
//! may one prefix or head; texts of other systems hold at most half of what there is for proofs. Where a share
//! is full, whoever holds most of it gives way to one who holds less. Addresses are served in turn.
//!
//! Never here: a thread, a lock, or what a job does.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::domain::key::Prefix;

/// Who wants a text proven, and what its candidates were found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::engine) struct Asker {
    /// As it is counted for: an IPv4 address, a network of IPv6, or the one place of all unknown ones.
    pub(in crate::engine) origin: IpAddr,
    /// What the candidates share.
    pub(in crate::engine) found_by: FoundBy,
}

/// What the candidates of a text were found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::engine) enum FoundBy {
    /// The prefix of a text of our own form.
    Prefix(Prefix),
    /// What another system showed of a text.
    Head(Box<str>),
}

/// What a place in the queue is wanted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// A proof: somebody waits for an answer.
    Proof(Asker),
    /// A new key, or a text that is to become one: an admin waits.
    NewKey,
    /// A key that was proven and gets a better hash: nobody waits.
    Rehash,
}

/// Whether a job may wait.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Placed<J> {
    /// It waits.
    Waits,
    /// It waits in the place of this one, whose address held the most.
    InPlaceOf(J),
    /// There is no place for it.
    Refused,
}

/// The jobs that wait.
pub(super) struct Queue<J> {
    shares: Shares,
    /// One line for each address that has something waiting; the first is served next.
    proofs: VecDeque<Line<J>>,
    new_keys: VecDeque<J>,
    rehashes: VecDeque<J>,
    /// Whether the last job that left was a proof: then a new key is next.
    served_a_proof: bool,
}

struct Line<J> {
    origin: IpAddr,
    jobs: VecDeque<(FoundBy, J)>,
}

/// How many may wait, of each sort.
struct Shares {
    all: usize,
    new_keys: usize,
    rehashes: usize,
    proofs: usize,
    heads: usize,
    one_address: usize,
    one_finding: usize,
}

impl Shares {
    fn of(all: usize) -> Self {
        let part = |whole: usize, parts: usize| (whole / parts).max(1);
        let new_keys = part(all, 2);
        let proofs = all.saturating_sub(new_keys).max(1);
        Self {
            all,
            new_keys,
            rehashes: part(new_keys, 2),
            proofs,
            heads: part(proofs, 2),
            one_address: part(all, 4),
            one_finding: part(all, 4),
        }
    }
}

impl<J> Queue<J> {
    /// An empty queue in which at most `places` jobs wait.
    pub(super) fn new(places: usize) -> Self {
        Self {
            shares: Shares::of(places),
            proofs: VecDeque::new(),
            new_keys: VecDeque::new(),
            rehashes: VecDeque::new(),
            served_a_proof: false,
        }
    }

    /// Lets `job` wait, if there is a place for it.
    pub(super) fn place(&mut self, lane: Lane, job: J) -> Placed<J> {
        let asker = match lane {
            Lane::Proof(asker) => asker,
            Lane::NewKey | Lane::Rehash if self.len() >= self.shares.all => return Placed::Refused,
            Lane::NewKey if self.new_keys.len() + self.rehashes.len() >= self.shares.new_keys => {
                return Placed::Refused;
            }
            Lane::NewKey => {
                self.new_keys.push_back(job);
                return Placed::Waits;
            }
            Lane::Rehash if self.rehashes.len() >= self.shares.rehashes => return Placed::Refused,
            Lane::Rehash => {
                self.rehashes.push_back(job);
                return Placed::Waits;
            }
        };
        if self.held(asker.origin, |_| true) >= self.shares.one_address {
            return Placed::Refused;
        }
        let Ok(displaced) = self.make_room(&asker) else { return Placed::Refused };
        let waiting = (asker.found_by, job);
        match self.proofs.iter_mut().find(|theirs| theirs.origin == asker.origin) {
            Some(theirs) => theirs.jobs.push_back(waiting),
            None => self.proofs.push_back(Line { origin: asker.origin, jobs: VecDeque::from([waiting]) }),
        }
        displaced.map_or(Placed::Waits, Placed::InPlaceOf)
    }

    /// Sees to it that one more of `asker`'s fits, at the cost of whoever holds most of the share that is full.
    /// Each share is part of the next, so a place in the first full one is a place in all.
    fn make_room(&mut self, asker: &Asker) -> Result<Option<J>, ()> {
        let is_head = |found_by: &FoundBy| matches!(found_by, FoundBy::Head(_));
        let shares = &self.shares;
        if self.count(|found_by| *found_by == asker.found_by) >= shares.one_finding {
            self.displace(asker.origin, |found_by| *found_by == asker.found_by)
        } else if is_head(&asker.found_by) && self.count(is_head) >= shares.heads {
            self.displace(asker.origin, is_head)
        } else if self.count(|_| true) >= shares.proofs || self.len() >= shares.all {
            self.displace(asker.origin, |_| true)
        } else {
            Ok(None)
        }
    }

    /// Takes out the newest of the jobs like these whose address holds most of them, unless the newcomer would
    /// then hold as many: two addresses must not push each other out in turn.
    fn displace(&mut self, newcomer: IpAddr, is_like: impl Fn(&FoundBy) -> bool) -> Result<Option<J>, ()> {
        let held = self.held(newcomer, &is_like);
        let count = |line: &Line<J>| line.jobs.iter().filter(|(found_by, _)| is_like(found_by)).count();
        let most = self.proofs.iter().enumerate().max_by_key(|(_, line)| count(line));
        let (place, _) = most.filter(|(_, line)| count(line) > held + 1).ok_or(())?;
        let line = self.proofs.get_mut(place).ok_or(())?;
        let newest = line.jobs.iter().rposition(|(found_by, _)| is_like(found_by)).ok_or(())?;
        // It held at least two, so its line does not run empty.
        line.jobs.remove(newest).map(|(_, job)| Some(job)).ok_or(())
    }

    /// The job whose turn it is. New keys and proofs take turns, so that a flood of the one never keeps the
    /// other waiting; among proofs addresses do; a better hash is made when nobody waits.
    pub(super) fn next(&mut self) -> Option<J> {
        if !self.served_a_proof
            && let Some(job) = self.next_proof()
        {
            self.served_a_proof = true;
            return Some(job);
        }
        self.served_a_proof = false;
        let job = self.new_keys.pop_front().or_else(|| self.next_proof());
        job.or_else(|| self.rehashes.pop_front())
    }

    fn next_proof(&mut self) -> Option<J> {
        let mut line = self.proofs.pop_front()?;
        let job = line.jobs.pop_front();
        if !line.jobs.is_empty() {
            self.proofs.push_back(line);
        }
        job.map(|(_, job)| job)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count(|_| true) + self.new_keys.len() + self.rehashes.len()
    }

    fn count(&self, is_like: impl Fn(&FoundBy) -> bool) -> usize {
        let waiting = self.proofs.iter().flat_map(|line| &line.jobs);
        waiting.filter(|(found_by, _)| is_like(found_by)).count()
    }

    fn held(&self, origin: IpAddr, is_like: impl Fn(&FoundBy) -> bool) -> usize {
        let line = self.proofs.iter().find(|line| line.origin == origin);
        line.map_or(0, |line| line.jobs.iter().filter(|(found_by, _)| is_like(found_by)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn own(from: u8, prefix: u8) -> Lane {
        let prefix = Prefix::from_bytes(&[b'a' + prefix; 8]).unwrap();
        Lane::Proof(Asker { origin: address(from), found_by: FoundBy::Prefix(prefix) })
    }

    fn legacy(from: u8, head: &str) -> Lane {
        Lane::Proof(Asker { origin: address(from), found_by: FoundBy::Head(head.into()) })
    }

    /// How many of the same lane get a place, one after the other.
    fn fill(queue: &mut Queue<&'static str>, name: &'static str, lane: impl Fn(u8) -> Lane) -> usize {
        (0..100).filter(|number| queue.place(lane(*number), name) == Placed::Waits).count()
    }

    fn served(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn every_share_has_its_bound() {
        let fresh = || Queue::new(64);
        assert_eq!(fill(&mut fresh(), "one address", |n| own(1, n % 26)), 16);
        assert_eq!(fill(&mut fresh(), "one prefix", |n| own(n, 1)), 16);
        assert_eq!(fill(&mut fresh(), "one head", |n| legacy(n, "acme_")), 16);
        assert_eq!(fill(&mut fresh(), "own texts", |n| own(n, n % 26)), 32);
        let heads = ["a_", "b_", "c_", "d_"];
        assert_eq!(fill(&mut fresh(), "legacy texts", |n| legacy(n, heads[usize::from(n % 4)])), 16);
        assert_eq!(fill(&mut fresh(), "new keys", |_| Lane::NewKey), 32);
        assert_eq!(fill(&mut fresh(), "better hashes", |_| Lane::Rehash), 16);

        let mut queue = fresh();
        let mut all = fill(&mut queue, "own texts", |n| own(n, n % 26));
        all += fill(&mut queue, "better hashes", |_| Lane::Rehash);
        all += fill(&mut queue, "new keys", |_| Lane::NewKey);
        assert_eq!((all, queue.len()), (64, 64));
    }

    #[test]
    fn even_the_smallest_queue_takes_one_of_each() {
        for lane in [own(1, 1), legacy(1, "acme_"), Lane::NewKey, Lane::Rehash] {
            let mut queue = Queue::new(1);
            assert_eq!(queue.place(lane.clone(), 1), Placed::Waits);
            assert_eq!(queue.place(lane, 2), Placed::Refused);
            assert_eq!(queue.place(own(2, 2), 3), Placed::Refused);
            assert_eq!(queue.next(), Some(1));
            assert_eq!(queue.next(), None);
        }
    }

    #[test]
    fn addresses_are_served_in_turn() {
        let mut queue = Queue::new(64);
        for job in ["a1", "a2", "a3"] {
            queue.place(own(1, 1), job);
        }
        for job in ["b1", "b2"] {
            queue.place(own(2, 2), job);
        }
        queue.place(legacy(3, "acme_"), "c1");
        assert_eq!(served(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn new_keys_and_proofs_take_turns_and_better_hashes_wait_for_both() {
        let mut queue = Queue::new(64);
        queue.place(Lane::Rehash, "rehash");
        for job in ["p1", "p2", "p3"] {
            queue.place(own(1, 1), job);
        }
        for job in ["k1", "k2"] {
            queue.place(Lane::NewKey, job);
        }
        assert_eq!(served(&mut queue), ["p1", "k1", "p2", "k2", "p3", "rehash"]);
    }

    /// Attack C07.
    #[test]
    fn one_address_that_floods_a_prefix_gives_way_to_another_that_uses_it() {
        let mut queue = Queue::new(64);
        assert_eq!(fill(&mut queue, "flood", |_| own(1, 1)), 16);
        assert_eq!(queue.place(own(2, 1), "owner"), Placed::InPlaceOf("flood"));
        assert_eq!(queue.next(), Some("flood"));
        assert_eq!(queue.next(), Some("owner"), "behind one of them, not behind fifteen");
        assert_eq!(queue.len(), 14);
    }

    #[test]
    fn addresses_that_hold_as_much_as_each_other_do_not_push_each_other_out() {
        let mut queue = Queue::new(64);
        for from in [1, 2] {
            for _ in 0..8 {
                assert_eq!(queue.place(own(from, 1), "flood"), Placed::Waits);
            }
        }
        for _ in 0..5 {
            assert_eq!(queue.place(own(3, 1), "third"), Placed::InPlaceOf("flood"));
        }
        for from in [1, 2, 3] {
            assert_eq!(queue.place(own(from, 1), "more"), Placed::Refused, "{from}");
        }
    }

    #[test]
    fn a_flood_of_legacy_texts_leaves_the_places_of_our_own() {
        let mut queue = Queue::new(64);
        let heads = ["a_", "b_", "c_", "d_"];
        assert_eq!(fill(&mut queue, "legacy", |n| legacy(n, heads[usize::from(n % 4)])), 16);
        assert_eq!(queue.place(legacy(200, "e_"), "one more"), Placed::Refused);
        assert_eq!(fill(&mut queue, "own", |n| own(n, n % 26)), 16);
    }
}
