//! What is told of a decision: counts, the log, and what is remembered for reports and for who looks at the last ones.

use std::time::Instant;

use tracing::{Level, debug, enabled, info};

use super::Session;
use crate::{
    clock,
    history::{Recent, Refusal, Rule, Whom, bounded, cut},
    policy::{Decision, Facts, Reason, Stage, Trace, Verdict},
    readable::Ip,
    server::{Asked, client_step},
    telemetry::log::{shown, shown_text},
};

impl Session {
    /// Notes what is asked for a decision, with the evidence where there is time for that.
    pub(super) fn asked(&self, now: Instant) -> Asked {
        if self.server.history.explains(now) { Asked::explained() } else { Asked::default() }
    }

    /// Counts a decision, and keeps it for who looks at the last ones.
    pub(super) fn record(
        &self,
        decision: &Decision<'_>,
        facts: &Facts,
        recipient: &[u8],
        asked: Asked,
        now: Instant,
    ) {
        self.server.metrics.decision(facts.stage, decision);
        self.server.history.count(facts.stage, decision);
        self.keep(decision, facts, recipient, asked, now);
    }

    /// Has reports and the log tell of a decision. Nobody has to wait for that.
    pub(super) fn tell(&self, decision: &Decision<'_>, facts: &Facts, recipient: &[u8], now: Instant) {
        let stage = facts.stage;
        let Some(reply) = decision.reply else {
            debug!(
                session = self.id,
                stage = stage.as_str(),
                reason = decision.reason.as_str(),
                recipient = &*shown(recipient),
                "continue"
            );
            return;
        };
        self.note(decision, facts, recipient);
        let client = self.client.address.map(|client| client.ip());
        if !enabled!(Level::INFO) || !self.server.lines.allow(decision.reason, client, now) {
            return;
        }
        let client = client.map(Ip::from);
        // A postmaster who is asked where the mail is sees how long it is held up yet.
        let wait = facts.greylisted.filter(|wait| !wait.is_zero()).map(|wait| format!("{wait:?}"));
        info!(
            message = match decision.verdict() {
                Verdict::Reject => "reject",
                Verdict::Defer => "defer",
                Verdict::Continue => "continue",
            },
            session = self.id,
            stage = stage.as_str(),
            reason = decision.reason.as_str(),
            enforced = decision.enforced,
            client = client.as_ref().map_or("unknown", Ip::as_str),
            sender = &*shown_text(cut(&self.message.sender)),
            recipient = &*shown_text(cut(recipient)),
            code = reply.code.basic,
            wait = wait.as_deref(),
        );
    }

    /// Hands a refusal over to those who remember it. Never waits.
    fn note(&self, decision: &Decision<'_>, facts: &Facts, recipient: &[u8]) {
        // The recipient itself was told of already.
        if facts.stage == Stage::EndOfMessage && decision.reason == Reason::SpamTrap {
            return;
        }
        let at_end = self.message.recipients.first().filter(|_| facts.stage == Stage::EndOfMessage);
        let domain = facts.recipient.domain().or_else(|| at_end.map(|recipient| recipient.domain()));
        let listed = domain.and_then(|domain| self.snapshot.directories.listed_as(domain));
        self.server.history.note(&Refusal {
            at: clock::since_1970().as_secs(),
            rule: Rule {
                reason: decision.reason,
                domain: listed.unwrap_or_default(),
                is_permanent: decision.verdict() == Verdict::Reject,
                enforced: decision.enforced,
            },
            client: self.client.address.map(|client| client.ip()),
            sender: if facts.stage == Stage::Connect { b"" } else { &self.message.sender },
            recipient: facts.recipient.outermost().map_or(Whom::Text(recipient), Whom::Address),
            is_insider: facts.insider(),
            is_good: is_good(facts),
        });
    }

    /// Has a decision kept with what led to it, if it is one of those; else it costs next to nothing. Never waits.
    fn keep(&self, decision: &Decision<'_>, facts: &Facts, recipient: &[u8], asked: Asked, now: Instant) {
        self.server.history.keep(facts.stage, decision, now, || {
            let client = self.client.address.map(|client| client.ip());
            let evidence = match client.filter(|_| asked.explains()) {
                Some(client) => self.snapshot.clients.explain(client),
                None => Vec::new(),
            };
            let mut steps = vec![client_step(client, facts, evidence)];
            steps.extend(asked.steps(facts));
            Recent {
                at: clock::since_1970().as_secs(),
                session: self.id,
                stage: facts.stage,
                verdict: decision.verdict(),
                reason: decision.reason,
                enforced: decision.enforced,
                reply: decision.said(facts).map(|reply| reply.to_string()),
                client,
                name: self.client.name.clone(),
                helo: self.client.helo.clone(),
                sender: (facts.stage != Stage::Connect).then(|| bounded(&self.message.sender)),
                recipient: bounded(recipient),
                is_insider: facts.insider(),
                explanation: Trace(steps),
            }
        });
    }
}

/// Whether the client is known for good mail: it has written to ten within the last month, or lately to more that exist
/// than that don't.
fn is_good(facts: &Facts) -> bool {
    facts
        .lately
        .is_some_and(|lately| lately.own.history >= GOOD_NAME || lately.own.known > lately.own.unknown)
}

/// That of docs/harvest.md.
const GOOD_NAME: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Counts, Lately};

    #[test]
    fn who_is_known_for_good_mail() {
        for (known, unknown, history, expected, who) in [
            (0, 0, 0, false, "nobody has heard of it"),
            (1, 0, 1, true, "one known recipient, and none unknown"),
            (1, 1, 1, false, "as many unknown ones"),
            (5, 900, 9, false, "a guesser with some luck"),
            (0, 20, 10, true, "it wrote to ten within a month"),
        ] {
            let own = Counts { known, unknown, history, ..Counts::default() };
            let facts = Facts { lately: Some(Lately { own, network: None }), ..Facts::default() };
            assert_eq!(is_good(&facts), expected, "{who}");
        }
        assert!(!is_good(&Facts::default()));
    }
}
