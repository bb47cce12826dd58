//! Carries out what comes over the control socket.

use std::sync::Arc;

use crate::{
    control::{
        self, Handler,
        message::{Directory, Request, Response, Status},
    },
    server::Snapshot,
};

use super::{
    build::Parts,
    orders::{Orders, named},
    reload::Reloader,
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

    async fn status(&self) -> Status {
        let server = &self.parts.server;
        let snapshot = server.snapshot();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.parts.started.elapsed().as_secs(),
            mode: if snapshot.rules.monitor { "monitor" } else { "enforce" }.to_owned(),
            listening: self.listening.clone(),
            sessions_open: u64::try_from(server.open()).unwrap_or(u64::MAX),
            recipients: server.recipients_decided(),
            last_mta: server.last_mta(),
            domains: self.reloader.domains().await,
            directories: directories(&snapshot),
            named: named(&snapshot).await,
            notices: self.parts.notices(),
        }
    }
}

impl Handler for Requests {
    async fn handle(&self, request: Request, uid: Option<u32>) -> Response {
        let snapshot = self.parts.server.snapshot();
        let orders = Orders { snapshot: &snapshot, store: &self.parts.store, uid };
        match request {
            Request::Check(check) => Response::Check(control::check(&snapshot, &check).await),
            Request::Status => Response::Status(self.status().await),
            Request::Reload { accept } => {
                tracing::info!(uid, "reload asked for");
                Response::Reload(self.reloader.reload(accept).await)
            }
            Request::Trust { client, seconds } => orders.trust(client, seconds).await,
            Request::Block { client, seconds, reason } => orders.block(client, seconds, reason).await,
            Request::Release { client } => orders.release(client).await,
            Request::Trusted => orders.trusted().await,
            Request::Blocked => orders.blocked().await,
            Request::Suspend(suspend) => orders.suspend(suspend).await,
            Request::Resume { what } => orders.resume(&what).await,
            Request::Suspended => orders.suspended(),
            Request::Report { seconds } => {
                let directories = directories(&snapshot);
                let report = control::report(&snapshot, &self.parts.history, seconds, directories).await;
                Response::Report(Box::new(report))
            }
        }
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
