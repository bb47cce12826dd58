//! Looks after all watched lists: one task, hints from the kernel, and a slow poll as safety net.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    hints::Hints,
    loaded::{LoadError, Loaded, Text},
    metrics::Metrics,
    watched::{OpenError, Outcome, POLL, Spec, Watch, Watched},
};

/// Opens lists and keeps them current while [`Keeper::run`] runs. A list is kept for as long as somebody
/// holds it.
pub struct Keeper {
    metrics: Metrics,
    opened: Notify,
    lists: Mutex<Vec<Weak<dyn Watch>>>,
}

impl Keeper {
    /// Nothing to keep yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, opened: Notify::new(), lists: Mutex::default() }
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
        let watched = Watched::open(spec, Box::new(parse), self.metrics.clone())?;
        self.lists().push(Arc::downgrade(&watched.watch()));
        // To be watched from now on; and what changed since it was read is seen then.
        self.opened.notify_one();
        Ok(watched)
    }

    /// Reads every list again now, and takes what would be held back if `accept` says so. Blocks.
    pub fn reload(&self, accept: bool) -> Vec<(String, Outcome)> {
        let lists = self.live();
        lists
            .into_iter()
            .map(|list| (list.spec().name.clone(), list.reload(accept, Instant::now())))
            .collect()
    }

    /// Keeps the lists current until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let hints = Arc::new(Hints::new());
        let mut ticks = JoinSet::new();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.opened.notified() => wake = wake.min(Instant::now() + CALM),
                () = hints.changed() => wake = wake.min(Instant::now() + CALM),
                () = tokio::time::sleep_until(wake.into()) => {
                    wake = Instant::now() + POLL;
                    for list in self.live() {
                        let hints = Arc::clone(&hints);
                        ticks.spawn_blocking(move || list.tick(Instant::now(), &hints));
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
        self.live().into_iter().filter(same).find_map(Watched::again)
    }

    fn live(&self) -> Vec<Arc<dyn Watch>> {
        let mut lists = self.lists();
        lists.retain(|list| list.strong_count() > 0);
        lists.iter().filter_map(Weak::upgrade).collect()
    }

    fn lists(&self) -> MutexGuard<'_, Vec<Weak<dyn Watch>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.live();
        f.debug_list().entries(lists.iter().map(|list| list.spec().name.clone())).finish()
    }
}

/// After a hint, so that a busy directory costs little.
const CALM: Duration = Duration::from_millis(100);
