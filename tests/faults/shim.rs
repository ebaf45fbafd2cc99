//! A small library that is put in front of the daemon's C library: it sets the wall clock off, holds syncs up, counts
//! them, and kills the process at one of them.
//!
//! The C compiler that ring needs builds it (`shim.c`), once for each test that asks. What it does is said through a
//! file that both processes share, and can be changed while the daemon runs.
//!
//! Never here: a fault that the real kernel could not be the cause of.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::program::{Program, command};

/// The numbers of the shared file, in their order there.
#[derive(Clone, Copy, Debug)]
enum Number {
    WallOffMicros,
    SyncHeldMicros,
    KillAtSync,
    KillBehind,
    /// Syncs that began since they were last counted anew.
    Syncs,
}

const NUMBERS: u64 = 5;

pub(crate) struct Shim {
    library: PathBuf,
    control: File,
    control_path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Shim {
    /// Builds it; without a C compiler, or off Linux, that is told and there is none.
    pub(crate) fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
        std::fs::write(&source, include_str!("shim.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
        match compiler.output() {
            Ok(built) if built.status.success() && cfg!(target_os = "linux") => {}
            Ok(built) => {
                println!("NOT CHECKED: shim.c is not built: {}", String::from_utf8_lossy(&built.stderr));
                return None;
            }
            Err(error) => {
                println!("NOT CHECKED: there is no C compiler: {error}");
                return None;
            }
        }
        let control_path = dir.path().join("control");
        let options = || File::options().read(true).write(true).create(true).truncate(false).clone();
        let control = options().open(&control_path).unwrap();
        control.set_len(NUMBERS * 8).unwrap();
        Some(Self { library, control, control_path, _dir: dir })
    }

    /// The daemon's command with the library in front.
    pub(crate) fn command(&self, dir: &Path) -> Command {
        let mut command = command(dir, &["serve", "--config", "keyward.toml", "--json"]);
        command.env("LD_PRELOAD", &self.library).env("FAULTS_CONTROL", &self.control_path);
        command
    }

    pub(crate) async fn serve(&self, dir: &Path) -> Program {
        Program::spawn(dir, &mut self.command(dir)).await
    }

    /// Sets the wall clock so far from the machine's.
    pub(crate) fn set_wall_off(&self, secs: i64) {
        self.set(Number::WallOffMicros, secs * 1_000_000);
    }

    /// Holds each sync up for so long, those under way as well. Nothing lets them go at once.
    pub(crate) fn hold_syncs(&self, held: Duration) {
        self.set(Number::SyncHeldMicros, i64::try_from(held.as_micros()).unwrap());
    }

    /// The next process kills itself at its sync of this number, right before it or right behind it; 0 is never.
    pub(crate) fn kill_at_sync(&self, sync: i64, is_behind: bool) {
        self.set(Number::Syncs, 0);
        self.set(Number::KillBehind, i64::from(is_behind));
        self.set(Number::KillAtSync, sync);
    }

    fn set(&self, number: Number, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), number as u64 * 8).unwrap();
    }
}
