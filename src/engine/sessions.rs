//! MCP sessions: which key an id that an upstream gave belongs to.
//!
//! A session is no credential. One that was opened with a key is that key's; one that was opened without a key is
//! nobody's for a minute and then for good the first key's that uses it. To everyone else, and after a restart of
//! the daemon, it is unknown, and clients begin anew. A key that no longer stands uses nothing, so what was its is
//! nobody's to find. The table is bounded as a whole, per workspace and, for what is nobody's, as a whole and per
//! address; what was used longest ago goes first. Ids are kept as digests under a key of this process.
//!
//! Never here: the text of an id, or a key that is let in for knowing one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::outcome::Granted;
use super::verify::Caller;
use super::{Engine, origin};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::profile::Profile;
use crate::domain::time::Mono;

/// The most sessions that are remembered.
const SESSIONS_MAX: usize = 100_000;
/// The most of them that are one workspace's.
const WORKSPACE_SESSIONS_MAX: usize = 10_000;
/// The most that are nobody's yet: whoever opens many pushes out others of that kind alone.
const UNBOUND_SESSIONS_MAX: usize = 10_000;
/// The most of those that were opened from one address.
const ADDRESS_SESSIONS_MAX: usize = 64;
/// How long a session may be nobody's.
const UNBOUND_NANOS: u64 = 60_000_000_000;

/// The digest of a session's id, under its product.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionDigest([u8; 16]);

/// Shows nothing: whoever holds an id and a key could use it.
impl std::fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionDigest")
    }
}

/// Who uses a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionUser {
    /// A proven key.
    Key(KeyId, WorkspaceId),
    /// Somebody without a key, at this address.
    Nobody(Option<IpAddr>),
}

impl From<&Caller> for SessionUser {
    fn from(caller: &Caller) -> Self {
        Self::Key(caller.key(), caller.workspace())
    }
}

impl From<&Granted> for SessionUser {
    fn from(granted: &Granted) -> Self {
        Self::Key(granted.key(), granted.workspace())
    }
}

impl Engine {
    /// What an id is known by.
    pub fn session(&self, profile: &Profile, id: &[u8]) -> SessionDigest {
        self.sessions.digest(&profile.name, id)
    }

    /// Whether this session is this user's to use. A key makes one that is nobody's its own.
    pub fn may_use_session(&self, session: SessionDigest, user: SessionUser) -> bool {
        self.sessions.table().may_use(session, user, self.clock.now().mono)
    }

    /// Notes that an upstream gave this session to this user. One that is known stays whose it is.
    pub fn note_session(&self, session: SessionDigest, user: SessionUser) {
        self.sessions.table().note(session, user, self.clock.now().mono);
    }

    /// Forgets a session that has ended.
    pub fn forget_session(&self, session: SessionDigest) {
        self.sessions.table().remove(session);
    }
}

/// The sessions of all products.
pub(super) struct Sessions {
    digest_key: [u8; 32],
    table: Mutex<Table>,
}

impl Sessions {
    /// No sessions. Fails when the system has no randomness.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut digest_key = [0; 32];
        getrandom::fill(&mut digest_key).map_err(std::io::Error::other)?;
        Ok(Self { digest_key, table: Mutex::default() })
    }

    fn digest(&self, profile: &str, id: &[u8]) -> SessionDigest {
        let mut hasher = blake3::Hasher::new_keyed(&self.digest_key);
        // No profile's name holds a NUL.
        hasher.update(profile.as_bytes()).update(&[0]).update(id);
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        SessionDigest(digest)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic between two statements could only leave a session too few.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionDigest, Session>,
    /// Each session under the number of its last use, which only grows.
    by_use: BTreeMap<u64, SessionDigest>,
    /// The same of those that are nobody's yet.
    unbound: BTreeMap<u64, SessionDigest>,
    by_owner: HashMap<Owner, BTreeMap<u64, SessionDigest>>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    held: HeldBy,
    last_use: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HeldBy {
    Key(KeyId, WorkspaceId),
    Nobody { address: IpAddr, until: Mono },
}

/// Whose share of the table a session takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Owner {
    Workspace(WorkspaceId),
    Address(IpAddr),
}

