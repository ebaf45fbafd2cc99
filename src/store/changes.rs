//! What each change does inside the writer's transaction.
//!
//! A change first checks everything on the newest state, the changes before it in the same transaction among
//! it, and only then writes: a refusal leaves nothing behind. Exactly one audit row comes with each change
//! that writes, with the before and after of both records. Checkpoints are no changes and have none.
//!
//! Never here: a decision whether a change is wise, or a commit.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::audit::append_audit;
use super::codec;
use super::error::{ChangeError, StoreError};
use super::imports::put_handles;
use super::install_secrets::note_maker;
use super::meters::{MeterRows, StoredMeters};
use super::rows::Record;
use super::tables::{WriteTables, meter_place};
use crate::domain::audit::AuditEntry;
use crate::domain::audit::differences;
use crate::domain::counts::{KeyCounters, MeterCount};
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::key::Prefix;
use crate::domain::profile::METERS_MAX;
use crate::domain::record::{KeyRecord, WorkspaceRecord, WorkspaceStatus};

/// The most rows that a change of records writes: workspace, key, its three indexes twice, makers, audit.
pub(super) const CHANGE_ROWS_MAX: usize = 10;

/// The most rows that a change of a workspace writes: each meter's, and that of the period before. The meter rows
/// that a moved anchor removes are left out: there are twelve a year of each meter, and removing one is next to
/// nothing beside the two syncs.
pub(super) const WORKSPACE_CHANGE_ROWS_MAX: usize = CHANGE_ROWS_MAX + 2 * METERS_MAX;

/// A change that was made, and whether that took a write.
pub(super) struct Done<T> {
    /// What the waiter gets.
    pub(super) value: T,
    /// Whether anything must be committed.
    pub(super) wrote: bool,
}

const fn written<T>(value: T) -> Done<T> {
    Done { value, wrote: true }
}

/// Makes a workspace and its default key.
pub(super) fn create_workspace(
    tables: &mut WriteTables<'_>,
    workspace: &WorkspaceRecord,
    default_key: &KeyRecord,
    audit: &AuditEntry,
) -> Result<Done<()>, ChangeError> {
    if default_key.workspace != workspace.id {
        return Err(ChangeError::Misfit("the default key belongs to another workspace"));
    }
    if has_workspace(tables, workspace.id)? {
        return Err(ChangeError::Exists);
    }
    check_new_key(tables, default_key)?;
    put_workspace(tables, workspace)?;
    put_key(tables, None, default_key)?;
    let told = differences::workspace(None, workspace).into_iter();
    append_audit(tables, &audit.with(told.chain([differences::default_key(default_key)])))?;
    Ok(written(()))
}

/// Makes a key.
pub(super) fn create_key(
    tables: &mut WriteTables<'_>,
    key: &KeyRecord,
    audit: &AuditEntry,
) -> Result<Done<()>, ChangeError> {
    let of = workspace(tables, key.workspace)?.ok_or(ChangeError::NoSuchWorkspace)?;
    if of.status == WorkspaceStatus::Deleted {
        return Err(ChangeError::WorkspaceDeleted);
    }
    check_new_key(tables, key)?;
    put_key(tables, None, key)?;
    append_audit(tables, &audit.with(differences::key(None, key)))?;
    Ok(written(()))
}

/// Changes a key; a change that leaves the version as it was writes nothing.
pub(super) fn update_key(
    tables: &mut WriteTables<'_>,
    id: KeyId,
    audit: &AuditEntry,
    change: impl FnOnce(KeyRecord) -> KeyRecord,
) -> Result<Done<KeyRecord>, ChangeError> {
    let old = key(tables, id)?.ok_or(ChangeError::NoSuchKey)?;
    let new = changed(change, old.clone())?;
    if (new.id, new.workspace) != (old.id, old.workspace) {
        return Err(ChangeError::Misfit("it would move the key"));
    }
    if new.version < old.version {
        return Err(ChangeError::Misfit("it would turn the key's version back"));
    }
    if new.version == old.version {
        return Ok(Done { value: old, wrote: false });
    }
    for prefix in prefixes(&new).filter(|prefix| !prefixes(&old).any(|known| known == *prefix)) {
        check_prefix_is_free(tables, prefix)?;
    }
    put_key(tables, Some(&old), &new)?;
    append_audit(tables, &audit.with(differences::key(Some(&old), &new)))?;
    Ok(written(new))
}

