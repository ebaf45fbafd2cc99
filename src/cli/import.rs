//! `keyward key import FILE`: a dry run of the whole file, and with `--yes` the import itself.
//!
//! The daemon judges every record; here a file becomes records and a report has lines. What cannot be read as a
//! record refuses its own line. A second run of a file finds what is there and makes nothing twice, so a run that
//! broke off is run again.
//!
//! Never here: a key in a report or an error.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::admin_calls::workspace_id;
use super::admin_client::{AdminClient, ClientError};
use super::arguments::{ImportArguments, ImportFormat};
use super::failure::CliError;
use super::output::{Output, cell};
use crate::surface::admin::{SHAPE_FIELDS, record_fields};

/// The most bytes of a file: a million records with little more than a hash. It is read whole.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The most records of one call that writes, answered in a while, and of a dry run: what the daemon takes. It
/// judges a call as a whole, so a file in one call is judged as it will be written.
const CALL_RECORDS_MAX: usize = 1_000;
const REHEARSED_RECORDS_MAX: usize = 10_000;
/// The most bytes of records of one call: below what the daemon takes.
const CALL_BYTES_MAX: usize = 6 << 20;
/// For one call: a thousand slow hashes on a small machine.
const CALL_TIME_MAX: Duration = Duration::from_mins(5);

/// The columns of a file: fields of a record, and of its shape in the place of the shape.
fn known_columns() -> Vec<&'static str> {
    record_fields().into_iter().filter(|field| *field != "shape").chain(SHAPE_FIELDS).collect()
}

/// Imports a file.
pub(super) async fn import(
    arguments: ImportArguments,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let workspace = arguments.workspace.as_deref().map(workspace_id).transpose()?;
    let mut beside = Map::new();
    if let Some(workspace) = workspace {
        beside.insert("workspace_id".to_owned(), json!(workspace.to_string()));
    }
    beside.extend(shape(&arguments).map(|shape| ("shape".to_owned(), shape)));
    let client = AdminClient::reach(&arguments.reach)?;
    let format = arguments.format.unwrap_or_else(|| format_of(&arguments.file));
    let lines = read(&arguments.file, format)?;
    let import = Import { client: &client, beside, lines: &lines };
    let (rehearsed, failed) = import.pass(true).await;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let parts = parts(&lines, REHEARSED_RECORDS_MAX).count();
    if parts > 1 {
        output.remark(format_args!(
            "The file is so large that it was judged in {parts} parts, each by itself: when it is written, lines \
             that repeat a key of an earlier part, or find the places of its prefix or shape taken by then, are \
             refused too."
        ));
    }
    if !arguments.yes {
        show(&rehearsed, true, json, output);
        let taken = rehearsed.iter().filter(|line| line.is_taken()).count();
        output.remark(format_args!("Nothing was written. With --yes, {taken} of {} are.", lines.len()));
        return ended(&rehearsed);
    }
    if !json {
        let would = rehearsed.iter().filter(|line| line.is_taken()).count();
        output.remark(format_args!("Dry run: {would} of {} would be taken. Writing them.", lines.len()));
    }
    let (written, failed) = import.pass(false).await;
    show(&written, false, json, output);
    if let Some(error) = failed {
        output.remark("The import broke off; run it again, nothing is made twice.");
        return Err(error.into());
    }
    ended(&written)
}

fn ended(report: &[ReportLine]) -> Result<(), CliError> {
    let refused = report.iter().filter(|line| !line.is_taken()).count();
    if refused == 0 { Ok(()) } else { Err(CliError::Import { refused, all: report.len() }) }
}

fn shape(arguments: &ImportArguments) -> Option<Value> {
    let length = arguments.length?;
    let mut shape = json!({
        "tag": arguments.tag.as_deref().unwrap_or_default(),
        "length_min": length.0,
        "length_max": length.1,
        "alphabet": arguments.alphabet,
    });
    if let (Some(length), Some(shape)) = (arguments.head_length, shape.as_object_mut()) {
        shape.insert("head_length".to_owned(), json!(length));
    }
    Some(shape)
}

fn format_of(file: &Path) -> ImportFormat {
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_csv { ImportFormat::Csv } else { ImportFormat::Jsonl }
}

/// One line of a file: a record, or why it is none.
struct Line {
    number: u64,
    record: Result<Zeroizing<String>, String>,
}

