//! `keyward key` and `keyward workspace`: one call to the admin API each.
//!
//! With `--json` the daemon's answer is printed as it came; else as columns. An id is checked before it
//! becomes part of a path, and what was typed in its place is never repeated: it may be a key.
//!
//! Never here: a rule that the daemon judges.

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::admin_client::{AdminClient, Answer};
use super::arguments::{
    KeyCommand, KeyFields, PageArguments, RateArgument, ReachArguments, WorkspaceCommand,
};
use super::explain;
use super::failure::CliError;
use super::output::{Output, cell};
use super::usage;
use crate::domain::id::{KeyId, WorkspaceId};

const KEY_COLUMNS: [&str; 7] =
    ["id", "prefix", "name", "status", "permissions", "expires_at", "last_used_at"];
const WORKSPACE_COLUMNS: [&str; 5] = ["id", "name", "profile", "plan", "status"];

/// What one command asks of the daemon, and how its answer is shown.
#[derive(Debug)]
struct Wish {
    method: Method,
    path: String,
    body: Option<Value>,
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    /// One record, a line for each field.
    Record,
    /// A new key's record, and the key.
    NewKey,
    /// A new workspace's record, and its default key.
    NewWorkspace,
    /// What each check of an attempt says.
    Explanation,
    /// What a key did.
    Usage,
    /// A page of records under these columns.
    Page(&'static [&'static str]),
}

/// Runs a `key` command.
pub(super) async fn key(command: KeyCommand, json: bool, output: &mut Output) -> Result<(), CliError> {
    let (wish, reach) = key_wish(command)?;
    run(wish, &reach, json, output).await
}

/// Runs a `workspace` command.
pub(super) async fn workspace(
    command: WorkspaceCommand,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let (wish, reach) = workspace_wish(command)?;
    run(wish, &reach, json, output).await
}

async fn run(wish: Wish, reach: &ReachArguments, json: bool, output: &mut Output) -> Result<(), CliError> {
    let client = AdminClient::reach(reach)?;
    let answer = client.call(wish.method, &wish.path, wish.body.as_ref()).await?;
    if json {
        output.line(&answer.text);
    } else {
        show(wish.shown, &answer, output);
    }
    Ok(())
}

fn key_wish(command: KeyCommand) -> Result<(Wish, ReachArguments), CliError> {
    Ok(match command {
        KeyCommand::Create { workspace, fields, reach } => {
            let mut body = key_body(fields);
            body.insert("workspace_id".to_owned(), json!(workspace_id(&workspace)?.to_string()));
            let wish = Wish {
                body: Some(body.into()),
                shown: Shown::NewKey,
                ..wish(Method::POST, "/api/v1/keys".into())
            };
            (wish, reach)
        }
        KeyCommand::List { workspace, status, unused_for, page, reach } => {
            let mut path = format!("/api/v1/keys?{}", page_query(&page));
            if let Some(workspace) = workspace {
                path = format!("{path}&workspace_id={}", workspace_id(&workspace)?);
            }
            if let Some(status) = status {
                path = format!("{path}&status={}", utf8_percent_encode(&status, NON_ALPHANUMERIC));
            }
            if let Some(unused_for) = unused_for {
                path = format!("{path}&unused_for={}", utf8_percent_encode(&unused_for, NON_ALPHANUMERIC));
            }
            (Wish { shown: Shown::Page(&KEY_COLUMNS), ..wish(Method::GET, path) }, reach)
        }
        KeyCommand::Show { id, reach } => (wish(Method::GET, key_path(&id)?), reach),
        KeyCommand::Usage(asked) => {
            let path = format!("{}/usage?{}", key_path(&asked.id)?, asked.query());
            (Wish { shown: Shown::Usage, ..wish(Method::GET, path) }, asked.reach)
        }
        KeyCommand::Update { id, fields, reach } => {
            let body = something(key_body(fields))?;
            (Wish { body: Some(body), ..wish(Method::PATCH, key_path(&id)?) }, reach)
        }
        KeyCommand::Revoke { id, reach } => (wish(Method::POST, format!("{}/revoke", key_path(&id)?)), reach),
        KeyCommand::Rotate { id, overlap, reach } => {
            let body = Some(json!({"overlap_s": overlap.0}));
            let wish = wish(Method::POST, format!("{}/rotate", key_path(&id)?));
            (Wish { body, shown: Shown::NewKey, ..wish }, reach)
        }
        KeyCommand::Explain { id, attempt, reach } => {
            let wish = wish(Method::POST, format!("{}/explain", key_path(&id)?));
            (Wish { body: Some(explain::body(attempt)), shown: Shown::Explanation, ..wish }, reach)
        }
    })
}

