//! The decision table (docs/decisions.md), row by row.

use std::borrow::Cow;

use super::{
    Attributes, ClientClass, DomainFact, Facts, Level, Question, Reason, Recipient, RecipientFact, Reply,
    Rules, Stage, SuspensionFact, Unavailable,
};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'r> {
    /// Find this out, then call [`next`] again.
    Ask(Question),
    /// The first row that applies.
    Decide(Decision<'r>),
}

/// The outcome for one recipient, connection or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'r> {
    /// Why.
    pub reason: Reason,
    /// The refusal; `None` is continue.
    pub reply: Option<&'r Reply>,
    /// `false` in monitor mode: counted and logged, but the MTA is told to continue.
    pub enforced: bool,
}

impl<'r> Decision<'r> {
    /// What was decided, whether or not it is enforced.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.reply {
            None => Verdict::Continue,
            Some(reply) if reply.code.is_permanent() => Verdict::Reject,
            Some(_) => Verdict::Defer,
        }
    }

    /// The refusal as it is said, in words of its own where the facts have some.
    #[must_use]
    pub fn said(&self, facts: &Facts) -> Option<Cow<'r, Reply>> {
        let reply = self.reply?;
        let own = facts.own_text(reply.reason).and_then(|text| reply.saying(text));
        Some(own.map_or(Cow::Borrowed(reply), Cow::Owned))
    }

    /// What the MTA is to answer its client; `None` is continue.
    #[must_use]
    pub fn enforced_reply(&self) -> Option<&'r Reply> {
        self.reply.filter(|_| self.enforced)
    }
}

/// The kind of outcome. There is no `Accept`: at RCPT it would hide the later recipients from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing speaks against it.
    Continue,
    /// A permanent refusal, 5xx.
    Reject,
    /// A temporary refusal, 4xx.
    Defer,
}

impl Verdict {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Reject => "reject",
            Self::Defer => "defer",
        }
    }
}

/// The next step towards a decision. The same rules and facts always give the same step.
#[must_use]
pub fn next<'r>(rules: &'r Rules, facts: &Facts) -> Step<'r> {
    let outcome = if facts.disabled {
        Ok(Reason::Disabled)
    } else {
        match facts.stage {
            Stage::Connect => connect(rules, facts),
            Stage::Rcpt => rcpt(rules, facts),
            Stage::EndOfMessage => end_of_message(rules, facts),
        }
    };
    match outcome {
        Ok(reason) => Step::Decide(decide(rules, facts, reason)),
        Err(question) => Step::Ask(question),
    }
}

/// A reason, or the question whose answer is needed first.
type Outcome = Result<Reason, Question>;

fn connect(rules: &Rules, facts: &Facts) -> Outcome {
    if rules.defences.denied && facts.denied && !facts.trusted {
        return Ok(Reason::DeniedClient);
    }
    // Row 7, where nobody authenticates.
    if rules.defences.dynamic_at_connect
        && !is_trusted(rules, facts)?
        && !facts.may_be_insider()
        && facts.class.ok_or(Question::Class)? == ClientClass::Dynamic
    {
        return Ok(Reason::DynamicClient);
    }
    Ok(Reason::Ok)
}

fn rcpt(rules: &Rules, facts: &Facts) -> Outcome {
    // Row 3.
    if facts.mta_refused {
        return Ok(Reason::MtaRefused);
    }
    if facts.submission {
        return Ok(Reason::Submission);
    }
    match &facts.recipient {
        Recipient::None => Ok(Reason::Ok),
        Recipient::Bare(local) if rules.is_never_refused(local) => Ok(Reason::Exempt),
        // The MTA completes it with a domain that nobody told us: nothing can be said against it.
        Recipient::Bare(_) => Ok(Reason::NoDirectory),
        Recipient::Invalid { domain, fact } => {
            if domain.is_none() {
                // Whose it is could not be found out.
                return Ok(Reason::NoDirectory);
            }
            match fact.ok_or(Question::Domain(0))? {
                DomainFact::Foreign => return Ok(Reason::NotLocal),
                DomainFact::Local { configured: false, .. } => return Ok(Reason::NoDirectory),
                DomainFact::Local { configured: true, .. } => {}
            }
            Ok(defence(rules, facts, false)?
                .filter(|&reason| !rules.only_watches(reason))
                .unwrap_or(Reason::BadAddress))
        }
        Recipient::Levels(levels) => {
            let Some(first) = levels.first() else { return Ok(Reason::Ok) };
            // Row 5 for a local part alone, whatever domain the MTA adds to it, and at an address literal.
            let no_name = facts.bare || first.address.domain().literal().is_some();
            if no_name && rules.is_never_refused(first.address.local()) {
                return Ok(Reason::Exempt);
            }
            // Row 4. The domain that the MTA adds is its own; a route within the local part may lead to one of ours.
            let mut at = 0;
            let mut fact = first.domain.ok_or(Question::Domain(0))?;
            if facts.bare
                && fact == DomainFact::Foreign
                && let Some(inner) = levels.get(1)
            {
                at = 1;
                fact = inner.domain.ok_or(Question::Domain(1))?;
            }
            let Some(level) = levels.get(at).filter(|_| fact != DomainFact::Foreign) else {
                return Ok(Reason::NotLocal);
            };
            // Row 5.
            let local = level.address.local();
            if rules.is_never_refused(local) {
                return Ok(Reason::Exempt);
            }
            let free = rules.is_exempt(local);
            // What is only watched must not let in whom a later row refuses.
            let watched = match defence(rules, facts, free)? {
                Some(reason) if !rules.only_watches(reason) => return Ok(reason),
                watched => watched,
            };
            let reason = recipient(rules, facts, levels, at)?;
            let takes = matches!(reason, Reason::Ok | Reason::NoDirectory);
            // Row 16: only for recipients that exist.
            if takes
                && rules.defences.greylist
                && !facts.insider()
                && !free
                && !facts.greylisted.ok_or(Question::Greylist)?.is_zero()
            {
                return Ok(Reason::Greylisted);
            }
            Ok(watched.filter(|_| takes).unwrap_or(reason))
        }
    }
}

