//! `keyward clock`: the time that a running daemon goes by, and the word that the machine's clock is right.
//!
//! With `--json` the daemon's answer is printed as it came.
//!
//! Never here: a reading of this machine's own clock, which may be another one than the daemon's.

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

use super::admin_client::AdminClient;
use super::arguments::ReachArguments;
use super::failure::CliError;
use super::output::{Output, cell};

#[derive(Subcommand, Debug)]
pub(super) enum ClockCommand {
    /// Show the time that the daemon goes by, the machine's, and how they stand to each other
    Show {
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Let the daemon go by the machine's clock as it stands now, forward or back; check that clock first
    Confirm {
        #[command(flatten)]
        reach: ReachArguments,
    },
}

/// Runs a `clock` command.
pub(super) async fn clock(command: ClockCommand, json: bool, output: &mut Output) -> Result<(), CliError> {
    let (method, path, reach) = match &command {
        ClockCommand::Show { reach } => (Method::GET, "/api/v1/clock", reach),
        ClockCommand::Confirm { reach } => (Method::POST, "/api/v1/clock/confirm", reach),
    };
    let answer = AdminClient::reach(reach)?.call(method, path, None).await?;
    if json {
        output.line(&answer.text);
    } else {
        show(&answer.value, output);
    }
    Ok(())
}

fn show(value: &Value, output: &mut Output) {
    let rows = ["believed", "machine", "mark", "state", "by_s"]
        .map(|name| vec![name.to_owned(), cell(value.get(name))]);
    output.table(&rows);
    if let Some(advice) = value.get("state").and_then(Value::as_str).and_then(advice) {
        output.remark(advice);
    }
}

/// What a state means, and what a confirmation would do.
fn advice(state: &str) -> Option<&'static str> {
    match state {
        "ahead" => Some(
            "The machine's clock went ahead and is not believed. Set it right; or, if it is right, `keyward clock confirm` moves believed time forward: keys whose time is up expire, and a new billing period may begin.",
        ),
        "behind" => Some(
            "The machine's clock is behind. Believed time goes on at half speed until that has caught up; `keyward clock confirm` moves it back at once: keys that expired meanwhile may be good again, and a billing period may go on.",
        ),
        "ahead_at_start" => Some(
            "At the start the machine's clock was more than a day ahead of the last run, and it is believed. If it is right, `keyward clock confirm` ends this remark; if not, set it right first.",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::tests::kept;
    use super::*;
    use crate::domain::believed_time::ClockState;

    #[test]
    fn a_state_that_is_odd_says_what_a_confirmation_would_do() {
        for state in ClockState::NAMES {
            let value = json!({"believed": "T1", "machine": "T2", "mark": null, "state": state, "by_s": 7});
            let (mut output, out, err) = kept();
            show(&value, &mut output);
            let shown = format!("believed  T1\nmachine   T2\nmark      -\nstate     {state}\nby_s      7\n");
            assert_eq!(out.text(), shown);
            assert_eq!(err.text().contains("`keyward clock confirm`"), state != "ok", "{state}");
        }
    }
}
