//! `keyward profile map`: which permission each tool of a server needs under a profile, or a profile to begin with.
//!
//! The mapping is the gate's own. Names come from the server: they are shown without control characters, and
//! stand in a suggestion only where a profile can name them.
//!
//! Never here: a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::failure::CliError;
use super::key_file::{self, KeyFileError};
use super::mcp_client::{Listing, McpClient, Tool, headers};
use super::output::{Output, plain};
use crate::config::{LoadedProfile, load_profile, shipped};
use crate::domain::permission::CATALOGUE_MAX;
use crate::domain::profile::{METHOD_LEN_MAX, Profile, RpcDoor, ToolRule};

/// The most bytes of a file of headers or a bearer.
const SECRETS_BYTES_MAX: usize = 16 << 10;
/// The longest resource that is suggested, in bytes.
const RESOURCE_LEN_MAX: usize = 40;
/// The resource of tools whose names tell none.
const ANY_RESOURCE: &str = "tools";
/// What tools' names say of an action rather than of a thing.
const VERBS: [&str; 34] = [
    "get", "list", "search", "read", "find", "fetch", "query", "show", "describe", "count", "create", "add",
    "new", "insert", "update", "edit", "set", "write", "put", "patch", "move", "rename", "send", "run",
    "execute", "call", "start", "stop", "delete", "remove", "drop", "clear", "purge", "cancel",
];

#[derive(Args, Debug)]
pub(super) struct MapArguments {
    /// The server's endpoint: a scheme, a host, perhaps a port, and a path
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub(super) upstream: http::Uri,
    /// A shipped profile's name, or the file of one's own
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) profile: Option<String>,
    /// A file, 0600, of what the server wants as a bearer
    #[arg(long, value_name = "FILE")]
    pub(super) bearer_file: Option<PathBuf>,
    /// A file, 0600, of more headers for the server, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    pub(super) header_file: Option<PathBuf>,
    /// A file of certificate authorities in PEM to believe instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

fn endpoint(text: &str) -> Result<http::Uri, String> {
    let expected = "expected http:// or https://, a host and a path, such as http://127.0.0.1:3001/mcp";
    let uri: http::Uri = text.parse().map_err(|_| expected.to_owned())?;
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let fits = is_plain && matches!(uri.scheme_str(), Some("http" | "https"));
    if fits { Ok(uri) } else { Err(expected.to_owned()) }
}

/// Runs the command.
pub(super) async fn run(arguments: &MapArguments, json: bool, output: &mut Output) -> Result<(), CliError> {
    let profile = arguments.profile.as_deref().map(load).transpose()?;
    let client = McpClient::new(arguments.upstream.clone(), secrets(arguments)?, arguments.ca.as_deref())?;
    let listing = client.list().await?;
    if let Some(loaded) = profile {
        return map(&loaded.profile, &listing, json, output);
    }
    suggest(&listing, json, output);
    Ok(())
}

/// A shipped profile, or the one in a file.
fn load(name: &str) -> Result<LoadedProfile, CliError> {
    let loaded = if let Some(text) = shipped(name) {
        load_profile(text, name)
    } else {
        let unread = |source| CliError::File { path: name.into(), action: "read as a profile", source };
        load_profile(&std::fs::read_to_string(name).map_err(unread)?, name)
    };
    let loaded = loaded.map_err(CliError::Config)?;
    if loaded.profile.rpc.is_none() {
        return Err(CliError::Usage(format!("the profile {} has no [rpc] door", loaded.profile.name)));
    }
    Ok(loaded)
}

/// What the server is shown.
fn secrets(arguments: &MapArguments) -> Result<HeaderMap, CliError> {
    let read = |path: &Path, expected| -> Result<Zeroizing<String>, CliError> {
        let found = key_file::read(path, SECRETS_BYTES_MAX, expected)?;
        let found = found.ok_or_else(|| KeyFileError::Missing { path: path.to_owned() })?;
        let text = std::str::from_utf8(&found).map_err(|_| shape(path, expected))?;
        Ok(Zeroizing::new(text.to_owned()))
    };
    let mut shown = HeaderMap::new();
    if let Some(path) = &arguments.header_file {
        let expected = "one header a line, such as X-API-Key: …";
        shown = headers(&read(path, expected)?).ok_or_else(|| shape(path, expected))?;
    }
    if let Some(path) = &arguments.bearer_file {
        let expected = "one bearer and nothing else";
        let text = read(path, expected)?;
        let bearer = Zeroizing::new(format!("Bearer {}", text.trim()));
        let fits = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&bearer).ok().filter(|_| fits);
        let mut value = value.ok_or_else(|| shape(path, expected))?;
        value.set_sensitive(true);
        shown.insert(AUTHORIZATION, value);
    }
    Ok(shown)
}

fn shape(path: &Path, expected: &'static str) -> KeyFileError {
    KeyFileError::Shape { path: path.to_owned(), expected }
}

