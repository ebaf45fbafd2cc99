//! Batches of keys that were made elsewhere, and the index by which they are found.
//!
//! A batch is one transaction with one audit row: each record is judged on the newest state, those before it in
//! the batch among it, and is taken whole or refused whole. A dry run judges by the same rules and writes
//! nothing. Index rows follow the records: a secret that was made elsewhere stands under its handles and under
//! no prefix.
//!
//! Never here: a raw text, or the reading of what a user sent.

use std::collections::{HashMap, HashSet};

use redb::ReadableTable;

use super::audit::append_audit;
use super::changes::{Done, put_key};
use super::error::{ChangeError, StoreError};
use super::queue::{GROUP_ROWS_MAX, Lane};
use super::rows::{Rows, Sum};
use super::tables::{KEYS_BY_HANDLE, LEGACY_SHAPES, WORKSPACES, WriteTables};
use super::{Store, codec};
use crate::domain::audit::AuditEntry;
use crate::domain::hash::Fingerprint;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::legacy::{Handle, LegacyShape, SLOW_KEYS_PER_HEAD_MAX, ShapesRefused, take_on};
use crate::domain::record::{KeyRecord, KeySecret, WorkspaceStatus};

/// The most records of one batch: at four or five rows each, a millisecond or two of the writer's time, since that is
/// what a revoke may have to wait for.
pub const IMPORT_BATCH_MAX: usize = 64;

/// One key of an import: its record, with one secret, and what its text looks like.
#[derive(Clone, Debug)]
pub struct ImportedKey {
    /// The record.
    pub record: KeyRecord,
    /// The shape of its text, with the head's length that its handles need.
    pub shape: LegacyShape,
}

/// What must be known of a key to judge whether it can be taken. Without `Debug`, since it has the hash as text.
#[derive(Clone)]
pub struct ImportCase {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// By what its text is found.
    pub handles: Vec<Handle>,
    /// Whether a presented text is compared with it by the slow hash.
    pub is_slow: bool,
    /// The hash that it comes with, as text; none of one that is yet to be hashed.
    pub hash: Option<Box<str>>,
    /// The shape of its text.
    pub shape: LegacyShape,
}

impl From<&ImportedKey> for ImportCase {
    fn from(key: &ImportedKey) -> Self {
        let secrets = || key.record.secrets.iter();
        Self {
            workspace: key.record.workspace,
            handles: secrets().flat_map(KeySecret::handles).collect(),
            is_slow: secrets().any(|secret| secret.hash.is_slow()),
            hash: secrets()
                .next()
                .filter(|secret| secret.imported.is_some())
                .map(|secret| secret.hash.as_phc().into()),
            shape: key.shape.clone(),
        }
    }
}

/// What became of one record of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportOutcome {
    /// It was written; in a dry run: it would be.
    Taken,
    /// A key with this very digest or hash is there, or stands earlier in the batch.
    AlreadyThere,
    /// As many slow-hashed keys as one head may lead to have this head already.
    HeadFull,
    /// The shape of its text cannot be taken on.
    Shape(ShapesRefused),
    /// Its workspace is gone or deleted.
    NoSuchWorkspace,
}

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportDone {
    /// For each record, in order.
    pub outcomes: Vec<ImportOutcome>,
    /// The profiles that took on shapes, with all that they have now.
    pub shapes: Vec<(String, Vec<LegacyShape>)>,
}

impl Store {
    /// Writes a batch of at most [`IMPORT_BATCH_MAX`] records in one transaction with one audit row, made by
    /// `audit` from how many were taken and a BLAKE3 root over them. Nothing and no row when none was.
    pub async fn import(
        &self,
        batch: Vec<ImportedKey>,
        audit: impl FnOnce(u32, [u8; 32]) -> AuditEntry + Send + 'static,
    ) -> Result<ImportDone, ChangeError> {
        if batch.len() > IMPORT_BATCH_MAX {
            return Err(ChangeError::Misfit("the batch is too large"));
        }
        self.change(Lane::Import, GROUP_ROWS_MAX, move |tables| import(tables, &batch, audit)).await
    }

