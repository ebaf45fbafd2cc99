//! What do changes cost that are durable, and how many go through?
//!
//! A create and a revoke, each acknowledged (with the cheapest slow hash), against writing and syncing 4 KiB on the same
//! disk, in turn; creates by ten callers against one; an import of stored hashes with nothing else waiting, and beside
//! somebody who revokes keys all the time; the file against the bytes of its rows, as it was written and compacted.
//!
//! Guessed before measuring: 5 × a sync for either; ten callers 7 × one; 60 thousand imports a second alone and 15
//! beside revokes, which then take 2 × as long; 1.8 and 1.15 × the bytes.
//!
//! `-- changes`, `-- imports` and `-- bytes` ask for a part. Without `--bench` it runs a few of each, to see that it
//! works.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

mod world;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyward::clock::Clock;
use keyward::domain::audit::Actor;
use keyward::domain::hash::{StoredHash, sha256};
use keyward::domain::id::{KeyId, WorkspaceId};
use keyward::domain::legacy::{Alphabet, LegacyShape};
use keyward::engine::{ImportContent, ImportMode, NewImport};
use keyward::store::key_record_to_bytes;
use redb::{ReadableDatabase, ReadableTableMetadata, TableHandle};
use world::bars::{Bar, tell};
use world::{World, new_key};

/// Records of one import call, the most that the admin API takes.
const CALL_RECORDS: usize = 10_000;

const PARTS: [&str; 3] = ["changes", "imports", "bytes"];

struct Scale {
    changes: usize,
    imports: usize,
    kept: usize,
}

fn main() {
    let scale = if world::is_smoke_run() {
        Scale { changes: 5, imports: 1_500, kept: 2_000 }
    } else {
        Scale { changes: 300, imports: 200_000, kept: 1_000_000 }
    };
    let clock = Clock::machine();
    let asked: Vec<_> = std::env::args().filter(|argument| PARTS.contains(&argument.as_str())).collect();
    let is_asked = |part: &str| asked.is_empty() || asked.iter().any(|asked| asked == part);
    let world = World::with_keys(200, 1_000);
    let workspace =
        world.keys[0].prefix().map(|prefix| world.store.keys_by_prefix(prefix).unwrap()[0].workspace);
    let workspace = workspace.unwrap();
    if is_asked("changes") {
        changes(&scale, &world, workspace, &clock);
    }
    if is_asked("imports") {
        imports(&scale, &world, workspace, &clock);
    }
    drop(world);
    if is_asked("bytes") {
        bytes(&scale);
    }
}

fn changes(scale: &Scale, world: &World, workspace: WorkspaceId, clock: &Clock) {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(world.dir().join("sync")).unwrap();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let (mut syncs, mut creates, mut revokes) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..scale.changes {
        syncs.push(taken(clock, || {
            file.write_all_at(&[number.to_le_bytes()[0]; 4096], (number as u64 % 256) * 4096).unwrap();
            file.sync_data().unwrap();
        }));
        let mut made = None;
        creates.push(taken(clock, || made = Some(create(world, workspace))));
        let id = made.unwrap();
        let revoke = world.engine.revoke_key(Actor::System, id);
        revokes.push(taken(clock, || drop(world.runtime.block_on(revoke).unwrap())));
    }
    let (sync, create_time, revoke) = (median(&mut syncs), median(&mut creates), median(&mut revokes));
    tell("14", "a 4 KiB write and its sync, µs", sync / 1e3, Bar::Told);
    tell("14", "a create, acknowledged, × a sync", create_time / sync, Bar::Most(6.0));
    tell("14", "a revoke, acknowledged, × a sync", revoke / sync, Bar::Most(6.0));
    let rounds = scale.changes.div_ceil(10);
    let one = taken(clock, || (0..rounds).for_each(|_| _ = create(world, workspace))) / rounds as f64;
    let ten = taken(clock, || {
        for _ in 0..rounds {
            let made: Vec<_> = (0..10)
                .map(|_| {
                    let engine = Arc::clone(&world.engine);
                    world
                        .runtime
                        .spawn(async move { engine.create_key(Actor::System, new_key(workspace)).await })
                })
                .collect();
            for made in made {
                world.runtime.block_on(made).unwrap().unwrap();
            }
        }
    }) / (10 * rounds) as f64;
    tell("14", "creates a second by ten callers, × one caller's", one / ten, Bar::Least(4.5));
}

