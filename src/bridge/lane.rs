//! A server that everyone of one era shares, kept running: started, greeted, started again when it ends.
//!
//! Many servers serve one era for as long as they run, the one in which they are spoken to first; so each era has
//! a process of its own. The legacy one starts with the daemon, the modern one with the first request of that era. A
//! server that does not speak an era is found out once, and not started for it again. Between a start and the next
//! lies a pause that doubles.
//!
//! Never here: a client's message.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::{Link, Streams};
use super::message::{INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Message, UNSUPPORTED_VERSION};
use super::outbox::{Budget, Event};
use super::process::{Outlet, Process, Program};
use crate::domain::mcp::{Era, MODERN_VERSION, NEWEST_LEGACY_VERSION};

/// How long a new process may take to greet: a package that is fetched first takes its time.
const GREETING_MAX: Duration = Duration::from_mins(1);
/// How long a server of another era may leave a `server/discover` without an answer.
const DISCOVERY_MAX: Duration = Duration::from_secs(30);
/// The pause before a process is started again, the first time and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A process that ran for so long is not one that keeps failing.
const STEADY_AFTER: Duration = Duration::from_mins(1);

/// What all processes of one upstream are made with.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) program: Arc<Program>,
    pub(super) budget: Budget,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

/// The shared server of one era. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
}

/// A server that greeted.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) link: Arc<Link>,
    /// What it says of itself: the result of `initialize` in the legacy era.
    pub(super) greeting: Arc<str>,
}

/// Why there is no server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unready {
    /// It does not speak this era.
    NotSpoken,
    /// It ends before it can be used, or cannot be started.
    Failing,
    /// It is not there yet.
    Late,
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    Up(Up),
    Failing,
    NotSpoken,
}

impl Lane {
    /// Starts keeping the legacy server.
    pub(super) fn legacy(ground: &Ground, streams: &Arc<Streams>) -> Self {
        Self::keep(Era::Legacy, ground, streams, None)
    }

    /// Starts keeping the modern server, once somebody wants it. `legacy` is the same command's, if it is shared too.
    pub(super) fn modern(ground: &Ground, streams: &Arc<Streams>, legacy: Option<&Self>) -> Self {
        Self::keep(Era::Modern, ground, streams, legacy.map(|lane| lane.state.clone()))
    }

    fn keep(
        era: Era,
        ground: &Ground,
        streams: &Arc<Streams>,
        other: Option<watch::Receiver<State>>,
    ) -> Self {
        let (sender, state) = watch::channel(State::Starting);
        let wanted = Arc::new(Notify::new());
        let (ground, streams) = (ground.clone(), Arc::clone(streams));
        let (shutdown, first, tasks) = (ground.shutdown.clone(), Arc::clone(&wanted), ground.tasks.clone());
        let keeper = Keeper { era, ground, streams, other, state: sender };
        tasks.spawn(async move {
            if era == Era::Modern && shutdown.run_until_cancelled(first.notified()).await.is_none() {
                return;
            }
            keeper.keep().await;
        });
        Self { state, wanted }
    }

    /// The server, once it is there; waited for at most so long.
    pub(super) async fn up(&self, wait_max: Duration) -> Result<Up, Unready> {
        self.wanted.notify_one();
        let mut state = self.state.clone();
        let settled = timeout(wait_max, state.wait_for(|state| !matches!(state, State::Starting))).await;
        match settled {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(up.clone()),
                State::NotSpoken => Err(Unready::NotSpoken),
                State::Failing | State::Starting => Err(Unready::Failing),
            },
            // Nobody keeps it any more: the daemon stops.
            Ok(Err(_)) => Err(Unready::Failing),
            Err(_) => Err(Unready::Late),
        }
    }
}

/// Keeps one server running.
struct Keeper {
    era: Era,
    ground: Ground,
    streams: Arc<Streams>,
    /// The same command's server of the other era.
    other: Option<watch::Receiver<State>>,
    state: watch::Sender<State>,
}

/// What became of a process before it could be used.
enum Unusable {
    NotSpoken,
    Failed,
}

