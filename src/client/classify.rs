//! What a client looks like: its class, and the rule that says so.
//!
//! Asks the DNS, with a deadline, and remembers. Failure: class `unknown`.

use std::net::IpAddr;

use crate::policy::ClientClass;

/// Tells classes of clients. The default asks nobody: all are `unknown`.
#[derive(Debug, Default)]
pub struct Classifier {}

/// What else is known of the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hint<'a> {
    /// Taken for the name of the address, confirmed: the DNS is not asked for it. For `backstop check --name`.
    pub name: Option<&'a str>,
    /// What the client calls itself.
    pub helo: Option<&'a str>,
}

/// A class with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// What it looks like.
    pub class: ClientClass,
    /// Its name, where the DNS confirms it both ways.
    pub name: Option<String>,
    /// On a list of good clients.
    pub is_welcome: bool,
    /// The rules that led to it, one line each.
    pub evidence: Vec<String>,
}

impl Classifier {
    /// The class of this address; takes no longer than its deadline.
    #[expect(clippy::unused_async, reason = "the DNS waits")]
    pub async fn classify(&self, _client: IpAddr, _hint: Hint<'_>) -> Classified {
        Classified { class: ClientClass::Unknown, name: None, is_welcome: false, evidence: Vec::new() }
    }
}
