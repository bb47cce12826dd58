//! Commands that need nothing but a snapshot: they give the same answer in the server and without it.

use std::net::IpAddr;

use crate::{
    address::{Domain, ReversePath, parse_mail},
    policy::{Decision, Facts, Stage},
    server::{Snapshot, Trace, TraceStep, decide, recipient},
};

use super::message::{Check, Checked};

/// Decides about an imagined recipient by the engine that decides about real ones.
pub async fn check(snapshot: &Snapshot, check: &Check) -> Checked {
    let client = check.client.map(|ip: IpAddr| ip.to_canonical());
    let mut facts = Facts {
        stage: Stage::Connect,
        trusted: snapshot.clients.is_trusted(client),
        denied: snapshot.clients.is_denied(client),
        authenticated: check.auth.is_some(),
        null_sender: check.from.as_ref().is_some_and(|from| parse_mail(from.as_bytes()) == ReversePath::Null),
        ..Facts::default()
    };
    let mut trace = Trace::default();
    let connect = decide(snapshot, &mut facts, Some(&mut trace)).await;
    if connect.reply.is_some() {
        return checked(check, connect, trace);
    }
    facts.stage = Stage::Rcpt;
    // No MTA says which domain it would add to a bare local part.
    (facts.recipient, facts.bare) = recipient(check.address.as_bytes(), || None::<Domain>);
    if facts.recipient.domain().is_none() {
        trace.0.push(TraceStep {
            question: "domain".to_owned(),
            about: check.address.clone(),
            answer: "none was given, so it can't be found out; the MTA adds one of its own".to_owned(),
            evidence: vec!["ask again with it, as in user@example.com".to_owned()],
            micros: 0,
        });
    }
    let decision = decide(snapshot, &mut facts, Some(&mut trace)).await;
    checked(check, decision, trace)
}

fn checked(check: &Check, decision: Decision<'_>, steps: Trace) -> Checked {
    Checked {
        address: check.address.clone(),
        verdict: decision.verdict().as_str().to_owned(),
        reason: decision.reason.as_str().to_owned(),
        reply: decision.reply.map(ToString::to_string),
        enforced: decision.enforced,
        steps,
    }
}
