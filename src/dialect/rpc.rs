//! The JSON-RPC dialect: `{"jsonrpc":"2.0","id":…,"error":{"code","message","data"}}`.
//!
//! A refusal of a credential carries `"id": null`, or the request's where the profile says so; every other one
//! carries the request's id. Codes that JSON-RPC 2.0 (section 5.1) and MCP fix are constants here; the rest are
//! the profile's words. Some clients wait for ever on a 200 without an id, so a refusal that is spoken with 200
//! takes an error status when there is no id to carry.
//!
//! Never here: parsing an id. What comes in is the raw JSON text of one string or number.

use bytes::Bytes;
use http::StatusCode;

use super::expected::expected;
use super::text::{Text, quoted};
use super::words::{RpcWord, ScopeWords, WordKind, Words};
use super::{JSON, NOT_DURABLE_RETRY_SECS, Spoken, whole_secs};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::mcp::Era;
use crate::domain::permission::PermissionNo;
use crate::domain::profile::RefusedKeyId;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const HEADER_MISMATCH: i32 = -32020;
/// What servers of the official libraries say of a session that they do not know, with status 404.
const SESSION_NOT_FOUND: i32 = -32001;

/// Stands for the seconds in a rate refusal's data until they are known.
const RETRY_GAP: &str = "{retry_after}";

/// What a door says beside its words.
#[derive(Clone, Copy, Debug)]
pub struct RpcTerms<'a> {
    /// Told where a better plan would help; without it nothing is.
    pub upgrade_url: Option<&'a str>,
    /// The id that a refusal of a key carries.
    pub refused_key_id: RefusedKeyId,
    /// Whether each refusal says in `data.reason` which of the words it is.
    pub tells_reason: bool,
}

/// How one JSON-RPC door refuses.
#[derive(Debug)]
pub struct RpcDialect {
    words: Words<Said>,
    refused_key_id: RefusedKeyId,
    /// In the catalogue's order.
    permissions: Vec<Said>,
    rate_never: Said,
    not_json: Said,
    params: Said,
    header_mismatch: Said,
    unknown_method: Said,
    unknown_session: Said,
}

impl RpcDialect {
    /// The dialect of these words. `scopes` are the permissions of the catalogue, in its order.
    pub fn new(words: &Words<RpcWord>, scopes: &[ScopeWords], terms: RpcTerms<'_>) -> Self {
        let reason = |name| Data::of(terms.tells_reason.then_some(name));
        // Where a profile says the same of a key whatever is wrong with it, the reason says no more.
        let of_key =
            |name, word: &RpcWord| reason(if *word == words.invalid_key { "invalid_key" } else { name });
        let lacking = |scope: &ScopeWords| {
            let message = scope.message(&words.permission.message);
            Said::new(&RpcWord { message, ..words.permission.clone() }, &reason("permission"))
        };
        let upgrade = |name| reason(name).with_upgrade_url(terms.upgrade_url);
        let invalid_as = |code| {
            let word = RpcWord { code, ..words.invalid.clone() };
            Said::with_message_gap(&word, WordKind::Invalid, &reason("invalid"))
        };
        let unknown = "Method not found".to_owned();
        let mut said = words.map_named(|name, word| Said::new(word, &reason(name)));
        said.invalid = invalid_as(INVALID_REQUEST);
        said.too_large = Said::with_message_gap(&words.too_large, WordKind::TooLarge, &reason("too_large"));
        said.expired = Said::new(&words.expired, &of_key("expired", &words.expired));
        said.address = Said::new(&words.address, &of_key("address", &words.address));
        said.rate = Said::with_retry(&words.rate, &reason("rate").with_retry());
        said.rate.ok_without_id(StatusCode::TOO_MANY_REQUESTS);
        let mut rate_never = Said::new(&words.rate, &reason("rate"));
        rate_never.ok_without_id(StatusCode::TOO_MANY_REQUESTS);
        said.plan = Said::new(&words.plan, &upgrade("plan"));
        said.quota = Said::new(&words.quota, &upgrade("quota"));
        let unknown_method =
            RpcWord { status: StatusCode::NOT_FOUND, code: METHOD_NOT_FOUND, message: unknown };
        let unknown_session = RpcWord {
            status: StatusCode::NOT_FOUND,
            code: SESSION_NOT_FOUND,
            message: "Session not found".to_owned(),
        };
        Self {
            words: said,
            refused_key_id: terms.refused_key_id,
            permissions: scopes.iter().map(lacking).collect(),
            rate_never,
            not_json: invalid_as(PARSE_ERROR),
            params: invalid_as(INVALID_PARAMS),
            header_mismatch: invalid_as(HEADER_MISMATCH),
            unknown_method: Said::new(&unknown_method, &reason("unknown_method")),
            unknown_session: Said::new(&unknown_session, &reason("session")),
        }
    }

