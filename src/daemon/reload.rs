//! Reload and detection: the new state is built beside the old one, and takes its place as a whole or not at all.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Loaded, load},
    control::message::Reloaded,
    files::Outcome,
};

use super::{Error, build::Parts};

/// Reads everything again, on demand or because the MTA's own files changed.
pub(super) struct Reloader {
    path: Option<PathBuf>,
    parts: Arc<Parts>,
    /// The configuration in force; locked while a reload runs, so that two can't mix.
    current: Mutex<Config>,
}

impl Reloader {
    pub(super) fn new(path: Option<PathBuf>, loaded: Loaded, parts: Arc<Parts>) -> Self {
        Self { path, parts, current: Mutex::new(loaded.config) }
    }

    /// Reads configuration, files and the MTA's settings again. `accept` takes content that was held back.
    pub(super) async fn reload(&self, accept: bool) -> Reloaded {
        let mut current = self.current.lock().await;
        let reloaded = match self.apply(&mut current, accept).await {
            Ok(reloaded) => reloaded,
            Err(why) => Reloaded { refused: Some(why), ..Reloaded::default() },
        };
        let outcome = match &reloaded {
            Reloaded { refused: Some(why), .. } => {
                error!(why, "reload refused, nothing was changed");
                "refused"
            }
            Reloaded { needs_restart, .. } if !needs_restart.is_empty() => {
                warn!(keys = needs_restart.join(", "), "reloaded, but some keys need a restart");
                "needs-restart"
            }
            Reloaded { held_back, .. } => {
                info!(held_back = held_back.len(), "reloaded");
                "applied"
            }
        };
        self.parts.reloads.with_label_values(&[outcome]).inc();
        reloaded
    }

    async fn apply(&self, current: &mut Config, accept: bool) -> Result<Reloaded, String> {
        let loaded = load(self.path.as_deref()).map_err(|error| error.to_string())?;
        let keeper = Arc::clone(&self.parts.keeper);
        let read = tokio::task::spawn_blocking(move || keeper.reload(accept)).await;
        let read = read.map_err(|error| error.to_string())?;
        self.parts.detect(&loaded.config).await;
        let snapshot = self.parts.snapshot(&loaded.config).map_err(|error: Error| error.to_string())?;
        self.parts.server.replace(snapshot);
        self.parts.show(&loaded.config);
        let needs_restart = needs_restart(current, &loaded.config);
        // What needs a restart is not in force, and is told again by the next reload.
        let kept = std::mem::replace(current, loaded.config);
        current.listen = kept.listen;
        current.http = kept.http;
        current.control = kept.control;
        current.log = kept.log;
        current.limits.sessions = kept.limits.sessions;
        let held_back = read.into_iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Taken(_) => None,
            Outcome::Held(held) => Some(format!("{name}: {held}")),
            Outcome::Changing => Some(format!("{name}: the file is being written; it is read when it lies still")),
        });
        Ok(Reloaded { applied: true, needs_restart, refused: None, held_back: held_back.collect() })
    }

    /// Detects anew when a file of the MTA changes, until `stop`: an alias that is new must not be refused.
    pub(super) async fn follow_mta(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.parts.mta_changed().await {
                let current = self.current.lock().await;
                info!("the MTA's files changed, detecting again");
                self.parts.detect(&current).await;
                match self.parts.snapshot(&current) {
                    Ok(snapshot) => self.parts.server.replace(snapshot),
                    Err(error) => error!(%error, "what was detected before stays"),
                }
            }
        }
    }
}

fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("http.listen", old.http != new.http),
        ("control.socket", old.control != new.control),
        ("log", old.log != new.log),
        ("limits.sessions", old.limits.sessions != new.limits.sessions),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// How often the MTA's files are looked at; a look is one stat(2) a file.
const LOOK: Duration = Duration::from_millis(500);
