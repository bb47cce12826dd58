//! What replies say of a server. Pure.
//!
//! A refusal counts only where it is a refusal of *that*: whoever refuses everybody, or puts off, is not thereby safe. Nor is
//! an accepted command yet a relay: a message that came through, or a bounce, is proof.

use std::time::Duration;

use super::{
    forms::Via,
    report::{Fate, Verdict},
};
use crate::net::smtp_reply::{Reply, Said, Status};

/// How far one recipient got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer to RCPT; where it is a yes, no message followed.
    Answered(Reply),
    /// RCPT was accepted, the message was not.
    Later(Reply),
    /// The message was accepted: the reply to it.
    Sent(Reply, Fate),
    /// MAIL was refused.
    NoSender(Reply),
    /// The recipient before this one was refused.
    NotBefore(Reply),
    /// The connection ended.
    Lost(String),
}

/// A verdict, and why where that is not plain.
pub(super) type Judged = (Verdict, Option<&'static str>);

/// What a recipient that nobody knows got, for its kind of address: whether taking an address of that kind says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Taken,
    Refused,
    Unsure,
}

impl Outcome {
    /// The recipient was accepted.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Self::Answered(reply) => is_yes(reply),
            Self::Later(_) | Self::Sent(..) => true,
            Self::NoSender(_) | Self::NotBefore(_) | Self::Lost(_) => false,
        }
    }

    /// What decided.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Answered(reply)
            | Self::Later(reply)
            | Self::Sent(reply, _)
            | Self::NoSender(reply)
            | Self::NotBefore(reply) => Some(reply),
            Self::Lost(_) => None,
        }
    }
}

impl From<&Outcome> for Control {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered(reply) if is_no(reply) => Self::Refused,
            outcome if outcome.is_taken() => Self::Taken,
            _ => Self::Unsure,
        }
    }
}

/// Of an invented recipient. `known_is_taken`: somebody who exists, with the same sender, was accepted.
pub(super) fn reverse_ndr(invented: &Outcome, known_is_taken: bool) -> Judged {
    match invented {
        Outcome::Sent(_, Fate::Bounced) => (Verdict::Vulnerable, Some("accepted, and bounced to the sender")),
        Outcome::Sent(_, Fate::Delivered) => (Verdict::Vulnerable, Some("accepted, and sent elsewhere")),
        Outcome::Sent(_, Fate::Vanished) => {
            (Verdict::Unsure, Some("accepted, but no bounce came: kept, thrown away, or late"))
        }
        Outcome::Later(reply) if is_no(reply) && is_unknown(reply) => {
            (Verdict::Safe, Some("accepted at first, the message refused"))
        }
        Outcome::Later(reply) if is_no(reply) => (Verdict::Unsure, Some(CONTENT)),
        Outcome::Answered(reply) if is_yes(reply) => {
            (Verdict::Vulnerable, Some("accepted: it has to bounce, unless somebody gets all mail"))
        }
        Outcome::Answered(reply) if is_no(reply) => {
            if known_is_taken || is_unknown(reply) {
                (Verdict::Safe, None)
            } else {
                (Verdict::Unsure, Some("the known recipient was not accepted either"))
            }
        }
        other => (Verdict::Unsure, why_not(other)),
    }
}

/// Of one form. `plain`: its sender is no part of the trick. `control`: what a recipient that nobody knows got at the place
/// that is named. `known`: what somebody who exists got.
pub(super) fn relay(
    outcome: &Outcome,
    plain: bool,
    via: Via,
    control: Control,
    known: Option<&Outcome>,
) -> Judged {
    match outcome {
        Outcome::Answered(reply) | Outcome::NoSender(reply)
            if is_no(reply) && known.is_some_and(refuses_all) =>
        {
            (Verdict::Unsure, Some("the known recipient was refused, too: it takes no mail from here"))
        }
        Outcome::Sent(_, Fate::Delivered) => (Verdict::Vulnerable, Some("accepted, and delivered")),
        Outcome::Sent(_, Fate::Bounced) => {
            (Verdict::Vulnerable, Some("accepted, not relayed, but bounced to the sender"))
        }
        Outcome::Sent(_, Fate::Vanished) => {
            (Verdict::Unsure, Some("accepted, but nothing was delivered: thrown away, or late"))
        }
        Outcome::Later(reply) if is_no(reply) => (Verdict::Unsure, Some(CONTENT)),
        Outcome::Answered(reply) if is_yes(reply) => match (via, control) {
            (Via::Foreign, _) => (Verdict::Vulnerable, Some("accepted; with --sink: whether it delivers")),
            (_, Control::Refused) => (Verdict::Vulnerable, Some("accepted, where others are refused")),
            _ => (Verdict::Unsure, Some("accepted, but so is anybody there; --sink finds it out")),
        },
        Outcome::Answered(reply) if is_no(reply) => (Verdict::Safe, None),
        // Postfix' defer_unauth_destination, which is its default.
        Outcome::Answered(reply) if reply.code == 454 && reply.status == NOT_AUTHORIZED => {
            (Verdict::Safe, None)
        }
        // The sender alone was enough.
        Outcome::NoSender(reply) if is_no(reply) && !plain => (Verdict::Safe, Some("the sender was refused")),
        other => (Verdict::Unsure, why_not(other)),
    }
}

