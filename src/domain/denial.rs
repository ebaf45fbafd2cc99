//! Every way in which a request is not let through.
//!
//! A [`Denial`] is a normal outcome and carries facts, never text: a dialect says it. A [`Fault`] is our own
//! failure; it never admits. Both are matched without a wildcard, so that a new one stops the build until
//! every dialect can say it.
//!
//! Never here: a status, or a word that a caller sees.

use super::meter::MonthUsedUp;
use super::permission::PermissionNo;
use super::profile::{MeterNo, VerbSet};
use super::time::Wall;

/// Why a request is refused. The order is the order of checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denial {
    /// The request cannot be read, or can be read two ways.
    Invalid(Invalid),
    /// The body is larger than this request may carry.
    TooLarge {
        /// The most bytes that would be taken.
        max_bytes: u64,
    },
    /// The body's content type is not the one expected.
    ContentType,
    /// Two credentials, equal or not, or a credential header given twice.
    TwoCredentials,
    /// No credential.
    Missing,
    /// A credential that is no key of this profile: scheme, tag, length, alphabet or check characters.
    Malformed,
    /// Well formed, and no key has this text.
    Unknown,
    /// The key was revoked, or the secret that was presented has ended.
    Revoked,
    /// The workspace is suspended.
    Suspended,
    /// The key has passed its expiry.
    Expired,
    /// The caller's address is not among the key's.
    Address,
    /// The signature is missing, wrong or used before.
    Signature,
    /// The bucket is empty.
    Rate {
        /// Nanoseconds until the same request would be admitted; `None` when it never would.
        retry_after_nanos: Option<u64>,
    },
    /// No such route, told to a proven caller.
    NotFound,
    /// The route exists under other methods, told to a proven caller.
    Method {
        /// Those methods.
        allow: VerbSet,
    },
    /// No such JSON-RPC method, told to a proven caller.
    UnknownMethod,
    /// The permission is not held; `None` when the thing asked for has none that anybody could hold.
    Permission {
        /// What was needed.
        needed: Option<PermissionNo>,
    },
    /// The plan is not a paid one.
    Plan,
    /// The month is used up.
    Quota {
        /// Which meter.
        meter: MeterNo,
        /// When the next period starts.
        resets_at: Wall,
    },
}

impl Denial {
    /// A stable word for metrics and logs, never for a caller.
    pub fn name(&self) -> &'static str {
        name_of(self.ordinal())
    }

    const fn ordinal(&self) -> usize {
        match self {
            Self::Invalid(_) => 0,
            Self::TooLarge { .. } => 1,
            Self::ContentType => 2,
            Self::TwoCredentials => 3,
            Self::Missing => 4,
            Self::Malformed => 5,
            Self::Unknown => 6,
            Self::Revoked => 7,
            Self::Suspended => 8,
            Self::Expired => 9,
            Self::Address => 10,
            Self::Signature => 11,
            Self::Rate { .. } => 12,
            Self::NotFound => 13,
            Self::Method { .. } => 14,
            Self::UnknownMethod => 15,
            Self::Permission { .. } => 16,
            Self::Plan => 17,
            Self::Quota { .. } => 18,
        }
    }

    /// What a meter says that has not enough left.
    pub const fn month_used_up(meter: MeterNo, resets_at: Wall) -> impl FnOnce(MonthUsedUp) -> Self {
        move |_| Self::Quota { meter, resets_at }
    }
}

/// Why a request cannot be read one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// `Host` is missing, doubled, malformed, or disagrees with the target.
    Host,
    /// `Host` or `Origin` names a place that this listener does not serve.
    ForeignHost,
    /// The target's path is ambiguous: dot segments, an encoded slash, a backslash, a control character,
    /// double encoding, an empty segment, `;` parameters.
    Target,
    /// Conflicting or unsupported framing, or a body in a content encoding.
    Framing,
    /// A header that must be read is not text.
    Header,
    /// The body is not JSON, or is nested too deeply.
    NotJson,
    /// The body is JSON, but not one JSON-RPC 2.0 request object.
    NotRpc,
    /// A member is given twice, or looks like a known one and is not.
    AmbiguousMember,
    /// `params` is not what the method takes.
    Params,
    /// A header disagrees with the body.
    HeaderMismatch,
    /// An MCP session that is not this caller's, or is no more.
    Session,
    /// An `Expect` other than `100-continue`.
    Expectation,
}

impl Invalid {
    /// All of them, for whoever must be able to say each.
    pub const ALL: [Self; 12] = [
        Self::Host,
        Self::ForeignHost,
        Self::Target,
        Self::Framing,
        Self::Header,
        Self::NotJson,
        Self::NotRpc,
        Self::AmbiguousMember,
        Self::Params,
        Self::HeaderMismatch,
        Self::Session,
        Self::Expectation,
    ];
}

