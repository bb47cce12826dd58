//! One list made of one or more files, and the state of keeping it current.

use std::{
    any::Any,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::{ArcSwapOption, Guard};

use super::{
    hints::Hints,
    judge::{Held, judge},
    loaded::{FileError, LoadError, Loaded, Text},
    metrics::Metrics,
    settle::{Next, QUIET, Settle},
    stamp::Stamp,
    turns::Turns,
};

/// Which files, and what to call them.
pub struct Spec {
    /// The name in logs and metrics, e.g. `directory staff`. From the configuration or a constant.
    pub name: String,
    /// Whatever else decides what the files mean, e.g. their format: a list with the same name, paths and
    /// kind is the same list, also across a reload of the configuration.
    pub kind: &'static str,
    /// The files; the list is what they hold together.
    pub paths: Vec<PathBuf>,
    /// Told the state after each look at the files, at least every ten seconds.
    pub report: Box<dyn Fn(&Status) + Send + Sync>,
}

/// The state of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The name given.
    pub name: String,
    /// Entries in use; `None` without content.
    pub entries: Option<u64>,
    /// Why the files' present content is not in use.
    pub held: Option<Held>,
    /// For how long it has not been.
    pub stale: Duration,
    /// Lines in the content in use that make no sense.
    pub bad_lines: u64,
    /// The first of them: where, and what is wrong.
    pub first_bad: Option<String>,
}

impl Status {
    /// What an admin should look at, if there is anything.
    pub fn notice(&self) -> Option<String> {
        match (&self.held, &self.first_bad) {
            (Some(held @ (Held::Empty | Held::Shrunk { .. })), _) if self.entries.is_some() => Some(format!(
                "{}: {held}; the old content stays until it is written again, or `backstop reload --accept`",
                self.name
            )),
            (Some(held), _) if self.entries.is_some() => {
                Some(format!("{}: {held}; the old content stays", self.name))
            }
            (Some(held), _) => Some(format!("{}: {held}", self.name)),
            (None, None) => None,
            (None, Some(first)) if self.bad_lines == 1 => Some(format!("{}: a bad line: {first}", self.name)),
            (None, Some(first)) => {
                Some(format!("{}: {} bad lines, the first: {first}", self.name, self.bad_lines))
            }
        }
    }
}

/// What an explicit reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The content was read and is in use: so many entries.
    Taken(u64),
    /// It was read and is held back.
    Held(Held),
    /// The files changed while they were read; they are read again when they lie still.
    Changing,
}

/// A configured list that can't be used from the start.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct OpenError {
    /// The list's name.
    pub name: String,
    /// Why.
    pub error: LoadError,
}