/// What the report says of one line.
struct ReportLine {
    number: u64,
    said: Map<String, Value>,
}

impl ReportLine {
    fn refused(number: u64, why: &str) -> Self {
        let said = [("status", "refused"), ("why", why)];
        Self { number, said: said.into_iter().map(|(name, text)| (name.to_owned(), json!(text))).collect() }
    }

    fn is_taken(&self) -> bool {
        self.said.get("status").and_then(Value::as_str).is_some_and(|status| status != "refused")
    }
}

struct Import<'a> {
    client: &'a AdminClient,
    beside: Map<String, Value>,
    lines: &'a [Line],
}

impl Import<'_> {
    /// Sends every record. What was answered until a call failed is in the report, in the order of lines.
    async fn pass(&self, dry_run: bool) -> (Vec<ReportLine>, Option<ClientError>) {
        let mut report = Vec::with_capacity(self.lines.len());
        for call in parts(self.lines, if dry_run { REHEARSED_RECORDS_MAX } else { CALL_RECORDS_MAX }) {
            match self.call(call, dry_run).await {
                Ok(said) => report.extend(said),
                Err(error) => return (report, Some(error)),
            }
        }
        (report, None)
    }

    async fn call(&self, lines: &[Line], dry_run: bool) -> Result<Vec<ReportLine>, ClientError> {
        let records: Vec<&str> =
            lines.iter().filter_map(|line| line.record.as_ref().ok()).map(|record| record.as_str()).collect();
        let mut answers = if records.is_empty() {
            Vec::new().into_iter()
        } else {
            let mut body = String::from("{");
            for (name, value) in &self.beside {
                let _ = write!(body, "\"{name}\":{value},");
            }
            let _ = write!(body, "\"dry_run\":{dry_run},\"keys\":[{}]}}", records.join(","));
            let (path, body) = ("/api/v1/keys/import", Some(Bytes::from(body)));
            let answer = self.client.call_within(CALL_TIME_MAX, Method::POST, path, body).await?;
            let results = answer.value.get("results").and_then(Value::as_array).cloned();
            results.unwrap_or_default().into_iter()
        };
        let said = |line: &Line| match &line.record {
            Err(why) => ReportLine::refused(line.number, why),
            Ok(_) => match answers.next() {
                Some(Value::Object(mut said)) => {
                    said.remove("index");
                    ReportLine { number: line.number, said }
                }
                _ => ReportLine::refused(line.number, "the daemon did not say what became of it"),
            },
        };
        Ok(lines.iter().map(said).collect())
    }
}

/// The lines, one call's after the other's.
fn parts(lines: &[Line], records_max: usize) -> impl Iterator<Item = &[Line]> {
    let mut left = lines;
    std::iter::from_fn(move || {
        let (call, rest) = left.split_at_checked(fitting(left, records_max)).unwrap_or((left, &[]));
        left = rest;
        (!call.is_empty()).then_some(call)
    })
}

/// How many of the first lines fit into one call; at least one.
fn fitting(lines: &[Line], records_max: usize) -> usize {
    let mut bytes = 0;
    let fits = lines.iter().take(records_max).take_while(|line| {
        bytes += line.record.as_ref().map_or(0, |record| record.len() + 1);
        bytes <= CALL_BYTES_MAX
    });
    fits.count().max(1)
}

fn show(report: &[ReportLine], dry_run: bool, json: bool, output: &mut Output) {
    let taken = report.iter().filter(|line| line.is_taken()).count();
    let refused = report.len() - taken;
    if json {
        let results: Vec<_> = report
            .iter()
            .map(|line| {
                let mut said = Map::from_iter([("line".to_owned(), json!(line.number))]);
                said.extend(line.said.clone());
                Value::Object(said)
            })
            .collect();
        output.line(json!({"dry_run": dry_run, "taken": taken, "refused": refused, "results": results}));
        return;
    }
    let columns = ["status", "id", "prefix", "why"];
    let head = std::iter::once("LINE".to_owned()).chain(columns.map(str::to_uppercase)).collect();
    let row = |line: &ReportLine| {
        let cells = columns.iter().map(|column| cell(line.said.get(*column)));
        std::iter::once(line.number.to_string()).chain(cells).collect()
    };
    output.table(&std::iter::once(head).chain(report.iter().map(row)).collect::<Vec<_>>());
    output.line(format_args!(
        "{taken} {}, {refused} refused",
        if dry_run { "would be taken" } else { "taken" }
    ));
}

