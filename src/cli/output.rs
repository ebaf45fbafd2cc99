//! What a command prints: results on stdout, remarks on stderr.
//!
//! A reader that goes away (`| head`) ends nothing; any other failed write to stdout is remembered, so that a
//! command whose result was lost does not end as if it were done. What came from outside is shown without
//! control characters.
//!
//! Never here: what is printed.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde_json::Value;

/// Where a command prints to.
pub(super) struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    lost: Option<io::Error>,
}

impl Output {
    /// The process' own stdout and stderr.
    pub(super) fn standard() -> Self {
        Self::new(Box::new(io::stdout()), Box::new(io::stderr()))
    }

    pub(super) fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { out, err, lost: None }
    }

    /// Writes one line, or several, to stdout, and sees it off.
    pub(super) fn line(&mut self, text: impl Display) {
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.lost.get_or_insert(error);
        }
    }

    /// Writes a remark to stderr; when nobody can read it, nobody can be told.
    pub(super) fn remark(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Writes rows as columns, the first row being their names.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let text = cells.collect::<Vec<_>>().join("  ");
            self.line(text.trim_end());
        }
    }

    /// Why results were lost, if they were.
    pub(super) fn lost(&mut self) -> Option<io::Error> {
        self.lost.take()
    }
}

/// A text from outside, its control characters escaped.
pub(super) fn plain(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// A JSON value as one cell: texts bare, lists with commas, nothing as `-`.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(other) => plain(&other.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A place that keeps what is printed.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output whose stdout and stderr are kept.
    pub(in crate::cli) fn kept() -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        (Output::new(Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let (mut output, out, _) = kept();
        let rows = [["ID", "NAME"], ["key_1", "a"], ["k", ""]];
        output.table(&rows.map(|row| row.map(str::to_owned).to_vec()));
        assert_eq!(out.text(), "ID     NAME\nkey_1  a\nk\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        for (kind, lost) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
            let mut output = Output::new(Box::new(Broken(kind)), Box::new(io::sink()));
            output.line("a key");
            assert_eq!(output.lost().is_some(), lost, "{kind:?}");
        }
    }

    #[test]
    fn control_characters_from_outside_are_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc\u{9b}"), "a\\u{1b}[2Jb\\r\\nc\\u{9b}");
        assert_eq!(cell(Some(&serde_json::json!(["a\u{7}", null, 3]))), "a\\u{7},-,3");
    }
}
