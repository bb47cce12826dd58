//! One recipient: decided, answered, and what follows from that.
//!
//! What is in memory is answered at once; a [`Hearing`] is kept only for what somebody else has to be asked. Failure: that of
//! the decision, which is never a refusal for good where something could not be found out.

use std::{sync::Arc, time::Instant};

use milter_protocol::{command::Rcpt, session::Ask, verdict::RcptVerdict};

use super::{
    Output, Session,
    defend::{Counted, Delayed},
};
use crate::{
    clock,
    policy::{Decision, DomainFact, Facts, Reason, Stage},
    server::{
        Asked,
        decide::{LONGEST_REPLY, decide, decide_here},
        recipient::{added_domain, is_submission, recipient, refused_by_mta},
    },
};

/// A recipient that is being decided about.
pub(super) struct Hearing<'i> {
    begun: Instant,
    /// As it was written behind `RCPT TO:`.
    argument: &'i [u8],
    facts: Facts,
    asked: Asked,
    ask: Ask<RcptVerdict>,
}

impl Session {
    /// Answers a recipient by what is in memory; else gives what is left to do, for [`Session::rcpt_later`].
    pub(super) fn rcpt<'i>(
        &mut self,
        rcpt: &Rcpt<'i>,
        ask: Ask<RcptVerdict>,
        begun: Instant,
        output: &mut Output<'_>,
    ) -> Option<Box<Hearing<'i>>> {
        #[cfg(test)]
        crate::server::tests::fault(rcpt.address);
        let macros = self.protocol.macros();
        let (recipient, bare) = recipient(rcpt.address, || added_domain(macros));
        let facts = Facts {
            stage: Stage::Rcpt,
            mta_refused: refused_by_mta(macros),
            submission: is_submission(self.client.address),
            recipient,
            bare,
            accepted: Some(self.message.accepted),
            ..self.facts()
        };
        let mut hearing = Hearing { begun, argument: rcpt.address, facts, asked: self.asked(begun), ask };
        let snapshot = Arc::clone(&self.snapshot);
        let decided = decide_here(&snapshot, self.envelope(), &mut hearing.facts, Some(&mut hearing.asked));
        let Ok(decision) = decided else { return Some(Box::new(hearing)) };
        let counted = self.counted(&decision, &hearing.facts);
        if let Some(client) = self.unasked(counted, &hearing.facts) {
            match snapshot.defences.standings.find_here(client) {
                Some(standing) => self.stands(&standing, &mut hearing.facts),
                None => return Some(Box::new(hearing)),
            }
        }
        self.conclude(&decision, counted, hearing, begun, output);
        None
    }

    /// Answers a recipient when everybody has been asked.
    pub(super) async fn rcpt_later(&mut self, mut hearing: Box<Hearing<'_>>, output: &mut Output<'_>) {
        let snapshot = Arc::clone(&self.snapshot);
        let Hearing { facts, asked, .. } = &mut *hearing;
        let decision = decide(&snapshot, self.envelope(), facts, Some(asked)).await;
        let counted = self.counted(&decision, facts);
        if let Some(client) = self.unasked(counted, facts) {
            let standing = snapshot.defences.standings.find(client).await;
            self.stands(&standing, facts);
        }
        self.conclude(&decision, counted, *hearing, clock::now(), output);
    }

    /// What follows from a decision about a recipient, and its answer.
    fn conclude(
        &mut self,
        decision: &Decision<'_>,
        counted: Option<Counted>,
        hearing: Hearing<'_>,
        now: Instant,
        output: &mut Output<'_>,
    ) {
        let Hearing { begun, argument, facts, asked, ask } = hearing;
        self.client.trusted |= facts.trusted;
        self.message.trapped |= decision.reason == Reason::SpamTrap;
        let enforced = decision.enforced_reply();
        let unknown = matches!(decision.reason, Reason::UnknownRecipient | Reason::SpamTrap);
        if unknown && !self.message.null_sender && enforced.is_some_and(|reply| reply.code.is_permanent()) {
            self.server.metrics.backscatter_prevented.inc();
        }
        self.record(decision, &facts, argument, asked, now);
        let text = decision.reply.and_then(|reply| facts.own_text(reply.reason));
        let verdict = match enforced {
            None => RcptVerdict::Continue,
            Some(reply) => RcptVerdict::Refuse(self.snapshot.smtp_reply(reply, text)),
        };
        self.remember(decision, &facts);
        if let Some(counted) = counted {
            self.count(counted, &facts);
        }
        match enforced.and_then(|_| self.hold(decision.reason)) {
            None => {
                self.protocol.answer(ask, verdict, output.bytes);
                output.send();
            }
            Some(held) => {
                let until = begun + LONGEST_REPLY;
                self.delayed = Some(Box::new(Delayed { held, ask, verdict, until }));
            }
        }
        self.tell(decision, &facts, argument, now);
    }

    /// What the defences learn from a recipient that was decided.
    fn remember(&mut self, decision: &Decision<'_>, facts: &Facts) {
        let defences = &self.snapshot.defences;
        if decision.enforced_reply().is_none() && !facts.mta_refused {
            let is_insider = facts.insider() || facts.submission;
            let rules = &self.snapshot.rules;
            self.message.accepted += 1;
            self.message.is_watched |=
                facts.recipient.domain().is_some_and(|domain| rules.is_watched(domain));
            // Whom the MTA lets write elsewhere is an insider to it, even where we can't tell why; while we are
            // disabled nobody looks who is one.
            let goes_out = is_insider || matches!(decision.reason, Reason::NotLocal | Reason::Disabled);
            match &self.message.reverse_path {
                Some(sender) if goes_out && defences.bounces.is_on() => {
                    if matches!(self.snapshot.directories.domain(sender.domain()), DomainFact::Local { .. }) {
                        defences.bounces.note(sender);
                    }
                }
                None if self.message.null_sender => match facts.recipient.outermost() {
                    Some(recipient)
                        if !is_left_alone(decision.reason)
                            && !rules.is_exempt(recipient.local())
                            && self.message.recipients.len() < MOST_RECIPIENTS =>
                    {
                        self.message.recipients.push(recipient.clone());
                    }
                    _ => self.message.is_free = true,
                },
                _ => {}
            }
        }
    }
}

/// Whether a bounce with a recipient that passed for this reason is none of the defences' business.
fn is_left_alone(reason: Reason) -> bool {
    matches!(reason, Reason::Exempt | Reason::NotLocal | Reason::Submission | Reason::Disabled)
}

/// A bounce for more is left alone; all but the first are refused anyway.
const MOST_RECIPIENTS: usize = 100;
