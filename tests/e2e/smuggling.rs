//! Framing, as an upstream sees it: whatever a client sends, and however leniently the upstream reads, at most
//! one request goes up for each that was let through, it is the one that was decided on, and never the one that
//! hid in another.
//!
//! Each row of a table is sent on a connection of its own and a good request follows on another. Once the daemon
//! is gone, every byte that the upstream got is split by every reading there is, and all of them must find the
//! same requests. What the listener itself says to such bytes is tested elsewhere as well.
//!
//! Never here: an upstream that reads by the book alone.

use crate::daemon::{Daemon, Key, Options, Workspace};
use crate::upstreams::lenient::{ANSWERED, Haste, LenientUpstream, Message, READINGS, Reading};
use crate::wire::{Answer, Call};

/// Bytes, and what must come of them. In the bytes `{A}` and `{B}` are the host and a good key of one and of
/// another customer, `{N}` a key that may do nothing, `{X}` none that anybody has; `{n}` is this row's number,
/// `{S}` a whole request with a good key that hides in a body, `{L}` its length, `{H}` that in hexadecimal, and
/// `{M}` the length with a last chunk in front.
struct Case {
    told: &'static str,
    bytes: &'static str,
    come: Outcome,
}

/// What comes of some bytes.
#[derive(Clone, Copy)]
struct Outcome {
    /// The statuses, in order.
    answers: &'static [u16],
    /// Requests at the upstream, in order: what they ask for, and whose key asked.
    seen: &'static [&'static str],
    /// Whether the upstream may have seen such a request begin that did not end.
    begun: Option<&'static str>,
    /// Whether the connection is good for another request.
    goes_on: bool,
}

const fn case(told: &'static str, bytes: &'static str, come: Outcome) -> Case {
    Case { told, bytes, come }
}

/// Refused, and the connection closed.
const fn refused(answers: &'static [u16]) -> Outcome {
    Outcome { answers, seen: &[], begun: None, goes_on: false }
}

const REFUSED: Outcome = refused(&[400]);
/// Refused while its body was on its way.
const CUT: Outcome = Outcome { begun: Some("PATCH a A"), ..REFUSED };
/// Its body never ends, and the client leaves.
const LEFT: Outcome = Outcome { answers: &[], ..CUT };
/// A request with a body is let through.
const TAKEN: Outcome = taken(&["PATCH a A"]);

const fn taken(seen: &'static [&'static str]) -> Outcome {
    Outcome { answers: &[200], seen, begun: None, goes_on: true }
}

/// The request that hides.
const SMUGGLED: &str = "GET /v1/posts/smuggled{n} HTTP/1.1\r\n{A}\r\n";

struct World {
    daemon: Daemon,
    upstream: LenientUpstream,
    first: Workspace,
    second: Workspace,
    none: Key,
}

impl World {
    async fn start(reading: Reading, haste: Haste) -> Self {
        let upstream = LenientUpstream::start(reading, haste).await;
        let url = upstream.url.clone().leak();
        let daemon = Daemon::start_with(Options { upstream: Some(url), ..Options::default() }).await;
        let (first, second) = (daemon.workspace("enterprise").await, daemon.workspace("enterprise").await);
        let none = daemon.key_for(&first, &[]).await;
        Self { daemon, upstream, first, second, none }
    }

    fn written(&self, template: &str, number: usize) -> String {
        let number = format!("-{number}");
        let named = |text: &str| {
            let head = |key: &str| format!("Host: {}\r\nAuthorization: Bearer {key}\r\n", self.daemon.data());
            text.replace("{A}", &head(&self.first.default_key.text))
                .replace("{B}", &head(&self.second.default_key.text))
                .replace("{N}", &head(&self.none.text))
                .replace("{X}", &head("sk_live_777777777777777777777777777777Eh"))
                .replace("{n}", &number)
        };
        let smuggled = named(SMUGGLED);
        named(template)
            .replace("{L}", &smuggled.len().to_string())
            .replace("{H}", &format!("{:x}", smuggled.len()))
            .replace("{M}", &(smuggled.len() + 5).to_string())
            .replace("{S}", &smuggled)
    }

