//! Everything at once, and every count agrees: what clients were told, what the upstream saw, what the meter
//! says, what the metrics say and what the usage report says.
//!
//! Several plans, keys and doors; refusals of every sort; calls that cost more than one; clients that hang up
//! in mid-request and in mid-answer. The clients' own count is the model: a call that hung up counts once the
//! upstream saw it.
//!
//! Never here: a count that is only near.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::credentials::near_miss;
use crate::daemon::{Hidden, Key};
use crate::program::{Program, text};
use crate::random::Random;
use crate::upstreams::counting::{CountingUpstream, HALF, METERED, in_front_of, rewrite};
use crate::wire::{Call, Connection, PATIENCE, call_once};

/// Clients at once; each has a key of its own in each workspace.
const CLIENTS: usize = 6;
/// Calls whose clients hang up at any instant, and those of them that wait for their answers.
const LEAVERS: u64 = 80;
const ANSWERED: u64 = 5;
/// Calls of each client.
const CALLS: usize = 250;

/// A plan, the limit that is set over it, and what that admits.
const ACCOUNTS: [(&str, Option<u64>, Option<u64>); 5] = [
    ("free", None, Some(0)),
    ("pro", Some(60), Some(60)),
    ("pro", None, Some(1_000)),
    ("graced", Some(100), Some(110)),
    ("enterprise", None, None),
];

/// What a client knows of one of its keys.
#[derive(Clone, Default, Debug)]
struct Tally {
    /// Requests that the upstream answered, and ones that it saw and whose client hung up.
    forwarded: u64,
    /// Units of metered requests and of verify calls, all that were admitted.
    units: u64,
    /// Those of `units` that were metered requests.
    metered: u64,
    /// Verify calls that were valid.
    verified: u64,
    /// Refusals after proof.
    refused: u64,
}

/// A key of one client in one workspace.
struct Held {
    account: usize,
    workspace: String,
    key: Key,
    tally: Tally,
}

/// What a client does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Rewrite,
    List,
    MeteredTool,
    Tool,
    NoSuchRoute,
    NoSuchTool,
    WrongKey,
    TwoCredentials,
    Verify,
    DearVerify,
    DryRun,
    HangUpInTheAnswer,
    HangUpInTheBody,
}

use Step::{
    DearVerify, DryRun, HangUpInTheAnswer, HangUpInTheBody, List, MeteredTool, NoSuchRoute, NoSuchTool,
    Rewrite, Tool, TwoCredentials, Verify, WrongKey,
};

const STEPS: [Step; 16] = [
    Rewrite,
    Rewrite,
    Rewrite,
    List,
    MeteredTool,
    MeteredTool,
    Tool,
    NoSuchRoute,
    NoSuchTool,
    WrongKey,
    TwoCredentials,
    Verify,
    DearVerify,
    DryRun,
    HangUpInTheAnswer,
    HangUpInTheBody,
];

/// One client: its keys, and where it calls.
struct Client {
    data: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    admin_key: Hidden,
    upstream: Arc<CountingUpstream>,
    keys: Vec<Held>,
    random: Random,
}

impl Client {
    async fn run(mut self) -> Vec<Held> {
        let mut connection = Connection::open(self.data).await.unwrap();
        for _ in 0..CALLS {
            let (step, place) = (STEPS[self.random.below(STEPS.len())], self.random.below(self.keys.len()));
            let cost = 2 + self.random.below(6) as u64;
            let key = self.keys[place].key.text.clone();
            let (forwarded, units) = match step {
                Rewrite => passed(&mut connection, &rewrite(&key), 1).await,
                List => passed(&mut connection, &Call::get("/v1/posts").bearer(&key), 0).await,
                MeteredTool => {
                    passed(&mut connection, &tool(&key, "ideas_make").header(METERED, "yes"), 1).await
                }
                Tool => passed(&mut connection, &tool(&key, "posts_list"), 0).await,
                NoSuchRoute => passed(&mut connection, &Call::get("/v1/nothing").bearer(&key), 0).await,
                NoSuchTool => passed(&mut connection, &tool(&key, "nothing"), 0).await,
                WrongKey => {
                    let wrong = rewrite(&near_miss(&self.keys[place].key));
                    assert_eq!(connection.call(&wrong).await.status, 401);
                    continue;
                }
                TwoCredentials => {
                    let two = rewrite(&key).header("X-API-Key", &*key);
                    assert_eq!(call_once(self.data, &two).await.status, 400);
                    continue;
                }
                Verify | DearVerify => {
                    let cost = if step == Verify { 1 } else { cost };
                    let valid = self.verify(&key, json!({"cost": cost})).await;
                    let tally = &mut self.keys[place].tally;
                    tally.units += if valid { cost } else { 0 };
                    tally.verified += u64::from(valid);
                    tally.refused += u64::from(!valid);
                    continue;
                }
                DryRun => {
                    self.verify(&key, json!({"dry_run": true})).await;
                    continue;
                }
                HangUpInTheAnswer => (self.hang_up_in_the_answer(place).await, 1),
                HangUpInTheBody => (self.hang_up_in_the_body(place).await, 1),
            };
            let tally = &mut self.keys[place].tally;
            if forwarded {
                tally.forwarded += 1;
                tally.metered += units;
                tally.units += units;
            } else {
                tally.refused += 1;
            }
        }
        self.keys
    }