fn read(file: &Path, format: ImportFormat) -> Result<Vec<Line>, CliError> {
    let failed = |source| CliError::File { path: PathBuf::from(file), action: "read", source };
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(CliError::Usage(format!(
            "the file is too large: expected at most {} MiB",
            FILE_BYTES_MAX >> 20
        )));
    }
    let bytes = Zeroizing::new(std::fs::read(file).map_err(failed)?);
    let not_text = || CliError::Usage("the file is not UTF-8".to_owned());
    let text = std::str::from_utf8(&bytes).map_err(|_| not_text())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        ImportFormat::Jsonl => Ok(of_json_lines(text)),
        ImportFormat::Csv => of_csv(text),
    }
}

fn of_json_lines(text: &str) -> Vec<Line> {
    let filled = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    filled
        .map(|(number, line)| {
            let line = line.trim();
            // Read as it is and not as a value, which would keep the last of two equal members.
            let is_object = line.starts_with('{') && serde_json::from_str::<&RawValue>(line).is_ok();
            let record = Some(Zeroizing::new(line.to_owned())).filter(|_| is_object);
            Line { number, record: record.ok_or_else(|| "expected one JSON object on this line".to_owned()) }
        })
        .collect()
}

fn of_csv(text: &str) -> Result<Vec<Line>, CliError> {
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let unreadable =
        || CliError::Usage("the first line cannot be read: expected the names of the columns".to_owned());
    let columns = rows.headers().map_err(|_| unreadable())?.clone();
    let known = known_columns();
    for (place, column) in (1..).zip(&columns) {
        let is_known = known.contains(&column.trim());
        let is_doubled = columns.iter().filter(|other| other.trim() == column.trim()).count() > 1;
        if !is_known || is_doubled {
            // Not repeated: where the first line is missing, a key may stand here.
            let detail = format!(
                "column {place} of the first line: expected each of these at most once: {}",
                known.join(", ")
            );
            return Err(CliError::Usage(detail));
        }
    }
    let columns: Vec<_> = columns.iter().map(str::trim).collect();
    Ok((2..)
        .zip(rows.records())
        .map(|(place, row)| match row {
            Ok(row) => {
                let number = row.position().map_or(place, csv::Position::line);
                if row.len() == columns.len() {
                    Line { number, record: of_row(&columns, &row) }
                } else {
                    Line { number, record: Err(format!("expected {} cells", columns.len())) }
                }
            }
            Err(_) => Line { number: place, record: Err("not readable as CSV".to_owned()) },
        })
        .collect())
}

