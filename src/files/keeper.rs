//! Looks after all watched lists: one task, hints from the kernel, and a slow poll as safety net.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    loaded::{LoadError, Loaded, Text},
    metrics::Metrics,
    watched::{OpenError, Outcome, POLL, Spec, Watch, Watched},
};

/// Opens lists and keeps them current while [`Keeper::run`] runs. A list is kept for as long as somebody
/// holds it.
pub struct Keeper {
    metrics: Metrics,
    hint: Arc<Notify>,
    inner: Mutex<Inner>,
}

impl Keeper {
    /// Nothing to keep yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, hint: Arc::default(), inner: Mutex::default() }
    }

    /// The list that `spec` names, loaded. A list that is already kept under this name, with these paths and
    /// of this kind, is handed out again with its content, so that a reload of the configuration can't get
    /// a list past the judgement that holds accidents back. Blocks, for seconds if the file is being written.
    ///
    /// # Errors
    /// When a file is missing or unreadable, or not of the format that `parse` expects.
    pub fn open<T: Send + Sync + 'static>(
        &self,
        spec: Spec,
        parse: impl Fn(&mut [Text]) -> Result<Loaded<T>, LoadError> + Send + Sync + 'static,
    ) -> Result<Watched<T>, OpenError> {
        if let Some(kept) = self.kept(&spec) {
            return Ok(kept);
        }
        let paths = spec.paths.clone();
        let watched = Watched::open(spec, Box::new(parse), self.metrics.clone())?;
        let mut inner = self.inner();
        inner.lists.push(Arc::downgrade(&watched.watch()));
        inner.watch(&paths, &self.hint);
        // What changed between the first load and the watch.
        self.hint.notify_one();
        Ok(watched)
    }

    /// Reads every list again now, and takes what would be held back if `accept` says so. Blocks.
    pub fn reload(&self, accept: bool) -> Vec<(String, Outcome)> {
        let lists = self.inner().live();
        lists
            .into_iter()
            .map(|list| (list.spec().name.clone(), list.reload(accept, Instant::now())))
            .collect()
    }

    /// Keeps the lists current until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = JoinSet::new();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hint.notified() => wake = wake.min(Instant::now() + CALM),
                () = tokio::time::sleep_until(wake.into()) => {
                    wake = Instant::now() + POLL;
                    for list in self.inner().live() {
                        ticks.spawn_blocking(move || list.tick(Instant::now()));
                    }
                }
                Some(tick) = ticks.join_next() => match tick {
                    Ok(wait) => wake = wake.min(Instant::now() + wait),
                    Err(error) => tracing::error!(%error, "reading a file failed"),
                }
            }
        }
    }

    fn kept<T: Send + Sync + 'static>(&self, spec: &Spec) -> Option<Watched<T>> {
        let same = |list: &Arc<dyn Watch>| {
            let kept = list.spec();
            (&kept.name, kept.kind, &kept.paths) == (&spec.name, spec.kind, &spec.paths)
        };
        self.inner().live().into_iter().filter(same).find_map(Watched::again)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.inner().live();
        f.debug_list().entries(lists.iter().map(|list| list.spec().name.clone())).finish()
    }
}

#[derive(Default)]
struct Inner {
    lists: Vec<Weak<dyn Watch>>,
    watcher: Option<RecommendedWatcher>,
    directories: HashSet<PathBuf>,
}

impl Inner {
    fn live(&mut self) -> Vec<Arc<dyn Watch>> {
        self.lists.retain(|list| list.strong_count() > 0);
        self.lists.iter().filter_map(Weak::upgrade).collect()
    }

    /// Asks the kernel for hints about the directories that the paths, and the files that they lead to, are
    /// in. Directories, because a file is replaced by a rename, or (Kubernetes) by a link beside it.
    fn watch(&mut self, paths: &[PathBuf], hint: &Arc<Notify>) {
        if self.watcher.is_none() {
            let hint = Arc::clone(hint);
            let tell = move |event: notify::Result<Event>| {
                // Programs open files in /etc all the time; who only does that changes nothing.
                if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(AccessKind::Open(_)))) {
                    hint.notify_one();
                }
            };
            match notify::recommended_watcher(tell) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    tracing::warn!(%error, "no hints about changed files, they are looked at every {POLL:?}");
                }
            }
        }
        let Some(watcher) = &mut self.watcher else { return };
        let real = paths.iter().filter_map(|path| path.canonicalize().ok());
        for path in paths.iter().cloned().chain(real) {
            let directory = match path.parent() {
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            if !self.directories.contains(&directory) {
                match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                    Ok(()) => {
                        self.directories.insert(directory);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no hints about a directory, it is looked at every {POLL:?}");
                    }
                }
            }
        }
    }
}

/// After a hint, so that a busy directory costs little.
const CALM: Duration = Duration::from_millis(100);
