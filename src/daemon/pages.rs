//! The pages of [`crate::http`], as soon as there is a place for them.
//!
//! Failure: where another program has their port, or their address is not there yet, mail does not wait for that. The log and
//! `backstop status` say so, and it is tried again.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::http::Http;

use super::{build::Parts, requests::Requests};

/// The socket, or that there will be one.
pub(super) struct Pages {
    address: SocketAddr,
    bound: Option<Http>,
    parts: Arc<Parts>,
}

impl Pages {
    pub(super) async fn bind(address: SocketAddr, parts: &Arc<Parts>) -> Self {
        let bound = match Http::bind(address).await {
            Ok(http) => Some(http),
            Err(error) => {
                error!(%error, "http.listen: can't listen on {address}: no status page and no metrics; it is tried again");
                let notice = format!("http.listen: can't listen on {address}: {error}");
                parts.no_pages.store(Some(Arc::new(notice)));
                None
            }
        };
        Self { address, bound, parts: Arc::clone(parts) }
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener is broken.
    pub(super) fn serve(
        self,
        views: Arc<Requests>,
        stop: CancellationToken,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let Self { address, bound, parts } = self;
        let mut bound = bound.map(tell);
        async move {
            let http = loop {
                if let Some(http) = bound {
                    break http;
                }
                if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                    return Ok(());
                }
                bound = Http::bind(address).await.ok().map(tell);
            };
            parts.no_pages.store(None);
            http.serve(views, stop).await
        }
    }
}

fn tell(http: Http) -> Http {
    info!(address = %format_args!("http://{}", http.address()), "listening");
    http
}

const AGAIN: Duration = Duration::from_secs(2);
