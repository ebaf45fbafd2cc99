//! kill -9 at random instants of mixed work: changes by several operators, metered calls, and callers who present keys
//! that ended, while each start in between may be killed as well.
//!
//! After each kill the whole daemon is held against the operators' model: no acknowledged change is lost, none is made
//! by half, no key that ended opens anything, each change has exactly one audit row, a month sells at most its limit and
//! loses at most what was promised. What is random follows from a seed that is printed.
//!
//! Short, a few seconds: `cargo test --test faults kills`. Long, 1,000 kills, some ten minutes:
//! `cargo test --release --test faults -- --ignored --nocapture a_thousand_kills`. To play a run again, write its seed
//! into [`SEED`]; the instants of the kills are the machine's.
//!
//! Never here: a kill that waits until nothing is under way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::counting::{CountingUpstream, in_front_of, rewrite};
use crate::harness::hidden::Hidden;
use crate::harness::program::{Program, command, run, text};
use crate::harness::random::Random;
use crate::harness::wire::{Call, Connection, PATIENCE};
use crate::operator::{Operator, Row};

/// A seed to play again; 0 draws another one in each run.
const SEED: u64 = 0;
/// Operators, each with a workspace and a connection of its own.
const OPERATORS: usize = 4;
/// Connections over which metered calls come.
const CALLERS: usize = 2;
/// Months that were used up and are asked again after each kill.
const MONTHS_ASKED: usize = 5;
/// What a month sells, in turn: one lease of a unit, leases of ten, leases of fifty.
const LIMITS: [u64; 3] = [50, 1_000, 5_000];
/// Of so many starts one is killed before it serves.
const STARTS_PER_KILLED_START: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_lose_no_acknowledged_change_and_revive_no_key() {
    kills(10, Duration::from_millis(800), Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a thousand kills take minutes: run it by name in a release build"]
async fn a_thousand_kills_lose_no_acknowledged_change_and_revive_no_key() {
    kills(1_000, Duration::from_millis(400), Duration::from_millis(12)).await;
}

/// Kills that many times, each at most so long after the daemon serves, or after it was started.
async fn kills(count: u64, work_max: Duration, start_max: Duration) {
    let mut random = if SEED == 0 { Random::seeded() } else { Random::from_seed(SEED) };
    println!("kills: seed {}", random.seed());
    let upstream = CountingUpstream::start().await;
    let dir = in_front_of(&upstream);
    let mut operators: Vec<_> =
        (0..OPERATORS).map(|number| Operator::new(number, branch(&mut random))).collect();
    let mut daemon = Program::serve(dir.path()).await;
    let (mut log, mut rows) = (Log::default(), Vec::new());
    // The first admin key and its workspace.
    log.read_on(&daemon).await;
    let mut month = Month::begin(&daemon, LIMITS[0], &mut rows).await;
    let mut over: Vec<Month> = Vec::new();
    let (mut used_up, mut killed_starts, mut burnt) = (0, 0, 0);
    for kill in 0..count {
        let mut workers = JoinSet::new();
        for operator in operators.drain(..) {
            workers.spawn(present_ended(daemon.data(), operator.ended().to_vec(), branch(&mut random)));
            let (admin, admin_key) = (daemon.admin, daemon.admin_key.clone());
            workers.spawn(async move { Some(operator.work(admin, admin_key).await) });
        }
        for _ in 0..CALLERS {
            workers.spawn(month.call(daemon.data()));
        }
        tokio::time::sleep(drawn(&mut random, work_max)).await;
        daemon.kill();
        let ended = tokio::time::timeout(4 * PATIENCE, workers.join_all()).await;
        operators.extend(ended.expect("everybody notices that the daemon is gone").into_iter().flatten());
        operators.sort_by_key(Operator::number);
        upstream.is_quiet().await;
        if random.up_to(STARTS_PER_KILLED_START - 1) == 0 {
            kill_a_start(dir.path(), drawn(&mut random, start_max)).await;
            killed_starts += 1;
        }
        daemon = Program::serve(dir.path()).await;
        for operator in &mut operators {
            operator.check(&daemon).await;
            rows.append(&mut operator.take_rows());
        }
        log.check(&daemon, &mut rows, kill).await;
        month.check(&daemon, &upstream).await;
        for month in &over {
            assert_eq!(month.ask(&daemon).await, 402, "a month that was over opens again");
        }
        if kill % 100 == 99 {
            println!("kills: {} so far", kill + 1);
        }
        if month.is_used_up(&daemon).await {
            used_up += 1;
            burnt += month.lost;
            let limit = LIMITS[used_up % LIMITS.len()];
            over.push(std::mem::replace(&mut month, Month::begin(&daemon, limit, &mut rows).await));
            if over.len() > MONTHS_ASKED {
                over.remove(0);
            }
        }
    }
    finish(&mut operators, daemon, dir.path()).await;
    let figures: Vec<_> = operators.iter().map(|operator| operator.figures).collect();
    let sum = |of: fn(&crate::operator::Figures) -> u64| figures.iter().map(of).sum::<u64>();
    println!(
        "kills: {count} while it worked and {killed_starts} starts; {} changes acknowledged, {} in doubt made and {} \
         not made, each whole; {} verdicts as the model says, {} of them about keys that had ended; {used_up} months \
         used up, {burnt} units burnt in them, none sold twice; {} audit rows, one for each change",
        sum(|figures| figures.acknowledged),
        sum(|figures| figures.in_doubt_made),
        sum(|figures| figures.in_doubt_not_made),
        sum(|figures| figures.verdicts),
        sum(|figures| figures.ended),
        log.rows,
    );
}

/// Every text that ever ended is refused, and the audit log is whole: by the running daemon, and by the file.
async fn finish(operators: &mut [Operator], daemon: Program, dir: &Path) {
    for operator in operators {
        operator.check_all_ended(&daemon).await;
    }
    let told = daemon.admin_json(Call::get("/api/v1/audit/verify")).await;
    assert_eq!(told["whole"], true, "{told}");
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
    let (code, out, err) = run(dir, &["verify-audit", "--data", "data"]);
    assert!(code == Some(0) && out.starts_with("the audit log is whole"), "{out} {err}");
}

/// Numbers of another sequence: drawn ones as they are would be the same sequence, a few steps on.
fn branch(random: &mut Random) -> Random {
    let seed = blake3::hash(&random.up_to(u64::MAX - 1).to_le_bytes());
    Random::from_seed(u64::from_le_bytes(*seed.as_bytes().first_chunk().unwrap()))
}

fn drawn(random: &mut Random, most: Duration) -> Duration {
    Duration::from_micros(random.up_to(u64::try_from(most.as_micros()).unwrap()))
}

/// Starts a daemon and kills it, whether or not it serves by then.
async fn kill_a_start(dir: &Path, after: Duration) {
    let mut command = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Presents texts that ended until the daemon is gone. None may ever pass.
async fn present_ended(data: SocketAddr, ended: Vec<Hidden>, mut random: Random) -> Option<Operator> {
    let mut connection = Connection::open(data).await.ok().filter(|_| !ended.is_empty())?;
    loop {
        let text = &ended[random.below(ended.len())];
        connection.send(&Call::get("/v1/posts").bearer(text).bytes(data)).await;
        let answer = connection.answer_unless_cut("GET").await?;
        assert_eq!(answer.status, 401, "a key that ended opens something");
    }
}

/// The audit log, read once.
#[derive(Default)]
struct Log {
    last: u64,
    rows: usize,
}

impl Log {
    /// The rows that came since.
    async fn read_on(&mut self, daemon: &Program) -> Vec<Value> {
        let mut read = Vec::new();
        loop {
            let page = daemon.admin_json(Call::get(&format!("/api/v1/audit?after={}", self.last))).await;
            let page = page["data"].as_array().unwrap().clone();
            if page.is_empty() {
                self.rows += read.len();
                return read;
            }
            for row in &page {
                self.last += 1;
                assert_eq!(row["seq"], self.last, "rows are numbered without a gap");
            }
            read.extend(page);
        }
    }

    /// Exactly one row for each change that was made.
    async fn check(&mut self, daemon: &Program, expected: &mut Vec<Row>, kill: u64) {
        let mut counts: BTreeMap<Row, i64> = BTreeMap::new();
        for row in self.read_on(daemon).await {
            // What the daemon learns of itself is nobody's change here.
            if row["actor"] != "system" {
                *counts.entry((text(&row["action"]), text(&row["subject"]))).or_default() += 1;
            }
        }
        for row in expected.drain(..) {
            *counts.entry(row).or_default() -= 1;
        }
        counts.retain(|_, more| *more != 0);
        assert!(counts.is_empty(), "kill {kill}: rows too many, or too few where it is negative: {counts:?}");
    }
}

/// One month of a workspace of its own.
struct Month {
    limit: u64,
    workspace: String,
    key: Hidden,
    /// Calls that the callers know to have passed.
    passed: Arc<AtomicU64>,
    /// Units that the admin API counts and the upstream never saw.
    lost: u64,
}

impl Month {
    async fn begin(daemon: &Program, limit: u64, rows: &mut Vec<Row>) -> Self {
        let wanted = json!({"name": "metered", "profile": "socialcrm", "plan": "pro"});
        let made = daemon.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
        let workspace = text(&made["workspace"]["id"]);
        let path = format!("/api/v1/workspaces/{workspace}");
        let limits = json!({"overrides": {"meters": {"ai": limit}}});
        daemon.admin_json(Call::new("PATCH", &path).json(&limits)).await;
        let rate = json!({"limit": 1_000_000, "window_s": 1});
        let wanted = json!({"workspace_id": workspace, "permissions": ["ai:generate"], "rate": rate});
        let made = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
        rows.push(("workspace.created".to_owned(), workspace.clone()));
        rows.push(("workspace.updated".to_owned(), workspace.clone()));
        rows.push(("key.created".to_owned(), text(&made["id"])));
        Self { limit, workspace, key: Hidden(text(&made["key"])), passed: Arc::default(), lost: 0 }
    }

    /// Calls until the daemon is gone.
    fn call(&self, data: SocketAddr) -> impl Future<Output = Option<Operator>> + Send + use<> {
        let (bytes, passed) = (rewrite(&self.key).bytes(data), Arc::clone(&self.passed));
        async move {
            let mut connection = Connection::open(data).await.ok()?;
            loop {
                connection.send(&bytes).await;
                match connection.answer_unless_cut("POST").await?.status {
                    200 => drop(passed.fetch_add(1, Ordering::SeqCst)),
                    // Used up; or a lease that could not be renewed in time, and nothing sold.
                    402 | 503 => {}
                    other => panic!("a metered call is answered {other}"),
                }
            }
        }
    }

    async fn ask(&self, daemon: &Program) -> u16 {
        Connection::open(daemon.data()).await.unwrap().call(&rewrite(&self.key)).await.status
    }

    /// Holds the callers' count, the upstream's and the daemon's against each other, with nobody calling.
    async fn check(&mut self, daemon: &Program, upstream: &CountingUpstream) {
        let (passed, seen) = (self.passed.load(Ordering::SeqCst), upstream.metered(&self.workspace));
        let taken = self.taken(daemon).await;
        let counts =
            format!("limit {}: passed {passed}, upstream {seen}, used and burnt {taken}", self.limit);
        assert!(passed <= seen, "an answer came from nowhere: {counts}");
        assert!(seen <= taken, "calls were forgotten: {counts}");
        assert!(taken <= self.limit, "more than the limit was counted: {counts}");
        let (lost, lost_max) = (taken - seen, (self.limit / 100).max(1) + CALLERS as u64);
        let more = lost.saturating_sub(self.lost);
        assert!(more <= lost_max, "one kill cost {more}: {counts}");
        self.lost = lost;
    }

    /// Whether nothing is left, which its next call is told as well.
    async fn is_used_up(&self, daemon: &Program) -> bool {
        let is_used_up = self.taken(daemon).await == self.limit;
        assert!(!is_used_up || self.ask(daemon).await == 402, "a month that is used up sells another call");
        is_used_up
    }

    async fn taken(&self, daemon: &Program) -> u64 {
        let path = format!("/api/v1/workspaces/{}/meters", self.workspace);
        let meters = daemon.admin_json(Call::get(&path)).await;
        let meter = meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == "ai").unwrap();
        meter["used"].as_u64().unwrap() + meter["burnt"].as_u64().unwrap()
    }
}