/// What a profile makes of each tool.
fn map(profile: &Profile, listing: &Listing, json: bool, output: &mut Output) -> Result<(), CliError> {
    let Some(door) = &profile.rpc else { return Ok(()) };
    let mapped: Vec<_> = listing.tools.iter().map(|tool| (tool, Mapped::of(tool, door, profile))).collect();
    let closed = mapped.iter().filter(|(_, mapped)| mapped.permission.is_none()).count();
    if json {
        let tools: Vec<_> = mapped
            .iter()
            .map(|(tool, mapped)| {
                let mut value = shown(tool);
                value.insert("rule".to_owned(), json!(mapped.rule));
                value.insert("permission".to_owned(), json!(mapped.permission));
                value
            })
            .collect();
        let (version, name) = (&listing.version, &profile.name);
        output
            .line(json!({"protocol_version": version, "profile": name, "unmapped": closed, "tools": tools}));
    } else {
        let head = ["TOOL", "RULE", "PERMISSION", "SAYS"].map(str::to_owned).to_vec();
        let row = |(tool, mapped): &(&Tool, Mapped)| {
            let permission = mapped.permission.clone().unwrap_or_else(|| "unmapped: closed".to_owned());
            vec![
                plain(&tool.name),
                mapped.rule.clone().unwrap_or_else(|| "-".to_owned()),
                permission,
                says(tool),
            ]
        };
        output.table(&std::iter::once(head).chain(mapped.iter().map(row)).collect::<Vec<_>>());
    }
    let all = listing.tools.len();
    if closed == 0 { Ok(()) } else { Err(CliError::Unmapped { closed, all }) }
}

/// What a profile says of one tool.
struct Mapped {
    /// `name`, or a pattern.
    rule: Option<String>,
    permission: Option<String>,
}

impl Mapped {
    fn of(tool: &Tool, door: &RpcDoor, profile: &Profile) -> Self {
        let rule = match door.tool_rule(&tool.name) {
            ToolRule::Named(_) => Some("name".to_owned()),
            ToolRule::Pattern(pattern) => Some(pattern.names.as_str().to_owned()),
            ToolRule::Closed => None,
        };
        let asked = door.requirement(&tool.name, Some(tool.class())).and_then(|asked| asked.permission);
        let permission =
            asked.and_then(|number| profile.catalogue.permission(number)).map(ToString::to_string);
        Self { rule, permission }
    }
}

fn shown(tool: &Tool) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), json!(tool.name)),
        ("says".to_owned(), json!(tool.class().action())),
        ("read_only_hint".to_owned(), json!(tool.read_only)),
        ("destructive_hint".to_owned(), json!(tool.destructive)),
    ])
}

/// What a tool says that it does, and by which hint.
fn says(tool: &Tool) -> String {
    let hint = |name: &str, hint: Option<bool>| hint.map(|value| format!("{name}={value}"));
    let hints = [hint("readOnlyHint", tool.read_only), hint("destructiveHint", tool.destructive)];
    let hints: Vec<_> = hints.into_iter().flatten().collect();
    let action = tool.class().action();
    if hints.is_empty() { format!("{action} (no hints)") } else { format!("{action} ({})", hints.join(" ")) }
}

/// A profile's part to begin with.
fn suggest(listing: &Listing, json: bool, output: &mut Output) {
    let toml = suggestion(&listing.tools);
    if json {
        let tools: Vec<_> = listing.tools.iter().map(shown).collect();
        output.line(json!({"protocol_version": listing.version, "tools": tools, "toml": toml}));
    } else {
        output.line(toml.trim_end());
    }
}

/// Permissions and tools as TOML, by the tools' names and what they say that they do.
fn suggestion(tools: &[Tool]) -> String {
    let (named, others): (Vec<_>, Vec<_>) = tools.iter().partition(|tool| can_be_named(&tool.name));
    let things: BTreeSet<_> = named.iter().filter_map(|tool| thing(&tool.name)).collect();
    let mut by_name = BTreeMap::new();
    for tool in named {
        let thing = thing(&tool.name).map(|thing| {
            let plural = format!("{thing}s");
            if things.contains(&plural) { plural } else { thing }
        });
        by_name.insert(tool.name.as_str(), (thing, tool.class().action()));
    }
    let permission = |(thing, action): &(Option<String>, &str), alike: bool| {
        format!("{}:{action}", thing.as_deref().filter(|_| alike).unwrap_or(ANY_RESOURCE))
    };
    let all = |alike| by_name.values().map(|asked| permission(asked, alike)).collect::<BTreeSet<_>>();
    let alike = all(true).len() <= CATALOGUE_MAX;
    let mut toml = format!(
        "# {} tools. Check each: a server's own word on what a tool does is no promise.\n",
        tools.len()
    );
    for permission in all(alike) {
        let _ = write!(toml, "[[permission]]\nname = \"{permission}\"\n\n");
    }
    toml.push_str("[rpc.tools]\n");
    for (name, asked) in &by_name {
        let _ = writeln!(toml, "\"{name}\" = \"{}\"", permission(asked, alike));
    }
    for tool in others {
        let _ = writeln!(toml, "# for a pattern, since no line can name it: {}", plain(&tool.name));
    }
    toml
}

