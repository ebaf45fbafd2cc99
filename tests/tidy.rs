#![cfg(test)]
//! Holds the table of rooms in `ARCHITECTURE.md`: who may import whom, and what each room never does.
//!
//! The sources under `src/` are read as text. A rule is a function from one source to findings; next to each
//! stands a test that throws a snippet at it that it must refuse and one that it must pass. A finding names
//! the file, the line, the rule and what to do instead.
//!
//! Never here: an exception for one file inside a rule. If a rule is wrong, change the table and the rule
//! together. What text cannot show is held elsewhere: the sealed types (no forwarding without a `Grant`),
//! clippy's bans (clock and environment under any alias, guards across an await), `unsafe_code = "forbid"`.

#[path = "tidy/everywhere.rs"]
mod everywhere;
#[path = "tidy/finders.rs"]
mod finders;
#[path = "tidy/nevers.rs"]
mod nevers;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tokens.rs"]
mod tokens;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use source::Source;

/// What a rule found in one source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// From 1.
    line: usize,
    what: String,
}

impl Finding {
    pub(crate) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// One line of the table.
pub(crate) struct Rule {
    /// What holds, in words.
    holds: &'static str,
    /// What to do where it does not.
    instead: &'static str,
    check: fn(&Source) -> Vec<Finding>,
}

impl Rule {
    /// The test of a rule: it finds something in every `bad` source and nothing in every `good` one.
    pub(crate) fn holds_for(&self, bad: &[(&str, &str)], good: &[(&str, &str)]) {
        for (path, text) in bad {
            let found = (self.check)(&Source::new(path, text));
            assert!(!found.is_empty(), "`{}` must refuse {path}: {text}", self.holds);
        }
        for (path, text) in good {
            let found = (self.check)(&Source::new(path, text));
            assert!(found.is_empty(), "`{}` must pass {path}: {text}, found {found:?}", self.holds);
        }
    }
}

#[test]
fn the_sources_keep_the_table_of_rooms() {
    let sources = product_sources();
    let broken: Vec<String> = rooms::RULES
        .iter()
        .chain(nevers::RULES)
        .chain(everywhere::RULES)
        .flat_map(|rule| sources.iter().flat_map(|source| report(rule, source)))
        .collect();
    assert!(broken.is_empty(), "{} broken rules:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_room_of_the_table_was_read() {
    let sources = product_sources();
    let read: HashSet<&str> = sources.iter().map(Source::room).collect();
    for room in rooms::ROOMS.iter().flat_map(|line| line.iter()) {
        assert!(read.contains(room), "no source of the room {room} was read");
    }
}

fn report(rule: &Rule, source: &Source) -> Vec<String> {
    let found = (rule.check)(source);
    let tell = |finding: Finding| {
        let (path, Rule { holds, instead, .. }) = (&source.path, rule);
        format!("{path}:{}: {}\n    rule: {holds}\n    instead: {instead}", finding.line, finding.what)
    };
    found.into_iter().map(tell).collect()
}

/// Every file under `src/` but those that only tests compile.
fn product_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read_directory(root, &root.join("src"), &mut sources);
    let of_tests: HashSet<String> = sources.iter().flat_map(Source::test_files).collect();
    // What lies below a module that only tests compile is theirs as well.
    let below: Vec<String> = of_tests
        .iter()
        .map(|path| path.strip_suffix("mod.rs").map_or_else(|| path.replace(".rs", "/"), str::to_owned))
        .collect();
    let is_of_tests =
        |path: &str| of_tests.contains(path) || below.iter().any(|module| path.starts_with(module.as_str()));
    sources.retain(|source| !is_of_tests(&source.path));
    sources
}

fn read_directory(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_directory(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name: Vec<_> =
                path.strip_prefix(root).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
            sources.push(Source::new(&name.join("/"), &fs::read_to_string(&path).unwrap()));
        }
    }
}
