//! The signatures that were taken, from a clean stop to the next start.
//!
//! A stop writes all of them, in pieces; a start takes them out again in one transaction. That there is no
//! piece at all tells a start that the last stop was none, and so does one that cannot be read.
//!
//! Never here: how long a signature counts.

use super::Store;
use super::changes::Done;
use super::codec;
use super::error::{ChangeError, StoreError};
use super::queue::Lane;
use super::tables::WriteTables;
use crate::domain::causes::Causes;
use crate::domain::replays::SavedReplays;
use crate::domain::signature::UsedSignature;

/// Signatures in one row: about 230 kB, so that a million of them are a few hundred rows.
const PIECE_MAX: usize = 4_096;

impl Store {
    /// Saves these in the place of what was saved before; none is a piece as well.
    pub async fn save_used_signatures(&self, saved: SavedReplays) -> Result<(), ChangeError> {
        let rows = saved.used.len().div_ceil(PIECE_MAX).max(1);
        self.change(Lane::Checkpoint, rows, move |tables| save(tables, &saved)).await
    }

    /// Takes out what the last clean stop saved; `None` when nothing was. What was taken is gone, durably.
    pub async fn take_used_signatures(&self) -> Result<Option<SavedReplays>, ChangeError> {
        self.change(Lane::Checkpoint, 1, take).await
    }
}

fn save(tables: &mut WriteTables<'_>, saved: &SavedReplays) -> Result<Done<()>, ChangeError> {
    remove_all(tables)?;
    let empty: &[UsedSignature] = &[];
    let pieces = saved.used.chunks(PIECE_MAX).chain(saved.used.is_empty().then_some(empty));
    for (number, piece) in (0..).zip(pieces) {
        let bytes = codec::replays::to_bytes(piece, saved.let_go_through)?;
        tables
            .replays
            .insert(number, &bytes)
            .map_err(StoreError::database("write the signatures that were taken"))?;
    }
    Ok(Done { value: (), wrote: true })
}

fn take(tables: &mut WriteTables<'_>) -> Result<Done<Option<SavedReplays>>, ChangeError> {
    let saved = match saved(tables) {
        Err(error) if error.is_of_one_record() => {
            tracing::error!(
                error = %Causes(&error),
                "the signatures that the last stop saved cannot be read; it counts as none"
            );
            remove_all(tables)?;
            return Ok(Done { value: None, wrote: true });
        }
        saved => saved?,
    };
    if saved.is_some() {
        remove_all(tables)?;
    }
    let wrote = saved.is_some();
    Ok(Done { value: saved, wrote })
}

fn saved(tables: &WriteTables<'_>) -> Result<Option<SavedReplays>, StoreError> {
    let mut saved: Option<SavedReplays> = None;
    for row in
        tables.replays.records().map_err(StoreError::database("read the signatures that were taken"))?
    {
        let (number, bytes) = row.map_err(StoreError::database("read the signatures that were taken"))?;
        let piece = codec::replays::from_bytes(number.value(), bytes.value())?;
        let saved = saved.get_or_insert_default();
        saved.used.extend(piece.used);
        saved.let_go_through = saved.let_go_through.max(piece.let_go_through);
    }
    Ok(saved)
}

fn remove_all(tables: &mut WriteTables<'_>) -> Result<(), StoreError> {
    tables.replays.remove_in::<u32>(..).map_err(StoreError::database("remove the signatures that were taken"))
}
