//! What was found. Pure.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The server, as it was named.
    pub server: String,
    /// The address that was connected to.
    pub address: String,
    /// The server's own name, as it says.
    pub name: Option<String>,
    /// The domain whose recipients were asked for.
    pub domain: String,
    /// What marks everything that was sent.
    pub run: String,
    /// The connections were encrypted (whatever the certificate).
    pub tls: bool,
    /// The worst of all findings.
    pub verdict: Verdict,
    /// One for each test.
    pub tests: Vec<Finding>,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// Why it ended early.
    pub stopped: Option<String>,
}

/// What one test found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which.
    pub test: Test,
    /// The worst of its checks.
    pub verdict: Verdict,
    /// In a few words.
    pub summary: String,
    /// One for each recipient that was asked for.
    pub checks: Vec<Check>,
}

/// What became of one recipient.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What it means.
    pub verdict: Verdict,
    /// What followed `MAIL FROM:`.
    pub sender: String,
    /// What followed `RCPT TO:`; `""` where it did not come to that.
    pub recipient: String,
    /// The reply that decided, or the error.
    pub reply: String,
    /// Its code.
    pub code: Option<u16>,
    /// What became of the message; none if there was none.
    pub message: Option<Fate>,
    /// Why it means that, where the reply alone does not say.
    pub note: Option<&'static str>,
}

/// What a test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Safe,
    /// It could not be found out.
    Unsure,
    /// It does not.
    Vulnerable,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Relayed: it came to the sink.
    Delivered,
    /// A bounce came to the sink.
    Bounced,
    /// Nothing came.
    Vanished,
}

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Does what is said before TLS count after it?
    #[serde(rename = "starttls")]
    StartTls,
    /// Does it take mail for recipients who do not exist, and so bounce?
    ReverseNdr,
    /// Does it relay for strangers?
    Relay,
    /// Does it tell those who guess who exists, for as long as they like?
    Harvest,
}

/// Not a test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tests are starttls, reverse-ndr, relay and harvest")]
pub struct TestError;

impl Finding {
    /// The worst of the checks counts; without any, nothing was found out.
    pub(super) fn of(test: Test, summary: String, checks: Vec<Check>) -> Self {
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unsure);
        Self { test, verdict, summary, checks }
    }
}

impl Test {
    /// In the order in which they are made: the last one is what may get us blocked.
    pub const ALL: [Self; 4] = [Self::StartTls, Self::ReverseNdr, Self::Relay, Self::Harvest];

    /// As the command line has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::ReverseNdr => "reverse-ndr",
            Self::Relay => "relay",
            Self::Harvest => "harvest",
        }
    }
}

impl FromStr for Test {
    type Err = TestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|test| test.as_str() == text).ok_or(TestError)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "safe",
            Self::Unsure => "could not find out",
            Self::Vulnerable => "vulnerable",
        })
    }
}
