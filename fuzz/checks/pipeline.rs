//! Feeds whole requests to the doors of the shipped products: a byte that chooses listener and version, then the request
//! as text, a line each for method and target and for each header, an empty line, the body. Single bytes stand for keys
//! (`world.rs` has them), since nobody guesses one.
//!
//! What always holds: nothing panics, and every request is answered, with one well-formed answer that is no failure of
//! ours; a key shows in no answer. What reaches the upstream is what was asked, method, target and body; it comes with
//! the identity of the key that was sent, alone, whole and in its place, or without any where the product is open to
//! everyone; that key holds what was asked, by a list that is kept here; and the key itself does not reach it. Keys that
//! were revoked, have expired, are paced to nothing, bound to elsewhere, unsigned, another product's, an admin's or
//! one character off pass nowhere. A good key passes on the same connection behind it, and asks for itself alone.
//!
//! Not covered: conflicting framing (the lengths are made to fit, whatever else is said about them), signatures that
//! are right, streams, and what happens between requests.

use crate::world::{Answer, BOUND_TO, Door, Key, Kind, Seen, World};
use bytes::Bytes;
use http_body_util::Full;
use keyward::config::{load_profile, shipped};
use serde_json::Value;

/// What each product opens to callers without a key, beside SocialCRM's uploads.
const PUBLIC_PATHS: [&str; 2] = ["/api/mcp-app", "/mcp.json"];
/// What the gate tells everyone of itself.
const DESCRIBED: [&str; 3] = ["/.well-known/", "/api/mcp-app/server-card", "/mcp/server-card"];
const KEYLESS_METHODS: [&str; 4] = ["initialize", "notifications/initialized", "ping", "server/discover"];
/// What any key of a product may send to its JSON-RPC door.
const FREE_METHODS: [&str; 6] = [
    "initialize",
    "notifications/initialized",
    "notifications/cancelled",
    "ping",
    "server/discover",
    "tools/list",
];
/// Every header that speaks of identity, or of how a request came.
const OURS: [&str; 5] =
    ["x-keyward-key-id", "x-keyward-workspace", "x-keyward-plan", "x-keyward-scopes", "x-keyward-request-id"];

pub(crate) fn check(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let mut world = World::get();
    let text = world.expanded(text);
    let door = if choice & 1 == 0 { Door::SocialAndShingle } else { Door::Cloud };
    let Some(asked) = Asked::read(door, &text) else { return };
    let came = if choice & 2 == 0 {
        Some(world.http1(door, &asked.http1()))
    } else {
        asked.http2().and_then(|request| world.http2(door, request))
    };
    if let Some((answer, seen)) = came {
        asked.was_answered_well(&world, &answer, &seen);
        assert!(seen.len() <= 1, "one request became {} of them", seen.len());
        for seen in &seen {
            asked.may_reach_the_upstream(&world, seen);
        }
    }
    if *choice > 0xF0 {
        world.is_well(door);
    }
}

/// A request, as the input has it.
struct Asked<'a> {
    door: Door,
    method: &'a [u8],
    target: &'a [u8],
    /// As they are written, line by line.
    headers: Vec<&'a [u8]>,
    body: &'a [u8],
}

impl<'a> Asked<'a> {
    fn read(door: Door, text: &'a [u8]) -> Option<Self> {
        let head_len = text.windows(2).position(|window| window == b"\n\n");
        let (head, body) = head_len.map_or((text, &b""[..]), |len| (&text[..len], &text[len + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
        let (method, target) = (words.next()?, words.next()?);
        let headers: Vec<_> = lines.take(60).filter(|line| !line.is_empty()).collect();
        // The preface of HTTP/2 is no request of HTTP/1.
        (method != b"PRI").then_some(Self { door, method, target, headers, body })
    }

    fn http1(&self) -> Vec<u8> {
        let mut bytes = [self.method, b" ", self.target, b" HTTP/1.1\r\n"].concat();
        if self.values_of("host").next().is_none() {
            bytes.extend(b"host: localhost\r\n");
        }
        bytes.extend(format!("content-length: {}\r\n", self.body.len()).bytes());
        for line in &self.headers {
            bytes.extend([line, &b"\r\n"[..]].concat());
        }
        [&bytes, &b"\r\n"[..], self.body].concat()
    }

    /// The same for HTTP/2; nothing when it cannot be said there.
    fn http2(&self) -> Option<http::Request<Full<Bytes>>> {
        let host = self.values_of("host").next().unwrap_or(b"localhost");
        let authority = http::uri::Authority::try_from(host).ok()?;
        let target = http::uri::PathAndQuery::try_from(self.target).ok()?;
        let uri =
            http::Uri::builder().scheme("http").authority(authority).path_and_query(target).build().ok()?;
        let mut request =
            http::Request::builder().method(http::Method::from_bytes(self.method).ok()?).uri(uri);
        for line in &self.headers {
            let (name, value) = split(line)?;
            // Two hosts may differ; one would only be said twice.
            if name.eq_ignore_ascii_case(b"host") && value == host {
                continue;
            }
            request = request.header(name, value);
        }
        request.body(Full::from(self.body.to_vec())).ok()
    }

    fn values_of<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let named = move |(given, value): (&[u8], &'a [u8])| {
            given.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        };
        self.headers.iter().filter_map(|line| split(line)).filter_map(named)
    }

    fn path(&self) -> &[u8] {
        self.target.split(|byte| *byte == b'?').next().unwrap_or_default()
    }

    /// The product that a path at a listener belongs to.
    fn product(&self, path: &str) -> &'static str {
        let is_shingle =
            path == "/mcp" || path == "/sse" || path.starts_with("/sse/") || path.starts_with("/mcp/");
        match self.door {
            Door::Cloud => "mcp-cloud",
            Door::SocialAndShingle if is_shingle => "shingleai",
            Door::SocialAndShingle => "socialcrm",
        }
    }

    /// Every header that may carry a key of a product.
    fn carriers(&self, product: &str) -> Vec<&'a [u8]> {
        let own = (product == "socialcrm").then_some("x-api-key");
        ["authorization"].into_iter().chain(own).flat_map(|name| self.values_of(name)).collect()
    }

