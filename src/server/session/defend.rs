//! What the defences learn from a session, and how the tarpit delays it.
//!
//! A delayed session holds no buffer, and still sees its MTA go away. Failure: nothing is counted, nothing delayed.

use std::{net::IpAddr, sync::Arc, time::Instant};

use milter_protocol::{session::Ask, verdict::RcptVerdict};

use super::{End, SHORT, Session, read};
use crate::{
    address::Address,
    clock,
    defence::{Guess, Held, Purpose, Standing},
    net::Connection,
    policy::{Decision, DomainFact, Facts, Reason},
    server::{
        buffers::{self, Input},
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

/// What a recipient is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Known,
    Unknown,
    Trap,
}

impl Session {
    /// What a recipient of an outsider is counted as; `None`: not at all.
    pub(super) fn counted(&self, decision: &Decision<'_>, facts: &Facts) -> Option<Counted> {
        let recipient = facts.recipient.outermost()?;
        // Who is blocked asks for nobody any more, but for those who are free from that.
        if self.client.address.is_none() || facts.insider() || facts.submission || facts.blocked == Some(true)
        {
            return None;
        }
        let macros = self.protocol.macros();
        match decision.reason {
            Reason::UnknownRecipient => Some(Counted::Unknown),
            // Where no directory says who is known, the guesses alone would make a harvester of every large sender.
            Reason::MtaRefused if unknown_to_mta(macros) && self.is_in_charge(recipient) => {
                Some(Counted::Unknown)
            }
            Reason::SpamTrap => Some(Counted::Trap),
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
                    Reason::MtaRefused if put_off_by_mta(macros) => self.snapshot.directories.remembers(recipient),
                    _ => false,
                };
                is_known.then_some(Counted::Known)
            }
        }
    }

    /// The client, where it is to be counted and nobody has asked yet how it stands: row 3 comes before that.
    pub(super) fn unasked(&self, counted: Option<Counted>, facts: &Facts) -> Option<IpAddr> {
        counted.filter(|_| facts.blocked.is_none())?;
        Some(self.client.address?.ip())
    }

    /// Takes how the client stands, for the count.
    pub(super) fn stands(&mut self, standing: &Standing, facts: &mut Facts) {
        facts.lately = standing.lately.filter(|_| standing.blocked.is_none() && !standing.trusted);
        self.client.trusted |= standing.trusted;
    }

    /// Counts a recipient of an outsider.
    pub(super) fn count(&self, counted: Counted, facts: &Facts) {
        let (Some(client), Some(recipient)) = (self.client.address, facts.recipient.outermost()) else {
            return;
        };
        let Some(lately) = facts.lately else { return };
        let known;
        let guess = match counted {
            Counted::Unknown => Guess::Unknown(recipient),
            Counted::Trap => Guess::Trap(recipient),
            Counted::Known => {
                known = mailbox(recipient, self.snapshot.directories.delimiters());
                Guess::Known(&known)
            }
        };
        let defences = &self.snapshot.defences;
        let is_new = defences.harvest.note(client.ip(), lately, guess, self.purpose());
        if is_new && counted == Counted::Known {
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
        held: &mut Option<Input>,
    ) -> Result<(), End> {
        let server = Arc::clone(&self.server);
        let mut draining = std::pin::pin!(server.waits.ending());
        let end = delayed.until.min(clock::now() + delayed.held.delay);
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
        let mut output = buffers::output();
        self.protocol.answer(delayed.ask, delayed.verdict, &mut output);
        connection.write_all(&output, SHORT).await?;
        buffers::give_back(output);
        Ok(())
    }

    fn is_in_charge(&self, recipient: &Address) -> bool {
        let fact = self.snapshot.directories.domain(recipient.domain());
        matches!(fact, DomainFact::Local { in_charge: true, .. })
    }
}
