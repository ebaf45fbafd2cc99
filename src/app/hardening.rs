//! What the process gives up before it reads a secret: core dumps, and being looked into by others of its user.
//!
//! Memory holds sub-keys of the install secret and, for a moment each, presented keys; neither belongs into a
//! file that a crash leaves. A system that refuses is told in the log, and the daemon goes on: it is no less
//! safe than it was.
//!
//! Never here: a reason not to start.

use rustix::process::{Resource, Rlimit, geteuid, setrlimit};

/// Takes away core dumps and tracing, and says so when the system refuses or when there is more right than
/// needed. Called once, before any secret is read.
pub(crate) fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be limited: a crash may write keys to a file");
    }
    if let Err(error) = not_dumpable() {
        tracing::warn!(%error, "this process could not be closed to debuggers and core dumps of its user");
    }
    if geteuid().is_root() {
        tracing::warn!(
            "running as root, which nothing here needs: run it as a user of its own that owns the data directory"
        );
    }
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
const fn not_dumpable() -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_hardened_process_dumps_no_core_and_nobody_of_its_user_may_trace_it() {
        harden();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // Again is fine, as in a process that serves twice.
        harden();
    }
}