/// Rows 6 to 8: what is held against the client, not against the recipient. The first reason that refuses; else the
/// first that is only watched.
fn defence(rules: &Rules, facts: &Facts, free: bool) -> Result<Option<Reason>, Question> {
    if facts.authenticated || is_trusted(rules, facts)? || free {
        return Ok(None);
    }
    let mut watched = None;
    let mut refuses = |reason| {
        let refuses = !rules.only_watches(reason);
        if !refuses {
            watched.get_or_insert(reason);
        }
        refuses
    };
    if facts.blocked == Some(true) && refuses(Reason::Harvest) {
        return Ok(Some(Reason::Harvest));
    }
    if rules.defences.dynamic
        && !facts.may_be_insider()
        && facts.class.ok_or(Question::Class)? == ClientClass::Dynamic
        && refuses(Reason::DynamicClient)
    {
        return Ok(Some(Reason::DynamicClient));
    }
    let is_many = facts.null_sender && facts.accepted.is_some_and(|accepted| accepted > 0);
    if is_many && refuses(Reason::BounceMany) {
        return Ok(Some(Reason::BounceMany));
    }
    Ok(watched)
}

/// Whether the client is trusted, for ever or for a time. Who is trusted for ever is never asked about.
fn is_trusted(rules: &Rules, facts: &Facts) -> Result<bool, Question> {
    if rules.defences.standing && !facts.trusted && facts.blocked.is_none() {
        return Err(Question::Standing);
    }
    Ok(facts.trusted)
}

/// Rows 10 to 15 and 18 for one level of the recipient; `levels[at]` is known to be local.
fn recipient(rules: &Rules, facts: &Facts, levels: &[Level], at: usize) -> Outcome {
    let Some(level) = levels.get(at) else { return Ok(Reason::Ok) };
    let in_charge = matches!(level.domain, Some(DomainFact::Local { in_charge: true, .. }));
    let configured = matches!(level.domain, Some(DomainFact::Local { configured: true, .. }));
    // Row 10. A directory that knows the literal local part wins: real addresses may contain `%` or `!`.
    if let Some(inner) = levels.get(at + 1)
        && in_charge
        && !knows_itself(level.found.ok_or(Question::Recipient(at))?)
    {
        let inner_fact = inner.domain.ok_or(Question::Domain(at + 1))?;
        let unknown = matches!(
            level.found,
            Some(RecipientFact::Unknown(_) | RecipientFact::Exists(Attributes { unsure: true, .. }))
        );
        if inner_fact != DomainFact::Foreign {
            // The literal may be suspended even so.
            let suspended = level.suspended.ok_or(Question::Suspended(at))?;
            if suspended == SuspensionFact::Yes {
                return Ok(Reason::SuspendedRecipient);
            }
            if !unknown {
                let reason = recipient(rules, facts, levels, at + 1)?;
                // What the catch-all of the literal's domain takes is never unknown.
                let caught = matches!(level.found, Some(RecipientFact::Exists(_)));
                let reason = if caught && reason == Reason::UnknownRecipient { Reason::Ok } else { reason };
                return Ok(unless_suspended(reason, suspended));
            }
        } else if !unknown {
            if configured && !facts.insider() {
                return Ok(Reason::RelaySyntax);
            }
            // The MTA relays for insiders: it makes `user@foreign` of `user%foreign@local` (Postfix allow_percent_hack,
            // Sendmail), and no directory of ours knows whether that exists. In a domain that was only detected it also
            // refuses the others by itself, and alone knows who is an insider.
            if !configured || level.found == Some(RecipientFact::Absent) {
                let suspended = level.suspended.ok_or(Question::Suspended(at))?;
                return Ok(unless_suspended(Reason::NotLocal, suspended));
            }
        }
    }
    // Row 11.
    if rules.defences.traps
        && !facts.insider()
        && !facts.may_be_insider()
        && level.trap.ok_or(Question::Trap(at))?
    {
        // What else nobody's addresses here are told, and how long that takes.
        level.suspended.ok_or(Question::Suspended(at))?;
        return Ok(Reason::SpamTrap);
    }
    // Row 12, from suspensions.
    let suspended = level.suspended.ok_or(Question::Suspended(at))?;
    if suspended == SuspensionFact::Yes {
        return Ok(Reason::SuspendedRecipient);
    }
    if !in_charge {
        return Ok(unless_suspended(Reason::NoDirectory, suspended));
    }
    let reason = match level.found.ok_or(Question::Recipient(at))? {
        // Row 12 once more, from a directory.
        found if is_suspended(found) => Reason::SuspendedRecipient,
        // Row 13.
        RecipientFact::Exists(Attributes { restricted: true, unsure, .. }) if !facts.insider() => {
            if unsure {
                Reason::DirectoryUnavailable
            } else {
                Reason::RestrictedRecipient
            }
        }
        RecipientFact::Exists(_) => Reason::Ok,
        // Row 14.
        RecipientFact::Absent => Reason::UnknownRecipient,
        // Row 15.
        RecipientFact::Unknown(_) => Reason::DirectoryUnavailable,
    };
    Ok(unless_suspended(reason, suspended))
}