/// One row as a record; an empty cell is left out.
fn of_row(columns: &[&str], row: &csv::StringRecord) -> Result<Zeroizing<String>, String> {
    let mut shape = Map::new();
    let mut record = Map::new();
    for (column, text) in columns.iter().zip(row).filter(|(_, text)| !text.is_empty()) {
        let number =
            || text.parse::<u64>().map(Value::from).map_err(|_| format!("{column}: expected a number"));
        let words = || json!(text.split_whitespace().collect::<Vec<_>>());
        let parsed = || serde_json::from_str(text).map_err(|_| format!("{column}: expected JSON"));
        let value = match *column {
            "length" | "length_min" | "length_max" | "head_length" => number()?,
            "permissions" | "ip_allow" => words(),
            "metadata" | "rate" => parsed()?,
            "random" | "require_signature" => match text {
                "true" | "yes" | "1" => json!(true),
                "false" | "no" | "0" => json!(false),
                _ => return Err(format!("{column}: expected true or false")),
            },
            _ => json!(text),
        };
        let into = if SHAPE_FIELDS.contains(column) { &mut shape } else { &mut record };
        into.insert((*column).to_owned(), value);
    }
    if !shape.is_empty() {
        shape.entry("tag").or_insert_with(|| json!(""));
        record.insert("shape".to_owned(), Value::Object(shape));
    }
    Ok(Zeroizing::new(Value::Object(record).to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::admin_client::tests::server;
    use super::super::output::tests::kept;
    use super::*;

    fn told(lines: &[Line]) -> Vec<(u64, String)> {
        let text =
            |line: &Line| line.record.as_ref().map_or_else(|why| format!("- {why}"), |text| text.to_string());
        lines.iter().map(|line| (line.number, text(line))).collect()
    }

    #[test]
    fn a_line_that_is_no_object_refuses_itself_and_is_not_repeated() {
        let lines = of_json_lines("{\"key\":\"a\"}\n\n[1]\nsk_live_secret\n{\"key\":\n {\"a\":1,\"a\":2} \n");
        let no_object = || "- expected one JSON object on this line".to_owned();
        let expected = [
            (1, "{\"key\":\"a\"}".to_owned()),
            (3, no_object()),
            (4, no_object()),
            (5, no_object()),
            (6, "{\"a\":1,\"a\":2}".to_owned()),
        ];
        assert_eq!(told(&lines), expected);
    }

    #[test]
    fn a_row_becomes_a_record_and_empty_cells_are_left_out() {
        let text = "key,name,permissions,random,metadata,length,alphabet\n\
            abc,\"a, b\",posts:read posts:write,true,\"{\"\"a\"\":1}\",40,base62\n\
            def,,,,,,\n\
            ghi,,,perhaps,,,\n\
            jkl,x\n";
        let expected = [
            (2, r#"{"key":"abc","name":"a, b","permissions":["posts:read","posts:write"],"random":true,"metadata":{"a":1},"shape":{"length":40,"alphabet":"base62","tag":""}}"#.to_owned()),
            (3, r#"{"key":"def"}"#.to_owned()),
            (4, "- random: expected true or false".to_owned()),
            (5, "- expected 7 cells".to_owned()),
        ];
        assert_eq!(told(&of_csv(text).unwrap()), expected);
    }

    #[test]
    fn a_file_without_names_in_its_first_line_is_refused_without_repeating_it() {
        for text in ["sk_live_secret,CI\nsk_live_other,x\n", "key,key\na,b\n", "key,Name\na,b\n"] {
            let Err(error) = of_csv(text) else { panic!("{text}") };
            assert!(matches!(error, CliError::Usage(_)) && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_report_has_the_lines_of_the_file() {
        let answer = r#"{"results":[{"index":0,"status":"taken","id":"key_1","prefix":"aB3dE6gH"},{"index":1,"status":"refused","why":"already there"}]}"#;
        let (client, asked) = server(vec![(200, "application/json", answer.to_owned())]).await;
        let lines = of_json_lines("{\"key\":\"a\"}\nnonsense\n{\"key\":\"b\"}");
        let beside = Map::from_iter([("workspace_id".to_owned(), json!("ws_1"))]);
        let import = Import { client: &client, beside, lines: &lines };
        let (report, failed) = import.pass(false).await;
        assert!(failed.is_none());
        let body = r#"{"workspace_id":"ws_1","dry_run":false,"keys":[{"key":"a"},{"key":"b"}]}"#;
        assert!(asked.await.unwrap()[0].ends_with(body));
        let (mut output, out, _) = kept();
        show(&report, false, false, &mut output);
        let expected = "\
LINE  STATUS   ID     PREFIX    WHY
1     taken    key_1  aB3dE6gH  -
2     refused  -      -         expected one JSON object on this line
3     refused  -      -         already there
1 taken, 2 refused
";
        assert_eq!(out.text(), expected);
        assert!(matches!(ended(&report), Err(CliError::Import { refused: 2, all: 3 })));
    }

    #[test]
    fn a_call_carries_no_more_than_the_daemon_takes() {
        let line = |bytes: usize| Line { number: 1, record: Ok(Zeroizing::new("x".repeat(bytes))) };
        let small: Vec<_> = (0..1_500).map(|_| line(10)).collect();
        assert_eq!(fitting(&small, CALL_RECORDS_MAX), CALL_RECORDS_MAX);
        let large: Vec<_> = (0..10).map(|_| line(CALL_BYTES_MAX / 4)).collect();
        assert_eq!(fitting(&large, CALL_RECORDS_MAX), 3);
        assert_eq!(fitting(&[line(CALL_BYTES_MAX + 1)], CALL_RECORDS_MAX), 1);
        let sizes = |most| parts(&small, most).map(<[Line]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(CALL_RECORDS_MAX), [1_000, 500]);
        assert_eq!(sizes(REHEARSED_RECORDS_MAX), [1_500], "a dry run judges a file as a whole");
        assert_eq!(parts(&[], CALL_RECORDS_MAX).count(), 0);
    }
}