impl HeldBy {
    fn of(user: SessionUser, now: Mono) -> Self {
        match user {
            SessionUser::Key(key, workspace) => Self::Key(key, workspace),
            SessionUser::Nobody(address) => {
                Self::Nobody { address: origin(address), until: unbound_end(now) }
            }
        }
    }

    const fn owner(self) -> Owner {
        match self {
            Self::Key(_, workspace) => Owner::Workspace(workspace),
            Self::Nobody { address, .. } => Owner::Address(address),
        }
    }
}

/// When a session that is nobody's at `now` ends.
const fn unbound_end(now: Mono) -> Mono {
    Mono::from_nanos(now.nanos().saturating_add(UNBOUND_NANOS))
}

impl Table {
    fn may_use(&mut self, session: SessionDigest, user: SessionUser, now: Mono) -> bool {
        let Some(known) = self.sessions.get(&session).copied() else { return false };
        match (known.held, user) {
            (HeldBy::Nobody { until, .. }, _) if now >= until => {
                self.remove(session);
                false
            }
            // It lasts no longer for being used: only a key keeps it.
            (HeldBy::Nobody { .. }, SessionUser::Nobody(_)) => true,
            (HeldBy::Nobody { .. }, SessionUser::Key(..)) => {
                self.put(session, HeldBy::of(user, now));
                true
            }
            (HeldBy::Key(owner, _), SessionUser::Key(key, _)) if owner == key => {
                self.put(session, known.held);
                true
            }
            (HeldBy::Key(..), _) => false,
        }
    }

    fn note(&mut self, session: SessionDigest, user: SessionUser, now: Mono) {
        let is_free = match self.sessions.get(&session).map(|known| known.held) {
            None => true,
            Some(HeldBy::Nobody { until, .. }) => now >= until || matches!(user, SessionUser::Key(..)),
            Some(HeldBy::Key(..)) => false,
        };
        if is_free {
            self.put(session, HeldBy::of(user, now));
        }
    }

