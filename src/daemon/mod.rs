//! The life of the process: configuration, log, build, listen, serve, drain.
//!
//! Decides nothing and parses nothing: it wires the parts. Failure: what can't be built or bound ends the start with
//! one message; a core task that ends, ends the process with an error, so that the supervisor starts it anew.

mod build;
mod descriptors;
mod error;
mod orders;
mod reload;
mod requests;
mod supervisor;
mod switch;
mod welcome;

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::Loaded,
    control::{
        self, Control,
        message::{Check, Checked},
    },
    detect::{Findings, Options},
    directory::detected::Live,
    files::{self, Keeper},
    http::Http,
    net::{Inherited, Listener},
    replay::{self, InputError, Replayed},
    telemetry::{self, log::Log},
};

use build::Parts;
pub use build::families;
pub use error::Error;
use reload::{Doors, Reloader};
use requests::Requests;

/// Runs the server until it is told to stop. `path` is the configuration file as given, for reloads.
///
/// # Errors
/// What prevented the start, or ended the process before its time.
pub fn run(path: Option<PathBuf>, loaded: Loaded) -> Result<(), Error> {
    let log = Log::start(&loaded.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    let result = runtime.block_on(serve(path, loaded, log));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(path: Option<PathBuf>, loaded: Loaded, log: Log) -> Result<(), Error> {
    let mut stop = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    // Who sees the first line may send it.
    let hang_up = signal(SignalKind::hangup()).map_err(Error::Runtime)?;
    let file = loaded.path().map_or("none".into(), |path| path.display().to_string());
    info!(version = env!("CARGO_PKG_VERSION"), config = file, "backstop starts");
    let (stopping, closing) = (CancellationToken::new(), CancellationToken::new());
    let mut core: JoinSet<(&'static str, Result<(), std::io::Error>)> = JoinSet::new();

    let config = &loaded.config;
    // First of all: the programs that detection runs must not get them.
    let mut inherited = Inherited::take().map_err(Error::Runtime)?;
    let parts = Parts::build(config, descriptors::enough_for(config.limits.sessions)).await?;
    let mut listening = Vec::new();
    let mut listeners = Vec::new();
    for endpoint in &config.listen {
        for listener in Listener::bind(endpoint, &mut inherited).await? {
            listening.push(listener.address().to_owned());
            listeners.push(listener);
        }
    }
    for name in inherited.left() {
        warn!(name, "a socket was passed that no `listen` names, it is closed; fd:NAME would take it");
    }
    for note in config.http.notes() {
        warn!("{note}");
    }
    let http = match config.http.listen {
        Some(address) => {
            let bound = Http::bind(address).await.map_err(|error| Error::Http { address, error })?;
            Some(bound)
        }
        None => None,
    };
    let control = bind_control(&config.control).await?;
    let trust = bind_trust(&config.control).await?;

    core.spawn({
        let (keeper, stopping) = (Arc::clone(&parts.keeper), stopping.clone());
        async move {
            keeper.run(stopping).await;
            ("files", Ok(()))
        }
    });
    core.spawn({
        let (store, closing) = (parts.store.clone(), closing.clone());
        async move {
            store.follow(closing).await;
            ("store", Ok(()))
        }
    });
    parts.remotes.follow(&parts.server.snapshot().directories);
    core.spawn({
        let (remotes, stopping) = (Arc::clone(&parts.remotes), stopping.clone());
        async move {
            remotes.run(stopping).await;
            ("replicas", Ok(()))
        }
    });
    core.spawn({
        let (parts, stopping) = (Arc::clone(&parts), stopping.clone());
        async move {
            let terms = || parts.server.snapshot().defences.bounces.terms();
            parts.defences.senders.run(terms, stopping).await;
            // What they told last is to be kept.
            closing.cancel();
            ("senders", Ok(()))
        }
    });
    core.spawn({
        let (parts, stopping) = (Arc::clone(&parts), stopping.clone());
        async move {
            Arc::clone(&parts.history).run(|| parts.sight(), stopping).await;
            ("history", Ok(()))
        }
    });
    // One that does not answer now is read when it does; `refresh` has said so.
    let _ = parts.commanded.refresh().await;
    core.spawn({
        let (commanded, stopping) = (Arc::clone(&parts.commanded), stopping.clone());
        async move {
            commanded.run(stopping).await;
            ("suspensions", Ok(()))
        }
    });
    parts.switch.restore();
    core.spawn({
        let (switch, stopping) = (Arc::clone(&parts.switch), stopping.clone());
        async move {
            switch.run(stopping).await;
            ("switch", Ok(()))
        }
    });
    // The sockets are open: who connects meanwhile waits, and is answered from the disk's copy.
    parts.remotes.loaded(LOAD).await;
    for listener in listeners {
        info!(address = %listener.address(), "listening");
        let server = Arc::clone(&parts.server);
        core.spawn(async move { ("milter listener", server.accept(listener).await) });
    }
    if let Some(text) = welcome::text(&loaded, &parts.live.findings(), &listening) {
        // Who tries it may look at the log only.
        let _ = write!(std::io::stdout(), "{text}");
    }
    let doors =
        Doors { control: control.as_ref().map(Control::door), trust: trust.as_ref().map(Control::door) };
    let reloader = Arc::new(Reloader::new(path, loaded, Arc::clone(&parts), log, doors));
    core.spawn({
        let (reloader, stopping) = (Arc::clone(&reloader), stopping.clone());
        async move {
            reloader.follow_mta(stopping).await;
            ("detection", Ok(()))
        }
    });
    core.spawn({
        let (live, stopping) = (Arc::clone(&parts.live), stopping.clone());
        async move {
            live.run(stopping).await;
            ("detection", Ok(()))
        }
    });
    core.spawn({
        let (reloader, stopping) = (Arc::clone(&reloader), stopping.clone());
        async move {
            stopping.run_until_cancelled(reload_on(hang_up, &reloader)).await;
            ("reload", Ok(()))
        }
    });
    let requests = Arc::new(Requests::new(Arc::clone(&parts), Arc::clone(&reloader), listening));
    if let Some(http) = http {
        info!(address = %format_args!("http://{}", http.address()), "listening");
        let (requests, stopping) = (Arc::clone(&requests), stopping.clone());
        core.spawn(async move { ("http", http.serve(requests, stopping).await) });
    }
    for socket in [control, trust].into_iter().flatten() {
        info!(address = %format_args!("unix:{}", socket.path().display()), "listening");
        let (requests, stopping) = (Arc::clone(&requests), stopping.clone());
        core.spawn(async move { ("control socket", socket.serve(requests, stopping).await) });
    }
    if let Some(within) = supervisor::watchdog() {
        let stopping = stopping.clone();
        core.spawn(async move {
            stopping.run_until_cancelled(supervisor::keep_alive(within)).await;
            ("watchdog", Ok(()))
        });
    }
    supervisor::ready();

    let ended = tokio::select! {
        _ = stop.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        Some(ended) = core.join_next() => Err(ended),
    };
    supervisor::stopping();
    match ended {
        Ok(signal) => {
            info!(signal, "stopping: no new connections, messages under way may finish");
            let cut = parts.server.drain(DRAIN).await;
            if cut > 0 {
                warn!(sessions = cut, "sessions were cut when the drain time was over");
            }
            stopping.cancel();
            while core.join_next().await.is_some() {}
            info!("stopped");
            Ok(())
        }
        Err(ended) => {
            let (part, result) = ended.map_err(|_| Error::Part("a core task (it panicked)"))?;
            error!(part, error = ?result.err(), "a part that must always run has ended");
            Err(Error::Part(part))
        }
    }
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

/// The control socket, or one warning: where `/run` can't be written, the user's runtime directory serves. Who names a group
/// needs it.
async fn bind_control(config: &control::Config) -> Result<Option<Control>, Error> {
    let (mode, group) = (config.socket_mode(), &config.group);
    let error = match Control::bind(&config.socket, mode, group).await {
        Ok(control) => return Ok(Some(control)),
        Err(error) => error,
    };
    if config.socket != control::Config::default().socket || !group.is_empty() {
        return Err(error.into());
    }
    if let Some(fallback) = config.fallback()
        && let Ok(control) = Control::bind(&fallback, mode, group).await
    {
        warn!(%error, instead = %control.path().display(), "the control socket is elsewhere");
        return Ok(Some(control));
    }
    warn!(%error, "no control socket: status and reload can't reach this process, check needs --offline");
    Ok(None)
}

/// The same for the socket that takes `trust`. Who names a group needs it.
async fn bind_trust(config: &control::Config) -> Result<Option<Control>, Error> {
    if config.trust_socket.as_os_str().is_empty() {
        return Ok(None);
    }
    let error = match Control::bind_trust(&config.trust_socket, &config.trust_group).await {
        Ok(control) => return Ok(Some(control)),
        Err(error) => error,
    };
    let defaults = control::Config::default();
    if config.trust_socket != defaults.trust_socket || config.trust_group != defaults.trust_group {
        return Err(error.into());
    }
    if let Some(fallback) = config.trust_fallback()
        && let Ok(control) = Control::bind_trust(&fallback, &config.trust_group).await
    {
        return Ok(Some(control));
    }
    warn!(%error, "no socket for `backstop trust`; control.trust_socket = \"\" does without");
    Ok(None)
}

/// What an answer without the server leaves out.
const NOT_LOOKED_AT: &str = "without the server it was not looked at who is blocked, trusted for a time or suspended by \
    command, nor what greylist and bounces remember";
/// How long a replay waits for replicas to be listed, and how long an answer about one recipient does.
const LISTING: Duration = Duration::from_secs(10 * 60);
const LISTING_FOR_ONE: Duration = Duration::from_secs(30);
/// How long the start waits for replicas to be read from disk; Postfix waits 30 s. What takes longer is asked live until then.
const LOAD: Duration = Duration::from_secs(20);
/// How long messages under way may take to finish after SIGTERM; systemd waits 90 s.
const DRAIN: Duration = Duration::from_secs(30);
