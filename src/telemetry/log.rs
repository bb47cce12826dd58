//! Log lines: where they go and what they look like.
//!
//! The log never holds mail up: where nobody reads it, lines are dropped.
//! Values from the network reach a line only as fields, which are written escaped; a line is one line.

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::stderr::Stderr;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The least level that is written: `info` has a line for each refusal, `debug` one for each recipient.
    pub level: Level,
    /// Text and JSON go to standard error; `journald` speaks to the journal itself and needs one.
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Text }
    }
}

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
    /// A second initialisation.
    #[error("the log is set up already")]
    Twice,
}

/// The log of this process: what is written, and how, may change while it runs.
#[derive(Clone)]
pub struct Log(reload::Handle<Lines, Registry>);

/// What a configuration makes of the log; not in force yet.
pub struct Prepared(Lines);

impl Log {
    /// Sets the log up for this process, once.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn start(config: &Config) -> Result<Self, Error> {
        let (lines, log) = reload::Layer::new(prepare(config)?.0);
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
        Ok(Self(log))
    }

    /// Lines are written like this from now on.
    pub fn change(&self, prepared: Prepared) {
        // It fails without a log only, and then nobody reads.
        let _ = self.0.reload(prepared.0);
    }
}

/// What can fail of a change.
///
/// # Errors
/// [`Error::Journald`]
pub fn prepare(config: &Config) -> Result<Prepared, Error> {
    let level = match config.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    // Other crates' details are for debugging them, not for the postmaster.
    let filter = EnvFilter::new(format!("warn,backstop={level}"));
    Ok(Prepared(match config.format {
        Format::Text => {
            let stderr = std::io::stderr();
            let ansi = std::io::IsTerminal::is_terminal(&stderr)
                && anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
            let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
            filter.and_then(layer.with_target(false).with_ansi(ansi)).boxed()
        }
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            // Of a span that began under another format it would know no fields, and panic.
            let layer = layer.with_current_span(false).with_span_list(false);
            filter.and_then(layer.with_writer(|| Stderr)).boxed()
        }
        Format::Journald => filter.and_then(tracing_journald::layer().map_err(Error::Journald)?).boxed(),
    }))
}

/// A filter, and what writes.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;