    /// What [`Store::import`] would do with records of any number, as of the last commit.
    pub fn import_rehearsed(&self, records: &[ImportCase]) -> Result<Vec<ImportOutcome>, StoreError> {
        let txn = self.begin_read()?;
        let workspaces = txn.open_table(&WORKSPACES).map_err(StoreError::database("read a workspace"))?;
        let handles =
            txn.open_table(&KEYS_BY_HANDLE).map_err(StoreError::database("read the index of handles"))?;
        let shapes =
            txn.open_table(&LEGACY_SHAPES).map_err(StoreError::database("read the legacy shapes"))?;
        let mut plan = Plan::new(&workspaces, &handles, &shapes);
        records.iter().map(|case| plan.judge(case)).collect()
    }

    /// The keys that any of these handles leads to, in their order and each once, at most
    /// [`SLOW_KEYS_PER_HEAD_MAX`] for each handle.
    pub fn keys_by_handles(&self, handles: &[Handle]) -> Result<Vec<KeyRecord>, StoreError> {
        self.at_one_instant(|file| file.keys_by_handles(handles))
    }

    /// The legacy shapes of every profile that has some.
    pub fn legacy_shapes(&self) -> Result<Vec<(String, Vec<LegacyShape>)>, StoreError> {
        let txn = self.begin_read()?;
        let table = txn.open_table(&LEGACY_SHAPES).map_err(StoreError::database("read the legacy shapes"))?;
        let rows = table.records().map_err(StoreError::database("read the legacy shapes"))?;
        rows.map(|row| {
            let (profile, bytes) = row.map_err(StoreError::database("read the legacy shapes"))?;
            let profile = String::from_utf8_lossy(profile.value()).into_owned();
            let shapes = codec::shapes::from_bytes(&profile, bytes.value())?;
            Ok((profile, shapes))
        })
        .collect()
    }
}

fn import(
    tables: &mut WriteTables<'_>,
    batch: &[ImportedKey],
    audit: impl FnOnce(u32, [u8; 32]) -> AuditEntry,
) -> Result<Done<ImportDone>, ChangeError> {
    let mut plan = Plan::new(&tables.workspaces, &tables.keys_by_handle, &tables.legacy_shapes);
    let outcomes = batch.iter().map(|key| plan.judge(&key.into())).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<_> = plan.shapes.into_iter().filter(|(_, known)| known.is_changed).collect();
    let shapes: Vec<_> = shapes.into_iter().map(|(profile, known)| (profile, known.all)).collect();
    let taken = || batch.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == ImportOutcome::Taken);
    let count = u32::try_from(taken().count()).unwrap_or(u32::MAX);
    if count == 0 {
        return Ok(Done { value: ImportDone { outcomes, shapes: Vec::new() }, wrote: false });
    }
    // Ids grow with time: what is added at the end of a table alone leaves no page half full.
    let mut by_id: Vec<_> = taken().map(|(key, _)| key).collect();
    by_id.sort_unstable_by_key(|key| key.record.id.as_u128());
    for key in by_id {
        put_key(tables, None, &key.record)?;
        let elsewhere = key.record.secrets.iter().filter(|secret| secret.imported.is_some());
        for source in elsewhere.map(|secret| source_row(secret.hash.as_phc())) {
            tables
                .keys_by_handle
                .add((source.as_slice(), key.record.id.as_u128()))
                .map_err(StoreError::database("write the index of handles"))?;
        }
    }
    let mut root = blake3::Hasher::new();
    for (key, _) in taken() {
        root.update(&root_bytes(&key.record)?);
    }
    for (profile, all) in &shapes {
        let bytes = codec::shapes::to_bytes(all)?;
        tables
            .legacy_shapes
            .insert(profile.as_bytes(), &bytes)
            .map_err(StoreError::database("write the legacy shapes"))?;
    }
    append_audit(tables, &audit(count, *root.finalize().as_bytes()))?;
    Ok(Done { value: ImportDone { outcomes, shapes }, wrote: true })
}