/// Whether a line of a profile can name this tool.
fn can_be_named(name: &str) -> bool {
    (1..=METHOD_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The thing that a tool's name is about: its first word that is no verb.
fn thing(name: &str) -> Option<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        let begins = !letter.is_ascii_alphanumeric() || (was_lower && letter.is_ascii_uppercase());
        if begins {
            words.push(String::new());
        }
        was_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if letter.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(letter.to_ascii_lowercase());
        }
    }
    let is_thing = |word: &String| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.len() <= RESOURCE_LEN_MAX
            && !VERBS.contains(&word.as_str())
    };
    words.into_iter().find(is_thing)
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::kept;
    use super::*;

    fn tool(name: &str, read_only: Option<bool>, destructive: Option<bool>) -> Tool {
        Tool { name: name.to_owned(), read_only, destructive }
    }

    fn listing(tools: Vec<Tool>) -> Listing {
        Listing { version: "2026-07-28".to_owned(), tools }
    }

    fn profile() -> LoadedProfile {
        let text = "name = \"p\"\ntag = \"p_\"\n[[permission]]\nname = \"notes:read\"\n[[permission]]\nname = \"notes:write\"\n\
                    [[permission]]\nname = \"notes:delete\"\n[[plan]]\nname = \"free\"\n[rpc]\nendpoint = \"/mcp\"\nwords = \"standard\"\n\
                    tools = { status = \"notes:read\" }\n[[rpc.tool_pattern]]\nmatch = \"notes_*\"\nresource = \"notes\"\n";
        load_profile(text, "p.toml").unwrap()
    }

    #[test]
    fn each_tool_is_shown_with_its_rule_and_what_is_unmapped_ends_with_a_failure() {
        let loaded = profile();
        let mut tools = vec![
            tool("status", None, None),
            tool("notes_list", Some(true), None),
            tool("notes_drop", Some(false), Some(true)),
        ];
        let (mut output, out, _) = kept();
        map(&loaded.profile, &listing(tools.clone()), false, &mut output).unwrap();
        assert_eq!(
            out.text(),
            "TOOL        RULE     PERMISSION    SAYS\n\
             status      name     notes:read    write (no hints)\n\
             notes_list  notes_*  notes:read    read (readOnlyHint=true)\n\
             notes_drop  notes_*  notes:delete  delete (readOnlyHint=false destructiveHint=true)\n"
        );
        tools.push(tool("\u{1b}[2Jother\n", Some(true), None));
        let (mut output, out, _) = kept();
        let error = map(&loaded.profile, &listing(tools.clone()), false, &mut output).unwrap_err();
        assert_eq!(error.to_string(), "1 of 4 tools are unmapped, and so closed");
        assert_eq!(error.exit() as u8, 1);
        assert!(out.text().contains("\\u{1b}[2Jother\\n  -        unmapped: closed"), "{}", out.text());
        let (mut output, out, _) = kept();
        map(&loaded.profile, &listing(tools), true, &mut output).unwrap_err();
        let value: Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!((&value["unmapped"], &value["tools"][1]["permission"]), (&json!(1), &json!("notes:read")));
        assert!(value["tools"][3]["permission"].is_null() && value["tools"][3]["rule"].is_null());
    }

    #[test]
    fn a_suggestion_loads_and_maps_every_tool_that_a_line_can_name() {
        let tools = vec![
            tool("contacts_list", Some(true), None),
            tool("contact_update", None, None),
            tool("deleteContact", None, Some(true)),
            tool("get-issue", Some(true), None),
            tool("run", None, None),
            tool("a\"] = 1\n[x]", None, None),
            tool("", None, None),
        ];
        let toml = suggestion(&tools);
        let head = "name = \"p\"\ntag = \"p_\"\nplan = [{ name = \"free\" }]\n";
        let text = format!(
            "{head}{}",
            toml.replacen("[rpc.tools]", "[rpc]\nendpoint = \"/mcp\"\nwords = \"standard\"\n[rpc.tools]", 1)
        );
        let loaded = load_profile(&text, "p.toml").unwrap();
        let door = loaded.profile.rpc.as_ref().unwrap();
        let asked = |name: &str| {
            let permission = door.requirement(name, None)?.permission?;
            loaded.profile.catalogue.permission(permission).map(ToString::to_string)
        };
        for (name, permission) in [
            ("contacts_list", Some("contacts:read")),
            ("contact_update", Some("contacts:write")),
            ("deleteContact", Some("contacts:delete")),
            ("get-issue", Some("issue:read")),
            ("run", Some("tools:write")),
            ("a\"] = 1\n[x]", None),
        ] {
            assert_eq!(asked(name).as_deref(), permission, "{name}\n{toml}");
        }
    }

    #[test]
    fn headers_are_read_from_lines_and_never_shown() {
        let read = headers("X-API-Key: abc\n\nX-B:  c d \n").unwrap();
        assert_eq!(read.get("x-b").unwrap(), "c d");
        assert!(!format!("{read:?}").contains("abc"));
        for bad in ["nothing", "a b: c", ": x", "x: \u{1}"] {
            assert!(headers(bad).is_none(), "{bad:?}");
        }
    }
}