fn workspace_wish(command: WorkspaceCommand) -> Result<(Wish, ReachArguments), CliError> {
    let status = |id: &str, status: &str| -> Result<Wish, CliError> {
        Ok(Wish { body: Some(json!({"status": status})), ..wish(Method::PATCH, workspace_path(id)?) })
    };
    Ok(match command {
        WorkspaceCommand::Create { name, profile, plan, billing_anchor, brands, reach } => {
            let mut body = json!({"name": name, "profile": profile, "plan": plan, "brands": brands});
            if let (Some(anchor), Value::Object(body)) = (billing_anchor, &mut body) {
                body.insert("billing_anchor".to_owned(), json!(anchor));
            }
            let wish = Wish {
                body: Some(body),
                shown: Shown::NewWorkspace,
                ..wish(Method::POST, "/api/v1/workspaces".into())
            };
            (wish, reach)
        }
        WorkspaceCommand::List { page, reach } => {
            let path = format!("/api/v1/workspaces?{}", page_query(&page));
            (Wish { shown: Shown::Page(&WORKSPACE_COLUMNS), ..wish(Method::GET, path) }, reach)
        }
        WorkspaceCommand::Show { id, reach } => (wish(Method::GET, workspace_path(&id)?), reach),
        WorkspaceCommand::Update { id, name, plan, reach } => {
            let fields = [("name", name), ("plan", plan)];
            let given =
                fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), json!(value?))));
            let body = something(given.collect())?;
            (Wish { body: Some(body), ..wish(Method::PATCH, workspace_path(&id)?) }, reach)
        }
        WorkspaceCommand::Suspend { id, reach } => (status(&id, "suspended")?, reach),
        WorkspaceCommand::Activate { id, reach } => (status(&id, "active")?, reach),
        WorkspaceCommand::Delete { id, yes: _, reach } => (wish(Method::DELETE, workspace_path(&id)?), reach),
    })
}

const fn wish(method: Method, path: String) -> Wish {
    Wish { method, path, body: None, shown: Shown::Record }
}

/// The fields that were given. `none`, `never`, `any` and `default` take a limit away.
fn key_body(fields: KeyFields) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(name) = fields.name {
        put("name", json!(name));
    }
    if let Some(description) = fields.description {
        put("description", json!(description));
    }
    match fields.permissions.as_slice() {
        [] => {}
        [word] if word == "none" => drop(put("permissions", json!([]))),
        permissions => drop(put("permissions", json!(permissions))),
    }
    match fields.expires_at.as_deref() {
        None => {}
        Some("never") => drop(put("expires_at", Value::Null)),
        Some(time) => drop(put("expires_at", json!(time))),
    }
    match fields.addresses.as_slice() {
        [] => {}
        [word] if word == "any" => drop(put("ip_allow", Value::Null)),
        addresses => drop(put("ip_allow", json!(addresses))),
    }
    match fields.rates.as_slice() {
        [] => {}
        [RateArgument(only)] => drop(put("rate", only.clone())),
        several => drop(put("rate", several.iter().map(|rate| rate.0.clone()).collect())),
    }
    if let Some(required) = fields.require_signature {
        put("require_signature", json!(required));
    }
    if let Some(replay) = fields.signature_replay {
        put("signature_replay", json!(replay));
    }
    body
}

fn something(body: Map<String, Value>) -> Result<Value, CliError> {
    if body.is_empty() {
        return Err(CliError::Usage("nothing to change was given: say what, such as --name NAME".to_owned()));
    }
    Ok(body.into())
}

