//! Reload and detection: the new state is built beside the old one, and takes its place as a whole or not at all.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Loaded, load},
    control::message::Reloaded,
    files::Outcome,
    server::Snapshot,
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
        // Whatever can be refused is refused here, before the files that are followed change.
        let trial = self.snapshot(&loaded.config).await.map_err(|error| error.to_string())?;
        let keeper = Arc::clone(&self.parts.keeper);
        let remotes = Arc::clone(&self.parts.remotes);
        let read = tokio::task::spawn_blocking(move || {
            let mut read = keeper.reload(accept);
            read.extend(remotes.reload(accept));
            read
        });
        let read = read.await;
        let read = read.map_err(|error| error.to_string())?;
        self.parts.live.redetect().await;
        let snapshot = self.snapshot(&loaded.config).await.map_err(|error| error.to_string())?;
        drop(trial);
        self.parts.remotes.follow(&snapshot.directories);
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
        current.domains.detect = kept.domains.detect;
        current.store = kept.store;
        let held_back = read.into_iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Taken(_) => None,
            Outcome::Held(held) => Some(format!("{name}: {held}")),
            Outcome::Changing => {
                Some(format!("{name}: the file is being written; it is read when it lies still"))
            }
        });
        Ok(Reloaded { applied: true, needs_restart, refused: None, held_back: held_back.collect() })
    }

    /// Builds a snapshot where waiting for files disturbs no session.
    async fn snapshot(&self, config: &Config) -> Result<Snapshot, Error> {
        let (parts, config) = (Arc::clone(&self.parts), config.clone());
        let built = tokio::task::spawn_blocking(move || parts.snapshot(&config)).await;
        built.map_err(|_| Error::Part("building the configuration's parts (it panicked)"))?
    }

    /// Follows the MTA's own settings, until `stop`: its networks and probes are part of what sessions decide by.
    pub(super) async fn follow_mta(&self, stop: CancellationToken) {
        let mut findings = self.parts.live.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = findings.changed() => if changed.is_err() { return },
            }
            let current = self.current.lock().await;
            match self.snapshot(&current).await {
                Ok(snapshot) => {
                    self.parts.remotes.follow(&snapshot.directories);
                    self.parts.server.replace(snapshot);
                }
                Err(error) => {
                    error!(%error, "the MTA's settings changed, but sessions go on by what was known before");
                }
            }
        }
    }

    /// Local domains, for `backstop status`.
    pub(super) async fn domains(&self) -> Vec<String> {
        let current = self.current.lock().await;
        let mut domains: Vec<String> =
            current.domains.names.iter().map(|name| format!("{name} (domains.names)")).collect();
        for path in &current.domains.files {
            domains.push(format!("those in {} (domains.files)", path.display()));
        }
        for domain in &self.parts.live.findings().domains {
            let name = domain.pattern.to_string();
            let mut given = current.directory.iter().filter(|(_, directory)| directory.names(&name));
            let state = match given.next() {
                Some((directory, _)) => format!("; directory {directory} is in charge"),
                None if domain.partial.is_empty() => String::new(),
                None => ", partial: see `backstop detect`".to_owned(),
            };
            domains.push(format!("{name} ({}{state})", domain.evidence.what));
        }
        domains
    }
}

fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("http.listen", old.http != new.http),
        ("control.socket", old.control.socket != new.control.socket),
        ("control.mode", old.control.mode != new.control.mode),
        ("control.group", old.control.group != new.control.group),
        ("control.trust_socket", old.control.trust_socket != new.control.trust_socket),
        ("control.trust_group", old.control.trust_group != new.control.trust_group),
        ("log", old.log != new.log),
        ("limits.sessions", old.limits.sessions != new.limits.sessions),
        ("store", old.store != new.store),
        ("domains.detect", old.domains.detect != new.domains.detect),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}