/// A list kept current. Clones share it.
pub struct Watched<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// What the files said when they were last right; `None` if that never was, which means "unknown".
    /// Costs no lock.
    pub fn current(&self) -> Guard<Option<Arc<T>>> {
        self.shared.content.load()
    }

    /// What the files say now where it is held back because it is much shorter. Costs no lock.
    pub fn offered(&self) -> Guard<Option<Arc<T>>> {
        self.shared.offered.load()
    }

    /// Whether what the files say now could not be read: they may name more than [`Watched::current`] does.
    pub fn is_in_doubt(&self) -> bool {
        self.shared.in_doubt.load(Ordering::Acquire)
    }

    /// The number of its present content; `None`: it is being replaced just now.
    pub fn turn(&self) -> Option<u64> {
        self.shared.turns.now()
    }

    /// The state of the list.
    pub fn status(&self) -> Status {
        self.shared.status(Instant::now())
    }

    /// The files that the content in use is from, and how long ago it was read.
    pub fn origin(&self) -> (&[PathBuf], Option<Duration>) {
        (&self.shared.spec.paths, self.shared.known().read.map(|read| read.elapsed()))
    }

    /// Reads the files now, without waiting for them to lie still. Blocks.
    pub fn reload(&self, accept: bool) -> Outcome {
        self.shared.reload(accept, Instant::now())
    }

    /// The first load. A list that is missing or unreadable is an error; one that is empty, or doesn't lie
    /// still within [`PATIENCE`], has no content yet. Blocks.
    pub(super) fn open(spec: Spec, parse: Box<Parse<T>>, metrics: Metrics) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            spec,
            parse,
            metrics,
            content: ArcSwapOption::empty(),
            offered: ArcSwapOption::empty(),
            in_doubt: AtomicBool::new(false),
            turns: Turns::default(),
            settle: Mutex::default(),
            known: Mutex::default(),
        });
        let fail = |error| OpenError { name: shared.spec.name.clone(), error };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // A file that was just written may be half of one.
            if shared.youngest() < QUIET {
                std::thread::sleep(QUIET / 10);
                continue;
            }
            match shared.read(&mut shared.settle(), false, Instant::now()) {
                Outcome::Held(Held::Unreadable(error)) => return Err(fail(error)),
                Outcome::Held(_) | Outcome::Taken(_) => break,
                Outcome::Changing => {}
            }
        }
        if shared.content.load().is_none() {
            tracing::error!(list = shared.spec.name, "no content yet: what it is asked is unknown");
        }
        shared.tell(Instant::now());
        Ok(Self { shared })
    }

    pub(super) fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.shared) as Arc<dyn Watch>
    }

    /// The list behind a watch, if it is of this type.
    pub(super) fn again(watch: Arc<dyn Watch>) -> Option<Self> {
        watch.any().downcast().ok().map(|shared| Self { shared })
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { name, kind, paths, .. } = &self.shared.spec;
        let mut shown = f.debug_struct("Watched");
        shown.field("name", name).field("kind", kind).field("paths", paths).finish_non_exhaustive()
    }
}

/// Turns files into content.
pub(super) type Parse<T> = dyn Fn(&mut [Text]) -> Result<Loaded<T>, LoadError> + Send + Sync;

/// A list as its keeper sees it.
pub(super) trait Watch: Send + Sync {
    /// Looks at the files and does what is due. How long until it should be called again, at most. From now on
    /// `hints` tells of changes after this look.
    /// Blocks. Does nothing while another call is at work, be it for hours on a dead network share.
    fn tick(&self, now: Instant, hints: &Hints) -> Duration;
    /// See [`Watched::reload`].
    fn reload(&self, accept: bool, now: Instant) -> Outcome;
    fn spec(&self) -> &Spec;
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// The files are looked at this often even if nothing hints at a change.
pub(super) const POLL: Duration = Duration::from_secs(10);
/// How long a start waits for files that are being written.
const PATIENCE: Duration = Duration::from_secs(5);

struct Shared<T> {
    spec: Spec,
    parse: Box<Parse<T>>,
    metrics: Metrics,
    content: ArcSwapOption<T>,
    /// Read, and held back.
    offered: ArcSwapOption<T>,
    /// The last look at the files gave nothing.
    in_doubt: AtomicBool,
    /// Of all three.
    turns: Turns,
    /// Locked for as long as a look at the files takes.
    settle: Mutex<Settle>,
    /// Locked for moments only.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: Option<u64>,
    /// When the content in use was read.
    read: Option<Instant>,
    bad_lines: u64,
    first_bad: Option<String>,
    held: Option<(Held, Instant)>,
}

impl<T: Send + Sync + 'static> Watch for Shared<T> {
    fn tick(&self, now: Instant, hints: &Hints) -> Duration {
        let mut settle = match self.settle.try_lock() {
            Ok(settle) => settle,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // What changes meanwhile may be neither seen by that call nor hinted at.
            Err(TryLockError::WouldBlock) => return QUIET,
        };
        hints.watch(&self.spec.paths);
        let next = settle.observe(&self.stamps(), now);
        let wait = match next {
            Next::Wait(wait) => wait,
            Next::Idle if !self.worth_another_try() => POLL,
            Next::Idle | Next::Read => match self.read(&mut settle, false, now) {
                Outcome::Changing => QUIET,
                Outcome::Taken(_) | Outcome::Held(_) => POLL,
            },
        };
        drop(settle);
        self.tell(now);
        wait
    }

