//! What holds for every source alike: its header, its name, its length and its lines', nothing unfinished.
//!
//! Test code may unwrap, so that rule looks past everything under `#[cfg(test)]`; the others are about whole
//! files.
//!
//! Never here: a rule that asks which room it is in; those are in `nevers.rs`.

use crate::finders::{paths_where, sequences};
use crate::{Finding, Rule};

pub(crate) const RULES: &[Rule] =
    &[NOTHING_UNFINISHED, HEADER_FIRST, NAMES_ARE_NOUNS_OF_THE_TRADE, SOURCES_STAY_READABLE, COMMENTS_FIT];

/// The most lines of one source, tests included. Most files stay under 400; beyond this one has two subjects.
const SOURCE_LINES_MAX: usize = 600;

/// The most characters of one line of comment. Prose is wrapped at 110, as the code is; what is over that may
/// be a table.
const COMMENT_CHARS_MAX: usize = 120;

const NOTHING_UNFINISHED: Rule = Rule {
    holds: "product code has no unwrap and nothing unfinished",
    instead: "return the error, match on it, or build the whole thing",
    check: |source| {
        let unfinished =
            [&[".", "unwrap", "(", ")"][..], &["todo", "!"], &["unimplemented", "!"], &["dbg", "!"]];
        let mut found: Vec<_> = unfinished.iter().flat_map(|pattern| sequences(source, pattern)).collect();
        found.extend(paths_where(source, |path| path.segments.len() > 1 && path.ends_with(&["unwrap"])));
        found
    },
};

const HEADER_FIRST: Rule = Rule {
    holds: "every source opens with its header",
    instead: "begin with `//!`: what lives here, what always holds, what must never be done here",
    check: |source| {
        let first = source.text.lines().next().unwrap_or_default();
        match first.strip_prefix("//!") {
            Some(words) if !words.trim().is_empty() => Vec::new(),
            _ => vec![Finding::new(1, "no header on the first line")],
        }
    },
};

const NAMES_ARE_NOUNS_OF_THE_TRADE: Rule = Rule {
    holds: "no source is called utils, helpers or common",
    instead: "name it for its subject, or put the function next to its one user",
    check: |source| {
        let vague = ["util", "utils", "utilities", "helper", "helpers", "common", "misc", "shared"];
        let is_vague = |part: &str| vague.contains(&part.strip_suffix(".rs").unwrap_or(part));
        source
            .parts()
            .filter(|part| is_vague(part))
            .map(|part| Finding::new(1, format!("is called {part}")))
            .collect()
    },
};

const SOURCES_STAY_READABLE: Rule = Rule {
    holds: "no source is longer than SOURCE_LINES_MAX",
    instead: "it has two subjects by now: give the second a file of its own",
    check: |source| match source.text.lines().count() {
        fits if fits <= SOURCE_LINES_MAX => Vec::new(),
        lines => {
            vec![Finding::new(SOURCE_LINES_MAX + 1, format!("has {lines} lines, {SOURCE_LINES_MAX} at most"))]
        }
    },
};

const COMMENTS_FIT: Rule = Rule {
    holds: "no line of comment is longer than COMMENT_CHARS_MAX",
    instead: "wrap it at 110 characters; the formatter leaves comments alone",
    check: |source| {
        let lines = source.text.lines().enumerate();
        lines
            .filter(|(_, line)| line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line.chars().count()))
            .filter(|(_, chars)| *chars > COMMENT_CHARS_MAX)
            .map(|(number, chars)| {
                Finding::new(number, format!("has {chars} characters, {COMMENT_CHARS_MAX} at most"))
            })
            .collect()
    },
};

#[test]
fn unwrap_and_unfinished_code_are_refused() {
    NOTHING_UNFINISHED.holds_for(
        &[
            ("src/app.rs", "fn f() { g().unwrap() }"),
            ("src/app.rs", "fn f() { g().map(Option::unwrap) }"),
            ("src/app.rs", "fn f() { todo!() }"),
            ("src/app.rs", "fn f() { unimplemented!(\"later\") }"),
            ("src/app.rs", "fn f() { dbg!(1) }"),
        ],
        &[
            ("src/app.rs", "/// `x.unwrap()`\nfn f() { g().unwrap_or(1); h().unwrap_or_default() }"),
            ("src/app.rs", "#[cfg(test)] mod tests { #[test] fn f() { g().unwrap() } }"),
        ],
    );
}

#[test]
fn a_source_without_a_header_is_refused() {
    HEADER_FIRST.holds_for(
        &[
            ("src/app.rs", ""),
            ("src/app.rs", "use a;\n//! Late."),
            ("src/app.rs", "//!\n"),
            ("src/app.rs", "// No."),
        ],
        &[("src/app.rs", "//! Builds everything.\n")],
    );
}

#[test]
fn a_vague_file_name_is_refused() {
    NAMES_ARE_NOUNS_OF_THE_TRADE.holds_for(
        &[("src/store/utils.rs", ""), ("src/http/helpers/mod.rs", ""), ("src/domain/common.rs", "")],
        &[("src/store/tables.rs", ""), ("src/domain/commonwealth.rs", "")],
    );
}

#[test]
fn a_source_that_grew_too_long_is_refused() {
    let longest = "//! x\n".repeat(SOURCE_LINES_MAX);
    let longer = "//! x\n".repeat(SOURCE_LINES_MAX + 1);
    SOURCES_STAY_READABLE.holds_for(&[("src/app.rs", &longer)], &[("src/app.rs", &longest)]);
}

#[test]
fn a_comment_that_runs_on_is_refused() {
    let line = |chars: usize| format!("//! x\nfn f() {{\n    // {}\n}}\n", "é".repeat(chars - 7));
    let (fits, too_long) = (line(COMMENT_CHARS_MAX), line(COMMENT_CHARS_MAX + 1));
    let header = format!("//! {}\n", "x".repeat(COMMENT_CHARS_MAX));
    let code = format!("//! x\nconst WORDS: &str = \"{}\";\n", "x".repeat(COMMENT_CHARS_MAX));
    COMMENTS_FIT.holds_for(
        &[("src/app.rs", &too_long), ("src/app.rs", &header)],
        &[("src/app.rs", &fits), ("src/app.rs", &code)],
    );
}
