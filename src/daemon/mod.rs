//! The life of the process: configuration, log, build, listen, serve, drain.
//!
//! Decides nothing and parses nothing: it wires the parts. Failure: what can't be built or bound ends the start with
//! one message; a core task that ends, ends the process with an error, so that the supervisor starts it anew.

mod build;
mod commands;
mod descriptors;
mod error;
mod mail;
mod orders;
mod pages;
mod reload;
mod requests;
mod runtime;
mod supervisor;
mod switch;
mod tasks;
mod welcome;

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Loaded,
    control::{
        self,
        message::{Check, Checked},
    },
    detect::{Findings, Options},
    directory::detected::Live,
    files::{self, Keeper},
    net::{Inherited, Listener},
    replay::{self, InputError, Replayed},
    telemetry::{self, log::Log},
};

use build::Parts;
pub use build::families;
use commands::Commands;
pub use error::Error;
use pages::Pages;
use reload::Reloader;
use requests::Requests;
use tasks::Core;

/// Runs the server until it is told to stop. `path` is the configuration file as given, for reloads.
///
/// # Errors
/// What prevented the start, or ended the process before its time.
pub fn run(path: Option<PathBuf>, loaded: Loaded) -> Result<(), Error> {
    let log = Log::start(&loaded.config.log, loaded.config.store.place_of_files())?;
    let runtime = runtime::start("parts", None).map_err(Error::Runtime)?;
    let commands = commands::thread().map_err(Error::Runtime)?;
    let mail = mail::Threads::new();
    let result = runtime.block_on(serve(path, loaded, log, commands.handle().clone(), &mail));
    mail.end();
    commands.shutdown_timeout(LEAVE);
    runtime.shutdown_timeout(LEAVE);
    result
}

async fn serve(
    path: Option<PathBuf>,
    loaded: Loaded,
    log: Log,
    thread: tokio::runtime::Handle,
    mail: &mail::Threads,
) -> Result<(), Error> {
    let mut stop = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    // Who sees the first line may send it.
    let hang_up = signal(SignalKind::hangup()).map_err(Error::Runtime)?;
    let file = loaded.path().map_or("none".into(), |path| path.display().to_string());
    info!(version = env!("CARGO_PKG_VERSION"), config = file, "backstop starts");

    let config = &loaded.config;
    // First of all: the programs that detection runs must not get them.
    let mut inherited = Inherited::take().map_err(Error::Runtime)?;
    // The sockets are open before anything is read or asked: who connects meanwhile waits.
    let mut listeners = Vec::new();
    for endpoint in &config.listen {
        listeners.extend(Listener::bind(endpoint, &mut inherited).await?);
    }
    let left = inherited.left();
    let listening = listeners.iter().map(|listener| listener.address().to_owned()).collect::<Vec<_>>();
    let parts = Parts::build(config, descriptors::enough_for(config.limits.sessions)).await?;
    for name in left {
        warn!(name, "a socket was passed that no `listen` names, it is closed; fd:NAME would take it");
    }
    for note in config.http.notes() {
        warn!("{note}");
    }
    let pages = match config.http.listen {
        Some(address) => Some(Pages::bind(address, &parts).await),
        None => None,
    };
    let commands = Commands::bind(&config.control, thread).await?;

    let mut core = Core::new(&parts);
    core.run("files", |parts, stop| async move { parts.keeper.run(stop).await });
    let closing = CancellationToken::new();
    core.run("store", |parts, _| {
        let closing = closing.clone();
        async move { parts.store.follow(closing).await }
    });
    parts.remotes.follow(&parts.server.snapshot().directories);
    core.run("replicas", |parts, stop| async move { parts.remotes.run(stop).await });
    core.run("senders", |parts, stop| async move {
        let terms = || parts.server.snapshot().defences.bounces.terms();
        parts.defences.senders.run(terms, stop).await;
        // What they told last is to be kept.
        closing.cancel();
    });
    core.run("history", |parts, stop| async move {
        Arc::clone(&parts.history).run(|| parts.sight(), stop).await;
    });
    core.run("sessions", |parts, stop| async move { parts.server.end_the_silent(stop).await });
    core.run("log", |parts, stop| async move { parts.server.tell_what_was_left_out(stop).await });
    // One that does not answer now is read when it does; `refresh` has said so.
    let _ = parts.commanded.refresh().await;
    core.run("suspensions", |parts, stop| async move { parts.commanded.run(stop).await });
    parts.switch.restore();
    core.run("switch", |parts, stop| async move { Arc::clone(&parts.switch).run(stop).await });
    // Who waits is answered from the disk's copy.
    parts.remotes.loaded(LOAD).await;
    for address in &listening {
        info!(%address, "listening");
    }
    let accepted = mail.start(&parts.server, listeners).map_err(Error::Runtime)?;
    core.serve("milter listener", |_| accepted);
    if let Some(text) = welcome::text(&loaded, &parts.live.findings(), &listening) {
        // Who tries it may look at the log only.
        let _ = write!(std::io::stdout(), "{text}");
    }
    let reloader = Arc::new(Reloader::new(path, loaded, Arc::clone(&parts), log, commands.doors()));
    let following = Arc::clone(&reloader);
    core.run("detection", |_, stop| async move { following.follow_mta(stop).await });
    core.run("detection", |parts, stop| async move { parts.live.run(stop).await });
    let reloading = Arc::clone(&reloader);
    core.run("reload", |_, stop| async move {
        stop.run_until_cancelled(reload_on(hang_up, &reloading)).await;
    });
    let requests = Arc::new(Requests::new(Arc::clone(&parts), reloader, listening));
    if let Some(pages) = pages {
        let views = Arc::clone(&requests);
        core.serve("http", |stop| pages.serve(views, stop));
    }
    commands.serve(&mut core, &requests);
    if let Some(within) = supervisor::watchdog() {
        core.run("watchdog", |_, stop| async move {
            stop.run_until_cancelled(supervisor::keep_alive(within)).await;
        });
    }
    supervisor::ready();

    let ended = tokio::select! {
        _ = stop.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = core.ended() => Err(error),
    };
    supervisor::stopping();
    let signal = ended?;
    info!(signal, "stopping: no new connections, messages under way may finish");
    let cut = parts.server.drain(DRAIN).await;
    if cut > 0 {
        warn!(sessions = cut, "sessions were cut when the drain time was over");
    }
    core.stop().await;
    info!("stopped");
    Ok(())
}

