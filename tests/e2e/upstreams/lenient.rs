//! An upstream that takes anything for a request, and several ways to split what came into requests.
//!
//! Real servers and the boxes in front of them disagree about ambiguous bytes: which of two lengths counts, what
//! a transfer coding may look like, where a line ends. Each [`Reading`] is one such opinion. What a gate sends
//! must be the same requests under all of them, so the upstream keeps every byte, and whoever started it may
//! split them again in each way.
//!
//! Never here: a refusal.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wire::PATIENCE;

/// Where a line ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lines {
    Strict,
    /// A newline is enough.
    Newline,
    /// A carriage return is as well.
    Either,
}

/// One opinion on where a request ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) name: &'static str,
    lines: Lines,
    /// Whether a length counts when there is a coding, too.
    length_wins: bool,
    /// Whether the last of several lengths counts.
    last_length: bool,
    /// Whether any mention of `chunked` under anything like the name will do, folded lines and all.
    any_mention: bool,
}

pub(crate) const READINGS: [Reading; 5] = [
    Reading {
        name: "by the book",
        lines: Lines::Strict,
        length_wins: false,
        last_length: false,
        any_mention: false,
    },
    Reading {
        name: "the first length counts",
        lines: Lines::Strict,
        length_wins: true,
        last_length: false,
        any_mention: false,
    },
    Reading {
        name: "any coding counts",
        lines: Lines::Strict,
        length_wins: false,
        last_length: true,
        any_mention: true,
    },
    Reading {
        name: "a newline ends a line and the last length counts",
        lines: Lines::Newline,
        length_wins: true,
        last_length: true,
        any_mention: true,
    },
    Reading {
        name: "a carriage return ends a line",
        lines: Lines::Either,
        length_wins: false,
        last_length: false,
        any_mention: true,
    },
];

/// A request as somebody reads it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The request line.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Whether its body came to its end.
    pub(crate) is_whole: bool,
}

impl Message {
    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

impl Reading {
    /// All that the bytes of a connection hold.
    pub(crate) fn messages(self, mut bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some((message, len)) = self.next(bytes) {
            messages.push(message);
            bytes = &bytes[len..];
        }
        messages
    }

    /// The next request and its length, once its head is there.
    fn next(self, bytes: &[u8]) -> Option<(Message, usize)> {
        let (mut line, mut at) = self.line(bytes, 0)?;
        while line.is_empty() {
            (line, at) = self.line(bytes, at)?;
        }
        let mut message = Message { line: text(line), headers: Vec::new(), is_whole: true };
        loop {
            let (line, after) = self.line(bytes, at)?;
            at = after;
            if line.is_empty() {
                break;
            }
            self.header(&mut message.headers, &text(line));
        }
        let end = self.body_end(&message, bytes, at);
        message.is_whole = end.is_some();
        Some((message, end.unwrap_or(bytes.len())))
    }

    fn line(self, bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
        let rest = bytes.get(from..)?;
        let (len, end_len) = match self.lines {
            Lines::Strict => (rest.windows(2).position(|two| two == b"\r\n")?, 2),
            Lines::Newline => {
                let len = rest.iter().position(|byte| *byte == b'\n')?;
                if len > 0 && rest[len - 1] == b'\r' { (len - 1, 2) } else { (len, 1) }
            }
            Lines::Either => {
                let len = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
                (len, if rest[len..].starts_with(b"\r\n") { 2 } else { 1 })
            }
        };
        Some((&rest[..len], from + len + end_len))
    }

