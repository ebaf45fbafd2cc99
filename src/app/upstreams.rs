//! What stands behind each product: a server that is configured, a command, the sandbox, or nobody.
//!
//! Never here: a request.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{StartError, blocking, tasks};
use crate::bridge::{Bridge, BridgeOptions, Processes};
use crate::clock::Clock;
use crate::config::{
    CommandSetting, LlmSettings, LoadedProfile, ProcessSetting, ProfileSettings, Settings, UpstreamSetting,
    inherited,
};
use crate::domain::causes::Causes;
use crate::gateway::Upstream;
use crate::sandbox::{LlmOptions, RestShape, Sandbox, SandboxOptions, SandboxProduct};
use crate::store::private_file;

/// The sandbox's file in the data directory.
const SANDBOX_FILE: &str = "sandbox.redb";
/// The folder of what is uploaded to the sandbox, in the data directory.
const SANDBOX_UPLOADS: &str = "sandbox-files";
/// The most bytes of a file that has a variable's value.
const VARIABLE_BYTES_MAX: usize = 64 << 10;
/// The most bytes of the language model's key file.
const LLM_KEY_BYTES_MAX: usize = 8 << 10;

pub(super) async fn open_sandbox(settings: &Settings, clock: &Clock) -> Result<Sandbox, StartError> {
    let clock = clock.clone();
    let options = SandboxOptions {
        file: settings.data_dir.join(SANDBOX_FILE),
        uploads: settings.data_dir.join(SANDBOX_UPLOADS),
        wall: Arc::new(move || clock.now().wall),
        llm: settings.llm.as_ref().map(llm).transpose()?,
    };
    let opened = blocking(move || Sandbox::open(options)).await;
    Ok(opened.ok_or(StartError::BrokeOff("the sandbox"))??)
}

/// The language model, its key read from its file.
fn llm(settings: &LlmSettings) -> Result<LlmOptions, StartError> {
    let read = |path: &Path| {
        let refused = |why: String| StartError::LlmKey { path: path.to_owned(), why };
        let found = private_file::read(path, LLM_KEY_BYTES_MAX)
            .map_err(|error| refused(Causes(&error).to_string()))?;
        let text = found.as_deref().and_then(|found| std::str::from_utf8(found).ok()).map(str::trim);
        match text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(text) => Ok(Zeroizing::new(text.to_owned())),
            None => Err(refused("expected one key, as the server gave it, and nothing else".to_owned())),
        }
    };
    Ok(LlmOptions {
        url: settings.url.clone(),
        model: settings.model.clone(),
        key: settings.key_file.as_deref().map(read).transpose()?,
        authorities: settings.ca_file.clone(),
        wait_max: settings.wait_max,
    })
}

