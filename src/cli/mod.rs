//! The command line: reads arguments, runs one command, says how it ended.
//!
//! Results go to stdout, logs and remarks to stderr. A raw key is never an argument and is printed only by
//! the command that made it. Commands that change something speak to a running daemon's admin API.
//!
//! Never here: a decision about a key, or the store.

mod admin_calls;
mod admin_client;
mod arguments;
mod clock;
mod demo;
mod exit;
mod explain;
mod failure;
mod import;
mod init;
mod install_secret;
mod key_file;
mod logs;
mod mcp_client;
mod output;
mod profile_map;
mod profiles;
mod reach;
mod serve;
mod signals;
mod usage;
mod verify_audit;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

pub use exit::Exit;

use arguments::{Arguments, Command, KeyCommands, ProfileCommand};
use failure::CliError;
use output::Output;

/// Runs the command that the process' arguments name.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to stdout and end well, the rest goes to stderr.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let mut output = Output::standard();
    let done = command(arguments, &mut output);
    let done = done.and_then(|()| output.lost().map_or(Ok(()), |error| Err(CliError::Output(error))));
    match done {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            error.tell(&mut output);
            error.exit().into()
        }
    }
}

fn command(arguments: Arguments, output: &mut Output) -> Result<(), CliError> {
    let json = arguments.json;
    match arguments.command {
        Command::Demo(arguments) => on_all_cores(demo::demo(arguments, json, output)),
        Command::Serve(arguments) => on_all_cores(serve::serve(arguments, json, output)),
        Command::Init { dir } => init::init(&dir, json, output),
        Command::Check { config } => init::check(&config, json, output),
        Command::Key(KeyCommands::OneCall(command)) => {
            on_this_thread(admin_calls::key(command, json, output))
        }
        Command::Key(KeyCommands::Import(arguments)) => {
            on_this_thread(import::import(arguments, json, output))
        }
        Command::Workspace(command) => on_this_thread(admin_calls::workspace(command, json, output)),
        Command::VerifyAudit(arguments) => on_this_thread(verify_audit::run(arguments, json, output)),
        Command::InstallSecret(command) => {
            on_this_thread(install_secret::install_secret(command, json, output))
        }
        Command::Clock(command) => on_this_thread(clock::clock(command, json, output)),
        Command::Profile(ProfileCommand::Map(arguments)) => {
            on_this_thread(profile_map::run(&arguments, json, output))
        }
        Command::Profile(ProfileCommand::List) => profiles::list(json, output),
        Command::Profile(ProfileCommand::Show { name }) => profiles::show(&name, json, output),
    }
}

/// Runs a daemon.
fn on_all_cores(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let mut builder = runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().map_err(|error| CliError::System("a runtime", error))?;
    let done = runtime.block_on(work);
    // A stop at once waits for nothing; after a drain there is nothing left to wait for.
    runtime.shutdown_background();
    done
}

/// Runs a call or two.
fn on_this_thread(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|error| CliError::System("a runtime", error))?;
    runtime.block_on(work)
}
