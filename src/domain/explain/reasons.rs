//! Why a check passes or fails, in words for the operator.
//!
//! Times come with how far away they are. What can be long (address rules, permissions) is told up to a bound,
//! and how much more there is.
//!
//! Never here: an outcome (the checks decide that), or a word that a caller sees.

use super::{Explained, Finding};
use crate::domain::decision::{Buckets, Case, Check, rates_of, shared_rate_of, would_buy};
use crate::domain::denial::Denial;
use crate::domain::meter::PeriodMeter;
use crate::domain::profile::{MeterNo, Profile, Requirement};
use crate::domain::rate::Rate;
use crate::domain::rate::state::RateState;
use crate::domain::record::WorkspaceStatus;
use crate::domain::time::Wall;
use std::cmp::Ordering;

/// The most address rules that one reason names.
const RULES_TOLD_MAX: usize = 8;
/// The most bytes of held permissions that one reason names.
const HELD_BYTES_MAX: usize = 400;

pub(super) fn of_standing(check: Check, explained: &Explained<'_>, case: &Case<'_>) -> String {
    let (key, now, prefix) = (case.key, case.now.wall, explained.prefix);
    match check {
        Check::Revoked => key.revoked_at().map_or("not revoked".to_owned(), |at| moment("revoked", at, now)),
        Check::Workspace => match case.workspace.status {
            WorkspaceStatus::Active => "the workspace is active".to_owned(),
            WorkspaceStatus::Suspended => "the workspace is suspended, until it is activated".to_owned(),
            WorkspaceStatus::Deleted => "the workspace is deleted, for good".to_owned(),
        },
        Check::Secret => match key.secret(explained.epoch) {
            None => format!("the secret {prefix} was replaced"),
            Some(secret) => match secret.end.moment() {
                None => format!("the secret {prefix} has no end"),
                Some(end) if now >= end => moment(&format!("the secret {prefix} ended"), end, now),
                Some(end) => moment(&format!("the secret {prefix} ends"), end, now),
            },
        },
        Check::Expired => match key.expiry.moment() {
            None => "no expiry".to_owned(),
            Some(end) if now >= end => moment("expired", end, now),
            Some(end) => moment("expires", end, now),
        },
        Check::Address => of_address(case),
        Check::Signature if key.requires_signature() => "demanded; explain cannot check one".to_owned(),
        Check::Signature => "none demanded".to_owned(),
        Check::Rate | Check::Permission | Check::Plan | Check::Quota => String::new(),
    }
}

fn of_address(case: &Case<'_>) -> String {
    let Some(rules) = &case.key.terms.addresses else { return "may be used from anywhere".to_owned() };
    let told = || {
        let (first, others) = (rules.iter().take(RULES_TOLD_MAX).collect::<Vec<_>>(), rules.iter().count());
        let others = others.saturating_sub(RULES_TOLD_MAX);
        if others == 0 { first.join(", ") } else { format!("{} and {others} more", first.join(", ")) }
    };
    match case.address {
        None => format!("no address is known; expected one of {}", told()),
        Some(address) => match rules.matching(address) {
            Some(rule) => format!("{address} is in {rule}"),
            None => format!("{address} is in none of {}", told()),
        },
    }
}

pub(super) fn of_rate(case: &Case<'_>, buckets: &Buckets<'_>, outcome: &Result<(), Denial>) -> String {
    let now = case.now.mono;
    let key = rates_of(case).into_iter().flat_map(|rates| {
        let states = buckets.key.rate_states(rates, now).into_iter().flatten();
        rates.iter().zip(states).map(|(rate, state)| ("", *rate, state))
    });
    let workspace = shared_rate_of(case)
        .map(|rate| (" for all keys of the workspace", *rate, buckets.workspace.state(rate, now)));
    let route =
        buckets.route.as_ref().map(|(rate, bucket)| (" for this alone", *rate, bucket.state(rate, now)));
    let all: Vec<_> = key.chain(workspace).chain(route).collect();
    let Some(least) = all.iter().map(|(_, _, state)| state.remaining).min() else {
        return "no rate applies".to_owned();
    };
    let is = |(whose, rate, _): &(&str, Rate, RateState)| {
        format!("{} each {} s, at most {} at once{whose}", rate.limit(), rate.window_secs(), rate.burst())
    };
    let are = all.iter().map(is).collect::<Vec<_>>().join("; ");
    match outcome {
        Err(Denial::Rate { retry_after_nanos: Some(nanos) }) => {
            format!("the bucket is empty, one token in {}; {are}", span(nanos.div_ceil(1000)))
        }
        Err(_) => "a rate of 0 admits nothing".to_owned(),
        Ok(()) => format!("tokens left: {least}; {are}"),
    }
}