/// What came of guessing.
#[derive(Debug, Clone, Default)]
pub(super) struct Guesses {
    /// To the known recipient, before; `None`: it did not come to that.
    pub(super) known: Option<Reply>,
    /// It is one that servers answer for whatever happens: postmaster.
    pub(super) known_is_special: bool,
    /// To the guesses, and how long they took.
    pub(super) answers: Vec<(Reply, Duration)>,
    /// So many connections were ended by the server.
    pub(super) ended: u32,
    /// It does not even talk to us any longer: what it said.
    pub(super) shut_out: Option<String>,
    /// The first guess on a connection after one was ended.
    pub(super) anew: Option<Reply>,
    /// To the known recipient, after.
    pub(super) known_after: Option<Reply>,
}

/// Of guesses: the verdict, and in words.
pub(super) fn harvest(guesses: &Guesses) -> (Verdict, String) {
    let count = guesses.answers.len();
    let Some(known) = &guesses.known else {
        return (Verdict::Unsure, "there was no answer for the known recipient".to_owned());
    };
    if !is_yes(known) {
        let text = format!("the known recipient is not accepted, so nothing can be told apart: {known}");
        return (Verdict::Unsure, text);
    }
    let Some((first, _)) = guesses.answers.first() else {
        return match &guesses.shut_out {
            Some(said) => (Verdict::Safe, format!("ends the connection at the first guess: {said}")),
            None => (Verdict::Unsure, "there was no answer for a guess".to_owned()),
        };
    };
    if is_yes(first) {
        return (
            Verdict::Safe,
            "everybody is accepted, so a guess tells nothing (but see reverse-ndr)".to_owned(),
        );
    }
    if let Some(said) = &guesses.shut_out {
        return (Verdict::Safe, format!("stops after {count} guesses: {said}"));
    }
    if let Some(reply) = guesses.known_after.as_ref().filter(|reply| !is_yes(reply)) {
        return (
            Verdict::Safe,
            format!("after {count} guesses, known and unknown are answered alike: {reply}"),
        );
    }
    let put_off = |reply: &&Reply| (400..500).contains(&reply.code) && reply.code != first.code;
    if let Some(reply) = guesses.anew.as_ref().filter(put_off).filter(|_| guesses.known_is_special) {
        return (Verdict::Safe, format!("stops after {count} guesses, on a new connection, too: {reply}"));
    }
    let (before, after) = delays(&guesses.answers);
    if after >= before + SLOWED {
        return (Verdict::Safe, format!("slows down: from {before:.0?} to {after:.0?} an answer"));
    }
    let ended = match guesses.ended {
        0 => "without slowing down or stopping",
        _ => "and what ends the connection does not end the guessing",
    };
    (Verdict::Vulnerable, format!("tells {count} guesses from somebody who exists, {ended}"))
}

/// Of what was said behind STARTTLS, in clear: `first` is the first reply after the handshake, to QUIT.
pub(super) fn start_tls(first: &Reply) -> (Verdict, &'static str) {
    match first.code {
        221 => (Verdict::Safe, "what is said before TLS does not count after it"),
        250 => (Verdict::Vulnerable, "a command that was said before TLS is obeyed after it (CVE-2011-0411)"),
        _ => (Verdict::Unsure, "an answer that says nothing"),
    }
}

pub(super) fn is_yes(reply: &Reply) -> bool {
    (200..300).contains(&reply.code)
}

pub(super) fn is_no(reply: &Reply) -> bool {
    (500..600).contains(&reply.code)
}

/// RFC 3463 §3.2: bad mailbox, moved, and what Exchange says of the unknown.
fn is_unknown(reply: &Reply) -> bool {
    matches!(reply.status, Said::Status(Status { class: 5, subject: 1, detail: 1 | 6 | 10 }))
}

/// Who exists is refused, and not for being unknown: so is everybody, or whoever comes from where we are.
fn refuses_all(known: &Outcome) -> bool {
    match known {
        Outcome::Answered(reply) => is_no(reply) && !is_unknown(reply),
        Outcome::NoSender(reply) => is_no(reply),
        _ => false,
    }
}

