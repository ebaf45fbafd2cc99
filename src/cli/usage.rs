//! `keyward key usage`: what is asked, and the report as two tables.
//!
//! Times are passed on as they were typed and judged by the daemon.
//!
//! Never here: a figure of our own.

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::arguments::ReachArguments;
use super::output::{Output, cell};

#[derive(Args, Debug)]
pub(super) struct UsageArguments {
    /// The key's id
    pub(super) id: String,
    /// From when, such as 2027-01-31T00:00:00Z [default: the last 24 hours, or 30 days]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// By `hour`, kept for 35 days, or by `day`, kept for 400 [default: hour]
    #[arg(long, value_name = "hour|day")]
    step: Option<String>,
    #[command(flatten)]
    pub(super) reach: ReachArguments,
}

impl UsageArguments {
    /// The query of the call.
    pub(super) fn query(&self) -> String {
        let given = [("from", &self.from), ("to", &self.to), ("step", &self.step)];
        let given = given.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let pairs =
            given.map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The steps that saw requests, then the places.
pub(super) fn show(value: &Value, output: &mut Output) {
    let list = |name| value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_busy = |entry: &&Value| entry.get("requests").and_then(Value::as_u64) != Some(0);
    let (data, places) = (list("data"), list("places"));
    let total = row("TOTAL".to_owned(), value.get("total").unwrap_or(&Value::Null));
    let busy = data.iter().filter(is_busy).map(|entry| row(cell(entry.get("at")), entry));
    let columns = ["requests", "valid", "refused", "answers", "error rate"];
    let head = |first: &str| {
        std::iter::once(first.to_owned()).chain(columns.map(str::to_uppercase)).collect::<Vec<_>>()
    };
    output.table(&std::iter::once(head("AT")).chain(busy).chain([total]).collect::<Vec<_>>());
    if !places.is_empty() {
        output.line("");
        let rows = places.iter().map(|entry| row(cell(entry.get("place")), entry));
        output.table(&std::iter::once(head("PLACE")).chain(rows).collect::<Vec<_>>());
    }
}

fn row(first: String, entry: &Value) -> Vec<String> {
    let words = |name| {
        let words = entry.get(name).and_then(Value::as_object).filter(|words| !words.is_empty());
        let words = words?
            .iter()
            .map(|(word, count)| format!("{}:{}", super::output::plain(word), cell(Some(count))));
        Some(words.collect::<Vec<_>>().join(","))
    };
    let shown = |name: &str| cell(entry.get(name));
    let listed = |name| words(name).unwrap_or_else(|| "-".to_owned());
    vec![first, shown("requests"), shown("valid"), listed("refused"), listed("answers"), shown("error_rate")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::tests::kept;
    use super::*;

    #[test]
    fn a_report_shows_the_steps_that_saw_requests_and_then_the_places() {
        let none =
            json!({"at": "T1", "requests": 0, "valid": 0, "refused": {}, "answers": {}, "error_rate": null});
        let some = json!({"requests": 5, "valid": 3, "refused": {"rate": 2}, "answers": {"5xx": 1, "ok": 2}, "error_rate": 0.3333});
        let with = |name: &str, which: &str| {
            let mut entry = some.clone();
            entry[name] = json!(which);
            entry
        };
        let value =
            json!({"data": [none, with("at", "T2")], "places": [with("place", "GET /a")], "total": some});
        let (mut output, out, _) = kept();
        show(&value, &mut output);
        assert_eq!(
            out.text(),
            "AT     REQUESTS  VALID  REFUSED  ANSWERS     ERROR RATE\n\
             T2     5         3      rate:2   5xx:1,ok:2  0.3333\n\
             TOTAL  5         3      rate:2   5xx:1,ok:2  0.3333\n\n\
             PLACE   REQUESTS  VALID  REFUSED  ANSWERS     ERROR RATE\n\
             GET /a  5         3      rate:2   5xx:1,ok:2  0.3333\n"
        );
    }
}
