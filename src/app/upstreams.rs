//! What stands behind each product: a server that is configured, or the sandbox.
//!
//! Never here: a request.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{StartError, blocking, tasks};
use crate::clock::Clock;
use crate::config::{LoadedProfile, ProfileSettings, UpstreamSetting};
use crate::gateway::{Upstream, UpstreamOptions};
use crate::sandbox::{RestShape, Sandbox, SandboxProduct};

/// The sandbox's file in the data directory.
const SANDBOX_FILE: &str = "sandbox.redb";

pub(super) async fn open_sandbox(data_dir: &Path, clock: &Clock) -> Result<Sandbox, StartError> {
    let (path, clock) = (data_dir.join(SANDBOX_FILE), clock.clone());
    let opened = blocking(move || Sandbox::open(&path, Arc::new(move || clock.now().wall))).await;
    Ok(opened.ok_or(StartError::BrokeOff("the sandbox"))??)
}

pub(super) fn upstream(
    profile: &ProfileSettings,
    sandbox: Option<&Sandbox>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Upstream, StartError> {
    let refused = |why: String| StartError::Upstream { profile: profile.loaded.profile.name.clone(), why };
    match (&profile.upstream, sandbox) {
        (UpstreamSetting::Http(base), _) => Upstream::http(&base.to_string(), UpstreamOptions::default())
            .map_err(|error| refused(error.to_string())),
        (UpstreamSetting::Sandbox, Some(sandbox)) => {
            let sandbox = sandbox.behind(sandbox_product(&profile.loaded));
            Ok(tasks::sandbox(tasks, &sandbox, shutdown))
        }
        (UpstreamSetting::Sandbox, None) => Err(refused("the sandbox is not open".to_owned())),
    }
}

/// What the sandbox is told of a product.
fn sandbox_product(loaded: &LoadedProfile) -> SandboxProduct {
    let rpc = loaded.profile.rpc.as_ref();
    let mut tools: Vec<_> = rpc.iter().flat_map(|door| door.tools.keys().cloned()).collect();
    tools.sort_unstable();
    SandboxProduct {
        endpoint: rpc.map(|door| door.endpoint.clone()),
        tools,
        rest: loaded
            .profile
            .rest
            .as_ref()
            .zip(loaded.rest.as_ref())
            .map(|(door, dialect)| RestShape { base: door.base.clone(), envelope: dialect.envelope() }),
    }
}
