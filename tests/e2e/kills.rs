//! A monthly limit under a daemon that is ended again and again while clients call without pause: by kill -9
//! it sells at most the limit and loses little, by clean stops it sells exactly the limit.
//!
//! Three counts are held against each other: what the clients were answered, what the upstream saw, and what
//! the admin API says. A month takes some ten ends and more; then the next one begins, and the ones before are
//! asked again after each start. What is random comes from a seed that a failure shows.
//!
//! Never here: an end that waits until nothing is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::daemon::Hidden;
use crate::program::{Program, text};
use crate::random::Random;
use crate::upstreams::counting::{CountingUpstream, in_front_of, rewrite};
use crate::wire::{Call, Connection, PATIENCE};

/// What a month sells, who calls, and how often the daemon ends.
#[derive(Clone, Copy, Debug)]
struct Terms {
    limit: u64,
    plan: &'static str,
    /// Units with the grace of the plan.
    admitted: u64,
    connections: usize,
    /// The most answers before an end.
    answers_max: u64,
    /// Ends in one month; from then on it is used up in peace, so that what may be lost stays well below it.
    ends_max: u32,
    /// Ends in all months of this sort: by kill -9, and clean ones.
    kills: u32,
    stops: u32,
}

/// 200 kills in all.
const TERMS: [Terms; 3] = [
    Terms {
        limit: 50,
        plan: "pro",
        admitted: 50,
        connections: 2,
        answers_max: 8,
        ends_max: 12,
        kills: 50,
        stops: 10,
    },
    Terms {
        limit: 1_000,
        plan: "pro",
        admitted: 1_000,
        connections: 4,
        answers_max: 100,
        ends_max: 30,
        kills: 90,
        stops: 15,
    },
    Terms {
        limit: 400,
        plan: "graced",
        admitted: 440,
        connections: 4,
        answers_max: 50,
        ends_max: 25,
        kills: 60,
        stops: 10,
    },
];

impl Terms {
    /// The most units that one kill may cost: the promised share, and the calls that are under way.
    fn lost_max(&self) -> u64 {
        (self.limit / 100).max(1) + self.connections as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Kill,
    Stop,
}

/// One month of a workspace of its own.
struct Month {
    terms: Terms,
    workspace: String,
    key: Hidden,
    /// Calls that the clients know to have passed.
    passed: Arc<AtomicU64>,
    ends: u32,
    /// Units that the admin API counts and the upstream never saw.
    lost: u64,
}

impl Month {
    async fn begin(daemon: &Program, terms: Terms) -> Self {
        let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": terms.plan});
        let made = daemon.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
        let workspace = text(&made["workspace"]["id"]);
        let limit = json!({"overrides": {"meters": {"ai": terms.limit}}});
        let of_workspace = format!("/api/v1/workspaces/{workspace}");
        daemon.admin_json(Call::new("PATCH", &of_workspace).json(&limit)).await;
        let rate = json!({"limit": 1_000_000, "window_s": 1});
        let wanted = json!({"workspace_id": workspace, "permissions": ["ai:generate"], "rate": rate});
        let made = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
        let key = Hidden(text(&made["key"]));
        Self { terms, workspace, key, passed: Arc::default(), ends: 0, lost: 0 }
    }

    /// Clients call until the daemon is gone or, without an `end`, until each was told that the month is used
    /// up.
    async fn call(&self, daemon: Program, end: Option<(End, &mut Random)>) -> Option<Program> {
        let is_to_end = end.is_some();
        let enough = Arc::new(Notify::new());
        let before = self.passed.load(Ordering::SeqCst);
        let (mut answers, mut most, mut extra) = (u64::MAX, Duration::MAX, Duration::ZERO);
        let mut ending = None;
        if let Some((end, random)) = end {
            answers = random.up_to(self.terms.answers_max);
            most = Duration::from_millis(20 + random.up_to(180));
            extra = Duration::from_micros(random.up_to(3_000));
            ending = Some(end);
        }
        let mut clients = JoinSet::new();
        for _ in 0..self.terms.connections {
            let (address, call) = (daemon.data(), rewrite(&self.key));
            let (passed, enough) = (Arc::clone(&self.passed), Arc::clone(&enough));
            clients.spawn(async move {
                let Ok(mut connection) = Connection::open(address).await else { return };
                let bytes = call.bytes(address);
                loop {
                    connection.send(&bytes).await;
                    let Some(answer) = connection.answer_unless_cut("POST").await else { return };
                    match answer.status {
                        200 => {
                            let passed = passed.fetch_add(1, Ordering::SeqCst) + 1;
                            if passed - before >= answers {
                                enough.notify_one();
                            }
                        }
                        402 if is_to_end => {}
                        402 => return,
                        // A lease that could not be renewed in time: nothing was sold.
                        503 => {}
                        _ => panic!("{answer:?}"),
                    }
                    if answer.header("connection") == Some("close") {
                        return;
                    }
                }
            });
        }
        let left = match ending {
            None => Some(daemon),
            Some(end) => {
                // Whichever comes first: so many answers, or so long a time.
                let _ = tokio::time::timeout(most, enough.notified()).await;
                tokio::time::sleep(extra).await;
                finish(daemon, end).await;
                None
            }
        };
        // Some hundred calls, or one that hangs; a daemon that is busy for ever ends here as well.
        tokio::time::timeout(4 * PATIENCE, clients.join_all()).await.expect("the clients come to an end");
        left
    }

