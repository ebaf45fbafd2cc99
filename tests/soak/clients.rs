//! Those who call: each with any key of any time, at every door, judged by what was true then.
//!
//! A request whose answer does not come is judged too: nothing but the daemon's absence, or the end of its key, cuts one
//! off.
//!
//! Never here: a change.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::harness::hidden::Hidden;
use super::harness::random::Random;
use super::harness::wire::{Answer, Call, Connection, PATIENCE};
use super::report::Report;
use super::truth::{Absences, Asked, Held, Key, Outcome, Span, now, wall_secs};
use super::upstream::METERED;

/// Between two requests of one client, at the most: what is asked for is hours of a fraction of a core.
const PAUSE_MILLIS_MAX: u64 = 24;
/// How long a stream is listened to.
const STREAM_SECS_MAX: u64 = 12;
/// How long a stream may go on behind the end of its key: the promise is one second, and the machine is busy.
const STREAM_GRACE: Duration = Duration::from_secs(4);

/// Where the daemon is, while it is there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) admin_key: Hidden,
}

/// What all who take part share.
pub(crate) struct World {
    pub(crate) keys: Mutex<Vec<Arc<Key>>>,
    pub(crate) absences: Absences,
    pub(crate) place: watch::Receiver<Option<Place>>,
    pub(crate) report: Report,
    /// Set once everything is there to begin with.
    pub(crate) until: OnceLock<Instant>,
}

/// Answers without which a run says nothing, however slow the machine is.
const ANSWERS_MIN: u64 = 400;

impl World {
    pub(crate) fn is_over(&self) -> bool {
        let is_late = self.until.get().is_some_and(|until| now() >= *until);
        is_late && self.report.breadth().0 >= ANSWERS_MIN
    }

    /// Where the daemon is, once it is there.
    pub(crate) async fn place(&self) -> Place {
        let mut place = self.place.clone();
        place.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    fn any_key(&self, random: &mut Random) -> Arc<Key> {
        let keys = self.keys.lock().unwrap();
        Arc::clone(&keys[random.below(keys.len())])
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    List,
    Create,
    Rewrite,
    CallRead,
    CallWrite,
    ListTools,
    Verify,
    VerifyMetered,
    DryRun,
    WrongKey,
    NoKey,
    TwoKeys,
}

const STEPS: [Step; 16] = [
    Step::List,
    Step::List,
    Step::Create,
    Step::Rewrite,
    Step::Rewrite,
    Step::CallRead,
    Step::CallRead,
    Step::CallWrite,
    Step::ListTools,
    Step::Verify,
    Step::Verify,
    Step::VerifyMetered,
    Step::DryRun,
    Step::WrongKey,
    Step::NoKey,
    Step::TwoKeys,
];

/// Calls until the time is over.
pub(crate) async fn call(world: Arc<World>, mut random: Random) {
    let mut open = None;
    while !world.is_over() {
        let key = world.any_key(&mut random);
        // Mostly the newest text, and any that it ever had.
        let number = {
            let texts = key.texts.lock().unwrap().len();
            if random.up_to(3) > 0 { texts - 1 } else { random.below(texts) }
        };
        let text = key.texts.lock().unwrap()[number].clone();
        let step = STEPS[random.below(STEPS.len())];
        Request { world: &world, key: &key, number, text: &text, step }.judged(&mut open, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.up_to(PAUSE_MILLIS_MAX))).await;
    }
}

struct Request<'a> {
    world: &'a World,
    key: &'a Key,
    number: usize,
    text: &'a Hidden,
    step: Step,
}

