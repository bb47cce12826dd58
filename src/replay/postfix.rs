//! Lines of Postfix: `postfix/SERVICE[PID]: QUEUE-ID: text`.
//!
//! The name before the service (`syslog_name`) is the admin's, and may have slashes of its own.

use super::{
    field::{address, client, value},
    log::{Finding, Heard},
    queue::{Fate, Queue},
};

/// What a service says about a message. `program` is what stands before `[PID]:`.
pub(super) fn read<'l>(queue: &mut Queue, program: &str, text: &'l str) -> Option<Heard<'l>> {
    let (before, service) = program.rsplit_once('/')?;
    if before.is_empty() {
        return None;
    }
    if let Some(reject) = text.strip_prefix("NOQUEUE: ") {
        let is_refused = reject.starts_with("reject: RCPT") || reject.starts_with("milter-reject: RCPT");
        return is_refused.then_some(Heard::Refused);
    }
    let (id, text) = text.split_once(": ")?;
    if !is_queue_id(id) {
        return None;
    }
    match service {
        "smtpd" => began(queue, id, text),
        "qmgr" if text == "removed" => queue.end(id),
        "qmgr" => {
            let (sender, _) = address(text.strip_prefix("from=")?);
            if let Some(origin) = queue.get(id) {
                origin.sender = Some(sender.into());
            }
        }
        _ => return delivered(id, text),
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
fn delivered<'l>(id: &'l str, text: &'l str) -> Option<Heard<'l>> {
    let (to, rest) = address(text.strip_prefix("to=")?);
    let (asked_for, rest) = match rest.strip_prefix(", orig_to=") {
        Some(rest) => address(rest),
        None => (to, rest),
    };
    // What the other server said comes last, in parentheses.
    let fate = match value(rest, "status")?.split(' ').next()? {
        "sent" => Fate::Delivered,
        "bounced" | "expired" => Fate::Bounced,
        // deferred, and the answers to address verification: deliverable, undeliverable
        _ => return Some(Heard::Understood),
    };
    Some(Heard::Found(Finding { id, recipients: [asked_for].into_iter().collect(), fate }))
}

/// postconf(5), `enable_long_queue_ids`: letters and digits.
fn is_queue_id(id: &str) -> bool {
    (5..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