fn create(world: &World, workspace: WorkspaceId) -> KeyId {
    let made = world.engine.create_key(Actor::System, new_key(workspace));
    world.runtime.block_on(made).unwrap().record.id
}

fn imports(scale: &Scale, world: &World, workspace: WorkspaceId, clock: &Clock) {
    let mut number = 0;
    let alone = taken(clock, || import(scale.imports, &mut number, world, workspace));
    tell(
        "15",
        "imports a second, nothing else waiting",
        scale.imports as f64 / alone * 1e9,
        Bar::Least(40_000.0),
    );

    let mut quiet: Vec<_> = (0..scale.changes).map(|_| revoke_time(world, workspace, clock)).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut busy, mut beside) = (Vec::new(), 0.0);
    std::thread::scope(|scope| {
        let imports = scope.spawn(|| {
            let time = taken(clock, || import(scale.imports / 2, &mut number, world, workspace));
            is_over.store(true, Ordering::Relaxed);
            time
        });
        while !is_over.load(Ordering::Relaxed) {
            busy.push(revoke_time(world, workspace, clock));
        }
        beside = imports.join().unwrap();
    });
    let rate = scale.imports as f64 / 2.0 / beside * 1e9;
    tell("15", "imports a second beside revokes", rate, Bar::Least(10_000.0));
    let (quiet, busy) = (p99(&mut quiet), p99(&mut busy));
    tell("15", "99th percentile of a revoke, quiet, ms", quiet / 1e6, Bar::Told);
    tell("15", "99th percentile of a revoke beside an import, × quiet", busy / quiet, Bar::Most(3.0));
}

fn revoke_time(world: &World, workspace: WorkspaceId, clock: &Clock) -> f64 {
    let revoke = world.engine.revoke_key(Actor::System, create(world, workspace));
    taken(clock, || drop(world.runtime.block_on(revoke).unwrap()))
}

fn import(count: usize, number: &mut usize, world: &World, workspace: WorkspaceId) {
    let shape = LegacyShape::new("old_", 40, 40, Alphabet::Base62).unwrap();
    for call in (0..count).collect::<Vec<_>>().chunks(CALL_RECORDS) {
        let records = call.iter().map(|_| {
            *number += 1;
            let digest = sha256(format!("old_{number:036}").as_bytes());
            NewImport {
                key: new_key(workspace),
                profile: Arc::clone(&world.profile),
                shape: shape.clone(),
                head: "old_".to_owned(),
                content: ImportContent::Hash(StoredHash::sha256_whole(digest)),
                is_random: true,
            }
        });
        let imported = world.engine.import(Actor::System, records.collect(), ImportMode::Write);
        let report = world.runtime.block_on(imported).unwrap();
        assert!(report.iter().all(Result::is_ok));
    }
}

/// The rows of a key: its record, its prefix and its place in its workspace, keys and all. Audit rows and workspaces are
/// a hundredth of it. The keys were made in the order of their ids, as in the course of time.
fn bytes(scale: &Scale) {
    let world = World::imported(scale.kept);
    let record = &world.store.keys_by_prefix(world.keys[1].prefix().unwrap()).unwrap()[0];
    let row = (16 + key_record_to_bytes(record).unwrap().len()) + (8 + 16) + (16 + 16);
    let rows = (row * scale.kept) as f64;
    let path = world.dir().join("keyward.redb");
    // Blocks and not the length: a file grows by doubling, and its end is a hole.
    let len = || std::fs::metadata(&path).unwrap().blocks() as f64 * 512.0;
    tell("13", "bytes of a key's rows", row as f64, Bar::Told);
    tell("13", "file as written, × the bytes of its rows", len() / rows, Bar::Most(1.85));
    world.engine.stop();
    world.store.close().unwrap();
    let mut database = redb::Database::open(&path).unwrap();
    let txn = database.begin_read().unwrap();
    for table in txn.list_tables().unwrap() {
        let (name, stats) =
            (table.name().to_owned(), txn.open_untyped_table(table).unwrap().stats().unwrap());
        let bytes = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        println!(
            "{name}: {bytes} bytes, {} of them its rows, {} free",
            stats.stored_bytes(),
            stats.fragmented_bytes()
        );
    }
    drop(txn);
    while database.compact().unwrap() {}
    drop(database);
    tell("13", "file compacted, × the bytes of its rows", len() / rows, Bar::Most(1.2));
}

fn taken(clock: &Clock, work: impl FnOnce()) -> f64 {
    let begun = clock.now().mono.nanos();
    work();
    (clock.now().mono.nanos() - begun) as f64
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn p99(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}
