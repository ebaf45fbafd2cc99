//! Reading TOML by hand, so that every problem is told at once, with its line, and not the first alone.
//!
//! A [`Section`] hands out its fields by name and knows which names were asked for; closing it reports every
//! other one. A [`Field`] is a value from the file, or one that the environment or a flag put over it.
//! Reading goes on after a problem: what could not be read is `None`, and whoever asked carries on without
//! it.
//!
//! Never here: a setting's name or default.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// The longest file that is read, in bytes: a thousand times what a large profile takes.
pub(super) const FILE_BYTES_MAX: usize = 8 << 20;
/// The most problems told of one file; more would bury the first.
const PROBLEMS_MAX: usize = 100;

/// A value that stands over the file's.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// The dotted name of the setting.
    pub(super) path: &'static str,
    /// The variable or flag it came by.
    pub(super) origin: String,
    /// The value.
    pub(super) text: String,
}

/// Where problems gather while one file is read.
pub(super) struct Report<'a> {
    origin: &'a str,
    text: &'a str,
    overrides: &'a [Override],
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(origin: &'a str, text: &'a str, overrides: &'a [Override]) -> Self {
        Self { origin, text, overrides, problems: RefCell::default() }
    }

    /// Parses the text; what is not TOML is reported.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        if self.text.len() > FILE_BYTES_MAX {
            self.add(None, "", format!("expected at most {FILE_BYTES_MAX} bytes"));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.add(error.span().as_ref(), "", error.message().to_owned());
        }
        errors.is_empty().then_some(table)
    }

    /// Adds a problem at this place of the file.
    pub(super) fn add(&self, span: Option<&Range<usize>>, path: &str, message: String) {
        let line = span.map(|span| {
            let before = self.text.bytes().take(span.start);
            before.filter(|byte| *byte == b'\n').count() + 1
        });
        self.push(Problem { origin: self.origin.to_owned(), line, path: path.to_owned(), message });
    }

    /// Adds problems that were found elsewhere.
    pub(super) fn push(&self, mut problem: Problem) {
        // A name in quotes can hold anything, and problems are printed to terminals.
        for text in [&mut problem.origin, &mut problem.path] {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX && !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// The problems, in the order of the file.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// A table, or the place where one could stand.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    path: String,
    span: Option<Range<usize>>,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(report: &'a Report<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(report, String::new(), None, Some(table.get_ref()))
    }

    fn new(
        report: &'a Report<'a>,
        path: String,
        span: Option<Range<usize>>,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        Self { report, path, span, table, asked: RefCell::default() }
    }

    /// The field of this name, when the file, the environment or a flag gives it.
    pub(super) fn field(&self, name: &'static str) -> Option<Field<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        let path = self.path_of(name);
        let over = self.report.overrides.iter().rfind(|over| over.path == path);
        let value = match over {
            Some(over) => Value::Given(over),
            None => Value::Read(self.table?.get(name)?),
        };
        Some(Field { report: self.report, path, value })
    }

    /// The same; a missing one is a problem.
    pub(super) fn required(&self, name: &'static str) -> Option<Field<'a>> {
        let field = self.field(name);
        if field.is_none() {
            self.problem(&format!("`{name}` is missing"));
        }
        field
    }

    /// The table of this name; an empty one where none stands, since its fields may be given by the
    /// environment.
    pub(super) fn section(&self, name: &'static str) -> Self {
        self.field(name)
            .and_then(|field| field.section())
            .unwrap_or_else(|| Self::new(self.report, self.path_of(name), self.span.clone(), None))
    }

    /// The tables of this name, `[[name]]`.
    pub(super) fn sections(&self, name: &'static str, most: usize) -> Vec<Self> {
        let Some(field) = self.field(name) else { return Vec::new() };
        field.items(most).iter().filter_map(Field::section).collect()
    }

    /// Every field with its key, for tables whose keys are the user's.
    pub(super) fn entries(&self) -> Vec<(&'a str, Field<'a>)> {
        let entries = self.table.into_iter().flat_map(DeTable::iter);
        let field = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let key = key.get_ref().as_ref();
            (key, Field { report: self.report, path: self.path_of(key), value: Value::Read(value) })
        };
        entries.map(field).collect()
    }

    /// Reports every field that was not asked for.
    pub(super) fn close(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let path =
                    if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
                let known = asked.join(", ");
                self.report.add(Some(&key.span()), &path, format!("unknown; known here: {known}"));
            }
        }
    }

    /// Adds a problem about the table as a whole.
    pub(super) fn problem(&self, message: &str) {
        self.report.add(self.span.as_ref(), &self.path, message.to_owned());
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// One value and where it came from.
pub(super) struct Field<'a> {
    report: &'a Report<'a>,
    path: String,
    value: Value<'a>,
}

enum Value<'a> {
    Read(&'a Spanned<DeValue<'a>>),
    Given(&'a Override),
    Item(&'a Override, &'a str),
}