impl Keeper {
    async fn keep(self) {
        let shutdown = self.ground.shutdown.clone();
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            match self.run().await {
                Ok(Steady::Yes) => pause = PAUSE_MIN,
                Ok(Steady::No) => {}
                Err(Unusable::NotSpoken) => {
                    let (profile, era) = (&self.ground.program.profile, self.era);
                    tracing::info!(profile, ?era, "the server behind a command does not speak this era");
                    self.state.send_replace(State::NotSpoken);
                    return;
                }
                // It may have come up before: whoever waits now is not kept waiting for that.
                Err(Unusable::Failed) => {
                    self.state.send_replace(State::Failing);
                }
            }
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    /// One process from its start to its end.
    async fn run(&self) -> Result<Steady, Unusable> {
        let Ground { program, budget, tasks, shutdown } = &self.ground;
        let (outlet, lines) = Outlet::new();
        let link = Arc::new(Link::new(outlet, budget.clone(), Arc::clone(&self.streams)));
        let receiver = Arc::clone(&link);
        let started = Process::start(program, lines, tasks, shutdown, move |line| receiver.receive(line));
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let (profile, command) = (&program.profile, program.command.to_string_lossy());
                tracing::error!(profile, %command, %error, "the command cannot be started, trying again");
                return Err(Unusable::Failed);
            }
        };
        let greeted = tokio::select! {
            greeted = self.greet(&link) => greeted,
            () = process.ended() => Err(self.cause_of_death()),
        };
        let greeting = match greeted {
            Ok(greeting) => greeting.into(),
            Err(unusable) => {
                process.stop();
                link.end();
                process.ended().await;
                if matches!(unusable, Unusable::Failed) && !shutdown.is_cancelled() {
                    let profile = &program.profile;
                    tracing::error!(profile, "the server behind a command did not greet, trying again");
                }
                return Err(unusable);
            }
        };
        self.state.send_replace(State::Up(Up { link: Arc::clone(&link), greeting }));
        let era = self.era;
        tracing::info!(profile = program.profile, ?era, "the server behind a command is there");
        let steady = if timeout(STEADY_AFTER, process.ended()).await.is_err() {
            process.ended().await;
            Steady::Yes
        } else {
            Steady::No
        };
        // In this order: who finds it gone waits for the next one.
        self.state.send_replace(State::Starting);
        link.end();
        Ok(steady)
    }

    /// Why a process ended before it greeted. Some legacy servers end when they are spoken to in the other era.
    fn cause_of_death(&self) -> Unusable {
        let runs_elsewhere = self.other.as_ref().is_some_and(|other| matches!(*other.borrow(), State::Up(_)));
        if runs_elsewhere { Unusable::NotSpoken } else { Unusable::Failed }
    }

    async fn greet(&self, link: &Arc<Link>) -> Result<String, Unusable> {
        let own = json!({"name": "keyward", "version": env!("CARGO_PKG_VERSION")});
        match self.era {
            Era::Legacy => {
                let params =
                    json!({"protocolVersion": NEWEST_LEGACY_VERSION, "capabilities": {}, "clientInfo": own});
                let (text, error) = self.answer(link, "initialize", &params, GREETING_MAX).await?;
                if let Some(code) = error {
                    // Anything else may be over at the next start.
                    let is_unknown = [METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION];
                    return Err(if is_unknown.contains(&code) {
                        Unusable::NotSpoken
                    } else {
                        Unusable::Failed
                    });
                }
                let result = Message::read(&text).ok().and_then(|message| message.result());
                let result = result.map(RawValue::get).ok_or(Unusable::Failed)?;
                link.tell_own("notifications/initialized", &json!({})).await.map_err(|_| Unusable::Failed)?;
                Ok(result.to_owned())
            }
            Era::Modern => {
                let params = json!({"_meta": {
                    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
                    "io.modelcontextprotocol/clientInfo": own,
                    "io.modelcontextprotocol/clientCapabilities": {},
                }});
                match self.answer(link, "server/discover", &params, DISCOVERY_MAX).await? {
                    (text, None) if text.contains("supportedVersions") => Ok(text),
                    // It speaks a later version; which, it tells those who ask.
                    (text, Some(UNSUPPORTED_VERSION)) => Ok(text),
                    _ => Err(Unusable::NotSpoken),
                }
            }
        }
    }

    /// The answer to a request of ours. A server that leaves one without an answer fails, but for the question
    /// that those of the other era are free to leave so.
    async fn answer(
        &self,
        link: &Arc<Link>,
        method: &str,
        params: &Value,
        wait_max: Duration,
    ) -> Result<(String, Option<i32>), Unusable> {
        let asked = async {
            let mut waiting = link.ask_own(method, params).await.ok()?;
            waiting.inbox.next().await
        };
        match timeout(wait_max, asked).await {
            Ok(Some(Event::Answer(text, error))) => Ok((text, error)),
            Err(_) if self.era == Era::Modern => Err(Unusable::NotSpoken),
            Ok(_) | Err(_) => Err(Unusable::Failed),
        }
    }
}

/// Whether a process ran long enough not to count as failing.
enum Steady {
    Yes,
    No,
}
