//! Bars 1, 2, 3 and 17: a hot verify over HTTP, beside servers that look at nothing and beside what people write by
//! hand. Keyward stands in front of nobody: it decides, and answers by itself what its upstream would be told.
//!
//! Never here: a proxied request.

use serde_json::json;

use crate::Bench;
use crate::client::{Requests, ask};
use crate::keyward::{Behind, Files, Keyward};
use crate::measure::{CONNECTIONS, Contestant, Spread, in_turn, show, together};
use crate::world::bars::{Bar, tell};
use crate::wrk;
use crate::yardsticks::{haproxy, hyper, nginx};

/// What "few keys" is.
pub(crate) const FEW: usize = 10;

/// The cache as it is by default.
pub(crate) const PROOFS_MAX: usize = 100_000;

/// How far others are from bare hyper, in requests a second and in processor time, by what was published of them.
const BETTER_AUTH_OF_HYPER: f64 = 0.009;
const LITELLM_OF_HYPER: f64 = 0.003;
const LIMITADOR_OF_HYPER: f64 = 2.38;

/// A number of keys as it is told.
pub(crate) fn in_words(count: usize) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{} million", count / 1_000_000),
        1_000.. if count.is_multiple_of(1_000) => format!("{} thousand", count / 1_000),
        _ => count.to_string(),
    }
}

/// A request with a key in turn.
pub(crate) fn get(keys: &[String]) -> Requests {
    Requests::new("GET /v1/posts HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n", keys)
}

pub(crate) fn few_keys(bench: &Bench) {
    let files = bench.many();
    let keyward = files.serve(&Behind::Nobody, PROOFS_MAX);
    let requests = get(&files.keys[..FEW.min(files.keys.len())]);
    let mut contestants = beside_bare(bench, keyward, requests, 204, 2);
    let nanos = together(&mut contestants, &bench.clock, &bench.scale);
    show("bar 1: hot verify, few keys, together", "ns/request", &contestants, &nanos);
    let [bare, twin, ours] = &nanos[..] else { unreachable!() };
    tell(
        "1",
        "two copies of the same server, together: how good this is",
        Spread::ratio(twin, bare).median,
        Bar::Told,
    );
    tell(
        "1",
        "hot verify over HTTP, few keys, CPU × bare hyper",
        Spread::ratio(ours, bare).median,
        Bar::Most(1.07),
    );
    match contestants.iter().map(|one| by_wrk(bench, one)).collect::<Option<Vec<_>>>() {
        Some(rates) => {
            tell(
                "1",
                "the same by wrk, requests/s × bare hyper, as a second opinion",
                rates[2] / rates[0],
                Bar::Told,
            );
        }
        None => println!("wrk is not installed: no second opinion"),
    }
    let limitador = LIMITADOR_OF_HYPER / Spread::ratio(ours, bare).median;
    let rates = in_turn(&mut contestants, &bench.clock, &bench.scale);
    show("bar 17: hot verify, few keys, in turn", "requests/s", &contestants, &rates);
    let ratio = Spread::ratio(&rates[2], &rates[0]).median;
    tell(
        "17",
        "requests/s × better-auth, by its published distance to bare hyper",
        ratio / BETTER_AUTH_OF_HYPER,
        Bar::Least(90.0),
    );
    tell("17", "requests/s × LiteLLM, likewise", ratio / LITELLM_OF_HYPER, Bar::Least(300.0));
    tell("17", "CPU of limitador × ours, likewise", limitador, Bar::Least(2.0));
}

fn by_wrk(bench: &Bench, contestant: &Contestant) -> Option<f64> {
    let keys = &bench.many().keys;
    let time = bench.scale.piece * u32::try_from(bench.scale.pieces).unwrap() / 2;
    wrk::requests_per_sec(
        &bench.dir(""),
        contestant.process.address,
        &keys[..FEW.min(keys.len())],
        CONNECTIONS,
        time,
    )
}

pub(crate) fn many_keys(bench: &Bench) {
    let files = bench.many();
    let keys = in_words(files.keys.len());
    for (what, requests, status, is_admin) in [
        ("GET", get(&files.keys), 204, false),
        ("POST /api/v1/verify", verify_call(files), 200, true),
        ("JSON-RPC", tool_call(files), 204, false),
    ] {
        let mut keyward = files.serve(&Behind::Nobody, PROOFS_MAX);
        if is_admin {
            keyward.process.address = keyward.admin;
        }
        let mut contestants = beside_bare(bench, keyward, requests, status, 1);
        let nanos = together(&mut contestants, &bench.clock, &bench.scale);
        let what = format!("hot verify over HTTP, {what}, {keys} keys in turn");
        show(&format!("bar 2: {what}, together"), "ns/request", &contestants, &nanos);
        tell(
            "2",
            &(what + ", CPU × bare hyper"),
            Spread::ratio(&nanos[1], &nanos[0]).median,
            Bar::Most(1.13),
        );
    }
}

/// Very many keys are stored, and many or all of them in use.
pub(crate) fn stored_keys(bench: &Bench) {
    let files = Files::imported(bench.dir("stored"), bench.scale.keys_stored);
    let stored = in_words(files.keys.len());
    for in_use in [bench.scale.keys_in_use, bench.scale.keys_stored] {
        // The cache promises half of its size.
        let keyward = files.serve(&Behind::Nobody, 2 * in_use);
        let mut contestants = beside_bare(bench, keyward, get(&files.keys[..in_use]), 204, 1);
        let nanos = together(&mut contestants, &bench.clock, &bench.scale);
        let what = format!("hot verify over HTTP, {stored} keys, {} of them in turn", in_words(in_use));
        show(&format!("bar 2: {what}, together"), "ns/request", &contestants, &nanos);
        tell(
            "2",
            &(what + ", CPU × bare hyper"),
            Spread::ratio(&nanos[1], &nanos[0]).median,
            Bar::Most(1.13),
        );
    }
}