fn page_query(page: &PageArguments) -> String {
    format!("limit={}&offset={}", page.limit, page.offset)
}

fn key_path(text: &str) -> Result<String, CliError> {
    let wrong = || {
        CliError::Usage(
            "expected the id of a key (key_ and 26 letters; `keyward key list` shows them)".into(),
        )
    };
    Ok(format!("/api/v1/keys/{}", KeyId::parse(text).ok_or_else(wrong)?))
}

fn workspace_path(text: &str) -> Result<String, CliError> {
    Ok(format!("/api/v1/workspaces/{}", workspace_id(text)?))
}

pub(super) fn workspace_id(text: &str) -> Result<WorkspaceId, CliError> {
    let wrong = "expected the id of a workspace (ws_ and 26 letters; `keyward workspace list` shows them)";
    WorkspaceId::parse(text).ok_or_else(|| CliError::Usage(wrong.into()))
}

fn show(shown: Shown, answer: &Answer, output: &mut Output) {
    let value = &answer.value;
    match shown {
        Shown::Record => record(value, output),
        Shown::NewKey => {
            record(value, output);
            once(output);
        }
        Shown::NewWorkspace => {
            record(value.get("workspace").unwrap_or(&Value::Null), output);
            let of_key = |field| cell(value.get("default_key").and_then(|key| key.get(field)));
            output.line("");
            output.table(&[vec!["default key".into(), of_key("key")], vec!["its id".into(), of_key("id")]]);
            once(output);
        }
        Shown::Explanation => explain::show(value, output),
        Shown::Usage => usage::show(value, output),
        Shown::Page(columns) => {
            let data = value.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let head = columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
            let rows = data.iter().map(|row| columns.iter().map(|column| cell(row.get(*column))).collect());
            output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
            let total = value.get("total").and_then(Value::as_u64).unwrap_or(0);
            if total > data.len() as u64 {
                output.remark(format_args!("{} of {total}; --limit and --offset show others", data.len()));
            }
        }
    }
}

fn once(output: &mut Output) {
    output.remark("The key is shown this once. Keyward keeps no copy that could be read back.");
}

/// A line for each field that says something: the key, when there is one, and the id first.
fn record(value: &Value, output: &mut Output) {
    let Some(fields) = value.as_object() else { return };
    let first = ["key", "id"];
    let named = first.into_iter().filter_map(|name| Some((name, fields.get(name)?)));
    let others =
        fields.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !first.contains(name));
    let rows = named.chain(others).flat_map(|(name, value)| {
        if name == "secrets" {
            return value.as_array().into_iter().flatten().map(secret).collect();
        }
        let text = match name {
            "rate" => rate(value),
            "previous" => Some(format!("{}, until {}", part(value, "prefix"), part(value, "ends_at"))),
            _ => None,
        };
        vec![vec![name.replace('_', " "), text.unwrap_or_else(|| cell(Some(value)))]]
    });
    output.table(&rows.filter(|row| row.last().is_some_and(|text| text != "-")).collect::<Vec<_>>());
}

/// One secret on one line: who still uses an old one is seen here.
fn secret(value: &Value) -> Vec<String> {
    let (prefix, made, used) =
        (part(value, "prefix"), part(value, "created_at"), part(value, "last_used_at"));
    let ends = match part(value, "ends_at").as_str() {
        "-" => String::new(),
        end => format!(", ends {end}"),
    };
    vec!["secret".to_owned(), format!("{prefix}, made {made}{ends}, last used {used}")]
}

fn part(value: &Value, name: &str) -> String {
    cell(value.get(name))
}

