//! Reload and detection: the new state is built beside the old one, and takes its place as a whole or not at all.
//!
//! Whatever can fail or wait comes first, and has its time; what is left then can do neither. Failure: a reload that is
//! refused, or takes too long, changes nothing and says why.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    config::{self, Config, Loaded, Reloadable, load},
    control::{self, Door, Permit, message::Reloaded},
    files::Outcome,
    http::Access,
    server::Snapshot,
    telemetry::log::{self, Log, Prepared},
};

use super::{
    Error,
    build::{Parts, where_to_look},
    descriptors,
};

/// Reads everything again, on demand or because the MTA's own files changed.
pub(super) struct Reloader {
    path: Option<PathBuf>,
    parts: Arc<Parts>,
    log: Log,
    doors: Doors,
    /// The configuration in force.
    current: ArcSwap<Config>,
    /// Two can't mix.
    one_at_a_time: Mutex<()>,
    /// Detection that a reload did not wait for.
    tasks: TaskTracker,
}

/// Who may come in where commands are taken.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) control: Option<Arc<Door>>,
    pub(super) trust: Option<Arc<Door>>,
}

/// For whom a socket is to be, and the changed keys that say so; never none.
struct Turn {
    keys: Vec<&'static str>,
    permit: Permit,
}

/// Why a reload changes nothing.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("{0}")]
    Key(config::Diagnostic),
    #[error(transparent)]
    Build(#[from] Error),
    #[error("{0} took too long, it was given up: is it on a disk or server that hangs?")]
    Slow(&'static str),
    #[error("another reload is still under way")]
    Busy,
}

/// What a configuration makes of the parts; nothing is in force yet.
struct Built {
    reloadable: Reloadable,
    loaded: Loaded,
    snapshot: Snapshot,
    log: Option<Prepared>,
    /// Of the doors, in the order that [`Doors`] has.
    turns: [Option<Turn>; 2],
    access: Access,
}

impl Reloader {
    pub(super) fn new(
        path: Option<PathBuf>,
        loaded: Loaded,
        parts: Arc<Parts>,
        log: Log,
        doors: Doors,
    ) -> Self {
        let current = ArcSwap::from_pointee(loaded.config);
        Self { path, parts, log, doors, current, one_at_a_time: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// Reads configuration, files and the MTA's settings again. `accept` takes content that was held back. Takes [`TIME`] at
    /// most.
    pub(super) async fn reload(&self, accept: bool) -> Reloaded {
        let until = Instant::now() + TIME;
        let reloaded = match timeout_at(until, self.one_at_a_time.lock()).await {
            Ok(_alone) => {
                let applied = self.apply(until, accept).await;
                self.parts.reload_succeeded.set(applied.is_ok().into());
                applied
            }
            Err(_) => Err(Refused::Busy),
        };
        let reloaded =
            reloaded.unwrap_or_else(|why| Reloaded { refused: Some(why.to_string()), ..Reloaded::default() });
        let outcome = match &reloaded {
            Reloaded { refused: Some(why), .. } => {
                error!(why, "reload refused, nothing was changed");
                REFUSED
            }
            Reloaded { needs_restart, .. } if !needs_restart.is_empty() => {
                warn!(keys = needs_restart.join(", "), "reloaded, but some keys need a restart");
                NEEDS_RESTART
            }
            Reloaded { held_back, .. } => {
                info!(held_back = held_back.len(), "reloaded");
                APPLIED
            }
        };
        self.parts.reloads.with_label_values(&[outcome]).inc();
        reloaded
    }

    /// Local domains, for `backstop status`. Waits for nothing.
    pub(super) fn domains(&self) -> Vec<String> {
        let current = self.current.load();
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

    /// Follows the MTA's own settings, until `stop`: its networks and probes are part of what sessions decide by.
    pub(super) async fn follow_mta(&self, stop: CancellationToken) {
        let mut findings = self.parts.live.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = findings.changed() => if changed.is_err() { return },
            }
            let _alone = self.one_at_a_time.lock().await;
            match self.snapshot(Instant::now() + TIME, Config::clone(&self.current.load())).await {
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

    /// The process is about to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.parts.server.is_draining()
    }

    async fn apply(&self, until: Instant, accept: bool) -> Result<Reloaded, Refused> {
        let kept = self.current.load_full();
        // Whatever can be refused is refused here, before the files that are followed change.
        let Built { reloadable, loaded, snapshot: trial, log, turns, access } = self.build(until).await?;
        let Reloadable { mut config, mut needs_restart } = reloadable;
        let (keeper, remotes) = (Arc::clone(&self.parts.keeper), Arc::clone(&self.parts.remotes));
        let read = move || {
            let mut read = keeper.reload(accept);
            read.extend(remotes.reload(accept));
            read
        };
        let read = in_time(until, "reading the files", read).await?;
        let is_detected = self.detect(until - AFTER_DETECTION, &kept, &config).await;
        let snapshot = match self.snapshot(until, config.clone()).await {
            Ok(snapshot) => snapshot,
            Err(why) => {
                self.detect(Instant::now(), &config, &kept).await;
                return Err(why);
            }
        };
        drop(trial);
        for key in self.doors.open(turns, &loaded)? {
            let (is, was) = (&mut config.control, &kept.control);
            match key {
                MODE => is.mode.clone_from(&was.mode),
                GROUP => is.group.clone_from(&was.group),
                _ => is.trust_group.clone_from(&was.trust_group),
            }
            needs_restart.push(key.to_owned());
        }
        // Nothing fails or waits from here on.
        self.parts.remotes.follow(&snapshot.directories);
        self.parts.server.replace(snapshot);
        if config.limits.sessions != kept.limits.sessions {
            self.parts.server.limit_sessions(descriptors::enough_for(config.limits.sessions));
        }
        if let Some(log) = log {
            self.log.change(log);
        }
        self.parts.access.store(Arc::new(access));
        self.parts.show(&config);
        // What needs a restart is not in force, and is told again by the next reload.
        self.current.store(Arc::new(config));
        let held_back = read.into_iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Taken(_) => None,
            Outcome::Held(held) => Some(format!("{name}: {held}")),
            Outcome::Changing => {
                Some(format!("{name}: the file is being written; it is read when it lies still"))
            }
        });
        let late = (!is_detected).then(|| DETECTION_IS_LATE.to_owned());
        let held_back = held_back.chain(late).collect();
        Ok(Reloaded { applied: true, needs_restart, refused: None, held_back })
    }

    /// Reads the configuration and builds what it says, where waiting for files disturbs no session.
    async fn build(&self, until: Instant) -> Result<Built, Refused> {
        let (path, kept, parts) = (self.path.clone(), self.current.load_full(), Arc::clone(&self.parts));
        in_time(until, "reading the configuration", move || build(path.as_deref(), &kept, &parts)).await?
    }

    /// A snapshot of a configuration that was taken.
    async fn snapshot(&self, until: Instant, config: Config) -> Result<Snapshot, Refused> {
        let parts = Arc::clone(&self.parts);
        Ok(in_time(until, "reading the files", move || parts.snapshot(&config)).await??)
    }

    /// Looks at the MTA again. Gives whether that came to an end in time; if not, it goes on, and counts when it does.
    async fn detect(&self, until: Instant, old: &Config, new: &Config) -> bool {
        let live = Arc::clone(&self.parts.live);
        let elsewhere = (old.domains.detect != new.domains.detect).then(|| where_to_look(new));
        let detecting = self.tasks.spawn(async move {
            match elsewhere {
                Some(options) => live.look_at(options).await,
                None => live.redetect().await,
            }
        });
        timeout_at(until, detecting).await.is_ok()
    }
}

impl Doors {
    /// Lets those in for whom the sockets are to be, or nobody else than before. Gives the changed keys for which there is no
    /// socket.
    fn open(&self, turns: [Option<Turn>; 2], loaded: &Loaded) -> Result<Vec<&'static str>, Refused> {
        let (mut missing, mut opened) = (Vec::new(), Vec::new());
        for (door, turn) in [&self.control, &self.trust].into_iter().zip(turns) {
            match (door, turn) {
                (_, None) => {}
                (None, Some(turn)) => missing.extend(turn.keys),
                (Some(door), Some(turn)) => match door.permit(turn.permit) {
                    Ok(before) => opened.push((door, before)),
                    Err(error) => {
                        for (door, before) in opened {
                            let _ = door.permit(before);
                        }
                        return Err(cannot(&turn.keys, &error, loaded));
                    }
                },
            }
        }
        Ok(missing)
    }
}

/// How the doors are to be turned for a changed configuration. Blocks: the system may ask another server for a group.
fn turns(
    old: &control::Config,
    new: &control::Config,
    loaded: &Loaded,
) -> Result<[Option<Turn>; 2], Refused> {
    let changed = |key, is_changed: bool| is_changed.then_some(key);
    let turn = |keys: Vec<&'static str>, permit: io::Result<Permit>| -> Result<Turn, Refused> {
        let permit = permit.map_err(|error| cannot(&keys, &error, loaded))?;
        Ok(Turn { keys, permit })
    };
    let keys = [changed(MODE, new.mode != old.mode), changed(GROUP, new.group != old.group)];
    let keys: Vec<_> = keys.into_iter().flatten().collect();
    let control = (!keys.is_empty()).then(|| turn(keys, new.permit())).transpose()?;
    let key = changed(TRUST_GROUP, new.trust_group != old.trust_group);
    let trust = key.map(|key| turn(vec![key], new.trust_permit())).transpose()?;
    Ok([control, trust])
}