fn verify_call(files: &Files) -> Requests {
    let body = json!({"key": "{key}", "permission": "posts:read"}).to_string();
    let length = body.len() - "{key}".len() + files.keys[0].len();
    let head = format!(
        "POST /api/v1/verify HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        files.admin_key
    );
    Requests::new(&(head + &body), &files.keys)
}

/// The call of a tool, as MCP clients send it.
pub(crate) fn tool_call(files: &Files) -> Requests {
    let arguments = json!({"body": "x".repeat(160), "account_ids": ["acct_1"]});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "posts_create", "arguments": arguments}});
    post("/api/mcp-app", &body.to_string(), files)
}

/// A request with this body, with a key in turn.
pub(crate) fn post(path: &str, body: &str, files: &Files) -> Requests {
    let length = body.len();
    let template = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {{key}}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    Requests::new(&template, &files.keys)
}

/// Copies, one or two, of a bare hyper server that gives Keyward's own answer, and Keyward.
pub(crate) fn beside_bare(
    bench: &Bench,
    keyward: Keyward,
    mut requests: Requests,
    status: u16,
    copies: usize,
) -> Vec<Contestant> {
    let answer = ask(keyward.process.address, &mut requests);
    let mut contestants = Vec::new();
    for name in ["bare hyper", "bare hyper again"].into_iter().take(copies) {
        contestants.push(Contestant::new(
            name,
            hyper::server(&answer.head, &answer.body),
            requests.clone(),
            status,
        ));
    }
    contestants.push(Contestant::new("Keyward", keyward.process, requests, status));
    warmed(bench, contestants)
}

pub(crate) fn warmed(bench: &Bench, contestants: Vec<Contestant>) -> Vec<Contestant> {
    contestants.into_iter().map(|contestant| contestant.warmed(&bench.clock, bench.scale.warm_up)).collect()
}

/// So many times a second is never reached; and what the yardsticks are tried with first, to see that they limit.
const NEVER_REACHED: u64 = 1_000_000;
const REACHED: u64 = 1;

pub(crate) fn beside_limiters(bench: &Bench) {
    let files = bench.many();
    let requests = get(&files.keys);
    let keyward = files.serve(&Behind::Nobody, PROOFS_MAX);
    let mut contestants = vec![Contestant::new("Keyward", keyward.process, requests.clone(), 204)];
    let mut asked = Vec::new();
    if nginx::program().is_some() {
        let start = |name: &str, per_sec| nginx::limiter(&bench.dir(name), &files.keys, per_sec);
        limits("nginx map + limit_req", &files.keys[0], &start("nginx-tried", REACHED), 200);
        let nginx = start("nginx-limiter", NEVER_REACHED);
        contestants.push(Contestant::new("nginx map + limit_req", nginx, requests.clone(), 200));
        asked.push(0.97);
    } else {
        println!("nginx is not installed: left out");
    }
    if haproxy::program().is_some() {
        let start = |name: &str, per_sec| haproxy::limiter(&bench.dir(name), &files.keys, per_sec);
        limits("HAProxy map + stick table", &files.keys[0], &start("haproxy-tried", REACHED), 204);
        let haproxy = start("haproxy", NEVER_REACHED);
        contestants.push(Contestant::new("HAProxy map + stick table", haproxy, requests.clone(), 204));
        asked.push(0.85);
    } else {
        println!("HAProxy is not installed: left out");
    }
    if nginx::program().is_some() && nginx::has_lua() {
        let start = |name: &str, per_sec| nginx::lua(&bench.dir(name), &files.keys, per_sec);
        limits("nginx + Lua", &files.keys[0], &start("lua-tried", REACHED), 200);
        contestants.push(Contestant::new("nginx + Lua", start("lua", NEVER_REACHED), requests, 200));
        asked.push(0.65);
    } else {
        println!("nginx with its Lua module is not installed: left out");
    }
    let mut contestants = warmed(bench, contestants);
    let nanos = together(&mut contestants, &bench.clock, &bench.scale);
    let keys = in_words(files.keys.len());
    show(
        &format!("bar 3: {keys} keys in turn, a limit for each, together"),
        "ns/request",
        &contestants,
        &nanos,
    );
    for ((contestant, theirs), asked) in contestants.iter().zip(&nanos).skip(1).zip(asked) {
        let what = format!("hot verify, {keys} keys in turn, CPU × {}", contestant.name);
        tell("3", &what, Spread::ratio(&nanos[0], theirs).median, Bar::Most(asked));
    }
}

/// Ends the bench unless this yardstick admits this key, refuses another, and limits how often the key may ask.
pub(crate) fn limits(name: &str, key: &str, tried: &crate::process::Process, status: u16) {
    let status_of = |key: &str| ask(tried.address, &mut get(&[key.to_owned()])).status;
    assert_eq!(status_of("sk_live_nobodys"), 401, "{name} takes any key");
    assert_eq!(status_of(key), status, "{name} refuses a good key");
    let limited = (0..5).any(|_| status_of(key) == 429);
    assert!(limited, "{name} limits nothing");
}
