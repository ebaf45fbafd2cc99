//! Certificates that are renewed while the daemon runs.
//!
//! Their files are looked at every few seconds, and at once when somebody says so. What is not whole changes
//! nothing and is told of in the log.
//!
//! Never here: what stands in such a file.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blocking;
use crate::http::tls::ServerTls;

/// How often the files are looked at: a renewal has days, and two small files cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The certificates of all listeners.
#[derive(Clone, Debug)]
pub(super) struct Certificates(Arc<[Arc<ServerTls>]>);

impl Certificates {
    pub(super) fn new(of_listeners: impl IntoIterator<Item = Arc<ServerTls>>) -> Self {
        Self(of_listeners.into_iter().collect())
    }

    /// Looks at the files until the shutdown.
    pub(super) fn keep(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        if self.0.is_empty() {
            return;
        }
        let (certificates, shutdown) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
                certificates.reload(false).await;
            }
        });
    }

    /// Looks at the files now. What is wrong with one is told each time when somebody asked (`again`), or else
    /// once.
    pub(super) async fn reload(&self, again: bool) {
        let certificates = Arc::clone(&self.0);
        let reloaded = blocking(move || certificates.iter().map(|tls| tls.reload(again)).collect::<Vec<_>>());
        let (mut taken, mut problems) = (0, Vec::new());
        for (of_listener, its_problems) in reloaded.await.unwrap_or_default() {
            taken += of_listener;
            problems.extend(its_problems);
        }
        for problem in &problems {
            tracing::error!(error = %problem, "a certificate was not renewed, the one before stays in use");
        }
        if taken > 0 || again {
            tracing::info!(renewed = taken, failed = problems.len(), "certificates were read again");
        }
    }
}
