//! What the admin API shows: records from the file, with what memory knows better.
//!
//! A key's last use is exact at once: its slot's, when it has one, and the last checkpoint's otherwise.
//!
//! Never here: a change, or how something is shown (surface).

use std::sync::Arc;

use super::loading::read_failed;
use super::{ChangeRefused, Engine};
use crate::domain::audit::AuditRow;
use crate::domain::audit::chain::{AuditChain, AuditVerdict};
use crate::domain::audit::seal::AuditHead;
use crate::domain::counts::KeyCounters;
use crate::domain::id::{KeyId, WorkspaceId};
use crate::domain::meter::thresholds::Thresholds;
use crate::domain::record::{KeyRecord, KeyStatus, WorkspaceRecord, WorkspaceStatus};
use crate::domain::time::Wall;
use crate::store::{KeyFilter, Listed, Page, Store, StoreError, WorkspaceFilter};

/// A key as it is shown.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Its record.
    pub record: KeyRecord,
    /// Its last successful authentication, by whichever secret.
    pub last_used_at: Option<Wall>,
    /// The last use of each secret, in the record's order.
    pub secrets_used_at: Vec<Option<Wall>>,
}

/// Which keys are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyList {
    /// Of this workspace alone.
    pub workspace: Option<WorkspaceId>,
    /// Not of this workspace.
    pub leave_out: Option<WorkspaceId>,
    /// Of this status at this moment.
    pub status: Option<(KeyStatus, Wall)>,
    /// Neither used nor made since then.
    pub unused_since: Option<Wall>,
}

/// A meter as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterView {
    /// Its name.
    pub name: String,
    /// Units admitted in this period.
    pub used: u64,
    /// Units that were reserved when the daemon died, and are not known to have been used. They count against
    /// the limit.
    pub burnt: u64,
    /// Units reserved on the disk, used and burnt ones among them.
    pub reserved: u64,
    /// The limit that was agreed on; `None` is unlimited.
    pub limit: Option<u64>,
    /// Units that this period admits, grace included; `None` is unlimited.
    pub admitted: Option<u64>,
    /// When this period started.
    pub started_at: Wall,
    /// When the next period starts.
    pub resets_at: Wall,
    /// The thresholds that were passed in this period.
    pub thresholds: Thresholds,
}

impl KeyView {
    /// A key that was just made.
    pub fn unused(record: KeyRecord) -> Self {
        let secrets_used_at = vec![None; record.secrets.len()];
        Self { record, last_used_at: None, secrets_used_at }
    }
}

impl Engine {
    /// One key.
    pub async fn key_view(&self, id: KeyId) -> Result<KeyView, ChangeRefused> {
        let read = self.read(move |store| Ok((store.key(id)?, store.key_counters(id)?))).await;
        let (record, counters) = read.map_err(|error| read_failed(&error))?;
        Ok(self.view(record.ok_or(ChangeRefused::NoSuchKey)?, counters))
    }

    /// Keys by id, a page of them.
    pub async fn key_views(&self, list: KeyList, page: Page) -> Result<Listed<KeyView>, ChangeRefused> {
        let slots = Arc::clone(&self.slots);
        let read = self.read(move |store| {
            let fits = |record: &KeyRecord, counters: KeyCounters| {
                let has_status = list.status.is_none_or(|(status, now)| record.status(now) == status);
                let is_unused = || {
                    list.unused_since.is_none_or(|since| {
                        let live = slots.key(record.id).and_then(|slot| slot.last_used_at());
                        live.max(counters.last_used_at).unwrap_or(record.created_at) <= since
                    })
                };
                has_status && is_unused()
            };
            let has_condition = list.status.is_some() || list.unused_since.is_some();
            let filter = KeyFilter {
                workspace: list.workspace,
                leave_out_workspace: list.leave_out,
                condition: has_condition.then_some(&fits),
            };
            let listed = store.keys(&filter, page)?;
            let with_counters = |record: KeyRecord| {
                let counters = store.key_counters(record.id)?;
                Ok((record, counters))
            };
            let items =
                listed.items.into_iter().map(with_counters).collect::<Result<Vec<_>, StoreError>>()?;
            Ok(Listed { items, total: listed.total, unreadable: listed.unreadable })
        });
        let listed = note_unreadable(read.await.map_err(|error| read_failed(&error))?);
        let items = listed.items.into_iter().map(|(record, counters)| self.view(record, counters)).collect();
        Ok(Listed { items, total: listed.total, unreadable: listed.unreadable })
    }

