//! The task of one replica: loads it, runs its feed for as long as it is in force, and again when it fails.

use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{Feed, Lost, Replica, Writer, place};

impl Replica {
    /// Reads what is on disk, in the store's directory if there is one, and follows the directory until `stop`.
    pub(in crate::directory) async fn follow(
        self: Arc<Self>,
        store: Option<PathBuf>,
        stop: CancellationToken,
    ) {
        if stop.run_until_cancelled(self.load(store.clone())).await.is_none() {
            return;
        }
        self.report();
        let mut pause = FIRST_PAUSE;
        let mut save = tokio::time::interval(SAVE_EVERY);
        save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ended = {
                let run = std::pin::pin!(self.run(store.clone()));
                let mut run = run;
                loop {
                    tokio::select! {
                        () = stop.cancelled() => break None,
                        worked = &mut run => break Some(worked),
                        _ = save.tick() => {
                            self.save();
                            // The first age is written down soon: without one the copy on disk is of no time at all.
                            save.reset_after(if self.content.is_dated() { SAVE_EVERY } else { FIRST_SAVE });
                        }
                    }
                }
            };
            let Some(worked) = ended else { return };
            self.report();
            pause = if worked { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // It is back: somebody asked it, and it answered.
                () = async {
                    tokio::time::sleep(FIRST_PAUSE).await;
                    self.remote.answers().await;
                } => {}
            }
        }
    }

    /// Reads what is on disk, unless that was done.
    async fn load(&self, store: Option<PathBuf>) {
        let (content, stem, name) = (Arc::clone(&self.content), self.stem.clone(), Arc::clone(&self.name));
        let loaded = tokio::task::spawn_blocking(move || {
            let path = store.and_then(|store| {
                place::path(&store, &stem)
                    .inspect_err(|error| {
                        tracing::warn!(directory = %name, %error, "the replica lives in memory only");
                    })
                    .ok()
            });
            content.load(path)
        });
        if let Ok(Ok(())) = loaded.await {
            if !self.is_complete() && self.addresses() == 0 {
                tracing::info!(directory = %self.name, "the replica is new, everything is listed");
                return;
            }
            let (bytes, _) = self.content.memory.size();
            let age = self.content.age().map(|age| age.as_secs());
            tracing::info!(
                directory = %self.name, addresses = self.addresses(), bytes, age,
                complete = self.is_complete(), "the replica is loaded"
            );
        }
    }

    /// Runs the feed once; gives whether it had worked before it failed.
    async fn run(&self, store: Option<PathBuf>) -> bool {
        // Only if it could not be before.
        self.load_again(store).await;
        let mut writer = match Writer::open(Arc::clone(&self.content), self.limits).await {
            Ok(writer) => writer,
            Err(lost) => {
                self.content.fail(&lost);
                return false;
            }
        };
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut feed = match feed.map_or_else(|| Feed::build(&self.name, &self.config, &self.remote), Ok) {
            Ok(feed) => feed,
            Err(error) => {
                self.content.fail(&error);
                return false;
            }
        };
        // A feed that panics, or is dropped here, is built anew: nobody knows what state it is in.
        match AssertUnwindSafe(feed.run(&mut writer)).catch_unwind().await {
            Ok(failure) => {
                self.content.fail(&failure);
                *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed);
            }
            Err(_) => self.content.fail(&Panicked),
        }
        writer.worked
    }

    async fn load_again(&self, store: Option<PathBuf>) {
        if !self.content.is_loaded() {
            self.load(store).await;
        }
    }

    /// Writes down how old the content is; nobody waits for it.
    fn save(&self) {
        let content = Arc::clone(&self.content);
        tokio::task::spawn_blocking(move || {
            let saved: Result<(), Lost> = content.save();
            if saved.is_err() {
                tracing::debug!(directory = %content.name, "the replica's age could not be saved");
            }
        });
    }

    /// Closes the file. Blocks.
    pub(in crate::directory) fn close(&self) {
        self.content.close();
    }

    /// What is on disk is in memory.
    pub(in crate::directory) fn is_loaded(&self) -> bool {
        self.content.is_loaded()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the feed panicked; please report it")]
struct Panicked;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two times that the content's age is written down; the first one waits for there to be one.
const FIRST_SAVE: Duration = Duration::from_secs(1);
const SAVE_EVERY: Duration = Duration::from_secs(60);
