//! What would be answered now to a recipient that the log tells of, by the engine that answers real ones.

use std::{net::IpAddr, time::Duration};

use super::queue::Origin;
use crate::{
    policy::{ClientClass, Facts, Reason, Stage, Verdict},
    server::{Envelope, Snapshot, decide, recipient},
};

/// Where a recipient came from, for as long as it is judged.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) recipient: Box<str>,
    pub(super) client: Option<IpAddr>,
    pub(super) is_authenticated: bool,
    pub(super) is_null_sender: bool,
}

/// What would be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    pub(super) reply: Option<String>,
    /// `false` in monitor mode.
    pub(super) enforced: bool,
}

impl Case {
    pub(super) fn new(origin: &Origin, recipient: &str) -> Self {
        Self {
            recipient: recipient.into(),
            client: origin.client,
            is_authenticated: origin.user.is_some(),
            is_null_sender: origin.sender.as_deref() == Some(""),
        }
    }

    /// Judges it. What the defences would have remembered of the client is not known; what it looks like is asked of the
    /// DNS if `judges_clients`.
    pub(super) async fn judge(&self, snapshot: &Snapshot, judges_clients: bool) -> Answer {
        let mut facts = Facts {
            stage: Stage::Connect,
            trusted: snapshot.clients.is_trusted(self.client),
            denied: snapshot.clients.is_denied(self.client),
            authenticated: self.is_authenticated,
            null_sender: self.is_null_sender,
            blocked: Some(false),
            class: (!judges_clients).then_some(ClientClass::Unknown),
            greylisted: Some(Duration::ZERO),
            ..Facts::default()
        };
        let envelope = Envelope { client: self.client, is_rehearsal: true, ..Envelope::default() };
        let connect = decide(snapshot, envelope, &mut facts, None).await;
        let decision = if connect.reply.is_some() {
            connect
        } else {
            facts.stage = Stage::Rcpt;
            (facts.recipient, facts.bare) = recipient(self.recipient.as_bytes(), || None);
            decide(snapshot, envelope, &mut facts, None).await
        };
        Answer {
            verdict: decision.verdict(),
            reason: decision.reason,
            reply: decision.said(&facts).map(|reply| reply.to_string()),
            enforced: decision.enforced,
        }
    }
}
