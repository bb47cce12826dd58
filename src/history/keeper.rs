//! The task that folds refusals into the lists and writes them down.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Attack, History, Minute, Summary,
    bucket::Counted,
    file::{Place, encode},
    queue::{LANES, Queue},
    timeline::Timeline,
};

/// What belongs to one process.
#[derive(Debug)]
pub(super) struct Kept {
    timeline: Timeline,
    place: Option<Arc<Place>>,
    looked: Instant,
    /// What the greylist's counters said last.
    greylist: Vec<(String, u64)>,
    /// When it was looked last.
    is_disabled: bool,
    is_changed: bool,
    /// So long it ran since the last time that anything was written.
    unsaved: u64,
    is_broken: bool,
}

/// What other parts tell when they are asked, each second.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// The greylist's counters since the start of the process, by outcome.
    pub greylist: Vec<(String, u64)>,
    /// What is only watched: see [`Watched::what`](super::Watched::what).
    pub watched: Vec<String>,
    /// Nothing is decided.
    pub is_disabled: bool,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self {
            timeline: Timeline::new(unix_seconds()),
            place: None,
            looked: Instant::now(),
            greylist: Vec::new(),
            is_disabled: false,
            is_changed: false,
            unsaved: 0,
            is_broken: false,
        }
    }

    /// Takes in what was counted.
    fn look(&mut self, history: &History, sight: Option<&Sight>) {
        let now = unix_seconds();
        let seconds = self.looked.elapsed().as_secs();
        self.looked += Duration::from_secs(seconds);
        let missed = history.missed.swap(0, std::sync::atomic::Ordering::Relaxed);
        let mut counted = Counted { seconds, missed, counts: history.counted(), ..Counted::default() };
        if let Some(sight) = sight {
            let before = |outcome: &str| {
                self.greylist.iter().find(|(other, _)| *other == outcome).map_or(0, |(_, times)| *times)
            };
            let greylist = sight.greylist.iter();
            let since =
                greylist.map(|(outcome, times)| (outcome.clone(), times.saturating_sub(before(outcome))));
            counted.greylist = since.filter(|(_, times)| *times > 0).collect();
            self.greylist.clone_from(&sight.greylist);
            self.timeline.watch(now, &sight.watched);
            self.is_disabled = sight.is_disabled;
        }
        if self.is_disabled {
            counted.disabled = seconds;
        }
        self.unsaved += seconds;
        self.is_changed |=
            !counted.counts.is_empty() || !counted.greylist.is_empty() || self.unsaved >= SELDOM.as_secs();
        self.timeline.count(now, &counted);
    }

    /// Takes in what waits in a lane; whether there was anything.
    fn empty(&mut self, queue: &Queue, lane: usize) -> bool {
        let batch = queue.take(lane);
        let now = unix_seconds();
        for refusal in batch.iter() {
            // Those that came within the last second may be of the hour before.
            self.timeline.note(now, &refusal);
        }
        self.is_changed |= !batch.is_empty();
        !batch.is_empty()
    }

    /// How long it ran is written down at the end, too.
    fn end(&mut self, stops: bool) {
        self.is_changed |= stops && self.unsaved > 0;
    }
}

impl History {
    /// Goes on from what the directory holds, and keeps it there.
    pub async fn open(&self, directory: &Path) {
        let directory = directory.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let place = Place::open(&directory)?;
            let found = place.load();
            Ok::<_, std::io::Error>((place, found))
        });
        let mut kept = self.kept.lock().await;
        match opened.await {
            Ok(Ok((place, found))) => {
                if let Some(mut timeline) = found {
                    timeline.mend(unix_seconds());
                    kept.timeline = timeline;
                }
                kept.place = Some(Arc::new(place));
            }
            Ok(Err(error)) => warn!(%error, "what reports tell is kept in memory only"),
            Err(error) => error!(%error, "what reports tell is kept in memory only"),
        }
    }

    /// Takes in what happens, until `stop`; `sight` tells what others have counted.
    pub async fn run(self: Arc<Self>, sight: impl Fn() -> Sight, stop: CancellationToken) {
        let mut saved = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stops = tokio::select! {
                () = stop.cancelled() => true,
                () = self.hurry.notified() => false,
                _ = tick.tick() => false,
            };
            self.look(Some(&sight())).await;
            self.kept.lock().await.end(stops);
            if stops || saved.elapsed() >= SAVE {
                saved = Instant::now();
                self.save().await;
            }
            if stops {
                return;
            }
        }
    }

    /// Everything since so many seconds ago.
    pub async fn summary(&self, seconds: u64) -> Summary {
        self.look(None).await;
        // A copy, so that nobody waits while it is added up.
        let timeline = self.kept.lock().await.timeline.clone();
        let now = unix_seconds();
        tokio::task::spawn_blocking(move || timeline.summary(now, seconds)).await.unwrap_or_default()
    }

    /// What was decided in each of the last 180 minutes, the oldest first; the last one is under way.
    pub async fn minutes(&self) -> Vec<Minute> {
        self.look(None).await;
        self.kept.lock().await.timeline.minutes(unix_seconds())
    }

    /// The attack that is under way.
    pub async fn attack(&self) -> Option<Attack> {
        Attack::among(&self.minutes().await)
    }

    /// How long the server has run since this time, and was not disabled.
    pub async fn deciding_since(&self, since: u64) -> u64 {
        self.kept.lock().await.timeline.deciding_since(unix_seconds(), since)
    }

    /// Takes in what came until now.
    async fn look(&self, sight: Option<&Sight>) {
        self.kept.lock().await.look(self, sight);
        for lane in 0..LANES {
            // Not all at once: it is about half a millisecond, and sessions share the thread.
            if self.kept.lock().await.empty(&self.queue, lane) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn save(&self) {
        let (timeline, place) = {
            let mut kept = self.kept.lock().await;
            let Some(place) = kept.place.clone().filter(|_| kept.is_changed) else { return };
            (kept.is_changed, kept.unsaved) = (false, 0);
            (kept.timeline.clone(), place)
        };
        let written = tokio::task::spawn_blocking(move || place.save(&encode(&timeline)?)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let mut kept = self.kept.lock().await;
        match (kept.is_broken, &error) {
            (false, Some(error)) => warn!(error, "what reports tell can't be written to disk"),
            (true, None) => info!("what reports tell is written to disk again"),
            _ => {}
        }
        kept.is_broken = error.is_some();
        kept.is_changed |= error.is_some();
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const TICK: Duration = Duration::from_secs(1);
/// What a power failure may lose.
const SAVE: Duration = Duration::from_secs(60);
/// How often it is written down how long the server has run, while nobody writes.
const SELDOM: Duration = Duration::from_secs(600);
