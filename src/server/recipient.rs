//! From what the MTA passes to what the policy decides on.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use milter_protocol::{command::ClientAddress, macros::Macros};

use crate::{
    address::{Address, Delimiters, Domain, Path, ReversePath, candidates, parse_mail, parse_rcpt},
    policy::{Recipient, RecipientFact},
};

/// The recipient of a `RCPT` command, and whether it had no domain. `missing_domain` gives the one that the MTA adds.
pub fn recipient(argument: &[u8], missing_domain: impl FnOnce() -> Option<Domain>) -> (Recipient, bool) {
    match parse_rcpt(argument) {
        Ok(Path::Address(address)) => (Recipient::address(address), false),
        Ok(Path::Local(local)) => match missing_domain() {
            Some(domain) => (Recipient::address(local.complete(&domain)), true),
            None => (Recipient::Bare(local.as_str().to_owned()), true),
        },
        Err(error) => {
            // One that is there but can't be read is not missing: it may be anybody's.
            let domain =
                error.domain.or_else(|| if argument.contains(&b'@') { None } else { missing_domain() });
            (Recipient::Invalid { domain, fact: None }, false)
        }
    }
}

/// The domain that the MTA adds to a local part without one.
///
/// Postfix (which names itself in `v`) has added it already in `{rcpt_addr}`. Sendmail's `{rcpt_addr}` has none for
/// a local user; its own name is in `j`.
pub(super) fn added_domain(macros: &Macros) -> Option<Domain> {
    let postfix = macros.get("v").is_some_and(|version| version.starts_with(b"Postfix"));
    let domain = if postfix {
        let address = macros.get("rcpt_addr")?;
        let at = address.iter().rposition(|&byte| byte == b'@')?;
        address.get(at + 1..)?
    } else {
        macros.get("j")?
    };
    Domain::parse(domain).ok()
}

/// A sender without a domain, with the one that the MTA adds; `None` for all others. Postfix has added it in `{mail_addr}`,
/// Sendmail's own name is in `j`.
pub(super) fn completed_sender(argument: &[u8], macros: &Macros) -> Option<Address> {
    let Ok(Path::Local(local)) = parse_rcpt(argument) else { return None };
    if let Some(ReversePath::Address(completed)) = macros.get("mail_addr").map(parse_mail) {
        return Some(completed);
    }
    Domain::parse(macros.get("j")?).ok().map(|domain| local.complete(&domain))
}

/// Whether the MTA refused the recipient before it told us (`SMFIP_RCPT_REJ`).
///
/// `{rcpt_mailer}` alone is not enough: Postfix sends `error` with a text in `{rcpt_host}` for a *valid*
/// virtual alias. A refusal has nothing but an enhanced code there.
pub(super) fn refused_by_mta(macros: &Macros) -> bool {
    macros.get("rcpt_mailer") == Some(b"error") && macros.get("rcpt_host").is_some_and(is_enhanced_code)
}

/// Whether a directory knows the recipient himself: whom a catch-all takes, or nobody looked up, anybody can invent.
pub(super) fn is_found(recipient: &Recipient) -> bool {
    let Recipient::Levels(levels) = recipient else { return false };
    levels.iter().any(|level| matches!(level.found, Some(RecipientFact::Exists(found)) if !found.catch_all))
}

/// The recipient without sub-address and tags: of these there are as many as one likes.
pub(super) fn mailbox<'a>(recipient: &'a Address, delimiters: &Delimiters) -> Cow<'a, Address> {
    if !recipient.local().contains(|character| character == '=' || delimiters.contains(character)) {
        return Cow::Borrowed(recipient);
    }
    let forms = candidates(recipient, delimiters).map(|form| form.address.into_owned());
    forms
        .filter(|form| form.domain() == recipient.domain())
        .last()
        .map_or(Cow::Borrowed(recipient), Cow::Owned)
}

/// Whether the MTA refused the recipient because nobody has that address (RFC 3463 §3.2: X.1.1, X.1.6). Other refusals
/// say nothing of who exists: a greylist (4.x.x) or a policy (5.7.x) refuses good clients, too.
pub(super) fn unknown_to_mta(macros: &Macros) -> bool {
    refused_by_mta(macros) && matches!(macros.get("rcpt_host"), Some(b"5.1.1" | b"5.1.6"))
}

/// Whether the MTA put the recipient off (RFC 3463 §2: 4.X.X), which says nothing of whether he exists.
pub(super) fn put_off_by_mta(macros: &Macros) -> bool {
    refused_by_mta(macros) && macros.get("rcpt_host").is_some_and(|code| code.starts_with(b"4."))
}

/// `{auth_authen}` is the user's name, `{auth_type}` the mechanism; either is set only after AUTH succeeded.
pub(super) fn is_authenticated(macros: &Macros) -> bool {
    ["auth_authen", "auth_type"]
        .into_iter()
        .any(|name| macros.get(name).is_some_and(|value| !value.is_empty()))
}

/// The client's address as far as the MTA tells it: not for unix sockets, nor for what XCLIENT calls unknown.
pub(super) fn client_address(address: ClientAddress<'_>) -> Option<SocketAddr> {
    match address {
        ClientAddress::Inet(ip, port) => Some(SocketAddr::new(ip.into(), port)),
        ClientAddress::Inet6(ip, port) => Some(SocketAddr::new(IpAddr::from(ip).to_canonical(), port)),
        ClientAddress::Unix(_) | ClientAddress::Unknown => None,
    }
}