/// A record as the batch's root covers it: all but its hashes, since an audit row must be no place to try
/// guesses on.
fn root_bytes(record: &KeyRecord) -> Result<Vec<u8>, StoreError> {
    let mut bytes = record.id.as_u128().to_be_bytes().to_vec();
    bytes.extend(codec::key::to_bytes_without_secrets(record)?);
    for secret in &record.secrets {
        bytes.extend(secret.prefix.as_bytes());
        bytes.extend(secret.hash.kind().name().as_bytes());
        bytes.extend(secret.imported.iter().flat_map(|imported| imported.head.bytes()));
    }
    Ok(bytes)
}

/// Writes the index rows of a key's handles over those of `old`.
pub(super) fn put_handles(
    tables: &mut WriteTables<'_>,
    old: Option<&KeyRecord>,
    new: &KeyRecord,
) -> Result<(), StoreError> {
    let rows = |record: &KeyRecord| {
        record.secrets.iter().flat_map(KeySecret::handles).map(|handle| row_of(&handle)).collect()
    };
    let (before, after): (HashSet<_>, HashSet<_>) = (old.map(rows).unwrap_or_default(), rows(new));
    let id = new.id.as_u128();
    for gone in before.difference(&after) {
        tables
            .keys_by_handle
            .remove((gone.as_slice(), id))
            .map_err(StoreError::database("write the index of handles"))?;
    }
    for added in after.difference(&before) {
        tables
            .keys_by_handle
            .add((added.as_slice(), id))
            .map_err(StoreError::database("write the index of handles"))?;
    }
    Ok(())
}

/// A handle as the index has it: one byte for its kind, then its content.
fn row_of(handle: &Handle) -> Vec<u8> {
    match handle {
        Handle::Digest(digest) => [&[1], digest.as_slice()].concat(),
        Handle::Fingerprint(fingerprint) => [&[2], Fingerprint::as_bytes(fingerprint).as_slice()].concat(),
        // A profile's name has no NUL, so no two pairs read alike.
        Handle::Head { profile, text } => [&[3], profile.as_bytes(), &[0], text.as_bytes()].concat(),
    }
}

/// The row that remembers which stored hash a key came with, after a re-hash too, so that a second run of an
/// import finds it there. Nobody looks a text up by it.
fn source_row(hash: &str) -> Vec<u8> {
    [&[4], blake3::hash(hash.as_bytes()).as_bytes().as_slice()].concat()
}