impl Request<'_> {
    async fn judged(&self, open: &mut Option<(SocketAddr, Connection)>, random: &mut Random) {
        let place = self.world.place().await;
        let units = match self.step {
            Step::Rewrite => 1,
            Step::VerifyMetered => 1 + random.up_to(2),
            _ => 0,
        };
        let call = self.call(&place, units);
        let is_verify = matches!(self.step, Step::Verify | Step::VerifyMetered | Step::DryRun);
        let address = if is_verify { place.admin } else { place.data };
        let workspace = &self.key.workspace;
        workspace.in_doubt.fetch_add(units, Ordering::SeqCst);
        let (from, from_wall) = (now(), wall_secs());
        let answer = answered(open, address, &call).await;
        let span = Span::since(from, from_wall);
        let may_be = self.may_be(span);
        let name = format!("{:?}", self.step);
        let Some(answer) = answer else {
            // It may have been sold, and stays in doubt.
            let is_excused =
                self.world.absences.overlap(span.from, span.to) || may_be.contains(&Outcome::NoKey);
            self.world.report.cut(&name, is_excused);
            if !is_excused {
                self.world.report.wrong(format!("{name} was cut off for nothing"));
            }
            return;
        };
        if answer.header("connection") == Some("close") {
            *open = None;
        }
        let outcome = self.outcome(&answer);
        if outcome == Some(Outcome::Passed) && units > 0 {
            let sold = if is_verify { &workspace.verified } else { &workspace.forwarded };
            sold.fetch_add(units, Ordering::SeqCst);
        }
        workspace.in_doubt.fetch_sub(units, Ordering::SeqCst);
        self.world.report.judged(&name, outcome, may_be.len() > 1);
        if outcome.is_none_or(|outcome| !may_be.contains(&outcome)) {
            let (key, number) = (&self.key.id, self.number);
            let states = self.key.states.within(span.from, span.to);
            self.world.report.wrong(format!(
                "{name} by text {number} of {key} is {outcome:?} and may be {may_be:?}; {states:?} {answer:?}"
            ));
        } else if outcome == Some(Outcome::Passed) && !self.is_own(&answer, span) {
            self.world.report.wrong(format!("{name} of {} got what is not its own: {answer:?}", self.key.id));
        }
    }

    fn call(&self, place: &Place, units: u64) -> Call {
        let text = &**self.text;
        let tool = |name: &str| {
            let params = json!({"name": name, "arguments": {}});
            Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
                .bearer(text)
        };
        let verify = |mut fields: Value| {
            fields["key"] = json!(text);
            fields["ip"] = json!("127.0.0.1");
            Call::post("/api/v1/verify", &fields).bearer(&place.admin_key)
        };
        match self.step {
            Step::List => Call::get("/v1/posts").bearer(text),
            Step::Create => Call::post("/v1/posts", &json!({"content": "soaked"})).bearer(text),
            Step::Rewrite => {
                Call::post("/v1/ai/rewrite", &json!({"text": "a"})).bearer(text).header(METERED, "yes")
            }
            Step::CallRead => tool("posts_list"),
            Step::CallWrite => tool("posts_create"),
            Step::ListTools => {
                Call::rpc(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).bearer(text)
            }
            Step::Verify => verify(json!({"permission": "posts:read"})),
            Step::VerifyMetered => verify(json!({"permission": "ai:generate", "cost": units})),
            Step::DryRun => verify(json!({"permission": "posts:write", "dry_run": true})),
            Step::WrongKey => Call::get("/v1/posts").bearer(&one_off(text)),
            Step::NoKey => Call::get("/v1/posts"),
            Step::TwoKeys => Call::get("/v1/posts").bearer(text).header("X-API-Key", text),
        }
    }

    fn may_be(&self, span: Span) -> BTreeSet<Outcome> {
        let asked = match self.step {
            Step::List | Step::CallRead | Step::Verify => Asked::Read,
            Step::Create | Step::CallWrite | Step::DryRun => Asked::Write,
            Step::Rewrite | Step::VerifyMetered => Asked::Metered,
            Step::ListTools => Asked::Standing,
            Step::WrongKey | Step::NoKey | Step::TwoKeys => return BTreeSet::from([Outcome::NoKey]),
        };
        self.key.may_be(self.number, asked, span, &self.world.absences)
    }

    /// What the answer says; nothing when it is no answer that a caller is promised.
    fn outcome(&self, answer: &Answer) -> Option<Outcome> {
        let code = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        match self.step {
            Step::Verify | Step::VerifyMetered | Step::DryRun => {
                match (answer.status, code["code"].as_str()?) {
                    (200, "valid") => Some(Outcome::Passed),
                    (200, "unknown" | "revoked" | "expired" | "address") => Some(Outcome::NoKey),
                    (200, "rate") => Some(Outcome::TooFast),
                    (200, "permission") => Some(Outcome::NotHeld),
                    (200, "quota") => Some(Outcome::UsedUp),
                    _ => None,
                }
            }
            Step::CallRead | Step::CallWrite | Step::ListTools => match (answer.status, answer.rpc_error().0)
            {
                (200, 0) => Some(Outcome::Passed),
                (401, -32001) => Some(Outcome::NoKey),
                (200, -32004) => Some(Outcome::TooFast),
                (403, -32003) => Some(Outcome::NotHeld),
                _ => None,
            },
            Step::TwoKeys => (answer.status == 400).then_some(Outcome::NoKey),
            Step::List | Step::Create | Step::Rewrite | Step::WrongKey | Step::NoKey => {
                match (answer.status, &*answer.rest_error().0) {
                    (200, "") => Some(Outcome::Passed),
                    (401, "unauthorized") => Some(Outcome::NoKey),
                    (429, "rate_limited") => Some(Outcome::TooFast),
                    (403, "forbidden_scope") => Some(Outcome::NotHeld),
                    (402, "quota_exceeded") => Some(Outcome::UsedUp),
                    _ => None,
                }
            }
        }
    }

    /// Whether what passed was answered for this key, and shows it what it may see.
    fn is_own(&self, answer: &Answer, span: Span) -> bool {
        let body = answer.json();
        match self.step {
            Step::Verify | Step::VerifyMetered | Step::DryRun => body["key_id"] == self.key.id,
            Step::CallRead | Step::CallWrite => body["result"]["key"] == self.key.id,
            Step::ListTools => {
                let listed = body["result"]["tools"].as_array().cloned().unwrap_or_default();
                let listed: Vec<_> = listed.iter().filter_map(|tool| tool["name"].as_str()).collect();
                let seen = |held: Held| {
                    super::upstream::TOOLS.into_iter().filter(|tool| held.sees(tool)).collect::<Vec<_>>()
                };
                self.key.states.within(span.from, span.to).iter().any(|state| seen(state.held) == listed)
            }
            _ => body["key"] == self.key.id,
        }
    }
}

