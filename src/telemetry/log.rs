//! Log lines: where they go, what they look like, and how they show addresses.
//!
//! The log never holds mail up: where nobody reads it, lines are dropped. Whatever a peer wrote, a line is one line, and
//! what can't be seen in it is spelled out. Failure: where hashes can't be made as configured, nothing starts.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};
use tracing::{Event, Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use super::{
    journal::Journal,
    privacy::{Addresses, Privacy},
    secret::{self, SecretError},
    stderr::Stderr,
    text::Text,
    visible::Form,
};

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The least level that is written: `info` has a line for each refusal, `debug` one for each recipient.
    pub level: Level,
    /// Text and JSON go to standard error; `journald` speaks to the journal itself and needs one.
    pub format: Format,
    /// How senders and recipients are shown: whole, as `a…@example.test`, or as `#5f1c0a9b3d27@example.test`.
    /// See [logs.md](logs.md#addresses).
    pub addresses: Addresses,
    /// What `hashed` is made with: a file (its absolute path) with a secret of at least 16 bytes, the same on all hosts whose logs are to be
    /// compared. Without it: `log.key` in the store's directory, which is made once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_key_file: Option<PathBuf>,
    /// Refusals that have a line of their own, at most; the others are counted, and told every ten seconds. 0: all of
    /// them. See [logs.md](logs.md#under-attack).
    pub refusals_per_second: u32,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        if let Some(file) = &self.hash_key_file
            && let Err(error) = secret::read(file)
        {
            say("hash_key_file", error.to_string());
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let (addresses, hash_key_file) = (Addresses::Plain, None);
        Self { level: Level::Info, format: Format::Text, addresses, hash_key_file, refusals_per_second: 50 }
    }
}

/// An address as a line of the log may show it; everything that logs one asks here.
#[must_use]
pub fn shown(address: &[u8]) -> Cow<'_, str> {
    match PRIVACY.load().as_deref() {
        None => String::from_utf8_lossy(address),
        Some(privacy) => privacy.show(address),
    }
}

/// The same of one that is text already.
#[must_use]
pub fn shown_text(address: Cow<'_, str>) -> Cow<'_, str> {
    match PRIVACY.load().as_deref() {
        None => address,
        Some(privacy) => privacy.show(address.as_bytes()).into_owned().into(),
    }
}

/// A text that somebody else wrote, in which there may be addresses.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    match PRIVACY.load().as_deref() {
        None => text.into(),
        Some(privacy) => privacy.line(text).into(),
    }
}

/// The same, if it is about this address: its local part may stand there by itself.
#[must_use]
pub fn without<'t>(text: &'t str, address: &str) -> Cow<'t, str> {
    match PRIVACY.load().as_deref() {
        None => text.into(),
        Some(privacy) => privacy.line_about(text, address).into(),
    }
}

/// `None`: addresses are shown as they are.
static PRIVACY: ArcSwapOption<Privacy> = ArcSwapOption::const_empty();

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs somebody's attention now.
    Error,
    /// What will need it.
    Warn,
    /// Starts, changes, and a line for each refusal.
    Info,
    /// A line for each recipient and session.
    Debug,
    /// Everything.
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line with `key=value` fields, on stderr.
    Text,
    /// One JSON object a line, on stderr.
    Json,
    /// The systemd journal's own protocol, with each field.
    Journald,
}

/// The log can't be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No journal here.
    #[error("log.format = \"journald\": the journal's socket can't be reached: {0}")]
    Journald(std::io::Error),
    /// No secret to hash with.
    #[error("log.hash_key_file: {0}")]
    Secret(#[from] SecretError),
    /// A second initialisation.
    #[error("the log is set up already")]
    Twice,
}

impl Error {
    /// The key that can't be used.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => "log.hash_key_file",
            Self::Journald(_) | Self::Twice => "log.format",
        }
    }
}

/// The log of this process: what is written, and how, may change while it runs.
#[derive(Clone)]
pub struct Log(reload::Handle<Lines, Registry>);

