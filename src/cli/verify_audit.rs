//! `keyward verify-audit`: whether the audit log is what was written.
//!
//! A running daemon has its file to itself, so it is asked; else the file is opened here. Both tell the same.
//!
//! Never here: a check; the core has the one.

use std::path::PathBuf;

use hyper::Method;
use serde_json::Value;

use super::admin_client::AdminClient;
use super::arguments::{ReachArguments, VerifyAuditArguments};
use super::failure::CliError;
use super::key_file::read_admin_key;
use super::output::{Output, cell};
use super::reach::Reach;
use crate::app::{AuditUnreadable, verify_audit};
use crate::config::{self, Flags};
use crate::domain::audit::seal::AuditHead;
use crate::surface::admin::audit_verdict;

/// The first admin key's file, where it lies in the data directory, as the demo's does.
const KEY_FILE: &str = "admin.key";

/// Checks the log and tells what came of it; anything but a whole log is a failure.
pub(super) async fn run(
    arguments: VerifyAuditArguments,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let VerifyAuditArguments { data, anchor, mut reach } = arguments;
    let directory = match (data, &reach.config, &reach.admin) {
        (Some(directory), _, None) => Some(directory),
        (None, Some(path), None) => {
            Some(config::load(path, &Flags::default()).map_err(CliError::Config)?.data_dir)
        }
        (_, _, Some(_)) | (None, None, None) => None,
    };
    let opened = directory.as_ref().map(|directory| verify_audit(directory, anchor));
    let found = match opened {
        Some(Ok(found)) => audit_verdict(&found),
        Some(Err(AuditUnreadable::InUse { .. })) | None => {
            if reach.config.is_none() && reach.admin_key_file.is_none() {
                let beside = directory.map(|directory| directory.join(KEY_FILE));
                reach.admin_key_file = beside.filter(|path: &PathBuf| path.exists());
            }
            ask(&reach, anchor, output).await?
        }
        Some(Err(error)) => return Err(error.into()),
    };
    if json {
        output.line(&found);
    } else {
        tell(&found, output);
    }
    judge(&found)
}

/// Asks a running daemon.
async fn ask(
    reach: &ReachArguments,
    anchor: Option<AuditHead>,
    output: &mut Output,
) -> Result<Value, CliError> {
    let reach = Reach::find(reach)?;
    let key = read_admin_key(&reach.key_file)?;
    output.remark(format_args!("The daemon at {} is asked.", reach.admin));
    let client = AdminClient::new(reach.admin, &key);
    let query = anchor.map(|anchor| format!("?anchor={anchor}")).unwrap_or_default();
    Ok(client.call(Method::GET, &format!("/api/v1/audit/verify{query}"), None).await?.value)
}

fn tell(found: &Value, output: &mut Output) {
    for problem in list(found, "problems") {
        output.line(cell(problem.get("detail")));
    }
    let untold = number(found, "problems_total").saturating_sub(list(found, "problems").len() as u64);
    if untold > 0 {
        output.line(format_args!("and {untold} more"));
    }
    let unsealed = number(found, "unsealed_rows");
    if unsealed > 0 {
        output.line(format_args!("{unsealed} rows are older than seals"));
    }
    for unknown in list(found, "unknown_install_secrets") {
        output.line(format_args!(
            "{} rows from {} to {} have a seal that cannot be checked: install secret {} is not here",
            number(unknown, "rows"),
            number(unknown, "first"),
            number(unknown, "last"),
            cell(unknown.get("install_secret")),
        ));
    }
    let is_whole = found.get("whole").and_then(Value::as_bool) == Some(true);
    if is_whole {
        output.line(format_args!("the audit log is whole: {} rows", number(found, "rows")));
        if let Some(head) = found.get("head").filter(|head| head.is_object()) {
            output.line(format_args!("newest row: {}:{}", number(head, "seq"), cell(head.get("hash"))));
            output.remark("Kept elsewhere, the newest row is an --anchor: a log cut behind it is found out.");
        }
    }
}

fn judge(found: &Value) -> Result<(), CliError> {
    if found.get("whole").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let problems = number(found, "problems_total");
    if problems > 0 {
        return Err(CliError::Audit(format!("the audit log is not what was written: {problems} problem(s)")));
    }
    let first = number(found, "covered_to") + 1;
    Err(CliError::Audit(format!(
        "nothing is wrong as far as can be seen, but rows from {first} on are covered by no seal that can be checked: put the install secret back that sealed them, or give an --anchor"
    )))
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::tests::kept;
    use super::*;

    fn told(found: &Value) -> (String, Result<(), String>) {
        let (mut output, out, _) = kept();
        tell(found, &mut output);
        (out.text(), judge(found).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_whole_log_is_told_with_its_newest_row() {
        let found = json!({"whole": true, "rows": 3, "head": {"seq": 3, "hash": "ab"}, "problems": []});
        assert_eq!(told(&found), ("the audit log is whole: 3 rows\nnewest row: 3:ab\n".to_owned(), Ok(())));
    }

    #[test]
    fn what_is_wrong_is_told_and_fails() {
        let found =
            json!({"whole": false, "problems": [{"detail": "row 2 is missing"}], "problems_total": 4});
        let (text, end) = told(&found);
        assert_eq!(text, "row 2 is missing\nand 3 more\n");
        assert!(end.unwrap_err().contains("4 problem"));
    }

    #[test]
    fn what_cannot_be_checked_is_told_apart_from_what_is_wrong() {
        let unknown = json!({"install_secret": "0a", "first": 2, "last": 9, "rows": 5});
        let found = json!({"whole": false, "covered_to": 4, "unsealed_rows": 1, "unknown_install_secrets": [unknown]});
        let (text, end) = told(&found);
        assert!(text.starts_with("1 rows are older than seals\n5 rows from 2 to 9 have a seal"), "{text}");
        assert!(end.unwrap_err().contains("rows from 5 on"));
    }

    #[test]
    fn an_answer_without_a_verdict_is_no_whole_log() {
        assert!(judge(&json!({})).is_err());
    }
}