/// The index of handles, to be read or written.
pub(super) trait ByHandle: ReadableTable<(&'static [u8], u128), Sum> {}

impl<T: ReadableTable<(&'static [u8], u128), Sum>> ByHandle for T {}

/// Ids under one row of the index, a bounded number of them.
fn ids_under<T: ByHandle>(index: &Rows<T>, row: &[u8]) -> Result<Vec<KeyId>, StoreError> {
    let failed = "read the index of handles";
    let (first, last) = ((row, 0), (row, u128::MAX));
    let rows = index.keys_between(&first, &last).map_err(StoreError::database(failed))?;
    rows.take(SLOW_KEYS_PER_HEAD_MAX)
        .map(|found| {
            let place = found.map_err(StoreError::database(failed))?;
            Ok(KeyId::from_u128(place.value().1))
        })
        .collect()
}

/// The keys that any of these handles leads to.
pub(super) fn ids_of<T: ByHandle>(index: &Rows<T>, handles: &[Handle]) -> Result<Vec<KeyId>, StoreError> {
    let mut found = Vec::new();
    for handle in handles {
        found.extend(ids_under(index, &row_of(handle))?);
    }
    Ok(found)
}

/// Judges records one after another, each as if those before it were written.
struct Plan<'a, W, H, S> {
    workspaces: &'a Rows<W>,
    handles: &'a Rows<H>,
    known_shapes: &'a Rows<S>,
    /// The profiles of workspaces that were asked for, `None` of those that take no key.
    profiles: HashMap<WorkspaceId, Option<String>>,
    shapes: HashMap<String, KnownShapes>,
    /// How many keys earlier in the batch stand under a row.
    added: HashMap<Vec<u8>, usize>,
}

struct KnownShapes {
    all: Vec<LegacyShape>,
    is_changed: bool,
}

impl<'a, W, H, S> Plan<'a, W, H, S>
where
    W: ReadableTable<u128, &'static [u8]>,
    H: ByHandle,
    S: ReadableTable<&'static [u8], &'static [u8]>,
{
    fn new(workspaces: &'a Rows<W>, handles: &'a Rows<H>, known_shapes: &'a Rows<S>) -> Self {
        let (profiles, shapes, added) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { workspaces, handles, known_shapes, profiles, shapes, added }
    }

    fn judge(&mut self, case: &ImportCase) -> Result<ImportOutcome, StoreError> {
        let Some(profile) = self.profile_of(case.workspace)? else {
            return Ok(ImportOutcome::NoSuchWorkspace);
        };
        let rows: Vec<_> = case.handles.iter().map(row_of).collect();
        let source = case.hash.as_deref().map(source_row);
        let digests = if case.is_slow { &[] } else { rows.as_slice() };
        for row in digests.iter().chain(&source) {
            if self.count(row)? > 0 {
                return Ok(ImportOutcome::AlreadyThere);
            }
        }
        for row in rows.iter().filter(|_| case.is_slow) {
            if self.count(row)? >= SLOW_KEYS_PER_HEAD_MAX {
                return Ok(ImportOutcome::HeadFull);
            }
        }
        let known = self.shapes_of(&profile)?;
        match take_on(&mut known.all, &case.shape) {
            Ok(is_new) => known.is_changed |= is_new,
            Err(refused) => return Ok(ImportOutcome::Shape(refused)),
        }
        for row in rows.into_iter().chain(source) {
            *self.added.entry(row).or_default() += 1;
        }
        Ok(ImportOutcome::Taken)
    }

    fn profile_of(&mut self, id: WorkspaceId) -> Result<Option<String>, StoreError> {
        if let Some(known) = self.profiles.get(&id) {
            return Ok(known.clone());
        }
        let row = self.workspaces.get(id.as_u128()).map_err(StoreError::database("read a workspace"))?;
        let workspace = row.map(|bytes| codec::workspace::from_bytes(id, bytes.value())).transpose()?;
        let workspace = workspace.filter(|workspace| workspace.status != WorkspaceStatus::Deleted);
        let profile = workspace.map(|workspace| workspace.profile);
        self.profiles.insert(id, profile.clone());
        Ok(profile)
    }

    /// How many keys stand under a row, those earlier in the batch among them.
    fn count(&self, row: &[u8]) -> Result<usize, StoreError> {
        let stored = ids_under(self.handles, row)?.len();
        Ok(stored + self.added.get(row).copied().unwrap_or(0))
    }

    fn shapes_of(&mut self, profile: &str) -> Result<&mut KnownShapes, StoreError> {
        if !self.shapes.contains_key(profile) {
            let row = self.known_shapes.get(profile.as_bytes());
            let row = row.map_err(StoreError::database("read the legacy shapes"))?;
            let all = row.map(|bytes| codec::shapes::from_bytes(profile, bytes.value())).transpose()?;
            let known = KnownShapes { all: all.unwrap_or_default(), is_changed: false };
            self.shapes.insert(profile.to_owned(), known);
        }
        self.shapes.get_mut(profile).ok_or(StoreError::BrokeOff)
    }
}
