//! Carries out what comes over the control socket.

use std::sync::Arc;

use crate::{
    control::{
        self, Handler, Peer,
        message::{Check, Checked, Directory, Disable, Request, Response, Status, Switched},
    },
    history::History,
    http::{Access, Views},
    server::Snapshot,
    telemetry::Registry,
};

use super::{
    build::Parts,
    orders::{Orders, named},
    reload::Reloader,
    switch,
};

/// The running process as the commands see it.
pub(super) struct Requests {
    parts: Arc<Parts>,
    reloader: Arc<Reloader>,
    listening: Vec<String>,
}

impl Requests {
    pub(super) fn new(parts: Arc<Parts>, reloader: Arc<Reloader>, listening: Vec<String>) -> Self {
        Self { parts, reloader, listening }
    }

    async fn disable(&self, order: Disable, peer: &Peer) -> Response {
        let switched = self.parts.switch.disable(order, peer.name()).await;
        match switched {
            Ok((disabled, before)) => Response::Switched(Switched { disabled: Some(disabled), before }),
            Err(error) => not_switched(&error),
        }
    }

    async fn enable(&self) -> Response {
        match self.parts.switch.enable().await {
            Ok(before) => Response::Switched(Switched { disabled: None, before }),
            Err(error) => not_switched(&error),
        }
    }
}

impl Handler for Requests {
    async fn handle(&self, request: Request, peer: &Peer) -> Response {
        let snapshot = self.parts.server.snapshot();
        let orders = Orders { snapshot: &snapshot, store: &self.parts.store, peer };
        match request {
            Request::Check(check) => Response::Check(self.check(&check).await),
            Request::Status => Response::Status(self.status().await),
            Request::Reload { accept } => Response::Reload(self.reloader.reload(accept).await),
            Request::Trust { client, seconds } => orders.trust(client, seconds).await,
            Request::Block { client, seconds, reason } => orders.block(client, seconds, reason).await,
            Request::Release { client } => orders.release(client).await,
            Request::Trusted => orders.trusted().await,
            Request::Blocked => orders.blocked().await,
            Request::Suspend(suspend) => orders.suspend(suspend).await,
            Request::Resume { what } => orders.resume(&what).await,
            Request::Suspended => orders.suspended(),
            Request::Disable(order) => self.disable(order, peer).await,
            Request::Enable => self.enable().await,
            Request::Report { seconds } => {
                let directories = directories(&snapshot);
                let report = control::report(&snapshot, &self.parts.history, seconds, directories).await;
                Response::Report(Box::new(report))
            }
        }
    }
}

impl Views for Requests {
    fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    fn waiting_for(&self) -> Vec<String> {
        self.parts.server.snapshot().directories.waiting_for()
    }

    fn access(&self) -> Arc<Access> {
        self.parts.access.load_full()
    }

    fn history(&self) -> &History {
        &self.parts.history
    }

    async fn status(&self) -> Status {
        let server = &self.parts.server;
        let snapshot = server.snapshot();
        let attack = self.parts.history.attack().await.map(|attack| attack.to_string());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.parts.started.elapsed().as_secs(),
            mode: if snapshot.rules.monitor { "monitor" } else { "enforce" }.to_owned(),
            disabled: self.parts.switch.told(),
            listening: self.listening.clone(),
            sessions_open: count(server.open()),
            sessions_limit: count(server.sessions_limit()),
            recipients: server.recipients_decided(),
            backscatter_prevented: server.backscatter_prevented(),
            last_mta: server.last_mta(),
            domains: self.reloader.domains(),
            directories: directories(&snapshot),
            store: self.parts.store.place().unwrap_or_else(|| "memory".to_owned()),
            named: named(&snapshot).await,
            notices: attack.into_iter().chain(self.parts.notices()).collect(),
        }
    }

    async fn check(&self, check: &Check) -> Checked {
        control::check(&self.parts.server.snapshot(), check, self.parts.server.is_disabled()).await
    }
}

fn not_switched(error: &switch::Refused) -> Response {
    let message = error.to_string();
    match error {
        switch::Refused::Time | switch::Refused::Reason => Response::Refused { message },
        switch::Refused::Unsaved(_) | switch::Refused::Left(_) => Response::Error { message },
    }
}

/// How each directory is.
fn directories(snapshot: &Snapshot) -> Vec<Directory> {
    let directories = snapshot.directories.health().into_iter().map(|health| Directory {
        name: health.name.to_string(),
        kind: health.kind.to_owned(),
        up: health.state.is_up(),
        state: health.state.as_str().to_owned(),
        addresses: health.addresses,
        age_seconds: health.age.map(|age| age.as_secs()),
    });
    directories.collect()
}

fn count(count: usize) -> u64 {
    count.try_into().unwrap_or(u64::MAX)
}
