//! What `/metrics` tells: counts of outcomes, slow hashes, checkpoints and commits, and the clock, as
//! `OpenMetrics` text.
//!
//! Never here: a label that grows with keys or callers.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::domain::believed_time::ClockState;
use crate::engine::{ClockView, Engine};

/// The content type of the text.
pub(super) const CONTENT_TYPE_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let mut registry = Registry::with_prefix("keyward");
        registry.register_collector(Box::new(EngineCounts(engine)));
        Self { registry }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; an empty page would say that it did.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct EngineCounts(Arc<Engine>);

impl std::fmt::Debug for EngineCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineCounts")
    }
}

impl Collector for EngineCounts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let engine = &self.0;
        let kind = ConstCounter::new(0u64).metric_type();
        let help = "Decisions by door and outcome";
        let mut family = encoder.encode_descriptor("verify", help, None, kind)?;
        for counted in engine.outcomes() {
            let labels = [("surface", counted.door.name()), ("outcome", counted.outcome)];
            ConstCounter::new(counted.count).encode(family.encode_family(&labels)?)?;
        }
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("slow_hashes", "Slow hashes run", engine.slow_hashes())?;
        let help = "Texts that the slow hash compared and that were no key's";
        counter("slow_hash_failures", help, engine.slow_hash_failures())?;
        let help = "Callers who found no place in the queue of the slow hash";
        counter("slow_hash_refused", help, engine.slow_hashes_refused())?;
        counter("checkpoints_failed", "Checkpoints that could not be saved", engine.checkpoints_failed())?;
        let help = "Requests that were counted to no key, because more were in use than are told apart";
        counter("usage_unattributed", help, engine.usage_unattributed())?;
        counter("commits", "Durable commits of the store", engine.commits())?;
        let disk = engine.disk_health();
        counter("disk_failures", "Times that the disk began to refuse writes", disk.failures)?;
        counter("disk_recoveries", "Times that it took them again", disk.recoveries)?;
        let is_ill = ConstGauge::new(u64::from(disk.is_ill));
        let help = "1 while the disk refuses writes, and with them every change";
        is_ill.encode(encoder.encode_descriptor("disk_ill", help, None, is_ill.metric_type())?)?;
        let undurable = ConstGauge::new(u64::try_from(engine.undurable_changes()).unwrap_or(u64::MAX));
        let help = "Revokes and suspensions that deny already and are not durable yet";
        let kind = undurable.metric_type();
        undurable.encode(encoder.encode_descriptor("undurable_changes", help, None, kind)?)?;
        let unreadable = ConstGauge::new(engine.unreadable_keys());
        let help = "Keys whose records could not be read when the file was last walked over";
        let kind = unreadable.metric_type();
        unreadable.encode(encoder.encode_descriptor("unreadable_keys", help, None, kind)?)?;
        encode_clock(&engine.clock_view(), &mut encoder)?;
        let age = ConstGauge::new(engine.checkpoint_age_secs());
        let help = "Seconds since the last good checkpoint";
        age.encode(encoder.encode_descriptor("checkpoint_age_seconds", help, None, age.metric_type())?)
    }
}

/// The state as a gauge for each word, of which one is 1, and how far the machine's clock is ahead of what is
/// believed: below 0 when it is behind.
fn encode_clock(view: &ClockView, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let kind = ConstGauge::new(0u64).metric_type();
    let help = "1 for what the machine's clock is to the time that decisions go by";
    let mut family = encoder.encode_descriptor("clock_state", help, None, kind)?;
    for name in ClockState::NAMES {
        let is_it = ConstGauge::new(u64::from(name == view.state.name()));
        is_it.encode(family.encode_family(&[("state", name)])?)?;
    }
    let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
    let ahead = seconds(view.machine.micros_since(view.believed));
    let offset = ConstGauge::new(ahead - seconds(view.believed.micros_since(view.machine)));
    let help = "The machine's clock less the time that decisions go by";
    offset.encode(encoder.encode_descriptor("clock_offset_seconds", help, None, kind)?)
}