/// Rates as `--rate` takes them.
fn rate(value: &Value) -> Option<String> {
    if let Some(several) = value.as_array() {
        return several.iter().map(rate).collect::<Option<Vec<_>>>().map(|several| several.join(", "));
    }
    let number = |name| value.get(name).and_then(Value::as_u64);
    Some(format!("{}/{}/{}", number("limit")?, number("window_s")?, number("burst")?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::arguments::{Arguments, Command, KeyCommands};
    use super::super::output::tests::kept;
    use super::*;

    const KEY: &str = "key_01h2xcejqtf2nbrexx3vqjhp41";
    const WORKSPACE: &str = "ws_01h2xcejqtf2nbrexx3vqjhp41";

    fn wished(line: &str) -> Result<String, CliError> {
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let (wish, _) = match arguments.command {
            Command::Key(KeyCommands::OneCall(command)) => key_wish(command)?,
            Command::Workspace(command) => workspace_wish(command)?,
            _ => panic!("{line}"),
        };
        let body = wish.body.map(|body| format!(" {body}")).unwrap_or_default();
        Ok(format!("{} {}{body}", wish.method, wish.path))
    }

    #[test]
    fn each_command_is_one_call() {
        let cases = [
            (
                format!("keyward key create --workspace {WORKSPACE} --name n --permission a:b --permission c:d"),
                format!(r#"POST /api/v1/keys {{"name":"n","permissions":["a:b","c:d"],"workspace_id":"{WORKSPACE}"}}"#),
            ),
            (
                format!("keyward key create --workspace {WORKSPACE} --expires-at T --ip 10.0.0.0/8 --rate 6/1"),
                format!(
                    r#"POST /api/v1/keys {{"expires_at":"T","ip_allow":["10.0.0.0/8"],"rate":{{"limit":6,"window_s":1}},"workspace_id":"{WORKSPACE}"}}"#
                ),
            ),
            (
                format!("keyward key list --workspace {WORKSPACE} --status a&b --limit 5"),
                format!("GET /api/v1/keys?limit=5&offset=0&workspace_id={WORKSPACE}&status=a%26b"),
            ),
            (
                "keyward key list --unused-for 30d".to_owned(),
                "GET /api/v1/keys?limit=100&offset=0&unused_for=30d".to_owned(),
            ),
            (format!("keyward key show {KEY}"), format!("GET /api/v1/keys/{KEY}")),
            (format!("keyward key usage {KEY}"), format!("GET /api/v1/keys/{KEY}/usage?")),
            (
                format!("keyward key usage {KEY} --from 2027-01-01T00:00:00+01:00 --step day"),
                format!("GET /api/v1/keys/{KEY}/usage?from=2027%2D01%2D01T00%3A00%3A00%2B01%3A00&step=day"),
            ),
            (
                format!("keyward key update {KEY} --rate 10/1 --rate 600/60/20"),
                format!(r#"PATCH /api/v1/keys/{KEY} {{"rate":[{{"limit":10,"window_s":1}},{{"limit":600,"window_s":60,"burst":20}}]}}"#),
            ),
            (
                format!("keyward key update {KEY} --permission none --expires-at never --ip any --rate default"),
                format!(r#"PATCH /api/v1/keys/{KEY} {{"permissions":[],"expires_at":null,"ip_allow":null,"rate":null}}"#),
            ),
            (
                format!("keyward key update {KEY} --require-signature true --signature-replay window"),
                format!(r#"PATCH /api/v1/keys/{KEY} {{"require_signature":true,"signature_replay":"window"}}"#),
            ),
            (format!("keyward key revoke {KEY}"), format!("POST /api/v1/keys/{KEY}/revoke")),
            (
                format!("keyward key rotate {KEY} --overlap 24h"),
                format!(r#"POST /api/v1/keys/{KEY}/rotate {{"overlap_s":86400}}"#),
            ),
            (
                format!("keyward key explain {KEY} --method GET --path /v1/posts --ip 10.0.0.1 --cost 2"),
                format!(
                    r#"POST /api/v1/keys/{KEY}/explain {{"method":"GET","path":"/v1/posts","ip":"10.0.0.1","cost":2}}"#
                ),
            ),
            (format!("keyward key explain {KEY}"), format!("POST /api/v1/keys/{KEY}/explain {{}}")),
            (
                format!("keyward workspace delete {WORKSPACE} --yes"),
                format!("DELETE /api/v1/workspaces/{WORKSPACE}"),
            ),
            (
                "keyward workspace create --name n --profile p --plan q --billing-anchor T --brand b".to_owned(),
                r#"POST /api/v1/workspaces {"name":"n","profile":"p","plan":"q","brands":["b"],"billing_anchor":"T"}"#.to_owned(),
            ),
            ("keyward workspace list".to_owned(), "GET /api/v1/workspaces?limit=100&offset=0".to_owned()),
            (format!("keyward workspace show {WORKSPACE}"), format!("GET /api/v1/workspaces/{WORKSPACE}")),
            (
                format!("keyward workspace update {WORKSPACE} --plan pro"),
                format!(r#"PATCH /api/v1/workspaces/{WORKSPACE} {{"plan":"pro"}}"#),
            ),
            (
                format!("keyward workspace suspend {WORKSPACE}"),
                format!(r#"PATCH /api/v1/workspaces/{WORKSPACE} {{"status":"suspended"}}"#),
            ),
            (
                format!("keyward workspace activate {WORKSPACE}"),
                format!(r#"PATCH /api/v1/workspaces/{WORKSPACE} {{"status":"active"}}"#),
            ),
        ];
        for (line, call) in cases {
            assert_eq!(wished(&line).unwrap(), call, "{line}");
        }
    }

    #[test]
    fn what_is_no_id_never_reaches_a_path_and_is_never_repeated() {
        for id in ["sk_live_777777777777777777777777777777Eh", "../workspaces", "key_1", WORKSPACE] {
            for command in ["show", "revoke"] {
                let error = wished(&format!("keyward key {command} {id}")).unwrap_err();
                assert!(matches!(error, CliError::Usage(_)));
                assert!(!error.to_string().contains(id), "{error}");
            }
        }
        assert!(wished(&format!("keyward workspace show {KEY}")).is_err());
    }

    #[test]
    fn an_update_without_a_change_is_a_mistake() {
        assert!(wished(&format!("keyward key update {KEY}")).is_err());
        assert!(wished(&format!("keyward workspace update {WORKSPACE}")).is_err());
    }

    #[test]
    fn a_new_key_stands_first_and_the_remark_goes_to_stderr() {
        let value = json!({"created_at": "T", "id": "key_1", "key": "sk_live_x", "permissions": ["a:b", "c:d"],
            "name": null, "rate": {"limit": 6, "window_s": 1, "burst": 9}});
        let (mut output, out, err) = kept();
        show(Shown::NewKey, &Answer { text: value.to_string(), value }, &mut output);
        assert_eq!(
            out.text(),
            "key          sk_live_x\nid           key_1\ncreated at   T\npermissions  a:b,c:d\nrate         6/1/9\n"
        );
        assert!(err.text().contains("shown this once"));
    }

    #[test]
    fn a_rotated_key_shows_each_of_its_secrets_and_until_when_the_old_one_lasts() {
        let value = json!({"id": "key_1", "key": "sk_live_x", "previous": {"prefix": "aaaaaaaa", "ends_at": "T3"},
            "secrets": [{"prefix": "bbbbbbbb", "created_at": "T2", "ends_at": null, "last_used_at": null},
                {"prefix": "aaaaaaaa", "created_at": "T0", "ends_at": "T3", "last_used_at": "T1"}]});
        let (mut output, out, err) = kept();
        show(Shown::NewKey, &Answer { text: value.to_string(), value }, &mut output);
        assert_eq!(
            out.text(),
            "key       sk_live_x\nid        key_1\nprevious  aaaaaaaa, until T3\n\
             secret    bbbbbbbb, made T2, last used -\nsecret    aaaaaaaa, made T0, ends T3, last used T1\n"
        );
        assert!(err.text().contains("shown this once"));
    }

    #[test]
    fn a_page_has_columns_and_tells_when_there_is_more() {
        let value = json!({"data": [{"id": "ws_1", "name": "a\u{1b}b", "profile": "p", "plan": "q", "status": "active"}], "total": 7});
        let (mut output, out, err) = kept();
        show(Shown::Page(&WORKSPACE_COLUMNS), &Answer { text: String::new(), value }, &mut output);
        assert_eq!(
            out.text(),
            "ID    NAME      PROFILE  PLAN  STATUS\nws_1  a\\u{1b}b  p        q     active\n"
        );
        assert!(err.text().starts_with("1 of 7"));
    }
}