    /// The verify call about something metered.
    async fn verify(&self, key: &str, mut fields: Value) -> bool {
        fields["key"] = json!(key);
        fields["permission"] = json!("ai:generate");
        let call = Call::post("/api/v1/verify", &fields).bearer(&self.admin_key);
        let answer = call_once(self.admin, &call).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["valid"].as_bool().unwrap()
    }

    /// Reads the head of an answer that never ends, and goes.
    async fn hang_up_in_the_answer(&self, place: usize) -> bool {
        let mut call = rewrite(&self.keys[place].key.text);
        call.target += HALF;
        let mut stream = TcpStream::connect(self.data).await.unwrap();
        stream.write_all(&call.bytes(self.data)).await.unwrap();
        status(&mut stream).await == 200
    }

    /// Sends a part of a body, waits until the upstream has seen its request or the answer is there, and
    /// goes.
    async fn hang_up_in_the_body(&self, place: usize) -> bool {
        let key = &self.keys[place].key;
        let before = self.upstream.of_key(&key.id);
        let call = rewrite(&key.text).header("Content-Length", "100");
        let mut stream = TcpStream::connect(self.data).await.unwrap();
        stream.write_all(&call.bytes(self.data)).await.unwrap();
        tokio::select! {
            () = self.upstream.has_more_than(&key.id, before) => true,
            status = status(&mut stream) => {
                assert!(status >= 400, "{status}");
                false
            }
        }
    }
}

/// Makes a call and tells whether the upstream answered it; anything but that is a refusal that is known.
async fn passed(connection: &mut Connection, call: &Call, units: u64) -> (bool, u64) {
    let answer = connection.call(call).await;
    let forwarded = answer.status == 200 && answer.rpc_error().0 == 0;
    let refused = matches!(answer.status, 402 | 403 | 404 | 429) || answer.rpc_error().0 != 0;
    assert!(forwarded || refused, "{answer:?}");
    assert_ne!(answer.header("connection"), Some("close"), "{answer:?}");
    (forwarded, units)
}

async fn status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    let reading = async {
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0, "an answer");
        }
        std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap()
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer")
}

fn tool(key: &str, name: &str) -> Call {
    let params = json!({"name": name, "arguments": {}});
    Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})).bearer(key)
}

async fn account(daemon: &Program, plan: &str, limit: Option<u64>) -> String {
    let wanted = json!({"name": "Acme", "profile": "socialcrm", "plan": plan});
    let made = daemon.admin_json(Call::post("/api/v1/workspaces", &wanted)).await;
    let id = text(&made["workspace"]["id"]);
    if let Some(limit) = limit {
        let patch = json!({"overrides": {"meters": {"ai": limit}}});
        daemon.admin_json(Call::new("PATCH", &format!("/api/v1/workspaces/{id}")).json(&patch)).await;
    }
    id
}

async fn key(daemon: &Program, account: usize, workspace: &str, permissions: Value, limit: u64) -> Held {
    let rate = json!({"limit": limit, "window_s": 3600});
    let wanted = json!({"workspace_id": workspace, "permissions": permissions, "rate": rate});
    let made = daemon.admin_json(Call::post("/api/v1/keys", &wanted)).await;
    let key = Key { id: text(&made["id"]), text: Hidden(text(&made["key"])) };
    Held { account, workspace: workspace.to_owned(), key, tally: Tally::default() }
}

async fn meter(daemon: &Program, workspace: &str) -> Value {
    let meters = daemon.admin_json(Call::get(&format!("/api/v1/workspaces/{workspace}/meters"))).await;
    meters["data"].as_array().unwrap().iter().find(|meter| meter["name"] == "ai").unwrap().clone()
}

/// Calls whose clients hang up at some instant or other, but for the first few, who wait for their answers.
async fn hang_up_whenever(daemon: &Program, key: &str) {
    let mut clients = JoinSet::new();
    for place in 0..LEAVERS {
        let (address, bytes) = (daemon.data(), rewrite(key).bytes(daemon.data()));
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            if place < ANSWERED {
                assert_eq!(status(&mut stream).await, 200);
            }
            for _ in 0..place * 8 {
                tokio::task::yield_now().await;
            }
        });
    }
    clients.join_all().await;
}