    /// Makes a session the one that was used last, and makes room.
    fn put(&mut self, session: SessionDigest, held: HeldBy) {
        self.remove(session);
        self.uses += 1;
        self.sessions.insert(session, Session { held, last_use: self.uses });
        self.by_use.insert(self.uses, session);
        let of_owner = self.by_owner.entry(held.owner()).or_default();
        of_owner.insert(self.uses, session);
        let (share_max, kind, kind_max) = match held {
            HeldBy::Key(..) => (WORKSPACE_SESSIONS_MAX, &self.by_use, SESSIONS_MAX),
            HeldBy::Nobody { .. } => {
                self.unbound.insert(self.uses, session);
                (ADDRESS_SESSIONS_MAX, &self.unbound, UNBOUND_SESSIONS_MAX)
            }
        };
        let oldest_over = |sessions: &BTreeMap<u64, SessionDigest>, most| {
            let oldest = sessions.first_key_value().filter(|_| sessions.len() > most);
            oldest.map(|(_, session)| *session)
        };
        let over = oldest_over(of_owner, share_max).or_else(|| oldest_over(kind, kind_max));
        if let Some(oldest) = over.or_else(|| oldest_over(&self.by_use, SESSIONS_MAX)) {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, session: SessionDigest) {
        let Some(Session { held, last_use }) = self.sessions.remove(&session) else { return };
        self.by_use.remove(&last_use);
        self.unbound.remove(&last_use);
        if let Some(of_owner) = self.by_owner.get_mut(&held.owner()) {
            of_owner.remove(&last_use);
            if of_owner.is_empty() {
                self.by_owner.remove(&held.owner());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_nanos(5);

    fn session(number: u32) -> SessionDigest {
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        SessionDigest(digest)
    }

    fn key(number: u128, workspace: u128) -> SessionUser {
        SessionUser::Key(KeyId::from_u128(number), WorkspaceId::from_u128(workspace))
    }

    fn nobody(address: &str) -> SessionUser {
        SessionUser::Nobody(Some(address.parse().unwrap()))
    }

    fn later() -> Mono {
        unbound_end(NOW)
    }

    #[test]
    fn a_session_that_a_key_opened_is_that_keys_alone() {
        let mut table = Table::default();
        table.note(session(1), key(1, 1), NOW);
        assert!(table.may_use(session(1), key(1, 1), later()));
        for other in [key(2, 1), nobody("192.0.2.1")] {
            assert!(!table.may_use(session(1), other, NOW));
            // That an upstream gives it again changes nothing.
            table.note(session(1), other, NOW);
            assert!(!table.may_use(session(1), other, NOW));
        }
        assert!(!table.may_use(session(2), key(1, 1), NOW), "never seen");
        table.remove(session(1));
        assert!(!table.may_use(session(1), key(1, 1), NOW));
    }

    #[test]
    fn a_session_without_a_key_is_the_first_keys_or_ends() {
        let mut table = Table::default();
        table.note(session(1), nobody("192.0.2.1"), NOW);
        assert!(
            table.may_use(session(1), nobody("192.0.2.2"), NOW),
            "nobody's address is nobody's credential"
        );
        assert!(table.may_use(session(1), key(1, 1), NOW));
        assert!(!table.may_use(session(1), key(2, 1), NOW));
        assert!(!table.may_use(session(1), nobody("192.0.2.1"), NOW), "it is a key's now");
        assert!(table.may_use(session(1), key(1, 1), later()));
        table.note(session(2), nobody("192.0.2.1"), NOW);
        assert!(!table.may_use(session(2), key(1, 1), later()), "nobody's for too long");
        assert!(!table.sessions.contains_key(&session(2)));
    }

    #[test]
    fn the_table_is_bounded_and_what_was_used_longest_ago_goes() {
        let mut table = Table::default();
        for number in 0..200 {
            table.note(session(number), nobody("192.0.2.1"), NOW);
        }
        assert_eq!(table.sessions.len(), ADDRESS_SESSIONS_MAX);
        assert!(table.may_use(session(199), key(1, 1), NOW) && !table.may_use(session(0), key(1, 1), NOW));
        for number in 0..20_000_u32 {
            let address = format!("10.{}.{}.1", number >> 8 & 255, number & 255);
            table.note(session(1_000 + number), nobody(&address), NOW);
        }
        assert_eq!(
            (table.unbound.len(), table.sessions.len()),
            (UNBOUND_SESSIONS_MAX, UNBOUND_SESSIONS_MAX + 1)
        );
        assert!(table.may_use(session(199), key(1, 1), NOW), "a key's own is not pushed out by nobody's");
        let mut table = Table::default();
        let most = u32::try_from(WORKSPACE_SESSIONS_MAX).unwrap();
        for number in 0..most {
            table.note(session(number), key(1, 1), NOW);
        }
        assert!(table.may_use(session(0), key(1, 1), NOW));
        table.note(session(most), key(2, 1), NOW);
        assert!(table.may_use(session(0), key(1, 1), NOW), "it was used");
        assert!(!table.may_use(session(1), key(1, 1), NOW));
        for number in 0..u32::try_from(SESSIONS_MAX).unwrap() + 10 {
            table.note(session(1_000_000 + number), key(3, u128::from(number % 50)), NOW);
            assert!(table.sessions.len() <= SESSIONS_MAX);
        }
        assert_eq!((table.sessions.len(), table.by_use.len()), (SESSIONS_MAX, SESSIONS_MAX));
        assert_eq!(table.by_owner.values().map(BTreeMap::len).sum::<usize>(), SESSIONS_MAX);
        assert!(!table.may_use(session(0), key(1, 1), NOW), "the oldest of all went");
    }

    #[test]
    fn an_id_is_another_session_at_another_product_and_in_another_process() {
        let (one, other) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        assert_eq!(one.digest("a", b"x"), one.digest("a", b"x"));
        assert_ne!(one.digest("a", b"x"), one.digest("b", b"x"));
        assert_ne!(one.digest("a", b"x"), other.digest("a", b"x"));
        assert_eq!(format!("{:?}", one.digest("a", b"x")), "SessionDigest");
    }
}