    fn header(self, headers: &mut Vec<(String, String)>, line: &str) {
        if self.any_mention
            && line.starts_with([' ', '\t'])
            && let Some((_, value)) = headers.last_mut()
        {
            *value = format!("{value} {}", line.trim());
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let name = name.to_ascii_lowercase();
        let name = if self.any_mention { name.trim().replace('_', "-") } else { name };
        headers.push((name, value.trim().to_owned()));
    }

    /// Where the body ends that begins at `from`; nothing while it is not all there.
    fn body_end(self, message: &Message, bytes: &[u8], from: usize) -> Option<usize> {
        let codings = message.all("transfer-encoding");
        let is_chunked = codings.iter().any(|coding| {
            let coding = coding.to_ascii_lowercase();
            if self.any_mention { coding.contains("chunked") } else { coding == "chunked" }
        });
        let lengths: Vec<_> =
            message.all("content-length").iter().flat_map(|value| value.split(',')).collect();
        let length = if self.last_length { lengths.last() } else { lengths.first() };
        match length {
            Some(length) if self.length_wins || !is_chunked => {
                let digits: String = length.chars().filter(char::is_ascii_digit).collect();
                Some(from + digits.parse().unwrap_or(0)).filter(|end| *end <= bytes.len())
            }
            _ if is_chunked => self.chunks_end(bytes, from),
            _ => Some(from),
        }
    }

    fn chunks_end(self, bytes: &[u8], mut at: usize) -> Option<usize> {
        loop {
            let (line, after) = self.line(bytes, at)?;
            let size = text(line).trim().trim_start_matches("0x").to_owned();
            let digits: String = size.chars().take_while(char::is_ascii_hexdigit).collect();
            // As wide as an old machine's word.
            let size = u128::from_str_radix(&digits, 16).unwrap_or(0) & 0xffff_ffff;
            at = after;
            if size == 0 {
                break;
            }
            at = at.checked_add(usize::try_from(size).unwrap()).filter(|end| *end <= bytes.len())?;
            let end = &bytes[at..];
            at += if end.starts_with(b"\r\n") { 2 } else { usize::from(end.starts_with(b"\n")) };
        }
        loop {
            let (line, after) = self.line(bytes, at)?;
            at = after;
            if line.is_empty() {
                return Some(at);
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// When a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Haste {
    /// When it is whole.
    Whole,
    /// As soon as its head is there, whatever still comes.
    Head,
}

/// The header in which an answer says what it answers.
pub(crate) const ANSWERED: &str = "x-answered";

type Bytes = Arc<Mutex<Vec<u8>>>;

/// The upstream; it ends when it is dropped.
pub(crate) struct LenientUpstream {
    pub(crate) url: String,
    connections: Arc<Mutex<Vec<Bytes>>>,
    open: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl LenientUpstream {
    /// Starts one that answers by this reading.
    pub(crate) async fn start(reading: Reading, haste: Haste) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (open, seen_open) = watch::channel(0);
        let (into, open) = (Arc::clone(&connections), Arc::new(open));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bytes = Bytes::default();
                into.lock().unwrap().push(Arc::clone(&bytes));
                open.send_modify(|open| *open += 1);
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    answer_all(stream, reading, haste, &bytes).await;
                    open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, connections, open: seen_open, task }
    }

    /// Every byte of every connection, once the last of them is closed, as they are when nobody is in front.
    pub(crate) async fn all_bytes(&self) -> Vec<Vec<u8>> {
        let mut open = self.open.clone();
        let quiet = open.wait_for(|open| *open == 0);
        tokio::time::timeout(PATIENCE, quiet).await.expect("the upstream's connections end").unwrap();
        self.connections.lock().unwrap().iter().map(|bytes| bytes.lock().unwrap().clone()).collect()
    }
}

impl Drop for LenientUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all(mut stream: TcpStream, reading: Reading, haste: Haste, bytes: &Bytes) {
    let (mut read, mut begun_at, mut is_answered) = (Vec::new(), 0, false);
    loop {
        while let Some((message, len)) = reading.next(&read[begun_at..]) {
            if !is_answered && (message.is_whole || haste == Haste::Head) {
                let target = message.target();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{ANSWERED}: {target}\r\ncontent-length: 2\r\n\r\n{{}}"
                );
                is_answered = true;
                // One that is gone may have left bytes behind; they are read all the same.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            if !message.is_whole {
                break;
            }
            (begun_at, is_answered) = (begun_at + len, false);
        }
        let before = read.len();
        let count = stream.read_buf(&mut read).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        bytes.lock().unwrap().extend_from_slice(&read[before..]);
    }
}

/// A reading that split everything alike would make the battery worthless.
#[test]
fn the_readings_disagree_about_what_is_ambiguous() {
    let split = |bytes: &str| {
        READINGS.map(|reading| {
            let messages = reading.messages(bytes.as_bytes());
            messages.iter().map(|message| message.target().to_owned()).collect::<Vec<_>>().join(" ")
        })
    };
    let smuggled = "GET /s HTTP/1.1\r\n\r\n";
    let both = format!(
        "POST /a HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    assert_eq!(split(&both), ["/a /s"; 5], "both are right here");
    let both = both.replace("Length: 5", "Length: 24");
    assert_eq!(split(&both), ["/a /s", "/a", "/a /s", "/a", "/a /s"]);
    let coded = format!(
        "POST /a HTTP/1.1\r\nContent-Length: 24\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    assert_eq!(split(&coded), ["/a", "/a", "/a /s", "/a", "/a /s"]);
    let folded = format!(
        "POST /a HTTP/1.1\r\nContent-Length: 24\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    assert_eq!(split(&folded), ["/a", "/a", "/a /s", "/a", "/a /s"]);
    let lengths = format!("POST /a HTTP/1.1\r\nContent-Length: 19\r\nContent-Length: 0\r\n\r\n{smuggled}");
    assert_eq!(split(&lengths), ["/a", "/a", "/a /s", "/a /s", "/a"]);
    let newlines = "GET /a HTTP/1.1\r\nX: y\n\nGET /s HTTP/1.1\r\n\r\n";
    assert_eq!(split(newlines), ["/a", "/a", "/a", "/a /s", "/a /s"]);
    let returns = "GET /a HTTP/1.1\r\nX: y\r\rGET /s HTTP/1.1\r\n\r\n";
    assert_eq!(split(returns), ["/a", "/a", "/a", "/a", "/a /s"]);
}
