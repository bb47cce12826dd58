//! Builds the parts from the configuration.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use tokio::runtime::Handle;

use crate::{
    client::{self, Clients, Enforce},
    config::{Config, Mode},
    control,
    defence::{self, Defences},
    detect::{self, Findings},
    directory::{self, Directories, Remotes, detected::Live},
    files::{self, Keeper},
    history::{History, Sight},
    http::Access,
    policy::{self, Reason, Replies, Rules},
    server::{self, Limits, Server, Snapshot},
    store::{self, Store},
    suspension::{Commanded, Suspensions},
    telemetry::{Family, Registry},
};

use super::{Error, reload, switch::Switch, welcome::may_be};

/// What lives as long as the process.
pub(super) struct Parts {
    pub(super) registry: Arc<Registry>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) remotes: Arc<Remotes>,
    pub(super) live: Arc<Live>,
    pub(super) store: Store,
    pub(super) clients: client::Shared,
    pub(super) defences: defence::Shared,
    pub(super) commanded: Arc<Commanded>,
    pub(super) server: Arc<Server>,
    pub(super) switch: Arc<Switch>,
    pub(super) history: Arc<History>,
    /// Who may see the pages.
    pub(super) access: ArcSwap<Access>,
    /// Why there are none.
    pub(super) no_pages: ArcSwapOption<String>,
    pub(super) started: Instant,
    pub(super) reloads: IntCounterVec,
    pub(super) reload_succeeded: IntGauge,
    directory_metrics: directory::Metrics,
    mode: IntGaugeVec,
}

/// The metrics of all parts.
struct Metrics {
    files: files::Metrics,
    directory: directory::Metrics,
    client: client::Metrics,
    store: store::Metrics,
    defence: defence::Metrics,
    server: server::Metrics,
    mode: IntGaugeVec,
    enabled: IntGauge,
    reloads: IntCounterVec,
    reload_succeeded: IntGauge,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        let build_info =
            registry.gauges("build_info", "1; the version of the program is a label.", &["version"]);
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry
            .float_gauge("start_time_seconds", "When the process started, in seconds since 1970.")
            .set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        registry.followed("tasks", "Tasks that wait or work, besides those of sessions.").follow(|| {
            let runtime = Handle::try_current().ok();
            runtime.and_then(|runtime| runtime.metrics().num_alive_tasks().try_into().ok()).unwrap_or(0)
        });
        let reloads = registry.counters(
            "reloads_total",
            "Reloads of the configuration, by what came of them: applied, needs-restart, refused.",
            &["outcome"],
        );
        // 0 from the start: an alert can tell the first one from none.
        for outcome in [reload::APPLIED, reload::NEEDS_RESTART, reload::REFUSED] {
            reloads.with_label_values(&[outcome]).inc_by(0);
        }
        let reload_succeeded = registry.gauge(
            "reload_succeeded",
            "1; 0 while the last reload was refused, and nothing was changed by it.",
        );
        reload_succeeded.set(1);
        let enabled = "1 while decisions are made, 0 while Backstop is disabled.";
        Self {
            files: files::Metrics::register(registry),
            directory: directory::Metrics::register(registry),
            client: client::Metrics::register(registry),
            store: store::Metrics::register(registry),
            defence: defence::Metrics::register(registry),
            server: server::Metrics::register(registry),
            mode: registry.gauges(
                "mode",
                "1 for the mode in force, enforce or monitor; 0 for the other.",
                &["mode"],
            ),
            enabled: registry.gauge("enabled", enabled),
            reloads,
            reload_succeeded,
        }
    }
}

/// Every family of metrics that the server has, for what is held to that list: the docs, alert rules and dashboards.
#[must_use]
pub fn families() -> Vec<Family> {
    let registry = Registry::default();
    let _ = Metrics::register(&registry);
    registry.families()
}

impl Parts {
    /// Builds everything; `sessions` at most at the same time.
    pub(super) async fn build(config: &Config, sessions: usize) -> Result<Arc<Self>, Error> {
        let registry = Arc::new(Registry::default());
        let metrics = Metrics::register(&registry);
        let keeper = Arc::new(Keeper::new(metrics.files));
        // Who serves nobody leaves the state of others alone.
        let remotes = Remotes::new(metrics.directory.clone());
        let remotes = Arc::new(match sessions {
            0 => remotes.unlimited(),
            _ => remotes.with_store(config.store.clone()),
        });
        let store = async {
            match sessions {
                0 => Ok(Store::in_memory(metrics.store)),
                _ => Store::open(&config.store, metrics.store).await,
            }
        };
        // Both wait for others: one for the MTA's programs, one for a disk or a server.
        let (live, store) = tokio::join!(Live::start(where_to_look(config), Arc::clone(&keeper)), store);
        let (live, store) = (Arc::new(live), store?);
        let clients = client::Shared::new(metrics.client);
        let defences = defence::Shared::new(store.clone(), metrics.defence);
        let commanded = Arc::new(Commanded::new(store.clone()));
        let kept = Kept { clients: &clients, defences: &defences, commanded: &commanded };
        let snapshot = snapshot(config, &keeper, &remotes, &metrics.directory, &live, kept)?;
        let limits = Limits { sessions, ..config.limits.clone() };
        let history = Arc::new(History::new());
        if sessions > 0
            && let Ok(directory) = config.store.directory()
        {
            history.open(&directory).await;
        }
        let server = Server::new(snapshot, &limits, metrics.server, Arc::clone(&history));
        let access = ArcSwap::from_pointee(Access::open(&config.http)?);
        let started = Instant::now();
        let Metrics { directory: directory_metrics, mode, enabled, reloads, reload_succeeded, .. } = metrics;
        let directory = (sessions > 0).then(|| config.store.place_of_files());
        let switch = Arc::new(Switch::new(Arc::clone(&server), enabled, directory));
        let parts = Self {
            registry,
            keeper,
            remotes,
            live,
            store,
            clients,
            defences,
            commanded,
            server,
            switch,
            history,
            access,
            no_pages: ArcSwapOption::const_empty(),
            started,
            reloads,
            reload_succeeded,
            directory_metrics,
            mode,
        };
        parts.show(config);
        Ok(Arc::new(parts))
    }