pub(super) fn of_asked(check: Check, profile: &Profile, case: &Case<'_>, asked: Requirement) -> String {
    if check == Check::Plan {
        let plan = case.workspace.plan();
        return match (asked.paid, case.workspace.paid) {
            (false, _) => "asks for no paid plan".to_owned(),
            (true, true) => format!("the plan {plan} is paid"),
            (true, false) => format!("the plan {plan} is not paid"),
        };
    }
    let Some(needed) = asked.permission.and_then(|number| profile.catalogue.permission(number)) else {
        return "asks for no permission".to_owned();
    };
    format!("holds {}; needs {needed}", held(case.key.scopes()))
}

/// The permissions held, cut at a whole one.
fn held(scopes: &str) -> String {
    if scopes.is_empty() {
        return "nothing".to_owned();
    }
    let whole = scopes.get(..HELD_BYTES_MAX).and_then(|first| first.rfind(' '));
    let Some(first) = whole.and_then(|end| scopes.get(..end)) else { return scopes.replace(' ', ", ") };
    let others = scopes.split(' ').count() - first.split(' ').count();
    format!("{} and {others} more", first.replace(' ', ", "))
}

pub(super) fn of_refused(denial: &Denial) -> String {
    match denial {
        Denial::Method { allow } => format!("this route takes {}", allow.to_allow()),
        Denial::NotFound => "there is no such route".to_owned(),
        Denial::UnknownMethod => "there is no such method".to_owned(),
        _ => "there is no such tool; no permission opens it".to_owned(),
    }
}

pub(super) fn of_quota(
    explained: &Explained<'_>,
    case: &Case<'_>,
    asked: Requirement,
    meter_of: impl FnOnce(MeterNo) -> PeriodMeter,
) -> Finding {
    let Some(number) = asked.meter else {
        return Finding { check: Check::Quota, outcome: Ok(()), why: "not metered".to_owned() };
    };
    let (meter, cost) = (meter_of(number), explained.cost);
    let (used, name) = (meter.spent(), explained.profile.meter_name(number));
    let resets = moment("resets", meter.period().end, case.now.wall);
    let wants = if cost == 1 { String::new() } else { format!(", {cost} wanted") };
    let why = match case.workspace.terms(number).admitted {
        None => format!("{name}: {used} used, unlimited{wants}, {resets}"),
        Some(limit) => format!("{name}: {used} of {limit} used{wants}, {resets}"),
    };
    Finding { check: Check::Quota, outcome: would_buy(case, number, &meter, cost), why }
}

/// `expired 2 h ago, at 2026-…` or `expires in 2 h, at 2026-…`.
fn moment(what: &str, at: Wall, now: Wall) -> String {
    let when = match at.cmp(&now) {
        Ordering::Greater => format!("in {}", span(at.micros_since(now))),
        Ordering::Equal => "now".to_owned(),
        Ordering::Less => format!("{} ago", span(now.micros_since(at))),
    };
    format!("{what} {when}, at {}", at.to_rfc3339())
}

/// A span of time in the unit that says it best.
fn span(micros: u64) -> String {
    let (millis, secs) = (micros.div_ceil(1_000), micros / 1_000_000);
    match secs {
        0 => format!("{millis} ms"),
        1..=59 => format!("{secs}.{} s", micros / 100_000 % 10),
        60..=3_599 => format!("{} min", secs / 60),
        3_600..=172_799 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}
