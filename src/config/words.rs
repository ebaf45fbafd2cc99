//! The `words` table of a door: one word for each refusal.
//!
//! A word that is missing, unknown, out of its range or without its parts is a problem with its name. A profile
//! may choose the standard words, for all (`words = "standard"`) or under its own (`base = "standard"`).
//!
//! Never here: a default. A refusal that nobody worded does not load; but for the wrong address, which is an
//! invalid key unless the profile gives it a word.

use http::StatusCode;

use super::reader::{Field, Section};
use super::standard::{self, STANDARD};
use crate::dialect::{
    Envelope, MESSAGE_CHARS_MAX, MessageFlaw, RestWord, RpcWord, WordKind, Words, message_flaw,
};

/// The longest code or type of a REST error, in bytes.
const CODE_LEN_MAX: usize = 64;

/// The words of a REST door.
pub(super) fn rest(door: &Section<'_>, envelope: Envelope) -> Option<Words<RestWord>> {
    let standard = |name: &str| standard::rest(name, envelope);
    each(door, standard, |field, kind| {
        let section = field.section()?;
        let status = section.required("status").and_then(|field| rest_status(&field, kind));
        let code = section.required("code").and_then(|field| code(&field));
        let named_type = section.field("type");
        let type_fits = match (envelope, &named_type) {
            (Envelope::Error, Some(field)) => field.refused("expected no type: the envelope is \"error\""),
            (Envelope::ErrorType, None) => {
                section.problem("`type` is missing: the envelope is \"error+type\"");
                None
            }
            (Envelope::Error, None) | (Envelope::ErrorType, Some(_)) => Some(()),
        };
        let type_name = named_type.and_then(|field| self::code(&field));
        let message = section.required("message").and_then(|field| message(&field, kind));
        section.close();
        type_fits?;
        Some(RestWord { status: status?, code: code?, kind: type_name, message: message? })
    })
}

/// The words of a JSON-RPC door.
pub(super) fn rpc(door: &Section<'_>) -> Option<Words<RpcWord>> {
    each(door, standard::rpc, |field, kind| {
        let section = field.section()?;
        let status = section.required("status").and_then(|field| rpc_status(&field, kind));
        let code = section.required("code").and_then(|field| field.signed());
        let message = section.required("message").and_then(|field| message(&field, kind));
        section.close();
        Some(RpcWord { status: status?, code: code?, message: message? })
    })
}

fn each<T>(
    door: &Section<'_>,
    standard: impl Fn(&str) -> Option<T>,
    read: impl Fn(&Field<'_>, WordKind) -> Option<T>,
) -> Option<Words<T>> {
    let field = door.required("words")?;
    if field.is_text() {
        is_standard(&field)?;
        return Words::from_each(|name, kind| standard(stand_in(name, kind).0)).complete();
    }
    let section = field.section()?;
    let base = section.field("base").map(|field| is_standard(&field));
    let words = Words::from_each(|name, kind| {
        if let Some(field) = section.field(name) {
            return read(&field, kind);
        }
        let (name, kind) = stand_in(name, kind);
        match section.field(name) {
            Some(field) => read(&field, kind),
            None if base.is_some() => standard(name),
            None => {
                section.problem(&format!("`{name}` is missing"));
                None
            }
        }
    });
    section.close();
    words.complete()
}

fn is_standard(field: &Field<'_>) -> Option<()> {
    field.parsed(&format!("\"{STANDARD}\", or a word for each refusal"), |text| {
        (text == STANDARD).then_some(())
    })
}

/// Whose word is said where this one has none.
const fn stand_in(name: &'static str, kind: WordKind) -> (&'static str, WordKind) {
    match kind {
        WordKind::Address => ("invalid_key", WordKind::Credential),
        _ => (name, kind),
    }
}

fn rest_status(field: &Field<'_>, kind: WordKind) -> Option<StatusCode> {
    let statuses = kind.statuses();
    let number = field.integer(u64::from(*statuses.start())..=u64::from(*statuses.end()))?;
    status(number)
}

/// Over JSON-RPC a refusal may also be a plain answer: some clients show what they refuse only then.
fn rpc_status(field: &Field<'_>, kind: WordKind) -> Option<StatusCode> {
    let (first, last) = kind.statuses().into_inner();
    let may_be_ok = !matches!(kind, WordKind::Credential | WordKind::Address | WordKind::Fault);
    let number = field.integer(200..=599)?;
    let fits = (u64::from(first)..=u64::from(last)).contains(&number) || (may_be_ok && number == 200);
    if !fits {
        let or_ok = if may_be_ok { ", or 200" } else { "" };
        return field.refused(&format!("expected a status from {first} to {last}{or_ok}"));
    }
    status(number)
}

fn status(number: u64) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(number).ok()?).ok()
}

fn code(field: &Field<'_>) -> Option<String> {
    let form = format!("1 to {CODE_LEN_MAX} of a-z, 0-9 and _");
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    field.parsed(&form, |text| {
        let fits = (1..=CODE_LEN_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| text.to_owned())
    })
}

fn message(field: &Field<'_>, kind: WordKind) -> Option<String> {
    let text = field.text()?;
    match message_flaw(text, kind.placeholder()) {
        None => Some(text.to_owned()),
        Some(MessageFlaw::Length) => field.refused(&format!("expected 1 to {MESSAGE_CHARS_MAX} characters")),
        Some(MessageFlaw::Control) => field.refused("expected no control characters"),
        Some(MessageFlaw::Brace) => match kind.placeholder() {
            Some(placeholder) => field.refused(&format!("expected no braces but one {placeholder}")),
            None => field.refused("expected no braces"),
        },
    }
}
