//! The store from outside: what is durable, what is refused, in which order.
//!
//! Every test has its own file in a directory that goes with it. A test that must see the writer's order
//! holds the writer inside a change until everything else waits.
//!
//! The files below hold the tests of one subject each; here is what they share, and the promises.
//!
//! Never here: a sleep, or a slow hash for each key.

// Said again for each, for readers of the sources (`tests/tidy.rs`).
#[cfg(test)]
mod chain;
#[cfg(test)]
mod clock_mark;
#[cfg(test)]
mod damage;
mod imports;
#[cfg(test)]
mod lookup;
#[cfg(test)]
mod moved_anchor;
mod older;
#[cfg(test)]
mod order;
mod platter;
#[cfg(test)]
mod power;
mod replays;
#[cfg(test)]
mod script;
#[cfg(test)]
mod sickness;
#[cfg(test)]
mod usage;

use std::path::PathBuf;
use std::sync::mpsc;

use redb::{Database, ReadableTableMetadata, WriteTransaction};

use super::*;
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::counts::{MeterCount, MeterRow};
use crate::domain::hash::{
    Fingerprint, SALT_LEN, SecretId, SlowHashCost, SlowHashMemory, StoredFingerprint, StoredHash,
};
use crate::domain::key::{MINT_RANDOM_BYTES, Prefix, RawKey, Tag};
use crate::domain::rate::windows::SavedWindows;
use crate::domain::record::{
    KeyPatch, KeySecret, Label, Overrides, SignatureReplay, WorkspacePatch, WorkspaceStatus,
};
use crate::domain::time::Wall;

const SYSTEM: WorkspaceId = WorkspaceId::from_u128(1);
const AT: Wall = Wall::from_secs(1_700_000_000);

/// Meter rows that are the same whenever they are asked for.
struct Fixed(Vec<MeterCount>);

impl Fixed {
    fn of(rows: Vec<MeterCount>) -> Arc<dyn MeterRows> {
        Arc::new(Self(rows))
    }
}

impl MeterRows for Fixed {
    fn rows_max(&self) -> usize {
        self.0.len()
    }

    fn draw_up(&self, _: &StoredMeters<'_, '_>, _: Option<&WorkspaceRecord>) -> Vec<MeterCount> {
        self.0.clone()
    }

    fn settle(&self, _: bool) {}
}

fn used(store: &Store, workspace: WorkspaceId, meter: &str, period: u32) -> Option<u64> {
    store.meter_row(workspace, meter, period).unwrap().map(|row| row.used)
}

struct Room {
    store: Store,
    path: PathBuf,
    hash: StoredHash,
    _directory: tempfile::TempDir,
}

/// A store with one workspace and its default key, number 0.
async fn room() -> Room {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.redb");
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    room_of(store, path, directory).await
}

async fn room_of(store: Store, path: PathBuf, directory: tempfile::TempDir) -> Room {
    let text = RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[7; MINT_RANDOM_BYTES]).unwrap();
    let cost = SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap();
    let mut memory = SlowHashMemory::default();
    let hash = StoredHash::create(&text.as_presented(), [3; SALT_LEN], cost, &mut memory).unwrap();
    store.seal_with(AuditSealer::new(&[1; 32]));
    let room = Room { store, path, hash, _directory: directory };
    room.store.create_workspace(workspace(SYSTEM), room.key(0), audit()).await.unwrap();
    room
}

impl Room {
    fn key(&self, number: u32) -> KeyRecord {
        KeyRecord {
            id: KeyId::from_u128(u128::from(number)),
            version: 1,
            workspace: SYSTEM,
            name: None,
            description: None,
            permissions: Vec::new(),
            secrets: vec![self.secret(number)],
            created_at: AT,
            expires_at: None,
            revoked_at: None,
            addresses: None,
            rate: None,
            metadata: None,
            require_signature: false,
            signature_replay: SignatureReplay::Once,
        }
    }

