//! Suspensions by command: kept in the store, where other processes may share it, and held in memory, where a look-up
//! waits for nothing.
//!
//! The list in memory follows the store, at most a second behind it. Failure: while the store does not answer, the list
//! stays as it is but for what ends by itself, and no command changes it; after [`LONGEST_BEHIND`] somebody may have been
//! resumed elsewhere, and who is on it is suspended no longer for sure.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    list::List,
    now,
    record::{MOST_REASON, Record, Subject, SubjectError},
};
use crate::{
    address::Address,
    files::ago,
    policy::is_reply_text,
    store::{Key, LONGEST, Op, Outcome, Store, StoreError, Table},
};

/// The suspensions of a store.
#[derive(Debug)]
pub struct Commanded {
    store: Store,
    list: ArcSwap<List>,
    /// When the list was as the store has it, in seconds since 1970; 0: never yet.
    current: AtomicU64,
    /// What the list in memory is made of; locked while it is read anew or changed.
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// The mark of the last change before it was read; a store that is empty has none.
    mark: Option<Vec<u8>>,
    /// When it was read; `None`: it has to be.
    at: Option<Instant>,
    /// The store did not answer the last time.
    is_cut_off: bool,
    /// It was told that the list is too old.
    is_told: bool,
}

/// Why nothing was suspended or taken back.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No address and no domain.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The end is not ahead.
    #[error("the end of a suspension lies in the future")]
    Past,
    /// Too long, or not to be shown on a terminal.
    #[error("a reason is one line of at most {MOST_REASON} characters")]
    Reason,
    /// Not fit to be a reply.
    #[error("a reply text is 1 to 200 printable ASCII characters on one line")]
    Text,
    /// There are too many.
    #[error("there are {MOST} suspensions already; more belong into suspensions.files")]
    TooMany,
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Commanded {
    /// Those in this store. Nothing is read until [`Commanded::refresh`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        let current = AtomicU64::new(0);
        Self { store, list: ArcSwap::default(), current, followed: Mutex::default() }
    }

    /// Suspends what `record` names, in place of a suspension that is there. When this returns it is kept, and applies here.
    /// Gives whether there was one.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed, unless the store failed in the midst of it.
    ///
    /// # Panics
    /// Never: text and numbers can be written as JSON.
    pub async fn suspend(&self, subject: &Subject, record: Record) -> Result<bool, Refused> {
        let now = now();
        let ttl = match record.until {
            None => ENDLESS,
            Some(until) => match Duration::from_secs(until).checked_sub(now) {
                Some(left) if !left.is_zero() => left.min(ENDLESS),
                _ => return Err(Refused::Past),
            },
        };
        let is_line =
            |text: &String| text.chars().count() <= MOST_REASON && !text.chars().any(char::is_control);
        if !record.reason.iter().chain(&record.by).all(is_line) {
            return Err(Refused::Reason);
        }
        if !record.text.iter().all(|text| is_reply_text(text)) {
            return Err(Refused::Text);
        }
        let what = subject.key();
        let before = self.list.load().get(&what).is_some_and(|record| record.is_in_force(now));
        if !before && self.len() >= MOST {
            return Err(Refused::TooMany);
        }
        let value = serde_json::to_vec(&record).expect("text and numbers can be written");
        let key = Key::new(Table::Suspensions, &what);
        let record = Record { what, ..record };
        self.change(Op::Put { key, value, ttl }, |list| list.insert(record)).await?;
        Ok(before)
    }

    /// Ends a suspension. When this returns that is kept, and applies here. Gives whether there was one.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn resume(&self, subject: &Subject) -> Result<bool, Refused> {
        let what = subject.key();
        let key = Key::new(Table::Suspensions, &what);
        let before = self.store.run(&[Op::Get(key.clone())]).await?;
        self.change(Op::Remove(key), |list| list.remove(&what)).await?;
        Ok(matches!(before.as_slice(), [Outcome::Value(Some(_))]))
    }

    /// All that apply, in alphabetical order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Record>> {
        let now = now();
        let list = self.list.load();
        let mut all: Vec<_> =
            list.values().filter(|record| record.is_in_force(now)).map(Arc::clone).collect();
        all.sort_by(|a, b| a.what.cmp(&b.what));
        all
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.load().len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the list anew if the store has changed.
    ///
    /// # Errors
    /// When the store does not answer; the list stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut followed = self.followed.lock().await;
        let begun = now();
        let read = self.read(&mut followed).await;
        match &read {
            Ok(()) => {
                // After the list: whoever sees this time sees a list that is as new.
                self.current.store(begun.as_secs(), Ordering::Release);
                if followed.is_cut_off {
                    info!("the list of suspensions is current again");
                }
                followed.is_told = false;
            }
            Err(error) if !followed.is_cut_off => {
                warn!(%error, "the list of suspensions can't be read, it stays as it was");
            }
            Err(_) if !followed.is_told && !self.is_empty() && self.is_behind(now()) => {
                warn!(
                    "nobody can tell any longer who is suspended by command: mail for these is put off, not refused"
                );
                followed.is_told = true;
            }
            Err(_) => {}
        }
        followed.is_cut_off = read.is_err();
        read
    }

    /// Whether the list is so old at `now` (since 1970 UTC) that nobody may be refused for good by it. A clock that is set
    /// makes it so for a moment at most.
    pub(super) fn is_behind(&self, now: Duration) -> bool {
        let current = Duration::from_secs(self.current.load(Ordering::Acquire));
        self.store.is_shared() && current.abs_diff(now) > LONGEST_BEHIND
    }

    /// Where the list is from, and how old it is, in words; for `backstop check`.
    #[must_use]
    pub fn origin(&self) -> String {
        let Some(place) = self.store.place() else {
            return "by command: not looked at, the server knows them".to_owned();
        };
        let current = Duration::from_secs(self.current.load(Ordering::Acquire));
        let age = match (self.store.is_shared(), current.is_zero()) {
            (false, _) => "as of now".to_owned(),
            (true, true) => "not read yet".to_owned(),
            (true, false) => format!("as of {}", ago(current.abs_diff(now()))),
        };
        format!("by command: {place}, {age}")
    }

    /// How old the list is, where it is not as the store has it.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        self.notice_at(now())
    }

    pub(super) fn notice_at(&self, now: Duration) -> Option<String> {
        let current = Duration::from_secs(self.current.load(Ordering::Acquire));
        let age = current.abs_diff(now);
        if !self.store.is_shared() || age <= LONGEST_READING {
            return None;
        }
        if current.is_zero() {
            return Some(
                "suspensions by command could not be read yet: nobody is refused for one".to_owned(),
            );
        }
        let what = if self.is_behind(now) {
            "mail for these recipients is put off, not refused"
        } else {
            "they stay"
        };
        let age = age.as_secs();
        Some(format!("suspensions by command are known as of {age} s ago: {what}, until the store answers"))
    }

    /// Follows the store until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let _ = stop.run_until_cancelled(self.refresh()).await;
        }
    }

    /// Whether this address, exactly as it is, or its domain is suspended at `now` (since 1970 UTC).
    pub(super) fn find(&self, address: &Address, now: Duration) -> Option<Arc<Record>> {
        self.list.load().find(address).find(|record| record.is_in_force(now)).cloned()
    }

    /// Changes the store, tells those who follow it, and changes the list here.
    async fn change(&self, op: Op, apply: impl FnOnce(&mut List)) -> Result<(), StoreError> {
        // New each time, so that no other state of the store has the same, before or after it lost something.
        let mark = RandomState::new().hash_one(SystemTime::now()).to_string();
        let told = Op::Put { key: last_change(), value: mark.into(), ttl: ENDLESS };
        let mut followed = self.followed.lock().await;
        let kept = self.store.keep(&[op, told]).await;
        if !matches!(kept, Ok(()) | Err(StoreError::Unsaved(_))) {
            return kept;
        }
        let mut list = List::clone(&self.list.load());
        apply(&mut list);
        self.list.store(Arc::new(list));
        // Somebody else may have changed it meanwhile.
        followed.at = None;
        kept
    }

    async fn read(&self, followed: &mut Followed) -> Result<(), StoreError> {
        let mark = self.store.run(&[Op::Get(last_change())]).await?.pop().and_then(Outcome::value);
        let is_fresh = followed.at.is_some_and(|at| at.elapsed() < AT_LEAST_EVERY);
        if is_fresh && followed.mark == mark {
            return Ok(());
        }
        let read_at = Instant::now();
        let entries = self.store.list(Table::Suspensions).await?;
        let mut list = List::default();
        for entry in entries.into_iter().take(MOST) {
            match String::from_utf8(entry.id) {
                Ok(what) if what.contains('@') => list.insert(Record::read(what, &entry.value)),
                _ => {}
            }
        }
        self.list.store(Arc::new(list));
        // The mark is from before: a change in between is read once more.
        followed.mark = mark;
        followed.at = Some(read_at);
        Ok(())
    }
}

