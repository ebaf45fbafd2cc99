//! Interim answers (1xx): an upstream may send a few, and none of them is passed on.
//!
//! A server that sends nothing but these would keep an exchange open without ever pausing, so they are
//! counted.
//!
//! Never here: an answer that ends an exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::http::Body;

/// The most interim answers to one request. Servers send one or two.
pub(super) const INTERIM_MAX: u32 = 16;

/// Counts the interim answers to one request, as hyper tells them.
#[derive(Clone, Debug, Default)]
pub(super) struct Interim(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    came: AtomicU32,
    /// The bound.
    passed: Notify,
}

impl Interim {
    /// Counts those to `request` from here on.
    pub(super) fn counting(request: &mut http::Request<Body>) -> Self {
        let interim = Self::default();
        let counted = Arc::clone(&interim.0);
        hyper::ext::on_informational(request, move |_| {
            if counted.came.fetch_add(1, Ordering::Relaxed) >= INTERIM_MAX {
                counted.passed.notify_one();
            }
        });
        interim
    }

    /// Whether there were too many.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.came.load(Ordering::Relaxed) > INTERIM_MAX
    }

    /// Waits until there are too many.
    pub(super) async fn too_many(&self) {
        self.0.passed.notified().await;
    }
}
