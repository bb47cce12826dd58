//! HTTP, for machines: `GET /metrics` (Prometheus), `/live` (the process runs), `/ready` (it can decide); and for people: the
//! status page at `/`.
//!
//! Never changes anything. Off the network by default (loopback); who may ask, [`Access`] says. Failure: a client that is slow or
//! sends nonsense is cut; the mail path does not notice.

mod access;
mod bounded;
mod config;
mod limit;
mod page;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    control::message::{Check, Checked, Status},
    history::History,
    telemetry::Registry,
};

pub use access::Access;
use access::Refused;
use bounded::Bounded;
pub use config::{Config, Shown};
use page::Site;

/// What the pages show: the running process, read-only.
pub trait Views: Send + Sync + 'static {
    /// All metrics.
    fn registry(&self) -> &Registry;
    /// What still has to load; empty when everything has.
    fn waiting_for(&self) -> Vec<String>;
    /// Who may ask, by the configuration in force.
    fn access(&self) -> Arc<Access>;
    /// What was decided.
    fn history(&self) -> &History;
    /// How the server is.
    fn status(&self) -> impl Future<Output = Status> + Send;
    /// What the server would decide, as for `backstop check`.
    fn check(&self, check: &Check) -> impl Future<Output = Checked> + Send;
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
    pub async fn serve<V: Views>(self, views: Arc<V>, stop: CancellationToken) -> io::Result<()> {
        let site = Arc::new(Site::new(views));
        let router = Router::new()
            .route("/", get(page::whole::<V>))
            .route("/part", get(page::part::<V>))
            .route("/status.css", get(|| asset("text/css", include_str!("assets/status.css"))))
            .route("/status.js", get(|| asset("text/javascript", include_str!("assets/status.js"))))
            .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("assets/icon.svg"))))
            .route("/metrics", get(metrics::<V>))
            .route("/live", get(live))
            .route("/ready", get(ready::<V>))
            .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
            .layer(from_fn_with_state(Arc::clone(&site), guard::<V>))
            .with_state(site);
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

/// Lets through whoever may ask, and gives every answer the headers that keep other sites off it.
async fn guard<V: Views>(State(site): State<Arc<Site<V>>>, request: Request, next: Next) -> Response {
    let access = site.views.access();
    let mut response = match access.check(request.method(), request.uri(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let mut response = refused.told().into_response();
            if let Some((name, value)) = match refused {
                Refused::Method => Some((header::ALLOW, "GET, HEAD")),
                Refused::Token => Some((header::WWW_AUTHENTICATE, BASIC)),
                Refused::Long | Refused::Host | Refused::CrossSite => None,
            } {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text).into_response()
}

async fn metrics<V: Views>(State(site): State<Arc<Site<V>>>) -> Response {
    let page = site.views.registry().page();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready<V: Views>(State(site): State<Arc<Site<V>>>) -> Response {
    let waiting = site.views.waiting_for();
    if waiting.is_empty() {
        return "ready\n".into_response();
    }
    let list = format!("not ready, waiting for: {}\n", waiting.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, list).into_response()
}

/// What a page may do, and who may see it: nothing from elsewhere, nobody elsewhere. What is shown is true for seconds.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
];
const BASIC: &str = "Basic realm=\"Backstop\", charset=\"UTF-8\"";
const GRACE: Duration = Duration::from_secs(1);