impl<'a> Field<'a> {
    /// The text.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.value {
            Value::Read(value) => match value.get_ref().as_str() {
                None => self.refused("expected a text in quotes"),
                some => some,
            },
            Value::Given(over) => Some(&over.text),
            Value::Item(_, text) => Some(text),
        }
    }

    /// What `read` makes of the text; `expected` says what fits.
    pub(super) fn parsed<T>(&self, expected: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let text = self.text()?;
        match read(text) {
            None => self.refused(&format!("expected {expected}")),
            some => some,
        }
    }

    /// A whole number in `range`.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.value {
            Value::Read(value) => value.get_ref().as_integer().and_then(|integer| {
                u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok()
            }),
            Value::Given(over) => over.text.parse().ok(),
            Value::Item(_, text) => text.parse().ok(),
        };
        match number.filter(|number| range.contains(number)) {
            None => {
                self.refused(&format!("expected a whole number from {} to {}", range.start(), range.end()))
            }
            some => some,
        }
    }

    /// A whole number that fits into 32 bits, perhaps negative.
    pub(super) fn signed(&self) -> Option<i32> {
        let Value::Read(value) = &self.value else { return self.refused("expected a whole number") };
        let number = value.get_ref().as_integer();
        match number.and_then(|integer| i32::from_str_radix(integer.as_str(), integer.radix()).ok()) {
            None => self.refused("expected a whole number of at most 32 bits, such as -32001"),
            some => some,
        }
    }

    /// Whether the value is a number rather than a text.
    pub(super) fn is_integer(&self) -> bool {
        matches!(&self.value, Value::Read(value) if value.get_ref().is_integer())
    }

    /// Whether the value is a text.
    pub(super) fn is_text(&self) -> bool {
        !matches!(&self.value, Value::Read(value) if !value.get_ref().is_str())
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(&self.value, Value::Read(value) if value.get_ref().is_array())
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(&self.value, Value::Read(value) if value.get_ref().is_table())
    }

    /// Whether a variable or a flag gave the value.
    pub(super) fn is_given(&self) -> bool {
        !matches!(&self.value, Value::Read(_))
    }

    /// True or false, from a variable as well.
    pub(super) fn switch(&self) -> Option<bool> {
        let Value::Given(over) = &self.value else { return self.boolean() };
        match over.text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.refused("expected true or false"),
        }
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Option<bool> {
        let Value::Read(value) = &self.value else { return self.refused("expected true or false") };
        match value.get_ref().as_bool() {
            None => self.refused("expected true or false"),
            some => some,
        }
    }

    /// The values of a list, at most `most`; from the environment, between commas.
    pub(super) fn items(&self, most: usize) -> Vec<Self> {
        let items: Vec<_> = match &self.value {
            Value::Given(over) => {
                let items = over.text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| Value::Item(over, item)).collect()
            }
            Value::Item(..) => Vec::new(),
            Value::Read(value) => match value.get_ref().as_array() {
                Some(array) => array.iter().map(Value::Read).collect(),
                None => return self.refused("expected a list").unwrap_or_default(),
            },
        };
        if items.len() > most {
            self.problem(&format!("expected at most {most}"));
        }
        let name = |place: usize| format!("{}[{place}]", self.path);
        let field = |(place, value)| Self { report: self.report, path: name(place), value };
        items.into_iter().take(most).enumerate().map(field).collect()
    }

    /// The table.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let Value::Read(value) = &self.value else { return self.refused("expected a table") };
        match value.get_ref().as_table() {
            Some(table) => {
                Some(Section::new(self.report, self.path.clone(), Some(value.span()), Some(table)))
            }
            None => self.refused("expected a table"),
        }
    }

    /// Adds a problem about this value.
    pub(super) fn problem(&self, message: &str) {
        match &self.value {
            Value::Read(value) => self.report.add(Some(&value.span()), &self.path, message.to_owned()),
            Value::Given(over) | Value::Item(over, _) => self.report.push(Problem {
                origin: over.origin.clone(),
                line: None,
                path: self.path.clone(),
                message: message.to_owned(),
            }),
        }
    }

    /// The same, as the `None` that follows from it.
    pub(super) fn refused<T>(&self, message: &str) -> Option<T> {
        self.problem(message);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&Section<'_>)) -> Vec<String> {
        let over = [Override { path: "b.n", origin: "KEYWARD_B_N".to_owned(), text: "x".to_owned() }];
        let report = Report::new("t.toml", text, &over);
        if let Some(table) = report.parse() {
            let root = Section::root(&report, &table);
            read(&root);
            root.close();
        }
        report.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_what_was_expected() {
        let told = problems("a = 7\nunknown = 1\n[b]\nc = \"x\"\n", |root| {
            root.field("a").and_then(|field| field.text());
            root.required("z");
            let b = root.section("b");
            b.field("c").and_then(|field| field.integer(1..=9));
            b.field("n").and_then(|field| field.integer(1..=9));
            b.close();
        });
        assert_eq!(
            told,
            [
                "t.toml: `z` is missing",
                "KEYWARD_B_N: b.n: expected a whole number from 1 to 9",
                "t.toml:1: a: expected a text in quotes",
                "t.toml:2: unknown: unknown; known here: a, z, b",
                "t.toml:4: b.c: expected a whole number from 1 to 9",
            ]
        );
    }

    #[test]
    fn a_name_with_control_characters_is_told_without_them() {
        assert_eq!(problems("\"a\\u001b[31m\" = 1", |_| {}).len(), 1);
        assert!(!problems("\"a\\u001b[31m\" = 1", |_| {})[0].contains('\u{1b}'));
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_lines() {
        let told = problems("a = \nb = 1\nb = 2\n", |_| {});
        assert!(told.len() >= 2 && told[0].starts_with("t.toml:1: "), "{told:?}");
    }
}
