//! RFC 9457 `application/problem+json`: how the admin API and the verify surface refuse.
//!
//! The words are ours and fixed, since the surface is ours. `code` is a stable word for scripts beside the
//! members of the RFC; every way in which an admin key is no good is one code, as at every other door.
//!
//! Never here: a detail that a caller without a good admin key could learn from.

use std::borrow::Cow;

use http::StatusCode;

use super::expected::expected;
use super::{NOT_DURABLE_RETRY_SECS, PROBLEM_JSON, Spoken, whole_secs};
use crate::domain::denial::{Denial, Fault, Invalid, Refusal};
use crate::domain::permission::{Catalogue, Permission, PermissionNo};

/// What only the admin API refuses, told to a proven admin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminRefusal {
    /// A field that is unknown, missing or holds what it may not; the detail names it and says what was
    /// expected.
    Field {
        /// What to tell.
        detail: String,
    },
    /// No such workspace or key.
    NoSuchThing,
    /// The change does not fit the state of the thing.
    Conflict {
        /// What to tell.
        detail: String,
    },
    /// The change denies already, and the disk has not taken it yet; it is being tried again.
    InForce,
}

/// How the admin API refuses.
#[derive(Debug)]
pub struct ProblemDialect {
    /// In the catalogue's order.
    scopes: Vec<String>,
}

impl ProblemDialect {
    /// The dialect of a surface whose routes ask for this catalogue.
    pub fn new(catalogue: &Catalogue) -> Self {
        Self { scopes: catalogue.iter().map(Permission::to_string).collect() }
    }

    /// Says what only the admin API refuses.
    pub fn say_admin(&self, refusal: &AdminRefusal) -> Spoken {
        match refusal {
            AdminRefusal::Field { detail } => spoken(StatusCode::BAD_REQUEST, "invalid_request", detail),
            AdminRefusal::NoSuchThing => {
                spoken(StatusCode::NOT_FOUND, "not_found", "There is no such thing.")
            }
            AdminRefusal::Conflict { detail } => spoken(StatusCode::CONFLICT, "conflict", detail),
            AdminRefusal::InForce => {
                let detail = "Every request is refused already, but the change is not yet durable: it is being \
                    tried again, and a restart before that would undo it. Send it again to see it confirmed.";
                spoken(StatusCode::SERVICE_UNAVAILABLE, "not_durable", detail)
                    .retry_after(Some(NOT_DURABLE_RETRY_SECS))
            }
        }
    }

    /// Says a refusal.
    pub fn say(&self, refusal: &Refusal) -> Spoken {
        match refusal {
            Refusal::Denied(denial) => self.say_denial(denial),
            Refusal::Failed(fault) => say_fault(*fault),
        }
    }

    fn say_denial(&self, denial: &Denial) -> Spoken {
        match denial {
            Denial::Invalid(invalid) => say_invalid(*invalid),
            Denial::TooLarge { max_bytes } => {
                let detail = format!("The body is larger than {max_bytes} bytes.");
                spoken(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &detail)
            }
            Denial::ContentType => spoken(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "The body must be application/json.",
            ),
            Denial::TwoCredentials => {
                spoken(StatusCode::BAD_REQUEST, "two_credentials", "Exactly one credential was expected.")
            }
            Denial::Missing => spoken(
                StatusCode::UNAUTHORIZED,
                "missing_key",
                "An admin key is needed, as Authorization: Bearer KEY.",
            ),
            Denial::Malformed
            | Denial::Unknown
            | Denial::Revoked
            | Denial::Suspended
            | Denial::Expired
            | Denial::Address
            | Denial::Signature => {
                spoken(StatusCode::UNAUTHORIZED, "invalid_key", "The admin key is not valid.")
            }
            Denial::Rate { retry_after_nanos } => {
                spoken(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests.")
                    .retry_after(retry_after_nanos.map(whole_secs))
            }
            Denial::NotFound | Denial::UnknownMethod => {
                spoken(StatusCode::NOT_FOUND, "not_found", "There is no such route.")
            }
            Denial::Method { allow } => {
                let detail = format!("This route takes {}.", allow.to_allow());
                spoken(StatusCode::METHOD_NOT_ALLOWED, "method", &detail).allow(*allow)
            }
            Denial::Permission { needed } => {
                spoken(StatusCode::FORBIDDEN, "permission", &self.lacking(*needed))
            }
            Denial::Plan => spoken(StatusCode::FORBIDDEN, "plan", "The plan does not include this."),
            Denial::Quota { meter: _, resets_at: _ } => {
                spoken(StatusCode::FORBIDDEN, "quota", "The month is used up.")
            }
        }
    }

    fn lacking(&self, needed: Option<PermissionNo>) -> Cow<'static, str> {
        match needed.and_then(|number| self.scopes.get(number.place())) {
            Some(scope) => format!("The admin key lacks the permission {scope}.").into(),
            None => "This is not open to any key.".into(),
        }
    }
}

