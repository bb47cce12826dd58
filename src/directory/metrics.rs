//! The metrics of directories.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::{Answer, State};
use crate::{files::Status, telemetry::Registry};

/// Metrics of all directories, by name; made once, cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    up: IntGaugeVec,
    addresses: IntGaugeVec,
    age: GaugeVec,
    lookup: HistogramVec,
    cache: IntCounterVec,
    held_back: IntGaugeVec,
    unsaved: IntGaugeVec,
    unverified: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Self {
        let label = &["directory"];
        Self {
            up: registry.gauges(
                "directory_up",
                "1 while the directory answers from current content; 0: it is down, out of date, or has none.",
                label,
            ),
            addresses: registry.gauges("directory_addresses", "Recipients (or rules) of the directory that are in use.", label),
            age: registry.float_gauges(
                "directory_age_seconds",
                "How old what is known of the directory is. Of a file: for how long its content in use has been out of date, 0 while it is current; of a replica: how long ago it was what the directory says, or since the start, if it never was.",
                label,
            ),
            held_back: registry.gauges(
                "directory_held_back",
                "1 while a replica's directory lists so much less that the old content stays.",
                label,
            ),
            unsaved: registry.gauges(
                "directory_unsaved",
                "1 while a replica's file can't be written.",
                label,
            ),
            unverified: registry.counters(
                "directory_unverified_total",
                "Recipients whom a replica did not know and did not ask its directory about, because it had asked too much.",
                label,
            ),
            cache: registry.counters(
                "cache_total",
                "Questions to directories on other servers, by what the cache did: hit, miss (the server was asked), stale (it could not answer, and an old answer counts).",
                &["outcome"],
            ),
            lookup: registry.histograms(
                "directory_lookup_seconds",
                "Time to ask a directory that is not in memory; look-ups in memory take about a microsecond.",
                &["directory", "outcome"],
                &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0],
            ),
        }
    }

    pub(super) fn status(&self, name: &str, status: &Status) {
        self.up(name, State::of_files(status).is_up());
        let addresses = status.entries.unwrap_or(0).try_into().unwrap_or(i64::MAX);
        self.addresses.with_label_values(&[name]).set(addresses);
        self.age.with_label_values(&[name]).set(status.stale.as_secs_f64());
    }

    pub(super) fn replica(
        &self,
        name: &str,
        up: bool,
        addresses: u64,
        age: Duration,
        held_back: bool,
        unsaved: bool,
    ) {
        let label = &[name];
        self.up(name, up);
        self.addresses.with_label_values(label).set(addresses.try_into().unwrap_or(i64::MAX));
        self.age.with_label_values(label).set(age.as_secs_f64());
        self.held_back.with_label_values(label).set(held_back.into());
        self.unsaved.with_label_values(label).set(unsaved.into());
    }

    pub(super) fn not_verified(&self, name: &str) {
        self.unverified.with_label_values(&[name]).inc();
    }

    pub(super) fn up(&self, name: &str, up: bool) {
        self.up.with_label_values(&[name]).set(up.into());
    }

    pub(super) fn cached(&self, outcome: &str) {
        self.cache.with_label_values(&[outcome]).inc();
    }

    pub(super) fn asked(&self, name: &str, answer: Answer, time: Duration) {
        self.lookup.with_label_values(&[name, answer.as_str()]).observe(time.as_secs_f64());
    }
}