/// Nobody can be let in by these keys.
fn cannot(keys: &[&'static str], error: &io::Error, loaded: &Loaded) -> Refused {
    Refused::Key(loaded.diagnose(keys.last().copied().unwrap_or(GROUP), error.to_string()))
}

fn build(path: Option<&Path>, kept: &Config, parts: &Parts) -> Result<Built, Refused> {
    let loaded = load(path)?;
    let reloadable = Reloadable::new(kept, loaded.config.clone());
    let config = &reloadable.config;
    let snapshot = parts.snapshot(config).map_err(|error| match error {
        Error::Directory(error) => Refused::Key(loaded.diagnose(error.key(), error.to_string())),
        error => Refused::Build(error),
    })?;
    // The secret in a file may be another one.
    let is_changed = config.log != kept.log || config.log.hash_key_file.is_some();
    let state = kept.store.place_of_files();
    let log = is_changed.then(|| log::prepare(&config.log, state)).transpose();
    let log = log.map_err(|error| Refused::Key(loaded.diagnose(error.key(), error.to_string())))?;
    let turns = turns(&kept.control, &config.control, &loaded)?;
    let access = Access::open(&config.http);
    let access =
        access.map_err(|error| Refused::Key(loaded.diagnose("http.token_file", error.to_string())))?;
    Ok(Built { reloadable, loaded, snapshot, log, turns, access })
}

/// What blocks, until then at most: a file may be on a disk that hangs.
async fn in_time<T: Send + 'static>(
    until: Instant,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let done = timeout_at(until, tokio::task::spawn_blocking(work)).await;
    let done = done.map_err(|_| Refused::Slow(what))?;
    Ok(done.map_err(|_| Error::Part("a part of the reload (it panicked)"))?)
}

/// The outcomes of a reload, as counted.
pub(super) const APPLIED: &str = "applied";
pub(super) const NEEDS_RESTART: &str = "needs-restart";
pub(super) const REFUSED: &str = "refused";
const MODE: &str = "control.mode";
const GROUP: &str = "control.group";
const TRUST_GROUP: &str = "control.trust_group";
/// A command waits for 60 s for its answer.
const TIME: Duration = Duration::from_secs(45);
/// Of that, for what comes after detection.
const AFTER_DETECTION: Duration = Duration::from_secs(20);
const DETECTION_IS_LATE: &str =
    "detection: the MTA's own programs take their time; what they tell counts when they end";

#[cfg(test)]
mod tests;
