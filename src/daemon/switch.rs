//! `backstop disable` and `enable`: whether anything is decided at all, who said otherwise, until when, and why.
//!
//! Sessions look at one flag of the server, and at nothing here. What is to survive a restart is in a file of this host's own,
//! never in a store that others share. Failure: what was said is in force all the same, and who said it is told that it can't be
//! written down; a file that makes no sense disables, as somebody had asked for it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    control::message::{Disable, Disabled},
    server::Server,
    telemetry::log::line,
};

/// Whether anything is decided.
pub(super) struct Switch {
    server: Arc<Server>,
    gauge: IntGauge,
    /// `None`: nobody is served.
    file: Option<PathBuf>,
    state: ArcSwapOption<State>,
    /// Something was said: whoever waits for the end looks again.
    changed: Notify,
    /// What belongs together changes together.
    switching: Mutex<()>,
    /// One writes at a time, and each writes how it is by then.
    writing: Mutex<()>,
}

struct State {
    told: Disabled,
    /// As `told.until`, by the clock that nobody sets.
    ends: Option<Instant>,
}

/// Why it was not done, or not as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "a second is the least, and 365 days are the most; without a time it lasts until `backstop enable`"
    )]
    Time,
    #[error("a reason is one line of at most {MOST_REASON} characters")]
    Reason,
    #[error("it is in force, but can't be written down, a restart will end it: {0}")]
    Unsaved(io::Error),
    #[error("it is in force, but can't be written down, a restart will disable again: {0}")]
    Left(io::Error),
}

impl Switch {
    /// Decides, until something else is said. `directory` is where a file can be kept.
    pub(super) fn new(server: Arc<Server>, gauge: IntGauge, directory: Option<&Path>) -> Self {
        gauge.set(1);
        let file = directory.map(|directory| directory.join(FILE));
        Self {
            server,
            gauge,
            file,
            state: ArcSwapOption::const_empty(),
            changed: Notify::new(),
            switching: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Goes on with what was to survive the restart. Blocks while the file is read.
    pub(super) fn restore(&self) {
        let Some(path) = &self.file else { return };
        let now = since_1970();
        let told = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(file = %path.display(), %error, "it was disabled before, and can't be read why");
                Disabled { since: now.as_secs(), ..Disabled::default() }
            }),
            Err(error) if is_absent(&error) => return,
            Err(error) => {
                warn!(file = %path.display(), %error, "it can't be read whether it was disabled; it is not");
                return;
            }
        };
        let told = Disabled { across_restarts: true, ..told };
        match time_left(&told, now) {
            Some(Duration::ZERO) => {
                info!("it was disabled before the restart, and the time is over");
                if let Err(error) = self.save() {
                    warn!(%error, "what is over can't be removed");
                }
            }
            left => self.set(Some((told, left))),
        }
    }

    /// Lets everything pass from now on. Gives how it is now, and whether it was so before.
    ///
    /// # Errors
    /// [`Refused`]
    pub(super) async fn disable(
        self: &Arc<Self>,
        order: Disable,
        by: Option<String>,
    ) -> Result<(Disabled, bool), Refused> {
        let Disable { seconds, across_restarts, reason } = order;
        if seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST) {
            return Err(Refused::Time);
        }
        let is_line =
            |text: &String| text.chars().count() <= MOST_REASON && !text.chars().any(char::is_control);
        if !reason.iter().all(is_line) {
            return Err(Refused::Reason);
        }
        let since = since_1970().as_secs();
        let until = seconds.map(|seconds| since.saturating_add(seconds));
        let told = Disabled { since, until, by, reason, across_restarts };
        let before = self.told().is_some();
        self.set(Some((told.clone(), seconds.map(Duration::from_secs))));
        self.saved().await.map_err(if across_restarts { Refused::Unsaved } else { Refused::Left })?;
        Ok((told, before))
    }

    /// Decides again. Gives whether it was disabled.
    ///
    /// # Errors
    /// [`Refused::Left`]
    pub(super) async fn enable(self: &Arc<Self>) -> Result<bool, Refused> {
        let before = self.told().is_some();
        if before {
            self.set(None);
        }
        self.saved().await.map_err(Refused::Left)?;
        Ok(before)
    }

    /// Who disabled it, until when, and why. `None`: it decides.
    pub(super) fn told(&self) -> Option<Disabled> {
        self.state.load().as_ref().map(|state| state.told.clone())
    }

    /// Ends what has an end, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let state = self.state.load_full();
            let left = state.as_deref().and_then(State::left);
            if let (Some(state), Some(Duration::ZERO)) = (state, left) {
                if self.end(&state)
                    && let Err(error) = self.saved().await
                {
                    warn!(%error, "what is over can't be removed");
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                // The clock on the wall may be set.
                () = tokio::time::sleep(left.map_or(Duration::MAX, |left| left.min(LOOK_AGAIN))) => {}
            }
        }
    }

    /// Ends this, unless something else was said meanwhile.
    fn end(&self, state: &Arc<State>) -> bool {
        let _switching = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.state.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, state));
        if is_current {
            self.put(None);
        }
        is_current
    }

    /// From now on it is so; `left` is the time until it ends.
    fn set(&self, disabled: Option<(Disabled, Option<Duration>)>) {
        let _switching = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(disabled);
    }

    fn put(&self, disabled: Option<(Disabled, Option<Duration>)>) {
        match &disabled {
            Some((told, _)) => {
                let until = told.until.map(show);
                let (by, reason) = (told.by.as_deref(), told.reason.as_deref().map(line));
                let reason = reason.as_deref();
                warn!(since = show(told.since), until, by, reason, "disabled: everything passes");
            }
            None => info!("enabled again: it is decided as configured"),
        }
        let is_disabled = disabled.is_some();
        let state = disabled.map(|(told, left)| State { told, ends: left.map(|left| Instant::now() + left) });
        self.state.store(state.map(Arc::new));
        self.server.set_disabled(is_disabled);
        self.gauge.set((!is_disabled).into());
        self.changed.notify_one();
    }

    /// Writes down how it is. Who waits for a disk that hangs is told, and it is written when the disk is back.
    async fn saved(self: &Arc<Self>) -> io::Result<()> {
        let switch = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || switch.save());
        match tokio::time::timeout(DISK, saved).await {
            Ok(saved) => saved?,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("the disk takes more than {DISK:?}")))
            }
        }
    }

    fn save(&self) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.told() {
            Some(told) if told.across_restarts => write(path, &serde_json::to_vec(&told)?),
            _ => match fs::remove_file(path) {
                Ok(()) => sync_directory(path),
                Err(error) if is_absent(&error) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }
}

