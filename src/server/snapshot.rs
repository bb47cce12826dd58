//! What a session decides by: one consistent state, built as a whole and never changed in itself.

use std::{sync::Arc, time::Duration};

use milter_protocol::smtp_reply::{EnhancedCode, SmtpReply};

use crate::{
    client::Clients,
    defence::Defences,
    directory::Directories,
    policy::{Reason, Reply, Rules},
    suspension::Suspensions,
};

/// The state that a session begins with and keeps. The parts follow their own files and servers
/// meanwhile; what the admin chose does not change under a running session.
#[derive(Debug)]
pub struct Snapshot {
    /// The admin's choices.
    pub rules: Rules,
    /// Who exists.
    pub directories: Arc<Directories>,
    /// Who is suspended.
    pub suspensions: Arc<Suspensions>,
    /// Which clients are trusted or denied, and what they look like.
    pub clients: Arc<Clients>,
    /// What is held against clients.
    pub defences: Arc<Defences>,
    /// The longest that all directories together may take for one recipient.
    pub lookup: Duration,
    replies: [Option<SmtpReply>; Reason::ALL.len()],
}

impl Snapshot {
    /// Puts the parts together.
    ///
    /// # Panics
    /// Never: [`Replies`](crate::policy::Replies) holds only what makes a valid SMTP reply, as a test shows.
    #[must_use]
    pub fn new(
        rules: Rules,
        directories: Arc<Directories>,
        suspensions: Arc<Suspensions>,
        clients: Arc<Clients>,
        defences: Arc<Defences>,
        lookup: Duration,
    ) -> Self {
        let mut replies = [const { None }; Reason::ALL.len()];
        for reply in rules.replies.iter() {
            if let Some(slot) = replies.get_mut(reply.reason as usize) {
                *slot = Some(encode(reply));
            }
        }
        Self { rules, directories, suspensions, clients, defences, lookup, replies }
    }

    /// The reply as it goes over the wire, in its own words where `text` says so and can be said.
    #[must_use]
    pub fn smtp_reply(&self, reply: &Reply, text: Option<&str>) -> SmtpReply {
        if let Some(reply) = text.and_then(|text| reply.saying(text)) {
            return encode(&reply);
        }
        let is_usual = self.rules.replies.of(reply.reason).is_some_and(|usual| usual.code == reply.code);
        let usual = self.replies.get(reply.reason as usize).filter(|_| is_usual);
        usual.and_then(Clone::clone).unwrap_or_else(|| encode(reply))
    }
}

fn encode(reply: &Reply) -> SmtpReply {
    let (class, subject, detail) = reply.code.enhanced;
    let enhanced = EnhancedCode { class, subject, detail };
    SmtpReply::new(reply.code.basic, enhanced, [&reply.text]).expect("the configuration was checked for this")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::{Replies, ReplyConfig};

    /// Whatever the configuration lets through can be put on the wire.
    #[test]
    fn every_reply_can_be_encoded() {
        for reply in Replies::default().iter() {
            assert!(encode(reply).code() >= 400);
            for text in ["%".repeat(200), "\\".repeat(200), " x".to_owned()] {
                let reply = reply.saying(&text).expect("printable and short");
                assert_eq!(encode(&reply).code(), reply.code.basic);
            }
        }
        for reason in Reason::ALL {
            let doubtful = Replies::default();
            assert!(doubtful.of_doubtful(reason).is_none_or(|reply| encode(reply).code() < 500), "{reason}");
        }
        let text = "%".repeat(200);
        let change = ReplyConfig { code: Some("599 5.999.999".to_owned()), text: Some(text) };
        let changes = Reason::ALL.into_iter().map(|reason| (reason, change.clone()));
        for (reason, change) in changes {
            if let Ok(replies) = Replies::build(&BTreeMap::from([(reason, change)])) {
                let _ = encode(replies.of(reason).expect("was changed"));
            }
        }
    }
}
