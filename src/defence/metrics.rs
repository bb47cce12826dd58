//! Counts of the defences.

use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge, core::Collector};

use super::Why;
use crate::telemetry::{Followed, Registry};

/// Metrics of all defences.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Clients that this process has blocked, and that still are.
    pub harvesters_blocked: Followed,
    /// Blocks since the start.
    pub harvest_blocks: IntCounter,
    /// 1 while many clients guess together.
    pub harvest_distributed: Followed,
    /// Refusals that wait now.
    pub tarpit_sleeping: IntGauge,
    /// How long refusals have waited, all together.
    pub tarpit_seconds: Counter,
    pub(super) greylist: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self {
            harvesters_blocked: registry
                .followed("harvesters_blocked", "Clients that are blocked for guessing recipients."),
            harvest_blocks: registry
                .counter("harvest_blocks_total", "Blocks of clients for guessing recipients."),
            harvest_distributed: registry.followed(
                "harvest_distributed",
                "1 while many clients guess recipients together, and the limits are lower.",
            ),
            tarpit_sleeping: registry.gauge("tarpit_sleeping", "Refusals that the tarpit delays now."),
            tarpit_seconds: registry
                .float_counter("tarpit_seconds_total", "How long refusals were delayed, all together."),
            greylist: registry.counters(
                "greylist_total",
                "Recipients that the greylist was asked about, by what it found.",
                &["outcome"],
            ),
        };
        // There from the start: `rate` and `increase` of Prometheus don't see what a series begins with.
        for why in Why::OUTCOMES {
            let _ = metrics.greylist.with_label_values(&[why.outcome()]);
        }
        metrics
    }

    /// What the greylist has found since the start, by outcome.
    #[must_use]
    pub fn greylist_outcomes(&self) -> Vec<(String, u64)> {
        let mut outcomes = Vec::new();
        for family in self.greylist.collect() {
            for metric in family.get_metric() {
                let count = metric.get_counter().get_value() as u64;
                if let (Some(label), 1..) = (metric.get_label().first(), count) {
                    outcomes.push((label.value().to_owned(), count));
                }
            }
        }
        outcomes
    }
}
