//! What stands over the file: `KEYWARD_*` variables, and flags over them.
//!
//! A variable's name is the setting's, in capitals with `_` for every dot: `admin.listen` is
//! `KEYWARD_ADMIN_LISTEN`. A `KEYWARD_*` variable that names no setting is a problem, since it was meant to
//! be one. Lists are written with commas. Tables given more than once (`[[profile]]`, `[[listener]]`) are the
//! file's alone.
//!
//! Never here: reading the environment anywhere but in [`environment`] and [`inherited`].

use std::ffi::OsString;

use super::problem::Problem;
use super::reader::Override;

/// What all our variables start with.
const PREFIX: &str = "KEYWARD_";

/// Every setting that a variable can give.
pub(super) const PATHS: [&str; 22] = [
    "data_dir",
    "trusted_proxies",
    "admin.listen",
    "admin.mode",
    "admin.key_file",
    "admin.hosts",
    "cache.proofs_max",
    "cache.store_bytes",
    "checkpoint.interval",
    "slow_hash.memory_kib",
    "slow_hash.passes",
    "slow_hash.queue_max",
    "slow_hash.workers",
    "signing.replays_max",
    "fingerprints.stored",
    "sandbox.llm.url",
    "sandbox.llm.model",
    "sandbox.llm.key_file",
    "sandbox.llm.ca_file",
    "sandbox.llm.wait_max",
    "log.format",
    "log.level",
];

/// What the command line may put over everything else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// `--data`: `data_dir`.
    pub data_dir: Option<String>,
    /// `--admin-listen`: `admin.listen`.
    pub admin_listen: Option<String>,
    /// `--log-format`: `log.format`.
    pub log_format: Option<String>,
    /// `--log-level`: `log.level`.
    pub log_level: Option<String>,
}

/// What a program that we start gets of our environment: what it needs to find others, its user's files, and its
/// language. Never more, since the rest may hold our secrets.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Those variables, as far as they are set.
#[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
pub fn inherited() -> Vec<(OsString, OsString)> {
    INHERITED.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect()
}

/// Our variables of the process' environment. The one place that reads them.
#[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
pub fn environment() -> Vec<(String, String)> {
    let lossy = |text: OsString| text.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    all.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// The values that stand over the file's, flags last; what names no setting is a problem.
pub(super) fn overrides(
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> (Vec<Override>, Vec<Problem>) {
    let (mut overrides, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in environment {
        if !name.starts_with(PREFIX) {
            continue;
        }
        let path = PATHS.into_iter().find(|path| variable(path) == name);
        match path {
            // What was not UTF-8 came with this character in the place of its bytes.
            Some(path) if text.contains('\u{fffd}') => {
                problems.push(problem(&name, path, "expected UTF-8".to_owned()));
            }
            Some(path) => overrides.push(Override { path, origin: name, text }),
            None => {
                let known: Vec<_> = PATHS.into_iter().map(variable).collect();
                problems.push(problem(&name, "", format!("unknown; known: {}", known.join(", "))));
            }
        }
    }
    let given = [
        ("data_dir", "--data", &flags.data_dir),
        ("admin.listen", "--admin-listen", &flags.admin_listen),
        ("log.format", "--log-format", &flags.log_format),
        ("log.level", "--log-level", &flags.log_level),
    ];
    for (path, flag, value) in given {
        if let Some(text) = value {
            overrides.push(Override { path, origin: flag.to_owned(), text: text.clone() });
        }
    }
    (overrides, problems)
}

/// The variable of a setting.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "_"))
}

fn problem(name: &str, path: &str, message: String) -> Problem {
    Problem { origin: name.to_owned(), line: None, path: path.to_owned(), message }
}
