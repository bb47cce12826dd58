//! Lines of Sendmail: `sendmail[PID]: QUEUE-ID: text`, and those of its other names.

use smallvec::SmallVec;

use super::{
    field::{address, client, value},
    log::{Finding, Heard},
    queue::{Fate, Queue},
};

/// What it says; `None`: it is not Sendmail. `program` is what stands before `[PID]:`.
pub(super) fn read<'l>(queue: &mut Queue, program: &str, text: &'l str) -> Option<Heard<'l>> {
    if !PROGRAMS.contains(&program) {
        return None;
    }
    let Some((id, text)) = text.split_once(": ").filter(|(id, _)| is_queue_id(id)) else {
        return Some(Heard::Understood);
    };
    if let Some(rest) = text.strip_prefix("from=") {
        let (sender, rest) = address(rest);
        began(queue, id, sender, rest);
    } else if text.starts_with("AUTH=server") {
        // Before the message: its line with `from=` follows.
        queue.begin(id).user = value(text, "authid").map(Into::into);
    } else if let Some(to) = text.strip_prefix("to=") {
        return Some(delivered(id, to).map_or(Heard::Understood, Heard::Found));
    } else if text.starts_with("done; ") {
        queue.end(id);
    } else if text.starts_with("Milter: to=") || text.starts_with("ruleset=check_rcpt") {
        let is_refused = text.contains(", reject=");
        return Some(if is_refused { Heard::Refused } else { Heard::Understood });
    }
    Some(Heard::Understood)
}

/// `from=<…>, size=…, class=…, nrcpts=…, msgid=…, proto=ESMTP, daemon=…, relay=NAME [ADDRESS] (may be forged)`. What was
/// handed over on this host has no `daemon`, or a relay without an address.
fn began(queue: &mut Queue, id: &str, sender: &str, rest: &str) {
    let user = queue.get(id).and_then(|origin| origin.user.take());
    let origin = queue.begin(id);
    origin.sender = Some(sender.into());
    origin.user = user;
    // The message id is the client's, and may look like any of these: the last one counts.
    let relay = rest.rsplit_once(", relay=").map(|(_, relay)| relay);
    if let Some((name, address)) = relay.and_then(client)
        && value(rest, "daemon").is_some()
    {
        origin.client = Some(address);
        origin.name = name.map(Into::into);
        origin.is_incoming = true;
    }
}

/// `to=<…>,<…>, ctladdr=<…> (…), delay=…, xdelay=…, mailer=…, pri=…, relay=…, dsn=…, stat=Sent (…)`. Whom an alias
/// names has the alias as `ctladdr`.
fn delivered<'l>(id: &'l str, text: &'l str) -> Option<Finding<'l>> {
    let mut recipients = SmallVec::new();
    let mut rest = text;
    loop {
        let (recipient, after) = address(rest);
        recipients.push(recipient);
        match after.strip_prefix(',') {
            Some(more) if !more.starts_with(' ') => rest = more,
            _ => {
                rest = after;
                break;
            }
        }
    }
    if let Some(alias) = value(rest, "ctladdr") {
        recipients = [address(alias).0].into_iter().collect();
    }
    let (before, status) = rest.split_once(", stat=")?;
    let class = value(before, "dsn").and_then(|dsn| dsn.split('.').next());
    let fate = if status.starts_with("Sent") {
        Fate::Delivered
    } else if class == Some("5") {
        Fate::Bounced
    } else {
        return None;
    };
    Some(Finding { id, recipients, fate })
}

/// The `-L` of its several lives; Debian calls the daemon `sm-mta`.
const PROGRAMS: [&str; 6] = ["sendmail", "sm-mta", "sm-msp-queue", "sm-que", "sendmail-in", "sendmail-out"];