/// Row 12 for a recipient against whom nothing else speaks. Where it can't be found out, later rows may refuse for good.
fn unless_suspended(reason: Reason, suspended: SuspensionFact) -> Reason {
    let may_pass =
        matches!(reason, Reason::Ok | Reason::NoDirectory | Reason::NotLocal | Reason::DirectoryUnavailable);
    if may_pass && suspended != SuspensionFact::No { Reason::SuspendedRecipient } else { reason }
}

/// Whether a directory says that the recipient is suspended: never through a catch-all.
fn is_suspended(found: RecipientFact) -> bool {
    matches!(found, RecipientFact::Exists(Attributes { suspended: true, catch_all: false, .. }))
}

/// Whether a directory knows the local part as it is written, and not only through a catch-all.
fn knows_itself(found: RecipientFact) -> bool {
    matches!(found, RecipientFact::Exists(attributes) if !attributes.catch_all)
}

fn end_of_message(rules: &Rules, facts: &Facts) -> Outcome {
    if facts.insider() {
        return Ok(Reason::Ok);
    }
    if facts.trapped {
        return Ok(Reason::SpamTrap);
    }
    if rules.defences.unsolicited && facts.null_sender && !facts.solicited.ok_or(Question::Solicited)? {
        return Ok(Reason::UnsolicitedBounce);
    }
    Ok(Reason::Ok)
}

fn decide<'r>(rules: &'r Rules, facts: &Facts, reason: Reason) -> Decision<'r> {
    let reply = match reason {
        // Byte for byte as an unknown recipient: the harvester must not learn which is which.
        Reason::SpamTrap if facts.stage == Stage::Rcpt => rules.replies.of(unknown(facts)),
        Reason::DirectoryUnavailable if !defers(facts) => None,
        Reason::SuspendedRecipient if is_doubtful(facts) => {
            (!facts.trusted).then(|| rules.replies.of_doubtful(reason)).flatten()
        }
        // Insiders are not refused for these.
        Reason::RelaySyntax | Reason::RestrictedRecipient if facts.may_be_insider() => {
            rules.replies.of_doubtful(reason)
        }
        reason => rules.replies.of(reason),
    };
    let monitored = rules.monitor
        || rules.monitor_reasons.contains(&reason)
        || facts.watched
        || facts.recipient.domain().is_some_and(|domain| rules.is_watched(domain));
    Decision { reason, reply, enforced: !monitored }
}

/// What an unknown recipient is refused for, where a trap is: row 12, if all of the domain is suspended, or row 14.
fn unknown(facts: &Facts) -> Reason {
    let Recipient::Levels(levels) = &facts.recipient else { return Reason::UnknownRecipient };
    let is_suspended =
        |level: &Level| level.trap == Some(true) && level.suspended == Some(SuspensionFact::Yes);
    if levels.iter().any(is_suspended) { Reason::SuspendedRecipient } else { Reason::UnknownRecipient }
}

/// Row 15: the admin's choice for the directory that can't answer, but a trusted client is never held up.
fn defers(facts: &Facts) -> bool {
    let Recipient::Levels(levels) = &facts.recipient else { return false };
    let chosen = levels.iter().filter_map(|level| match level.found {
        Some(RecipientFact::Unknown(unavailable)) => Some(unavailable),
        Some(RecipientFact::Exists(Attributes { restricted: true, unsure: true, .. })) => {
            Some(Unavailable::Defer)
        }
        _ => None,
    });
    !facts.trusted && chosen.max() == Some(Unavailable::Defer)
}

/// Row 12, where it could not be found out whether the suspension still is. As in row 15, a trusted client is not held up.
fn is_doubtful(facts: &Facts) -> bool {
    let Recipient::Levels(levels) = &facts.recipient else { return false };
    let is_known = levels
        .iter()
        .any(|level| level.suspended == Some(SuspensionFact::Yes) || level.found.is_some_and(is_suspended));
    !is_known && levels.iter().any(|level| level.suspended == Some(SuspensionFact::Unknown))
}
