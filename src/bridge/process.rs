//! One running server: its process, the lines that go in and come out, and its end.
//!
//! A process leads a group of its own, so that what it started ends with it. Its end is the same whoever began it:
//! its input is closed, then it is asked to end, then it and its group are killed, and it is waited for, so that no
//! zombie stays. Its environment is what was configured, and none of ours.
//!
//! Never here: a message, or a second start.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lines::{Line, Lines};

/// The most bytes of one line that a server writes to its output.
pub(super) const LINE_BYTES_MAX: usize = 8 << 20;
/// The most messages that wait until a server reads them.
const LINES_WAITING_MAX: usize = 16;
/// How long a message may wait for a place among those.
const SAY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a server may take to end once its input is closed, and again once it was asked to.
const END_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long what it wrote last is still read after its end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// The most bytes of a line that is logged.
const LOGGED_BYTES_MAX: usize = 2048;
/// The most lines that are logged of one server in a second.
const LOGGED_LINES_MAX: u32 = 20;

/// How a server is started.
#[derive(Clone)]
pub(super) struct Program {
    /// The product that it stands behind, for the log.
    pub(super) profile: String,
    pub(super) command: OsString,
    pub(super) arguments: Vec<OsString>,
    /// The whole of its environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Where it runs; where the daemon does when there is none.
    pub(super) directory: Option<PathBuf>,
}

impl fmt::Debug for Program {
    /// Arguments and environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Why a message did not reach a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unsaid {
    /// It does not read.
    Full,
    /// It has ended.
    Ended,
}

/// Where messages to a server are put. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outlet(mpsc::Sender<String>);

impl Outlet {
    /// An outlet, and the lines that a process will be given.
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Says a line, waiting a bounded time for a server that reads slowly.
    pub(super) async fn say(&self, line: String) -> Result<(), Unsaid> {
        match timeout(SAY_WAIT_MAX, self.0.send(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unsaid::Ended),
            Err(_) => Err(Unsaid::Full),
        }
    }

    /// Says a line if there is room for it now. What is said so can be lost without harm.
    pub(super) fn say_if_room(&self, line: String) {
        if self.0.try_send(line).is_err() {
            tracing::debug!("a message was not said to a server that has ended or does not read");
        }
    }
}

/// A process that was started. It goes on until it ends by itself or is told to stop.
#[derive(Clone, Debug)]
pub(super) struct Process {
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Process {
    /// Starts it. Each line of its output that is text goes to `receive`. It is told to stop by `shutdown` as well.
    pub(super) fn start(
        program: &Program,
        lines: mpsc::Receiver<String>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
        receive: impl FnMut(&str) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = Command::new(&program.command);
        command.args(&program.arguments).env_clear().envs(program.environment.iter().map(|(a, b)| (a, b)));
        if let Some(directory) = &program.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a process was started without its pipes"));
        };
        let started = Self { stop: shutdown.child_token(), ended: CancellationToken::new() };
        let closing = CancellationToken::new();
        let chatter = Arc::new(Chatter::new(program.profile.clone()));
        tasks.spawn(write(input, lines, closing.clone()));
        let spoken = CancellationToken::new();
        let reading = read(output, receive, Arc::clone(&chatter));
        let (until, done) = (started.ended.clone(), spoken.clone().drop_guard());
        tasks.spawn(async move {
            until.run_until_cancelled(reading).await;
            drop(done);
        });
        tasks.spawn(listen(errors, chatter, started.ended.clone()));
        let keeping = keep(child, closing, spoken, started.clone(), program.profile.clone());
        tasks.spawn(keeping);
        Ok(started)
    }

    /// Tells it to stop; it may take some seconds.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until nothing of it is left.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Sees a process to its end.
async fn keep(
    mut child: Child,
    closing: CancellationToken,
    spoken: CancellationToken,
    process: Process,
    profile: String,
) {
    // A number that is none can be no group's.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _ended = process.ended.clone().drop_guard();
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        () = spoken.cancelled() => None,
        () = process.stop.cancelled() => None,
    };
    closing.cancel();
    let was_told = process.stop.is_cancelled();
    let status = match by_itself {
        Some(status) => status,
        None => end(&mut child, group).await,
    };
    // What it started may still be there, and would hold its pipes.
    signal(group, Signal::KILL);
    let status = told(status);
    if was_told {
        tracing::debug!(profile, status, "a server was stopped");
    } else {
        tracing::warn!(profile, status, "the server behind a command ended");
    }
    // Its last answers may still lie in the pipe.
    let _ = timeout(LAST_WORDS_MAX, spoken.cancelled()).await;
}

