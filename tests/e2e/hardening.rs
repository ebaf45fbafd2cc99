//! What the process of a daemon gives up: core dumps, and quiet about running as root.
//!
//! Never here: a daemon inside the test's process.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::program::{Program, configured, new_workspace};

fn core_files(dir: &Path) -> Vec<String> {
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let all = names(dir).into_iter().chain(names(&dir.join("data")));
    all.filter(|name| name.contains("core")).collect()
}

/// Attack O02.
#[tokio::test]
async fn a_daemon_that_is_aborted_leaves_no_core() {
    let dir = configured();
    // `program` starts it under `ulimit -c unlimited`.
    let daemon = Program::serve(dir.path()).await;
    daemon.admin_json(new_workspace()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let (ended, said) = daemon.end_by("ABRT").await;
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false), "{said}");
    assert_eq!(core_files(dir.path()), [""; 0]);
}

/// Attack O12.
#[tokio::test]
async fn running_as_root_is_told_once() {
    let dir = configured();
    let daemon = Program::serve(dir.path()).await;
    let is_root = keyward::store::private_file::effective_user() == 0;
    let (_, said) = daemon.end_by("TERM").await;
    assert_eq!(said.matches("running as root").count(), usize::from(is_root), "{said}");
}