/// Sends a request over an open connection or a new one; nothing when its answer is cut off, or nobody listens.
async fn answered(
    open: &mut Option<(SocketAddr, Connection)>,
    address: SocketAddr,
    call: &Call,
) -> Option<Answer> {
    let (to, mut connection) = match open.take() {
        Some((to, connection)) if to == address => (to, connection),
        _ => (address, Connection::open(address).await.ok()?),
    };
    connection.send(&call.bytes(to)).await;
    let answer = connection.answer_unless_cut(&call.method).await?;
    *open = Some((to, connection));
    Some(answer)
}

/// The text with another character in its secret.
fn one_off(text: &str) -> String {
    let mut text = text.to_owned().into_bytes();
    let place = text.len() - 8;
    text[place] = if text[place] == b'a' { b'b' } else { b'a' };
    String::from_utf8(text).unwrap()
}

/// Listens to one stream after the other until the time is over. Each ends with its key, and with nothing else but
/// the daemon.
pub(crate) async fn listen(world: Arc<World>, mut random: Random) {
    while !world.is_over() {
        let key = world.any_key(&mut random);
        let (number, text) = {
            let texts = key.texts.lock().unwrap();
            (texts.len() - 1, texts[texts.len() - 1].clone())
        };
        let place = world.place().await;
        let call = Call::get("/api/mcp-app").header("Accept", "text/event-stream").bearer(&text);
        let opened = async {
            let mut stream = TcpStream::connect(place.data).await.ok()?;
            stream.write_all(&call.bytes(place.data)).await.ok()?;
            let head = piece(&mut stream).await?;
            let is_stream = String::from_utf8_lossy(&head).contains("text/event-stream");
            is_stream.then_some(stream)
        };
        let Some(mut stream) = opened.await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        world.report.stream_opened();
        let leaves_at = now() + Duration::from_secs(1 + random.up_to(STREAM_SECS_MAX));
        let mut stood_at = (now(), wall_secs());
        loop {
            let (from, from_wall) = (now(), wall_secs());
            let piece = piece(&mut stream).await;
            let may_stand = |span| {
                let may_be = key.may_be(number, Asked::Standing, span, &world.absences);
                (may_be.iter().any(|outcome| *outcome != Outcome::NoKey), may_be.contains(&Outcome::NoKey))
            };
            let span = Span::since(from, from_wall);
            let (stands, may_have_ended) = may_stand(span);
            if piece.is_none() {
                let excused = may_have_ended || world.absences.overlap(stood_at.0, span.to);
                let (_, ended_before) = may_stand(Span::since(stood_at.0, stood_at.1));
                if excused || ended_before {
                    world.report.stream_ended();
                } else {
                    world.report.wrong(format!("a stream of {} ended for nothing", key.id));
                }
                break;
            }
            if stands {
                stood_at = (span.from, from_wall);
            } else if span.to - stood_at.0 > STREAM_GRACE {
                world.report.wrong(format!("a stream of {} goes on behind its end", key.id));
                break;
            }
            if now() > leaves_at || world.is_over() {
                break;
            }
        }
    }
}

/// What comes next; nothing behind the end.
async fn piece(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read =
        tokio::time::timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("a stream goes on or ends");
    read.ok().filter(|read| *read > 0).map(|_| bytes)
}