/// Reloads at each signal; a reload that takes long does not keep the process from being stopped.
async fn reload_on(mut hang_up: Signal, reloader: &Reloader) {
    while hang_up.recv().await.is_some() {
        // Once systemd was told that it stops, it is told nothing else.
        if !reloader.is_stopping() {
            supervisor::reloading();
            reloader.reload(false).await;
        }
        if !reloader.is_stopping() {
            supervisor::ready();
        }
    }
}

/// The decision about one recipient from the configuration alone.
///
/// # Errors
/// What would prevent the start.
pub fn check_offline(loaded: &Loaded, check: &Check) -> Result<Checked, Error> {
    offline(async {
        let parts = Parts::build(&loaded.config, 0).await?;
        let snapshot = parts.server.snapshot();
        parts.remotes.list(&snapshot.directories, LISTING_FOR_ONE).await;
        let mut checked = control::check(&snapshot, check, false).await;
        checked.notes.extend(snapshot.directories.notices());
        // The store is another process' own.
        checked.notes.push(NOT_LOOKED_AT.to_owned());
        Ok(checked)
    })
}

/// What would become of the mail in logs, from the configuration alone.
///
/// # Errors
/// What would prevent the start; and a log that can't be read.
pub fn replay(
    loaded: &Loaded,
    files: &[PathBuf],
    options: replay::Options,
    progress: impl Fn(&Path, u64) + Clone + 'static,
) -> Result<Result<Replayed, InputError>, Error> {
    offline(async {
        let parts = Parts::build(&loaded.config, 0).await?;
        let snapshot = parts.server.snapshot();
        // For what can be told before anything is read, nobody waits.
        if let Err(error) = replay::look(files) {
            return Ok(Err(error));
        }
        parts.remotes.list(&snapshot.directories, LISTING).await;
        let replayed = replay::replay(&snapshot, files, options, progress).await;
        Ok(replayed.map(|mut replayed| {
            replayed.notes.extend(snapshot.directories.notices());
            replayed
        }))
    })
}

/// Builds everything as for a start, without listening; gives what is worth noticing.
///
/// # Errors
/// What would prevent the start.
pub fn check_build(loaded: &Loaded) -> Result<Vec<String>, Error> {
    offline(async {
        let mut notices = Parts::build(&loaded.config, 0).await?.notices();
        notices.extend(loaded.config.http.notes());
        Ok(notices)
    })
}

/// What is on this host, with the sources that could not be loaded.
///
/// # Errors
/// When the operating system gives no runtime.
pub fn detect() -> Result<Arc<Findings>, Error> {
    offline(async {
        let registry = telemetry::Registry::default();
        let keeper = Arc::new(Keeper::new(files::Metrics::register(&registry)));
        Ok(Live::start(Options::default(), keeper).await.findings())
    })
}

/// Whether an MTA on this host asks a server at one of these addresses.
#[must_use]
pub fn is_asked(findings: &Findings, listening: &[String]) -> bool {
    welcome::is_asked(findings, listening)
}

/// The lines that make the MTA ask a server at one of these addresses.
#[must_use]
pub fn mta_lines(listening: &[String]) -> String {
    welcome::mta_lines(listening)
}

fn offline<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// What an answer without the server leaves out.
const NOT_LOOKED_AT: &str = "without the server it was not looked at who is blocked, trusted for a time or suspended by \
    command, nor what greylist and bounces remember";
/// How long a replay waits for replicas to be listed, and how long an answer about one recipient does.
const LISTING: Duration = Duration::from_secs(10 * 60);
const LISTING_FOR_ONE: Duration = Duration::from_secs(30);
/// How long the start waits for replicas to be read from disk; Postfix waits 30 s. What takes longer is asked live until then.
const LOAD: Duration = Duration::from_secs(20);
/// How long what blocks a thread is waited for in the end.
const LEAVE: Duration = Duration::from_secs(1);
/// How long messages under way may take to finish after SIGTERM; systemd waits 90 s.
const DRAIN: Duration = Duration::from_secs(30);
