//! A workspace whose billing anchor moves: what becomes of its meter rows, whose periods are numbered from
//! the anchor.
//!
//! Never here: how a count is numbered anew; the engine says it.

use super::*;

const OTHER: WorkspaceId = WorkspaceId::from_u128(2);

fn meters(rows: Vec<MeterCount>) -> Counted {
    Counted { meters: vec![Fixed::of(rows)], ..Counted::default() }
}

fn count(workspace: WorkspaceId, meter: &str, period: u32, used: u64) -> MeterCount {
    let row = MeterRow { reserved: used, used, ..MeterRow::default() };
    MeterCount { workspace, meter: meter.to_owned(), period, row }
}

/// A room where the first workspace has counted for three months, beside another that has as well.
async fn counting_room() -> Room {
    let room = room().await;
    let default_key = KeyRecord { workspace: OTHER, ..room.key(1) };
    room.store.create_workspace(workspace(OTHER), default_key, audit()).await.unwrap();
    let mut counts: Vec<_> = (0..3).map(|period| count(SYSTEM, "ai", period, 70)).collect();
    counts.extend([count(SYSTEM, "mcp_calls", 2, 7), count(OTHER, "ai", 2, 5)]);
    room.store.checkpoint(meters(counts)).await.unwrap();
    room
}

impl Room {
    async fn move_anchor(
        &self,
        anchor: Wall,
        meters: Vec<MeterCount>,
    ) -> Result<WorkspaceRecord, ChangeError> {
        let patch = WorkspacePatch { billing_anchor: Some(anchor), ..WorkspacePatch::default() };
        self.store
            .update_workspace(
                SYSTEM,
                Urgency::Admin,
                audit(),
                |found| found.patched(patch),
                Some(Fixed::of(meters)),
            )
            .await
    }

    /// What a kill at this instant would leave on the disk.
    fn killed(&self) -> Store {
        let killed = self.path.with_file_name("killed.redb");
        std::fs::copy(&self.path, &killed).unwrap();
        Store::open(&killed, StoreOptions::default()).unwrap()
    }

    fn used(&self, meter: &str, period: u32) -> Option<u64> {
        used(&self.killed(), SYSTEM, meter, period)
    }
}

#[tokio::test]
async fn no_row_of_the_old_anchor_is_met_under_the_new_one() {
    let room = counting_room().await;
    room.move_anchor(Wall::from_secs(1_700_086_400), vec![count(SYSTEM, "ai", 0, 70)]).await.unwrap();
    let after: Vec<_> = (0..3).map(|period| room.used("ai", period)).collect();
    assert_eq!(after, [Some(70), None, None]);
    assert_eq!(room.used("mcp_calls", 2), None);
    assert_eq!(used(&room.store, OTHER, "ai", 2), Some(5), "another workspace's rows stay");
}

#[tokio::test]
async fn a_month_that_is_used_up_stays_so_when_the_anchor_moves_and_a_kill_follows() {
    let room = counting_room().await;
    let present = vec![count(SYSTEM, "ai", 3, 70), count(SYSTEM, "mcp_calls", 3, 7)];
    let moved = room.move_anchor(Wall::from_secs(1_690_000_000), present).await.unwrap();
    assert_eq!(room.killed().workspace(SYSTEM).unwrap(), Some(moved), "acknowledged");
    assert_eq!(room.used("ai", 3), Some(70));
    assert_eq!(room.used("mcp_calls", 3), Some(7));
    assert_eq!(room.audit_rows(), [1, 2, 3]);
}

#[tokio::test]
async fn an_anchor_that_stays_leaves_the_rows_of_other_months_alone() {
    let room = counting_room().await;
    room.move_anchor(AT, Vec::new()).await.unwrap();
    let patch = WorkspacePatch { name: Label::parse("Renamed"), ..WorkspacePatch::default() };
    let renamed = |found: WorkspaceRecord| found.patched(patch);
    let present = vec![count(SYSTEM, "ai", 0, 71)];
    room.store
        .update_workspace(SYSTEM, Urgency::Admin, audit(), renamed, Some(Fixed::of(present)))
        .await
        .unwrap();
    assert_eq!((room.used("ai", 0), room.used("ai", 2)), (Some(71), Some(70)));
}

#[tokio::test]
async fn the_last_workspace_of_all_ids_loses_its_own_rows_too() {
    let room = counting_room().await;
    let last = WorkspaceId::from_u128(u128::MAX);
    let default_key = KeyRecord { workspace: last, ..room.key(2) };
    room.store.create_workspace(workspace(last), default_key, audit()).await.unwrap();
    room.store.checkpoint(meters(vec![count(last, "ai", 4, 9)])).await.unwrap();
    let patch = WorkspacePatch { billing_anchor: Some(Wall::from_secs(0)), ..WorkspacePatch::default() };
    let moved = |found: WorkspaceRecord| found.patched(patch);
    room.store.update_workspace(last, Urgency::Admin, audit(), moved, None).await.unwrap();
    assert_eq!(used(&room.store, last, "ai", 4), None);
    assert_eq!(room.used("ai", 2), Some(70));
}