    /// Sends a row, in one piece or byte by byte, and looks at the answers.
    async fn play(&self, case: &Case, number: usize, by_byte: bool, haste: Haste) {
        let bytes = self.written(case.bytes, number);
        let mut connection = self.daemon.connect().await;
        for piece in bytes.as_bytes().chunks(if by_byte { 1 } else { bytes.len() }) {
            connection.send(piece).await;
        }
        let told = case.told;
        let mut seen = case.come.seen.iter();
        for (place, status) in case.come.answers.iter().enumerate() {
            let answer = connection.answer_unless_cut("GET").await;
            let answer = answer.unwrap_or_else(|| panic!("{told}: no answer {place}"));
            // An upstream that does not wait for the body may be done before it breaks.
            let is_early = haste == Haste::Head && case.come.begun.is_some() && answer.status == 200;
            assert!(answer.status == *status || is_early, "{told}, answer {place}: {answer:?}");
            if *status == 200 {
                let asked = seen.next().unwrap().split(' ').nth(1).unwrap();
                answers(&answer, &format!("/v1/posts/{asked}-{number}"), told);
            }
        }
        let last = format!("/v1/posts/last-{number}");
        let call = Call::get(&last).bearer(&self.first.default_key.text);
        if case.come.goes_on {
            connection.send(&call.bytes(self.daemon.data())).await;
            match connection.answer_unless_cut("GET").await {
                Some(answer) => answers(&answer, &last, told),
                None => assert_eq!(haste, Haste::Head, "{told}: the connection does not go on"),
            }
        } else if !case.come.answers.is_empty() {
            assert!(connection.is_closed().await, "{told}: the connection goes on");
        }
        drop(connection);
        self.is_well(number, told).await;
    }

    /// The positive control, on a connection of its own.
    async fn is_well(&self, number: usize, told: &str) {
        let target = format!("/v1/posts/control-{number}");
        let body = serde_json::json!({"body": "x"});
        let call = Call::new("PATCH", &target).json(&body).bearer(&self.second.default_key.text);
        answers(&self.daemon.call(&call).await, &target, told);
    }

    /// Ends the daemon, and looks at all that the upstream got.
    async fn judge(self, cases: &[Case], haste: Haste) {
        let keys = [(self.first.default_key.id.clone(), 'A'), (self.second.default_key.id.clone(), 'B')];
        self.daemon.finish().await;
        let connections = self.upstream.all_bytes().await;
        for reading in READINGS {
            let mut found: Vec<Vec<String>> = cases.iter().flat_map(|_| [Vec::new(), Vec::new()]).collect();
            for message in connections.iter().flat_map(|bytes| reading.messages(bytes)) {
                let told = format!("{}: {message:?}", reading.name);
                let (name, number) = name_of(&message, &keys).expect(&told);
                assert_is_plain(&message, &told);
                let begun = cases[number / 2].come.begun == Some(&name);
                assert!(message.is_whole || begun || haste == Haste::Head, "{told}");
                found[number].push(name);
            }
            for (number, mut found) in found.into_iter().enumerate() {
                let Case { told, come, .. } = &cases[number / 2];
                let mut wanted: Vec<_> = come.seen.iter().map(ToString::to_string).collect();
                wanted.push("PATCH control B".to_owned());
                let may = come.begun.or((come.goes_on && haste == Haste::Head).then_some("GET last A"));
                if let Some(may) = may.filter(|may| found.iter().any(|name| name == may)) {
                    wanted.push(may.to_owned());
                } else if come.goes_on && haste == Haste::Whole {
                    wanted.push("GET last A".to_owned());
                }
                found.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(found, wanted, "{told}, {}", reading.name);
            }
        }
    }
}

/// What a request is called: its method, what it asks for, and whose key asked; and the number of its row.
fn name_of(message: &Message, keys: &[(String, char)]) -> Option<(String, usize)> {
    let (asked, number) = message.target().strip_prefix("/v1/posts/")?.rsplit_once('-')?;
    let [id] = message.all("x-keyward-key-id")[..] else { return None };
    let (_, whose) = keys.iter().find(|(known, _)| known == id)?;
    let method = message.line.split(' ').next()?;
    Some((format!("{method} {asked} {whose}"), number.parse().ok()?))
}

/// A head that nobody can read in two ways.
fn assert_is_plain(message: &Message, told: &str) {
    let count = |name: &str| message.all(name).len();
    assert_eq!(count("host"), 1, "{told}");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{told}");
    assert!(message.line.ends_with(" HTTP/1.1"), "{told}");
    for (name, value) in &message.headers {
        let is_token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&byte));
        assert!(is_token && !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'), "{told}");
    }
}

/// An answer is the upstream's own to this very request.
fn answers(answer: &Answer, target: &str, told: &str) {
    assert_eq!((answer.status, answer.header(ANSWERED)), (200, Some(target)), "{told}: {answer:?}");
}

