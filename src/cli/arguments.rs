//! What may be typed. The texts here are the `--help`.
//!
//! No argument takes a raw key: arguments show in process lists and histories. What a daemon knows better
//! (permissions, plans, times) is passed on as it was typed and judged there.
//!
//! Never here: what a command does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use super::clock::ClockCommand;
use super::exit::EXIT_CODES;
use super::profile_map::MapArguments;
use super::reach::AdminUrl;
use super::usage::UsageArguments;
use crate::config::Flags;
use crate::domain::audit::seal::AuditHead;

/// Ports that the demo keeps: one for each profile from the first on, and the tenth for the admin API.
pub(super) const DEMO_ADMIN_OFFSET: u16 = 9;

/// Issues API keys and decides, for every request, whether this key may do this now.
#[derive(Parser, Debug)]
#[command(name = "keyward", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(super) struct Arguments {
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run everything on embedded defaults, with a ready key and a built-in upstream
    Demo(DemoArguments),
    /// Run the daemon
    Serve(ServeArguments),
    /// Write a commented keyward.toml and the first admin key
    Init {
        /// Where to; made if it is not there
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Tell every problem of a configuration at once
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make, show, change, rotate, explain and revoke keys, through a running daemon
    #[command(subcommand)]
    Key(KeyCommands),
    /// Make, show, change, suspend and delete workspaces, through a running daemon
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Check that the audit log is what was written: nothing edited, removed, swapped or cut
    VerifyAudit(VerifyAuditArguments),
    /// Make a new install secret, through a running daemon
    #[command(subcommand)]
    InstallSecret(InstallSecretCommand),
    /// Show the time that a running daemon goes by, or let it go by the machine's clock
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Look at the profiles inside this binary, and at what a profile makes of an MCP server's tools
    #[command(subcommand)]
    Profile(ProfileCommand),
}

