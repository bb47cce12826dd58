//! What the defences learn from a session, and how the tarpit delays it.
//!
//! A delayed session holds no buffer, and still sees its MTA go away. Failure: nothing is counted, nothing delayed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use milter_protocol::{session::Ask, verdict::RcptVerdict};

use super::{End, SHORT, Session, read};
use crate::{
    address::Address,
    defence::{Guess, Held, Purpose},
    net::Connection,
    policy::{Decision, DomainFact, Facts, Reason, RecipientFact},
    server::{
        buffers,
        recipient::{is_found, mailbox, put_off_by_mta, unknown_to_mta},
    },
};

/// A refusal that the tarpit keeps back. Nothing more is read into it while it waits.
pub(super) struct Delayed {
    pub(super) held: Held,
    pub(super) ask: Ask<RcptVerdict>,
    pub(super) verdict: RcptVerdict,
    /// The MTA waits no longer for any answer.
    pub(super) until: Instant,
}

impl Session {
    /// Counts a recipient of an outsider.
    pub(super) async fn count(&mut self, decision: &Decision<'_>, facts: &mut Facts) {
        let (Some(client), Some(recipient)) = (self.client.address, facts.recipient.outermost()) else {
            return;
        };
        // Who is blocked asks for nobody any more, but for those who are free from that.
        if facts.blocked == Some(true) {
            return;
        }
        let defences = &self.snapshot.defences;
        let macros = self.protocol.macros();
        let known;
        let guess = match decision.reason {
            Reason::UnknownRecipient => Guess::Unknown(recipient),
            // Where no directory says who is known, the guesses alone would make a harvester of every large sender.
            Reason::MtaRefused if unknown_to_mta(macros) && self.is_in_charge(recipient) => {
                Guess::Unknown(recipient)
            }
            Reason::SpamTrap => Guess::Trap(recipient),
            reason => {
                let is_known = match reason {
                    Reason::Ok
                    | Reason::RestrictedRecipient
                    | Reason::SuspendedRecipient
                    | Reason::Greylisted
                    // Only watched, or nobody was looked up.
                    | Reason::DynamicClient
                    | Reason::BounceMany => is_found(&facts.recipient),
                    // A greylist of the MTA's puts off all who exist: the others alone must not count.
                    Reason::MtaRefused if put_off_by_mta(macros) => self.remembers(recipient).await,
                    _ => false,
                };
                if !is_known {
                    return;
                }
                known = mailbox(recipient, self.snapshot.directories.delimiters());
                Guess::Known(&known)
            }
        };
        // Row 3 comes before anybody asks how the client stands.
        if facts.blocked.is_none() {
            let standing = defences.standings.find(client.ip()).await;
            facts.lately = standing.lately.filter(|_| standing.blocked.is_none() && !standing.trusted);
            self.client.trusted |= standing.trusted;
        }
        let Some(lately) = facts.lately else { return };
        let is_known = matches!(guess, Guess::Known(_));
        if defences.harvest.note(client.ip(), lately, guess, self.purpose()) && is_known {
            defences.tarpit.forgive(client.ip());
        }
    }

    /// Call-outs come without a sender, or from the one that MTAs have for their probes.
    fn purpose(&self) -> Purpose {
        let is_probe = |sender: &Address| self.snapshot.rules.is_never_refused(sender.local());
        let is_report = self.message.null_sender || self.message.reverse_path.as_ref().is_some_and(is_probe);
        if is_report { Purpose::Report } else { Purpose::Mail }
    }

    /// The tarpit: rows 7 and 14 take their time. Not for insiders: a list's own host would wait for each dead address.
    pub(super) fn hold(&self, reason: Reason) -> Option<Held> {
        let is_insider = self.client.trusted || self.message.authenticated;
        if is_insider
            || !matches!(reason, Reason::DynamicClient | Reason::UnknownRecipient | Reason::SpamTrap)
        {
            return None;
        }
        self.snapshot.defences.tarpit.hold(self.client.address?.ip(), self.server.is_stressed())
    }

    /// Waits with a refusal, then answers it; less long when we stop. An MTA that goes away meanwhile is not waited for.
    pub(super) async fn pause(
        &mut self,
        delayed: Delayed,
        connection: &mut Connection,
        held: &mut Option<BytesMut>,
    ) -> Result<(), End> {
        let server = Arc::clone(&self.server);
        let mut draining = std::pin::pin!(server.draining());
        let end = delayed.until.min(Instant::now() + delayed.held.delay);
        let mut time = std::pin::pin!(tokio::time::sleep_until(end.into()));
        loop {
            // MTAs wait for the answer. What one sends all the same is kept, up to a buffer.
            let has_room = held.as_ref().is_none_or(|held| held.len() < buffers::SIZE);
            tokio::select! {
                biased;
                () = &mut draining => break,
                () = &mut time => break,
                read = read(connection, held), if has_room => {
                    if read? == 0 {
                        return Err(End::Closed);
                    }
                }
            }
        }
        drop(delayed.held);
        let mut output = buffers::take();
        self.protocol.answer(delayed.ask, delayed.verdict, &mut output);
        connection.write_all(&output, SHORT).await?;
        buffers::give_back(output);
        Ok(())
    }

    /// Whether a directory knows the recipient himself, without asking anybody who could keep us waiting.
    async fn remembers(&self, recipient: &Address) -> bool {
        let found = self.snapshot.directories.find_within(Duration::ZERO, recipient, false).await;
        matches!(found.fact, RecipientFact::Exists(found) if !found.catch_all)
    }

    fn is_in_charge(&self, recipient: &Address) -> bool {
        let fact = self.snapshot.directories.domain(recipient.domain());
        matches!(fact, DomainFact::Local { in_charge: true, .. })
    }
}