/// Our own failure. It never admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The credential could not be checked.
    Credential,
    /// Something else of ours broke.
    Internal,
    /// Too much at once.
    Busy {
        /// Whole seconds until a retry makes sense.
        retry_after_secs: u32,
    },
    /// A change could not be made durable.
    NotDurable,
    /// The upstream does not take the connection.
    UpstreamUnreachable,
    /// The upstream broke off or answered nonsense.
    UpstreamBroken,
    /// The upstream took too long.
    UpstreamLate,
}

impl Fault {
    /// A stable word for metrics and logs.
    pub fn name(self) -> &'static str {
        name_of(self.ordinal())
    }

    const fn ordinal(self) -> usize {
        match self {
            Self::Credential => 19,
            Self::Internal => 20,
            Self::Busy { .. } => 21,
            Self::NotDurable => 22,
            Self::UpstreamUnreachable => 23,
            Self::UpstreamBroken => 24,
            Self::UpstreamLate => 25,
        }
    }
}

/// Either way of not being let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The caller may not.
    Denied(Denial),
    /// We cannot.
    Failed(Fault),
}

impl Refusal {
    /// A stable number for this kind of refusal: its place in [`REFUSAL_NAMES`].
    pub const fn ordinal(&self) -> usize {
        match self {
            Self::Denied(denial) => denial.ordinal(),
            Self::Failed(fault) => fault.ordinal(),
        }
    }

    /// The word of the denial or fault.
    pub fn name(&self) -> &'static str {
        name_of(self.ordinal())
    }
}

/// The words of all denials and faults, in the order of [`Refusal::ordinal`].
pub const REFUSAL_NAMES: [&str; 26] = [
    "invalid",
    "too_large",
    "content_type",
    "two_credentials",
    "missing",
    "malformed",
    "unknown",
    "revoked",
    "suspended",
    "expired",
    "address",
    "signature",
    "rate",
    "not_found",
    "method",
    "unknown_method",
    "permission",
    "plan",
    "quota",
    "credential_fault",
    "internal_fault",
    "busy",
    "not_durable",
    "upstream_unreachable",
    "upstream_broken",
    "upstream_late",
];

fn name_of(ordinal: usize) -> &'static str {
    REFUSAL_NAMES.get(ordinal).copied().unwrap_or("unnamed")
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_word() {
        let allow = VerbSet::default();
        let (needed, resets_at) = (None, Wall::from_secs(0));
        let denials = [
            (Denial::Invalid(Invalid::Host), "invalid"),
            (Denial::TooLarge { max_bytes: 0 }, "too_large"),
            (Denial::ContentType, "content_type"),
            (Denial::TwoCredentials, "two_credentials"),
            (Denial::Missing, "missing"),
            (Denial::Malformed, "malformed"),
            (Denial::Unknown, "unknown"),
            (Denial::Revoked, "revoked"),
            (Denial::Suspended, "suspended"),
            (Denial::Expired, "expired"),
            (Denial::Address, "address"),
            (Denial::Signature, "signature"),
            (Denial::Rate { retry_after_nanos: None }, "rate"),
            (Denial::NotFound, "not_found"),
            (Denial::Method { allow }, "method"),
            (Denial::UnknownMethod, "unknown_method"),
            (Denial::Permission { needed }, "permission"),
            (Denial::Plan, "plan"),
            (Denial::Quota { meter: MeterNo(0), resets_at }, "quota"),
        ];
        let faults = [
            (Fault::Credential, "credential_fault"),
            (Fault::Internal, "internal_fault"),
            (Fault::Busy { retry_after_secs: 1 }, "busy"),
            (Fault::NotDurable, "not_durable"),
            (Fault::UpstreamUnreachable, "upstream_unreachable"),
            (Fault::UpstreamBroken, "upstream_broken"),
            (Fault::UpstreamLate, "upstream_late"),
        ];
        let denials = denials.into_iter().map(|(denial, name)| (Refusal::from(denial), name));
        let all = denials.chain(faults.into_iter().map(|(fault, name)| (Refusal::from(fault), name)));
        let named: Vec<_> = all.map(|(refusal, name)| (refusal.ordinal(), refusal.name(), name)).collect();
        assert_eq!(named.len(), REFUSAL_NAMES.len());
        for (place, (ordinal, said, name)) in named.into_iter().enumerate() {
            assert_eq!((ordinal, said), (place, name));
        }
    }
}
