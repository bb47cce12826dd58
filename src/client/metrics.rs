//! The metrics of what the DNS is asked about clients.

use prometheus::IntCounterVec;

use crate::telemetry::Registry;

/// Counters; made once, cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    lists: IntCounterVec,
    names: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Self {
        Self {
            lists: registry.counters(
                "dns_list_total",
                "Questions to lists in the DNS (client.dynamic.dnsbl, client.dnswl), by what came of them.",
                &["list", "outcome"],
            ),
            names: registry.counters(
                "reverse_dns_total",
                "Clients whose names were asked for, by what came of it.",
                &["outcome"],
            ),
        }
    }

    /// A list, by its zone, was asked; `outcome` is from a closed list.
    pub(super) fn asked(&self, list: &str, outcome: &'static str) {
        self.lists.with_label_values(&[list, outcome]).inc();
    }

    /// The name of a client was asked for; `outcome` is from a closed list.
    pub(super) fn named(&self, outcome: &'static str) {
        self.names.with_label_values(&[outcome]).inc();
    }
}
