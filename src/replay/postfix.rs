//! Lines of Postfix: `postfix/SERVICE[PID]: QUEUE-ID: text`.
//!
//! The name before the service (`syslog_name`) is the admin's, and may have slashes of its own.

use super::{
    field::{address, client, value},
    log::{Finding, Heard},
    queue::{Fate, Queue},
};

/// What a service says; `None`: it is none. `program` is what stands before `[PID]:`.
pub(super) fn read<'l>(queue: &mut Queue, program: &str, text: &'l str) -> Option<Heard<'l>> {
    let (before, service) = program.rsplit_once('/')?;
    if before.is_empty() {
        return None;
    }
    let Some((id, text)) = text.split_once(": ").filter(|(id, _)| is_queue_id(id)) else {
        return Some(Heard::Understood);
    };
    if text.starts_with("reject: RCPT") || text.starts_with("milter-reject: RCPT") {
        return Some(Heard::Refused);
    }
    match service {
        "smtpd" => began(queue, id, text),
        "qmgr" if text == "removed" => queue.end(id),
        "qmgr" => {
            if let (Some(sender), Some(origin)) = (text.strip_prefix("from="), queue.get(id)) {
                origin.sender = Some(address(sender).0.into());
            }
        }
        _ => {
            if let Some(finding) = text.strip_prefix("to=").and_then(|to| delivered(id, to)) {
                return Some(Heard::Found(finding));
            }
        }
    }
    Some(Heard::Understood)
}

/// smtpd(8): `client=NAME[ADDRESS], sasl_method=…, sasl_username=…, orig_queue_id=…, orig_client=…` (the last two where a
/// content filter hands on what it was told by XFORWARD). Other lines are of refusals behind the first recipient.
fn began(queue: &mut Queue, id: &str, text: &str) {
    let Some(by) = value(text, "client") else { return };
    let before = value(text, "orig_queue_id");
    let from = before.and(value(text, "orig_client")).unwrap_or(by);
    let Some((name, address)) = client(from) else { return };
    let earlier = before.and_then(|before| {
        let earlier = queue.get(before)?;
        earlier.is_passed_on = true;
        Some(earlier.user.clone())
    });
    let origin = queue.begin(id);
    origin.client = Some(address);
    origin.name = name.map(Into::into);
    origin.user = value(text, "sasl_username").map(Into::into).or(earlier.flatten());
    origin.is_incoming = true;
}

/// smtp(8), lmtp(8), local(8), virtual(8), pipe(8), error(8) and whatever is named so in master.cf:
/// `to=<…>, orig_to=<…>, relay=…, delay=…, delays=…, dsn=…, status=sent (…)`.
fn delivered<'l>(id: &'l str, to: &'l str) -> Option<Finding<'l>> {
    let (to, rest) = address(to);
    let (asked_for, rest) = match rest.strip_prefix(", orig_to=") {
        Some(rest) => address(rest),
        None => (to, rest),
    };
    // What the other server said comes last, in parentheses.
    let fate = match value(rest, "status")?.split(' ').next()? {
        "sent" => Fate::Delivered,
        "bounced" | "expired" => Fate::Bounced,
        // deferred, and the answers to address verification: deliverable, undeliverable
        _ => return None,
    };
    Some(Finding { id, recipients: [asked_for].into_iter().collect(), fate })
}

