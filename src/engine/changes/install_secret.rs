//! A new install secret while the daemon runs: the one before it is retired, and what it made stays good.
//!
//! File first, store second, memory last. A crash between file and store leaves a new current secret that
//! made nothing yet, which the next start takes and notes. A caller that hangs up stops nothing.
//!
//! Never here: a secret, or a retired one's end; that is the operator's, since keys and audit rows hang on it.

use std::sync::Arc;

use super::{ChangeRefused, run_to_the_end};
use crate::domain::audit::{Actor, AuditAction, Subject};
use crate::domain::denial::Fault;
use crate::domain::hash::SecretId;
use crate::engine::Engine;

/// The install secrets by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallSecretNames {
    /// The one that new things are made under.
    pub current: SecretId,
    /// Those before it, newest first.
    pub retired: Vec<SecretId>,
}

impl Engine {
    /// Makes a new install secret and retires the present one. No key is lost and none needs the slow hash;
    /// each is learnt anew at its next first use.
    pub async fn rotate_install_secret(
        self: &Arc<Self>,
        actor: Actor,
    ) -> Result<InstallSecretNames, ChangeRefused> {
        let engine = Arc::clone(self);
        run_to_the_end(async move {
            let mut secrets = engine.secrets.lock().await;
            let before = secrets.clone();
            let rotated = tokio::task::spawn_blocking(move || before.rotated()).await;
            let rotated = rotated.unwrap_or(Err(crate::engine::InstallSecretError::Random));
            let rotated = rotated.map_err(ChangeRefused::InstallSecret)?;
            let entry = engine.entry(actor, AuditAction::InstallSecretRotated, Subject::Installation);
            engine.store.note_install_secret(rotated.current().id(), entry).await?;
            engine.store.seal_with(rotated.current().audit_sealer());
            let signer = rotated.assertion_signer().map_err(ChangeRefused::InstallSecret)?;
            engine.assertions.sign_under(signer, engine.clock.now().wall);
            engine.known.take_maker(rotated.current().id());
            engine.keyring.replace(&Arc::new(Arc::new(rotated.keyring())), |_| true);
            *secrets = rotated;
            let keyring = engine.keyring.load();
            let mut names = keyring.names();
            let current = names.next().ok_or(Fault::Internal)?;
            Ok(InstallSecretNames { current, retired: names.collect() })
        })
        .await
    }
}
