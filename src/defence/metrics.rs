//! Counts of the defences.

use prometheus::IntGauge;

use crate::telemetry::Registry;

/// Metrics of all defences.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Clients that this process has blocked, and that still are.
    pub harvesters_blocked: IntGauge,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            harvesters_blocked: registry
                .gauge("harvesters_blocked", "Clients that are blocked for guessing recipients."),
        }
    }
}
