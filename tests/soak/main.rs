#![cfg(test)]
//! The real binary under mixed traffic for as long as one likes, with a checker that knows the truth.
//!
//! Callers at every door and every sort of change to keys and workspaces, all at once, while the daemon is killed and
//! stopped and started again; in the middle it runs on for most of the time, and its memory is watched. Every answer is
//! judged by what was true while it was under way ([`truth`]); at the end the meters are held against what the upstream
//! saw, every key against the admin API, and the audit log against itself.
//!
//! Plain `cargo test` does this for twenty seconds. The long run, whose tables stand in docs/soak.md:
//!
//!     SOAK_SECONDS=1800 cargo test --release --test soak -- --ignored --nocapture
//!
//! Never here: an assertion about how fast somebody was served.

mod changes;
mod clients;
#[path = "../harness/mod.rs"]
mod harness;
mod report;
mod truth;
mod upstream;

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use clients::{Place, World};
use harness::program::{Program, command, text};
use harness::random::Random;
use harness::wire::Call;
use report::Report;
use truth::{Absences, Timeline, Workspace, now};
use upstream::Upstream;

const CALLERS: usize = 6;
const LISTENERS: usize = 2;
const CHANGERS: usize = 2;
/// Each workspace's month: without an end, with one that is not reached, and with one that is.
const LIMITS: [Option<u64>; 3] = [None, Some(1_000_000), Some(400)];
/// The longest that the daemon is left alone while it is killed again and again.
const KILL_EVERY_MAX: Duration = Duration::from_secs(16);
/// What its memory may grow by between the first and the last third of the time in which it is left alone: what
/// is known of keys in use, and what the allocator keeps.
const MORE_KIB_MAX: u64 = 6 * 1024;
/// The shortest run whose memory says something.
const WATCHED_MIN: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_seconds_of_everything_at_once_give_no_wrong_answer() {
    soaked(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour, or SOAK_SECONDS"]
async fn half_an_hour_of_everything_at_once_gives_no_wrong_answer() {
    soaked(Duration::from_secs(seconds_asked_for().unwrap_or(1_800))).await;
}

#[expect(clippy::disallowed_methods, reason = "no part of the daemon")]
fn seconds_asked_for() -> Option<u64> {
    std::env::var("SOAK_SECONDS").ok()?.parse().ok()
}

async fn soaked(length: Duration) {
    let mut random = Random::seeded();
    println!("seed {}", random.seed());
    let upstream = Upstream::start().await;
    let dir = in_front_of(&upstream);
    let (tell, place) = watch::channel(None);
    let program = served(dir.path(), &tell).await;
    let mut workspaces = Vec::new();
    for limit in LIMITS {
        workspaces.push(Arc::new(workspace(&program, limit).await));
    }
    let world = Arc::new(World {
        keys: Mutex::default(),
        absences: Absences::default(),
        place,
        report: Report::default(),
        until: OnceLock::new(),
    });
    for turn in 0..12 {
        changes::make_key(&world, &workspaces[turn % workspaces.len()], &mut random).await;
    }
    world.until.set(now() + length).unwrap();
    let mut others = JoinSet::new();
    let mut seed = || Random::from_seed(random.up_to(u64::MAX - 1));
    for _ in 0..CALLERS {
        others.spawn(clients::call(Arc::clone(&world), seed()));
    }
    for _ in 0..LISTENERS {
        others.spawn(clients::listen(Arc::clone(&world), seed()));
    }
    for _ in 0..CHANGERS {
        others.spawn(changes::change(Arc::clone(&world), workspaces.clone(), seed()));
    }
    let program = ended_and_watched(program, &world, dir.path(), &tell, length, seed()).await;
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }
    let (code, program) = {
        let code = program.stop("TERM").await.code();
        (code, served(dir.path(), &tell).await)
    };
    assert_eq!(code, Some(0), "the last stop was not clean");
    let meters = meters_agree(&program, &world, &upstream, &workspaces).await;
    keys_agree(&program, &world).await;
    let audit = program.admin_json(Call::get("/api/v1/audit/verify")).await;
    assert_eq!(audit["whole"], true, "{audit}");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    println!("{}{meters}\nrows of the audit log: {}, whole", world.report.told(), audit["rows"]);
    println!("requests that reached the upstream: {}", upstream.all());
    let wrong: Vec<_> = world.report.all_wrong().into_iter().chain(upstream.wrong()).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let (answers, kinds) = world.report.breadth();
    assert!(kinds > 15, "{answers} answers of {kinds} kinds judge nothing");
}

/// Ends the daemon again and again at the beginning and towards the end, and watches its memory in between.
async fn ended_and_watched(
    mut program: Program,
    world: &World,
    dir: &Path,
    tell: &watch::Sender<Option<Place>>,
    length: Duration,
    mut random: Random,
) -> Program {
    let begun = now();
    let passed = |share: f64| begun + length.mul_f64(share);
    let mut ends = 0;
    while now() < passed(0.97) {
        let time = now();
        if time > passed(0.25) && time < passed(0.85) {
            // What a process takes at its start says nothing.
            if time > passed(0.3) {
                world.report.remember_memory(resident_kib(program.child.id()));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let most = KILL_EVERY_MAX.min(length.mul_f64(0.12)).as_millis();
        let pause = most / 2 + u128::from(random.up_to(u64::try_from(most / 2).unwrap()));
        tokio::time::sleep(Duration::from_millis(u64::try_from(pause).unwrap())).await;
        ends += 1;
        let is_kill = ends % 4 != 0;
        world.absences.begin(is_kill);
        tell.send_replace(None);
        if is_kill {
            program.kill();
            world.report.changed("kill -9");
        } else {
            assert_eq!(program.stop("TERM").await.code(), Some(0));
            world.report.changed("clean stop");
        }
        let start = now();
        program = served(dir, tell).await;
        world.report.started(now() - start);
        world.absences.end();
    }
    if let Some((first, last)) = world.report.memory_medians().filter(|_| length >= WATCHED_MIN) {
        assert!(last <= first + first / 10 + MORE_KIB_MAX, "memory grew from {first} to {last} KiB");
    }
    program
}

/// Starts the daemon over what is there, and tells where it is.
async fn served(dir: &Path, tell: &watch::Sender<Option<Place>>) -> Program {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let program = Program::spawn(dir, command.stderr(Stdio::from(log))).await;
    let (data, admin, admin_key) = (program.data(), program.admin, program.admin_key.clone());
    tell.send_replace(Some(Place { data, admin, admin_key }));
    program
}

fn in_front_of(upstream: &Upstream) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        r#"
        data_dir = "data"
        [admin]
        listen = "127.0.0.1:0"
        [[profile]]
        name = "socialcrm"
        upstream = "{}"
        [[listener]]
        listen = "127.0.0.1:0"
        profiles = ["socialcrm"]
        [cache]
        store_bytes = "4MiB"
        [log]
        level = "error"
        "#,
        upstream.url
    );
    std::fs::write(dir.path().join("keyward.toml"), config).unwrap();
    dir
}

async fn workspace(program: &Program, limit: Option<u64>) -> Workspace {
    let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": "enterprise"});
    let made = program.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
    let id = text(&made["workspace"]["id"]);
    if let Some(limit) = limit {
        let patch = json!({"overrides": {"meters": {"ai": limit}}});
        program.admin_json(Call::new("PATCH", &format!("/api/v1/workspaces/{id}")).json(&patch)).await;
    }
    Workspace {
        id,
        limit,
        is_suspended: Timeline::new(false),
        forwarded: 0.into(),
        verified: 0.into(),
        in_doubt: 0.into(),
        changing: tokio::sync::Mutex::default(),
    }
}

/// Holds what each meter says against what the upstream saw and what verify calls were told.
async fn meters_agree(
    program: &Program,
    world: &World,
    upstream: &Upstream,
    workspaces: &[Arc<Workspace>],
) -> String {
    let mut told =
        "\n| limit | seen by the upstream | told by verify calls | used | burnt |\n|---|---|---|---|---|\n"
            .to_owned();
    for workspace in workspaces {
        let path = format!("/api/v1/workspaces/{}/meters", workspace.id);
        let meters = program.admin_json(Call::get(&path)).await;
        let meter = meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == "ai").unwrap();
        let number = |name: &str| meter[name].as_u64().unwrap_or(0);
        let (used, burnt) = (number("used"), number("burnt"));
        let (seen, verified) = (upstream.metered(&workspace.id), workspace.verified.load(Ordering::SeqCst));
        let in_doubt = workspace.in_doubt.load(Ordering::SeqCst);
        let lost_max = world.absences.kills() * (workspace.lease() + CALLERS as u64 * 3) + in_doubt;
        let limit = workspace.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let _ = writeln!(told, "| {limit} | {seen} | {verified} | {used} | {burnt} |");
        if seen + verified > used + burnt || used + burnt > seen + verified + lost_max {
            world.report.wrong(format!("{meter} against {seen} seen, {verified} told, {in_doubt} in doubt"));
        }
        if workspace.limit.is_some_and(|limit| used + burnt > limit) {
            world.report.wrong(format!("{meter} is over its limit"));
        }
        if workspace.forwarded.load(Ordering::SeqCst) > seen {
            world.report.wrong(format!("{meter}: callers know of more than the upstream saw"));
        }
    }
    told
}

/// Holds what the admin API shows of each key against the last change that was acknowledged.
async fn keys_agree(program: &Program, world: &World) {
    let keys = world.keys.lock().unwrap().clone();
    for key in keys {
        let shown = program.admin_json(Call::get(&format!("/api/v1/keys/{}", key.id))).await;
        let state = key.states.newest();
        let is_as_told = (shown["status"] == "revoked") == state.is_revoked
            && shown["permissions"] == json!(state.held.permissions())
            && (shown["ip_allow"] != Value::Null) == state.is_bound
            && (shown["rate"]["limit"] == 0) == state.is_paced
            && (shown["expires_at"] != Value::Null) == state.expires_at.is_some();
        if !is_as_told {
            world.report.wrong(format!("{shown} is not {state:?}"));
        }
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
