//! Detection, its directories and the decision engine, as `backstop serve` without a configuration puts them together.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use backstop::{
    client::{self, Clients, Dynamic},
    control::{check, message::Check},
    defence::{self, Defences},
    detect::{Findings, Options},
    directory::{self, Configs, Directories, Domains, Recipients, detected::Live},
    files::{self, Keeper},
    policy::Rules,
    server::Snapshot,
    store::{self, Store},
    suspension::{Commanded, Suspensions},
    telemetry::Registry,
};
use ipnet::Ipv4Net;
use tokio::runtime::Runtime;

use super::{INSIDER, STRANGER};

/// Decides on recipients by what was detected.
pub(super) struct Judge {
    runtime: Runtime,
    live: Arc<Live>,
    snapshot: Snapshot,
}

impl Judge {
    pub(super) fn new(options: Options) -> Self {
        let runtime = Runtime::new().expect("start a runtime");
        let registry = Registry::default();
        let keeper = Arc::new(Keeper::new(files::Metrics::register(&registry)));
        let live = Arc::new(runtime.block_on(Live::start(options, Arc::clone(&keeper))));
        let metrics = directory::Metrics::register(&registry);
        let directories = Directories::build(
            &Domains::default(),
            &Recipients::default(),
            &Configs::default(),
            &keeper,
            &directory::Remotes::new(metrics.clone()),
            &metrics,
            live.detected(),
        );
        let store = Store::in_memory(store::Metrics::register(&registry));
        let commanded = Arc::new(Commanded::new(store.clone()));
        let suspensions =
            Suspensions::build(&Default::default(), &keeper, commanded).expect("there are none");
        let shared = defence::Shared::new(store, defence::Metrics::register(&registry));
        let defences =
            Defences::build(&Default::default(), &shared, &Default::default(), Vec::new(), &keeper)
                .expect("there are no traps");
        let trusted = [Ipv4Net::from(INSIDER).into()];
        // Nobody's name is asked for.
        let dynamic = Dynamic { reverse_dns: false, ..Dynamic::default() };
        let asked = client::Shared::new(client::Metrics::register(&registry));
        let clients = client::Config { dynamic, ..client::Config::default() };
        let clients = Clients::build(&clients, trusted, &asked, &keeper).expect("there are no files");
        let snapshot = Snapshot::new(
            Rules { probes: live.findings().probes.iter().cloned().collect(), ..Rules::default() },
            Arc::new(directories.expect("nothing is configured")),
            Arc::new(suspensions),
            Arc::new(clients),
            Arc::new(defences),
            Duration::from_secs(3),
        );
        Self { runtime, live, snapshot }
    }

    pub(super) fn findings(&self) -> Arc<Findings> {
        self.live.findings()
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Why the domain is partial, in words; `None` if it was not found.
    pub(super) fn partial(&self, domain: &str) -> Option<Vec<String>> {
        let findings = self.findings();
        let found: Vec<_> = findings.covering(domain).collect();
        let partial = found.iter().flat_map(|found| &found.partial).map(ToString::to_string).collect();
        (!found.is_empty()).then_some(partial)
    }

    /// The reason for which `address`, between the brackets of RCPT TO, is refused for good.
    pub(super) fn refuses(&self, address: &str) -> Option<String> {
        self.refuses_to(STRANGER, address)
    }

    /// The same, asked by this client.
    pub(super) fn refuses_to(&self, client: Ipv4Addr, address: &str) -> Option<String> {
        let asked =
            Check { address: format!("<{address}>"), client: Some(client.into()), ..Check::default() };
        let checked = self.runtime.block_on(check(&self.snapshot, &asked));
        (checked.verdict == "reject").then_some(checked.reason)
    }
}
