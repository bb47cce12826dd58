//! Commands that need nothing but a snapshot: they give the same answer in the server and without it.

use std::{
    net::IpAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    address::{Domain, ReversePath, parse_mail},
    client::Hint,
    policy::{Decision, Facts, Question, Reason, Stage, Trace, TraceStep},
    server::{Asked, Envelope, Snapshot, client_step, decide, recipient},
};

use super::message::{Check, Checked};

/// Decides about an imagined recipient by the engine that decides about real ones.
pub async fn check(snapshot: &Snapshot, check: &Check, disabled: bool) -> Checked {
    let client = check.client.map(|ip: IpAddr| ip.to_canonical());
    let mut facts = Facts {
        stage: Stage::Connect,
        disabled,
        trusted: snapshot.clients.is_trusted(client),
        denied: snapshot.clients.is_denied(client),
        authenticated: check.auth.is_some(),
        null_sender: check.from.as_ref().is_some_and(|from| parse_mail(from.as_bytes()) == ReversePath::Null),
        ..Facts::default()
    };
    let mut trace = Trace::default();
    trace.0.extend(as_told(snapshot, check, &facts));
    let envelope = Envelope {
        client,
        hint: Hint { name: check.name.as_deref(), helo: check.helo.as_deref() },
        sender: check.from.as_deref().unwrap_or_default().as_bytes(),
        began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        recipients: &[],
        is_rehearsal: true,
    };
    if !snapshot.rules.defences.dynamic && !facts.trusted && !disabled {
        // Nothing depends on it, but it is counted.
        trace.0.extend(class_step(snapshot, envelope).await);
    }
    let mut asked = Asked::explained();
    let connect = decide(snapshot, envelope, &mut facts, Some(&mut asked)).await;
    trace.0.extend(asked.steps(&facts));
    if connect.reply.is_some() {
        return checked(check, connect, &facts, trace);
    }
    facts.stage = Stage::Rcpt;
    // No MTA says which domain it would add to a bare local part.
    (facts.recipient, facts.bare) = recipient(check.address.as_bytes(), || None::<Domain>);
    if facts.recipient.domain().is_none() && !disabled {
        trace.0.push(TraceStep {
            question: "domain".to_owned(),
            about: check.address.clone(),
            answer: "none was given, so it can't be found out; the MTA adds one of its own".to_owned(),
            evidence: vec!["ask again with it, as in user@example.com".to_owned()],
            micros: 0,
        });
    }
    let mut asked = Asked::explained();
    let decision = decide(snapshot, envelope, &mut facts, Some(&mut asked)).await;
    trace.0.extend(asked.steps(&facts));
    if let (None, true, Some(recipient)) = (decision.reply, facts.null_sender, facts.recipient.outermost())
        && decision.reason == Reason::Ok
        && !snapshot.rules.is_exempt(recipient.local())
    {
        // A bounce may be refused at its end.
        let recipients = [recipient.clone()];
        facts.stage = Stage::EndOfMessage;
        let envelope = Envelope { recipients: &recipients, ..envelope };
        let mut asked = Asked::explained();
        let end = decide(snapshot, envelope, &mut facts, Some(&mut asked)).await;
        trace.0.extend(asked.steps(&facts));
        if end.reply.is_some() {
            return checked(check, end, &facts, trace);
        }
    }
    let mut answer = checked(check, decision, &facts, trace);
    if facts.greylisted.is_some() && (check.client.is_none() || check.from.is_none()) {
        let note = "who has to come again depends on client and sender: ask with --client and --from";
        answer.notes.push(note.to_owned());
    }
    answer
}

/// What was asked about the client, and what that makes it. Nothing was: nobody in particular.
fn as_told(snapshot: &Snapshot, check: &Check, facts: &Facts) -> Option<TraceStep> {
    let mut evidence = check.client.map_or_else(Vec::new, |client| snapshot.clients.explain(client));
    let mut tell = |what: &str, value: &Option<String>| {
        evidence.extend(value.as_ref().map(|value| format!("{what} {value}")));
    };
    tell("name", &check.name);
    tell("HELO", &check.helo);
    tell("MAIL FROM", &check.from);
    tell("authenticated as", &check.auth);
    if check.client.is_none() && evidence.is_empty() {
        return None;
    }
    Some(client_step(check.client, facts, evidence))
}

/// What the client looks like, where nobody asks.
async fn class_step(snapshot: &Snapshot, envelope: Envelope<'_>) -> Option<TraceStep> {
    let client = envelope.client?;
    let begun = Instant::now();
    let found = snapshot.clients.classifier().classify(client, envelope.hint).await;
    Some(TraceStep {
        question: Question::Class.to_string(),
        about: String::new(),
        answer: format!("{}; nobody is refused for that (client.dynamic.enforce)", found.class.as_str()),
        evidence: found.evidence,
        micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}

fn checked(check: &Check, decision: Decision<'_>, facts: &Facts, steps: Trace) -> Checked {
    let notes = facts.disabled.then(|| DISABLED.to_owned());
    Checked {
        address: check.address.clone(),
        verdict: decision.verdict().as_str().to_owned(),
        reason: decision.reason.as_str().to_owned(),
        reply: decision.said(facts).map(|reply| reply.to_string()),
        enforced: decision.enforced,
        steps,
        notes: notes.into_iter().collect(),
    }
}

const DISABLED: &str = "disabled: everything passes; --offline says what the configuration would make of it";