    /// A snapshot of a changed configuration; files that are followed already keep their content and judgement.
    pub(super) fn snapshot(&self, config: &Config) -> Result<Snapshot, Error> {
        let Self { keeper, remotes, directory_metrics, live, clients, defences, commanded, .. } = self;
        let kept = Kept { clients, defences, commanded };
        snapshot(config, keeper, remotes, directory_metrics, live, kept)
    }

    /// Brings the gauges of the configuration up to date, and how many lines the log may have.
    pub(super) fn show(&self, config: &Config) {
        self.server.limit_lines(config.log.refusals_per_second);
        for mode in Mode::ALL {
            self.mode.with_label_values(&[mode.as_str()]).set((mode == config.mode).into());
        }
    }

    /// What reports tell of others.
    pub(super) fn sight(&self) -> Sight {
        let watched = control::watched(&self.server.snapshot().rules);
        let is_disabled = self.server.is_disabled();
        Sight { greylist: self.defences.metrics.greylist_outcomes(), watched, is_disabled }
    }

    /// What an admin should look at.
    pub(super) fn notices(&self) -> Vec<String> {
        let snapshot = self.server.snapshot();
        let mut notices = snapshot.directories.notices();
        notices.extend(self.no_pages.load().as_deref().cloned());
        notices.extend(snapshot.suspensions.notices());
        notices.extend(snapshot.clients.notices());
        notices.extend(self.store.notices());
        notices.extend(snapshot.defences.notices(&snapshot.rules));
        if snapshot.directories.names_nothing() && self.live.findings().domains.is_empty() {
            notices.push("no local domain is known: nobody can be refused".to_owned());
        }
        notices
    }
}

/// Where detection looks.
pub(super) fn where_to_look(config: &Config) -> detect::Options {
    if config.domains.detect { detect::Options::default() } else { detect::Options::nothing() }
}

/// State of the parts that outlives a reload.
#[derive(Clone, Copy)]
struct Kept<'a> {
    clients: &'a client::Shared,
    defences: &'a defence::Shared,
    commanded: &'a Arc<Commanded>,
}

fn snapshot(
    config: &Config,
    keeper: &Keeper,
    remotes: &Remotes,
    metrics: &directory::Metrics,
    live: &Live,
    kept: Kept<'_>,
) -> Result<Snapshot, Error> {
    let directories = Directories::build(
        &config.domains,
        &config.recipients,
        &config.directory,
        keeper,
        remotes,
        metrics,
        live.detected(),
    )?;
    let suspensions = Suspensions::build(&config.suspensions, keeper, Arc::clone(kept.commanded))?;
    let findings = live.findings();
    let of_the_mta = findings.networks.iter().map(|found| found.value);
    let clients = Clients::build(&config.client, of_the_mta, kept.clients, keeper)?;
    let is_us = |milter: &str| config.listen.iter().any(|listen| may_be(milter, listen));
    let (delimiters, unseen) = (directories.delimiters(), findings.unseen(is_us));
    let defences = Defences::build(&config.defence, kept.defences, delimiters, unseen, keeper)?;
    let rules = rules(config, &clients, &defences, &findings);
    Ok(Snapshot::new(
        rules,
        Arc::new(directories),
        Arc::new(suspensions),
        Arc::new(clients),
        Arc::new(defences),
        config.limits.lookup,
    ))
}

fn rules(config: &Config, clients: &Clients, defences: &Defences, findings: &Findings) -> Rules {
    let mut monitor_reasons: BTreeSet<_> = config.monitor.reasons.iter().copied().collect();
    if defences.bounces.is_monitored() {
        monitor_reasons.insert(Reason::UnsolicitedBounce);
    }
    let dynamic = config.client.dynamic.enforce;
    Rules {
        monitor: config.mode == Mode::Monitor,
        monitor_domains: config.monitor.domains.clone(),
        monitor_reasons,
        exempt: config.recipients.exempt(),
        probes: findings.probes.iter().map(|local| local.to_lowercase()).collect(),
        replies: Replies::build(&config.replies).unwrap_or_default(),
        defences: policy::Defences {
            denied: clients.denies(),
            dynamic: dynamic != Enforce::Off,
            dynamic_at_connect: dynamic == Enforce::Connect,
            ..defences.wanted()
        },
    }
}