/// Plays a table in front of an upstream of each kind.
async fn play(cases: &[Case]) {
    for (haste, reading) in
        READINGS.map(|reading| (Haste::Whole, reading)).into_iter().chain([(Haste::Head, READINGS[0])])
    {
        let world = World::start(reading, haste).await;
        for (place, case) in cases.iter().enumerate() {
            for by_byte in [false, true] {
                world.play(case, 2 * place + usize::from(by_byte), by_byte, haste).await;
            }
        }
        world.judge(cases, haste).await;
    }
}

#[tokio::test]
async fn f01_no_host_but_the_one_that_is_asked_reaches_the_upstream() {
    play(&[
        case("no host", "GET /v1/posts/a{n} HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n", REFUSED),
        case("two hosts", "GET /v1/posts/a{n} HTTP/1.1\r\nHost: b\r\n{A}\r\n", REFUSED),
        case("a host twice", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}Host: 127.0.0.1\r\n\r\n", REFUSED),
        case("a host in small letters besides", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}hOsT: b\r\n\r\n", REFUSED),
        case("a host with a path", "GET /v1/posts/a{n} HTTP/1.1\r\nHost: b/v1\r\n\r\n", REFUSED),
        case("a host with a fragment", "GET /v1/posts/a{n} HTTP/1.1\r\nHost: b#@c\r\n\r\n", REFUSED),
        case("a host with a user", "GET /v1/posts/a{n} HTTP/1.1\r\nHost: u@b\r\n\r\n", REFUSED),
        case("a folded host", "GET /v1/posts/a{n} HTTP/1.1\r\nHost:\r\n b\r\n{A}\r\n", REFUSED),
        case("another authority", "GET http://b/v1/posts/a{n} HTTP/1.1\r\n{A}\r\n", REFUSED),
        case("a target that is an authority", "GET //b/v1/posts/a{n} HTTP/1.1\r\n{A}\r\n", REFUSED),
        case("a good one", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}\r\n", taken(&["GET a A"])),
    ])
    .await;
}

#[tokio::test]
async fn f02_bytes_that_end_a_line_for_some_readers_go_no_further() {
    play(&[
        case("a bare CR in a value", "GET /v1/posts/a{n} HTTP/1.1\r\nX: a\rb\r\n{A}\r\n", REFUSED),
        case("a bare LF in a value", "GET /v1/posts/a{n} HTTP/1.1\r\nX: a\nY: b\r\n{A}\r\n", REFUSED),
        case("a request behind two bare CRs", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}X: y\r\r{S}", REFUSED),
        case("a request behind two bare LFs", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}X: y\n\n{S}", REFUSED),
        case("lines that end in LF", "GET /v1/posts/a{n} HTTP/1.1\n{A}\n", REFUSED),
        case("a NUL in a value", "GET /v1/posts/a{n} HTTP/1.1\r\nX: a\0b\r\n{A}\r\n", REFUSED),
        case("a NUL in a name", "GET /v1/posts/a{n} HTTP/1.1\r\nX\0Y: a\r\n{A}\r\n", REFUSED),
        case("a space before a colon", "GET /v1/posts/a{n} HTTP/1.1\r\nX : a\r\n{A}\r\n", REFUSED),
        case("a space before the first name", "GET /v1/posts/a{n} HTTP/1.1\r\n X: a\r\n{A}\r\n", REFUSED),
        case("a folded line", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}X: a\r\n b\r\n\r\n", REFUSED),
        case("a line folded with a tab", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}X: a\r\n\tb\r\n\r\n", REFUSED),
        case(
            "a folded length",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length:\r\n 2\r\n\r\n{}",
            REFUSED,
        ),
        case("an empty name", "GET /v1/posts/a{n} HTTP/1.1\r\n: a\r\n{A}\r\n", REFUSED),
        case("a line without a colon", "GET /v1/posts/a{n} HTTP/1.1\r\nX\r\n{A}\r\n", REFUSED),
        case("a tab in the request line", "GET\t/v1/posts/a{n} HTTP/1.1\r\n{A}\r\n", REFUSED),
        case(
            "an encoded line end in the target",
            "GET /v1/posts/a%0d%0aX:%20y{n} HTTP/1.1\r\n{A}\r\n",
            REFUSED,
        ),
        case("a tab in a value", "GET /v1/posts/a{n} HTTP/1.1\r\nX: a\tb\r\n{A}\r\n", taken(&["GET a A"])),
        case("empty lines in front", "\r\n\r\nGET /v1/posts/a{n} HTTP/1.1\r\n{A}\r\n", taken(&["GET a A"])),
    ])
    .await;
}

