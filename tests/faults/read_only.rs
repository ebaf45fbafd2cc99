//! A daemon whose data lie on a disk that may only be read: it says so, ends, and has made and changed nothing.
//!
//! The disk is a mount in a name space that ends with the daemon, which takes root. That a disk turns read-only under
//! a running daemon cannot be had so, since the kernel keeps a disk writable on which a file is open to be written:
//! `e2e ill_disk` has the system calls fail as they would then.
//!
//! Never here: a file that its mode alone protects; the daemon may be root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::disk::Keys;
use crate::harness::program::{Program, command, configured};

const MOUNT: &str = "mount --bind data data && mount -o remount,bind,ro data";

/// Runs a daemon to its end whose directory `data` may only be read. `None`, and a line that says so, where that is
/// not allowed.
fn start_read_only(dir: &Path) -> Option<Output> {
    let unshared = |then: &str| {
        let mut outer = Command::new("unshare");
        outer.args(["-m", "sh", "-c", &format!("{MOUNT} && {then}")]).current_dir(dir).stdin(Stdio::null());
        outer
    };
    let tried = unshared("! touch data/tried").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("NOT CHECKED: nothing can be mounted read-only here; that takes root");
        return None;
    }
    let inner = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
    // One that serves all the same is stopped, and found out by what it said.
    let mut outer = unshared("exec timeout 60 \"$0\" \"$@\"");
    outer.arg(inner.get_program()).args(inner.get_args());
    Some(outer.output().unwrap())
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut content(&path));
        }
        let bytes = std::fs::read(&path).ok();
        found.insert(path, bytes);
    }
    found
}

fn is_refused(dir: &Path) -> bool {
    let before = content(dir);
    let Some(ended) = start_read_only(dir) else { return false };
    let (out, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.code().is_some_and(|code| code != 0) && out.is_empty(), "{ended:?}");
    assert!(said.contains("data") && said.contains("Read-only file system"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(content(dir) == before, "something was made or changed");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d07_a_start_on_a_disk_that_may_only_be_read_says_so_ends_and_makes_nothing() {
    let dir = configured();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    if !is_refused(dir.path()) {
        return;
    }
    // It is the disk that was refused: on one that takes writes the same starts, and is refused again on the other,
    // whether it was closed or killed.
    let daemon = Program::serve(dir.path()).await;
    let keys = Keys::make(&daemon).await;
    assert_eq!(daemon.end_by("TERM").await.0.code(), Some(0));
    assert!(is_refused(dir.path()));
    let daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.list_posts(&keys.warm[0].0).await.status, 200);
    daemon.kill();
    assert!(is_refused(dir.path()));
    let daemon = Program::serve(dir.path()).await;
    assert_eq!(daemon.list_posts(&keys.warm[0].0).await.status, 200);
}
