//! What Keyward is measured against. Each is started as its own guide would have it for speed: one worker on one core,
//! no log, connections kept.
//!
//! Never here: a figure.

pub(crate) mod haproxy;
pub(crate) mod hyper;
pub(crate) mod nginx;
