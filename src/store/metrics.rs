//! How the store is.

use prometheus::{IntCounterVec, IntGauge};

use crate::telemetry::Registry;

/// Metrics of the store.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) up: IntGauge,
    pub(super) errors: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            up: registry.gauge("store_up", "1 while the store answers; 0: the defences let pass."),
            errors: registry.counters(
                "store_errors_total",
                "What could not be asked of the store or told to it, by what was tried.",
                &["what"],
            ),
        }
    }
}