    fn secret(&self, number: u32) -> KeySecret {
        let made_by = SecretId::from_bytes([1; 8]);
        KeySecret {
            prefix: prefix(number),
            epoch: 1,
            hash: self.hash.clone(),
            fingerprint: Some(StoredFingerprint { made_by, fingerprint: Fingerprint::from_bytes([2; 32]) }),

            imported: None,
            created_at: AT,
            ends_at: None,
        }
    }

    async fn create(&self, number: u32) -> Result<(), ChangeError> {
        self.store.create_key(self.key(number), audit()).await
    }

    async fn rename(&self, id: KeyId, name: &str) -> Result<KeyRecord, ChangeError> {
        let patch = KeyPatch { name: Some(Label::parse(name)), ..KeyPatch::default() };
        self.store.update_key(id, Urgency::Admin, audit(), |key| key.patched(patch)).await
    }

    /// Closes the store, lets `edit` loose on the file with redb itself, and opens it again.
    fn edited(self, edit: impl FnOnce(&WriteTransaction)) -> Self {
        self.store.close().unwrap();
        let database = Database::open(&self.path).unwrap();
        let txn = database.begin_write().unwrap();
        edit(&txn);
        txn.commit().unwrap();
        database.close().unwrap();
        self.reopened()
    }

    fn reopened(mut self) -> Self {
        self.store.close().unwrap();
        self.store = Store::open(&self.path, StoreOptions::default()).unwrap();
        self.store.seal_with(AuditSealer::new(&[1; 32]));
        self
    }

    fn audit_rows(&self) -> Vec<u64> {
        self.store.audit(0, PAGE_MAX).unwrap().iter().map(|row| row.seq).collect()
    }

    /// Stops the writer inside a change until the returned sender is used or dropped.
    async fn hold_writer(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (reached, held) = tokio::sync::oneshot::channel();
        let store = self.store.clone();
        tokio::spawn(async move {
            let wait = move |key| {
                let _ = reached.send(());
                let _ = released.recv();
                key
            };
            store.update_key(KeyId::from_u128(0), Urgency::Admin, audit(), wait).await
        });
        held.await.unwrap();
        release
    }

    async fn until_waiting(&self, changes: usize) {
        while self.store.waiting_changes() < changes {
            tokio::task::yield_now().await;
        }
    }
}

fn prefix(number: u32) -> Prefix {
    Prefix::from_bytes(format!("{number:08}").as_bytes()).unwrap()
}

fn workspace(id: WorkspaceId) -> WorkspaceRecord {
    WorkspaceRecord {
        id,
        version: 1,
        name: Label::parse("Acme").unwrap(),
        profile: "socialcrm".to_owned(),
        plan: "pro".to_owned(),
        billing_anchor: AT,
        brands: Vec::new(),
        status: WorkspaceStatus::Active,
        overrides: Overrides::default(),
        created_at: AT,
    }
}

