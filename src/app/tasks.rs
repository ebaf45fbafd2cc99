//! The long tasks: listeners, checkpoints, the sandbox's connections and its upkeep. Each ends when it is told.
//!
//! Never here: what a task does; each is a loop around a call into another room.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bridge::Bridge;
use crate::domain::causes::Causes;
use crate::engine::Engine;
use crate::gateway::{MemoryDialer, Upstream, UpstreamOptions};
use crate::http::server::{ServerOptions, serve};
use crate::http::socket::Socket;
use crate::http::{Peer, Request, Response};
use crate::sandbox::Sandbox;

/// How late the sandbox may do what is due. Nobody sees it: readers are told as if it were done.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is looked whether a walk over the keys is due.
const WALK_INTERVAL: Duration = Duration::from_mins(1);
/// When one that failed is tried again.
const WALK_AGAIN_INTERVAL: Duration = Duration::from_mins(10);

/// Serves a listener by `answer` until the shutdown, and then what is in flight.
pub(super) fn serve_door<S, F>(
    tasks: &TaskTracker,
    socket: Socket,
    options: ServerOptions,
    shutdown: &CancellationToken,
    answer: S,
) where
    S: Fn(Request, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    tasks.spawn(serve(socket, options, shutdown.clone(), answer));
}

/// Saves what is counted, each `interval`. A failure is logged when it begins and when it ends, not each
/// second between.
pub(super) fn checkpoints(
    tasks: &TaskTracker,
    engine: &Arc<Engine>,
    interval: Duration,
    shutdown: &CancellationToken,
) {
    let (engine, shutdown) = (Arc::clone(engine), shutdown.clone());
    tasks.spawn(async move {
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            match engine.checkpoint().await {
                Err(error) if !failing => {
                    tracing::error!(error = %Causes(&error), "a checkpoint could not be saved, trying again");
                }
                Ok(_) if failing => tracing::info!("checkpoints are saved again"),
                Ok(_) | Err(_) => {}
            }
            failing = !engine.is_ready();
        }
    });
}

/// Removes what is stored of fingerprints, where they are to be kept in memory alone. What is left at a stop
/// or a failure goes at the next start.
pub(super) fn forget_fingerprints(tasks: &TaskTracker, engine: &Arc<Engine>, shutdown: &CancellationToken) {
    let (engine, shutdown) = (Arc::clone(engine), shutdown.clone());
    tasks.spawn(async move {
        match shutdown.run_until_cancelled(engine.forget_fingerprints()).await {
            Some(Ok(keys)) if keys > 0 => tracing::info!(keys, "stored fingerprints were removed"),
            Some(Err(error)) => {
                tracing::error!(error = %Causes(&error), "stored fingerprints could not all be removed");
            }
            Some(Ok(_)) | None => {}
        }
    });
}

/// Walks over the file for what could be proven at all, at once and whenever it is due again. Until the first
/// walk is over, and while none succeeds, a text that is no key costs a read of the file. Keys that cannot be
/// read are told when their number changes.
pub(super) fn known_keys(tasks: &TaskTracker, engine: &Arc<Engine>, shutdown: &CancellationToken) {
    let (engine, shutdown) = (Arc::clone(engine), shutdown.clone());
    tasks.spawn(async move {
        let mut unreadable = 0;
        loop {
            let pause = match shutdown.run_until_cancelled(engine.keep_known()).await {
                Some(Ok(Some(walked))) if walked.unreadable > 0 => {
                    if let Some(first) = walked.first_unreadable.filter(|_| walked.unreadable != unreadable) {
                        tracing::error!(keys = walked.unreadable, first = %Causes(&first), "there are keys that cannot be read: their callers get faults, and each unknown key costs a read");
                    }
                    unreadable = walked.unreadable;
                    WALK_AGAIN_INTERVAL
                }
                Some(Ok(_)) => WALK_INTERVAL,
                Some(Err(error)) => {
                    tracing::warn!(error = %Causes(&error), "the keys could not be walked over: each unknown key costs a read");
                    WALK_AGAIN_INTERVAL
                }
                None => break,
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
    });
}

/// Has the sandbox do what is due, at once and then again and again. A failure is logged when it begins and when
/// it ends.
pub(super) fn sandbox_upkeep(tasks: &TaskTracker, sandbox: &Sandbox, shutdown: &CancellationToken) {
    let (sandbox, shutdown) = (sandbox.clone(), shutdown.clone());
    tasks.spawn(async move {
        let mut failing = false;
        loop {
            match sandbox.keep_up().await {
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(error = %Causes(&error), "the sandbox cannot do what is due, trying again");
                }
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the sandbox does what is due again");
                }
                Ok(()) | Err(_) => {}
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_none() {
                break;
            }
        }
    });
}

/// Serves the sandbox over connections in memory and gives the upstream that dials it.
pub(super) fn sandbox(tasks: &TaskTracker, sandbox: &Sandbox, shutdown: &CancellationToken) -> Upstream {
    let (dialer, mut dialled) = MemoryDialer::new();
    let (sandbox, shutdown, connections) = (sandbox.clone(), shutdown.clone(), tasks.clone());
    tasks.spawn(async move {
        while let Some(Some(connection)) = shutdown.run_until_cancelled(dialled.recv()).await {
            let (sandbox, shutdown) = (sandbox.clone(), shutdown.clone());
            connections.spawn(async move {
                shutdown.run_until_cancelled(sandbox.serve(connection)).await;
            });
        }
    });
    Upstream::memory(dialer, UpstreamOptions::default())
}

/// Serves a command over connections in memory and gives the upstream that dials it.
pub(super) fn bridge(
    tasks: &TaskTracker,
    bridge: &Bridge,
    options: &UpstreamOptions,
    shutdown: &CancellationToken,
) -> Upstream {
    let (dialer, mut dialled) = MemoryDialer::new();
    let (bridge, shutdown, connections) = (bridge.clone(), shutdown.clone(), tasks.clone());
    tasks.spawn(async move {
        while let Some(Some(connection)) = shutdown.run_until_cancelled(dialled.recv()).await {
            let (bridge, shutdown) = (bridge.clone(), shutdown.clone());
            connections.spawn(async move {
                shutdown.run_until_cancelled(bridge.serve(connection)).await;
            });
        }
    });
    Upstream::memory(dialer, options.clone())
}