    /// Workspaces by id, a page of them, without those of the profile `left_out`: of one status, or all that are
    /// not deleted.
    pub async fn workspaces(
        &self,
        left_out: &str,
        status: Option<WorkspaceStatus>,
        page: Page,
    ) -> Result<Listed<WorkspaceRecord>, ChangeRefused> {
        let left_out = left_out.to_owned();
        let read = self.read(move |store| {
            store.workspaces(WorkspaceFilter { leave_out_profile: Some(&left_out), status }, page)
        });
        read.await.map(note_unreadable).map_err(|error| read_failed(&error))
    }

    /// The meters of a workspace in the present period.
    pub async fn meters(&self, id: WorkspaceId) -> Result<Vec<MeterView>, ChangeRefused> {
        let record = self.workspace(id).await?;
        let slot = self.fill_workspace(&record).await.map_err(|error| read_failed(&error))?;
        let slot = slot.ok_or(ChangeRefused::NoSuchWorkspace)?;
        let now = self.clock.now().wall;
        let unread = slot.meters.unread(&slot.facts.load(), now);
        for (number, period) in unread {
            let name = slot.profile.meter_name(number).to_owned();
            let row = self.read(move |store| store.meter_row(id, &name, period)).await;
            slot.meters.open(number, period, row.map_err(|error| read_failed(&error))?.as_ref());
        }
        let (facts, books) = (slot.facts.load(), slot.meters.views().into_iter());
        let views = slot.profile.meters.iter().zip(books).zip(facts.meters()).map(|((name, book), terms)| {
            MeterView {
                name: name.clone(),
                used: book.spent.saturating_sub(book.burnt),
                burnt: book.burnt,
                reserved: book.reserved,
                limit: terms.limit,
                admitted: terms.admitted,
                started_at: book.period.start,
                resets_at: book.period.end,
                thresholds: book.thresholds,
            }
        });
        Ok(views.collect())
    }

    /// Rows of the audit log behind number `after`, at most `limit`.
    pub async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, ChangeRefused> {
        self.read(move |store| store.audit(after, limit)).await.map_err(|error| read_failed(&error))
    }

    /// The newest row of the audit log.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, ChangeRefused> {
        self.read(Store::audit_head).await.map_err(|error| read_failed(&error))
    }

    /// Checks the whole audit log as it stands now, and against `anchor` when there is one. It reads page by
    /// page, so that other reads have their turns.
    pub async fn verify_audit(&self, anchor: Option<AuditHead>) -> Result<AuditVerdict, ChangeRefused> {
        let to = self.audit_head().await?.map_or(0, |head| head.seq);
        let (mut chain, mut has_more) = (AuditChain::new(anchor), true);
        while has_more {
            let page = self.read(move |store| {
                let has_more = store.check_audit(&mut chain, to)?;
                Ok((chain, has_more))
            });
            (chain, has_more) = page.await.map_err(|error| read_failed(&error))?;
        }
        Ok(chain.finish())
    }

    /// A record with what memory and `counters` know of its use.
    pub(super) fn view(&self, record: KeyRecord, counters: Option<KeyCounters>) -> KeyView {
        let slot = self.slots.key(record.id);
        let live = slot.as_ref().and_then(|slot| slot.last_used_at());
        let counters = counters.unwrap_or_default();
        let used_at = |epoch: u32| {
            let live = slot.as_ref().and_then(|slot| slot.last_use_of(epoch));
            live.max(counters.last_use_of(epoch, &record.secrets))
        };
        let secrets_used_at = record.secrets.iter().map(|secret| used_at(secret.epoch)).collect();
        KeyView { record, last_used_at: live.max(counters.last_used_at), secrets_used_at }
    }
}

/// Says that a list is shorter than it should be.
fn note_unreadable<T>(listed: Listed<T>) -> Listed<T> {
    if listed.unreadable > 0 {
        tracing::error!(records = listed.unreadable, "a list leaves out records that cannot be read");
    }
    listed
}