#[tokio::test]
async fn f02_a_length_that_could_be_another_hides_no_request() {
    play(&[
        case("two lengths", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\nContent-Length: 0\r\n\r\n{S}", REFUSED),
        case("two lengths, the other way", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 0\r\nContent-Length: {L}\r\n\r\n{S}", REFUSED),
        case("the same length twice", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", REFUSED),
        case("a list of lengths", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}, 0\r\n\r\n{S}", REFUSED),
        case("a length with a sign", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: +{L}\r\n\r\n{S}", REFUSED),
        case("a length below nothing", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: -1\r\n\r\n{S}", REFUSED),
        case("a length in hexadecimal", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 0x2\r\n\r\n{}", REFUSED),
        case("a length with a unit", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 2 bytes\r\n\r\n{}", REFUSED),
        case("an empty length", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: \r\n\r\n{S}", REFUSED),
        case("a length past 64 bits", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 18446744073709551618\r\n\r\n{}", REFUSED),
        case("a length and chunks", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {M}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("chunks and a length", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\nContent-Length: {M}\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a length of nothing and chunks", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a length for a request without a body", "GET /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\n\r\n{S}", taken(&["GET a A"])),
        case("a length with zeros in front", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 0002\r\n\r\n{}", TAKEN),
        case("a request in a body", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\n\r\n{S}", TAKEN),
    ])
    .await;
}

#[tokio::test]
async fn f02_a_coding_that_somebody_might_know_hides_no_request() {
    play(&[
        case("another coding", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("another coding in front", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("another coding behind", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("chunked twice", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("chunked twice in one line", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("chunked and another line", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a name in quotes", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a name that begins otherwise", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a name with a parameter", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a name behind a comma", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a name behind a vertical tab", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("an empty coding", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding:\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a folded coding", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a space before the colon", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}", REFUSED),
        case("a length and a coding with an underscore", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {M}\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n{S}", TAKEN),
        case("chunks in capital letters", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}TRANSFER-ENCODING: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", TAKEN),
        case("a request in a chunk", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n{H}\r\n{S}\r\n0\r\n\r\n", TAKEN),
    ])
    .await;
}

#[tokio::test]
async fn f02_chunks_that_end_elsewhere_for_some_readers_hide_no_request() {
    play(&[
        case("a size that is none", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\nx\r\n{S}", CUT),
        case("an empty size", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n\r\n{S}", CUT),
        case("a size below nothing", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n-1\r\n{S}", CUT),
        case("a size with a prefix", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n{S}", CUT),
        case("a size past 64 bits", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n{S}", CUT),
        case("a size past every bound", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n100000002\r\n{}\r\n0\r\n\r\n{S}", LEFT),
        case("a size that ends in LF", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n{S}", CUT),
        case("a size that ends in CR", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2\r{}\r\n0\r\n\r\n{S}", CUT),
        case("a chunk that ends in LF", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n{S}", CUT),
        case("a chunk that goes on", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n{S}", CUT),
        case("an extension with a line end in it", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2;x=\"\n0\r\n\r\n{S}", CUT),
        case("an extension with a CR in it", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2;x\ry\r\n{}\r\n0\r\n\r\n{S}", CUT),
        case("a trailer that ends in LF, and a request behind it", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\n{S}GET /v1/posts/b{n} HTTP/1.1\r\n{A}\r\n", Outcome { answers: &[200, 400], goes_on: false, ..TAKEN }),
        case("an extension", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0;z\r\n\r\n", TAKEN),
        case("sizes with zeros in front", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n0002\r\n{}\r\n000\r\n\r\n", TAKEN),
        case("trailers that say who asks and how long it is", "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\nAuthorization: Bearer x\r\nX-Keyward-Key-Id: y\r\n\r\n", TAKEN),
        case(
            "a request behind the last chunk is one of its own",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/posts/b{n} HTTP/1.1\r\n{B}\r\n",
            Outcome { answers: &[200, 200], ..taken(&["PATCH a A", "GET b B"]) },
        ),
    ])
    .await;
}

#[tokio::test]
async fn f06_another_version_of_the_protocol_hides_no_request() {
    play(&[
        case("0.9", "GET /v1/posts/a{n}\r\n\r\n", REFUSED),
        case("0.9 with headers", "GET /v1/posts/a{n}\r\n{A}\r\n", REFUSED),
        case("2.0 in letters", "GET /v1/posts/a{n} HTTP/2.0\r\n{A}\r\n", REFUSED),
        case("1.9", "GET /v1/posts/a{n} HTTP/1.9\r\n{A}\r\n", REFUSED),
        case("a version in small letters", "GET /v1/posts/a{n} http/1.1\r\n{A}\r\n", REFUSED),
        case("two versions", "GET /v1/posts/a{n} HTTP/1.1 HTTP/1.1\r\n{A}\r\n", REFUSED),
        case(
            "1.0 with chunks",
            "PATCH /v1/posts/a{n} HTTP/1.0\r\n{A}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
            REFUSED,
        ),
        case(
            "1.0 with a body, and a request behind it",
            "PATCH /v1/posts/a{n} HTTP/1.0\r\n{A}Content-Length: 2\r\n\r\n{}{S}",
            Outcome { goes_on: false, ..TAKEN },
        ),
        case(
            "1.0 that is kept alive, with a body",
            "PATCH /v1/posts/a{n} HTTP/1.0\r\n{A}Connection: keep-alive\r\nContent-Length: {L}\r\n\r\n{S}",
            TAKEN,
        ),
    ])
    .await;
}

#[tokio::test]
async fn f12_requests_in_one_segment_go_up_in_order_each_as_its_own_keys() {
    play(&[
        case(
            "bad, good, bad",
            "GET /v1/posts/a{n} HTTP/1.1\r\n{X}\r\nGET /v1/posts/b{n} HTTP/1.1\r\n{A}\r\nGET /v1/posts/c{n} HTTP/1.1\r\n{N}\r\n",
            Outcome { answers: &[401, 200, 403], ..taken(&["GET b A"]) },
        ),
        case(
            "two customers in turn, with bodies of each kind",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\n\r\n{S}\
             PATCH /v1/posts/b{n} HTTP/1.1\r\n{B}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\
             GET /v1/posts/c{n} HTTP/1.1\r\n{A}\r\nDELETE /v1/posts/d{n} HTTP/1.1\r\n{B}\r\n",
            Outcome {
                answers: &[200, 200, 200, 200],
                ..taken(&["PATCH a A", "PATCH b B", "GET c A", "DELETE d B"])
            },
        ),
        case(
            "no key behind a key",
            "GET /v1/posts/a{n} HTTP/1.1\r\n{B}\r\nGET /v1/posts/b{n} HTTP/1.1\r\nHost: a\r\n\r\n",
            Outcome { answers: &[200, 401], ..taken(&["GET a B"]) },
        ),
        case(
            "a good one, and an ambiguous one behind it",
            "GET /v1/posts/a{n} HTTP/1.1\r\n{A}\r\nPATCH /v1/posts/b{n} HTTP/1.1\r\n{A}Content-Length: {M}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
            Outcome { answers: &[200, 400], goes_on: false, ..taken(&["GET a A"]) },
        ),
        case(
            "nothing behind the last",
            "GET /v1/posts/a{n} HTTP/1.1\r\n{A}Connection: close\r\n\r\n{S}",
            Outcome { goes_on: false, ..taken(&["GET a A"]) },
        ),
    ])
    .await;
}

/// Refused, and the rest of its body read so that the connection goes on.
const fn kept(answers: &'static [u16]) -> Outcome {
    Outcome { answers, seen: &[], begun: None, goes_on: true }
}

#[tokio::test]
async fn f12_what_hides_in_a_body_that_nobody_read_is_never_a_request() {
    play(&[
        case(
            "no such key",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{X}Content-Length: {L}\r\n\r\n{S}",
            kept(&[401]),
        ),
        case(
            "a key that may not",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{N}Content-Length: {L}\r\n\r\n{S}",
            kept(&[403]),
        ),
        case(
            "no such route",
            "POST /v1/nope/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\n\r\n{S}",
            kept(&[404]),
        ),
        case(
            "another method",
            "PUT /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: {L}\r\n\r\n{S}",
            kept(&[405]),
        ),
        case(
            "chunks that nobody read",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{X}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            kept(&[401]),
        ),
        case(
            "chunks that nobody read and nobody could",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{X}Transfer-Encoding: chunked\r\n\r\nx\r\n{S}",
            refused(&[401]),
        ),
        case(
            "a body that is too long to read",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{A}Content-Length: 9000000\r\n\r\n{S}",
            refused(&[413]),
        ),
        case(
            "a body that is too long to read, without a key",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{X}Content-Length: 9000000\r\n\r\n{S}",
            refused(&[401]),
        ),
        case(
            "a body that is waited for with a bad key",
            "PATCH /v1/posts/a{n} HTTP/1.1\r\n{X}Expect: 100-continue\r\nContent-Length: {L}\r\n\r\n{S}",
            refused(&[401]),
        ),
    ])
    .await;
}
