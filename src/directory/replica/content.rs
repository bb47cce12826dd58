//! The content of a replica: in memory for look-ups, on disk for the next start. It outlives a change of the
//! configuration that leaves the content what it is.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{Lost, held::Held, ledger::Ledger, memory::Memory, store};
use crate::{
    clock,
    directory::remote::Trouble,
    store::disk::{self, millis, move_aside},
    telemetry::log::line,
};

/// What a replica knows.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: Arc<str>,
    pub(super) memory: Arc<Memory>,
    /// A listing was complete once: who is not in it may be absent.
    pub(super) complete: AtomicBool,
    /// What is in memory was compared with the file, or is of it. (Of a copy of the index it may be otherwise by a fault that
    /// has no checksum.)
    pub(super) sure: AtomicBool,
    /// When it was what the directory says, in milliseconds since 1970; 0: never.
    pub(super) confirmed: AtomicU64,
    /// When what is held back was, likewise.
    offered: AtomicU64,
    pub(super) disk: Arc<disk::Health>,
    /// When the directory was heard last, in milliseconds since `base`, while changes arrive by themselves; 0 while they
    /// don't.
    live: AtomicU64,
    /// The same in milliseconds since 1970: the other clock stands still while the host is suspended.
    heard: AtomicU64,
    base: Instant,
    held: Mutex<Option<Held>>,
    /// Why it is not kept current.
    trouble: Mutex<Option<Trouble>>,
    path: Mutex<Option<PathBuf>>,
    loaded: AtomicBool,
    /// The age that was written down last.
    saved: AtomicU64,
    ledger: Mutex<Option<Ledger>>,
    terms: AtomicU64,
}

impl Content {
    /// Nothing yet. `name` is the directory's, for the log.
    pub(super) fn new(name: &str) -> Arc<Self> {
        let name: Arc<str> = name.into();
        Arc::new(Self {
            memory: Arc::new(Memory::new()),
            complete: AtomicBool::new(false),
            sure: AtomicBool::new(true),
            confirmed: AtomicU64::new(0),
            offered: AtomicU64::new(0),
            disk: disk::Health::new(format!("directory {name}: the replica's file")),
            live: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            base: clock::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(clock::now),
            held: Mutex::default(),
            trouble: Mutex::default(),
            path: Mutex::default(),
            loaded: AtomicBool::new(false),
            saved: AtomicU64::new(0),
            ledger: Mutex::default(),
            terms: AtomicU64::new(0),
            name,
        })
    }

    /// Reads what is on disk, unless it has been read. A file that can't be used is moved aside. Blocks.
    pub(super) fn load(&self, path: Option<PathBuf>) -> Result<(), Lost> {
        let mut ledger = lock(&self.ledger);
        if ledger.is_some() {
            return Ok(());
        }
        lock(&self.path).clone_from(&path);
        let opened = guard(|| Ledger::open(path.clone(), self));
        *ledger = match opened {
            Ok(opened) => Some(opened),
            Err(error) => self.make_anew(&error),
        };
        self.loaded.store(ledger.is_some(), Ordering::Release);
        if ledger.is_some() { Ok(()) } else { Err(Lost) }
    }

    /// What is on disk is in memory.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// It was written down how old the content is.
    pub(super) fn is_dated(&self) -> bool {
        self.saved.load(Ordering::Relaxed) > 0
    }

    /// Writes down how old the content is, and what a listing told so far. Blocks.
    pub(super) fn save(&self) -> Result<(), Lost> {
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let is_saved = self.saved.swap(confirmed, Ordering::Relaxed) == confirmed;
        self.work(None, |ledger| if is_saved { ledger.commit(self) } else { ledger.save(self) })
    }

    /// Writes down how old the content is, and closes the file.
    pub(super) fn close(&self) {
        let mut ledger = lock(&self.ledger);
        self.loaded.store(false, Ordering::Release);
        if let Some(mut ledger) = ledger.take() {
            let saved = guard(|| ledger.save(self));
            if let Err(error) = saved {
                tracing::warn!(directory = %self.name, %error, "the replica's age could not be saved");
            }
            let _ = guard(|| {
                drop(ledger);
                Ok(())
            });
        }
    }

    /// Who calls this may write; whoever did before may not any more, and what he told is not current. Blocks. Gives the term
    /// and the cookie.
    pub(super) fn begin_term(&self) -> Result<(u64, Option<Vec<u8>>), Lost> {
        self.not_live();
        // A file that turns out to be damaged only now is made anew, which is no reason not to begin.
        let _ = self.work(None, |_| Ok(()));
        self.work(None, |ledger| {
            ledger.term = self.terms.fetch_add(1, Ordering::Relaxed) + 1;
            Ok((ledger.term, ledger.cookie.clone()))
        })
    }

