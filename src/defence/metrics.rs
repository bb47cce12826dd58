//! Counts of the defences.

use prometheus::{IntCounterVec, IntGauge};

use crate::telemetry::Registry;

/// Metrics of all defences.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Clients that this process has blocked, and that still are.
    pub harvesters_blocked: IntGauge,
    pub(super) greylist: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            harvesters_blocked: registry
                .gauge("harvesters_blocked", "Clients that are blocked for guessing recipients."),
            greylist: registry.counters(
                "greylist_total",
                "Recipients that the greylist was asked about, by what it found.",
                &["outcome"],
            ),
        }
    }
}
