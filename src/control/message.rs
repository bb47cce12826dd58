//! What goes over the control socket: one JSON object a line.
//!
//! The server greets first with [`Greeting`]; then the client sends a [`Request`] and gets a [`Response`], as often
//! as it likes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::server::Trace;

/// The version of this protocol; a change that an older client would misread raises it.
pub const PROTOCOL: u32 = 1;

/// The longest line that either side takes, in bytes.
pub const LONGEST_LINE: usize = 1024 * 1024;

/// The server's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The program's version.
    pub backstop: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
}

/// What is asked of the running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Decide about a recipient, and explain.
    Check(Check),
    /// How the server is.
    Status,
    /// Read configuration and files again, and detect again.
    Reload {
        /// Take content that was held back.
        accept: bool,
    },
}

/// An imagined `RCPT TO`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// As it would be written behind `RCPT TO:`.
    pub address: String,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The name of that address in the DNS.
    pub name: Option<String>,
    /// What the client calls itself.
    pub helo: Option<String>,
    /// As it would be written behind `MAIL FROM:`.
    pub from: Option<String>,
    /// The name the client has authenticated with.
    pub auth: Option<String>,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// To [`Request::Check`].
    Check(Checked),
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Reload`].
    Reload(Reloaded),
    /// The request could not be carried out.
    Error {
        /// One sentence.
        message: String,
    },
}

/// A decision with its explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// As asked.
    pub address: String,
    /// `continue`, `reject` or `defer`.
    pub verdict: String,
    /// From the closed list.
    pub reason: String,
    /// The SMTP reply; none where the verdict is `continue`.
    pub reply: Option<String>,
    /// `false` in monitor mode: the mail would pass all the same.
    pub enforced: bool,
    /// Every question with its answer.
    pub steps: Trace,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Since the start.
    pub uptime_seconds: u64,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// Where MTAs connect.
    pub listening: Vec<String>,
    /// MTA connections now.
    pub sessions_open: u64,
    /// Recipients decided since the start.
    pub recipients: u64,
    /// The MTA that connected last, by its own words.
    pub last_mta: Option<String>,
    /// Local domains by where they come from, as text.
    pub domains: Vec<String>,
    /// Each directory.
    pub directories: Vec<Directory>,
    /// Content that is not what the files say now, and other things to look at.
    pub notices: Vec<String>,
}

/// How a directory is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// The admin's name, or `detected:…`.
    pub name: String,
    /// E.g. `file`.
    pub kind: String,
    /// What the metric `backstop_directory_up` says.
    pub up: bool,
    /// The same in words, e.g. `answers from what it knew before`.
    pub state: String,
    /// Known addresses, where it can be counted.
    pub addresses: Option<u64>,
    /// How long ago its content was what the directory says, where that is known.
    #[serde(default)]
    pub age_seconds: Option<u64>,
}

/// What became of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Everything, or what does not need a restart, is in force.
    pub applied: bool,
    /// Changed keys that count only after a restart.
    pub needs_restart: Vec<String>,
    /// Why nothing was changed.
    pub refused: Option<String>,
    /// Files whose new content is held back, and why.
    pub held_back: Vec<String>,
}
