//! A revoke against requests that are under way on many open connections, on every door: accepted means
//! started before the acknowledgement.
//!
//! Never here: a delay between the acknowledgement and what must see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::daemon::{Daemon, Key, Options, ProofCache, call_tool, list_posts};
use crate::wire::{Answer, Call, Connection};

const CONNECTIONS: usize = 32;
/// Requests of each connection that start after the acknowledgement: more than 2,000 in all.
const REQUESTS_AFTER: usize = 70;

#[derive(Clone, Copy)]
enum Door {
    Rest,
    Rpc,
    Verify,
}

impl Door {
    fn call(self, daemon: &Daemon, key: &Key) -> Call {
        match self {
            Self::Rest => list_posts(key),
            Self::Rpc => call_tool(key, "posts_list"),
            Self::Verify => {
                Call::post("/api/v1/verify", &json!({"key": &*key.text})).bearer(daemon.admin_key())
            }
        }
    }

    fn accepts(self, answer: &Answer) -> bool {
        match self {
            Self::Rest => answer.status == 200,
            Self::Rpc => answer.status == 200 && answer.json()["result"].is_object(),
            Self::Verify => answer.json()["code"] == "valid",
        }
    }
}

/// What the connections share.
#[derive(Default)]
struct Race {
    acknowledged: AtomicBool,
    accepted_before: AtomicUsize,
    accepted_after: AtomicUsize,
    started_after: AtomicUsize,
}

impl Race {
    async fn run(self: Arc<Self>, address: SocketAddr, door: Door, call: Call) {
        let mut connection = Connection::open(address).await.unwrap();
        let mut after = 0;
        while after < REQUESTS_AFTER {
            let starts_after = self.acknowledged.load(Ordering::SeqCst);
            connection.send(&call.bytes(address)).await;
            let answer = connection.answer_unless_cut(&call.method).await;
            if answer.is_none() {
                // Its answer was under way when the revoke landed.
                assert!(!starts_after, "a request that starts after the revoke is answered");
                connection = Connection::open(address).await.unwrap();
            }
            let accepted = usize::from(answer.is_some_and(|answer| door.accepts(&answer)));
            if starts_after {
                after += 1;
                self.started_after.fetch_add(1, Ordering::SeqCst);
                self.accepted_after.fetch_add(accepted, Ordering::SeqCst);
            } else {
                self.accepted_before.fetch_add(accepted, Ordering::SeqCst);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b02_of_two_thousand_requests_that_start_after_a_revoke_none_is_accepted() {
    for proof_cache in [ProofCache::On, ProofCache::Off] {
        let daemon = Daemon::start_with(Options { proof_cache, ..Options::default() }).await;
        let workspace = daemon.workspace("enterprise").await;
        let unhurried = json!({"limit": 1_000_000, "window_s": 1});
        let key = daemon.key(&workspace, json!({"permissions": ["*:*"], "rate": unhurried})).await;
        let race = Arc::new(Race::default());
        let mut running = JoinSet::new();
        for number in 0..CONNECTIONS {
            let door = [Door::Rest, Door::Rpc, Door::Rest, Door::Verify][number % 4];
            let address = if matches!(door, Door::Verify) { daemon.admin_address() } else { daemon.data() };
            running.spawn(Arc::clone(&race).run(address, door, door.call(&daemon, &key)));
        }
        while race.accepted_before.load(Ordering::SeqCst) < CONNECTIONS * 4 {
            tokio::task::yield_now().await;
        }
        daemon.revoke(&key).await;
        race.acknowledged.store(true, Ordering::SeqCst);
        while let Some(connection) = running.join_next().await {
            connection.unwrap();
        }
        let started = race.started_after.load(Ordering::SeqCst);
        assert_eq!((started, race.accepted_after.load(Ordering::SeqCst)), (CONNECTIONS * REQUESTS_AFTER, 0));
        daemon.is_well(&workspace.default_key).await;
        daemon.finish().await;
    }
}

#[tokio::test]
async fn b09_around_the_instant_that_a_key_ends_every_request_goes_by_that_instant() {
    let daemon = Daemon::start().await;
    let workspace = daemon.workspace("enterprise").await;
    let rate = json!({"limit": 1_000_000, "window_s": 1});
    for proof in ["cold", "warm"] {
        let fields = json!({"permissions": ["*:*"], "rate": rate, "expires_at": daemon.in_secs(1)});
        let key = daemon.key(&workspace, fields).await;
        let mut connection = daemon.connect().await;
        if proof == "warm" {
            assert_eq!(connection.call(&list_posts(&key)).await.status, 200);
        }
        // Ten milliseconds a step up to the last microsecond, and on from the instant itself.
        let steps = [vec![10_000; 99], vec![9_999, 1], vec![10_000; 10]].concat();
        let mut passed_micros = 0;
        for step in steps {
            daemon.advance_micros(step);
            passed_micros += step;
            let status = connection.call(&list_posts(&key)).await.status;
            assert_eq!(status == 200, passed_micros < 1_000_000, "{proof}: {status} at {passed_micros} µs");
        }
    }
    daemon.finish().await;
}