impl State {
    /// How long it lasts yet; `None`: until something else is said.
    fn left(&self) -> Option<Duration> {
        let ends = self.ends?;
        let is_over = self.told.until.is_some_and(|until| since_1970().as_secs() >= until);
        Some(if is_over { Duration::ZERO } else { ends.saturating_duration_since(Instant::now()) })
    }
}

/// The file as a whole, or as it was.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How long it lasts yet; a clock that was set back makes it no longer than it was to be.
fn time_left(told: &Disabled, now: Duration) -> Option<Duration> {
    let until = told.until?;
    let whole = Duration::from_secs(until.saturating_sub(told.since).min(LONGEST));
    Some(Duration::from_secs(until).saturating_sub(now).min(whole))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339, as the log's own times.
fn show(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

const FILE: &str = "disabled.json";
/// Who sets the clock waits no longer for the end.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest that a command waits for the disk.
const DISK: Duration = Duration::from_secs(10);
/// In seconds: 365 days.
const LONGEST: u64 = 365 * 24 * 60 * 60;
/// In characters.
const MOST_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_makes_it_no_longer() {
        let told = |until| Disabled { since: 1000, until, ..Disabled::default() };
        for (until, now, left) in [
            (None, 0, None),
            (Some(1600), 1000, Some(600)),
            (Some(1600), 1500, Some(100)),
            (Some(1600), 1600, Some(0)),
            (Some(1600), 9999, Some(0)),
            (Some(1600), 0, Some(600)),
            (Some(900), 0, Some(0)),
            (Some(u64::MAX), 1000, Some(LONGEST)),
        ] {
            let expected = left.map(Duration::from_secs);
            assert_eq!(time_left(&told(until), Duration::from_secs(now)), expected, "{until:?} at {now}");
        }
    }

    #[test]
    fn a_file_is_there_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join(FILE);
        for content in ["first", "second"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
    }
}
