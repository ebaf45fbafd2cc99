//! Where a caller's rates and its month stand, in headers.
//!
//! `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers from revision 08 on, lists
//! in structured fields (RFC 9651): every rate as a policy, and of them the one with the fewest tokens left.
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset` say the same of that one in the older form. `t` and `-Reset` are
//! whole seconds from now until it is full if nobody takes, rounded up; when the next request passes is
//! `Retry-After`.
//!
//! `X-Quota-Limit`, `-Remaining` and `-Reset` (RFC 3339) are the month's of the meter that the request is counted by,
//! `X-Quota-Mark` the furthest mark that it has passed: `80%`, `100%` or `grace`.
//!
//! Never here: a rate's own arithmetic, or headers for a caller without a rate or a limit.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::meter::Quota;
use crate::domain::rate::state::{LimitStates, RateOf, RateState};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const CURRENT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const QUOTA_LIMIT: HeaderName = HeaderName::from_static("x-quota-limit");
const QUOTA_REMAINING: HeaderName = HeaderName::from_static("x-quota-remaining");
const QUOTA_RESET: HeaderName = HeaderName::from_static("x-quota-reset");
const QUOTA_MARK: HeaderName = HeaderName::from_static("x-quota-mark");

/// What the draft's revisions before 08 called them, which many an upstream still sends.
const EARLIER: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// The largest whole number of a structured field (RFC 9651, section 3.3.1).
const FIELD_NUMBER_MAX: u64 = 999_999_999_999_999;

/// What most of these texts fit in, one behind the other.
const TEXTS_BYTES: usize = 96;

/// Which headers tell callers where their rates stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateHeaders {
    /// Those of the draft, and the older three.
    #[default]
    Both,
    /// Those of the draft alone.
    Draft,
    /// None.
    None,
}

impl RateHeaders {
    /// Writes them over whatever an upstream said under these names. Without a rate there is nothing to say, and
    /// what an upstream said stays.
    pub fn write(self, limit_states: &LimitStates, headers: &mut HeaderMap) {
        if self != Self::None && limit_states.tightest().is_some() {
            for name in [POLICY, CURRENT, LIMIT, REMAINING, RESET].into_iter().chain(EARLIER) {
                headers.remove(name);
            }
        }
        self.write_first(limit_states, headers);
    }

    /// Writes them into an answer of our own, which says nothing under these names yet.
    pub fn write_first(self, limit_states: &LimitStates, headers: &mut HeaderMap) {
        if self == Self::None {
            return;
        }
        if let Some(quota) = &limit_states.quota {
            write_quota(quota, headers);
        }
        let Some((of, tightest)) = limit_states.tightest() else { return };
        // All values lie in one piece of memory, and each header has its part of it.
        let mut text = BytesMut::with_capacity(TEXTS_BYTES);
        let mut put = |name: HeaderName, text: &mut BytesMut| {
            // Plain ASCII by its making.
            if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
                headers.insert(name, value);
            }
        };
        push_policies(&mut text, limit_states);
        put(POLICY, &mut text);
        push_current(&mut text, of, tightest);
        put(CURRENT, &mut text);
        if self == Self::Both {
            push_number(&mut text, tightest.limit);
            put(LIMIT, &mut text);
            push_number(&mut text, tightest.remaining);
            put(REMAINING, &mut text);
            if tightest.next_nanos.is_some() {
                push_number(&mut text, reset_secs(tightest));
                put(RESET, &mut text);
            }
        }
    }
}

fn write_quota(quota: &Quota, headers: &mut HeaderMap) {
    headers.insert(QUOTA_LIMIT, quota.limit.into());
    headers.insert(QUOTA_REMAINING, quota.remaining.into());
    // A time is plain ASCII.
    if let Ok(reset) = HeaderValue::try_from(quota.resets_at.to_rfc3339()) {
        headers.insert(QUOTA_RESET, reset);
    }
    match quota.threshold {
        Some(threshold) => headers.insert(QUOTA_MARK, HeaderValue::from_static(threshold.name())),
        None => headers.remove(QUOTA_MARK),
    };
}

/// Whole seconds until a rate is full if nobody takes, rounded up.
pub fn reset_secs(state: &RateState) -> u64 {
    state.reset_nanos.div_ceil(1_000_000_000)
}

fn push_policies(text: &mut BytesMut, limit_states: &LimitStates) {
    for (place, (of, state)) in limit_states.iter().enumerate() {
        if place > 0 {
            text.extend_from_slice(b", ");
        }
        push_name(text, of);
        text.extend_from_slice(b";q=");
        push_number(text, state.limit.min(FIELD_NUMBER_MAX));
        text.extend_from_slice(b";w=");
        push_number(text, state.window_secs.into());
    }
}

fn push_current(text: &mut BytesMut, of: RateOf, state: &RateState) {
    push_name(text, of);
    text.extend_from_slice(b";r=");
    push_number(text, state.remaining.min(FIELD_NUMBER_MAX));
    // Of one that never fills no time is told.
    if state.next_nanos.is_some() {
        text.extend_from_slice(b";t=");
        push_number(text, reset_secs(state));
    }
}

/// A policy's name, as a string of a structured field.
fn push_name(text: &mut BytesMut, of: RateOf) {
    match of {
        RateOf::Key => text.extend_from_slice(b"\"default\""),
        RateOf::Window(number) => {
            text.extend_from_slice(b"\"w");
            push_number(text, number as u64);
            text.extend_from_slice(b"\"");
        }
        RateOf::Workspace => text.extend_from_slice(b"\"workspace\""),
        RateOf::Route => text.extend_from_slice(b"\"route\""),
    }
}

/// A number in decimal. Each answer tells several, and the standard formatting costs several times as much.
fn push_number(text: &mut BytesMut, mut number: u64) {
    // `u64` has at most 20 digits.
    let mut digits = [0; 20];
    let mut first = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        (number, first) = (number / 10, place);
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::meter::thresholds::Threshold;
    use crate::domain::rate::bucket::Bucket;
    use crate::domain::rate::windows::Windows;
    use crate::domain::rate::{Rate, Rates};
    use crate::domain::time::Mono;

    fn limit_states(rates: &[(u64, u32)]) -> LimitStates {
        let rates = rates.iter().map(|(limit, window)| Rate::new(*limit, *window, None).unwrap()).collect();
        let (rates, now) = (Rates::new(rates).unwrap(), Mono::from_nanos(0));
        let mut windows = Windows::of(&Bucket::default()).unwrap();
        // A caller learns of its rates by taking, or by a refusal.
        match windows.take(&rates, 1, now) {
            Ok(_) => windows.told(&rates, now),
            Err(refused) => refused.marks.states(None),
        }
    }

    fn of_month(quota: Quota) -> LimitStates {
        let mut limit_states = LimitStates::default();
        limit_states.quota = Some(quota);
        limit_states
    }

    fn written(of: RateHeaders, limit_states: &LimitStates) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", HeaderValue::from_static("the upstream's"));
        headers.insert("x-ratelimit-limit", HeaderValue::from_static("the upstream's"));
        of.write(limit_states, &mut headers);
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn one_rate_is_told_in_both_forms() {
        let both = [
            "ratelimit-policy: \"default\";q=600;w=60",
            "ratelimit: \"default\";r=599;t=1",
            "x-ratelimit-limit: 600",
            "x-ratelimit-remaining: 599",
            "x-ratelimit-reset: 1",
        ];
        assert_eq!(written(RateHeaders::Both, &limit_states(&[(600, 60)])), both);
        assert_eq!(written(RateHeaders::Draft, &limit_states(&[(600, 60)])), both[..2]);
    }

    #[test]
    fn of_several_the_tightest_is_told_and_all_are_policies() {
        let told = written(RateHeaders::Draft, &limit_states(&[(600, 60), (10, 1)]));
        assert_eq!(
            told,
            ["ratelimit-policy: \"w1\";q=600;w=60, \"w2\";q=10;w=1", "ratelimit: \"w2\";r=9;t=1"]
        );
    }

    #[test]
    fn a_month_is_told_beside_the_rates_and_its_mark_once_it_is_passed() {
        let quota = |spent: u64, threshold| Quota {
            limit: 10,
            remaining: 10 - spent,
            threshold,
            resets_at: crate::domain::time::Wall::from_secs(1_800_000_000),
        };
        let told = |quota| {
            let lines = written(RateHeaders::Draft, &of_month(quota));
            lines.into_iter().filter(|line| line.starts_with("x-quota")).collect::<Vec<_>>()
        };
        assert_eq!(
            told(quota(7, None)),
            ["x-quota-limit: 10", "x-quota-remaining: 3", "x-quota-reset: 2027-01-15T08:00:00.000Z"]
        );
        assert_eq!(told(quota(8, Some(Threshold::Eighty)))[1], "x-quota-mark: 80%");
        assert_eq!(written(RateHeaders::None, &of_month(quota(7, None))).len(), 2);
    }

    #[test]
    fn a_rate_of_nothing_and_one_beyond_a_fields_numbers_are_told() {
        let told = written(RateHeaders::Draft, &limit_states(&[(0, 60)]));
        assert_eq!(told, ["ratelimit-policy: \"default\";q=0;w=60", "ratelimit: \"default\";r=0"]);
        let told = written(RateHeaders::Draft, &limit_states(&[(2_678_400_000_000, 2_678_400)]));
        assert!(told[0].contains("q=2678400000000;"), "{told:?}");
    }

    #[test]
    fn what_an_upstream_says_under_earlier_names_does_not_stand_beside_ours() {
        for (limit_states, kept) in [(limit_states(&[(600, 60)]), 0), (LimitStates::default(), 3)] {
            let mut headers = HeaderMap::new();
            for name in EARLIER {
                headers.insert(name, HeaderValue::from_static("5"));
            }
            RateHeaders::Both.write(&limit_states, &mut headers);
            assert_eq!(EARLIER.iter().filter(|name| headers.contains_key(*name)).count(), kept);
        }
    }

    #[test]
    fn a_number_is_written_as_the_standard_writes_it() {
        for number in [0, 9, 10, 99, 100, 12_345, FIELD_NUMBER_MAX, u64::MAX] {
            let mut text = BytesMut::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn in_an_answer_of_our_own_the_same_is_said() {
        for limit_states in
            [limit_states(&[(600, 60), (10, 1)]), limit_states(&[(0, 60)]), LimitStates::default()]
        {
            let [mut over, mut first] = [HeaderMap::new(), HeaderMap::new()];
            RateHeaders::Both.write(&limit_states, &mut over);
            RateHeaders::Both.write_first(&limit_states, &mut first);
            assert_eq!(over, first);
        }
    }

    #[test]
    fn a_rate_that_never_fills_has_no_time_of_being_full() {
        let told = written(RateHeaders::Both, &limit_states(&[(0, 60)]));
        assert!(!told.iter().any(|line| line.starts_with("x-ratelimit-reset")), "{told:?}");
    }

    #[test]
    fn without_a_rate_or_a_wish_to_tell_the_upstreams_own_stay() {
        let own = ["ratelimit: the upstream's", "x-ratelimit-limit: the upstream's"];
        assert_eq!(written(RateHeaders::Both, &LimitStates::default()), own);
        assert_eq!(written(RateHeaders::None, &limit_states(&[(600, 60)])), own);
    }
}
