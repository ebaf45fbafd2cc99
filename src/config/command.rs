//! An upstream that is a command: what is started, with which environment, and how often.
//!
//! Its environment is a few variables of ours that any program needs, and what stands here. Nothing else of the
//! daemon's reaches it.
//!
//! Never here: starting it, or a secret of a file's, which is read at the start.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Field, Section};
use super::upstream::{count, exchanges, streams, time};
use crate::gateway::UpstreamOptions;

/// Words of a command at most.
const WORDS_MAX: usize = 256;
/// Variables at most, of each kind.
const VARIABLES_MAX: usize = 64;
/// The most processes that can be set: each may be a whole interpreter.
const PROCESSES_MOST: u64 = 1024;
/// Few enough for a small machine.
const PROCESSES: usize = 16;
/// Longer than a person pauses between two questions.
const SESSION_IDLE: Duration = Duration::from_mins(30);

/// A command that speaks MCP over its standard input and output.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandSetting {
    /// What is started: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables and their values.
    pub variables: Vec<(String, String)>,
    /// Variables and the files of their values.
    pub variable_files: Vec<(String, PathBuf)>,
    /// Where it runs; where the daemon does when there is none.
    pub directory: Option<PathBuf>,
    /// How many processes there are.
    pub processes: ProcessSetting,
    /// The bounds of what is sent to it.
    pub options: UpstreamOptions,
}

/// How many processes of a command there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessSetting {
    /// One for the profile.
    Profile,
    /// One for each session.
    Session {
        /// The most at once: 1 to 1,024.
        most: usize,
        /// The longest that a session does nothing: 1 s to a day.
        idle_max: Duration,
    },
}

impl fmt::Debug for CommandSetting {
    /// Arguments and values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSetting")
            .field("program", &self.program)
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

/// Reads the table of a command. `path` resolves a path of the file.
pub(super) fn command(
    section: &Section<'_>,
    path: impl Fn(&Field<'_>) -> Option<PathBuf>,
) -> Option<CommandSetting> {
    let words = section.required("command").and_then(|field| words(&field, &path));
    let variables = variables(section, "env", |field| {
        field.parsed("a text without a NUL", |text| (!text.contains('\0')).then(|| text.to_owned()))
    });
    let variable_files = self::variables(section, "env_files", &path);
    if let (Some(variables), Some(files)) = (&variables, &variable_files) {
        for (name, _) in files.iter().filter(|(name, _)| variables.iter().any(|(other, _)| other == name)) {
            section.problem(&format!("{name} stands in env and in env_files"));
        }
    }
    let directory = section.field("dir").map(|field| path(&field));
    let processes = processes(section);
    let default = UpstreamOptions::default();
    let (millis, hour) = (Duration::from_millis, Duration::from_hours(1));
    let answer = time(section, "answer", millis(100)..=hour, "100ms to 60m", default.answer_max);
    let pause = time(section, "pause", millis(100)..=hour, "100ms to 60m", default.pause_max);
    let (exchanges, streams) = (exchanges(section), streams(section));
    let (program, arguments) = words?;
    let (exchanges_max, workspace_exchanges_max, open_exchanges_max) = exchanges?;
    let (streams_max, workspace_streams_max) = streams?;
    let options = UpstreamOptions {
        answer_max: answer?,
        pause_max: pause?,
        exchanges_max,
        workspace_exchanges_max,
        open_exchanges_max,
        streams_max,
        workspace_streams_max,
        ..default
    };
    let directory = match directory {
        Some(path) => Some(path?),
        None => None,
    };
    let (variables, variable_files, processes) = (variables?, variable_files?, processes?);
    Some(CommandSetting { program, arguments, variables, variable_files, directory, processes, options })
}

/// The program and its arguments. One with a `/` is a path like every other of the file.
fn words(field: &Field<'_>, path: impl Fn(&Field<'_>) -> Option<PathBuf>) -> Option<(PathBuf, Vec<String>)> {
    if !field.is_list() {
        return field
            .refused("expected a list of texts, the program first, such as [\"npx\", \"-y\", \"a-server\"]");
    }
    let items = field.items(WORDS_MAX);
    let Some((first, rest)) = items.split_first() else { return field.refused("expected a program") };
    let program = match first.text()? {
        name if name.contains('/') => path(first)?,
        _ => first.parsed("a program's path or name", |name| {
            (!name.is_empty() && !name.contains(char::is_control)).then(|| PathBuf::from(name))
        })?,
    };
    let word = |field: &Field<'_>| {
        field.parsed("a text without a NUL", |text| (!text.contains('\0')).then(|| text.to_owned()))
    };
    // Each that cannot be read tells so.
    let words: Vec<_> = rest.iter().map(word).collect();
    Some((program, words.into_iter().collect::<Option<_>>()?))
}

fn variables<T>(
    section: &Section<'_>,
    name: &'static str,
    value: impl Fn(&Field<'_>) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let Some(field) = section.field(name) else { return Some(Vec::new()) };
    let entries = field.section()?.entries();
    if entries.len() > VARIABLES_MAX {
        return field.refused(&format!("expected at most {VARIABLES_MAX} variables"));
    }
    let entry = |(name, field): (&str, Field<'_>)| {
        let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return field.refused("expected a variable's name of A-Z, a-z, 0-9 and _, no digit first");
        }
        Some((name.to_owned(), value(&field)?))
    };
    let read: Vec<_> = entries.into_iter().map(entry).collect();
    read.into_iter().collect()
}

