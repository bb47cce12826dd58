//! The registry of metrics: a thin cover over the `prometheus` crate that puts the prefix before
//! every name and remembers what was registered, also families that have no series yet.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// All metrics of this process.
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    families: Mutex<Vec<Family>>,
}

/// A family of metrics as documented: what the dashboard, the alert rules and the docs are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// With the prefix, e.g. `backstop_sessions_total`.
    pub name: String,
    /// One sentence.
    pub help: String,
    /// Label names, in the order of their values.
    pub labels: Vec<String>,
}

/// A whole number that changes with time alone: it is found out when the page is read.
#[derive(Clone)]
pub struct Followed {
    gauge: IntGauge,
    read: Arc<OnceLock<Read>>,
}

type Read = Box<dyn Fn() -> i64 + Send + Sync>;

impl Followed {
    /// Where it comes from; 0 before that. Only the first one counts.
    pub fn follow(&self, read: impl Fn() -> i64 + Send + Sync + 'static) {
        let _ = self.read.set(Box::new(read));
    }
}

impl Collector for Followed {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.read.get().map_or(0, |read| read()));
        self.gauge.collect()
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Followed").field(&self.gauge).finish()
    }
}

impl Registry {
    /// A counter without labels; `name` comes without the prefix, as in all methods below.
    ///
    /// # Panics
    /// When the name is registered already, as in all methods below.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(name, help, &[], IntCounter::with_opts(self.opts(name, help)))
    }

    /// Counters by label. Label values come from closed lists or the configuration, never from a peer.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(name, help, labels, IntCounterVec::new(self.opts(name, help), labels))
    }

    /// A counter with fractions, such as seconds.
    pub fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.add(name, help, &[], Counter::with_opts(self.opts(name, help)))
    }

    /// A whole number that is found out when it is read.
    pub fn followed(&self, name: &str, help: &str) -> Followed {
        let gauge = IntGauge::with_opts(self.opts(name, help));
        self.add(name, help, &[], gauge.map(|gauge| Followed { gauge, read: Arc::default() }))
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(name, help, &[], IntGauge::with_opts(self.opts(name, help)))
    }

    /// Whole numbers that go up and down, by label.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(name, help, labels, IntGaugeVec::new(self.opts(name, help), labels))
    }

    /// A number with fractions, such as seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(name, help, &[], Gauge::with_opts(self.opts(name, help)))
    }

    /// Numbers with fractions, by label.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(name, help, labels, GaugeVec::new(self.opts(name, help), labels))
    }

    /// A histogram; `buckets` are upper bounds, in the unit that the name ends in.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.add(name, help, &[], Histogram::with_opts(opts))
    }

    /// Histograms by label.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.add(name, help, labels, HistogramVec::new(opts, labels))
    }

    /// Everything registered, also what has no series yet, sorted by name.
    ///
    /// # Panics
    /// Never: the lock is not held across anything that panics.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.families.lock().expect("no panic while the list is locked").clone();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    /// The page for Prometheus, in its text format 0.0.4.
    pub fn page(&self) -> String {
        let mut page = Vec::new();
        let encoded = TextEncoder::new().encode(&self.inner.gather(), &mut page);
        if let Err(error) = encoded {
            tracing::error!(%error, "metrics could not be written");
        }
        String::from_utf8_lossy(&page).into_owned()
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{PREFIX}{name}"), help)
    }

    fn add<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        metric: Result<C, prometheus::Error>,
    ) -> C {
        let metric = metric.expect("metric names and labels are constants of this program");
        self.inner.register(Box::new(metric.clone())).expect("each metric is registered once");
        self.families.lock().expect("no panic while the list is locked").push(Family {
            name: format!("{PREFIX}{name}"),
            help: help.to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        });
        metric
    }
}

const PREFIX: &str = "backstop_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_series_is_listed_but_not_on_the_page() {
        let registry = Registry::default();
        let callbacks = registry.counters("callbacks_total", "Callbacks answered.", &["callback"]);
        assert_eq!(registry.families()[0].name, "backstop_callbacks_total");
        assert_eq!(registry.page(), "");
        callbacks.with_label_values(&["rcpt"]).inc();
        assert!(registry.page().contains("backstop_callbacks_total{callback=\"rcpt\"} 1"));
    }

    #[test]
    fn a_followed_number_is_read_with_the_page() {
        let registry = Registry::default();
        let followed = registry.followed("clock", "A number.");
        assert!(registry.page().contains("backstop_clock 0"));
        let reads = std::sync::atomic::AtomicI64::new(6);
        followed.follow(move || reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        assert!(registry.page().contains("backstop_clock 7"));
        assert!(registry.page().contains("backstop_clock 8"));
    }

    #[test]
    #[should_panic(expected = "each metric is registered once")]
    fn a_name_can_not_be_registered_twice() {
        let registry = Registry::default();
        let _ = registry.counter("x_total", "x");
        let _ = registry.counter("x_total", "x");
    }
}