async fn end(child: &mut Child, group: Option<Pid>) -> io::Result<ExitStatus> {
    for next in [Signal::TERM, Signal::KILL] {
        if let Ok(status) = timeout(END_WAIT_MAX, child.wait()).await {
            return status;
        }
        signal(group, next);
    }
    child.wait().await
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Nobody left to signal is what is wanted.
        let _ = kill_process_group(group, signal);
    }
}

fn told(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Writes lines until it is told to close, or nobody reads.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<String>, closing: CancellationToken) {
    let writing = async {
        while let Some(mut line) = lines.recv().await {
            line.push('\n');
            if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
                break;
            }
        }
    };
    closing.run_until_cancelled(writing).await;
}

async fn read(output: ChildStdout, mut receive: impl FnMut(&str) -> bool + Send, chatter: Arc<Chatter>) {
    let mut lines = Lines::new(output, LINE_BYTES_MAX);
    loop {
        let Ok(Some(line)) = lines.next().await else { return };
        match &line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole(line) => {
                if !std::str::from_utf8(line).is_ok_and(&mut receive) {
                    chatter.log(Said::NoMessage, line);
                }
            }
            Line::TooLong => chatter.log(Said::NoMessage, b"(a line over 8 MiB)"),
        }
    }
}

/// Logs what a server says beside its messages.
async fn listen(errors: ChildStderr, chatter: Arc<Chatter>, ended: CancellationToken) {
    let mut lines = Some(Lines::new(errors, LOGGED_BYTES_MAX * 4));
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            match lines.as_mut() {
                Some(lines) => lines.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = second.tick() => chatter.refill(),
            () = ended.cancelled() => return chatter.refill(),
            line = next => match line {
                Ok(Some(Line::Whole(line))) => chatter.log(Said::Aside, &line),
                Ok(Some(Line::TooLong)) => chatter.log(Said::Aside, b"(a line over 8 KiB)"),
                Ok(None) | Err(_) => lines = None,
            },
        }
    }
}

/// What a server says that is for the log.
#[derive(Clone, Copy)]
enum Said {
    /// On its error output.
    Aside,
    /// On its output, where only messages belong.
    NoMessage,
}

/// Logs some lines a second, and how many more there were.
struct Chatter {
    profile: String,
    lines: AtomicU32,
}

impl Chatter {
    const fn new(profile: String) -> Self {
        Self { profile, lines: AtomicU32::new(0) }
    }

    fn log(&self, said: Said, line: &[u8]) {
        // It stops far below where it would begin anew.
        if self.lines.load(Ordering::Relaxed) < u32::MAX / 2
            && self.lines.fetch_add(1, Ordering::Relaxed) >= LOGGED_LINES_MAX
        {
            return;
        }
        let profile = &self.profile;
        let line = printable(line);
        match said {
            Said::Aside => tracing::info!(profile, line, "the server behind a command says"),
            Said::NoMessage => {
                tracing::warn!(profile, line, "the server behind a command wrote what is no message");
            }
        }
    }

    fn refill(&self) {
        let over = self.lines.swap(0, Ordering::Relaxed).saturating_sub(LOGGED_LINES_MAX);
        if over > 0 {
            let profile = &self.profile;
            tracing::warn!(profile, lines = over, "the server behind a command says more than is logged");
        }
    }
}

/// A line as a log may show it: bounded, without control characters.
fn printable(line: &[u8]) -> String {
    let shown = line.get(..LOGGED_BYTES_MAX.min(line.len())).unwrap_or_default();
    let mut text = String::from_utf8_lossy(shown).trim_end().replace(char::is_control, "\u{fffd}");
    if shown.len() < line.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_line_is_bounded_and_moves_no_cursor() {
        assert_eq!(printable(b"ok\x1b[2J\x07\r"), "ok\u{fffd}[2J\u{fffd}");
        assert!(printable("x".repeat(1 << 16).as_bytes()).len() <= LOGGED_BYTES_MAX + 3);
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
