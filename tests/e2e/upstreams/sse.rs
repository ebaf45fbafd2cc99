//! Both ends of MCP's older transport (HTTP+SSE): a client's stream, and an upstream that says what a test has it
//! say.
//!
//! Every wait has an end. Nothing here is repaired: what is no event fails the test.
//!
//! Never here: an expectation about the gate, but that a stream opens.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::daemon::{Daemon, Key};
use crate::wire::{Answer, Call, PATIENCE};

/// An event: its name and its data.
pub(crate) type Event = (String, String);

/// A client's stream.
pub(crate) struct Stream {
    socket: TcpStream,
    /// As it came.
    unread: Vec<u8>,
    /// Without its chunks' frames.
    said: String,
    pub(crate) head: String,
}

impl Stream {
    /// Asks for a stream and reads the head of what comes; a connection that is closed at once has none.
    pub(crate) async fn ask(at: SocketAddr, call: &Call) -> Self {
        let mut socket = TcpStream::connect(at).await.unwrap();
        socket.write_all(&call.bytes(at)).await.unwrap();
        let mut unread = Vec::new();
        let head = loop {
            if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = unread.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut unread, rest)).unwrap();
            }
            let read = timeout(PATIENCE, socket.read_buf(&mut unread)).await.expect("a head comes");
            if read.unwrap_or(0) == 0 {
                break String::new();
            }
        };
        Self { socket, unread, said: String::new(), head }
    }

    /// A stream at `/sse`, and the address that its first event names.
    pub(crate) async fn open(at: SocketAddr, key: &str) -> (Self, String) {
        let mut stream = Self::ask(at, &Call::get("/sse").bearer(key)).await;
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        let (name, address) = stream.next().await.expect("an event comes");
        assert_eq!(name, "endpoint");
        (stream, address)
    }

    /// The next event; none when the stream ended. Comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            self.dechunk();
            if let Some((event, rest)) = self.said.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.said = rest;
                if event.lines().all(|line| line.starts_with(':')) {
                    continue;
                }
                let field = |name: &str| {
                    let lines = event.lines().filter_map(|line| line.strip_prefix(name));
                    lines.map(|line| line.trim_start_matches(' ')).collect::<Vec<_>>().join("\n")
                };
                return Some((field("event:"), field("data:")));
            }
            let read =
                timeout(PATIENCE, self.socket.read_buf(&mut self.unread)).await.expect("it goes on or ends");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Value {
        let (name, data) = self.next().await.expect("the stream goes on");
        assert_eq!(name, "message", "{data}");
        serde_json::from_str(&data).unwrap()
    }

    /// Reads to the end, which comes soon: whether it is not as if the stream were whole.
    pub(crate) async fn ends_cut(mut self) -> bool {
        while self.next().await.is_some() {}
        !self.unread.ends_with(b"0\r\n\r\n")
    }

    fn dechunk(&mut self) {
        while let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
            let digits = str::from_utf8(&self.unread[..end]).unwrap();
            let len = usize::from_str_radix(digits, 16).unwrap();
            if len == 0 || self.unread.len() < end + 2 + len + 2 {
                return;
            }
            self.said.push_str(str::from_utf8(&self.unread[end + 2..end + 2 + len]).unwrap());
            self.unread.drain(..end + 2 + len + 2);
        }
    }
}

/// Posts a message to an address that a stream named.
pub(crate) async fn post(daemon: &Daemon, key: &Key, address: &str, message: &Value) -> Answer {
    daemon.call(&Call::post(address, message).bearer(&key.text)).await
}

/// An upstream of the older transport.
pub(crate) struct Older {
    pub(crate) url: &'static str,
    /// What was posted, heads and bodies, in order.
    pub(crate) posted: Arc<Mutex<Vec<String>>>,
    /// What goes into the newest stream, as it is.
    saying: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Older {
    /// One whose streams begin with an event that names `address`; `{url}` in it is the upstream's own.
    pub(crate) async fn naming(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: &'static str = format!("http://{}", listener.local_addr().unwrap()).leak();
        let first = format!("event: endpoint\ndata: {}\n\n", address.replace("{url}", url));
        let (posted, saying) = (Arc::default(), Arc::default());
        let (into, say) = (Arc::clone(&posted), Arc::clone(&saying));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, first.clone(), Arc::clone(&into), Arc::clone(&say)));
            }
        });
        Self { url, posted, saying, task }
    }

    /// Says this on the newest stream.
    pub(crate) fn say(&self, text: &str) {
        self.saying.lock().unwrap().as_ref().expect("a stream is open").send(text.to_owned()).unwrap();
    }

    /// Says a message on the newest stream.
    pub(crate) fn say_message(&self, message: &Value) {
        self.say(&format!("event: message\ndata: {message}\n\n"));
    }

    /// Waits until the newest stream is gone.
    pub(crate) async fn until_left(&self) {
        let saying = self.saying.lock().unwrap().clone().expect("a stream was open");
        timeout(PATIENCE, saying.closed()).await.expect("the gate lets go");
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    first: String,
    posted: Arc<Mutex<Vec<String>>>,
    saying: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
) {
    let mut got = Vec::new();
    while socket.read_buf(&mut got).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&got).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if head.starts_with("GET /sse ") {
            let (say, said) = mpsc::unbounded_channel();
            *saying.lock().unwrap() = Some(say);
            speak(socket, first, said).await;
            return;
        }
        let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
        if body.len() >= head.lines().find_map(length).unwrap_or(0) {
            posted.lock().unwrap().push(text);
            got.clear();
            let answer =
                "HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\ncontent-length: 8\r\n\r\nAccepted";
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn speak(socket: TcpStream, first: String, mut said: mpsc::UnboundedReceiver<String>) {
    let (mut reading, mut writing) = socket.into_split();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let speaking = async {
        let mut text = first;
        let mut written = writing.write_all(head.as_bytes()).await;
        loop {
            if written.is_err() {
                return;
            }
            written = writing.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await;
            match said.recv().await {
                Some(next) => text = next,
                None => return,
            }
        }
    };
    let mut rest = [0; 64];
    let leaving = async { while reading.read(&mut rest).await.unwrap_or(0) > 0 {} };
    tokio::select! {
        () = speaking => {}
        () = leaving => {}
    }
}
