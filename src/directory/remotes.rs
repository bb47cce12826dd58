//! The directories on other servers that are in use: they outlive a reload of the configuration.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BuildError, Config, Directories, Metrics, Source, State, ldap,
    remote::{Backend, Remote},
    replica::{self, Replica},
    smtp, sql,
};
use crate::{address::Address, files, store};

/// Opens directories on other servers. One that is asked for again with an unchanged configuration, and unchanged
/// certificates in its files, is handed out again,
/// with its connections and all that it remembers. Replicas are kept current while [`Remotes::run`] runs, those that are
/// in force; until then, and where it never does, they are asked live.
#[derive(Debug)]
pub struct Remotes {
    metrics: Metrics,
    store: Option<store::Config>,
    /// Who asks through these limits himself: no attack comes to him.
    is_unlimited: bool,
    open: Mutex<Open>,
    /// Whom the directories in force ask; each with a recipient to ask for before there is mail.
    asked: Mutex<Vec<(Arc<Remote>, Option<Address>)>>,
    /// Those that are followed.
    in_force: watch::Sender<Vec<Arc<Replica>>>,
}

#[derive(Debug, Default)]
struct Open {
    remotes: Vec<Opened>,
    contents: Vec<replica::Kept>,
}

/// What was opened with a configuration, and with what was in its files then.
#[derive(Debug)]
struct Opened {
    name: String,
    config: Config,
    files: u64,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    Remote(Weak<Remote>),
    Replica(Weak<Replica>),
}

impl Handle {
    fn source(&self) -> Option<Source> {
        match self {
            Self::Remote(remote) => remote.upgrade().map(Source::Remote),
            Self::Replica(replica) => replica.upgrade().map(Source::Replica),
        }
    }
}

