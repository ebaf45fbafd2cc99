//! The first start: the install secret, the first admin key, and the names by which the admin listener may be
//! called.
//!
//! A secret that stored fingerprints depend on is never silently replaced, and the first admin key stands in
//! its file before it stands in the store, so that a crash between leaves a key that the next start takes.
//!
//! Never here: a key on stdout, in a log or in an error.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::{LaunchFlags, StartError, files};
use crate::clock::Clock;
use crate::config::system_profile;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, Subject};
use crate::domain::id::WorkspaceId;
use crate::domain::profile::SYSTEM_PROFILE;
use crate::domain::record::Label;
use crate::engine::{ChangeRefused, Engine, InstallSecrets, NewWorkspace};
use crate::http::ListenAddress;
use crate::store::Store;

/// Reads the install secrets, or makes one where nothing depends on another. One known secret among them is
/// enough: a crash may have left a new one before it.
pub(super) fn install_secrets(
    path: &Path,
    store: &Store,
    flags: LaunchFlags,
) -> Result<InstallSecrets, StartError> {
    let known = store.install_secret_names()?;
    let lost = |what| StartError::InstallSecretLost { path: path.to_owned(), what };
    match InstallSecrets::read(path)? {
        Some(secrets) => {
            let is_known = known.is_empty() || known.iter().any(|name| secrets.knows(*name));
            if is_known || flags.new_install_secret { Ok(secrets) } else { Err(lost("another secret")) }
        }
        None if known.is_empty() || flags.new_install_secret => Ok(InstallSecrets::create(path)?),
        None => Err(lost("missing")),
    }
}

/// Notes an install secret that is new to a store which knows others, before anything is made under it, so
/// that the next start takes it as it is. In a new store the first key does so.
pub(super) async fn note_install_secret(
    secrets: &InstallSecrets,
    store: &Store,
    clock: &Clock,
) -> Result<(), StartError> {
    let (known, current) = (store.install_secret_names()?, secrets.current().id());
    if known.is_empty() || known.contains(&current) {
        return Ok(());
    }
    secrets.seal(store);
    let audit = AuditEntry {
        at: clock.now().wall,
        actor: Actor::System,
        action: AuditAction::InstallSecretRotated,
        subject: Subject::Installation,
        changes: Vec::new(),
    };
    store.note_install_secret(current, audit).await.map_err(StartError::NewSecret)?;
    tracing::warn!(
        "a new install secret is in use: fingerprints of a secret that is gone are learnt anew, by a slow hash each"
    );
    Ok(())
}

/// Makes the workspace of the admin keys and its first key, unless they are there.
pub(super) async fn first_admin_key(engine: &Arc<Engine>, file: &Path) -> Result<(), StartError> {
    match engine.workspace(WorkspaceId::SYSTEM).await {
        Ok(_) => return Ok(()),
        Err(ChangeRefused::NoSuchWorkspace) => {}
        Err(error) => return Err(StartError::FirstKey(error)),
    }
    let raw = files::admin_key(file, &system_profile().tag)?;
    let Some(name) = Label::parse("admin keys") else { return Err(StartError::BrokeOff("a name")) };
    let new = NewWorkspace {
        name,
        profile: SYSTEM_PROFILE.to_owned(),
        plan: "admin".to_owned(),
        billing_anchor: None,
        brands: Vec::new(),
    };
    let made = engine.create_system_workspace(new, raw).await;
    let made = made.map_err(StartError::FirstKey)?;
    tracing::info!(file = %file.display(), key = %made.default_key.record.id, "the first admin key was made");
    Ok(())
}

/// The names that the admin listener answers to. Unless some are set, only those that a web page cannot make
/// its own.
pub(super) fn admin_hosts(set: Vec<String>, listen: &ListenAddress) -> Vec<String> {
    if !set.is_empty() {
        return set;
    }
    let own = listen.tcp().map(|address| match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    });
    let always = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
    always.into_iter().chain(own).collect()
}
