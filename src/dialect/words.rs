//! What a profile must say at a door: one word for each refusal, and the rules that a word keeps.
//!
//! The list is closed: a word that is missing or unknown stops the load. Five outcomes share the word
//! `invalid_key` (malformed, unknown, revoked, suspended, wrong signature), so that no profile can tell them
//! apart by mistake; so does a wrong address, unless a profile words it. What JSON-RPC itself fixes (parse
//! error, unknown method, bad params, header mismatch) has its code there and is not a profile's to choose.
//!
//! Never here: how a word is laid out on the wire.

use std::ops::RangeInclusive;

use http::StatusCode;

/// The most characters of a message.
pub const MESSAGE_CHARS_MAX: usize = 500;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// One `T` for each refusal.
        #[derive(Clone, Debug)]
        pub struct Words<T> {
            $($(#[$doc])* pub $name: T,)*
        }

        impl<T> Words<T> {
            /// Makes each from its name and kind.
            pub fn from_each(mut make: impl FnMut(&'static str, WordKind) -> T) -> Self {
                Self { $($name: make(stringify!($name), WordKind::$kind),)* }
            }

            /// Turns each into something else.
            pub(super) fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> Words<U> {
                Words { $($name: turn(&self.$name),)* }
            }

            /// The same, told each one's name.
            pub(super) fn map_named<U>(&self, mut turn: impl FnMut(&'static str, &T) -> U) -> Words<U> {
                Words { $($name: turn(stringify!($name), &self.$name),)* }
            }
        }

        impl<T> Words<Option<T>> {
            /// All of them, or nothing when one is missing.
            pub fn complete(self) -> Option<Words<T>> {
                Some(Words { $($name: self.$name?,)* })
            }
        }
    };
}

words! {
    /// The request cannot be read one way; `{expected}` says what would have been taken.
    invalid: Invalid,
    /// `Host` or `Origin` is not one of the listener's.
    foreign_host: Denial,
    /// An `Expect` that nobody can meet.
    expectation: Denial,
    /// The body is too large; `{max_bytes}` is the bound.
    too_large: TooLarge,
    /// The body's content type is not the one expected.
    content_type: Denial,
    /// Two credentials.
    two_credentials: Denial,
    /// No credential.
    missing: Credential,
    /// A credential that is no good, whatever the reason.
    invalid_key: Credential,
    /// A key past its expiry.
    expired: Credential,
    /// An address that the key may not be used from, where a profile tells that openly.
    address: Address,
    /// Too fast.
    rate: Denial,
    /// No such route.
    not_found: Denial,
    /// The route under another method.
    method: Denial,
    /// Something that no permission opens.
    closed: Denial,
    /// The permission is not held; `{scope}` names it, or is replaced by the permission's own words.
    permission: Permission,
    /// Not on a paid plan.
    plan: Denial,
    /// The month is used up.
    quota: Denial,
    /// The credential could not be checked.
    credential_fault: Fault,
    /// Something else of ours broke.
    internal_fault: Fault,
    /// Too much at once.
    busy: Fault,
    /// A change could not be made durable.
    not_durable: Fault,
    /// The upstream takes no connection.
    upstream_unreachable: Fault,
    /// The upstream broke off.
    upstream_broken: Fault,
    /// The upstream is late.
    upstream_late: Fault,
}

/// What sort of refusal a word is for; it bounds the status and names the one placeholder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordKind {
    /// A refusal of the credential itself.
    Credential,
    /// A refusal of where the credential came from.
    Address,
    /// A refusal of the caller or the request.
    Denial,
    /// `invalid`, with `{expected}`.
    Invalid,
    /// `too_large`, with `{max_bytes}`.
    TooLarge,
    /// `permission`, with `{scope}`.
    Permission,
    /// A failure of ours.
    Fault,
}

impl WordKind {
    /// The statuses that such a word may have. A credential is refused by 401 alone: everything else that a
    /// client could make of it would send it looking elsewhere.
    pub const fn statuses(self) -> RangeInclusive<u16> {
        match self {
            Self::Credential => 401..=401,
            Self::Address => 401..=403,
            Self::Denial | Self::Invalid | Self::TooLarge | Self::Permission => 400..=499,
            Self::Fault => 500..=599,
        }
    }

    /// The placeholder that its message may hold.
    pub const fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::Invalid => Some("{expected}"),
            Self::TooLarge => Some("{max_bytes}"),
            Self::Permission => Some("{scope}"),
            Self::Credential | Self::Address | Self::Denial | Self::Fault => None,
        }
    }
}

