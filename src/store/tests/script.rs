//! One of every kind of change, in an order that is always the same, and all that a store holds, to compare.
//!
//! Never here: a disk that fails.

use super::super::tables::*;
use super::platter::Platter;
use super::*;
use crate::domain::audit::chain::AuditChain;
use crate::domain::usage::{UsageOutcome, UsageRow};

const OTHER: WorkspaceId = WorkspaceId::from_u128(2);
const KEY: KeyId = KeyId::from_u128(1);
const LATER: Wall = Wall::from_secs(1_700_086_400);
/// So many signatures make the file grow, and shrink when they are gone.
const MANY_SIGNATURES: u32 = 30_000;

/// How many changes there are.
pub(super) const STEPS: usize = 20;

/// Everything that a store holds, by table and row.
pub(super) type Held = Vec<(&'static str, String, Vec<u8>)>;

/// The store on a disk, as a room of which nobody needs the path.
pub(super) async fn room_on(platter: &Platter) -> Room {
    let store = platter.open().unwrap();
    room_of(store, PathBuf::new(), tempfile::tempdir().unwrap()).await
}

fn meter(workspace: WorkspaceId, period: u32, used: u64) -> MeterCount {
    let row = MeterRow { reserved: used + 5, used, ..MeterRow::default() };
    MeterCount { workspace, meter: "ai".to_owned(), period, row }
}

fn usage(hours: std::ops::Range<u32>, count: u64) -> Vec<HourRow> {
    let mut row = UsageRow::default();
    row.note("a", UsageOutcome::Valid, count);
    hours.map(|hour| ((hour, KEY), row.clone())).collect()
}

impl Room {
    /// Makes the change with this number, of [`STEPS`].
    pub(super) async fn step(&self, number: usize) -> Result<(), ChangeError> {
        let store = &self.store;
        match number {
            0 => self.create(1).await,
            1 => {
                let default_key = KeyRecord { workspace: OTHER, ..self.key(2) };
                store.create_workspace(workspace(OTHER), default_key, audit()).await
            }
            2 => self.rename(KEY, "renamed").await.map(drop),
            3 => {
                let new = KeySecret { epoch: 2, ..self.secret(7) };
                let rotate = |mut key: KeyRecord| {
                    key.secrets.push(new);
                    key.version += 1;
                    key
                };
                store.update_key(KEY, Urgency::Admin, audit(), rotate).await.map(drop)
            }
            4 => store.checkpoint(Counted { keys: counters(0..400), ..Counted::default() }).await,
            5 => {
                let keys = counters(0..10);
                let counted = Counted { keys, clock_mark: Some(AT), ..Counted::default() };
                store.checkpoint(counted).await
            }
            6 => {
                let rows = (0..6).map(|period| meter(SYSTEM, period, 7)).collect();
                store.checkpoint(Counted { meters: vec![Fixed::of(rows)], ..Counted::default() }).await
            }
            7 => {
                let batch = (100..140).map(|number| self.by_digest(number)).collect();
                let entry = |count, root| AuditEntry { subject: Subject::Keys { count, root }, ..audit() };
                store.import(batch, entry).await.map(drop)
            }
            8 => store.save_used_signatures(replays::saved(MANY_SIGNATURES)).await,
            9 => store.save_usage(usage(0..200, 3)).await,
            10 => store.update_key(KEY, Urgency::Revoke, audit(), |key| key.revoked(AT)).await.map(drop),
            11 => {
                let patch = WorkspacePatch { billing_anchor: Some(LATER), ..WorkspacePatch::default() };
                let move_it = |found: WorkspaceRecord| found.patched(patch);
                let rows = Fixed::of(vec![meter(SYSTEM, 3, 42)]);
                store.update_workspace(SYSTEM, Urgency::Admin, audit(), move_it, Some(rows)).await.map(drop)
            }
            12 => store.take_used_signatures().await.map(|taken| assert!(taken.is_some())),
            13 => store.roll_up_usage(150, 0).await.map(|rows| assert!(rows > 0)),
            14 => store.confirm_clock(LATER, audit()).await,
            15 => {
                let forget = |key: KeyRecord| key.without_fingerprints();
                store.update_keys(vec![KEY, KeyId::from_u128(2)], forget, |_| audit()).await.map(drop)
            }
            16 => {
                let status = Some(WorkspaceStatus::Suspended);
                let patch = WorkspacePatch { status, ..WorkspacePatch::default() };
                let suspend = |found: WorkspaceRecord| found.patched(patch);
                store.update_workspace(SYSTEM, Urgency::Revoke, audit(), suspend, None).await.map(drop)
            }
            17 => {
                let delete = WorkspaceRecord::deleted;
                store.update_workspace(OTHER, Urgency::Revoke, audit(), delete, None).await.map(drop)
            }
            18 => store.save_clock_mark(LATER).await,
            19 => {
                let rows = vec![meter(SYSTEM, 3, 43)];
                store.checkpoint(Counted { meters: vec![Fixed::of(rows)], ..Counted::default() }).await
            }
            _ => panic!("there is no such step"),
        }
    }
}

fn counters(keys: std::ops::Range<u128>) -> Vec<(KeyId, KeyCounters)> {
    let counters = KeyCounters { last_used_at: Some(AT), ..KeyCounters::default() };
    keys.map(|id| (KeyId::from_u128(id), counters)).collect()
}

/// All that a store holds.
pub(super) fn held(store: &Store) -> Held {
    let txn = store.begin_read().unwrap();
    let mut held = Held::new();
    macro_rules! records {
        ($($table:expr),+ $(,)?) => { $(
            for row in txn.open_table(&$table).unwrap().records().unwrap() {
                let (key, record) = row.unwrap();
                held.push(($table.name(), format!("{:?}", key.value()), record.value().to_vec()));
            }
        )+ };
    }
    macro_rules! indexes {
        ($($table:expr),+ $(,)?) => { $(
            for key in txn.open_table(&$table).unwrap().keys().unwrap() {
                held.push(($table.name(), format!("{:?}", key.unwrap().value()), Vec::new()));
            }
        )+ };
    }
    records![
        MARKS,
        WORKSPACES,
        KEYS,
        KEY_COUNTERS,
        METERS,
        AUDIT,
        REPLAYS,
        LEGACY_SHAPES,
        USAGE_HOURS,
        USAGE_DAYS
    ];
    indexes![KEYS_BY_PREFIX, KEYS_BY_WORKSPACE, MAKERS, KEYS_BY_HANDLE];
    held
}

/// Where two stores differ, without their content.
pub(super) fn difference(found: &Held, expected: &Held) -> Option<String> {
    let place = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if place.is_none() && found.len() == expected.len() {
        return None;
    }
    let at = place.unwrap_or(found.len().min(expected.len()));
    let name = |held: &Held| held.get(at).map(|(table, key, _)| format!("{table} {key}"));
    Some(format!("row {at}: found {:?}, expected {:?}", name(found), name(expected)))
}

/// Whether the audit log of a store is whole.
pub(super) fn is_chained(store: &Store) -> bool {
    let mut chain = AuditChain::new(None);
    while store.check_audit(&mut chain, u64::MAX).unwrap() {}
    chain.finish().is_whole()
}