/// Changes a workspace; a change that leaves the version as it was writes nothing. One that moves the billing
/// anchor puts what `meters` draws up in the place of every meter row of the workspace: periods are numbered from
/// the anchor, so the old numbers mean other months now.
pub(super) fn update_workspace(
    tables: &mut WriteTables<'_>,
    id: WorkspaceId,
    audit: &AuditEntry,
    change: impl FnOnce(WorkspaceRecord) -> WorkspaceRecord,
    meters: Option<&dyn MeterRows>,
) -> Result<Done<WorkspaceRecord>, ChangeError> {
    let old = workspace(tables, id)?.ok_or(ChangeError::NoSuchWorkspace)?;
    let new = changed(change, old.clone())?;
    if (new.id, &new.profile) != (old.id, &old.profile) {
        return Err(ChangeError::Misfit("it would move the workspace"));
    }
    if new.version < old.version {
        return Err(ChangeError::Misfit("it would turn the workspace's version back"));
    }
    if new.version == old.version {
        return Ok(Done { value: old, wrote: false });
    }
    put_workspace(tables, &new)?;
    let counts = meters.map(|meters| meters.draw_up(&StoredMeters(tables), Some(&new))).unwrap_or_default();
    if new.billing_anchor != old.billing_anchor {
        remove_meters(tables, id)?;
    }
    put_meters(tables, &counts)?;
    append_audit(tables, &audit.with(differences::workspace(Some(&old), &new)))?;
    Ok(written(new))
}

/// One part of a checkpoint: absolute values over whatever stands there.
pub(super) fn checkpoint(
    tables: &mut WriteTables<'_>,
    counters: &[(KeyId, KeyCounters)],
) -> Result<Done<()>, ChangeError> {
    for (id, counters) in counters {
        let bytes = codec::counts::counters_to_bytes(counters)?;
        tables
            .key_counters
            .insert(id.as_u128(), &bytes)
            .map_err(StoreError::database("write a key's counters"))?;
    }
    Ok(Done { value: (), wrote: !counters.is_empty() })
}

pub(super) fn put_meters(tables: &mut WriteTables<'_>, meters: &[MeterCount]) -> Result<(), StoreError> {
    for count in meters {
        let bytes = codec::counts::meter_to_bytes(&count.row)?;
        let place = meter_place(count.workspace, &count.meter, count.period);
        tables.meters.insert(place.as_slice(), &bytes).map_err(StoreError::database("write a meter"))?;
    }
    Ok(())
}

fn remove_meters(tables: &mut WriteTables<'_>, workspace: WorkspaceId) -> Result<(), StoreError> {
    let first = workspace.as_u128().to_be_bytes();
    let behind = workspace.as_u128().checked_add(1).map(u128::to_be_bytes);
    let behind = behind.as_ref().map_or(Bound::Unbounded, |next| Bound::Excluded(next.as_slice()));
    tables
        .meters
        .remove_in::<&[u8]>((Bound::Included(first.as_slice()), behind))
        .map_err(StoreError::database("remove the meters of a moved anchor"))
}

/// Runs a caller's change; its panic is its own and spoils no neighbour.
pub(super) fn changed<T>(change: impl FnOnce(T) -> T, old: T) -> Result<T, ChangeError> {
    catch_unwind(AssertUnwindSafe(|| change(old))).map_err(|_| ChangeError::Misfit("it panicked"))
}

