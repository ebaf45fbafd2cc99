//! One server that everyone shares: whose message is whose.
//!
//! Requests go on under numbers of ours, and so do their progress tokens; what comes back gets the client's own
//! again. What names a request goes to who asked it, and to nobody else; word that a list changed goes to every
//! stream. A client that leaves has its request cancelled. A server that asks is told that nobody can be asked.
//!
//! Never here: a log message of the server's shown to a client: it may be about another one's call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::message::{self, Kind, METHOD_NOT_FOUND, Message, canonical, own_id};
use super::outbox::{Budget, Event, Outbox, outbox};
use super::process::{Outlet, Unsaid};
use super::waiting::{Ticket, Waiting};

/// The most streams that listen at once.
const STREAMS_MAX: usize = 1024;

/// A server that is shared.
#[derive(Debug)]
pub(super) struct Link {
    outlet: Outlet,
    budget: Budget,
    streams: Arc<Streams>,
    table: Mutex<Table>,
}

#[derive(Default, Debug)]
struct Table {
    last_id: u64,
    pending: HashMap<u64, Pending>,
    /// The server has ended: nothing is added any more.
    over: bool,
}

#[derive(Debug)]
struct Pending {
    asked: Asked,
    outbox: Outbox,
}

/// A request as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Who asks: a key's id; none is a client without a key.
    pub(super) caller: Option<String>,
    /// Its id, as it was written.
    pub(super) id: String,
    /// Its progress token, as it was written.
    pub(super) token: Option<String>,
    /// Whether the client takes messages ahead of the answer.
    pub(super) takes_messages: bool,
}