    /// What the admin API says to be taken of the month: calls known, and units that crashes cost.
    async fn taken(&self, daemon: &Program) -> (u64, u64) {
        let target = format!("/api/v1/workspaces/{}/meters", self.workspace);
        let meters = daemon.admin_json(Call::get(&target)).await;
        let meter = meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == "ai").unwrap();
        assert_eq!(meter["admitted"], self.terms.admitted, "{meter}");
        let burnt = meter.get("burnt").map_or(0, |burnt| burnt.as_u64().unwrap());
        (meter["used"].as_u64().unwrap(), burnt)
    }

    async fn is_refused(&self, daemon: &Program) -> bool {
        let (used, burnt) = self.taken(daemon).await;
        used + burnt == self.terms.admitted && self.ask(daemon).await == 402
    }

    async fn ask(&self, daemon: &Program) -> u16 {
        Connection::open(daemon.data()).await.unwrap().call(&rewrite(&self.key)).await.status
    }

    /// Holds the counts against each other in a daemon that was just started and in which nobody calls.
    async fn check(&mut self, daemon: &Program, upstream: &CountingUpstream, end: Option<End>) {
        let seen = upstream.metered(&self.workspace);
        let passed = self.passed.load(Ordering::SeqCst);
        let (used, burnt) = self.taken(daemon).await;
        let counts = format!(
            "{:?}, {} ends: passed {passed}, upstream {seen}, used {used}, burnt {burnt}",
            self.terms, self.ends
        );
        assert!(passed <= seen, "an answer came from nowhere: {counts}");
        assert!(seen <= self.terms.admitted, "more than the limit was let through: {counts}");
        assert!(seen <= used + burnt, "calls were forgotten: {counts}");
        assert!(used + burnt <= self.terms.admitted, "more than the limit was counted: {counts}");
        let lost = used + burnt - seen;
        match end {
            Some(End::Kill) => {
                let more = lost.saturating_sub(self.lost);
                assert!(more <= self.terms.lost_max(), "one kill cost {more}: {counts}");
            }
            Some(End::Stop) => {
                assert_eq!((passed, used, burnt), (seen, seen, 0), "a clean stop is exact: {counts}");
            }
            None => {}
        }
        self.lost = lost;
    }

    /// Calls until it is refused, and holds it to the whole of what was promised.
    async fn use_up(&mut self, daemon: Program, upstream: &CountingUpstream, end: End) -> Program {
        let daemon = self.call(daemon, None).await.unwrap();
        assert!(self.is_refused(&daemon).await, "{:?} is used up and says so", self.terms);
        self.check(&daemon, upstream, None).await;
        let (seen, lost_max) = (upstream.metered(&self.workspace), self.terms.lost_max());
        match end {
            End::Kill => {
                let least = self.terms.admitted.saturating_sub(u64::from(self.ends) * lost_max);
                assert!(seen >= least, "{:?}: {seen} after {} kills", self.terms, self.ends);
            }
            End::Stop => assert_eq!(seen, self.terms.admitted, "{:?}: clean stops lose nothing", self.terms),
        }
        daemon
    }
}

/// Ends a daemon while clients call.
async fn finish(daemon: Program, end: End) {
    match end {
        End::Kill => daemon.kill(),
        End::Stop => {
            let (ended, said) = daemon.end_by("TERM").await;
            assert_eq!(ended.code(), Some(0), "{said}");
        }
    }
}

/// Months of every sort, one after the other, under ends of one kind.
async fn months_under(end: End) {
    let mut random = Random::seeded();
    let shown = ShowSeed(random.seed());
    let upstream = CountingUpstream::start().await;
    let dir = in_front_of(&upstream);
    let mut daemon = Program::serve(dir.path()).await;
    let mut over: Vec<Month> = Vec::new();
    for terms in TERMS {
        let mut under_way = Month::begin(&daemon, terms).await;
        for _ in 0..(if end == End::Kill { terms.kills } else { terms.stops }) {
            if under_way.ends == terms.ends_max || under_way.is_refused(&daemon).await {
                daemon = under_way.use_up(daemon, &upstream, end).await;
                over.push(under_way);
                under_way = Month::begin(&daemon, terms).await;
            }
            under_way.call(daemon, Some((end, &mut random))).await;
            under_way.ends += 1;
            upstream.is_quiet().await;
            daemon = Program::serve(dir.path()).await;
            under_way.check(&daemon, &upstream, Some(end)).await;
            for month in &over {
                assert_eq!(month.ask(&daemon).await, 402, "a month that was over opens again");
            }
        }
        daemon = under_way.use_up(daemon, &upstream, end).await;
        over.push(under_way);
    }
    // And the same counts after one more start, this time from a clean stop.
    finish(daemon, End::Stop).await;
    let daemon = Program::serve(dir.path()).await;
    for month in &mut over {
        assert!(month.is_refused(&daemon).await, "{:?}", month.terms);
        month.check(&daemon, &upstream, None).await;
    }
    drop(shown);
}

/// Tells the seed when a test fails.
struct ShowSeed(u64);

impl Drop for ShowSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_let_no_call_over_the_limit_through_and_cost_no_more_than_was_promised() {
    months_under(End::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e04_clean_stops_under_load_sell_exactly_the_limit() {
    months_under(End::Stop).await;
}