/// The prefixes that a key is found by: those of its secrets that are of our own making.
fn prefixes(key: &KeyRecord) -> impl Iterator<Item = Prefix> {
    key.secrets.iter().filter(|secret| secret.imported.is_none()).map(|secret| secret.prefix)
}

fn check_new_key(tables: &WriteTables<'_>, new: &KeyRecord) -> Result<(), ChangeError> {
    if key_row(tables, new.id)?.is_some() {
        return Err(ChangeError::Exists);
    }
    prefixes(new).try_for_each(|prefix| check_prefix_is_free(tables, prefix))
}

fn check_prefix_is_free(tables: &WriteTables<'_>, prefix: Prefix) -> Result<(), ChangeError> {
    let (first, last) = ((*prefix.as_bytes(), 0), (*prefix.as_bytes(), u128::MAX));
    let mut known = tables
        .keys_by_prefix
        .keys_between(&first, &last)
        .map_err(StoreError::database("read the index of prefixes"))?;
    if known.next().is_some() { Err(ChangeError::PrefixTaken) } else { Ok(()) }
}

fn has_workspace(tables: &WriteTables<'_>, id: WorkspaceId) -> Result<bool, StoreError> {
    let row = tables.workspaces.get(id.as_u128()).map_err(StoreError::database("read a workspace"))?;
    Ok(row.is_some())
}

fn workspace(tables: &WriteTables<'_>, id: WorkspaceId) -> Result<Option<WorkspaceRecord>, StoreError> {
    let row = tables.workspaces.get(id.as_u128()).map_err(StoreError::database("read a workspace"))?;
    row.map(|bytes| codec::workspace::from_bytes(id, bytes.value())).transpose()
}

pub(super) fn key(tables: &WriteTables<'_>, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    key_row(tables, id)?.map(|bytes| codec::key::from_bytes(id, bytes.value())).transpose()
}

fn key_row<'a>(tables: &'a WriteTables<'_>, id: KeyId) -> Result<Option<Record<'a>>, StoreError> {
    tables.keys.get(id.as_u128()).map_err(StoreError::database("read a key"))
}

fn put_workspace(tables: &mut WriteTables<'_>, new: &WorkspaceRecord) -> Result<(), StoreError> {
    let bytes = codec::workspace::to_bytes(new)?;
    tables.workspaces.insert(new.id.as_u128(), &bytes).map_err(StoreError::database("write a workspace"))
}

/// Writes a key and its index rows over those of `old`. It does not ask whether a prefix is taken: keys that
/// come from elsewhere may share one.
pub(super) fn put_key(
    tables: &mut WriteTables<'_>,
    old: Option<&KeyRecord>,
    new: &KeyRecord,
) -> Result<(), StoreError> {
    for witness in &tables.witnesses {
        witness(new);
    }
    let id = new.id.as_u128();
    let bytes = codec::key::to_bytes(new)?;
    tables.keys.insert(id, &bytes).map_err(StoreError::database("write a key"))?;
    for gone in old.into_iter().flat_map(prefixes).filter(|prefix| !prefixes(new).any(|kept| kept == *prefix))
    {
        tables
            .keys_by_prefix
            .remove((*gone.as_bytes(), id))
            .map_err(StoreError::database("write the index of prefixes"))?;
    }
    for prefix in prefixes(new) {
        tables
            .keys_by_prefix
            .add((*prefix.as_bytes(), id))
            .map_err(StoreError::database("write the index of prefixes"))?;
    }
    put_handles(tables, old, new)?;
    if old.is_none() {
        tables
            .keys_by_workspace
            .add((new.workspace.as_u128(), id))
            .map_err(StoreError::database("write the index of workspaces"))?;
    }
    for stored in new.secrets.iter().filter_map(|secret| secret.fingerprint.as_ref()) {
        note_maker(tables, stored.made_by)?;
    }
    Ok(())
}