impl Remotes {
    /// None yet. Replicas live in memory.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            store: None,
            is_unlimited: false,
            open: Mutex::default(),
            asked: Mutex::default(),
            in_force: watch::Sender::default(),
        }
    }

    /// Replicas have their files in the store.
    #[must_use]
    pub fn with_store(self, store: store::Config) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Replicas ask as often as they are asked: for who decides without the server, about recipients of his own choice.
    #[must_use]
    pub fn unlimited(self) -> Self {
        Self { is_unlimited: true, ..self }
    }

    /// The source that `[directory.NAME]` describes. Connects nowhere, but reads files.
    pub(super) fn open(&self, name: &str, config: &Config) -> Result<Source, BuildError> {
        let mut open = lock(&self.open);
        let Open { remotes, contents } = &mut *open;
        remotes.retain(|opened| opened.handle.source().is_some());
        let files = certificates(config);
        let mut same = remotes.iter().filter(|opened| opened.name == name && opened.config == *config);
        let same = same.find(|opened| opened.files == files);
        if let Some(source) = same.and_then(|opened| opened.handle.source()) {
            return Ok(source);
        }
        let key = format!("directory.{name}");
        let (backend, deadline) = match config {
            Config { ldap: Some(ldap), .. } => {
                (Backend::Ldap(Box::new(ldap::Client::build(&key, ldap)?)), ldap.deadline)
            }
            Config { sql: Some(sql), .. } => (Backend::Sql(sql::Client::build(&key, sql)?), sql.deadline),
            Config { smtp: Some(smtp), .. } => {
                (Backend::Smtp(smtp::Client::build(&key, smtp)?), smtp.deadline)
            }
            _ => return Err(BuildError::Kind { key }),
        };
        let is_replicated = replica::is_wanted(config);
        let remote = Remote::new(name, backend, deadline, &config.cache, is_replicated, &self.metrics);
        let remote = Arc::new(remote);
        let (handle, source) = if is_replicated {
            let shared = replica::Shared::open(name, config, contents);
            let replica = Replica::new(name, config, remote, shared, &self.metrics)?;
            let replica = Arc::new(if self.is_unlimited { replica.unlimited() } else { replica });
            (Handle::Replica(Arc::downgrade(&replica)), Source::Replica(replica))
        } else {
            (Handle::Remote(Arc::downgrade(&remote)), Source::Remote(remote))
        };
        remotes.push(Opened { name: name.to_owned(), config: config.clone(), files, handle });
        Ok(source)
    }

    /// From now on the replicas of these directories are followed, and no others. Live ones are asked one question, so
    /// that a wrong password is known before the first mail.
    pub fn follow(&self, directories: &Directories) {
        *lock(&self.asked) = directories.remotes().collect();
        self.in_force.send_replace(replicas(directories));
    }

    /// Lists the replicas of these directories into memory, and keeps them for as long as the runtime runs. Waits until each
    /// is complete, or can't be had, `patience` at most.
    pub async fn list(self: &Arc<Self>, directories: &Directories, patience: Duration) {
        let replicas = replicas(directories);
        if replicas.is_empty() {
            return;
        }
        self.in_force.send_replace(replicas.clone());
        let this = Arc::clone(self);
        TaskTracker::new().spawn(async move { this.run(CancellationToken::new()).await });
        wait(patience, || replicas.iter().all(|replica| replica.is_settled())).await;
    }

    /// Waits until the content on disk of all that are followed is in memory, `patience` at most.
    pub async fn loaded(&self, patience: Duration) {
        wait(patience, || self.in_force.borrow().iter().all(|replica| replica.is_loaded())).await;
    }

    /// Takes what listings of replicas hold back, if `accept` says so. Blocks. Gives what still is held back.
    pub fn reload(&self, accept: bool) -> Vec<(String, files::Outcome)> {
        let replicas = self.in_force.borrow().clone();
        replicas
            .iter()
            .map(|replica| (format!("directory {}", replica.name()), replica.reload(accept)))
            .collect()
    }

    /// Keeps the replicas that are in force current, and asks those in trouble again, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        // Made when it is needed.
        let mut store = None;
        let tasks = TaskTracker::new();
        let mut in_force = self.in_force.subscribe();
        in_force.mark_changed();
        let mut running: Vec<Running> = Vec::new();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut ask_again = tokio::time::interval(ASK_AGAIN);
        ask_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = in_force.changed() => self.introduce(&tasks),
                _ = ask_again.tick() => {
                    for (remote, _) in lock(&self.asked).iter() {
                        tasks.spawn(Arc::clone(remote).ask_again());
                    }
                    continue;
                }
                _ = second.tick() => {
                    for replica in in_force.borrow().iter() {
                        replica.report();
                    }
                }
            }
            // A change that came meanwhile is not taken for seen: whoever is new is introduced then.
            let wanted = in_force.borrow().clone();
            for ended in running.extract_if(.., |one| !wanted.iter().any(|wanted| one.is_of(wanted))) {
                let replica = ended.end().await;
                if !wanted.iter().any(|wanted| wanted.shares(&replica)) {
                    // Sessions that began before still know what it knew.
                    let _ = tasks.spawn_blocking(move || replica.close()).await;
                }
            }
            for replica in &wanted {
                if !running.iter().any(|one| one.is_of(replica)) {
                    let stop = stop.child_token();
                    let store = store.get_or_insert_with(|| self.store()).clone();
                    let task = tasks.spawn(Arc::clone(replica).follow(store, stop.clone()));
                    running.push(Running { replica: Arc::clone(replica), stop, task });
                }
            }
        }
        for ended in running {
            let replica = ended.end().await;
            let _ = tasks.spawn_blocking(move || replica.close()).await;
        }
    }

    /// Asks each live directory that nobody asked yet.
    fn introduce(&self, tasks: &TaskTracker) {
        for (remote, example) in lock(&self.asked).iter() {
            if let (Some(example), State::Unasked) = (example.clone(), remote.state()) {
                let remote = Arc::clone(remote);
                tasks.spawn(async move { remote.verify(&example).await });
            }
        }
    }

    /// The directory for files, or one warning.
    fn store(&self) -> Option<PathBuf> {
        let store = self.store.as_ref()?;
        let directory = store.directory().inspect_err(|error| {
            tracing::warn!(store = %store.url, %error, "nothing can be stored, replicas live in memory");
        });
        directory.ok()
    }
}

/// Waits until it is so, `patience` at most.
async fn wait(patience: Duration, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(POLL).await;
        }
    };
    let _ = tokio::time::timeout(patience, waited).await;
}

fn replicas(directories: &Directories) -> Vec<Arc<Replica>> {
    let replicas = directories.configured().filter_map(|directory| match &directory.source {
        Source::Replica(replica) => Some(Arc::clone(replica)),
        _ => None,
    });
    replicas.collect()
}

/// A replica that is followed.
#[derive(Debug)]
struct Running {
    replica: Arc<Replica>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// It is this one, and its task has not come to an end of its own.
    fn is_of(&self, replica: &Arc<Replica>) -> bool {
        Arc::ptr_eq(&self.replica, replica) && !self.task.is_finished()
    }

    async fn end(self) -> Arc<Replica> {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!(directory = %self.replica.name(), "the task of a replica panicked");
        }
        self.replica
    }
}

