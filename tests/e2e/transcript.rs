//! Transcripts: requests and the answers expected, as plain text, played against a daemon.
//!
//! `tests/transcripts/README.md` has the form. An answer must match whole: status line, every header but
//! those that any answer has, every byte of the body. Each transcript is played with the proof cache on and
//! off, and what came back, once the values that vary are named, must be the same bytes.
//!
//! Never here: an expectation. Those stand in the text files.

use std::collections::BTreeMap;
use std::path::Path;

use keyward::config::shipped_names;
use serde_json::Value;

use crate::daemon::{Daemon, Hidden, Key, Options, ProofCache, Workspace};
use crate::signing::body_mac;
use crate::stored;
use crate::wire::{Answer, Connection};

/// Headers that a transcript does not name: they say when and how long, or what the connection does, not what
/// was answered.
const UNNAMED_HEADERS: [&str; 2] = ["date", "content-length"];

/// Headers that a transcript names only where they are what it is about: every answer to a proven request has them.
const LIMIT_HEADERS: [&str; 9] = [
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-quota-limit",
    "x-quota-remaining",
    "x-quota-reset",
    "x-quota-mark",
];

/// Plays `tests/transcripts/<name>.txt` with the proof cache on and off.
pub(crate) async fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap();
    let with = play_once(name, &text, ProofCache::On).await;
    let without = play_once(name, &text, ProofCache::Off).await;
    assert!(!with.is_empty(), "{name} holds no request");
    assert_eq!(with, without, "{name}: the proof cache changes the bytes");
}

/// Gives every answer's bytes, values that vary replaced by their names.
async fn play_once(name: &str, text: &str, proof_cache: ProofCache) -> Vec<String> {
    let daemon =
        Daemon::start_with(Options { proof_cache, profile: Some(product_of(name)), ..Options::default() })
            .await;
    let mut player = Player::new(daemon).await;
    let mut answers = Vec::new();
    let (mut repeat, mut is_stream) = (1, false);
    for step in steps(text) {
        let at = format!("{name}.txt, line {}, proof cache {proof_cache:?}", step.line);
        match step.kind {
            Kind::Directive(words) => match words.split_once(' ').unwrap_or((&words, "")) {
                ("repeat", times) => repeat = times.parse().unwrap(),
                ("stream", _) => is_stream = true,
                (verb, rest) => player.prepare(verb, rest).await,
            },
            Kind::Exchange { request, answer } => {
                for _ in 1..std::mem::replace(&mut repeat, 1) {
                    player.send(&request).await;
                }
                let came = if std::mem::take(&mut is_stream) {
                    player.begin_stream(&request).await
                } else {
                    player.send(&request).await
                };
                player.compare(&came, &answer).unwrap_or_else(|why| panic!("{at}: {why}"));
                answers.push(player.named(&undated(&came)));
            }
        }
    }
    player.daemon.finish().await;
    answers
}

/// The product that a transcript is about: the folder that it lies in.
fn product_of(name: &str) -> &'static str {
    let folder = name.split('/').next().unwrap();
    shipped_names().find(|known| *known == folder).unwrap()
}

struct Player {
    daemon: Daemon,
    workspace: Workspace,
    connection: Option<Connection>,
    /// Placeholders and what they stand for.
    values: BTreeMap<String, Hidden>,
    /// The ids of the named keys.
    ids: BTreeMap<String, String>,
    unnamed: usize,
}

impl Player {
    async fn new(daemon: Daemon) -> Self {
        let workspace = daemon.workspace("enterprise").await;
        let values = BTreeMap::from([
            ("key".to_owned(), workspace.default_key.text.clone()),
            ("address".to_owned(), Hidden(daemon.data().to_string())),
        ]);
        let ids = BTreeMap::from([("key".to_owned(), workspace.default_key.id.clone())]);
        Self { daemon, workspace, connection: None, values, ids, unnamed: 0 }
    }

    async fn prepare(&mut self, verb: &str, rest: &str) {
        let (name, fields) = rest.split_once(' ').unwrap_or((rest, "{}"));
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        match verb {
            "workspace" => drop(self.daemon.patch_workspace(&self.workspace, json(rest)).await),
            "key" => {
                let made = self.daemon.key(&self.workspace, json(fields)).await;
                self.ids.insert(name.to_owned(), made.id);
                self.values.insert(name.to_owned(), made.text);
            }
            "patch" => drop(self.daemon.patch_key(&self.key(name), json(fields)).await),
            "sign" => {
                let (at, key) = (self.daemon.now_secs(), self.key(name));
                let signature = body_mac(&key.text, at, fields);
                self.values.insert("timestamp".to_owned(), Hidden(at.to_string()));
                self.values.insert("signature".to_owned(), Hidden(signature));
            }
            "revoke" => self.daemon.revoke(&self.key(name)).await,
            "wait" => self.daemon.advance_secs(rest.strip_suffix('s').unwrap().parse().unwrap()),
            "corrupt" => {
                self.connection = None;
                let id = self.ids[name].clone();
                self.daemon.restart_after(|file| stored::corrupt_key_record(file, &id)).await;
                self.values.insert("address".to_owned(), Hidden(self.daemon.data().to_string()));
            }
            _ => panic!("no transcript directive is called {verb}"),
        }
    }

