//! Lines of Sendmail: `sendmail[PID]: QUEUE-ID: text`, and those of its other names.

use smallvec::SmallVec;

use super::{
    field::{address, client, value},
    log::{Finding, Heard},
    queue::{Fate, Queue},
};

/// What it says about a message. `program` is what stands before `[PID]:`.
pub(super) fn read<'l>(queue: &mut Queue, program: &str, text: &'l str) -> Option<Heard<'l>> {
    if !PROGRAMS.contains(&program) {
        return None;
    }
    let (id, text) = text.split_once(": ")?;
    if !is_queue_id(id) {
        return None;
    }
    if let Some(rest) = text.strip_prefix("from=") {
        let (sender, rest) = address(rest);
        began(queue, id, sender, rest);
    } else if text.starts_with("AUTH=server") {
        // Before the message: its line with `from=` follows.
        queue.begin(id).user = value(text, "authid").map(Into::into);
    } else if let Some(to) = text.strip_prefix("to=") {
        return delivered(id, to);
    } else if text.starts_with("done; ") {
        queue.end(id);
    } else if text.starts_with("Milter: to=") || text.starts_with("ruleset=check_rcpt") {
        return text.contains(", reject=").then_some(Heard::Refused);
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
fn delivered<'l>(id: &'l str, text: &'l str) -> Option<Heard<'l>> {
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
        return Some(Heard::Understood);
    };
    Some(Heard::Found(Finding { id, recipients, fate }))
}

/// The `-L` of its several lives; Debian calls the daemon `sm-mta`.
const PROGRAMS: [&str; 6] = ["sendmail", "sm-mta", "sm-msp-queue", "sm-que", "sendmail-in", "sendmail-out"];

/// E.g. `6AM8kkFk012345`: letters and digits.
fn is_queue_id(id: &str) -> bool {
    (8..=24).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
