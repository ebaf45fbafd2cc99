//! What a key did: by hour or by day, by place, and in all.
//!
//! Every step of the span has its entry, one without requests too, so that a chart needs no arithmetic. The
//! figures are exact at the moment of the answer.
//!
//! Never here: the counting (engine).

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::super::spoken::json as answer;
use super::intake::{Query, refused};
use super::keys::id;
use super::{Answered, Call};
use crate::dialect::AdminRefusal;
use crate::domain::time::Wall;
use crate::domain::usage::{HOURS_OF_DAY, PlaceUsage, UsageRow, hour_of};
use crate::engine::{UsageSpan, UsageStep};

/// Hours of a report that does not say from when.
const HOURS_DEFAULT: u32 = 24;
/// Days of a report that does not say from when.
const DAYS_DEFAULT: u32 = 30;

pub(super) async fn of_key(call: Call<'_>) -> Answered {
    let key = id(&call)?;
    let query = Query::read(call.query, &["from", "to", "step"])?;
    let span = span(&query, call.engine.clock().now().wall)?;
    // Only to say that there is none.
    call.engine.key_view(key).await?;
    let report = call.engine.key_usage(key, span.clone()).await?;
    let mut all = UsageRow::default();
    for row in report.values() {
        all.merge(row);
    }
    let entry = |number: u32| {
        let counted = report.get(&number).map(UsageRow::total).unwrap_or_default();
        shown("at", json!(span.step.start(number).to_rfc3339()), &counted)
    };
    let body = json!({
        "key_id": key.to_string(),
        "step": name(span.step),
        "from": span.step.start(span.numbers.start).to_rfc3339(),
        "to": span.step.start(span.numbers.end).to_rfc3339(),
        "data": span.numbers.clone().map(entry).collect::<Vec<_>>(),
        "places": all.places().map(|(place, counted)| shown("place", json!(place), counted)).collect::<Vec<_>>(),
        "total": figures(&all.total()),
    });
    Ok(answer(StatusCode::OK, &body))
}

/// What is asked for, whole steps of it: the one that `from` lies in to the one that `to` lies in or ends.
fn span(query: &Query<'_>, now: Wall) -> Result<UsageSpan, AdminRefusal> {
    let step = match query.get("step") {
        None | Some("hour") => UsageStep::Hour,
        Some("day") => UsageStep::Day,
        Some(_) => return Err(refused("step", "hour or day")),
    };
    let moment = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => {
            let expected = "a time as RFC 3339 writes it, such as 2027-01-31T00:00:00Z (a + as %2B)";
            Wall::parse(text).map(Some).ok_or_else(|| refused(name, expected))
        }
    };
    let number = |at: Wall| step.of_hour(hour_of(at));
    let (from, to) = (moment("from")?, moment("to")?);
    // The last step is the one that the microsecond before `to` lies in.
    let last = to.map_or(now, |to| Wall::from_micros(to.micros().saturating_sub(1)));
    let (end, kept) = (number(last).saturating_add(1), step.kept());
    let by_default = match step {
        UsageStep::Hour => HOURS_DEFAULT,
        UsageStep::Day => DAYS_DEFAULT,
    };
    let start = from.map_or_else(|| end.saturating_sub(by_default), number);
    if from.is_some_and(|from| from > last) {
        return Err(refused("from", "a time before `to`, which is now unless it is given"));
    }
    let first_kept = number(now).saturating_sub(kept);
    if start < first_kept {
        let since = step.start(first_kept).to_rfc3339();
        return Err(refused(
            "from",
            match step {
                UsageStep::Hour => format!(
                    "a time since {since}: hours are kept for {} days; ask with step=day for what is older",
                    kept / HOURS_OF_DAY
                ),
                UsageStep::Day => format!("a time since {since}: days are kept for {kept} days"),
            },
        ));
    }
    if end - start > kept.saturating_add(1) {
        return Err(refused("to", format!("a time at most {kept} {}s behind `from`", name(step))));
    }
    Ok(UsageSpan { step, numbers: start..end })
}

const fn name(step: UsageStep) -> &'static str {
    match step {
        UsageStep::Hour => "hour",
        UsageStep::Day => "day",
    }
}

