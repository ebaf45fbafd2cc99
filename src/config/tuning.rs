//! The tables of `keyward.toml` of single values: `[cache]`, `[checkpoint]`, `[keyless]`, `[slow_hash]`,
//! `[signing]`, `[fingerprints]`, `[log]`.
//!
//! Each has a default and a range; docs/configuration.md gives the reason of both.
//!
//! Never here: what a number is used for.

use std::time::Duration;

use super::door::size;
use super::quantity;
use super::rate::rate_of;
use super::reader::Section;
use super::settings::{
    CacheSettings, FingerprintSettings, LogFormat, LogLevel, LogSettings, SlowHashSettings,
};
use crate::domain::hash::SlowHashCost;
use crate::domain::rate::Rate;

const PROOFS: usize = 100_000;
const PROOFS_MOST: u64 = 10_000_000;
const STORE_BYTES: u64 = 16 << 20;
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// OWASP's least for argon2id, as [`SlowHashCost::DEFAULT`]; less is not for sale.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const QUEUE: usize = 64;
const WORKERS: usize = 2;
const REPLAYS: usize = 1_000_000;
/// Clients send a handful of messages without a key to start a session; more is somebody else.
const KEYLESS_LIMIT: u64 = 300;
const KEYLESS_WINDOW_SECS: u32 = 60;

pub(super) fn cache(section: &Section<'_>) -> Option<CacheSettings> {
    let proofs_max = whole(section, "proofs_max", 0, PROOFS_MOST, PROOFS);
    let store_bytes =
        section.field("store_bytes").map_or(Some(STORE_BYTES), |field| size(&field, 1 << 20..=64 << 30));
    section.close();
    Some(CacheSettings { proofs_max: proofs_max?, store_bytes: store_bytes? })
}

pub(super) fn checkpoint(section: &Section<'_>) -> Option<Duration> {
    let bounds = Duration::from_millis(100)..=Duration::from_mins(1);
    let interval = section.field("interval").map_or(Some(CHECKPOINT_INTERVAL), |field| {
        field.parsed("a duration from 100ms to 60s, such as \"1s\"", |text| {
            quantity::duration(text).filter(|interval| bounds.contains(interval))
        })
    });
    section.close();
    interval
}

pub(super) fn slow_hash(section: &Section<'_>) -> Option<SlowHashSettings> {
    let memory_kib =
        whole(section, "memory_kib", MEMORY_KIB.into(), SlowHashCost::MEMORY_KIB_MAX.into(), MEMORY_KIB);
    let passes = whole(section, "passes", PASSES.into(), SlowHashCost::PASSES_MAX.into(), PASSES);
    let queue_max = whole(section, "queue_max", 1, 4096, QUEUE);
    let workers = whole(section, "workers", 1, 64, WORKERS);
    section.close();
    let cost = SlowHashCost::new(memory_kib?, passes?)?;
    Some(SlowHashSettings { cost, queue_max: queue_max?, workers: workers? })
}

pub(super) fn signing(section: &Section<'_>) -> Option<usize> {
    let replays_max = whole(section, "replays_max", 1_000, 100_000_000, REPLAYS);
    section.close();
    replays_max
}

/// The rate of callers without a key from one address.
pub(super) fn keyless(section: &Section<'_>) -> Option<Rate> {
    let default = || Rate::new(KEYLESS_LIMIT, KEYLESS_WINDOW_SECS, None).ok();
    let rate = section.field("rate").map_or_else(default, |field| rate_of(&field));
    section.close();
    rate
}

fn whole<T: TryFrom<u64>>(
    section: &Section<'_>,
    name: &'static str,
    least: u64,
    most: u64,
    default: T,
) -> Option<T> {
    match section.field(name) {
        Some(field) => field.integer(least..=most).and_then(|number| T::try_from(number).ok()),
        None => Some(default),
    }
}

pub(super) fn fingerprints(section: &Section<'_>) -> Option<FingerprintSettings> {
    let stored = section.field("stored").map_or(Some(true), |field| field.switch());
    section.close();
    Some(FingerprintSettings { stored: stored? })
}

pub(super) fn log(section: &Section<'_>) -> Option<LogSettings> {
    let format = section.field("format").map_or(Some(LogFormat::Human), |field| {
        field.parsed("human or json", |text| match text {
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    });
    let level = section.field("level").map_or(Some(LogLevel::Info), |field| {
        field.parsed("error, warn, info, debug or trace", |text| match text {
            "error" => Some(LogLevel::Error),
            "warn" => Some(LogLevel::Warn),
            "info" => Some(LogLevel::Info),
            "debug" => Some(LogLevel::Debug),
            "trace" => Some(LogLevel::Trace),
            _ => None,
        })
    });
    section.close();
    Some(LogSettings { format: format?, level: level? })
}