    fn key(&self, name: &str) -> Key {
        Key { id: self.ids[name].clone(), text: self.values[name].clone() }
    }

    /// Sends a request, over the connection that is open while the daemon keeps it.
    async fn send(&mut self, request: &[String]) -> Answer {
        let (bytes, method) = self.written(request);
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.daemon.connect().await,
        };
        connection.send(&bytes).await;
        let answer = connection.answer_to(&method).await;
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        answer
    }

    /// Sends a request whose answer is a stream, over a connection of its own, and leaves it behind its first event.
    async fn begin_stream(&self, request: &[String]) -> Answer {
        let (bytes, _) = self.written(request);
        let mut connection = self.daemon.connect().await;
        connection.send(&bytes).await;
        connection.stream_begun().await
    }

    /// A request's bytes: placeholders filled, `Host` and `Content-Length` added where they are missing.
    fn written(&self, request: &[String]) -> (Vec<u8>, String) {
        let filled: Vec<_> = request.iter().map(|line| self.filled(line)).collect();
        let (head, body) = match filled.iter().position(String::is_empty) {
            Some(empty) => (&filled[..empty], filled[empty + 1..].join("\n")),
            None => (&filled[..], String::new()),
        };
        let has = |name: &str| head.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
        let mut text = head.join("\r\n") + "\r\n";
        if !has("host:") {
            text = text + "Host: " + &self.values["address"] + "\r\n";
        }
        if !has("content-length:") && !body.is_empty() {
            text = text + "Content-Length: " + &body.len().to_string() + "\r\n";
        }
        let method = head[0].split(' ').next().unwrap_or_default().to_owned();
        ((text + "\r\n" + &body).into_bytes(), method)
    }

    fn compare(&mut self, came: &Answer, expected: &[String]) -> Result<(), String> {
        let (head, body) = match expected.iter().position(String::is_empty) {
            Some(empty) => (&expected[..empty], expected[empty + 1..].join("\n")),
            None => (expected, String::new()),
        };
        let shown = |player: &Self| player.named(&format!("{came:?}"));
        let status_line = came.head.split("\r\n").next().unwrap_or_default();
        if head[0] != status_line {
            return Err(format!("expected {}, came\n{}", head[0], shown(self)));
        }
        let mut wanted: Vec<_> = head[1..].iter().filter_map(|line| line.split_once(": ")).collect();
        for (name, value) in came.headers() {
            let is_named = wanted.iter().any(|(wanted, _)| wanted == name);
            if UNNAMED_HEADERS.contains(&name.as_str())
                || (LIMIT_HEADERS.contains(&name.as_str()) && !is_named)
            {
                continue;
            }
            let Some(place) = wanted.iter().position(|(wanted, _)| wanted == name) else {
                return Err(format!("the header {name} is not in the transcript; came\n{}", shown(self)));
            };
            let (_, pattern) = wanted.remove(place);
            self.fit(pattern, value).map_err(|why| format!("header {name}: {why}; came\n{}", shown(self)))?;
        }
        if let Some((missing, _)) = wanted.first() {
            return Err(format!("the header {missing} is missing; came\n{}", shown(self)));
        }
        self.fit(&body, &came.text()).map_err(|why| format!("body: {why}; came\n{}", shown(self)))
    }

    /// Fits a text to a pattern; what stands at a placeholder without a value is captured.
    fn fit(&mut self, pattern: &str, text: &str) -> Result<(), String> {
        let (mut pattern, mut rest) = (pattern, text);
        while let Some((literal, name, after)) = next_placeholder(pattern) {
            rest = rest.strip_prefix(literal).ok_or_else(|| format!("expected {literal:?} there"))?;
            if let Some(known) = self.values.get(name) {
                rest = rest.strip_prefix(&**known).ok_or_else(|| format!("{{{name}}} has another value"))?;
            } else {
                // The last one takes all but what stands behind it; any other, up to the next literal text.
                let (stop, end) = match next_placeholder(after) {
                    Some((literal, _, _)) => (literal, rest.find(literal)),
                    None => (after, rest.strip_suffix(after).map(str::len)),
                };
                let end = end.ok_or_else(|| format!("expected {stop:?} behind {{{name}}}"))?;
                let (captured, left) = rest.split_at(end);
                self.capture(name, captured)?;
                rest = left;
            }
            pattern = after;
        }
        if rest == pattern {
            Ok(())
        } else {
            Err(format!("expected {pattern:?}, came {:?}", self.named(rest)))
        }
    }

    fn capture(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.len() < 8 && name != "any" {
            return Err(format!("{{{name}}} is only {} characters long", value.len()));
        }
        let name = if name == "any" {
            self.unnamed += 1;
            format!("any-{}", self.unnamed)
        } else {
            name.to_owned()
        };
        self.values.insert(name, Hidden(value.to_owned()));
        Ok(())
    }

    fn filled(&self, line: &str) -> String {
        let (mut filled, mut rest) = (String::new(), line);
        while let Some((literal, name, after)) = next_placeholder(rest) {
            let value = self.values.get(name).unwrap_or_else(|| panic!("{{{name}}} has no value yet"));
            filled = filled + literal + value;
            rest = after;
        }
        filled + rest
    }

    /// The text with every known value replaced by its name: no key is shown, and what varies is alike.
    fn named(&self, text: &str) -> String {
        let known = self.values.iter().filter(|(_, value)| value.len() >= 8);
        known.fold(text.to_owned(), |text, (name, value)| text.replace(&**value, &format!("{{{name}}}")))
    }
}

