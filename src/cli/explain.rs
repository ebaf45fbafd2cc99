//! `keyward key explain`: the attempt as it was typed, and the findings as a table.
//!
//! Never here: a verdict of our own; the daemon's is shown.

use serde_json::{Map, Value, json};

use super::arguments::AttemptArguments;
use super::output::{Output, cell};

/// The attempt as the daemon reads it: what was given, and nothing else.
pub(super) fn body(attempt: AttemptArguments) -> Value {
    let AttemptArguments { permission, method, path, tool, ip, cost, meter, prefix } = attempt;
    let texts = [
        ("permission", permission),
        ("method", method),
        ("path", path),
        ("tool", tool),
        ("ip", ip),
        ("meter", meter),
        ("prefix", prefix),
    ];
    let given = texts.into_iter().filter_map(|(field, value)| Some((field.to_owned(), json!(value?))));
    let mut body: Map<_, _> = given.collect();
    body.extend(cost.map(|cost| ("cost".to_owned(), json!(cost))));
    body.into()
}

/// The verdict on one line, then each check with its reason.
pub(super) fn show(value: &Value, output: &mut Output) {
    let allowed = value.get("allowed").and_then(Value::as_bool).unwrap_or(false);
    let code = cell(value.get("would_say").and_then(|said| said.get("code")));
    if allowed {
        output.line("allowed");
    } else {
        output.line(format_args!("denied by {} (code {code})", cell(value.get("denied_by"))));
    }
    output.line("");
    let checks = value.get("checks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let row = |finding: &Value| {
        let passes = finding.get("passes").and_then(Value::as_bool).unwrap_or(false);
        let verdict = if passes { "yes" } else { "NO" };
        vec![cell(finding.get("check")), verdict.to_owned(), cell(finding.get("why"))]
    };
    let head = ["CHECK", "PASSES", "WHY"].map(str::to_owned).to_vec();
    output.table(&std::iter::once(head).chain(checks.iter().map(row)).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::kept;
    use super::*;

    #[test]
    fn an_explanation_says_the_verdict_and_then_each_check() {
        let mut value = json!({"allowed": false, "denied_by": "expired", "would_say": {"code": "expired"}, "checks": [
            {"check": "revoked", "passes": true, "why": "not revoked"},
            {"check": "expired", "passes": false, "why": "expired 2 h ago, at T"},
        ]});
        let (mut output, out, _) = kept();
        show(&value, &mut output);
        assert_eq!(
            out.text(),
            "denied by expired (code expired)\n\nCHECK    PASSES  WHY\nrevoked  yes     not revoked\n\
             expired  NO      expired 2 h ago, at T\n"
        );
        value["allowed"] = json!(true);
        let (mut output, out, _) = kept();
        show(&value, &mut output);
        assert!(out.text().starts_with("allowed\n"));
    }
}
