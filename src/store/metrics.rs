//! How the store is.

use prometheus::{Histogram, IntCounterVec, IntGauge, IntGaugeVec};

use super::Table;
use crate::telemetry::Registry;

/// Metrics of the store.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) up: IntGauge,
    pub(super) unsaved: IntGauge,
    errors: IntCounterVec,
    entries: IntGaugeVec,
    evicted: IntGaugeVec,
    pub(super) request: Histogram,
}

/// What was tried of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// What a decision waits for.
    Run,
    /// What nobody waits for.
    Later,
    /// What an admin told.
    Keep,
    /// A whole table.
    List,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self {
            up: registry.gauge("store_up", "1 while the store answers; 0: nobody is blocked, greylisted or trusted for a time."),
            unsaved: registry
                .gauge("store_unsaved", "1 while what the store is told would not outlive the process."),
            errors: registry.counters(
                "store_errors_total",
                "What could not be asked of the store or told to it, by what was tried.",
                &["what"],
            ),
            entries: registry.gauges(
                "store_entries",
                "Entries in the memory of this process, by table; none with Redis.",
                &["table"],
            ),
            evicted: registry.gauges(
                "store_evicted",
                "Entries given up before their time for want of room, ever, by table; with Redis, since it was started.",
                &["table"],
            ),
            request: registry.histogram(
                "store_request_seconds",
                "Round trips to Redis, also those that failed.",
                &BUCKETS,
            ),
        };
        for what in [What::Run, What::Later, What::Keep, What::List] {
            metrics.errors.with_label_values(&[what.as_str()]).inc_by(0);
        }
        metrics
    }

    pub(super) fn failed(&self, what: What) {
        self.errors.with_label_values(&[what.as_str()]).inc();
    }

    /// Of a table, or of `all` of them.
    pub(super) fn evicted(&self, table: &str, count: u64) {
        self.evicted.with_label_values(&[table]).set(count.try_into().unwrap_or(i64::MAX));
    }

    pub(super) fn entries(&self, table: Table, count: usize) {
        self.entries.with_label_values(&[table.as_str()]).set(count.try_into().unwrap_or(i64::MAX));
    }
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Later => "later",
            Self::Keep => "keep",
            Self::List => "list",
        }
    }
}

/// In seconds.
/// A round trip takes about 0.1 ms on one host, 1 ms in one site, and `store.deadline` (250 ms) at most.
const BUCKETS: [f64; 12] =
    [0.000_05, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];