/// Postfix' `non_smtpd_milters`: mail that was not received over SMTP comes from a loopback address and port 0.
/// Nobody waits for an answer there, and a refusal would leave the mail in the queue.
pub(super) fn is_submission(client: Option<SocketAddr>) -> bool {
    client.is_some_and(|client| client.ip().is_loopback() && client.port() == 0)
}

fn is_enhanced_code(text: &[u8]) -> bool {
    let mut parts = text.split(|&byte| byte == b'.');
    let digits = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    digits(parts.next()) && digits(parts.next()) && digits(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use milter_protocol::macros::Stage;

    fn macros(lists: &[(Stage, &[u8])]) -> Macros {
        let mut macros = Macros::default();
        for (stage, list) in lists {
            macros.set(*stage, list).expect("short");
        }
        macros
    }

    /// Values as Postfix 3.7.11 and Sendmail 8.17.1 send them.
    #[test]
    fn who_refused() {
        for (list, refused) in [
            (&b"{rcpt_mailer}\0error\0{rcpt_host}\x005.7.1\0{rcpt_addr}\0Access denied\0"[..], true),
            (b"{rcpt_mailer}\0error\0{rcpt_host}\x005.1.1 User unknown in virtual alias table\0", false),
            (b"{rcpt_mailer}\0discard\0{rcpt_host}\x005.1.1\0", false),
            (b"{rcpt_mailer}\0error\0", false),
            (b"", false),
        ] {
            assert_eq!(refused_by_mta(&macros(&[(Stage::Rcpt, list)])), refused);
        }
    }

    #[test]
    fn a_missing_domain_is_the_mta_s() {
        let postfix = b"j\0mx.example.test\0v\0Postfix 3.7.11\0";
        let sendmail = b"j\0sm.example.test\0";
        let of = |connect: &[u8], rcpt: &[u8]| {
            added_domain(&macros(&[(Stage::Connect, connect), (Stage::Rcpt, rcpt)]))
        };
        let name = |domain: Option<Domain>| domain.map(|domain| domain.as_str().to_owned());
        assert_eq!(name(of(postfix, b"{rcpt_addr}\0joe@example.test\0")).as_deref(), Some("example.test"));
        assert_eq!(name(of(postfix, b"{rcpt_addr}\0joe\0")), None);
        assert_eq!(name(of(sendmail, b"{rcpt_addr}\0joe\0")).as_deref(), Some("sm.example.test"));
        assert_eq!(name(of(b"", b"")), None);
    }

    #[test]
    fn a_sender_s_missing_domain_is_the_mta_s() {
        let of = |argument: &[u8], mail: &[u8]| {
            let macros = macros(&[(Stage::Connect, b"j\0sm.example.test\0"), (Stage::Mail, mail)]);
            completed_sender(argument, &macros).map(|address| address.to_string())
        };
        let postfix = b"{mail_addr}\0anna@example.test\0";
        assert_eq!(of(b"<anna>", postfix).as_deref(), Some("anna@example.test"));
        assert_eq!(of(b"<anna>", b"{mail_addr}\0anna\0").as_deref(), Some("anna@sm.example.test"));
        assert_eq!(of(b"<anna>", b"").as_deref(), Some("anna@sm.example.test"));
        for whole in [&b"<>"[..], b"<anna@example.org>", b"<a b>"] {
            assert_eq!(of(whole, postfix), None);
        }
    }

    #[test]
    fn a_domain_that_cannot_be_read_is_not_missing() {
        let ours = || Domain::parse("sm.example.test").ok();
        for (argument, expected) in [
            (&b"<u v>"[..], Some("sm.example.test")),
            (b"<u v@h>", Some("h")),
            // Sendmail takes this for an address at h.
            (b"<u@h(a@b)>", None),
            (b"<u@h\xff>", None),
        ] {
            let (Recipient::Invalid { domain, .. }, _) = recipient(argument, ours) else {
                panic!("is invalid")
            };
            assert_eq!(domain.as_ref().map(Domain::as_str), expected, "{}", argument.escape_ascii());
        }
    }

    /// Tags as Sendmail's and Postfix' filters write them (BATV `prvs=`); the rest as in postconf(5), recipient_delimiter.
    #[test]
    fn a_mailbox_has_one_name() {
        let delimiters = Delimiters::new("+");
        for (written, expected) in [
            ("anna@example.test", "anna@example.test"),
            ("anna+shop@example.test", "anna@example.test"),
            ("anna+shop+2026@example.test", "anna@example.test"),
            ("prvs=0123456789=anna@example.test", "anna@example.test"),
            ("a=b@example.test", "a=b@example.test"),
        ] {
            let address = Address::parse(written).expect("valid");
            assert_eq!(mailbox(&address, &delimiters).to_string(), expected);
        }
    }

    #[test]
    fn who_authenticated() {
        for (list, authenticated) in [
            (&b"{auth_authen}\0alice\0"[..], true),
            (b"auth_type\0PLAIN\0", true),
            (b"{auth_authen}\0\0", false),
            (b"{mail_addr}\0alice@example.test\0", false),
        ] {
            assert_eq!(is_authenticated(&macros(&[(Stage::Mail, list)])), authenticated);
        }
    }
}
