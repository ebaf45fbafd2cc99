//! A process that is measured: on a core of its own, asked for its processor time and memory, gone when it is dropped.
//!
//! Never here: what it serves.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often it is asked, each 10 ms, whether a process serves already.
const START_TRIES_MAX: usize = 6_000;

/// Which core something runs on.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    /// All that is measured.
    Servers = 0,
    /// Who asks, and what lies behind a proxy.
    Clients = 1,
}

/// Puts this process and all threads that it will start on the clients' core. False where the machine has one core or
/// no `taskset`: then nothing is pinned.
pub(crate) fn pin_to_clients_core() -> bool {
    let works = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    works(Command::new("taskset").args(["-c", "0,1", "true"]))
        && works(Command::new("taskset").args(["-c", "0", "true"]))
        && works(Command::new("taskset").args(["-c", "1", "true"]))
        && works(Command::new("taskset").args(["-pc", "1", &std::process::id().to_string()]))
}

/// Whether [`pin_to_clients_core`] did: a process's own status says so.
fn is_pinned() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.split_whitespace().eq(["Cpus_allowed_list:", "1"]))
}

/// The command on this core; it becomes the program, with the same process id.
pub(crate) fn on(core: Core, program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_pinned() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &(core as usize).to_string()]).arg(program);
    command
}

/// A program by its name, also where Debian puts servers, which no user's path leads to. None if it does not run.
pub(crate) fn installed(name: &str, version_flag: &str) -> Option<String> {
    [name.to_owned(), format!("/usr/sbin/{name}")].into_iter().find(|program| {
        // With whatever status: some end with an error when they only said their version.
        Command::new(program).arg(version_flag).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server that runs; it is stopped when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts what will listen at this address, and waits until it does. What it complains of goes into a file.
    pub(crate) fn listening(command: &mut Command, address: SocketAddr, log: &Path) -> Self {
        let log_file = std::fs::File::create(log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn().unwrap();
        let mut started = Self { child, address };
        for _ in 0..START_TRIES_MAX {
            if TcpStream::connect(address).is_ok() {
                return started;
            }
            if let Some(status) = started.child.try_wait().unwrap() {
                panic!("{command:?} ended with {status}: {}", std::fs::read_to_string(log).unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{command:?} does not start to serve");
    }

    /// Starts what says a line once it serves, and gives that line; where it listens is taken from it.
    pub(crate) fn announcing(
        command: &mut Command,
        address: impl FnOnce(&str) -> SocketAddr,
    ) -> (Self, String) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{command:?} ended before it served");
        (Self { child, address: address(&line) }, line)
    }

    /// The processor time that all its threads and its children's have used, in nanoseconds, as the scheduler counts.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        self.ids().map(cpu_nanos).sum()
    }

    /// What of it and its children lies in memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.ids()
            .map(|id| {
                let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
                let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
                line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
            })
            .sum()
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children: Vec<u32> = children.split_whitespace().map(|id| id.parse().unwrap()).collect();
        std::iter::once(id).chain(children)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not killed: nginx would leave its workers behind.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn cpu_nanos(id: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