/// E.g. `6AM8kkFk012345`: letters and digits.
fn is_queue_id(id: &str) -> bool {
    (8..=24).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Sendmail 8.17 writes them.
    #[test]
    fn lines() {
        let mut queue = Queue::default();
        let found = |recipients: &[&'static str], fate| {
            let recipients = recipients.iter().copied().collect();
            Some(Heard::Found(Finding { id: "6AM94CJK027786", recipients, fate }))
        };
        let quiet = Some(Heard::Understood);
        for (text, heard) in [
            ("NOQUEUE: connect from localhost [127.0.0.1]", &quiet),
            (
                "6AM94CJK027786: from=<a@b>, size=24, class=0, nrcpts=1, msgid=<x, relay=y [192.0.2.9]>, proto=ESMTP, daemon=MTA, relay=mail.example [192.0.2.1]",
                &quiet,
            ),
            (
                "6AM94CJK027786: to=<c@d>,<\"e, f\"@d>, delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=30024, relay=g [192.0.2.2], dsn=2.0.0, stat=Sent (Taken, dsn=5.0.0)",
                &found(&["c@d", "\"e, f\"@d"], Fate::Delivered),
            ),
            (
                "6AM94CJK027786: to=\"|/bin/x, y\", ctladdr=<list@d> (8/0), delay=00:00:00, mailer=prog, pri=1, dsn=2.0.0, stat=Sent",
                &found(&["list@d"], Fate::Delivered),
            ),
            (
                "6AM94CJK027786: to=<c@d>, delay=00:00:00, mailer=esmtp, pri=1, relay=g [192.0.2.2], dsn=5.1.1, reply=550 5.1.1 no, stat=User unknown",
                &found(&["c@d"], Fate::Bounced),
            ),
            (
                "6AM94CJK027786: to=<c@d>, delay=00:00:00, mailer=esmtp, pri=1, relay=g, dsn=4.0.0, stat=Deferred: Connection refused by g",
                &quiet,
            ),
            ("6AM94CJK027786: 6AM94CJL027786: DSN: User unknown", &quiet),
            ("6AM94CJK027786: Milter: to=<c@d>, reject=550 5.1.1 No such user here", &Some(Heard::Refused)),
            (
                "6AM94CJK027786: ruleset=check_rcpt, arg1=<c@d>, relay=x [192.0.2.1], reject=550 5.7.1 no",
                &Some(Heard::Refused),
            ),
        ] {
            assert_eq!(read(&mut queue, "sm-mta", text), *heard, "{text}");
        }
        assert_eq!(read(&mut queue, "cron", "6AM94CJK027786: to=<c@d>, dsn=2.0.0, stat=Sent"), None);
        let origin = queue.get("6AM94CJK027786").expect("it is under way");
        assert_eq!((origin.client, origin.is_incoming), (Some([192, 0, 2, 1].into()), true));
        assert_eq!(origin.sender.as_deref(), Some("a@b"));
        read(&mut queue, "sm-mta", "6AM94CJK027786: done; delay=00:00:00, ntries=1");
        assert_eq!(queue.get("6AM94CJK027786"), None);
    }

    #[test]
    fn what_was_submitted_here_did_not_come_by_smtp() {
        let mut queue = Queue::default();
        for (from, expected) in [
            ("from=root, size=1, class=0, nrcpts=1, msgid=<x>, relay=root@localhost", false),
            ("from=<a@b>, size=1, msgid=<x>, proto=ESMTPA, daemon=MTA, relay=c [IPv6:2001:db8::1]", true),
        ] {
            read(
                &mut queue,
                "sendmail",
                "6AM94CJK027786: AUTH=server, relay=c, authid=joe, mech=PLAIN, bits=0",
            );
            read(&mut queue, "sendmail", &format!("6AM94CJK027786: {from}"));
            let origin = queue.get("6AM94CJK027786").expect("it is under way");
            assert_eq!((origin.is_incoming, origin.user.as_deref()), (expected, Some("joe")), "{from}");
        }
    }
}
