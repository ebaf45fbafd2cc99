//! `keyward serve`: the daemon, from its start to the end of its drain.
//!
//! The announcement is printed once every address accepts connections. The first SIGTERM or SIGINT drains, a
//! second one ends at once.
//!
//! Never here: a key on stdout.

use serde_json::{Map, Value, json};

use super::arguments::ServeArguments;
use super::failure::CliError;
use super::logs;
use super::output::Output;
use super::signals::{Signals, Wish};
use crate::app::{LaunchFlags, Running, harden, launch};
use crate::clock::Clock;
use crate::config::{self, Flags, Settings};

/// Runs the daemon until it is told to stop.
pub(super) async fn serve(
    arguments: ServeArguments,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let flags =
        Flags { data_dir: arguments.data, admin_listen: arguments.admin_listen, ..arguments.log.flags() };
    let settings = config::load(&arguments.config, &flags).map_err(CliError::Config)?;
    let flags = LaunchFlags { new_install_secret: arguments.new_install_secret };
    let Some((running, mut signals)) = start(settings, flags).await? else { return Ok(()) };
    if json {
        output.line(announcement(&running));
    } else {
        for (profile, url) in surfaces(&running) {
            output.line(format_args!("{profile}  {url}"));
        }
        output.line(format_args!("admin  {}", running.admin()));
    }
    reload_until_stop(&running, &mut signals).await;
    drain(running, signals).await
}

/// Starts the log and the daemon; nothing, when it was told to stop before it stood.
pub(super) async fn start(
    settings: Settings,
    flags: LaunchFlags,
) -> Result<Option<(Running, Signals)>, CliError> {
    let clock = Clock::machine();
    logs::start(settings.log, &clock);
    harden();
    let mut signals = Signals::take().map_err(|error| CliError::System("to take over signals", error))?;
    tokio::select! {
        running = launch(settings, clock, flags) => Ok(Some((running?, signals))),
        () = signals.next() => Ok(None),
    }
}

/// Reads certificates again at each SIGHUP, until the wish to stop.
async fn reload_until_stop(running: &Running, signals: &mut Signals) {
    while signals.wish().await == Wish::Reload {
        running.reload_certificates().await;
    }
}

/// Drains. A second wish to stop ends it at once.
pub(super) async fn drain(running: Running, mut signals: Signals) -> Result<(), CliError> {
    tracing::info!("stopping: requests in flight may end; a second signal stops at once");
    tokio::select! {
        stopped = running.stop() => Ok(stopped?),
        () = signals.second() => Err(CliError::StoppedAtOnce),
    }
}

/// The addresses as scripts read them.
pub(super) fn announcement(running: &Running) -> Value {
    let surfaces: Map<_, _> =
        surfaces(running).map(|(profile, url)| (profile.to_owned(), json!(url))).collect();
    json!({"surfaces": surfaces, "admin": running.admin().to_string()})
}

fn surfaces(running: &Running) -> impl Iterator<Item = (&str, String)> {
    running.surfaces().iter().map(|(profile, endpoint)| (profile.as_str(), endpoint.to_string()))
}
