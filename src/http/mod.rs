//! HTTP for machines: `GET /metrics` (Prometheus), `/live` (the process runs), `/ready` (it can decide).
//!
//! Never changes anything. Off the network by default (loopback). Failure: a client that is slow or sends
//! nonsense is cut; the mail path does not notice.

mod bounded;
mod config;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Registry;

use bounded::Bounded;
pub use config::Config;

/// What the pages show.
pub struct Views {
    /// All metrics.
    pub registry: Arc<Registry>,
    /// What still has to load; empty when everything has.
    pub waiting_for: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// A bound listener.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Binds the address.
    ///
    /// # Errors
    /// As the operating system reports.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The bound address, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve(self, views: Views, stop: CancellationToken) -> io::Result<()> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/live", get(live))
            .route("/ready", get(ready))
            .with_state(Arc::new(views));
        let serve = axum::serve(Bounded::new(self.listener), router).with_graceful_shutdown({
            let stop = stop.clone();
            async move { stop.cancelled().await }
        });
        tokio::select! {
            served = serve.into_future() => served,
            // A scraper that never reads must not hold up the end.
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    }
}

async fn metrics(State(views): State<Arc<Views>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], views.registry.page())
        .into_response()
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(views): State<Arc<Views>>) -> Response {
    let waiting = (views.waiting_for)();
    if waiting.is_empty() {
        return "ready\n".into_response();
    }
    let list = format!("not ready, waiting for: {}\n", waiting.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, list).into_response()
}

const GRACE: Duration = Duration::from_secs(1);