    /// Whether a text stands anywhere but in what carries a key of this product.
    fn says_elsewhere(&self, product: &str, text: &[u8]) -> bool {
        let carries = |line: &&&[u8]| {
            split(line).is_some_and(|(name, _)| {
                name.eq_ignore_ascii_case(b"authorization")
                    || (product == "socialcrm" && name.eq_ignore_ascii_case(b"x-api-key"))
            })
        };
        let mut others = self.headers.iter().filter(|line| !carries(line));
        holds(self.target, text) || holds(self.body, text) || others.any(|line| holds(line, text))
    }

    fn was_answered_well(&self, world: &World, answer: &Answer, seen: &[Seen]) {
        let status = answer.status;
        assert!((200..500).contains(&status) || status == 505, "{self:?} is answered with {status}");
        if status == 401 {
            assert!(answer.header("www-authenticate").is_some(), "a 401 without a challenge");
        }
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        assert!(!answer.is_json() || answer.body.is_empty() || body.is_some(), "no JSON: {self:?}");
        if seen.is_empty() && status < 300 {
            let reads = self.method == b"GET" || self.method == b"HEAD";
            let is_described = reads && DESCRIBED.iter().any(|path| holds(self.path(), path.as_bytes()));
            let is_refusal = body.as_ref().is_some_and(|body| body["error"]["code"].is_i64());
            let is_preflight = self.method == b"OPTIONS" && status == 204;
            assert!(
                is_described || is_refusal || is_preflight,
                "{self:?} is answered by nobody with {status}"
            );
        }
        let told: Vec<_> = answer.headers.iter().map(|(_, value)| &**value).chain([&*answer.body]).collect();
        for key in &world.keys {
            let is_told = told.iter().any(|told| holds(told, key.text.as_bytes()));
            let product = self.product(&String::from_utf8_lossy(self.path()));
            assert!(!is_told || self.says_elsewhere(product, key.text.as_bytes()), "an answer tells a key");
        }
    }

    fn may_reach_the_upstream(&self, world: &World, seen: &Seen) {
        let target = seen.target();
        let path = target.split('?').next().unwrap_or_default();
        let product = self.product(path);
        assert_eq!(seen.head.method.as_str().as_bytes(), self.method, "{self:?} became another method");
        // An absolute form names the host as well.
        assert!(self.target.ends_with(target.as_bytes()) || path == "/", "{self:?} became {target}");
        assert!(self.target.starts_with(b"/") || holds(self.target, b"://"), "{self:?} became {target}");
        // Nobody reads what comes with a question for a document or a stream.
        let is_unread =
            self.method != b"POST" && (path == "/mcp" || path == "/sse" || PUBLIC_PATHS.contains(&path));
        assert!(seen.body == self.body || (is_unread && seen.body.is_empty()), "the body became another one");
        self.tells_identity_once(seen, product);
        let carriers = self.carriers(product);
        let ids = seen.values("x-keyward-key-id");
        let Some(id) = ids.first() else {
            assert!(carriers.is_empty(), "{self:?} passed with a key and without an identity");
            return self.is_open_to_everyone(path, product);
        };
        let key =
            world.keys.iter().find(|key| key.id.as_bytes() == *id).expect("an identity that is nobody's");
        self.sent(key, &carriers);
        assert_eq!(key.product, product, "{self:?} passed with another product's key");
        assert_eq!(seen.values("x-keyward-workspace"), [key.workspace.as_bytes()]);
        assert_eq!(seen.values("x-keyward-plan"), [key.plan.as_bytes()]);
        assert_eq!(seen.values("x-keyward-scopes"), [key.scopes.as_bytes()]);
        if !self.says_elsewhere(product, key.text.as_bytes()) {
            let mut values = seen.head.headers.values();
            assert!(!values.any(|value| holds(value.as_bytes(), key.text.as_bytes())), "the key went on");
        }
        match key.kind {
            Kind::Everything | Kind::Reader => {}
            Kind::Bound => {
                assert_eq!(seen.values("x-forwarded-for"), [BOUND_TO.as_bytes()], "{self:?}");
                assert!(self.values_of("x-forwarded-for").any(|value| holds(value, BOUND_TO.as_bytes())));
            }
            Kind::Signing | Kind::Revoked | Kind::Expired | Kind::Paced | Kind::Unknown | Kind::Admin => {
                panic!("{self:?} passed with a key that is {:?}", key.kind)
            }
        }
        self.holds_what_it_asks(key, path);
    }

