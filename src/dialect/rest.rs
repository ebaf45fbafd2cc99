//! The REST dialect: `{"error":{"code","message"}}`, with `type` beside them where a profile's envelope has
//! one.
//!
//! Every body without a varying number is built when the profile loads. A refusal that only JSON-RPC has is
//! said here as what it comes closest to.
//!
//! Never here: a status or a text that is not in the profile's words.

use bytes::Bytes;
use http::StatusCode;

use super::expected::expected;
use super::text::{Text, quoted};
use super::words::{RestWord, ScopeWords, WordKind, Words};
use super::{JSON, NOT_DURABLE_RETRY_SECS, Spoken, whole_secs};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::permission::PermissionNo;

/// The shape of a REST error body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Envelope {
    /// `{"error":{"code","message"}}`.
    Error,
    /// `{"error":{"code","message","type"}}`.
    ErrorType,
}

/// How one REST door refuses.
#[derive(Debug)]
pub struct RestDialect {
    envelope: Envelope,
    words: Words<Said>,
    /// In the catalogue's order.
    permissions: Vec<Said>,
}

impl RestDialect {
    /// The dialect of these words; `scopes` are the permissions of the catalogue, in its order.
    pub fn new(envelope: Envelope, words: &Words<RestWord>, scopes: &[ScopeWords]) -> Self {
        let lacking = |scope: &ScopeWords| {
            let message = scope.message(&words.permission.message);
            Said::new(envelope, &RestWord { message, ..words.permission.clone() }, None)
        };
        let permissions = scopes.iter().map(lacking).collect();
        let mut said = words.map(|word| Said::new(envelope, word, None));
        said.invalid = Said::new(envelope, &words.invalid, WordKind::Invalid.placeholder());
        said.too_large = Said::new(envelope, &words.too_large, WordKind::TooLarge.placeholder());
        Self { envelope, words: said, permissions }
    }

    /// The shape of its errors.
    pub const fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// Says a refusal.
    pub fn say(&self, refusal: &Refusal) -> Spoken {
        match refusal {
            Refusal::Denied(denial) => self.say_denial(denial),
            Refusal::Failed(fault) => self.say_fault(*fault),
        }
    }

    fn say_denial(&self, denial: &Denial) -> Spoken {
        let words = &self.words;
        match denial {
            Denial::Invalid(invalid) => self.say_invalid(*invalid),
            Denial::TooLarge { max_bytes } => words.too_large.filled(&max_bytes.to_string()),
            Denial::ContentType => words.content_type.plain(),
            Denial::TwoCredentials => words.two_credentials.plain(),
            Denial::Missing => words.missing.plain(),
            Denial::Malformed | Denial::Unknown | Denial::Revoked | Denial::Suspended | Denial::Signature => {
                words.invalid_key.plain()
            }
            Denial::Expired => words.expired.plain(),
            Denial::Address => words.address.plain(),
            Denial::Rate { retry_after_nanos } => {
                words.rate.plain().retry_after(retry_after_nanos.map(whole_secs))
            }
            Denial::NotFound | Denial::UnknownMethod => words.not_found.plain(),
            Denial::Method { allow } => words.method.plain().allow(*allow),
            Denial::Permission { needed } => self.lacking(*needed).plain(),
            Denial::Plan => words.plan.plain(),
            Denial::Quota { meter: _, resets_at: _ } => words.quota.plain(),
        }
    }

    fn say_invalid(&self, invalid: Invalid) -> Spoken {
        match invalid {
            Invalid::ForeignHost => self.words.foreign_host.plain(),
            Invalid::Expectation => self.words.expectation.plain(),
            Invalid::Host
            | Invalid::Target
            | Invalid::Framing
            | Invalid::Header
            | Invalid::NotJson
            | Invalid::NotRpc
            | Invalid::AmbiguousMember
            | Invalid::Params
            | Invalid::HeaderMismatch
            | Invalid::Session => self.words.invalid.filled(expected(invalid)),
        }
    }

    fn lacking(&self, needed: Option<PermissionNo>) -> &Said {
        needed.and_then(|number| self.permissions.get(number.place())).unwrap_or(&self.words.closed)
    }

    fn say_fault(&self, fault: Fault) -> Spoken {
        let words = &self.words;
        match fault {
            Fault::Credential => words.credential_fault.plain(),
            Fault::Internal => words.internal_fault.plain(),
            Fault::Busy { retry_after_secs } => {
                words.busy.plain().retry_after(Some(u64::from(retry_after_secs).max(1)))
            }
            Fault::NotDurable => words.not_durable.plain().retry_after(Some(NOT_DURABLE_RETRY_SECS)),
            Fault::UpstreamUnreachable => words.upstream_unreachable.plain(),
            Fault::UpstreamBroken => words.upstream_broken.plain(),
            Fault::UpstreamLate => words.upstream_late.plain(),
        }
    }
}

/// One word, laid out.
#[derive(Debug)]
struct Said {
    status: StatusCode,
    text: Text,
    whole: Bytes,
}

impl Said {
    fn new(envelope: Envelope, word: &RestWord, gap: Option<&str>) -> Self {
        let (code, message) = (quoted(&word.code), quoted(&word.message));
        let json = match envelope {
            Envelope::Error => format!(r#"{{"error":{{"code":{code},"message":{message}}}}}"#),
            Envelope::ErrorType => {
                let kind = quoted(word.kind.as_deref().unwrap_or_default());
                format!(r#"{{"error":{{"code":{code},"message":{message},"type":{kind}}}}}"#)
            }
        };
        let text = gap.map_or_else(|| Text::whole(&json), |mark| Text::with_gap(&json, mark));
        Self { status: word.status, text, whole: json.into() }
    }

    fn plain(&self) -> Spoken {
        Spoken::new(self.status, JSON, self.whole.clone())
    }

    fn filled(&self, filling: &str) -> Spoken {
        let mut body = Vec::with_capacity(self.text.len(filling));
        self.text.write(filling, &mut body);
        Spoken::new(self.status, JSON, body.into())
    }
}
