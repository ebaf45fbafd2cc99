//! Bars 5 and 6: a proxied POST through the gate, beside proxies to the same upstream that decide nothing or little.
//!
//! The upstream runs on the clients' core.
//!
//! Never here: a request that Keyward answers itself.

use serde_json::json;

use crate::Bench;
use crate::hot::{PROOFS_MAX, limits, post, tool_call, warmed};
use crate::keyward::{Behind, Files};
use crate::measure::{Contestant, Spread, in_turn, show, together};
use crate::world::bars::{Bar, tell};
use crate::yardsticks::{haproxy, hyper, nginx};

/// What the upstream says: to a tool's call, the answer to it; to everything else, the same bytes.
fn answer() -> String {
    let body = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "made"}], "isError": false}}).to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn proxied(bench: &Bench) {
    let files = bench.many();
    let for_tools = Files::make(&bench.runtime, bench.dir("tools"), bench.scale.keys);
    let upstream = hyper::upstream(&answer());
    let far = upstream.address;
    let body = tool_call(files).body();
    let requests = post("/v1/posts", &body, files);
    let mut contestants = Vec::new();
    if nginx::program().is_some() {
        let nginx = nginx::proxy(&bench.dir("nginx-proxy"), far);
        contestants.push(Contestant::new("nginx proxy_pass", nginx, requests.clone(), 200));
    } else {
        println!("nginx is not installed: compared with a bare hyper proxy alone");
    }
    contestants.push(Contestant::new("bare hyper proxy", hyper::proxy(far), requests.clone(), 200));
    let behind = Behind::Server(far);
    let gate = files.serve(&behind, PROOFS_MAX).process;
    contestants.push(Contestant::new("Keyward", gate, requests.clone(), 200));
    let gate = for_tools.serve(&behind, PROOFS_MAX).process;
    contestants.push(Contestant::new("Keyward, tools/call", gate, tool_call(&for_tools), 200));
    if nginx::program().is_some() {
        let start = |name: &str, per_sec| nginx::limiting_proxy(&bench.dir(name), &files.keys, per_sec, far);
        limits("nginx map + limit_req + proxy_pass", &files.keys[0], &start("nginx-tried-proxy", 1), 200);
        let nginx = start("nginx-limiting-proxy", 1_000_000);
        contestants.push(Contestant::new("nginx map + limit_req + proxy_pass", nginx, requests.clone(), 200));
    }
    if haproxy::program().is_some() {
        let start =
            |name: &str, per_sec| haproxy::limiting_proxy(&bench.dir(name), &files.keys, per_sec, far);
        limits("HAProxy map + stick table + proxy", &files.keys[0], &start("haproxy-tried-proxy", 1), 200);
        let haproxy = start("haproxy-proxy", 1_000_000);
        contestants.push(Contestant::new("HAProxy map + stick table + proxy", haproxy, requests, 200));
    }
    let mut contestants = warmed(bench, contestants);
    let place =
        |contestants: &[Contestant], name| contestants.iter().position(|one| one.name == name).unwrap();
    let (ours, tools) = (place(&contestants, "Keyward"), place(&contestants, "Keyward, tools/call"));
    let nanos = together(&mut contestants, &bench.clock, &bench.scale);
    show("bars 5 and 6: proxied POST, together", "ns/request", &contestants, &nanos);
    let rates = in_turn(&mut contestants, &bench.clock, &bench.scale);
    show("bars 5 and 6: proxied POST, in turn", "requests/s", &contestants, &rates);
    let of_first = |what: &str| format!("{what} × {}", contestants[0].name);
    tell("5", &of_first("proxied POST, CPU"), Spread::ratio(&nanos[ours], &nanos[0]).median, Bar::Most(1.0));
    tell(
        "5",
        &of_first("proxied POST, requests/s"),
        Spread::ratio(&rates[ours], &rates[0]).median,
        Bar::Least(1.0),
    );
    let tools = Spread::ratio(&nanos[tools], &nanos[ours]).median;
    tell("6", "tools/call through the gate, CPU × the proxied POST", tools, Bar::Most(1.1));
}