pub(super) fn upstream(
    profile: &ProfileSettings,
    sandbox: Option<&Sandbox>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Upstream, StartError> {
    let refused = |why: String| StartError::Upstream { profile: profile.loaded.profile.name.clone(), why };
    match (&profile.upstream, sandbox) {
        (UpstreamSetting::Server(server), _) => {
            Upstream::server(server).map_err(|error| refused(Causes(&error).to_string()))
        }
        (UpstreamSetting::Command(command), _) => {
            let options = bridge(profile, command).map_err(refused)?;
            let bridge = Bridge::start(options, tasks, shutdown);
            Ok(tasks::bridge(tasks, &bridge, &command.options, shutdown))
        }
        (UpstreamSetting::Sandbox, Some(sandbox)) => {
            let sandbox = sandbox.behind(sandbox_product(&profile.loaded));
            Ok(tasks::sandbox(tasks, &sandbox, shutdown))
        }
        (UpstreamSetting::None, _) => Ok(Upstream::nobody()),
        (UpstreamSetting::Sandbox, None) => Err(refused("the sandbox is not open".to_owned())),
    }
}

/// How a command is started. The files of its variables are read now.
fn bridge(profile: &ProfileSettings, command: &CommandSetting) -> Result<BridgeOptions, String> {
    let loaded = &profile.loaded.profile;
    let door = loaded.rpc.as_ref().ok_or("a command stands behind an [rpc] door alone")?;
    let mut environment = inherited();
    // The last of two equal names holds.
    environment.extend(command.variables.iter().map(|(name, value)| (name.into(), value.into())));
    for (name, path) in &command.variable_files {
        environment.push((name.into(), variable(path)?.into()));
    }
    Ok(BridgeOptions {
        profile: loaded.name.clone(),
        endpoint: door.endpoint.clone(),
        command: command.program.clone().into(),
        arguments: command.arguments.iter().map(Into::into).collect(),
        environment,
        directory: command.directory.clone(),
        processes: match command.processes {
            ProcessSetting::Profile => Processes::Shared,
            ProcessSetting::Session { most, idle_max } => Processes::Sessions { most, idle_max },
        },
        // Ahead of the gate, which would only say that it is late.
        wait_max: command.options.answer_max.mul_f32(0.9),
    })
}

/// A variable's value out of its own file, without the line break at its end.
fn variable(path: &Path) -> Result<String, String> {
    let refused = |why: &str| format!("the file of a variable, {}: {why}", path.display());
    let found =
        private_file::read(path, VARIABLE_BYTES_MAX).map_err(|error| refused(&Causes(&error).to_string()))?;
    let found = found.ok_or_else(|| refused("there is none"))?;
    let text = std::str::from_utf8(&found).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| refused("expected UTF-8 without a NUL"))?;
    Ok(text.strip_suffix('\n').unwrap_or(text).to_owned())
}

/// What the sandbox is told of a product.
fn sandbox_product(loaded: &LoadedProfile) -> SandboxProduct {
    let rpc = loaded.profile.rpc.as_ref();
    let mut tools: Vec<_> = rpc.iter().flat_map(|door| door.tools.keys().cloned()).collect();
    tools.sort_unstable();
    SandboxProduct {
        endpoint: rpc.map(|door| door.endpoint.clone()),
        sse: rpc.and_then(|door| door.sse.clone()),
        tools,
        rest: loaded
            .profile
            .rest
            .as_ref()
            .zip(loaded.rest.as_ref())
            .map(|(door, dialect)| RestShape { base: door.base.clone(), envelope: dialect.envelope() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn settings(key_file: &Path) -> LlmSettings {
        LlmSettings {
            url: http::Uri::from_static("http://127.0.0.1:1/v1"),
            model: "small".to_owned(),
            key_file: Some(key_file.to_owned()),
            ca_file: None,
            wait_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_variables_value_is_read_from_a_closed_file_and_from_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(variable(&path).unwrap_err().contains("there is none"));
        private_file::create(&path, b"hunter2 x\n").unwrap();
        assert_eq!(variable(&path).unwrap(), "hunter2 x");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let told = variable(&path).unwrap_err();
        assert!(told.contains("chmod 600") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_models_key_is_read_from_a_closed_file_and_from_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("llm.key");
        private_file::create(&path, b"hunter2\n").unwrap();
        assert_eq!(llm(&settings(&path)).unwrap().key.unwrap().as_str(), "hunter2");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let Err(error) = llm(&settings(&path)) else { panic!("an open file was taken") };
        assert!(error.to_string().contains("chmod 600") && !format!("{error:?}").contains("hunter2"));
        private_file::replace(&path, b"hunter 2").unwrap();
        let Err(error) = llm(&settings(&path)) else { panic!("two words were taken") };
        assert!(error.to_string().contains("expected one key") && !format!("{error:?}").contains("hunter"));
        let Err(error) = llm(&settings(&dir.path().join("absent"))) else { panic!("no file was taken") };
        assert!(error.to_string().contains("expected one key"), "{error}");
    }
}