fn shown(what: &str, which: Value, counted: &PlaceUsage) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert(what.to_owned(), which);
    entry.extend(figures(counted));
    entry
}

fn figures(counted: &PlaceUsage) -> Map<String, Value> {
    let (answered, failed) = counted.answered();
    let words = |words: &BTreeMap<_, u64>| {
        words
            .iter()
            .map(|(word, count): (&std::borrow::Cow<'_, str>, _)| (word.to_string(), json!(count)))
            .collect::<Map<_, _>>()
    };
    let mut figures = Map::new();
    figures.insert("requests".to_owned(), json!(counted.requests()));
    figures.insert("valid".to_owned(), json!(counted.valid));
    figures.insert("refused".to_owned(), words(&counted.refused).into());
    figures.insert("answers".to_owned(), words(&counted.answers).into());
    figures.insert("error_rate".to_owned(), json!(share(failed, answered)));
    figures
}

/// A share to four places; none of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    let ten_thousandths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let ten_thousandths = u32::try_from(ten_thousandths).unwrap_or(u32::MAX);
    (whole > 0).then(|| f64::from(ten_thousandths) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<(String, String, usize), String> {
        let query = Query::read(Some(query), &["from", "to", "step"]).map_err(|_| "query".to_owned())?;
        match span(&query, Wall::parse("2027-03-10T12:30:00Z").unwrap()) {
            Ok(UsageSpan { step, numbers }) => {
                let at = |number| step.start(number).to_rfc3339()[..13].to_owned();
                Ok((at(numbers.start), at(numbers.end), numbers.len()))
            }
            Err(AdminRefusal::Field { detail }) => Err(detail),
            Err(_) => Err("another refusal".to_owned()),
        }
    }

    #[test]
    fn a_span_is_whole_steps_and_ends_with_the_present_one() {
        let cases = [
            ("", ("2027-03-09T13", "2027-03-10T13", 24)),
            ("step=day", ("2027-02-09T00", "2027-03-11T00", 30)),
            ("from=2027-03-10T10:59:59Z&to=2027-03-10T12:00:00Z", ("2027-03-10T10", "2027-03-10T12", 2)),
            (
                "from=2027-03-10T10:00:00Z&to=2027-03-10T10:00:00.000001Z",
                ("2027-03-10T10", "2027-03-10T11", 1),
            ),
            (
                "step=day&from=2027-03-09T23:00:00Z&to=2027-03-10T01:00:00Z",
                ("2027-03-09T00", "2027-03-11T00", 2),
            ),
            ("from=2027-02-03T12:00:00Z", ("2027-02-03T12", "2027-03-10T13", 841)),
            ("to=2027-03-01T00:00:00Z", ("2027-02-28T00", "2027-03-01T00", 24)),
        ];
        for (query, (from, to, entries)) in cases {
            assert_eq!(asked(query), Ok((from.to_owned(), to.to_owned(), entries)), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told_with_what_can() {
        for (query, told) in [
            ("step=week", "hour or day"),
            ("from=yesterday", "RFC 3339"),
            ("to=2027-03-10", "RFC 3339"),
            ("from=2027-03-10T12:00:00Z&to=2027-03-10T12:00:00Z", "before `to`"),
            ("from=2027-03-11T00:00:00Z", "before `to`"),
            ("from=2027-02-03T11:59:59Z", "2027-02-03T12:00:00.000Z: hours are kept for 35 days"),
            ("step=day&from=2026-02-02T23:59:59Z", "2026-02-03T00:00:00.000Z: days are kept for 400 days"),
            ("to=2000-01-01T00:00:00Z", "hours are kept"),
            ("from=2027-03-10T00:00:00Z&to=2030-01-01T00:00:00Z", "at most 840 hours behind"),
        ] {
            let detail = asked(query).unwrap_err();
            assert!(detail.contains(told), "{query}: {detail}");
        }
    }

    #[test]
    fn an_error_rate_is_a_share_of_what_was_answered() {
        assert_eq!(
            [share(0, 0), share(0, 7), share(1, 3), share(7, 7)],
            [None, Some(0.0), Some(0.3333), Some(1.0)]
        );
        assert_eq!(share(u64::MAX, u64::MAX), Some(1.0));
    }
}