    /// Says a refusal of the request with this id (raw JSON text; `None` when there is none).
    pub fn say(&self, refusal: &Refusal, id: Option<&str>, era: Era) -> Spoken {
        match refusal {
            Refusal::Denied(denial) => self.say_denial(denial, id, era),
            Refusal::Failed(fault) => self.say_fault(*fault, id),
        }
    }

    fn say_denial(&self, denial: &Denial, id: Option<&str>, era: Era) -> Spoken {
        let words = &self.words;
        match denial {
            Denial::Invalid(invalid) => self.say_invalid(*invalid, id),
            Denial::TooLarge { max_bytes } => words.too_large.filled(&max_bytes.to_string(), id),
            Denial::ContentType => words.content_type.plain(id),
            Denial::TwoCredentials => words.two_credentials.plain(None),
            Denial::Missing => words.missing.plain(self.of_key(id)),
            Denial::Malformed | Denial::Unknown | Denial::Revoked | Denial::Suspended | Denial::Signature => {
                words.invalid_key.plain(self.of_key(id))
            }
            Denial::Expired => words.expired.plain(self.of_key(id)),
            Denial::Address => words.address.plain(self.of_key(id)),
            Denial::Rate { retry_after_nanos } => self.say_rate(*retry_after_nanos, id),
            Denial::NotFound => words.not_found.plain(id),
            Denial::Method { allow } => words.method.plain(id).allow(*allow),
            Denial::UnknownMethod => self.say_unknown_method(id, era),
            Denial::Permission { needed } => self.lacking(*needed).plain(id),
            Denial::Plan => words.plan.plain(id),
            Denial::Quota { meter: _, resets_at: _ } => words.quota.plain(id),
        }
    }

    fn say_invalid(&self, invalid: Invalid, id: Option<&str>) -> Spoken {
        let expected = expected(invalid);
        match invalid {
            Invalid::ForeignHost => self.words.foreign_host.plain(id),
            Invalid::Expectation => self.words.expectation.plain(id),
            Invalid::NotJson => self.not_json.filled(expected, None),
            Invalid::Params => self.params.filled(expected, id),
            Invalid::HeaderMismatch => self.header_mismatch.filled(expected, id),
            Invalid::Session => self.unknown_session.plain(id),
            Invalid::Host
            | Invalid::Target
            | Invalid::Framing
            | Invalid::Header
            | Invalid::NotRpc
            | Invalid::AmbiguousMember => self.words.invalid.filled(expected, id),
        }
    }

    fn say_rate(&self, retry_after_nanos: Option<u64>, id: Option<&str>) -> Spoken {
        match retry_after_nanos.map(whole_secs) {
            Some(secs) => self.words.rate.filled(&secs.to_string(), id).retry_after(Some(secs)),
            None => self.rate_never.plain(id),
        }
    }

    fn say_unknown_method(&self, id: Option<&str>, era: Era) -> Spoken {
        let spoken = self.unknown_method.plain(id);
        match (era, id) {
            (Era::Legacy, Some(_)) => Spoken { status: StatusCode::OK, ..spoken },
            (Era::Legacy, None) | (Era::Modern, _) => spoken,
        }
    }

