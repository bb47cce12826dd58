//! Builds the parts from the configuration.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use crate::{
    client::Clients,
    config::{Config, Mode},
    directory::{self, Detected, Directories},
    files::{self, Keeper},
    http::Views,
    policy::{Defences, Replies, Rules},
    server::{self, Server, Snapshot},
    suspension::Suspensions,
    telemetry::Registry,
};

use super::Error;

/// What lives as long as the process.
pub(super) struct Parts {
    pub(super) registry: Arc<Registry>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) detected: Arc<ArcSwap<Detected>>,
    pub(super) server: Arc<Server>,
    pub(super) started: Instant,
    pub(super) reloads: IntCounterVec,
    directory_metrics: directory::Metrics,
    mode: IntGaugeVec,
    enabled: IntGauge,
}

impl Parts {
    pub(super) async fn build(config: &Config) -> Result<Arc<Self>, Error> {
        let registry = Arc::new(Registry::default());
        let keeper = Arc::new(Keeper::new(files::Metrics::register(&registry)));
        let directory_metrics = directory::Metrics::register(&registry);
        let server_metrics = server::Metrics::register(&registry);
        let detected = Arc::new(ArcSwap::from_pointee(Detected::default()));
        let mode = registry.gauges("mode", "1 for the mode in force.", &["mode"]);
        let enabled = registry.gauge("enabled", "1 while decisions are made, 0 while Backstop is disabled.");
        let reloads = registry.counters("reloads_total", "Reloads by outcome.", &["outcome"]);
        registry.gauges("build_info", "1; the version is a label.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let snapshot = snapshot(config, &keeper, &directory_metrics, &detected)?;
        let server = Server::new(snapshot, &config.limits, server_metrics);
        let parts = Self { registry, keeper, detected, server, started: Instant::now(), reloads, directory_metrics, mode, enabled };
        parts.show(config);
        Ok(Arc::new(parts))
    }

    /// A snapshot of a changed configuration; files that are followed already keep their content and judgement.
    pub(super) fn snapshot(&self, config: &Config) -> Result<Snapshot, Error> {
        snapshot(config, &self.keeper, &self.directory_metrics, &self.detected)
    }

    /// Brings the gauges of the configuration up to date.
    pub(super) fn show(&self, config: &Config) {
        for mode in Mode::ALL {
            self.mode.with_label_values(&[mode.as_str()]).set((mode == config.mode).into());
        }
        self.enabled.set(1);
    }

    /// What `/metrics` and `/ready` show.
    pub(super) fn views(self: &Arc<Self>) -> Views {
        let (ready, registry) = (Arc::clone(self), Arc::clone(&self.registry));
        Views {
            registry,
            refresh: Box::new(|| {}),
            waiting_for: Box::new(move || ready.server.snapshot().directories.waiting_for()),
        }
    }

    /// What an admin should look at.
    pub(super) fn notices(&self) -> Vec<String> {
        let snapshot = self.server.snapshot();
        snapshot.directories.notices().into_iter().chain(snapshot.suspensions.notices()).collect()
    }
}

fn snapshot(
    config: &Config,
    keeper: &Keeper,
    metrics: &directory::Metrics,
    detected: &Arc<ArcSwap<Detected>>,
) -> Result<Snapshot, Error> {
    let directories = Directories::build(
        &config.domains,
        &config.recipients,
        &config.directory,
        keeper,
        metrics,
        Arc::clone(detected),
    )?;
    let suspensions = Suspensions::build(&config.suspensions, keeper)?;
    let clients = Clients::build(&config.client, findings.networks.iter().map(|found| found.value));
    let rules = rules(config, &clients, findings.probes.iter().cloned().collect());
    Ok(Snapshot::new(rules, Arc::new(directories), Arc::new(suspensions), clients, config.limits.lookup))
}

fn rules(config: &Config, clients: &Clients, probes: BTreeSet<String>) -> Rules {
    Rules {
        monitor: config.mode == Mode::Monitor,
        monitor_domains: config.monitor.domains.clone(),
        monitor_reasons: config.monitor.reasons.iter().copied().collect(),
        exempt: config.recipients.exempt.iter().map(|local| local.to_lowercase()).collect(),
        probes,
        replies: Replies::build(&config.replies).unwrap_or_default(),
        defences: Defences { denied: clients.denies(), ..Defences::default() },
    }
}