fn why_not(outcome: &Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::Answered(_) => "put off: try again later (a greylist?)",
        Outcome::Later(_) | Outcome::Sent(..) => "accepted, the message put off",
        Outcome::NoSender(_) => "the sender was refused",
        Outcome::NotBefore(_) => "the recipient before it was refused",
        Outcome::Lost(_) => "the connection ended",
    })
}

/// The median of the first and of the last few answers; those that came late in a connection may be slow, too.
fn delays(answers: &[(Reply, Duration)]) -> (Duration, Duration) {
    let few = (answers.len() / 3).clamp(1, 5);
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let first = median(answers.iter().take(few).map(|(_, time)| *time).collect());
    // The slowest run of so many answers: a new connection begins fast again.
    let runs = answers.windows(few).map(|run| median(run.iter().map(|(_, time)| *time).collect()));
    (first, runs.max().unwrap_or_default())
}

const CONTENT: &str = "the recipient was accepted, the message refused: perhaps only for what is in it";
const NOT_AUTHORIZED: Said = Said::Status(Status { class: 4, subject: 7, detail: 1 });
/// An answer that is so much slower was slowed down.
const SLOWED: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::smtp_reply::Reader;
    use Verdict::{Safe, Unsure, Vulnerable};

    fn reply(text: &str) -> Reply {
        let mut reader = Reader::default();
        reader.push(text.as_bytes());
        reader.push(b"\r\n");
        reader.take().unwrap().unwrap()
    }

    fn answered(text: &str) -> Outcome {
        Outcome::Answered(reply(text))
    }

    fn sent(fate: Fate) -> Outcome {
        Outcome::Sent(reply("250 2.0.0 Ok: queued"), fate)
    }

    /// What Postfix, Sendmail and Backstop say.
    #[test]
    fn invented_recipients() {
        for (outcome, with_known, without) in [
            (answered("250 2.1.5 Ok"), Vulnerable, Vulnerable),
            (answered("252 2.1.5 will try"), Vulnerable, Vulnerable),
            (answered("550 5.1.1 No such user here [unknown-recipient]"), Safe, Safe),
            (answered("550 5.7.1 go away"), Safe, Unsure),
            (answered("554 5.7.1 Service unavailable; Client host blocked"), Safe, Unsure),
            (answered("450 4.2.0 Greylisted"), Unsure, Unsure),
            (answered("451 4.4.3 later"), Unsure, Unsure),
            (Outcome::Later(reply("550 5.1.1 unknown")), Safe, Safe),
            // A filter that takes the test itself for spam takes other mail.
            (Outcome::Later(reply("550 5.7.1 no")), Unsure, Unsure),
            (Outcome::Later(reply("554 looks like spam")), Unsure, Unsure),
            (Outcome::Later(reply("451 4.7.1 later")), Unsure, Unsure),
            (sent(Fate::Bounced), Vulnerable, Vulnerable),
            (sent(Fate::Vanished), Unsure, Unsure),
            (Outcome::NoSender(reply("550 5.1.8 no such sender")), Unsure, Unsure),
            (Outcome::Lost("closed".into()), Unsure, Unsure),
        ] {
            assert_eq!(reverse_ndr(&outcome, true).0, with_known, "{outcome:?}");
            assert_eq!(reverse_ndr(&outcome, false).0, without, "{outcome:?}");
        }
    }

    #[test]
    fn forms_of_relaying() {
        for (outcome, via, control, verdict) in [
            (answered("554 5.7.1 <a@x>: Relay access denied"), Via::Foreign, Control::Unsure, Safe),
            (answered("454 4.7.1 <a@x>: Relay access denied"), Via::Foreign, Control::Unsure, Safe),
            (answered("450 4.7.1 Greylisted"), Via::Foreign, Control::Unsure, Unsure),
            (answered("550 5.7.1 <a@x>... Relaying denied"), Via::Domain, Control::Taken, Safe),
            (answered("250 2.1.5 Ok"), Via::Foreign, Control::Unsure, Vulnerable),
            (answered("250 2.1.5 Ok"), Via::Domain, Control::Taken, Unsure),
            (answered("250 2.1.5 Ok"), Via::Domain, Control::Refused, Vulnerable),
            (answered("250 2.1.5 Ok"), Via::Nobody, Control::Unsure, Unsure),
            (sent(Fate::Delivered), Via::Domain, Control::Taken, Vulnerable),
            (sent(Fate::Bounced), Via::Domain, Control::Taken, Vulnerable),
            (sent(Fate::Vanished), Via::Foreign, Control::Taken, Unsure),
            (Outcome::Later(reply("554 5.7.1 no")), Via::Foreign, Control::Taken, Unsure),
            (Outcome::NoSender(reply("553 5.1.8 no")), Via::Foreign, Control::Taken, Safe),
            (Outcome::NoSender(reply("450 4.1.8 no")), Via::Foreign, Control::Taken, Unsure),
            (Outcome::NotBefore(reply("550 5.1.1 no")), Via::Foreign, Control::Taken, Unsure),
            (Outcome::Lost("closed".into()), Via::Foreign, Control::Taken, Unsure),
        ] {
            let refused_sender = matches!(outcome, Outcome::NoSender(_));
            assert_eq!(
                relay(&outcome, false, via, control, None).0,
                verdict,
                "{outcome:?} {via:?} {control:?}"
            );
            let plain = if refused_sender { Unsure } else { verdict };
            assert_eq!(relay(&outcome, true, via, control, None).0, plain, "{outcome:?} {via:?} {control:?}");
        }
    }

    /// From an address that is on a block list everything is refused; that says nothing of whom it relays for.
    #[test]
    fn who_refuses_everybody_is_not_safe_for_that() {
        let blocked = answered("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked");
        let denied = answered("554 5.7.1 <a@x>: Relay access denied");
        for (outcome, known, verdict) in [
            (&blocked, &blocked, Unsure),
            (&Outcome::NoSender(reply("550 5.7.1 no")), &Outcome::NoSender(reply("550 5.7.1 no")), Unsure),
            (&denied, &answered("250 2.1.5 Ok"), Safe),
            (&denied, &answered("550 5.1.1 no postmaster here"), Safe),
            (&denied, &answered("450 4.2.0 Greylisted"), Safe),
            (&answered("250 2.1.5 Ok"), &blocked, Vulnerable),
        ] {
            let judged = relay(outcome, false, Via::Foreign, Control::Unsure, Some(known));
            assert_eq!(judged.0, verdict, "{outcome:?} {known:?}");
        }
    }

    #[test]
    fn guessing() {
        let yes = || Some(reply("250 2.1.5 Ok"));
        let no = |millis| (reply("550 5.1.1 unknown"), Duration::from_millis(millis));
        let told = Guesses {
            known: yes(),
            answers: (0..30).map(|_| no(5)).collect(),
            known_after: yes(),
            ..Guesses::default()
        };
        assert_eq!(harvest(&told).0, Vulnerable);
        let off = Some(reply("421 4.7.0 Too many unknown recipients"));
        for (guesses, verdict) in [
            (Guesses { ended: 1, anew: Some(reply("550 5.1.1 unknown")), ..told.clone() }, Vulnerable),
            (Guesses { known_after: off.clone(), ..told.clone() }, Safe),
            (Guesses { shut_out: Some("421 go".into()), ..told.clone() }, Safe),
            (Guesses { anew: off.clone(), known_is_special: true, ended: 1, ..told.clone() }, Safe),
            // Others are still told from the unknown.
            (Guesses { anew: off, ended: 1, ..told.clone() }, Vulnerable),
            (
                Guesses {
                    answers: (0..30).map(|n| no(if n < 10 { 5 } else { 1005 })).collect(),
                    ..told.clone()
                },
                Safe,
            ),
            (
                Guesses {
                    answers: (0..30).map(|n| no(if (10..20).contains(&n) { 1005 } else { 5 })).collect(),
                    ..told.clone()
                },
                Safe,
            ),
            // One hiccup is nothing.
            (
                Guesses {
                    answers: (0..30).map(|n| no(if n == 12 { 3000 } else { 5 })).collect(),
                    ..told.clone()
                },
                Vulnerable,
            ),
            (Guesses { answers: vec![(reply("250 Ok"), Duration::ZERO)], ..told.clone() }, Safe),
            (Guesses { known: Some(reply("550 5.7.1 no")), ..told.clone() }, Unsure),
            (Guesses { known: Some(reply("450 4.7.1 later")), ..told.clone() }, Unsure),
            (Guesses { known: None, ..told.clone() }, Unsure),
            (Guesses { answers: Vec::new(), ..told.clone() }, Unsure),
        ] {
            let judged = harvest(&guesses);
            assert_eq!(judged.0, verdict, "{judged:?}: {guesses:?}");
        }
    }

    #[test]
    fn what_is_said_before_tls() {
        assert_eq!(start_tls(&reply("221 2.0.0 Bye")).0, Safe);
        assert_eq!(start_tls(&reply("250 2.0.0 Ok")).0, Vulnerable);
        assert_eq!(start_tls(&reply("502 5.5.2 what?")).0, Unsure);
    }
}