impl Link {
    pub(super) fn new(outlet: Outlet, budget: Budget, streams: Arc<Streams>) -> Self {
        Self { outlet, budget, streams, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a client's request on.
    pub(super) async fn ask(
        self: &Arc<Self>,
        message: &Message<'_>,
        asked: Asked,
    ) -> Result<Waiting, Unsaid> {
        let id = asked.id.clone();
        let (number, waiting) = self.begin(asked).ok_or(Unsaid::Ended)?;
        let number = number.to_string();
        let mut replacements = vec![(message.id(), number.as_str())];
        replacements.extend(message.progress_token().map(|token| (token, number.as_str())));
        self.outlet.say(message.with(&replacements)).await?;
        Ok(Waiting { id: Some(id), ..waiting })
    }

    /// Sends a request of our own.
    pub(super) async fn ask_own(self: &Arc<Self>, method: &str, params: &Value) -> Result<Waiting, Unsaid> {
        let asked = Asked { caller: None, id: String::new(), token: None, takes_messages: false };
        let (number, waiting) = self.begin(asked).ok_or(Unsaid::Ended)?;
        self.outlet.say(message::ours(Some(number), method, params)).await?;
        Ok(waiting)
    }

    /// Sends a notification of a client's on, if it means anything to a server that is shared.
    pub(super) async fn tell(&self, message: &Message<'_>, caller: Option<&str>) -> Result<(), Unsaid> {
        match message.method() {
            // These are about a state that one client alone would have with the server.
            "notifications/initialized" | "notifications/roots/list_changed" | "notifications/progress" => {
                Ok(())
            }
            "notifications/cancelled" => {
                let Some(request) = message.about_request() else { return Ok(()) };
                let Some(number) = self.number_of(caller, request) else { return Ok(()) };
                self.outlet.say(message.with(&[(request, number.to_string().as_str())])).await
            }
            _ => self.outlet.say(message.line()).await,
        }
    }

    /// Says a notification of our own.
    pub(super) async fn tell_own(&self, method: &str, params: &Value) -> Result<(), Unsaid> {
        self.outlet.say(message::ours(None, method, params)).await
    }

    /// Takes a line of the server's. False when it is no message.
    pub(super) fn receive(&self, line: &str) -> bool {
        let Ok(message) = Message::read(line) else { return false };
        match message.kind() {
            Kind::Answer => self.answered(&message),
            Kind::Request => self.outlet.say_if_room(match message.method() {
                "ping" => message::result(message.id(), "{}"),
                _ => message::error(message.id(), METHOD_NOT_FOUND, "Nobody can be asked here."),
            }),
            Kind::Notification => self.notified(&message),
        }
        true
    }

    /// The server has ended: whoever waits learns it.
    pub(super) fn end(&self) {
        let mut table = self.table();
        table.over = true;
        table.pending = HashMap::new();
    }

    /// Requests under way.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.table().pending.len()
    }

    fn begin(self: &Arc<Self>, asked: Asked) -> Option<(u64, Waiting)> {
        let (outbox, inbox) = outbox(&self.budget);
        let mut table = self.table();
        if table.over {
            return None;
        }
        table.last_id += 1;
        let number = table.last_id;
        table.pending.insert(number, Pending { asked, outbox });
        drop(table);
        let link = Arc::clone(self);
        let ticket = Ticket::new(move || link.leave(number));
        Some((number, Waiting { inbox, id: None, ticket }))
    }

    /// Nobody waits for this request any more.
    fn leave(&self, number: u64) {
        let left = self.table().pending.remove(&number);
        if left.is_some() {
            let params = json!({"requestId": number, "reason": "The client left."});
            self.outlet.say_if_room(message::ours(None, "notifications/cancelled", &params));
        }
    }

    /// Our number of a client's request. None when there is no such request of this client's, or more than one.
    fn number_of(&self, caller: Option<&str>, request: &str) -> Option<u64> {
        let request = canonical(request);
        let table = self.table();
        let mut found = table.pending.iter().filter(|(_, Pending { asked, .. })| {
            asked.caller.as_deref() == caller && canonical(&asked.id) == request
        });
        match (found.next(), found.next()) {
            (Some((number, _)), None) => Some(*number),
            _ => None,
        }
    }

    fn answered(&self, message: &Message<'_>) {
        let pending = own_id(message.id()).and_then(|number| self.table().pending.remove(&number));
        let Some(Pending { asked, outbox }) = pending else { return };
        let text = match (asked.id.is_empty(), message.subscription()) {
            (true, _) => message.line(),
            (false, Some(named)) => message.with(&[(message.id(), &asked.id), (named, &asked.id)]),
            (false, None) => message.with(&[(message.id(), &asked.id)]),
        };
        let _ = outbox.put(Event::Answer(text, message.error_code()));
    }

    fn notified(&self, message: &Message<'_>) {
        match message.method() {
            "notifications/progress" => {
                let Some(token) = message.progress_token() else { return };
                self.pass_on(token, message, |asked| Some((token, asked.token.clone()?)));
            }
            "notifications/cancelled" => {
                // A server takes back its own requests, which were refused, or ends a subscription.
                let number = message.about_request().and_then(own_id);
                let ended = number.and_then(|number| self.table().pending.remove(&number));
                if let Some(Pending { outbox, .. }) = ended {
                    let _ = outbox.put(Event::End);
                }
            }
            method => match message.subscription() {
                Some(named) => self.pass_on(named, message, |asked| Some((named, asked.id.clone()))),
                None if is_for_everyone(method) => self.streams.tell_all(&message.line()),
                None => tracing::debug!(method, "a notification that is nobody's was dropped"),
            },
        }
    }

    /// Passes a notification on to who asked the request that it names, in that client's own words.
    fn pass_on<'a>(
        &self,
        named: &str,
        message: &Message<'a>,
        words: impl FnOnce(&Asked) -> Option<(&'a str, String)>,
    ) {
        let Some(number) = own_id(named) else { return };
        let mut table = self.table();
        let Some(Pending { asked, outbox }) = table.pending.get(&number) else { return };
        let Some((place, own)) = words(asked).filter(|_| asked.takes_messages) else { return };
        if !outbox.put(Event::Message(message.with(&[(place, &own)]))) {
            // It does not read, so it is cut off.
            table.pending.remove(&number);
        }
    }
}

/// Whether a notification tells nothing of any one client.
fn is_for_everyone(method: &str) -> bool {
    matches!(
        method,
        "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
    )
}

/// Those who listen, whatever process serves them.
#[derive(Default, Debug)]
pub(super) struct Streams(Mutex<Vec<Outbox>>);

impl Streams {
    /// Listens from now on. None when too many do.
    pub(super) fn listen(&self, budget: &Budget) -> Option<Waiting> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|outbox| !outbox.is_closed());
        if streams.len() >= STREAMS_MAX {
            return None;
        }
        let (outbox, inbox) = outbox(budget);
        streams.push(outbox);
        Some(Waiting { inbox, id: None, ticket: Ticket::new(|| {}) })
    }

    fn tell_all(&self, line: &str) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|outbox| outbox.put(Event::Message(line.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::Receiver;

    fn link() -> (Arc<Link>, Receiver<String>) {
        let (outlet, lines) = Outlet::new();
        (Arc::new(Link::new(outlet, Budget::default(), Arc::default())), lines)
    }

    async fn ask(link: &Arc<Link>, caller: &str, text: &str) -> Waiting {
        let message = Message::read(text).unwrap();
        let token = message.progress_token().map(str::to_owned);
        let caller = Some(caller.to_owned());
        let asked = Asked { caller, id: message.id().to_owned(), token, takes_messages: true };
        link.ask(&message, asked).await.unwrap()
    }

    const CALL: &str =
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#;

    #[tokio::test]
    async fn two_clients_with_one_id_and_one_token_get_their_own_answers_and_progress() {
        let (link, mut lines) = link();
        let (mut one, mut two) = (ask(&link, "k1", CALL).await, ask(&link, "k2", CALL).await);
        for number in 1..=2 {
            let expected = CALL.replace("\"a\"", &number.to_string()).replace("\"t\"", &number.to_string());
            assert_eq!(lines.recv().await.unwrap(), expected);
        }
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
            )
        };
        let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"for":{id}}}}}"#);
        assert!(link.receive(&progress("2")) && link.receive(&answer("1")) && link.receive(&answer("2")));
        assert_eq!(
            one.inbox.next().await,
            Some(Event::Answer(r#"{"jsonrpc":"2.0","id":"a","result":{"for":1}}"#.to_owned(), None))
        );
        assert_eq!(two.inbox.next().await, Some(Event::Message(progress("\"t\""))));
        assert!(matches!(two.inbox.next().await, Some(Event::Answer(text, None)) if text.contains("\"a\"")));
        // What is answered is not cancelled.
        drop((one, two));
        assert!(lines.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_client_cancels_its_own_request_and_no_other_ones() {
        let (link, mut lines) = link();
        let (one, two) = (ask(&link, "k1", CALL).await, ask(&link, "k2", CALL).await);
        lines.recv().await.unwrap();
        lines.recv().await.unwrap();
        let text = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        let message = Message::read(text).unwrap();
        link.tell(&message, Some("k3")).await.unwrap();
        link.tell(&message, None).await.unwrap();
        assert!(lines.try_recv().is_err(), "nobody else's");
        link.tell(&message, Some("k2")).await.unwrap();
        assert_eq!(lines.recv().await.unwrap(), text.replace("\"a\"", "2"));
        drop(one);
        let left = lines.recv().await.unwrap();
        assert!(left.contains("notifications/cancelled") && left.contains("\"requestId\":1"), "{left}");
        link.end();
        drop(two);
        assert!(lines.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_subscription_hears_what_names_it_and_its_end() {
        let (link, mut lines) = link();
        let text = r#"{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{}}"#;
        let mut waiting = ask(&link, "k1", text).await;
        lines.recv().await.unwrap();
        let heard = |id: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
            )
        };
        assert!(link.receive(&heard("1")) && link.receive(&heard("9")));
        assert!(
            link.receive(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        );
        assert_eq!(waiting.inbox.next().await, Some(Event::Message(heard("\"s\""))));
        assert_eq!(waiting.inbox.next().await, Some(Event::End));
    }

    #[tokio::test]
    async fn a_server_that_asks_is_told_that_nobody_can_be_and_its_log_is_nobodys() {
        let (link, mut lines) = link();
        let mut stream = link.streams.listen(&link.budget).unwrap();
        assert!(link.receive(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#));
        assert_eq!(lines.recv().await.unwrap(), r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
        assert!(link.receive(r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{}}"#));
        let refused = lines.recv().await.unwrap();
        assert!(refused.contains("\"id\":5") && refused.contains("-32601"), "{refused}");
        assert!(link.receive(
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#
        ));
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert!(link.receive(changed) && !link.receive("Server started"));
        assert_eq!(stream.inbox.next().await, Some(Event::Message(changed.to_owned())));
    }
}
