//! The thin binary: hands the arguments to the library and its answer to the shell.
//!
//! Never here: a decision.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyward::cli::run()
}
