//! From what detection found to what the directories ask: loads every table, and keeps the result current.
//!
//! A source that can't be loaded makes its domains partial, with the reason among the findings: nobody is called absent
//! there. So does a key that is not understood. While a watched file changes, and until detection has run again, every
//! domain is partial. It never makes a domain whole that detection calls partial.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Builder, Detected, DetectedDomain, Directory, DomainMap, Entry, Index, Source, Users, file};
use crate::{
    address::{Delimiters, Domain},
    detect::{self, Class, Findings, How, Options, Partial, Pattern, SourceId},
    files::{Hints, Keeper, QUIET, Spec, load_table},
    policy::{Attributes, Unavailable},
};

/// The detected domains, kept current.
#[derive(Debug)]
pub struct Live {
    options: ArcSwap<Options>,
    keeper: Arc<Keeper>,
    detected: Arc<ArcSwap<Detected>>,
    findings: watch::Sender<Arc<Findings>>,
    /// For who follows the files: there may be others now.
    renewed: Notify,
    /// What the watched files looked like before detection ran.
    stamps: Mutex<Stamps>,
    /// An MTA that was found before could not be looked at the last time.
    has_lost: AtomicBool,
}

impl Live {
    /// Runs detection and loads what it found.
    pub async fn start(options: Options, keeper: Arc<Keeper>) -> Self {
        let live = Self {
            options: ArcSwap::from_pointee(options),
            keeper,
            detected: Arc::default(),
            findings: watch::Sender::default(),
            renewed: Notify::new(),
            stamps: Mutex::default(),
            has_lost: AtomicBool::new(false),
        };
        live.redetect().await;
        live
    }

    /// For [`Directories::build`](super::Directories::build).
    pub fn detected(&self) -> Arc<ArcSwap<Detected>> {
        Arc::clone(&self.detected)
    }

    /// What was found when detection ran last, with the sources that could not be loaded.
    pub fn findings(&self) -> Arc<Findings> {
        Arc::clone(&self.findings.borrow())
    }

