//! Finding what is stored: by prefix, in lists, beside records that cannot be read.
//!
//! Hashes are made once and cloned; no look-up runs one.
//!
//! Never here: what a found key may do.

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn one_of_ten_thousand_keys_of_a_tag_is_the_only_candidate_of_its_prefix() {
    let room = room().await;
    let mut waiters = JoinSet::new();
    for number in 1..=10_000 {
        let (store, key) = (room.store.clone(), room.key(number));
        waiters.spawn(async move { store.create_key(key, audit()).await });
        if waiters.len() == queue::LANE_MAX {
            waiters.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(done) = waiters.join_next().await {
        done.unwrap().unwrap();
    }
    for number in [1, 5_000, 10_000] {
        let found = room.store.keys_by_prefix(prefix(number)).unwrap();
        assert_eq!(found, [room.key(number)]);
    }
    assert!(room.store.keys_by_prefix(prefix(10_001)).unwrap().is_empty());
    let page = room.store.keys(&KeyFilter::default(), Page::new(9_990, 100)).unwrap();
    assert_eq!((page.items.len(), page.total), (11, 10_001));
    assert!(page.items.is_sorted_by_key(|key| key.id));
}

#[tokio::test]
async fn two_keys_of_one_prefix_are_both_found() {
    let room = room().await;
    let import = |room: &Room, number: u32| KeyRecord { id: KeyId::from_u128(number.into()), ..room.key(1) };
    let (one, other) = (import(&room, 50), import(&room, 60));
    let both = [one.clone(), other.clone()];
    let room = room.edited(|txn| {
        let mut tables = WriteTables::open(txn).unwrap();
        changes::put_key(&mut tables, None, &one).unwrap();
        changes::put_key(&mut tables, None, &other).unwrap();
    });
    assert_eq!(room.store.keys_by_prefix(prefix(1)).unwrap(), both);
    assert!(matches!(room.create(1).await, Err(ChangeError::PrefixTaken)));
}

#[tokio::test]
async fn the_index_follows_a_keys_secrets() {
    let room = room().await;
    room.create(1).await.unwrap();
    room.create(2).await.unwrap();
    let id = KeyId::from_u128(1);
    let replace_by = |number: u32| {
        let secret = room.secret(number);
        room.store.update_key(id, Urgency::Admin, audit(), move |mut key| {
            key.version += 1;
            key.secrets = vec![secret];
            key
        })
    };
    assert!(matches!(replace_by(2).await, Err(ChangeError::PrefixTaken)));
    replace_by(3).await.unwrap();
    assert!(room.store.keys_by_prefix(prefix(1)).unwrap().is_empty());
    assert_eq!(room.store.keys_by_prefix(prefix(3)).unwrap()[0].id, id);
    assert_eq!(room.store.keys_by_prefix(prefix(2)).unwrap()[0].id, KeyId::from_u128(2));
}

#[tokio::test]
async fn the_makers_of_fingerprints_and_seals_are_known_for_good() {
    let room = room().await;
    let without = |mut key: KeyRecord| {
        key.version += 1;
        key.secrets.iter_mut().for_each(|secret| secret.fingerprint = None);
        key
    };
    room.store.update_key(KeyId::from_u128(0), Urgency::Admin, audit(), without).await.unwrap();
    let names = room.reopened().store.install_secret_names().unwrap();
    for name in [SecretId::from_bytes([1; 8]), AuditSealer::new(&[1; 32]).made_by()] {
        assert!(names.contains(&name), "{name:?}");
    }
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn lists_are_filtered_paged_and_counted() {
    let room = room().await;
    let other = WorkspaceId::from_u128(2);
    let foreign = WorkspaceRecord { profile: "system".to_owned(), ..workspace(other) };
    let default_key = KeyRecord { workspace: other, ..room.key(1) };
    room.store.create_workspace(foreign, default_key, audit()).await.unwrap();
    for number in 2..=5 {
        room.create(number).await.unwrap();
    }
    let list = |filter: KeyFilter<'_>, page: Page| {
        let listed = room.store.keys(&filter, page).unwrap();
        (listed.items.iter().map(|key| key.id.as_u128()).collect::<Vec<_>>(), listed.total)
    };
    let all = Page::new(0, PAGE_MAX);
    let (ours, theirs) = (Some(SYSTEM), Some(other));
    let none = KeyFilter::default();
    let even: KeyCondition<'_> =
        &|key, counters| key.id.as_u128() % 2 == 0 && counters.last_used_at.is_none();
    assert_eq!(list(none, all), (vec![0, 1, 2, 3, 4, 5], 6));
    assert_eq!(list(none, Page::new(2, 2)), (vec![2, 3], 6));
    assert_eq!(list(none, Page::new(9, 2)), (vec![], 6));
    assert_eq!(list(KeyFilter { workspace: ours, ..none }, all), (vec![0, 2, 3, 4, 5], 5));
    assert_eq!(list(KeyFilter { workspace: ours, ..none }, Page::new(1, 1)), (vec![2], 5));
    assert_eq!(list(KeyFilter { leave_out_workspace: theirs, ..none }, all), (vec![0, 2, 3, 4, 5], 5));
    assert_eq!(list(KeyFilter { workspace: ours, leave_out_workspace: ours, ..none }, all), (vec![], 0));
    assert_eq!(list(KeyFilter { condition: Some(even), ..none }, Page::new(1, 1)), (vec![2], 3));
    let filter = WorkspaceFilter { leave_out_profile: Some("system"), status: None };
    let listed = room.store.workspaces(filter, all).unwrap();
    assert_eq!((listed.items.as_slice(), listed.total), ([workspace(SYSTEM)].as_slice(), 1));
    assert_eq!(
        room.store.workspaces(WorkspaceFilter::default(), Page::new(1, 1)).unwrap().items[0].id,
        other
    );
}

#[tokio::test]
async fn a_deleted_workspace_takes_no_key_and_is_listed_only_by_its_status() {
    let room = room().await;
    room.create(1).await.unwrap();
    let delete = WorkspaceRecord::deleted;
    for _ in 0..2 {
        let deleted = room.store.update_workspace(SYSTEM, Urgency::Revoke, audit(), delete, None).await;
        assert_eq!(deleted.unwrap().status, WorkspaceStatus::Deleted);
    }
    assert!(matches!(room.create(2).await, Err(ChangeError::WorkspaceDeleted)));
    let rename = WorkspacePatch { plan: Some("x".to_owned()), ..WorkspacePatch::default() };
    let kept =
        room.store.update_workspace(SYSTEM, Urgency::Admin, audit(), |found| found.patched(rename), None);
    assert_eq!(kept.await.unwrap(), workspace(SYSTEM).deleted());
    assert_eq!(room.audit_rows(), [1, 2, 3]);
    let listed = |status| {
        let filter = WorkspaceFilter { status, ..WorkspaceFilter::default() };
        room.store.workspaces(filter, Page::new(0, 9)).unwrap().total
    };
    let statuses = [None, Some(WorkspaceStatus::Active), Some(WorkspaceStatus::Deleted)];
    assert_eq!(statuses.map(listed), [0, 0, 1]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_for_itself_and_no_other() {
    let room = room().await;
    room.create(1).await.unwrap();
    let room = room.edited(|txn| {
        tables::KEYS.write(txn).unwrap().insert(0, &[1, 0xC1]).unwrap();
    });
    let id = KeyId::from_u128(0);
    assert!(matches!(room.store.key(id), Err(StoreError::Corrupt { table: "keys", .. })));
    assert!(matches!(room.store.keys_by_prefix(prefix(0)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(room.rename(id, "x").await, Err(ChangeError::Unreadable(StoreError::Corrupt { .. }))));
    assert!(room.rename(KeyId::from_u128(1), "x").await.is_ok());
    let listed = room.store.keys(&KeyFilter::default(), Page::new(0, 10)).unwrap();
    assert_eq!((listed.items.len(), listed.total, listed.unreadable), (1, 2, 1));
}