/// Marks the last change, beside what has changed.
fn last_change() -> Key {
    Key::new(Table::Suspensions, LAST_CHANGE)
}

/// No address: it has no `@`.
const LAST_CHANGE: &str = "last change";
/// A change made elsewhere applies here at most so much later.
const EVERY: Duration = Duration::from_secs(1);
/// For what changes without a mark: keys that somebody else takes away. A large store takes seconds to be searched.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10 * 60);
/// A connection that is lost now and then must not let mail in or out; who was resumed elsewhere meanwhile waits no longer.
const LONGEST_BEHIND: Duration = Duration::from_secs(2 * 60);
/// A list that is not older may be one that is being read.
const LONGEST_READING: Duration = Duration::from_secs(30);
/// A store keeps everything for a time.
const ENDLESS: Duration = LONGEST;
/// The list is in the memory of every process.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store, telemetry::Registry};

    fn store() -> Store {
        Store::in_memory(store::Metrics::register(&Registry::default()))
    }

    fn subject(text: &str) -> Subject {
        Subject::parse(text).unwrap()
    }

    fn finds(commanded: &Commanded, address: &str) -> Option<String> {
        let found = commanded.find(&Address::parse(address).unwrap(), now())?;
        Some(found.what.clone())
    }

    #[tokio::test]
    async fn what_was_suspended_is_found_until_it_is_resumed() {
        let commanded = Commanded::new(store());
        for what in ["Joe@Example.com", "@example.org"] {
            assert!(!commanded.suspend(&subject(what), Record::default()).await.unwrap(), "{what}");
            assert!(commanded.suspend(&subject(what), Record::default()).await.unwrap(), "{what}: once more");
        }
        for (address, found) in [
            ("joe@example.com", Some("joe@example.com")),
            ("JOE@EXAMPLE.COM.", Some("joe@example.com")),
            ("jo@example.com", None),
            ("joe@sub.example.com", None),
            ("anyone@example.org", Some("@example.org")),
            ("anyone@sub.example.org", None),
        ] {
            assert_eq!(finds(&commanded, address).as_deref(), found, "{address}");
        }
        let all: Vec<String> = commanded.all().iter().map(|record| record.what.clone()).collect();
        assert_eq!(all, ["@example.org", "joe@example.com"]);
        assert!(commanded.resume(&subject("joe@example.com")).await.unwrap());
        assert!(!commanded.resume(&subject("joe@example.com")).await.unwrap());
        assert_eq!((finds(&commanded, "joe@example.com"), commanded.len()), (None, 1));
    }

    #[tokio::test]
    async fn others_see_it_when_they_look() {
        let store = store();
        let (here, there) = (Commanded::new(store.clone()), Commanded::new(store.clone()));
        there.refresh().await.unwrap();
        here.suspend(&subject("joe@example.com"), Record::default()).await.unwrap();
        assert_eq!(finds(&there, "joe@example.com"), None);
        there.refresh().await.unwrap();
        assert!(finds(&there, "joe@example.com").is_some());
        here.resume(&subject("joe@example.com")).await.unwrap();
        there.refresh().await.unwrap();
        assert_eq!(finds(&there, "joe@example.com"), None);
        // and one that starts
        here.suspend(&subject("@example.com"), Record::default()).await.unwrap();
        let new = Commanded::new(store);
        new.refresh().await.unwrap();
        assert!(finds(&new, "joe@example.com").is_some());
    }

    #[tokio::test]
    async fn it_ends_by_the_clock() {
        let commanded = Commanded::new(store());
        let until = now().as_secs() + 3600;
        let record = Record { until: Some(until), ..Record::default() };
        commanded.suspend(&subject("joe@example.com"), record).await.unwrap();
        let joe = Address::parse("joe@example.com").unwrap();
        assert!(commanded.find(&joe, Duration::from_secs(until - 1)).is_some());
        assert!(commanded.find(&joe, Duration::from_secs(until)).is_none());
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let commanded = Commanded::new(store());
        let joe = subject("joe@example.com");
        let past = Record { until: Some(now().as_secs()), ..Record::default() };
        assert!(matches!(commanded.suspend(&joe, past).await, Err(Refused::Past)));
        for reason in ["two\nlines", "\u{1b}[2J", &"x".repeat(MOST_REASON + 1)] {
            let record = Record { reason: Some(reason.to_owned()), ..Record::default() };
            assert!(matches!(commanded.suspend(&joe, record).await, Err(Refused::Reason)), "{reason:?}");
        }
        for text in ["", " ", "a\r\n250 ok", "naïve", &"x".repeat(201)] {
            let record = Record { text: Some(text.to_owned()), ..Record::default() };
            assert!(matches!(commanded.suspend(&joe, record).await, Err(Refused::Text)), "{text:?}");
        }
        assert!(commanded.is_empty());
        // an end that no clock reaches is no end
        let record = Record { until: Some(u64::MAX), ..Record::default() };
        commanded.suspend(&joe, record).await.unwrap();
        assert!(finds(&commanded, "joe@example.com").is_some());
    }
}