    /// The id that a refusal of a key carries.
    fn of_key<'a>(&self, id: Option<&'a str>) -> Option<&'a str> {
        match self.refused_key_id {
            RefusedKeyId::Null => None,
            RefusedKeyId::Echo => id,
        }
    }

    fn lacking(&self, needed: Option<PermissionNo>) -> &Said {
        needed.and_then(|number| self.permissions.get(number.place())).unwrap_or(&self.words.closed)
    }

    fn say_fault(&self, fault: Fault, id: Option<&str>) -> Spoken {
        let words = &self.words;
        match fault {
            Fault::Credential => words.credential_fault.plain(self.of_key(id)),
            Fault::Internal => words.internal_fault.plain(id),
            Fault::Busy { retry_after_secs } => {
                words.busy.plain(id).retry_after(Some(u64::from(retry_after_secs).max(1)))
            }
            Fault::NotDurable => words.not_durable.plain(id).retry_after(Some(NOT_DURABLE_RETRY_SECS)),
            Fault::UpstreamUnreachable => words.upstream_unreachable.plain(id),
            Fault::UpstreamBroken => words.upstream_broken.plain(id),
            Fault::UpstreamLate => words.upstream_late.plain(id),
        }
    }
}

/// What stands beside a code and a message: members of `data`, each ready to be written.
struct Data(Vec<String>);

impl Data {
    fn of(reason: Option<&str>) -> Self {
        Self(reason.iter().map(|name| format!(r#""reason":{}"#, quoted(name))).collect())
    }

    fn with_upgrade_url(mut self, url: Option<&str>) -> Self {
        self.0.extend(url.map(|url| format!(r#""upgradeUrl":{}"#, quoted(url))));
        self
    }

    fn with_retry(mut self) -> Self {
        self.0.push(format!(r#""retryAfter":{RETRY_GAP}"#));
        self
    }

    /// The member behind the message; nothing, where there is nothing to tell.
    fn member(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!(r#","data":{{{}}}"#, self.0.join(",")) }
    }
}

/// One word, laid out: the text behind `"id":…`, and the whole body for `"id":null`.
#[derive(Debug)]
struct Said {
    status: StatusCode,
    status_without_id: StatusCode,
    tail: Text,
    without_id: Bytes,
}

const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;

impl Said {
    fn new(word: &RpcWord, data: &Data) -> Self {
        Self::cut(word, data, None)
    }

    fn with_message_gap(word: &RpcWord, kind: WordKind, data: &Data) -> Self {
        Self::cut(word, data, kind.placeholder())
    }

    fn with_retry(word: &RpcWord, data: &Data) -> Self {
        Self::cut(word, data, Some(RETRY_GAP))
    }

    fn cut(word: &RpcWord, data: &Data, gap: Option<&str>) -> Self {
        let (code, message, data) = (word.code, quoted(&word.message), data.member());
        let json = format!(r#","error":{{"code":{code},"message":{message}{data}}}}}"#);
        let tail = gap.map_or_else(|| Text::whole(&json), |mark| Text::with_gap(&json, mark));
        let without_id = joined("null", &tail, "").into();
        let mut said = Self { status: word.status, status_without_id: word.status, tail, without_id };
        said.ok_without_id(StatusCode::BAD_REQUEST);
        said
    }

    /// What stands for a 200 that would have no id to carry.
    fn ok_without_id(&mut self, instead: StatusCode) {
        if self.status == StatusCode::OK {
            self.status_without_id = instead;
        }
    }

    fn plain(&self, id: Option<&str>) -> Spoken {
        match id {
            None => Spoken::new(self.status_without_id, JSON, self.without_id.clone()),
            Some(_) => self.filled("", id),
        }
    }

    fn filled(&self, filling: &str, id: Option<&str>) -> Spoken {
        let status = if id.is_some() { self.status } else { self.status_without_id };
        let body = joined(id.unwrap_or("null"), &self.tail, filling);
        Spoken::new(status, JSON, body.into())
    }
}

fn joined(id: &str, tail: &Text, filling: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAD.len() + id.len() + tail.len(filling));
    body.extend_from_slice(HEAD);
    body.extend_from_slice(id.as_bytes());
    tail.write(filling, &mut body);
    body
}
