//! Who asks: kept connections with one request out on each, from one thread that never sleeps.
//!
//! It is as cheap as a client can be (one write and one read a request, nothing parsed but where an answer ends), so
//! that the servers on the other core are what is full. It looks at its connections in turn instead of waiting for
//! them: a server then never pays for waking its client. Every answer's status is looked at.
//!
//! Never here: a figure.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use keyward::clock::Clock;

/// The longest that an answer may take before the bench gives up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Looks at all connections, one behind the other, at which nothing came, before the bench gives up: some ten seconds.
const SILENT_LOOKS_MAX: u32 = 2_000_000;
/// More than any answer here.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Nanoseconds of a clock that never goes back.
pub(crate) fn now_nanos(clock: &Clock) -> u64 {
    clock.now().mono.nanos()
}

/// What stands in a request where another text goes each time.
pub(crate) const HOLE: &str = "{key}";

/// Requests that are the same but for one text, which is taken in turn out of many of one length.
#[derive(Clone)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    hole: usize,
    texts: Rc<Vec<u8>>,
    text_bytes: usize,
    next: usize,
}

impl Requests {
    /// `{key}` in the template is replaced. All texts have the same length.
    pub(crate) fn new<T: AsRef<str>>(template: &str, texts: &[T]) -> Self {
        let first = texts[0].as_ref();
        assert!(texts.iter().all(|text| text.as_ref().len() == first.len()), "texts of one length");
        let hole = template.find(HOLE);
        Self {
            bytes: template.replacen(HOLE, first, 1).into_bytes(),
            hole: hole.unwrap_or(0),
            texts: Rc::new(texts.iter().flat_map(|text| text.as_ref().bytes()).collect()),
            text_bytes: if hole.is_some() { first.len() } else { 0 },
            next: 0,
        }
    }

    /// Always the same one.
    pub(crate) fn of(text: &str) -> Self {
        Self::new(text, &[""])
    }

    /// How many different ones there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len().checked_div(self.text_bytes).unwrap_or(1)
    }

    /// What stands behind the head; none of it is a key.
    pub(crate) fn body(&self) -> String {
        let text = std::str::from_utf8(&self.bytes).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        if self.text_bytes != 0 {
            let at = self.next * self.text_bytes;
            let text = &self.texts[at..at + self.text_bytes];
            self.bytes[self.hole..self.hole + self.text_bytes].copy_from_slice(text);
            self.next = if at + 2 * self.text_bytes > self.texts.len() { 0 } else { self.next + 1 };
        }
        &self.bytes
    }
}

/// One whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Up to the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Asks once over a connection of its own.
pub(crate) fn ask(address: SocketAddr, requests: &mut Requests) -> Answer {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    socket.write_all(requests.next()).unwrap();
    let (mut buffer, mut filled) = (vec![0; ANSWER_BYTES_MAX], 0);
    loop {
        let read = socket.read(&mut buffer[filled..]).unwrap();
        filled += read;
        let came = &buffer[..filled];
        assert!(read > 0, "a connection was closed behind {:?}", String::from_utf8_lossy(came));
        let Some(head_end) = came.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&came[..head_end]).unwrap().to_owned();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = &came[head_end + 4..];
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Answer { status: head[9..12].parse().unwrap(), body: body.to_vec(), head };
        }
    }
}

/// A kept connection with at most one request out.
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, buffer: vec![0; ANSWER_BYTES_MAX], filled: 0 }
    }

    pub(crate) fn send(&mut self, request: &[u8]) {
        // One request on an idle connection always fits into the socket's buffer.
        assert_eq!(self.socket.write(request).unwrap(), request.len());
    }

    /// Whether the answer is there by now, whole; a status other than the expected one ends the bench.
    pub(crate) fn has_answer(&mut self, expected: &Expected) -> bool {
        match self.socket.read(&mut self.buffer[self.filled..]) {
            Ok(0) => {
                panic!("a server closed behind {:?}", String::from_utf8_lossy(&self.buffer[..self.filled]))
            }
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("a connection broke: {error}"),
        }
        let text = &self.buffer[..self.filled];
        let head_end = self.filled.saturating_sub(expected.body_bytes);
        if !text[..head_end].ends_with(b"\r\n\r\n") {
            return false;
        }
        assert!(text[9..12] == expected.status, "not expected: {:?}", String::from_utf8_lossy(text));
        self.filled = 0;
        true
    }
}

/// What each answer of a load looks like: where it ends is told by its length alone.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    status: [u8; 3],
    body_bytes: usize,
}

impl Expected {
    pub(crate) fn like(answer: &Answer) -> Self {
        Self { status: answer.head.as_bytes()[9..12].try_into().unwrap(), body_bytes: answer.body.len() }
    }
}

/// Connections to one server that ask as fast as it answers.
pub(crate) struct Load {
    address: SocketAddr,
    connections_max: usize,
    /// None between two runs: servers close what lies idle.
    connections: Vec<Connection>,
    requests: Requests,
    expected: Expected,
    /// Answers so far.
    pub(crate) answers: u64,
}

impl Load {
    /// Every answer is to be like this one in status and in its body's length.
    pub(crate) fn new(
        address: SocketAddr,
        connections_max: usize,
        requests: Requests,
        like: &Answer,
    ) -> Self {
        let expected = Expected::like(like);
        Self { address, connections_max, connections: Vec::new(), requests, expected, answers: 0 }
    }

    /// How many different requests it has.
    pub(crate) fn different(&self) -> usize {
        self.requests.len()
    }

    /// Connects, and asks on each connection; until the end of a run each is then asked again as it answers.
    fn begin(&mut self) {
        for _ in 0..self.connections_max {
            let mut connection = Connection::open(self.address);
            connection.send(self.requests.next());
            self.connections.push(connection);
        }
    }

    /// Looks at each connection once and sends the next request where an answer came.
    fn turn(&mut self) -> bool {
        let before = self.answers;
        for connection in &mut self.connections {
            if connection.has_answer(&self.expected) {
                self.answers += 1;
                connection.send(self.requests.next());
            }
        }
        self.answers != before
    }

    /// Takes the answers that are still out.
    fn end(&mut self) {
        for connection in &mut self.connections {
            while !connection.has_answer(&self.expected) {
                std::hint::spin_loop();
            }
            self.answers += 1;
        }
        self.connections.clear();
    }
}

/// Loads all of them at the same time until `goes_on` says no, which is asked with the time after each look at all.
pub(crate) fn drive(
    loads: &mut [&mut Load],
    clock: &Clock,
    mut goes_on: impl FnMut(&[&mut Load], u64) -> bool,
) {
    for load in &mut *loads {
        load.begin();
    }
    let mut silent_looks = 0;
    loop {
        let mut came = false;
        for load in &mut *loads {
            came |= load.turn();
        }
        silent_looks = if came { 0 } else { silent_looks + 1 };
        assert!(silent_looks < SILENT_LOOKS_MAX, "no server answers");
        if !goes_on(loads, now_nanos(clock)) {
            break;
        }
    }
    for load in loads {
        load.end();
    }
}
