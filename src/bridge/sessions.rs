//! A process for each session: started by `initialize`, ended by DELETE, by silence, or by itself.
//!
//! Messages go to it and come from it as they are, ids untouched, since nobody else speaks with it. What it says
//! beside answers goes to the request that it is about, else to the stream that listens, and waits for one within a
//! bound. A session's id is 256 random bits; whose it is, the gate knows.
//!
//! Never here: a session that outlives its process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::lane::Ground;
use super::link::Asked;
use super::message::{self, INTERNAL_ERROR, Kind, Message, canonical};
use super::outbox::{Budget, Event, Outbox, outbox};
use super::process::{Outlet, Process, Unsaid};
use super::waiting::{Ticket, Waiting};

/// The most messages that wait for a stream that takes them.
const HELD_MAX: usize = 16;
/// The longest of those, in bytes.
const HELD_BYTES_MAX: usize = 64 << 10;
/// Of so many sessions, one may be of a client without a key: it costs a process, and nobody answers for it.
const SESSIONS_PER_KEYLESS: usize = 4;
/// How long a session may go unused before its first request after `initialize`.
const UNUSED_MAX: Duration = Duration::from_mins(1);

/// The sessions of one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    ground: Ground,
    most: usize,
    idle_max: Duration,
    known: Arc<Mutex<HashMap<String, Arc<Session>>>>,
}

/// Why there is no new session.
#[derive(Debug)]
pub(super) enum NoSession {
    /// As many as may be are open.
    Full,
    /// The process cannot be started.
    NotStarted,
}

/// One session and its process.
#[derive(Debug)]
pub(super) struct Session {
    outlet: Outlet,
    budget: Budget,
    table: Mutex<Table>,
    /// Something happened: it is not idle.
    stirred: Notify,
}

#[derive(Default, Debug)]
struct Table {
    pending: HashMap<String, Pending>,
    stream: Option<Outbox>,
    /// What waits for a stream.
    held: VecDeque<Event>,
    is_used: bool,
    /// A key uses it.
    is_keyed: bool,
    over: bool,
}

#[derive(Debug)]
struct Pending {
    token: Option<String>,
    takes_messages: bool,
    outbox: Outbox,
}

/// Why a session does not take a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Untaken {
    /// A request with this id is under way.
    SameId,
    /// Somebody listens already.
    Listening,
    /// The server does not take it.
    Unsaid(Unsaid),
}

impl Sessions {
    pub(super) fn new(ground: Ground, most: usize, idle_max: Duration) -> Self {
        Self { ground, most, idle_max, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session with this id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.known().get(id).filter(|session| !session.table().over).cloned()
    }

    /// Starts one, for a client with a key or without, and gives its id.
    pub(super) fn begin(&self, is_keyed: bool) -> Result<(String, Arc<Session>), NoSession> {
        let Ground { program, budget, tasks, shutdown } = &self.ground;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| NoSession::NotStarted)?;
        let id = hex::encode(random);
        let (outlet, lines) = Outlet::new();
        let session = Arc::new(Session {
            outlet,
            budget: budget.clone(),
            table: Mutex::new(Table { is_keyed, ..Table::default() }),
            stirred: Notify::new(),
        });
        let mut known = self.known();
        let keyless_max = (self.most / SESSIONS_PER_KEYLESS).max(1);
        let is_keyless = |session: &&Arc<Session>| !session.table().is_keyed;
        if known.len() >= self.most || (!is_keyed && known.values().filter(is_keyless).count() >= keyless_max)
        {
            return Err(NoSession::Full);
        }
        let receiver = Arc::clone(&session);
        let started = Process::start(program, lines, tasks, shutdown, move |line| receiver.receive(line));
        let process = started.map_err(|error| {
            let (profile, command) = (&program.profile, program.command.to_string_lossy());
            tracing::error!(profile, %command, %error, "the command of a session cannot be started");
            NoSession::NotStarted
        })?;
        known.insert(id.clone(), Arc::clone(&session));
        drop(known);
        tasks.spawn(self.clone().keep(id.clone(), Arc::clone(&session), process));
        Ok((id, session))
    }

    /// Sees a session to its end, and keeps its place until nothing is left of it.
    async fn keep(self, id: String, session: Arc<Session>, process: Process) {
        loop {
            let idle_max =
                if session.table().is_used { self.idle_max } else { self.idle_max.min(UNUSED_MAX) };
            tokio::select! {
                () = process.ended() => break,
                stirred = timeout(idle_max, session.stirred.notified()) => {
                    if session.table().over || stirred.is_err() && session.is_idle() {
                        break;
                    }
                }
            }
        }
        process.stop();
        session.end();
        process.ended().await;
        self.known().remove(&id);
    }
}

