//! Records as bytes: one byte of format, then `MessagePack` with named fields.
//!
//! Each kind of record has a twin struct in a file below, which converts to and from the domain type by hand
//! and reads every value through the domain's own constructors: what they refuse is [`StoreError::Corrupt`].
//! A field that no known format names is refused too, since rewriting the record would lose it; a new field
//! is a new format. Golden bytes pin each kind.
//!
//! Never here: a panic over bytes, or an error that shows them.

pub(super) mod audit;
pub(super) mod counts;
#[cfg(test)]
mod golden;
pub(super) mod key;
pub(super) mod replays;
pub(super) mod shapes;
pub(super) mod usage;
pub(super) mod workspace;

use std::fmt;
use std::io::Cursor;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::StoreError;
use crate::domain::rate::{Rate, Rates};

/// The format that every record is written in. Each format added fields to the one before; all are read.
pub(super) const FORMAT: u8 = 3;

/// Which record is read, for the error that may come of it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) key: &'a dyn fmt::Display,
}

impl Place<'_> {
    /// The error that this record cannot be read because of `what`.
    pub(super) fn corrupt(&self, what: &'static str) -> StoreError {
        StoreError::Corrupt { table: self.table, key: self.key.to_string(), what }
    }
}

/// Writes a twin struct down.
fn encode<T: Serialize>(twin: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![FORMAT];
    twin.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map()).map_err(|_| {
        // Our twins hold nothing that MessagePack cannot say, and memory takes every write.
        StoreError::BrokeOff
    })?;
    Ok(bytes)
}

/// Reads a twin struct.
fn decode<T: DeserializeOwned>(place: Place<'_>, bytes: &[u8]) -> Result<T, StoreError> {
    let (format, body) = bytes.split_first().ok_or_else(|| place.corrupt("it is empty"))?;
    match *format {
        1..=FORMAT => {}
        0 => return Err(place.corrupt("its format byte is 0")),
        found => {
            let key = place.key.to_string();
            return Err(StoreError::NewerFormat { table: place.table, key, found, expected: FORMAT });
        }
    }
    // The cause is not kept: its text can quote the record.
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(body));
    let twin =
        T::deserialize(&mut reader).map_err(|_| place.corrupt("its fields are not those of its format"))?;
    let whole = u64::try_from(body.len()).is_ok_and(|length| reader.position() == length);
    if whole { Ok(twin) } else { Err(place.corrupt("bytes follow its end")) }
}

/// A fixed number of bytes, written as `MessagePack`'s binary.
#[derive(Clone, Copy)]
struct Bytes<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Serialize for Bytes<LEN> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const LEN: usize> Deserialize<'de> for Bytes<LEN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor<const LEN: usize>;

impl<const LEN: usize> Visitor<'_> for BytesVisitor<LEN> {
    type Value = Bytes<LEN>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LEN} bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes.try_into().map(Bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// The twin of [`Rate`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateTwin {
    limit: u64,
    window_secs: u32,
    burst: u64,
}

impl From<Rate> for RateTwin {
    fn from(rate: Rate) -> Self {
        Self { limit: rate.limit(), window_secs: rate.window_secs(), burst: rate.burst() }
    }
}

/// The first of some rates and the others, which there may be since format 3.
fn rates_to_twins(rates: Option<&Rates>) -> (Option<RateTwin>, Vec<RateTwin>) {
    let Some((first, others)) = rates.map(Rates::split) else { return (None, Vec::new()) };
    (Some((*first).into()), others.iter().map(|rate| (*rate).into()).collect())
}

/// The rates of both fields.
fn rates_from_twins(
    first: Option<RateTwin>,
    others: Vec<RateTwin>,
    place: Place<'_>,
) -> Result<Option<Rates>, StoreError> {
    let Some(first) = first else {
        return if others.is_empty() { Ok(None) } else { Err(place.corrupt("its first rate is missing")) };
    };
    let all = std::iter::once(first).chain(others).map(|twin| twin.into_domain(place));
    let rates = Rates::new(all.collect::<Result<_, _>>()?);
    rates.map(Some).map_err(|_| place.corrupt("its rates do not go together"))
}

impl RateTwin {
    fn into_domain(self, place: Place<'_>) -> Result<Rate, StoreError> {
        Rate::new(self.limit, self.window_secs, Some(self.burst))
            .map_err(|_| place.corrupt("its rate is out of bounds"))
    }
}