    /// Works on the disk; in this term only, if one is given. Blocks; the first time for as long as it takes to look at all of
    /// the file, if it was not read yet. When that fails, everything begins anew with what is
    /// in memory.
    pub(super) fn work<T>(
        &self,
        term: Option<u64>,
        work: impl FnOnce(&mut Ledger) -> store::Result<T>,
    ) -> Result<T, Lost> {
        let mut slot = lock(&self.ledger);
        let ledger = slot.as_mut().ok_or(Lost)?;
        if term.is_some_and(|term| term != ledger.term) {
            return Err(Lost);
        }
        let checked_work = |ledger: &mut Ledger| {
            ledger.check(self)?;
            work(ledger)
        };
        match guard(|| checked_work(ledger)) {
            Ok(done) => Ok(done),
            Err(error) => {
                let broken = slot.take();
                let _ = guard(|| {
                    drop(broken);
                    Ok(())
                });
                *slot = self.make_anew(&error);
                self.loaded.store(slot.is_some(), Ordering::Release);
                Err(Lost)
            }
        }
    }

    /// Everything that the directory said up to this time has been told; the content is that, unless some of it is held
    /// back.
    pub(super) fn confirm(&self, as_of: Instant, live: bool) {
        let ago = clock::since(as_of);
        let wall = millis(clock::wall().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
        let is_held = self.held().is_some();
        let slot = if is_held { &self.offered } else { &self.confirmed };
        slot.store(wall, Ordering::Relaxed);
        self.heard.store(wall, Ordering::Relaxed);
        let at = u64::try_from(as_of.saturating_duration_since(self.base).as_millis()).unwrap_or(u64::MAX);
        self.live.store(if live { at } else { 0 }, Ordering::Release);
        let over = lock(&self.trouble).take();
        if let Some(trouble) = over {
            let seconds = clock::since(trouble.since).as_secs();
            let text = if is_held {
                "the directory tells its list again, which is held back"
            } else {
                "the replica is kept current again"
            };
            tracing::info!(directory = %self.name, seconds, "{text}");
        }
    }

    /// What was held back is in force.
    pub(super) fn accepted(&self) {
        self.confirmed.fetch_max(self.offered.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Changes don't arrive by themselves any more.
    pub(super) fn not_live(&self) {
        self.live.store(0, Ordering::Release);
    }

    /// It is not kept current; the log has a line when that begins.
    pub(super) fn fail(&self, error: &dyn std::fmt::Display) {
        self.not_live();
        let text = error.to_string();
        let mut trouble = lock(&self.trouble);
        match &mut *trouble {
            Some(trouble) => {
                let error = &*line(&text);
                tracing::debug!(directory = %self.name, error, "the replica is not kept current");
                trouble.text = text;
            }
            none => {
                let error = &*line(&text);
                tracing::warn!(directory = %self.name, error, "the replica is not kept current");
                *none = Some(Trouble { since: clock::now(), text });
            }
        }
    }

    /// Whether whom it does not know does not exist.
    pub(super) fn is_current(&self) -> bool {
        self.is_current_at(clock::now(), clock::wall())
    }

    /// The same at a time by both clocks.
    pub(super) fn is_current_at(&self, now: Instant, wall: SystemTime) -> bool {
        let live = self.live.load(Ordering::Acquire);
        if live == 0 || !self.complete.load(Ordering::Acquire) {
            return false;
        }
        let now = now.saturating_duration_since(self.base).as_millis();
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        let ago = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(heard);
        now < u128::from(live) + CURRENT.as_millis() && ago < CURRENT
    }

    /// A listing was complete once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// What is known is all that there is, and what the file says: a recipient may be refused for it.
    pub(super) fn is_sure(&self) -> bool {
        self.sure.load(Ordering::Acquire) && self.is_complete()
    }

    /// Forgets whatever somebody could be refused for: what is in memory may not be what the directory said. Whoever is known
    /// stays known, unless that was not all; nobody else is absent before everything is read or listed again.
    pub(super) fn doubt(&self) {
        self.complete.store(false, Ordering::Release);
        self.memory.forget_attributes();
        self.sure.store(true, Ordering::Release);
    }

    /// How long ago it was what the directory says.
    pub(super) fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let age = millis(clock::wall()).saturating_sub(confirmed);
        (confirmed > 0).then(|| Duration::from_millis(age))
    }

    pub(super) fn held(&self) -> Option<Held> {
        *lock(&self.held)
    }

    pub(super) fn hold(&self, held: Option<Held>) {
        *lock(&self.held) = held;
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        lock(&self.path).clone()
    }

    fn make_anew(&self, error: &store::StoreError) -> Option<Ledger> {
        tracing::error!(
            directory = %self.name, %error,
            "the replica's file can't be used; it is moved aside, and everything is listed again"
        );
        self.not_live();
        if !self.sure.load(Ordering::Acquire) {
            self.doubt();
        }
        let path = self.path();
        if let Some(path) = &path {
            move_aside(path);
        }
        let made = guard(|| Ledger::anew(path, self)).or_else(|_| guard(|| Ledger::anew(None, self)));
        made.inspect_err(|error| {
            tracing::error!(directory = %self.name, %error, "the replica can't be written down at all");
        })
        .ok()
    }
}

/// A damaged file may make the library panic.
pub(super) fn guard<T>(work: impl FnOnce() -> store::Result<T>) -> store::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(store::StoreError::Garbled))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A feed that was live so long ago may have lost its server without knowing.
const CURRENT: Duration = Duration::from_secs(5);
