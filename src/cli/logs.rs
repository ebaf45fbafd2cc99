//! The log on stderr, for people or as one JSON object a line.
//!
//! One event is one line and one write. A control character never reaches the terminal, whatever a request
//! brought: what the formatter leaves of them is escaped here.
//!
//! Never here: a colour, or a filter that lets other crates' chatter through below a warning; nor a library's warning
//! that a caller got something wrong, in the caller's words.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::output::plain;
use crate::clock::Clock;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Starts the log for the rest of the process' life. A second start changes nothing.
pub(super) fn start(settings: LogSettings, clock: &Clock) {
    let _ = tracing::subscriber::set_global_default(subscriber(settings, clock, io::stderr));
}

fn subscriber<W: Write + 'static>(
    settings: LogSettings,
    clock: &Clock,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> impl tracing::Subscriber + Send + Sync + 'static {
    let escape = match settings.format {
        LogFormat::Human => plain,
        LogFormat::Json => plain_json,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(LogTime(clock.clone()))
        .with_writer(move || Escaping { writer: writer(), escape });
    let lines = match settings.format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Registry::default().with(lines.with_filter(filter(settings.level)))
}

/// A line of JSON without the control characters that JSON allows to stand: DEL and those above it.
fn plain_json(line: &str) -> String {
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    line.chars().map(escaped).collect()
}

/// Who warns of every call that was refused, with whatever the caller put into its id or its headers. The caller was
/// told, and our own events say the rest.
const WARNS_OF_CALLERS: &str = "rmcp";

/// Our own events from `level` on, those of other crates from a warning on.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target(WARNS_OF_CALLERS, LevelFilter::ERROR)
        .with_target(env!("CARGO_PKG_NAME"), level)
}

/// The clock's wall time.
struct LogTime(Clock);

impl FormatTime for LogTime {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        w.write_str(&self.0.now().wall.to_rfc3339())
    }
}

/// Escapes every control character but the line's end. The formatter hands over one whole event at a time.
struct Escaping<W> {
    writer: W,
    escape: fn(&str) -> String,
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (Self { writer, escape }, text) = (self, String::from_utf8_lossy(event));
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        writer.write_all(format!("{}{end}", escape(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::Kept;
    use super::*;

    const HOSTILE: &str = "a\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{9b}2J";

    fn log(text: &str) {
        tracing::info!(path = %text, "request {text}");
        tracing::debug!("too fine");
    }

    fn clock() -> Clock {
        Clock::manual(crate::domain::time::Wall::parse("2026-03-01T00:00:00Z").unwrap()).0
    }

    /// What is written of one hostile event.
    fn written(format: LogFormat) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let settings = LogSettings { format, level: LogLevel::Info };
        let subscriber = subscriber(settings, &clock(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || log(HOSTILE));
        let text = kept.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        text
    }

    #[test]
    fn what_a_request_brings_can_neither_forge_a_human_line_nor_steer_a_terminal() {
        let text = written(LogFormat::Human);
        assert!(text.starts_with("2026-03-01T00:00:00"), "{text}");
    }

    #[test]
    fn other_crates_are_heard_from_a_warning_on_but_for_what_they_say_of_callers() {
        let kept = Kept::default();
        let writer = kept.clone();
        let settings = LogSettings { format: LogFormat::Human, level: LogLevel::Trace };
        let subscriber = subscriber(settings, &clock(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "hyper::proto", "one");
            tracing::warn!(target: "hyper::proto", "two");
            tracing::warn!(target: "rmcp::service", "three");
            tracing::error!(target: "rmcp::service", "four");
        });
        let said: Vec<_> =
            kept.text().lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect();
        assert_eq!(said, ["two", "four"]);
    }

    #[test]
    fn a_json_line_is_one_object_that_holds_the_same_text() {
        let line: serde_json::Value = serde_json::from_str(&written(LogFormat::Json)).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["path"], HOSTILE);
    }
}
