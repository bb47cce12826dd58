//! Why the process could not start, or ended.

use std::io;

use crate::{
    directory, files,
    net::{BindError, PasswordError},
    store, telemetry,
};

/// Why the process could not start, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system gave no threads or signals.
    #[error("can't start: {0}")]
    Runtime(io::Error),
    /// No log.
    #[error(transparent)]
    Log(#[from] telemetry::log::Error),
    /// A socket can't be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A file that the configuration names can't be used.
    #[error(transparent)]
    File(#[from] files::OpenError),
    /// The directories can't be built.
    #[error(transparent)]
    Directory(#[from] directory::BuildError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The token for the pages can't be read.
    #[error("http.token_file: {0}")]
    Token(#[from] PasswordError),
    /// A part that must always run has ended.
    #[error("{0} has ended; this is a bug or a broken system, see the log")]
    Part(&'static str),
}

impl Error {
    /// Whether the configuration is at fault, and not the system.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::File(_) | Self::Directory(_) | Self::Store(_) | Self::Log(_) | Self::Token(_))
    }
}