/// A refusal as a REST door says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestWord {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.code`.
    pub code: String,
    /// `error.type`, where the envelope has one.
    pub kind: Option<String>,
    /// `error.message`, perhaps with the placeholder of its kind.
    pub message: String,
}

/// A refusal as a JSON-RPC door says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RpcWord {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.code`.
    pub code: i32,
    /// `error.message`, perhaps with the placeholder of its kind.
    pub message: String,
}

/// How one permission of the catalogue is named when it is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScopeWords {
    /// The permission's text.
    pub scope: String,
    /// A message of its own, for doors whose message would name the scope.
    pub own: Option<String>,
}

impl ScopeWords {
    /// The message for this permission at a door whose word says `message`.
    pub(super) fn message(&self, message: &str) -> String {
        match &self.own {
            Some(own) if message.contains("{scope}") => own.clone(),
            _ => message.replace("{scope}", &self.scope),
        }
    }
}

/// Why a message cannot be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFlaw {
    /// Empty, or longer than [`MESSAGE_CHARS_MAX`] characters.
    Length,
    /// A control character.
    Control,
    /// A brace that is not the one placeholder of its kind.
    Brace,
}

/// What is wrong with a message, if anything. `placeholder` may stand in it once.
pub fn message_flaw(message: &str, placeholder: Option<&str>) -> Option<MessageFlaw> {
    let rest = placeholder.map_or_else(|| message.to_owned(), |mark| message.replacen(mark, "", 1));
    if message.is_empty() || message.chars().count() > MESSAGE_CHARS_MAX {
        Some(MessageFlaw::Length)
    } else if message.chars().any(char::is_control) {
        Some(MessageFlaw::Control)
    } else if rest.contains(['{', '}']) {
        Some(MessageFlaw::Brace)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_hold_the_placeholder_of_its_kind_once_and_no_other_brace() {
        let cases = [
            ("This key lacks {scope}.", Some("{scope}"), None),
            ("Plain.", Some("{scope}"), None),
            ("{scope} {scope}", Some("{scope}"), Some(MessageFlaw::Brace)),
            ("{max_bytes}", Some("{scope}"), Some(MessageFlaw::Brace)),
            ("{scope}", None, Some(MessageFlaw::Brace)),
            ("", None, Some(MessageFlaw::Length)),
            ("a\nb", None, Some(MessageFlaw::Control)),
        ];
        for (message, placeholder, flaw) in cases {
            assert_eq!(message_flaw(message, placeholder), flaw, "{message:?}");
        }
    }

    #[test]
    fn own_words_stand_in_only_where_the_scope_would_be_named() {
        let scope = ScopeWords { scope: "posts:publish".to_owned(), own: Some("No publishing.".to_owned()) };
        assert_eq!(scope.message("Lacks {scope}."), "No publishing.");
        assert_eq!(scope.message("Insufficient permissions"), "Insufficient permissions");
        let plain = ScopeWords { own: None, ..scope };
        assert_eq!(plain.message("Lacks {scope}."), "Lacks posts:publish.");
    }

    #[test]
    fn words_are_complete_only_when_none_is_missing() {
        assert!(Words::from_each(|_, _| Some(())).complete().is_some());
        assert!(Words::from_each(|name, _| (name != "busy").then_some(())).complete().is_none());
    }
}