    /// Told whenever detection ran again.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.subscribe()
    }

    /// Runs detection again, and swaps the result in as a whole.
    pub async fn redetect(&self) {
        let mut stamps = self.stamps.lock().await;
        let before = self.findings();
        self.detect(&mut stamps, &before).await;
    }

    /// Looks elsewhere from now on, or at nothing any more: what was found before is forgotten.
    pub async fn look_at(&self, options: Options) {
        let mut stamps = self.stamps.lock().await;
        self.options.store(Arc::new(options));
        self.detect(&mut stamps, &Findings::default()).await;
    }

    async fn detect(&self, stamps: &mut Stamps, before: &Findings) {
        let options = self.options.load_full();
        let begun = SystemTime::now();
        *stamps = look(before.watch.clone()).await;
        let mut findings = detect::find(&options).await;
        let lost: Vec<_> = findings.lost(before).map(|mta| mta.place().display().to_string()).collect();
        self.has_lost.store(!lost.is_empty(), Ordering::Relaxed);
        if !lost.is_empty() {
            return self.go_on(before, &findings, &lost.join(", "));
        }
        findings.keep_networks(before);
        let detected = load(&mut findings, &options, &self.keeper).await;
        if findings.watch != before.watch {
            // Files that are new to us were not looked at before they were read: one that may have changed since counts
            // as changed.
            *stamps = look(findings.watch.clone()).await;
            for (_, stamp) in stamps.iter_mut() {
                *stamp = stamp.filter(|(modified, ..)| *modified < begun);
            }
        }
        self.detected.store(Arc::new(detected));
        self.findings.send_replace(Arc::new(findings));
        self.renewed.notify_one();
    }

    /// An MTA that was there can't be looked at: whom it trusts and who exists stays as it was, but nobody is absent.
    fn go_on(&self, before: &Findings, now: &Findings, lost: &str) {
        let note = format!("{lost} can't be looked at: what was found there before stays until a restart");
        if !before.notes.contains(&note) {
            let why = now.notes.join("; ");
            tracing::warn!(
                mta = lost,
                why,
                "the MTA's settings can't be looked at; what was found before stays"
            );
            let mut findings = before.clone();
            findings.notes.push(note);
            self.findings.send_replace(Arc::new(findings));
        }
        self.detected.rcu(|detected| in_doubt(detected));
    }

    /// Detects again whenever a watched file has changed and lies still, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let hints = Arc::new(Hints::new());
        loop {
            let findings = self.findings();
            while Arc::ptr_eq(&findings, &self.findings()) && !self.changed(&hints).await {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.renewed.notified() => {}
                    () = hints.changed() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            if !Arc::ptr_eq(&findings, &self.findings()) {
                continue;
            }
            self.detected.rcu(|detected| in_doubt(detected));
            let has_lost = self.has_lost.load(Ordering::Relaxed);
            let quiet = async {
                if has_lost {
                    tokio::time::sleep(POLL).await;
                }
                self.still().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = quiet => {}
            }
            if !has_lost {
                tracing::info!("a file of the MTA's configuration changed: looking again");
            }
            self.redetect().await;
        }
    }

    /// Whether a watched file has changed. From now on `hints` tells of changes after this look.
    async fn changed(&self, hints: &Arc<Hints>) -> bool {
        let (hints, paths) = (Arc::clone(hints), self.findings().watch.clone());
        let watched = tokio::task::spawn_blocking(move || {
            hints.watch(&paths);
            paths
        });
        let now = look(watched.await.unwrap_or_default()).await;
        now != *self.stamps.lock().await || self.has_lost.load(Ordering::Relaxed)
    }

    /// Waits until no watched file has changed for [`QUIET`].
    async fn still(&self) {
        let mut last = look(self.findings().watch.clone()).await;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            tokio::time::sleep(QUIET / 10).await;
            let now = look(self.findings().watch.clone()).await;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

/// Loads every source of `findings`. Those that can't be loaded are added to the domains' [`Partial`]s.
pub async fn load(findings: &mut Findings, options: &Options, keeper: &Arc<Keeper>) -> Detected {
    let mut tables = HashMap::new();
    let users = Users::new();
    for at in 0..findings.sources.len() {
        let wanted =
            |bare: bool| findings.domains.iter().any(|d| d.bare == bare && d.sources.contains(&SourceId(at)));
        let (with, without) = (wanted(true), wanted(false));
        if !with && !without {
            continue;
        }
        match load_source(&findings.sources[at], options, keeper, &users).await {
            Ok(table) => {
                tables.insert(SourceId(at), table);
            }
            Err(error) => {
                let source = &findings.sources[at];
                let partial = Partial::Unreadable {
                    parameter: source.evidence.what.clone(),
                    map: source.name.clone(),
                    error: error.to_string(),
                };
                let affected =
                    findings.domains.iter_mut().filter(|domain| domain.sources.contains(&SourceId(at)));
                affected.for_each(|domain| domain.partial.push(partial.clone()));
            }
        }
    }
    let mut detected = Detected { delimiters: Delimiters::new(&findings.delimiters), ..Detected::default() };
    let own = own_addresses(findings);
    for domain in &findings.domains {
        let (name, below) = match &domain.pattern {
            Pattern::Name(name) => (name, false),
            Pattern::Below(name) => (name, true),
        };
        let Ok(name) = Domain::parse(name) else { continue };
        let place = if below { &mut detected.below } else { &mut detected.domains };
        if place.contains_key(&name) {
            continue;
        }
        let place = place.entry(name.clone()).or_insert_with(DetectedDomain::default);
        // Every MTA that has the name is heard.
        let covering: Vec<_> = match below {
            false => findings.covering(name.as_str()).collect(),
            true => findings.domains.iter().filter(|other| other.pattern == domain.pattern).collect(),
        };
        for domain in covering {
            for table in domain.sources.iter().filter_map(|id| tables.get(id)) {
                let directory = table.directory(&name, domain.bare);
                if !place.directories.iter().any(|known| Arc::ptr_eq(known, &directory)) {
                    place.directories.push(directory);
                }
            }
            if domain.class == Class::Local {
                place.directories.push(Arc::clone(&own));
            }
            place.partial |= !domain.partial.is_empty();
        }
    }
    detected
}

/// What the MTA takes in its own domains without asking any table (Postfix: smtpd(8), bounce(8)).
fn own_addresses(findings: &Findings) -> Arc<Directory> {
    let mut builder = Builder::default();
    let names = ["postmaster", "mailer-daemon"].into_iter().chain(findings.probes.iter().map(String::as_str));
    for entry in names.filter_map(|name| Entry::from_name(name).ok()) {
        builder.add(&entry, Attributes::default());
    }
    directory(&"the MTA's own addresses".into(), Source::Listed(Arc::new(builder.finish()), Instant::now()))
}

/// The same, with nobody called absent.
fn in_doubt(detected: &Detected) -> Detected {
    let doubt = |domains: &DomainMap<DetectedDomain>| {
        let doubted = domains.iter().map(|(name, domain)| {
            (name.clone(), DetectedDomain { directories: domain.directories.clone(), partial: true })
        });
        doubted.collect()
    };
    Detected {
        domains: doubt(&detected.domains),
        below: doubt(&detected.below),
        delimiters: detected.delimiters.clone(),
    }
}

/// A loaded source.
enum Loaded {
    /// The same for every domain.
    Same(Arc<Directory>),
    /// With and without the keys that have no domain.
    Keys { bare: Arc<Directory>, full: Arc<Directory> },
    /// Takes everything.
    Everything(Arc<str>),
}

impl Loaded {
    fn directory(&self, domain: &Domain, bare: bool) -> Arc<Directory> {
        match self {
            Self::Same(directory) => Arc::clone(directory),
            Self::Keys { bare: directory, .. } if bare => Arc::clone(directory),
            Self::Keys { full, .. } => Arc::clone(full),
            Self::Everything(name) => {
                let mut builder = Builder::default();
                builder.add(&Entry::CatchAll(domain.clone()), Attributes::default());
                directory(name, Source::Listed(Arc::new(builder.finish()), Instant::now()))
            }
        }
    }
}

/// Why a source could not be loaded.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    List(#[from] detect::ListError),
    #[error(transparent)]
    Open(#[from] crate::files::OpenError),
    #[error("its key {0:?} is not understood")]
    Key(String),
    #[error("it could not be read to the end")]
    Ended,
}

async fn load_source(
    source: &detect::Source,
    options: &Options,
    keeper: &Arc<Keeper>,
    users: &Users,
) -> Result<Loaded, SourceError> {
    let name: Arc<str> = source.name.as_str().into();
    let format = match &source.how {
        How::SystemUsers => return Ok(Loaded::Same(directory(&name, Source::Users(users.clone())))),
        How::Everything => return Ok(Loaded::Everything(name)),
        How::Listed { .. } | How::Cdb(_) => {
            let entries = detect::list(options, source).await?;
            let (bare, full) = indexes(&entries)?;
            let directory = |index| directory(&name, Source::Listed(Arc::new(index), Instant::now()));
            return Ok(Loaded::Keys { bare: directory(bare), full: directory(full) });
        }
        How::Aliases(path) => (path, file::Format::Aliases),
        How::Pcre(path) => (path, file::Format::Pcre),
        How::Regexp(path) => (path, file::Format::Regexp),
        How::DovecotPasswd { path, .. } => (path, file::Format::DovecotPasswd),
    };
    let (path, format) = (format.0.clone(), format.1);
    let keeper = Arc::clone(keeper);
    let opened = tokio::task::spawn_blocking(move || {
        let name = format!("detected {}", path.display());
        let spec = Spec { name, kind: format.as_str(), paths: vec![path], report: Box::new(|_| {}) };
        Ok::<_, SourceError>(match format.grammar() {
            Some(grammar) => Source::Table(keeper.open(spec, move |texts| load_table(texts, grammar))?),
            None => Source::List(keeper.open(spec, move |texts| file::load_list(texts, format))?),
        })
    });
    Ok(Loaded::Same(directory(&name, opened.await.map_err(|_| SourceError::Ended)??)))
}

/// The keys of a table: all of them, and those with a domain.
fn indexes(entries: &[detect::Entry]) -> Result<(Index, Index), SourceError> {
    let (mut bare, mut full) = (Builder::default(), Builder::default());
    for entry in entries {
        let Some(key) = recipient(&entry.key, &entry.value) else { continue };
        let parsed = Entry::parse(key.as_bytes()).or_else(|_| Entry::from_name(&key));
        let parsed = parsed.map_err(|_| SourceError::Key(entry.key.clone()))?;
        bare.add(&parsed, Attributes::default());
        if !matches!(parsed, Entry::Local(_)) {
            full.add(&parsed, Attributes::default());
        }
    }
    Ok((bare.finish(), full.finish()))
}

/// What a key says who exists. Sendmail (cf/README, "virtusertable") knows `user+*` and `user++` for any sub-address of
/// `user`, and rows that refuse for good (`error:nouser …`), which make nobody exist.
fn recipient(key: &str, value: &str) -> Option<String> {
    if let Some(code) = value.strip_prefix("error:") {
        let code = code.split([' ', ':']).next().unwrap_or_default();
        if detect::is_permanent_error(code) {
            return None;
        }
    }
    let (local, domain) = key.rsplit_once('@').map_or((key, ""), |(local, _)| (local, &key[local.len()..]));
    let plain = local.strip_suffix("+*").or_else(|| local.strip_suffix("++")).unwrap_or(local);
    Some(format!("{plain}{domain}"))
}

fn directory(name: &Arc<str>, source: Source) -> Arc<Directory> {
    Arc::new(Directory { name: Arc::clone(name), source, on_unavailable: Unavailable::Continue })
}

/// What watched files look like; `None` for one that is not there.
type Stamps = Vec<(PathBuf, Option<(SystemTime, u64, u64)>)>;

async fn look(paths: Vec<PathBuf>) -> Stamps {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &Path| {
        let meta = path.metadata().ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    };
    let looked = tokio::task::spawn_blocking(move || {
        paths
            .into_iter()
            .map(|path| {
                let stamp = stamp(&path);
                (path, stamp)
            })
            .collect()
    });
    looked.await.unwrap_or_default()
}

/// The files are looked at this often even without a hint.
const POLL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// cf/README, "Virtual hosting".
    #[test]
    fn keys_of_virtusertable() {
        for (key, value, recipient_is) in [
            ("info@a.test", "joe", Some("info@a.test")),
            ("@a.test", "joe", Some("@a.test")),
            ("@a.test", "error:nouser No such user", None),
            ("@a.test", "error:5.7.0:550 no", None),
            ("@a.test", "error:5.1.1:550 no", None),
            ("@a.test", "error:tempfail later", Some("@a.test")),
            ("@a.test", "error:4.2.1:450 later", Some("@a.test")),
            ("gone@a.test", "error:nouser No such user", None),
            ("joe+*@a.test", "joe", Some("joe@a.test")),
            ("joe++@a.test", "joe", Some("joe@a.test")),
            ("joe+*", "joe", Some("joe")),
            ("joe+x@a.test", "joe", Some("joe+x@a.test")),
        ] {
            assert_eq!(recipient(key, value).as_deref(), recipient_is, "{key} {value}");
        }
    }
}