#[derive(Args, Debug)]
pub(super) struct DemoArguments {
    /// Where the demo keeps its data and keys; one that is there already is gone on with
    #[arg(long, value_name = "DIR", default_value = "keyward-demo")]
    pub(super) data: PathBuf,
    /// The first port: N for the first profile and so on, N+9 for the admin API; 0 takes any free ports
    #[arg(long, value_name = "N", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(..=i64::from(u16::MAX - DEMO_ADMIN_OFFSET)))]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Start although the install secret is missing or another one; no key is lost, but each key's next first
    /// use runs the slow hash
    #[arg(long)]
    pub(super) new_install_secret: bool,
    /// Stands over the configuration's `data_dir`
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,
    /// Stands over the configuration's `admin.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin_listen: Option<String>,
    #[command(flatten)]
    pub(super) log: LogArguments,
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct LogArguments {
    /// The log on stderr: human or json
    #[arg(long, value_name = "FORM")]
    pub(super) log_format: Option<String>,
    /// The least that is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

impl LogArguments {
    /// What stands over the configuration.
    pub(super) fn flags(&self) -> Flags {
        Flags { log_format: self.log_format.clone(), log_level: self.log_level.clone(), ..Flags::default() }
    }
}

/// Which daemon, and the key for it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which daemon")]
pub(super) struct ReachArguments {
    /// Where the daemon's admin API is [default: the configuration's, else port 8089 of this machine]
    #[arg(long, value_name = "URL", value_parser = AdminUrl::parse)]
    pub(super) admin: Option<AdminUrl>,
    /// The daemon's configuration, to find the two others in
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The file of an admin key, 0600 [default: the configuration's, else admin.key, else
    /// keyward-demo/admin.key]
    #[arg(long, value_name = "FILE")]
    pub(super) admin_key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct VerifyAuditArguments {
    /// The daemon's data directory; its file is opened when no daemon runs, else the daemon is asked
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The newest row as it once was, kept elsewhere: a log that was cut behind it is found out
    #[arg(long, value_name = "SEQ:HEX", value_parser = anchor)]
    pub(super) anchor: Option<AuditHead>,
    #[command(flatten)]
    pub(super) reach: ReachArguments,
}

fn anchor(text: &str) -> Result<AuditHead, String> {
    let expected = "expected the number of a row and its hash, such as 12: and 64 hexadecimal digits";
    AuditHead::parse(text).ok_or_else(|| expected.to_owned())
}

#[derive(Args, Debug)]
pub(super) struct PageArguments {
    /// How many, at most 100
    #[arg(long, default_value_t = 100)]
    pub(super) limit: u32,
    /// How many to pass over
    #[arg(long, default_value_t = 0)]
    pub(super) offset: u32,
}

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommands {
    #[command(flatten)]
    OneCall(KeyCommand),
    /// Import keys that were made elsewhere; without --yes, only say what would become of each
    Import(ImportArguments),
}

#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    /// One record a line: JSON objects, or CSV whose first line names the fields (key, hash or sha256, and
    /// prefix, random, name, permissions and more, as docs/import.md lists them)
    pub(super) file: PathBuf,
    /// The workspace of records that name none
    #[arg(long, value_name = "ID")]
    pub(super) workspace: Option<String>,
    /// jsonl or csv [default: by the file's name]
    #[arg(long, value_name = "FORM")]
    pub(super) format: Option<ImportFormat>,
    /// What the keys start with, their tag
    #[arg(long, requires = "length")]
    pub(super) tag: Option<String>,
    /// How long they are in all, as N or MIN-MAX
    #[arg(long, value_name = "N", requires = "alphabet")]
    pub(super) length: Option<LengthArgument>,
    /// What they are made of behind the tag: base62, hex, base64url or printable
    #[arg(long, value_name = "NAME", requires = "length")]
    pub(super) alphabet: Option<String>,
    /// How many of their first characters the old system showed
    #[arg(long, value_name = "N", requires = "length")]
    pub(super) head_length: Option<usize>,
    /// Write what the dry run would take
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) reach: ReachArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum ImportFormat {
    Jsonl,
    Csv,
}

/// The least and the most characters of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LengthArgument(pub(super) usize, pub(super) usize);

impl std::str::FromStr for LengthArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let numbers = least.parse().ok().zip(most.parse().ok());
        numbers
            .map(|(least, most)| Self(least, most))
            .ok_or_else(|| "expected N or MIN-MAX, such as 40 or 40-44".to_owned())
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Make a key and show it, this once
    Create {
        /// The workspace it belongs to
        #[arg(long, value_name = "ID")]
        workspace: String,
        #[command(flatten)]
        fields: KeyFields,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// List keys
    List {
        /// Those of this workspace alone
        #[arg(long, value_name = "ID")]
        workspace: Option<String>,
        /// Those that are active, expired or revoked
        #[arg(long)]
        status: Option<String>,
        /// Those that were neither used nor made for so long, such as 24h or 30d
        #[arg(long, value_name = "TIME")]
        unused_for: Option<String>,
        #[command(flatten)]
        page: PageArguments,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Show a key's record; the key itself can never be shown again
    Show {
        /// The key's id
        id: String,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Show what a key did, by hour or day and by place
    Usage(UsageArguments),
    /// Change a key; it acts on the very next request
    Update {
        /// The key's id
        id: String,
        #[command(flatten)]
        fields: KeyFields,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Revoke a key, at once and for ever
    Revoke {
        /// The key's id
        id: String,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Give a key a new secret and show it, this once; the one before goes on for the overlap
    Rotate {
        /// The key's id
        id: String,
        /// How long the old secret stays good, such as 90s, 30m, 24h or 7d, at most 90d; 0 ends it at once
        #[arg(long, value_name = "TIME", value_parser = OverlapArgument::parse)]
        overlap: OverlapArgument,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Say what a request of a key would be told, check by check and why; it costs the key nothing
    Explain {
        /// The key's id
        id: String,
        #[command(flatten)]
        attempt: AttemptArguments,
        #[command(flatten)]
        reach: ReachArguments,
    },
}

/// What a request would be after; nothing asks only whether the key stands.
#[derive(Args, Debug, Default)]
pub(super) struct AttemptArguments {
    /// A permission, such as posts:read
    #[arg(long, conflicts_with_all = ["method", "path", "tool"])]
    pub(super) permission: Option<String>,
    /// A route's method, such as GET
    #[arg(long, requires = "path")]
    pub(super) method: Option<String>,
    /// A route's path, such as /v1/posts
    #[arg(long, requires = "method", conflicts_with = "tool")]
    pub(super) path: Option<String>,
    /// A tool's name
    #[arg(long)]
    pub(super) tool: Option<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<String>,
    /// Units of the meter [default: 1]
    #[arg(long, value_name = "UNITS")]
    pub(super) cost: Option<u64>,
    /// The meter that counts it, if not the one that it has anyway
    #[arg(long, value_name = "NAME")]
    pub(super) meter: Option<String>,
    /// The prefix of the secret that would be presented [default: the newest's]
    #[arg(long)]
    pub(super) prefix: Option<String>,
}

/// An overlap as it was typed, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OverlapArgument(pub(super) u64);

impl OverlapArgument {
    fn parse(text: &str) -> Result<Self, String> {
        let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
        let secs = units.into_iter().find_map(|(unit, secs)| {
            let number =
                text.strip_suffix(unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
            number.parse::<u64>().ok()?.checked_mul(secs)
        });
        let secs = if text == "0" { Some(0) } else { secs };
        secs.map(Self).ok_or_else(|| "expected a whole number and a unit, such as 24h, or 0".to_owned())
    }
}

#[derive(Args, Debug, Default)]
pub(super) struct KeyFields {
    /// A name for people
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A description for people
    #[arg(long)]
    pub(super) description: Option<String>,
    /// What the key may do, such as posts:read; once for each. An update replaces all of them, `none` leaves
    /// nothing
    #[arg(long = "permission", value_name = "PERMISSION")]
    pub(super) permissions: Vec<String>,
    /// When it ends, such as 2027-01-31T00:00:00Z, or `never`
    #[arg(long, value_name = "TIME")]
    pub(super) expires_at: Option<String>,
    /// An address or network it may be used from; once for each, or `any`
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub(super) addresses: Vec<String>,
    /// Its own rate as CALLS/SECONDS or CALLS/SECONDS/BURST, such as 600/60; once for each of up to four that
    /// hold at once, or `default` for its plan's
    #[arg(long = "rate", value_name = "RATE", value_parser = RateArgument::parse)]
    pub(super) rates: Vec<RateArgument>,
    /// Whether each of its requests must be signed
    #[arg(long, value_name = "true|false")]
    pub(super) require_signature: Option<bool>,
    /// How often one signature is taken: `once`, or as often as it comes inside its `window` of time
    #[arg(long, value_name = "once|window", value_parser = ["once", "window"])]
    pub(super) signature_replay: Option<String>,
}

/// A rate as it was typed: JSON for the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RateArgument(pub(super) Value);

impl RateArgument {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(Value::Null));
        }
        let numbers: Option<Vec<u64>> = text.split('/').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([limit, window]) => Ok(Self(json!({"limit": limit, "window_s": window}))),
            Some([limit, window, burst]) => {
                Ok(Self(json!({"limit": limit, "window_s": window, "burst": burst})))
            }
            _ => {
                Err("expected CALLS/SECONDS, such as 600/60 (or CALLS/SECONDS/BURST, or default)".to_owned())
            }
        }
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum WorkspaceCommand {
    /// Make a workspace and show its default key, this once; that key may do everything
    Create {
        /// A name for people
        #[arg(long)]
        name: String,
        /// The profile whose keys it gets
        #[arg(long)]
        profile: String,
        /// Its plan, one of the profile's
        #[arg(long)]
        plan: String,
        /// The moment that its billing months are counted from [default: now]
        #[arg(long, value_name = "TIME")]
        billing_anchor: Option<String>,
        /// A brand of the workspace; once for each
        #[arg(long = "brand", value_name = "NAME")]
        brands: Vec<String>,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// List workspaces
    List {
        #[command(flatten)]
        page: PageArguments,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Show a workspace
    Show {
        /// The workspace's id
        id: String,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Change a workspace; it acts on the very next request
    Update {
        /// The workspace's id
        id: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// A new plan
        #[arg(long)]
        plan: Option<String>,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Refuse all keys of a workspace, at once, until it is activated again (`revoke` is another word for it)
    #[command(alias = "revoke")]
    Suspend {
        /// The workspace's id
        id: String,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// End a suspension; keys that were revoked stay revoked
    Activate {
        /// The workspace's id
        id: String,
        #[command(flatten)]
        reach: ReachArguments,
    },
    /// Delete a workspace and refuse all its keys, at once and for ever
    Delete {
        /// The workspace's id
        id: String,
        /// Do it: nothing brings it back
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        reach: ReachArguments,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum InstallSecretCommand {
    /// Retire the present one: no key is lost, and each is fingerprinted anew at its next first use
    Rotate {
        #[command(flatten)]
        reach: ReachArguments,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum ProfileCommand {
    /// List the shipped profiles
    List,
    /// Print a shipped profile, to start one's own from
    Show {
        /// Its name
        name: String,
    },
    /// Ask an MCP server for its tools and say which permission each needs; without a profile, suggest one. Ends
    /// with 1 when a tool is unmapped
    Map(MapArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_option_takes_a_raw_key() {
        fn check(command: &clap::Command) {
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(!["key", "admin-key", "secret", "token"].contains(&option), "{option}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn the_demo_leaves_room_for_its_tenth_port() {
        for (port, fits) in [("0", true), ("8080", true), ("65526", true), ("65527", false), ("-1", false)] {
            assert_eq!(parse(&format!("keyward demo --port={port}")).is_ok(), fits, "{port}");
        }
    }

    #[test]
    fn json_may_stand_before_or_behind_the_command() {
        assert!(parse("keyward --json demo").unwrap().json);
        assert!(parse("keyward key list --json").unwrap().json);
    }

    #[test]
    fn a_rate_is_calls_and_seconds_and_perhaps_a_burst() {
        let rate = |text: &str| RateArgument::parse(text).map(|rate| rate.0.to_string());
        assert_eq!(rate("600/60").unwrap(), r#"{"limit":600,"window_s":60}"#);
        assert_eq!(rate("600/60/5").unwrap(), r#"{"limit":600,"window_s":60,"burst":5}"#);
        assert_eq!(rate("default").unwrap(), "null");
        for bad in ["", "600", "600/", "/60", "-1/60", "6e2/60", "1/2/3/4"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_overlap_has_a_unit_unless_there_is_none() {
        let secs = |text: &str| OverlapArgument::parse(text).map(|overlap| overlap.0);
        for (text, expected) in
            [("0", 0), ("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("90d", 7_776_000)]
        {
            assert_eq!(secs(text), Ok(expected), "{text}");
        }
        for bad in ["", "24", "h", "-1h", "+1h", "1.5h", "1 h", "1w", "99999999999999999999d"] {
            assert!(secs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_workspace_is_deleted_only_by_someone_who_means_it() {
        assert!(parse("keyward workspace delete ws_1").is_err());
        assert!(parse("keyward workspace delete ws_1 --yes").is_ok());
    }

    #[test]
    fn one_thing_is_explained_at_a_time() {
        for good in ["", " --permission a:b", " --method GET --path /a", " --tool t --ip 10.0.0.1"] {
            assert!(parse(&format!("keyward key explain key_1{good}")).is_ok(), "{good}");
        }
        for bad in
            [" --method GET", " --path /a", " --permission a:b --tool t", " --tool t --method GET --path /a"]
        {
            assert!(parse(&format!("keyward key explain key_1{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn revoking_a_workspace_is_suspending_it() {
        let arguments = parse("keyward workspace revoke ws_1").unwrap();
        assert!(matches!(arguments.command, Command::Workspace(WorkspaceCommand::Suspend { .. })));
    }

    #[test]
    fn a_command_line_that_cannot_be_read_ends_as_usage() {
        for line in [
            "keyward",
            "keyward serve",
            "keyward key create",
            "keyward nonsense",
            "keyward demo --admin-key x",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("keyward --help").unwrap_err().exit_code(), 0);
    }
}