fn audit() -> AuditEntry {
    AuditEntry {
        at: AT,
        actor: Actor::System,
        action: AuditAction::KeyUpdated,
        subject: Subject::Key(KeyId::from_u128(0)),
        changes: Vec::new(),
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_copy_of_the_running_file_is_opened() {
    let room = room().await;
    room.create(1).await.unwrap();
    let renamed = room.rename(KeyId::from_u128(1), "CI").await.unwrap();
    // The bytes on the disk at this instant are what a kill would leave.
    let killed = room.path.with_file_name("killed.redb");
    std::fs::copy(&room.path, &killed).unwrap();
    let after = Store::open(&killed, StoreOptions::default()).unwrap();
    assert_eq!(after.key(renamed.id).unwrap(), Some(renamed));
    assert_eq!(after.keys_by_prefix(prefix(1)).unwrap().len(), 1);
    assert_eq!(after.workspace(SYSTEM).unwrap(), Some(workspace(SYSTEM)));
    assert_eq!(after.audit(0, PAGE_MAX).unwrap().len(), 3);
}

#[tokio::test]
async fn each_change_has_one_audit_row_and_what_changes_nothing_has_none() {
    let room = room().await;
    room.create(1).await.unwrap();
    let id = KeyId::from_u128(1);
    for again in [false, true] {
        let before = room.store.commits();
        let revoked =
            room.store.update_key(id, Urgency::Revoke, audit(), |key| key.revoked(AT)).await.unwrap();
        assert_eq!((revoked.revoked_at, revoked.version), (Some(AT), 2));
        assert_eq!(room.store.commits() - before, u64::from(!again));
    }
    let patch = WorkspacePatch { status: Some(WorkspaceStatus::Suspended), ..WorkspacePatch::default() };
    room.store
        .update_workspace(SYSTEM, Urgency::Admin, audit(), |found| found.patched(patch), None)
        .await
        .unwrap();
    assert!(matches!(room.create(1).await, Err(ChangeError::Exists)));
    room.store
        .checkpoint(Counted { keys: vec![(id, KeyCounters::default())], ..Counted::default() })
        .await
        .unwrap();
    assert_eq!(room.audit_rows(), [1, 2, 3, 4]);
    assert_eq!(room.store.audit(2, 1).unwrap()[0].seq, 3);
}

#[tokio::test]
async fn a_checkpoint_saved_twice_is_as_if_saved_once() {
    let room = room().await;
    let id = KeyId::from_u128(0);
    let counters = KeyCounters {
        last_used_at: Some(AT),
        secret_uses: None,
        windows: SavedWindows { nanos_to_full: 5, ..SavedWindows::default() },
        saved_at_micros: 6,
    };
    let meter = |period, used| {
        let row = MeterRow { reserved: used, used, ..MeterRow::default() };
        MeterCount { workspace: SYSTEM, meter: "ai".to_owned(), period, row }
    };
    // More rows than one transaction takes.
    let many: Vec<_> = (0..1_000).map(|number| (KeyId::from_u128(number), counters)).collect();
    for _ in 0..2 {
        room.store
            .checkpoint(Counted {
                keys: many.clone(),
                meters: vec![Fixed::of(vec![meter(1, 10), meter(2, 20)])],
                ..Counted::default()
            })
            .await
            .unwrap();
    }
    let room = room.reopened();
    assert_eq!(room.store.key_counters(id).unwrap(), Some(counters));
    assert_eq!(room.store.key_counters(KeyId::from_u128(1_000)).unwrap(), None);
    assert_eq!(used(&room.store, SYSTEM, "ai", 1), Some(10));
    assert_eq!(used(&room.store, SYSTEM, "ai", 3), None);
    assert_eq!(used(&room.store, SYSTEM, "ai", 2), Some(20));
    assert_eq!(used(&room.store, SYSTEM, "a", 2), None);
    assert_eq!(room.audit_rows(), [1]);
    let rows = |txn: &WriteTransaction| tables::KEY_COUNTERS.write(txn).unwrap().len().unwrap();
    room.edited(|txn| assert_eq!(rows(txn), 1_000));
}

#[tokio::test]
async fn a_closed_store_refuses_reads_and_changes_and_closes_twice() {
    let room = room().await;
    room.store.close().unwrap();
    room.store.close().unwrap();
    assert!(matches!(room.store.key(KeyId::from_u128(0)), Err(StoreError::Closed)));
    assert!(matches!(room.create(1).await, Err(ChangeError::NotDurable(StoreError::Closed))));
}

#[tokio::test]
async fn a_record_is_neither_moved_nor_turned_back() {
    let room = room().await;
    let id = KeyId::from_u128(0);
    let moved = |mut key: KeyRecord| {
        (key.workspace, key.version) = (WorkspaceId::from_u128(2), 2);
        key
    };
    let back = |mut key: KeyRecord| {
        key.version = 0;
        key
    };
    let refused = room.store.update_key(id, Urgency::Admin, audit(), moved).await;
    assert!(matches!(refused, Err(ChangeError::Misfit(_))));
    let refused = room.store.update_key(id, Urgency::Admin, audit(), back).await;
    assert!(matches!(refused, Err(ChangeError::Misfit(_))));
    assert_eq!(room.store.key(id).unwrap(), Some(room.key(0)));
}