/// postconf(5), `enable_long_queue_ids`: letters and digits. `NOQUEUE` is none, and looks like one.
fn is_queue_id(id: &str) -> bool {
    (5..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::queue::Origin;

    /// As Postfix 3.7 writes them.
    #[test]
    fn lines() {
        let mut queue = Queue::default();
        let found = |recipient, fate| {
            Some(Heard::Found(Finding {
                id: "4bQ1xk0001z",
                recipients: [recipient].into_iter().collect(),
                fate,
            }))
        };
        let quiet = Some(Heard::Understood);
        for (program, text, heard) in [
            ("postfix/smtpd", "connect from mail.example[192.0.2.1]", &quiet),
            ("postfix/smtpd", "4bQ1xk0001z: client=mail.example[192.0.2.1]", &quiet),
            ("postfix/cleanup", "4bQ1xk0001z: message-id=<to=<x@y>, status=sent@z>", &quiet),
            ("postfix/qmgr", "4bQ1xk0001z: from=<a@b>, size=1, nrcpt=1 (queue active)", &quiet),
            (
                "postfix/smtp",
                "4bQ1xk0001z: to=<c@d>, relay=e[192.0.2.2]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
                &found("c@d", Fate::Delivered),
            ),
            (
                "postfix-out/relay/smtp",
                "4bQ1xk0001z: to=<c@d>, orig_to=<f@d>, relay=e[192.0.2.2]:25, delay=1, dsn=5.1.1, status=bounced (host e said: 550 no, status=sent (in reply to RCPT TO command))",
                &found("f@d", Fate::Bounced),
            ),
            (
                "postfix/local",
                "4bQ1xk0001z: to=<\"x>, relay=none, status=sent (\"@d>, relay=local, delay=1, dsn=5.1.1, status=bounced (unknown user: \"x\")",
                &found("\"x>, relay=none, status=sent (\"@d", Fate::Bounced),
            ),
            (
                "postfix/smtp",
                "4bQ1xk0001z: to=<c@d>, relay=none, delay=9, dsn=4.4.1, status=deferred (connect to e: timed out)",
                &quiet,
            ),
            (
                "postfix/smtp",
                "4bQ1xk0001z: to=<c@d>, relay=e[192.0.2.2]:25, delay=1, dsn=2.1.5, status=deliverable (250 ok)",
                &quiet,
            ),
            (
                "postfix/error",
                "4bQ1xk0001z: to=<c@d>, relay=none, delay=432001, dsn=4.4.1, status=expired (too old)",
                &found("c@d", Fate::Bounced),
            ),
            ("postfix/bounce", "4bQ1xk0001z: sender non-delivery notification: 4bQ1xk0002z", &quiet),
            (
                "postfix/smtpd",
                "NOQUEUE: reject: RCPT from mail.example[192.0.2.1]: 550 5.1.1 <c@d>: x; from=<> to=<c@d>",
                &Some(Heard::Refused),
            ),
            (
                "postfix/smtpd",
                "4bQ1xk0001z: milter-reject: RCPT from mail.example[192.0.2.1]: 550 5.1.1 x; from=<> to=<c@d>",
                &Some(Heard::Refused),
            ),
            ("postfix/smtpd", "NOQUEUE: reject: MAIL from mail.example[192.0.2.1]: 450 x", &quiet),
            ("postfix/qmgr", "4bQ1xk0001z: removed", &quiet),
            ("smtpd", "4bQ1xk0001z: client=mail.example[192.0.2.1]", &None),
            ("/smtpd", "4bQ1xk0001z: client=mail.example[192.0.2.1]", &None),
            ("sendmail", "x", &None),
        ] {
            assert_eq!(read(&mut queue, program, text), *heard, "{program}: {text}");
        }
        assert_eq!(queue.get("4bQ1xk0001z"), None, "removed");
    }

    #[test]
    fn where_a_message_comes_from() {
        let mut queue = Queue::default();
        let mut origin = |lines: &[(&str, &str)]| {
            for (program, text) in lines {
                read(&mut queue, program, text);
            }
            queue.get("AAAAA2").cloned().unwrap_or_default()
        };
        let incoming = Origin { client: Some([192, 0, 2, 1].into()), is_incoming: true, ..Origin::default() };
        assert_eq!(origin(&[("postfix/smtpd", "AAAAA2: client=unknown[192.0.2.1]")]), incoming);
        let lines = [
            (
                "postfix/submission/smtpd",
                "AAAAA2: client=a.b[192.0.2.1], sasl_method=PLAIN, sasl_username=joe",
            ),
            ("postfix/qmgr", "AAAAA2: from=<joe@d>, size=1, nrcpt=1 (queue active)"),
        ];
        let named = Origin { name: Some("a.b".into()), ..incoming.clone() };
        let (user, sender) = (Some("joe".into()), Some("joe@d".into()));
        assert_eq!(origin(&lines), Origin { user: user.clone(), sender, ..named.clone() });
        // through a content filter that tells who was there first
        let lines = [
            ("postfix/smtpd", "AAAAA1: client=a.b[192.0.2.1], sasl_method=PLAIN, sasl_username=joe"),
            (
                "postfix/smtpd",
                "AAAAA2: client=localhost[127.0.0.1], orig_queue_id=AAAAA1, orig_client=a.b[192.0.2.1]",
            ),
        ];
        assert_eq!(origin(&lines), Origin { user, ..named });
        assert!(queue.get("AAAAA1").is_some_and(|first| first.is_passed_on));
    }
}