impl Session {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request on.
    pub(super) async fn ask(
        self: &Arc<Self>,
        message: &Message<'_>,
        asked: Asked,
    ) -> Result<Waiting, Untaken> {
        let (outbox, inbox) = outbox(&self.budget);
        let key = canonical(message.id());
        let Asked { id, token, takes_messages, .. } = asked;
        let token = token.as_deref().map(canonical);
        {
            let mut table = self.table();
            if table.over {
                return Err(Untaken::Unsaid(Unsaid::Ended));
            }
            if table.pending.contains_key(&key) {
                return Err(Untaken::SameId);
            }
            table.is_used |= message.method() != "initialize";
            table.pending.insert(key.clone(), Pending { token, takes_messages, outbox });
        }
        let session = Arc::clone(self);
        let (number, is_first) = (id.clone(), message.method() == "initialize");
        let ticket = Ticket::new(move || session.leave(&key, &number, is_first));
        self.stirred.notify_one();
        self.outlet.say(message.line()).await.map_err(Untaken::Unsaid)?;
        Ok(Waiting { inbox, id: Some(id), ticket })
    }

    /// Sends a notification or an answer on.
    pub(super) async fn tell(&self, message: &Message<'_>) -> Result<(), Unsaid> {
        self.table().is_used = true;
        self.stirred.notify_one();
        self.outlet.say(message.line()).await
    }

    /// Listens to what belongs to no request.
    pub(super) fn listen(self: &Arc<Self>) -> Result<Waiting, Untaken> {
        let (outbox, inbox) = outbox(&self.budget);
        let mut table = self.table();
        if table.over {
            return Err(Untaken::Unsaid(Unsaid::Ended));
        }
        if table.stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
            return Err(Untaken::Listening);
        }
        for event in table.held.drain(..) {
            let _ = outbox.put(event);
        }
        table.stream = Some(outbox);
        table.is_used = true;
        drop(table);
        self.stirred.notify_one();
        let session = Arc::clone(self);
        let ticket = Ticket::new(move || session.stirred.notify_one());
        Ok(Waiting { inbox, id: None, ticket })
    }

    /// A key uses it from now on; whose it is, the gate knows.
    pub(super) fn note_key(&self) {
        self.table().is_keyed = true;
    }

    /// Ends it. Whoever waits learns it.
    pub(super) fn end(&self) {
        let mut table = self.table();
        *table = Table { over: true, is_keyed: table.is_keyed, ..Table::default() };
        drop(table);
        self.stirred.notify_one();
    }

    fn is_idle(&self) -> bool {
        let table = self.table();
        table.pending.is_empty() && table.stream.as_ref().is_none_or(Outbox::is_closed)
    }

    /// Nobody waits for this request any more.
    fn leave(&self, key: &str, id: &str, is_first: bool) {
        let left = self.table().pending.remove(key);
        self.stirred.notify_one();
        match left {
            // A session that nobody was told of.
            Some(_) if is_first => self.end(),
            Some(_) => {
                let id: serde_json::Value = serde_json::from_str(id).unwrap_or_default();
                let params = json!({"requestId": id, "reason": "The client left."});
                self.outlet.say_if_room(message::ours(None, "notifications/cancelled", &params));
            }
            None => {}
        }
    }

    /// Takes a line of the server's. False when it is no message.
    fn receive(&self, line: &str) -> bool {
        let Ok(message) = Message::read(line) else { return false };
        if message.kind() == Kind::Answer {
            let pending = self.table().pending.remove(&canonical(message.id()));
            if let Some(Pending { outbox, .. }) = pending {
                let _ = outbox.put(Event::Answer(message.line(), message.error_code()));
            }
            return true;
        }
        let is_held = self.pass_on(&message, line);
        if !is_held && message.kind() == Kind::Request {
            let refused = message::error(message.id(), INTERNAL_ERROR, "Nobody listens to this session.");
            self.outlet.say_if_room(refused);
        }
        true
    }

    /// Gives a message to the request that it is about, or that is the only one, else to who listens, else to
    /// any request; else keeps it for who will listen. False when there is no room for it.
    fn pass_on(&self, message: &Message<'_>, line: &str) -> bool {
        let mut table = self.table();
        if table.over {
            return false;
        }
        let about = message.progress_token().filter(|_| message.kind() == Kind::Notification).map(canonical);
        let mut taking = table.pending.iter().filter(|(_, pending)| pending.takes_messages);
        let request = match &about {
            Some(token) => taking.find(|(_, pending)| pending.token.as_ref() == Some(token)),
            None => taking.next().filter(|_| taking.next().is_none() || !table.is_listening()),
        };
        let event = Event::Message(message.line());
        if let Some((key, pending)) = request {
            if !pending.outbox.put(event) {
                // It does not read, so it is cut off.
                let key = key.clone();
                table.pending.remove(&key);
            }
        } else if table.is_listening() {
            if !table.stream.as_ref().is_some_and(|stream| stream.put(event)) {
                table.stream = None;
            }
        } else if about.is_none() {
            if table.held.len() >= HELD_MAX || line.len() > HELD_BYTES_MAX {
                return false;
            }
            table.held.push_back(event);
        }
        true
    }
}

impl Table {
    fn is_listening(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.is_closed())
    }
}
