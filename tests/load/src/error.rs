//! Why something could not be driven or measured.

use std::io;
use std::time::Duration;

use milter_protocol::client::ClientError;

/// Why something could not be driven or measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The milter can't be reached, or a file not be read.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
    /// The milter broke the protocol.
    #[error("the milter's answer: {0}")]
    Protocol(#[from] ClientError),
    /// The milter closed a connection while an answer was awaited.
    #[error("the milter closed the connection in place of an answer")]
    Closed,
    /// No answer.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// A tool failed, or said what nobody expected.
    #[error("{tool}: {said}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// What it said.
        said: String,
    },
    /// Answers were not those that the addresses ask for: the figure would be of something else.
    #[error("{0}")]
    Wrong(String),
}

impl Error {
    /// Tells what was being done when `error` came.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |error| Error::Io { what, error }
    }
}
