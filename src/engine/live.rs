//! Live records: what the pipeline reads and counts of one key and one workspace.
//!
//! Facts are replaced as a whole and only by those of a newer record version, so that two changes that finish
//! out of order leave the newer one.
//!
//! Never here: a read of the file, a map.

mod bucket;
mod key;
mod meters;
mod workspace;

pub(super) use key::{CachedProof, KeyHold, LiveKey, awaits};
pub(super) use meters::{Asked, NotSold};
pub(super) use workspace::LiveWorkspace;
