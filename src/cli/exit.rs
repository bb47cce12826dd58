//! Exit statuses, and how a failure is told: once, on stderr.

use std::{fmt, process::ExitCode};

use crate::{
    config,
    control::{self, message::Response},
};

use super::terminal;

/// The question was answered with no, or the recipient would be refused.
pub(super) const NO: u8 = 1;
/// The recipient would be deferred, or it could not be found out.
pub(super) const UNSURE: u8 = 2;
/// EX_USAGE: the command line is wrong.
pub(super) const USAGE: u8 = 64;
/// EX_DATAERR: what was given to read makes no sense.
pub(super) const DATA: u8 = 65;
/// EX_NOINPUT: a file to read is not there.
pub(super) const NO_INPUT: u8 = 66;
/// EX_UNAVAILABLE: no server answers.
pub(super) const UNAVAILABLE: u8 = 69;
/// EX_SOFTWARE: a bug.
pub(super) const SOFTWARE: u8 = 70;
/// EX_OSERR: the operating system refused something.
pub(super) const OS: u8 = 71;
/// EX_IOERR: reading or writing failed.
pub(super) const IO: u8 = 74;
/// EX_NOPERM: that is not allowed.
pub(super) const NO_PERMISSION: u8 = 77;
/// EX_CONFIG: the configuration is wrong.
pub(super) const CONFIG: u8 = 78;

/// What went wrong, with the exit status that says so.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    pub(super) fn new(status: u8, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    pub(super) fn report(self) -> ExitCode {
        terminal::complain(&self.message);
        ExitCode::from(self.status)
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::new(if error.is_permission() { NO_PERMISSION } else { CONFIG }, error)
    }
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        let status = match error {
            control::Error::Permission { .. } | control::Error::TrustPermission { .. } => NO_PERMISSION,
            control::Error::TooLong => USAGE,
            _ => UNAVAILABLE,
        };
        Self::new(status, error)
    }
}

impl Failure {
    /// What the server answers in place of what was asked for.
    pub(super) fn from_answer(answer: Response) -> Self {
        match answer {
            Response::Error { message } => Self::new(UNAVAILABLE, message),
            Response::Refused { message } => Self::new(USAGE, message),
            _ => Self::new(SOFTWARE, "the server answered something else"),
        }
    }
}

/// What a command gives: its exit status, or a failure to tell.
pub(super) type Outcome = Result<ExitCode, Failure>;