    fn reload(&self, accept: bool, now: Instant) -> Outcome {
        let outcome = self.read(&mut self.settle(), accept, now);
        self.tell(now);
        outcome
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T> Shared<T> {
    // A parser that panicked leaves a state that is as good as before.
    fn settle(&self) -> MutexGuard<'_, Settle> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The system could not read the files, though they look the same as then.
    fn worth_another_try(&self) -> bool {
        let held = &self.known().held;
        matches!(held, Some((Held::Unreadable(LoadError::File { error: FileError::Io(_), .. }), _)))
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.spec.paths.iter().map(|path| Stamp::of(path)).collect()
    }

    fn youngest(&self) -> Duration {
        let now = SystemTime::now();
        let stamps = self.stamps();
        let files = stamps.iter().filter(|stamp| matches!(stamp, Stamp::File { .. }));
        files.map(|stamp| stamp.age(now)).min().unwrap_or(Duration::MAX)
    }

    /// Reads and judges the files, whatever was seen of them before.
    fn read(&self, settle: &mut Settle, accept: bool, now: Instant) -> Outcome {
        let seen = self.stamps();
        let opened: Result<Vec<Text>, LoadError> =
            self.spec.paths.iter().map(|path| Text::open(path)).collect();
        let (before, result) = match opened {
            Ok(mut texts) => {
                let before = texts.iter().map(|text| text.stamp().clone()).collect();
                (before, (self.parse)(&mut texts))
            }
            Err(error) => (seen, Err(error)),
        };
        if !settle.read(&before, &self.stamps(), now) {
            return Outcome::Changing;
        }
        let _turn = self.turns.begin();
        let Loaded { content, entries, faults, may_shrink } = match result {
            Ok(loaded) => loaded,
            Err(error) => {
                self.in_doubt.store(true, Ordering::Release);
                self.offered.store(None);
                return self.hold_back(error.into(), now);
            }
        };
        for fault in &faults.first {
            tracing::warn!(list = self.spec.name, "bad line: {fault}");
        }
        let judgement = judge(self.known().entries, entries);
        match judgement {
            Err(held) if !accept && !may_shrink => {
                self.offered.store((held != Held::Empty).then(|| Arc::new(content)));
                self.in_doubt.store(false, Ordering::Release);
                self.hold_back(held, now)
            }
            _ => {
                self.content.store(Some(Arc::new(content)));
                self.offered.store(None);
                self.in_doubt.store(false, Ordering::Release);
                *self.known() = Known {
                    entries: Some(entries),
                    read: Some(now),
                    bad_lines: faults.count,
                    first_bad: faults.first.first().map(ToString::to_string),
                    held: None,
                };
                tracing::info!(list = self.spec.name, entries, bad_lines = faults.count, "file read");
                Outcome::Taken(entries)
            }
        }
    }

    fn hold_back(&self, held: Held, now: Instant) -> Outcome {
        let mut known = self.known();
        let before = known.held.take();
        if before.as_ref().map(|(held, _)| held) != Some(&held) {
            tracing::error!(
                list = self.spec.name,
                in_use = known.entries,
                "held back, the old content stays: {held}"
            );
        }
        known.held = Some((held.clone(), before.map_or(now, |(_, since)| since)));
        Outcome::Held(held)
    }

    fn status(&self, now: Instant) -> Status {
        let known = self.known();
        Status {
            name: self.spec.name.clone(),
            entries: known.entries,
            held: known.held.as_ref().map(|(held, _)| held.clone()),
            stale: known
                .held
                .as_ref()
                .map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since)),
            bad_lines: known.bad_lines,
            first_bad: known.first_bad.clone(),
        }
    }

    /// Brings the metrics up to date.
    fn tell(&self, now: Instant) {
        let status = self.status(now);
        let (name, metrics) = (&[status.name.as_str()], &self.metrics);
        metrics.held_back.with_label_values(name).set(i64::from(status.held.is_some()));
        metrics.bad_lines.with_label_values(name).set(status.bad_lines.try_into().unwrap_or(i64::MAX));
        metrics
            .entries
            .with_label_values(name)
            .set(status.entries.unwrap_or(0).try_into().unwrap_or(i64::MAX));
        (self.spec.report)(&status);
    }
}