fn say_invalid(invalid: Invalid) -> Spoken {
    let detail = format!("Expected {}.", expected(invalid));
    match invalid {
        Invalid::ForeignHost => spoken(StatusCode::FORBIDDEN, "foreign_host", &detail),
        Invalid::Expectation => spoken(StatusCode::EXPECTATION_FAILED, "expectation", &detail),
        Invalid::Host
        | Invalid::Target
        | Invalid::Framing
        | Invalid::Header
        | Invalid::NotJson
        | Invalid::NotRpc
        | Invalid::AmbiguousMember
        | Invalid::Params
        | Invalid::HeaderMismatch
        | Invalid::Session => spoken(StatusCode::BAD_REQUEST, "invalid_request", &detail),
    }
}

fn say_fault(fault: Fault) -> Spoken {
    match fault {
        Fault::Credential => {
            // The verify surface's own promise: what cannot be decided is not an answer, but a reason to come
            // back.
            spoken(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The key could not be checked.")
        }
        Fault::Internal => {
            spoken(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something of ours broke.")
        }
        Fault::Busy { retry_after_secs } => {
            spoken(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Too much at once.")
                .retry_after(Some(u64::from(retry_after_secs).max(1)))
        }
        Fault::NotDurable => {
            spoken(StatusCode::SERVICE_UNAVAILABLE, "not_durable", "The change is not yet durable.")
                .retry_after(Some(NOT_DURABLE_RETRY_SECS))
        }
        Fault::UpstreamUnreachable | Fault::UpstreamBroken => {
            spoken(StatusCode::BAD_GATEWAY, "upstream_error", "The upstream did not answer.")
        }
        Fault::UpstreamLate => spoken(StatusCode::GATEWAY_TIMEOUT, "upstream_error", "The upstream is late."),
    }
}

fn spoken(status: StatusCode, code: &str, detail: &str) -> Spoken {
    // With `about:blank` the title is the status' own phrase (RFC 9457, section 4.2.1).
    let title = status.canonical_reason().unwrap_or_default();
    let detail = super::text::quoted(detail);
    let number = status.as_u16();
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{number},"detail":{detail},"code":"{code}"}}"#
    );
    Spoken::new(status, PROBLEM_JSON, body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::{MeterNo, Verb, VerbSet};
    use crate::domain::time::Wall;

    fn dialect() -> (ProblemDialect, Option<PermissionNo>) {
        let asked = Permission::parse("keys:write").unwrap();
        let catalogue = Catalogue::new(vec![asked.clone()]).unwrap();
        (ProblemDialect::new(&catalogue), catalogue.number(&asked))
    }

    #[track_caller]
    fn check(spoken: &Spoken, status: u16, code: &str, header: Option<&str>) -> String {
        assert_eq!(spoken.content_type, "application/problem+json");
        let body: serde_json::Value = serde_json::from_slice(&spoken.body).unwrap();
        assert_eq!((spoken.status.as_u16(), body["status"].as_u64()), (status, Some(status.into())));
        assert_eq!((body["code"].as_str(), body["type"].as_str()), (Some(code), Some("about:blank")));
        assert_eq!(body["title"].as_str(), spoken.status.canonical_reason());
        assert_eq!(spoken.header.as_ref().map(|(_, value)| value.to_str().unwrap()), header);
        body["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_refusal_has_its_status_and_code() {
        let (dialect, needed) = dialect();
        let challenge = Some("Bearer realm=\"keyward\"");
        let allow = VerbSet::default().with(Verb::Get).with(Verb::Post);
        let quota = Denial::Quota { meter: MeterNo(0), resets_at: Wall::from_secs(0) };
        let cases: [(Refusal, u16, &str, Option<&str>); 26] = [
            (Denial::TooLarge { max_bytes: 7 }.into(), 413, "too_large", None),
            (Denial::ContentType.into(), 415, "content_type", None),
            (Denial::TwoCredentials.into(), 400, "two_credentials", None),
            (Denial::Missing.into(), 401, "missing_key", challenge),
            (Denial::Malformed.into(), 401, "invalid_key", challenge),
            (Denial::Unknown.into(), 401, "invalid_key", challenge),
            (Denial::Revoked.into(), 401, "invalid_key", challenge),
            (Denial::Suspended.into(), 401, "invalid_key", challenge),
            (Denial::Expired.into(), 401, "invalid_key", challenge),
            (Denial::Address.into(), 401, "invalid_key", challenge),
            (Denial::Signature.into(), 401, "invalid_key", challenge),
            (Denial::Rate { retry_after_nanos: Some(1) }.into(), 429, "rate_limited", Some("1")),
            (Denial::Rate { retry_after_nanos: None }.into(), 429, "rate_limited", None),
            (Denial::NotFound.into(), 404, "not_found", None),
            (Denial::Method { allow }.into(), 405, "method", Some("GET, HEAD, POST")),
            (Denial::UnknownMethod.into(), 404, "not_found", None),
            (Denial::Permission { needed: None }.into(), 403, "permission", None),
            (Denial::Plan.into(), 403, "plan", None),
            (quota.into(), 403, "quota", None),
            (Fault::Credential.into(), 503, "unavailable", None),
            (Fault::Internal.into(), 500, "internal_error", None),
            (Fault::Busy { retry_after_secs: 3 }.into(), 503, "unavailable", Some("3")),
            (Fault::NotDurable.into(), 503, "not_durable", Some("5")),
            (Fault::UpstreamUnreachable.into(), 502, "upstream_error", None),
            (Fault::UpstreamBroken.into(), 502, "upstream_error", None),
            (Fault::UpstreamLate.into(), 504, "upstream_error", None),
        ];
        for (refusal, status, code, header) in cases {
            check(&dialect.say(&refusal), status, code, header);
        }
        for invalid in Invalid::ALL {
            let (status, code) = match invalid {
                Invalid::ForeignHost => (403, "foreign_host"),
                Invalid::Expectation => (417, "expectation"),
                _ => (400, "invalid_request"),
            };
            check(&dialect.say(&Denial::Invalid(invalid).into()), status, code, None);
        }
        let lacking = check(&dialect.say(&Denial::Permission { needed }.into()), 403, "permission", None);
        assert!(lacking.contains("keys:write"), "{lacking}");
    }

    #[test]
    fn what_only_the_admin_api_refuses_names_its_field_whatever_it_is_called() {
        let (dialect, _) = dialect();
        let detail = "unknown field `a\"b\\c`\n".to_owned();
        let told = check(
            &dialect.say_admin(&AdminRefusal::Field { detail: detail.clone() }),
            400,
            "invalid_request",
            None,
        );
        assert_eq!(told, detail);
        check(&dialect.say_admin(&AdminRefusal::NoSuchThing), 404, "not_found", None);
        check(&dialect.say_admin(&AdminRefusal::Conflict { detail }), 409, "conflict", None);
        let in_force = check(&dialect.say_admin(&AdminRefusal::InForce), 503, "not_durable", Some("5"));
        assert!(in_force.contains("refused already") && in_force.contains("tried again"), "{in_force}");
    }
}
