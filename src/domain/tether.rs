//! What ties an exchange that was let through to what it was let through on.
//!
//! A grant is given once, an exchange may last for hours. Whoever carries its bytes asks the tether before each
//! piece, and again and again while nothing comes: the answer is about this very moment, so whatever ends a
//! key (a revoke, a suspension, an expiry, an overlap's end, a lost address) ends what it has open.
//!
//! Never here: an answer that is remembered, or what is asked (who grants says that).

use std::fmt;
use std::sync::Arc;

use super::denial::Denial;

type Check = dyn Fn() -> Result<(), Denial> + Send + Sync;

/// Says whether what was granted still stands. Cheap to clone.
#[derive(Clone)]
pub struct Tether(Arc<Check>);

impl Tether {
    /// A tether that asks `check`, which must be quick, must not block, and answers for the moment at which it
    /// is asked.
    pub fn new(check: impl Fn() -> Result<(), Denial> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Whether it still stands, at this moment; if not, why.
    pub fn check(&self) -> Result<(), Denial> {
        (self.0)()
    }
}

impl fmt::Debug for Tether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tether")
    }
}