/// The whole answer with the time of day taken out.
fn undated(answer: &Answer) -> String {
    let lines = answer.head.split("\r\n");
    let dated = |line: &str| line.to_ascii_lowercase().starts_with("date:");
    let head: Vec<_> = lines.map(|line| if dated(line) { "date: {date}" } else { line }).collect();
    head.join("\r\n") + &answer.text()
}

/// Splits at the first `{name}`; a JSON object never looks like one.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find('{')?;
        let close = open + text[open..].find('}')?;
        let name = &text[open + 1..close];
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Some((&text[..open], name, &text[close + 1..]));
        }
        from = open + 1;
    }
}

struct Step {
    line: usize,
    kind: Kind,
}

enum Kind {
    Directive(String),
    Exchange { request: Vec<String>, answer: Vec<String> },
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        let said = line.get(1..).map(|said| said.strip_prefix(' ').unwrap_or(said)).unwrap_or_default();
        let said = said.to_owned();
        match (line.as_bytes().first(), steps.last_mut().map(|step| &mut step.kind)) {
            (None | Some(b'#'), _) => {}
            (Some(b'@'), _) => steps.push(Step { line: line_number, kind: Kind::Directive(said) }),
            (Some(b'>'), Some(Kind::Exchange { request, answer })) if answer.is_empty() => request.push(said),
            (Some(b'>'), _) => {
                let kind = Kind::Exchange { request: vec![said], answer: Vec::new() };
                steps.push(Step { line: line_number, kind });
            }
            (Some(b'<'), Some(Kind::Exchange { answer, .. })) => answer.push(said),
            _ => panic!("line {line_number} is neither a comment nor a directive, a request or an answer"),
        }
    }
    steps
}

#[test]
fn a_placeholder_is_told_from_json() {
    assert_eq!(next_placeholder(r#"{"a":{"b":"{post_id}"}}"#), Some((r#"{"a":{"b":""#, "post_id", r#""}}"#)));
    assert_eq!(next_placeholder(r#"{"data":{}}"#), None);
}

#[test]
fn a_transcript_is_read_as_directives_and_exchanges() {
    let steps = steps(
        "# why\n@ wait 1s\n\n> GET / HTTP/1.1\n>\n> x\n\n< HTTP/1.1 200 OK\n<\n< y\n> GET /b HTTP/1.1\n",
    );
    assert_eq!(steps.len(), 3);
    assert!(matches!(&steps[0].kind, Kind::Directive(words) if words == "wait 1s"));
    let Kind::Exchange { request, answer } = &steps[1].kind else { panic!("no exchange") };
    assert_eq!((request[1].as_str(), answer[2].as_str()), ("", "y"));
}

/// A daemon whose answers a transcript could not tell apart would make every other test here worthless.
#[tokio::test]
async fn a_transcript_that_expects_something_else_fails() {
    let daemon = Daemon::start().await;
    let mut player = Player::new(daemon).await;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let request = lines("GET /v1/posts HTTP/1.1\nAuthorization: Bearer {key}");
    let came = player.send(&request).await;
    let good = "HTTP/1.1 200 OK\ncontent-type: application/json\n\n{\"data\":[]}";
    player.compare(&came, &lines(good)).unwrap();
    for bad in [
        good.replace("200 OK", "201 Created"),
        good.replace("content-type: application/json\n", ""),
        good.replace("application/json", "text/plain"),
        good.replace("\n\n", "\nx-more: 1\n\n"),
        good.replace("[]", "[1]"),
        good.replace("[]}", "[]} "),
    ] {
        assert!(player.compare(&came, &lines(&bad)).is_err(), "{bad}");
    }
    player.daemon.finish().await;
}

/// The names of the transcripts in a folder, for the test that plays each.
pub(crate) fn names_in(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