fn processes(section: &Section<'_>) -> Option<ProcessSetting> {
    let process = section.field("process").map(|field| {
        field.parsed("\"profile\" or \"session\"", |text| match text {
            "profile" => Some(false),
            "session" => Some(true),
            _ => None,
        })
    });
    let is_set = ["processes", "session_idle"].iter().any(|name| section.field(name).is_some());
    let most = count(section, "processes", 1..=PROCESSES_MOST, PROCESSES);
    let day = Duration::from_hours(24);
    let idle_max = time(section, "session_idle", Duration::from_secs(1)..=day, "1s to 1440m", SESSION_IDLE);
    match process {
        Some(None) => None,
        Some(Some(true)) => Some(ProcessSetting::Session { most: most?, idle_max: idle_max? }),
        Some(Some(false)) | None if is_set => {
            section.problem("processes and session_idle are for process = \"session\"");
            None
        }
        Some(Some(false)) | None => Some(ProcessSetting::Profile),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::samples::{LEAST, refused, resolved};
    use super::super::overlay::Flags;
    use super::super::settings::UpstreamSetting;
    use super::*;
    use std::path::Path;

    fn with(upstream: &str) -> String {
        LEAST.replace("\"socialcrm\"", "\"shingleai\"").replace("\"sandbox\"", upstream)
    }

    fn command_of(upstream: &str) -> CommandSetting {
        let settings = resolved(&with(upstream), &[], &Flags::default()).unwrap();
        let UpstreamSetting::Command(command) = settings.profiles[0].upstream.clone() else { panic!() };
        assert!(!settings.profiles[0].asserts, "there are no headers to tell it in");
        *command
    }

    #[test]
    fn a_command_is_a_list_with_the_defaults() {
        let command = command_of("{ command = [\"npx\", \"-y\", \"a server\"] }");
        assert_eq!(command.program, Path::new("npx"));
        assert_eq!(command.arguments, ["-y", "a server"]);
        assert!(command.variables.is_empty() && command.variable_files.is_empty());
        assert_eq!((command.directory, command.processes), (None, ProcessSetting::Profile));
        assert_eq!(command.options, UpstreamOptions::default());
    }

    #[test]
    fn a_table_sets_everything_and_shows_no_secret() {
        let command = command_of(
            "{ command = [\"./server\", \"--token=hunter2\"], env = { A_1 = \"hunter2\" }, env_files = { B = \"b.key\" }, \
             dir = \"work\", process = \"session\", processes = 3, session_idle = \"5m\", answer = \"2s\", pause = \"3s\", \
             exchanges = 80, workspace_exchanges = 9, keyless_exchanges = 10, streams = 7 }",
        );
        assert_eq!(command.program, Path::new("/etc/keyward/./server"));
        assert_eq!(command.variables, [("A_1".to_owned(), "hunter2".to_owned())]);
        assert_eq!(command.variable_files, [("B".to_owned(), PathBuf::from("/etc/keyward/b.key"))]);
        assert_eq!(command.directory.as_deref(), Some(Path::new("/etc/keyward/work")));
        let idle_max = Duration::from_mins(5);
        assert_eq!(command.processes, ProcessSetting::Session { most: 3, idle_max });
        assert_eq!(command.options.answer_max, Duration::from_secs(2));
        assert_eq!((command.options.open_exchanges_max, command.options.workspace_streams_max), (10, 2));
        assert!(!format!("{command:?}").contains("hunter2"));
    }

    #[test]
    fn a_command_that_cannot_be_is_told_what_would() {
        for (upstream, told) in [
            ("{ command = \"npx\" }", "expected a list of texts"),
            ("{ command = [] }", "expected a program"),
            ("{ command = [\"\"] }", "expected a program's path or name"),
            ("{ command = [\"a\", 7] }", "expected a text"),
            ("{ command = [\"a\"], url = \"http://a\" }", "unknown; known here: command, env"),
            ("{ command = [\"a\"], env = { \"A-B\" = \"x\" } }", "expected a variable's name"),
            ("{ command = [\"a\"], env = { A = 7 } }", "expected a text"),
            ("{ command = [\"a\"], env = { A = \"x\" }, env_files = { A = \"x\" } }", "A stands in env and"),
            ("{ command = [\"a\"], process = \"key\" }", "expected \"profile\" or \"session\""),
            ("{ command = [\"a\"], processes = 3 }", "are for process = \"session\""),
            ("{ command = [\"a\"], process = \"session\", processes = 0 }", "from 1 to 1024"),
        ] {
            refused(&with(upstream), told);
        }
    }

    #[test]
    fn a_profile_with_a_rest_door_has_no_command_behind_it() {
        refused(&LEAST.replace("\"sandbox\"", "{ command = [\"a\"] }"), "a command speaks MCP alone");
    }
}
