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
use crate::config::system_profile;
use crate::domain::id::WorkspaceId;
use crate::domain::profile::SYSTEM_PROFILE;
use crate::domain::record::Label;
use crate::engine::{ChangeRefused, Engine, InstallSecret, NewWorkspace};
use crate::store::Store;

/// Reads the install secret, or makes one where nothing depends on another.
pub(super) fn install_secret(
    path: &Path,
    store: &Store,
    flags: LaunchFlags,
) -> Result<InstallSecret, StartError> {
    let makers = store.fingerprint_makers()?;
    let lost = |what| StartError::InstallSecretLost { path: path.to_owned(), what };
    match InstallSecret::read(path)? {
        Some(secret) => {
            let is_known = makers.is_empty() || makers.contains(&secret.fingerprinter().made_by());
            if is_known || flags.new_install_secret { Ok(secret) } else { Err(lost("another secret")) }
        }
        None if makers.is_empty() || flags.new_install_secret => Ok(InstallSecret::create(path)?),
        None => Err(lost("missing")),
    }
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
pub(super) fn admin_hosts(set: Vec<String>, address: SocketAddr) -> Vec<String> {
    if !set.is_empty() {
        return set;
    }
    let own = match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), own]
}