    /// Whether exactly this key was sent: one header that may carry one, and it does.
    fn sent(&self, key: &Key, carriers: &[&[u8]]) {
        let [only] = carriers else { panic!("{self:?} passed with {} credentials", carriers.len()) };
        let token = only
            .split_at_checked("bearer ".len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map_or(*only, |(_, token)| token);
        assert_eq!(token, key.text.as_bytes(), "{self:?} passed with another text");
    }

    /// Headers of ours stand there once, and nothing that looks like them, or like a credential, does.
    fn tells_identity_once(&self, seen: &Seen, product: &str) {
        for name in seen.head.headers.keys() {
            let spelt = name.as_str().replace('_', "-");
            let is_ours = OURS.contains(&name.as_str());
            assert!(is_ours || !spelt.starts_with("x-keyward-"), "{self:?} became {spelt} at the upstream");
            assert!(!is_ours || seen.values(name.as_str()).len() == 1, "{spelt} stands twice");
            let carries = spelt == "authorization" || (product == "socialcrm" && spelt == "x-api-key");
            assert!(!carries, "{self:?} reached the upstream with {spelt}");
        }
        assert_eq!(seen.values("host").len(), 1);
        assert!(seen.values("x-forwarded-for").len() == 1 && seen.values("x-keyward-request-id").len() == 1);
    }

    fn is_open_to_everyone(&self, path: &str, product: &str) {
        let reads = self.method == b"GET" || self.method == b"HEAD";
        let is_upload = self.method == b"PUT"
            && path.strip_prefix("/v1/media/").and_then(|rest| rest.strip_suffix("/content")).is_some();
        let is_keyless = self.method == b"POST" && path == "/api/mcp-app" && self.calls(&KEYLESS_METHODS);
        let is_document = reads && PUBLIC_PATHS.contains(&path);
        let is_open = product == "socialcrm" && (is_upload || is_keyless || is_document);
        assert!(is_open, "{self:?} passed without a key");
    }

    /// Whether the body is a message with one of these methods.
    fn calls(&self, methods: &[&str]) -> bool {
        let message: Value = serde_json::from_slice(self.body).unwrap_or_default();
        message["method"].as_str().is_some_and(|method| methods.contains(&method))
    }

    fn holds_what_it_asks(&self, key: &Key, path: &str) {
        if path != "/api/mcp-app" && path != "/mcp" {
            let is_read = matches!(self.method, b"GET" | b"HEAD")
                && (path == "/v1/posts"
                    || path.strip_prefix("/v1/posts/").is_some_and(|id| !id.contains('/')));
            let is_document = path == "/mcp.json" && matches!(self.method, b"GET" | b"HEAD");
            let may = key.kind != Kind::Reader || (key.product == "socialcrm" && (is_read || is_document));
            return assert!(may, "{self:?} passed with a key that reads alone");
        }
        if self.method != b"POST" {
            // A stream or the end of a session: any key that stands.
            return;
        }
        let message: Value = serde_json::from_slice(self.body).expect("what is no JSON reached the upstream");
        let Some(method) = message["method"].as_str() else {
            return assert!(message.get("result").is_some() || message.get("error").is_some(), "{self:?}");
        };
        if method != "tools/call" {
            return assert!(FREE_METHODS.contains(&method), "{self:?} passed with {method}");
        }
        let tool = message["params"]["name"].as_str().expect("a call of no tool reached the upstream");
        let reads = if key.product == "socialcrm" {
            matches!(tool, "posts_list" | "posts_get")
        } else {
            tool.starts_with("contacts_")
                && ["_list", "_get", "_search"].iter().any(|end| tool.ends_with(end))
        };
        assert!(is_mapped(key.product, tool), "{self:?} called a tool that nobody mapped");
        assert!(reads || key.kind != Kind::Reader, "{self:?} called {tool} with a key that reads alone");
    }
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys of this world are nobody's.
        write!(f, "{} {}", self.method.escape_ascii(), self.target.escape_ascii())?;
        self.headers.iter().try_for_each(|line| write!(f, " | {}", line.escape_ascii()))?;
        write!(f, " || {}", self.body.escape_ascii())
    }
}

/// The name and the value of a header line, without the spaces around the value.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    Some((name, &value[start..end]))
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether a product's file names this tool.
fn is_mapped(product: &str, tool: &str) -> bool {
    let text = shipped(product).expect("it is shipped");
    let loaded = load_profile(text, product).expect("it loads");
    loaded.profile.rpc.as_ref().is_some_and(|door| door.tools.contains_key(tool))
}
