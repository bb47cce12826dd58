//! Why a session ended, and how that is counted and told.

use std::{
    io,
    time::{Duration, Instant},
};

use milter_protocol::session::ProtocolError;
use tracing::{debug, info};

use crate::{clock, server::metrics::Metrics, telemetry::Few};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum End {
    /// The MTA closed the connection, with or without a farewell.
    #[error("closed by the MTA")]
    Closed,
    /// We are stopping, and no message is under way.
    #[error("drained")]
    Drained,
    /// The MTA vanished within a frame.
    #[error("the MTA closed the connection within a frame")]
    CutShort,
    /// The MTA was silent for too long.
    #[error("the MTA was silent for {0:?}")]
    Silent(Duration),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The MTA broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl End {
    /// Besides those of [`ProtocolError`].
    pub(in crate::server) const KINDS: [&'static str; 3] = ["cut-short", "silent", "io"];

    /// The label of `protocol_errors_total`; `None` where nothing went wrong.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Drained => None,
            Self::CutShort => Some("cut-short"),
            Self::Silent(_) => Some("silent"),
            Self::Io(_) => Some("io"),
            Self::Protocol(error) => Some(error.kind()),
        }
    }
}

/// Counts and tells how sessions ended. Whoever may connect can make as many of them end as he likes: few of those have a line.
#[derive(Debug)]
pub(in crate::server) struct Ends {
    lines: Few,
}

impl Ends {
    pub(in crate::server) fn new() -> Self {
        Self { lines: Few::new(clock::now()) }
    }

    /// Notes that a session ended at that time.
    pub(super) fn note(&self, session: u64, end: &End, metrics: &Metrics, now: Instant) {
        let Some(kind) = end.kind() else {
            debug!(session, "{end}");
            return;
        };
        metrics.protocol_error(kind);
        self.lines.tell(now, |left_out| info!(session, kind, left_out, "session ended: {end}"));
    }
}