/// What a configuration makes of the log; not in force yet.
pub struct Prepared {
    lines: Lines,
    privacy: Privacy,
    /// Why hashes will be others after a restart.
    is_passing: Option<SecretError>,
}

impl Log {
    /// Sets the log up for this process, once. `state`: where this host's files are.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn start(config: &Config, state: &Path) -> Result<Self, Error> {
        let Prepared { lines, privacy, is_passing } = prepare(config, state)?;
        let (lines, log) = reload::Layer::new(lines);
        tracing_subscriber::registry().with(lines).try_init().map_err(|_| Error::Twice)?;
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let what = text
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("(no message)");
            tracing::error!(at, what, "panic: this is a bug, please report it");
        }));
        show(privacy, is_passing);
        Ok(Self(log))
    }

    /// Lines are written like this from now on.
    pub fn change(&self, prepared: Prepared) {
        let Prepared { lines, privacy, is_passing } = prepared;
        // It fails without a log only, and then nobody reads.
        let _ = self.0.reload(lines);
        show(privacy, is_passing);
    }
}

fn show(privacy: Privacy, is_passing: Option<SecretError>) {
    let is_plain = matches!(privacy, Privacy::Plain);
    PRIVACY.store((!is_plain).then(|| Arc::new(privacy)));
    if let Some(error) = is_passing {
        tracing::warn!(%error, "hashes of addresses are others after a restart; log.hash_key_file keeps them");
    }
}

/// What can fail of a change. `state`: where this host's files are.
///
/// # Errors
/// [`Error::Journald`], [`Error::Secret`]
pub fn prepare(config: &Config, state: &Path) -> Result<Prepared, Error> {
    let (privacy, is_passing) = match (config.addresses, &config.hash_key_file) {
        (Addresses::Plain, _) => (Privacy::Plain, None),
        (Addresses::Masked, _) => (Privacy::Masked, None),
        (Addresses::Hashed, Some(file)) => (Privacy::Hashed(secret::read(file)?), None),
        (Addresses::Hashed, None) => {
            let (key, error) = secret::of_host(state);
            (Privacy::Hashed(key), error)
        }
    };
    Ok(Prepared { lines: lines(config)?, privacy, is_passing })
}

fn lines(config: &Config) -> Result<Lines, Error> {
    let level = match config.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Other crates' details are for debugging them, not for the postmaster. What goes wrong with LDAP is told where it is
    // asked; the library would have a line for each message that nobody waits for, and a server sends as many as it likes.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("ldap3", LevelFilter::OFF)
        .with_target("backstop", level);
    let output: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        Format::Text => Text::new().boxed(),
        Format::Json => {
            let stderr = Stderr::new(Form::Json);
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            // Of a span that began under another format it would know no fields, and panic.
            let layer = layer.with_current_span(false).with_span_list(false);
            layer.with_writer(move || stderr).boxed()
        }
        Format::Journald => Journal::open().map_err(Error::Journald)?.boxed(),
    };
    Ok(Lines { filter, output })
}

/// Which events are lines, and what writes them.
struct Lines {
    filter: Targets,
    output: Box<dyn Layer<Registry> + Send + Sync>,
}

/// What is no line costs a look at one number: with [`Layer::and_then`] the filter would be asked at each event anew, as
/// the answer could be another one for another layer.
impl Layer<Registry> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<Registry>::register_callsite(&self.filter, metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, Registry>) -> bool {
        Layer::<Registry>::enabled(&self.filter, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<Registry>::max_level_hint(&self.filter)
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, Registry>) {
        self.output.on_event(event, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_is_not_asked_about() {
        for (level, expected) in [(Level::Info, LevelFilter::INFO), (Level::Error, LevelFilter::WARN)] {
            let lines = lines(&Config { level, ..Config::default() }).unwrap();
            let (lines, _handle) = reload::Layer::new(lines);
            let subscriber = tracing_subscriber::registry().with(lines);
            assert_eq!(tracing::Subscriber::max_level_hint(&subscriber), Some(expected));
        }
    }
}