/// A counter of the metrics: decisions at a door with an outcome.
fn counted(metrics: &str, surface: &str, outcome: &str) -> u64 {
    let line = format!("keyward_verify_total{{surface=\"{surface}\",outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e06_after_mixed_load_the_meter_the_clients_the_upstream_and_the_reports_agree() {
    let upstream = Arc::new(CountingUpstream::start().await);
    let dir = in_front_of(&upstream);
    let daemon = Program::serve(dir.path()).await;
    let mut workspaces = Vec::new();
    for (plan, limit, _) in ACCOUNTS {
        workspaces.push(account(&daemon, plan, limit).await);
    }
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut keys = Vec::new();
        for (place, workspace) in workspaces.iter().enumerate() {
            keys.push(key(&daemon, place, workspace, json!(["*:*"]), 1_000_000).await);
        }
        // One that may do little, and one that is soon too fast.
        keys.push(key(&daemon, 4, &workspaces[4], json!(["posts:read"]), 1_000_000).await);
        keys.push(key(&daemon, 4, &workspaces[4], json!(["*:*"]), 12).await);
        let (data, admin, admin_key) = (daemon.data(), daemon.admin, daemon.admin_key.clone());
        let random = Random::from_seed(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(client as u64 + 1));
        let upstream = Arc::clone(&upstream);
        clients.spawn(Client { data, admin, admin_key, upstream, keys, random }.run());
    }
    let held: Vec<Held> = clients.join_all().await.into_iter().flatten().collect();
    let sum = |account: Option<usize>, of: fn(&Tally) -> u64| -> u64 {
        let held = held.iter().filter(|held| account.is_none_or(|account| held.account == account));
        held.map(|held| of(&held.tally)).sum()
    };
    // Twice: as it runs, and after a clean stop.
    agree(&daemon, &upstream, &workspaces, &held).await;
    let metrics = call_once(daemon.admin, &Call::get("/metrics")).await.text();
    assert_eq!(counted(&metrics, "verify", "valid"), sum(None, |tally| tally.verified), "{metrics}");
    let forwarded = counted(&metrics, "rest", "valid") + counted(&metrics, "rpc", "valid");
    assert_eq!(forwarded, sum(None, |tally| tally.forwarded), "{metrics}");
    assert!(sum(None, |tally| tally.refused) > 100 && sum(Some(0), |tally| tally.units) == 0);
    for (place, (plan, _, admitted)) in ACCOUNTS.into_iter().enumerate() {
        let units = sum(Some(place), |tally| tally.units);
        match admitted {
            // 60 and 110 are soon used up, as far as what is left is enough for a call that costs one.
            Some(admitted @ ..110) => assert_eq!(units, admitted, "{plan}"),
            _ => assert!(units > 0, "{plan}"),
        }
    }
    let leavers = account(&daemon, "enterprise", None).await;
    let whenever = key(&daemon, workspaces.len(), &leavers, json!(["*:*"]), 1_000_000).await;
    hang_up_whenever(&daemon, &whenever.key.text).await;
    let (ended, said) = daemon.end_by("TERM").await;
    assert_eq!(ended.code(), Some(0), "{said}");
    upstream.is_quiet().await;
    let daemon = Program::serve(dir.path()).await;
    agree(&daemon, &upstream, &workspaces, &held).await;
    // Of these nobody knows which were let through before their clients left; none is counted twice.
    let (seen, meter) = (upstream.of_key(&whenever.key.id), meter(&daemon, &whenever.workspace).await);
    let used = meter["used"].as_u64().unwrap();
    assert!(ANSWERED <= seen && seen <= used && used <= LEAVERS, "{seen} {meter}");
}

/// Holds what the clients know against the upstream, the meters and the usage reports.
async fn agree(daemon: &Program, upstream: &CountingUpstream, workspaces: &[String], held: &[Held]) {
    for (place, workspace) in workspaces.iter().enumerate() {
        let of_it = || held.iter().filter(|held| held.account == place).map(|held| &held.tally);
        let metered: u64 = of_it().map(|tally| tally.metered).sum();
        let units: u64 = of_it().map(|tally| tally.units).sum();
        let (plan, _, admitted) = ACCOUNTS[place];
        assert_eq!(upstream.metered(workspace), metered, "{plan}: the upstream");
        let meter = meter(daemon, workspace).await;
        assert_eq!(meter["used"], units, "{plan}: {meter}");
        assert!(meter["burnt"].as_u64().unwrap_or(0) == 0, "{plan}: {meter}");
        assert!(admitted.is_none_or(|admitted| units <= admitted), "{plan}: {meter}");
    }
    for Held { account, key: Key { id, .. }, tally, .. } in held {
        let plan = ACCOUNTS[*account].0;
        assert_eq!(upstream.of_key(id), tally.forwarded, "{plan}, {id}: {tally:?}");
        let report = daemon.admin(Call::get(&format!("/api/v1/keys/{id}/usage"))).await;
        let total = report.json()["total"].clone();
        assert_eq!(total["valid"], tally.forwarded + tally.verified, "{plan}, {id}: {total} {tally:?}");
    }
}
