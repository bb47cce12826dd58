//! What goes over the control socket: one JSON object a line.
//!
//! The server greets first with [`Greeting`]; then the client sends a [`Request`] and gets a [`Response`], as often
//! as it likes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::policy::Trace;

/// The version of this protocol; a change that an older client would misread raises it.
pub const PROTOCOL: u32 = 1;

/// The longest line that the server takes, in bytes.
pub const LONGEST_LINE: usize = 1024 * 1024;

/// The longest line that the client takes, in bytes: lists of clients may be long.
pub const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

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
    /// Make a client an insider for a time.
    Trust {
        /// Its address.
        client: IpAddr,
        /// How long from now.
        seconds: u64,
    },
    /// Put a client off for a time.
    Block {
        /// Its address; of an IPv6 address the /64.
        client: IpAddr,
        /// How long from now.
        seconds: u64,
        /// Why, for who lists the blocks.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Neither trust nor block a client any longer.
    Release {
        /// Its address.
        client: IpAddr,
    },
    /// Who is trusted for a time.
    Trusted,
    /// Who is blocked.
    Blocked,
    /// Refuse mail for a recipient, or for a whole domain.
    Suspend(Suspend),
    /// End a suspension.
    Resume {
        /// As in [`Suspend::what`].
        what: String,
    },
    /// Who is suspended by command.
    Suspended,
    /// Let everything pass.
    Disable(Disable),
    /// Decide again.
    Enable,
    /// What was decided lately.
    Report {
        /// So long before now it begins.
        seconds: u64,
    },
}

/// For how long everything is to pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// How long from now; `None`: until it is enabled.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Also after a restart.
    #[serde(default)]
    pub across_restarts: bool,
    /// Why, for who asks how the server is.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is to be suspended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspend {
    /// `user@example.com`, or `@example.com` for the whole domain.
    pub what: String,
    /// The end, in seconds since 1970 UTC; `None`: until it is resumed.
    #[serde(default)]
    pub until: Option<u64>,
    /// Why, for who lists the suspensions.
    #[serde(default)]
    pub reason: Option<String>,
    /// What senders are told in place of the text of `[replies.suspended-recipient]`.
    #[serde(default)]
    pub text: Option<String>,
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
    /// To [`Request::Trust`], [`Request::Block`] and [`Request::Release`].
    Standing(Standing),
    /// To [`Request::Trusted`] and [`Request::Blocked`].
    Clients(Clients),
    /// To [`Request::Suspend`] and [`Request::Resume`].
    Suspension(Suspension),
    /// To [`Request::Suspended`].
    Suspensions(Suspensions),
    /// To [`Request::Disable`] and [`Request::Enable`].
    Switched(Switched),
    /// To [`Request::Report`].
    Report(Box<Report>),
    /// The request could not be carried out.
    Error {
        /// One sentence.
        message: String,
    },
    /// The request can't be carried out as it is: it is wrong in itself, or not allowed.
    Refused {
        /// One sentence.
        message: String,
    },
}

/// What became of [`Request::Disable`] or [`Request::Enable`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// `None`: it decides.
    pub disabled: Option<Disabled>,
    /// It was disabled before.
    pub before: bool,
}

/// Everything passes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disabled {
    /// The beginning, in seconds since 1970 UTC.
    pub since: u64,
    /// The end; `None`: until it is enabled.
    pub until: Option<u64>,
    /// The user who said so.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// A restart does not end it.
    pub across_restarts: bool,
}

/// What became of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The address, or the network that it stands for.
    pub client: String,
    /// How long from now; nothing for a release.
    pub seconds: Option<u64>,
    /// It stood like that before.
    pub before: bool,
    /// Why it may not have the effect that was meant.
    pub notes: Vec<String>,
}

/// Clients that stand in one way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// How many there are; more than are listed, if there are very many.
    pub total: u64,
    /// In the order of their addresses as text.
    pub clients: Vec<Client>,
}

/// A client that is trusted or blocked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The address, or the network that it stands for.
    pub client: String,
    /// Why; empty where nobody said so.
    pub reason: String,
    /// How long from now.
    pub seconds_left: u64,
}

/// What became of a suspension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// In the form in which it is compared.
    pub what: String,
    /// It was suspended by command before.
    pub before: bool,
    /// Why it may not have the effect that was meant.
    pub notes: Vec<String>,
}

/// All suspensions by command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspensions {
    /// How many there are; more than are listed, if there are very many.
    pub total: u64,
    /// In alphabetical order.
    pub suspensions: Vec<SuspendedEntry>,
    /// Why it may not be as it is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One suspension by command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedEntry {
    /// `user@example.com`, or `@example.com` for the whole domain.
    pub what: String,
    /// The beginning, in seconds since 1970 UTC.
    pub since: u64,
    /// The end; `None`: until it is resumed.
    pub until: Option<u64>,
    /// Why.
    pub reason: Option<String>,
    /// What senders are told.
    pub text: Option<String>,
    /// The user who said so.
    pub by: Option<String>,
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
    /// What the answer does not take into account.
    #[serde(default)]
    pub notes: Vec<String>,
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
    /// Everything passes. `None`: it decides.
    #[serde(default)]
    pub disabled: Option<Disabled>,
    /// Where MTAs connect.
    pub listening: Vec<String>,
    /// MTA connections now.
    pub sessions_open: u64,
    /// So many may be open.
    #[serde(default)]
    pub sessions_limit: u64,
    /// Recipients decided since the start.
    pub recipients: u64,
    /// Bounces that were never sent, since the start: recipients who were refused as unknown, of messages with a sender.
    #[serde(default)]
    pub backscatter_prevented: u64,
    /// The MTA that connected last, by its own words.
    pub last_mta: Option<String>,
    /// Local domains by where they come from, as text.
    pub domains: Vec<String>,
    /// Each directory.
    pub directories: Vec<Directory>,
    /// Where state is kept that outlives the process.
    #[serde(default)]
    pub store: String,
    /// How many clients and recipients commands and defences have named. `None`: the store does not tell in
    /// time.
    #[serde(default)]
    pub named: Option<Named>,
    /// Content that is not what the files say now, and other things to look at.
    pub notices: Vec<String>,
}

/// Who was named by commands and defences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Clients trusted for a time.
    pub trusted: u64,
    /// Clients blocked.
    pub blocked: u64,
    /// Suspensions by command.
    pub suspended: u64,
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