/// What is in the files of certificates and keys, which are renewed under the same name. (A password's file is looked at
/// whenever the password is needed.)
fn certificates(config: &Config) -> u64 {
    let Config { ldap, sql, smtp, .. } = config;
    let ldap = ldap.iter().flat_map(|ldap| [&ldap.ca_file, &ldap.cert_file, &ldap.key_file]);
    let others = sql.iter().map(|sql| &sql.ca_file).chain(smtp.iter().map(|smtp| &smtp.ca_file));
    let mut hasher = DefaultHasher::new();
    for file in ldap.chain(others).flatten() {
        // What can't be read is an error of whoever needs it.
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in trouble is noticed to be back this soon, or twice that: the servers that failed are spared meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        directory::{
            Why,
            remote::{Failure, Times, Told},
        },
        telemetry::Registry,
    };

    /// A replica of a database that is not there.
    fn config(listing: &str, max_shrink: f64) -> Config {
        let sql = serde_json::json!({
            "url": "postgres://nobody@127.0.0.1:1/nothing", "query": "select 1 where $1 = ''", "listing": listing, "source": "replica",
        });
        let sql = Some(serde_json::from_value(sql).unwrap());
        let replica = replica::Config { max_shrink, ..replica::Config::default() };
        Config { sql, replica, ..Config::default() }
    }

    fn open(remotes: &Remotes, config: &Config) -> Arc<Replica> {
        match remotes.open("corp", config).unwrap() {
            Source::Replica(replica) => replica,
            other => panic!("{other:?}"),
        }
    }

    /// Whether nobody has the file.
    fn is_closed(path: &Path) -> bool {
        std::fs::File::open(path).unwrap().try_lock().is_ok()
    }

    async fn until(condition: impl Fn() -> bool) {
        let met = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), met).await.expect("it comes to that");
    }

    /// One question without mail tells of a wrong password, and another one that it is right again.
    #[tokio::test(start_paused = true)]
    async fn a_live_directory_is_asked_at_the_start_and_while_it_is_in_trouble() {
        let is_down = Arc::new(AtomicBool::new(true));
        let told = Told::at_once({
            let is_down = Arc::clone(&is_down);
            move |_| {
                let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                if is_down.load(Ordering::Relaxed) { Err(Failure::new(Why::Failed, error)) } else { Ok(None) }
            }
        });
        let metrics = Metrics::register(&Registry::default());
        let deadline = Duration::from_secs(1);
        let remote = Remote::new("corp", Backend::Told(told), deadline, &Times::default(), false, &metrics);
        let remote = Arc::new(remote);
        assert_eq!(remote.state(), State::Unasked);
        let remotes = Arc::new(Remotes::new(metrics));
        let address = Address::parse("postmaster@x").unwrap();
        lock(&remotes.asked).push((Arc::clone(&remote), Some(address)));
        let stop = CancellationToken::new();
        let task = TaskTracker::new().spawn({
            let (remotes, stop) = (Arc::clone(&remotes), stop.clone());
            async move { remotes.run(stop).await }
        });
        until(|| remote.state() == State::Down).await;
        assert!(!remote.has_answered());
        is_down.store(false, Ordering::Relaxed);
        until(|| remote.state() == State::Up).await;
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn the_file_is_open_while_its_directory_is_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}", directory.path().display()).parse().unwrap();
        let remotes = Remotes::new(Metrics::register(&Registry::default()))
            .with_store(store::Config { url, ..store::Config::default() });
        let remotes = Arc::new(remotes);
        let files = || -> Vec<PathBuf> {
            let entries = std::fs::read_dir(directory.path().join("replica")).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };

        let first = open(&remotes, &config("select a", 0.1));
        assert!(Arc::ptr_eq(&first, &open(&remotes, &config("select a", 0.1))));
        assert!(files().is_empty(), "nobody follows it");
        remotes.in_force.send_replace(vec![Arc::clone(&first)]);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let task = tasks.spawn({
            let (remotes, stop) = (Arc::clone(&remotes), stop.clone());
            async move { remotes.run(stop).await }
        });
        remotes.loaded(Duration::from_secs(30)).await;
        let [file] = files().try_into().unwrap();
        assert!(first.is_loaded() && !is_closed(&file));

        // Another setting, the same content.
        let second = open(&remotes, &config("select a", 0.2));
        assert!(!Arc::ptr_eq(&first, &second) && second.shares(&first) && second.is_loaded());
        remotes.in_force.send_replace(vec![Arc::clone(&second)]);
        // The database is not there.
        until(|| second.state() == State::Down).await;
        assert_eq!(files(), std::slice::from_ref(&file));
        assert!(!is_closed(&file));

        // Another content, another file.
        let third = open(&remotes, &config("select b", 0.2));
        assert!(!third.shares(&first) && !third.is_loaded());
        remotes.in_force.send_replace(vec![Arc::clone(&third)]);
        until(|| third.is_loaded() && !second.is_loaded()).await;
        assert_eq!(files().len(), 2);
        assert!(is_closed(&file), "who is asked by an old session only has no file");

        stop.cancel();
        task.await.unwrap();
        assert!(files().iter().all(|file| is_closed(file)));
    }
}
