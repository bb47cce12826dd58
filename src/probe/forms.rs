//! The ways in which strangers have made servers relay: senders and recipients as they are written on the wire. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use crate::address::Domain;

/// Whose names the forms are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cast<'a> {
    /// A domain that is not the server's.
    pub(super) foreign: &'a Domain,
    /// One that is.
    pub(super) domain: &'a Domain,
    /// The server's own name.
    pub(super) host: &'a str,
    /// And address.
    pub(super) address: IpAddr,
    /// Marks all addresses of this run.
    pub(super) run: &'a str,
}

/// One way to ask for relaying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    /// What follows `MAIL FROM:`.
    pub(super) sender: String,
    /// What follows `RCPT TO:`.
    pub(super) recipient: String,
    /// Who is in charge of the recipient, read literally.
    pub(super) via: Via,
    /// A recipient of the server's own comes before it, in the same message.
    pub(super) follows: bool,
    /// The number in its addresses.
    pub(super) number: u32,
}

/// Who is in charge of an address, read literally: a server that takes it for somebody there may take any recipient there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Via {
    /// Somebody else: to take it is to relay.
    Foreign,
    /// The domain.
    Domain,
    /// The server's own name.
    Host,
    /// The server's own address.
    Literal,
    /// No domain is named.
    Nobody,
}

/// What an address of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sender: what arrives there is a bounce.
    Sender,
    /// A recipient elsewhere: what arrives there was relayed.
    Victim,
    /// A recipient who does not exist.
    Invented,
}

/// The local part of an address of this run. Letters and digits only, so that nothing is a sub-address of it.
pub(super) fn local_part(run: &str, kind: Kind, number: u32) -> String {
    let kind = match kind {
        Kind::Sender => 'f',
        Kind::Victim => 'v',
        Kind::Invented => 'u',
    };
    format!("{MARK}{run}{kind}{number:02}")
}

/// What such a local part is for.
pub(super) fn read_local_part(run: &str, text: &str) -> Option<(Kind, u32)> {
    let rest = text.strip_prefix(MARK)?.strip_prefix(run)?;
    let kind = match rest.chars().next()? {
        'f' => Kind::Sender,
        'v' => Kind::Victim,
        'u' => Kind::Invented,
        _ => return None,
    };
    let digits = rest.get(1..).filter(|digits| (2..=4).contains(&digits.len()))?;
    Some((kind, digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??))
}

/// All forms, each once, numbered from `first` on.
pub(super) fn forms(cast: &Cast<'_>, first: u32) -> Vec<Form> {
    let senders = SENDERS.iter().map(|&sender| (sender, PLAIN, Via::Foreign, false));
    let recipients = RECIPIENTS.iter().map(|&(recipient, via)| (SENDER, recipient, via, false));
    let all = senders.chain(recipients).chain([(SENDER, PLAIN, Via::Foreign, true)]);
    let mut seen = BTreeSet::new();
    let different = all.filter_map(|(sender, recipient, via, follows)| {
        let (sender, recipient) = (cast.fill(sender), cast.fill(recipient));
        seen.insert((sender.clone(), recipient.clone(), follows)).then_some((sender, recipient, via, follows))
    });
    let numbered = different.zip(first..).map(|((sender, recipient, via, follows), number)| {
        let number_it = |text: String| {
            text.replace("{f}", &local_part(cast.run, Kind::Sender, number))
                .replace("{v}", &local_part(cast.run, Kind::Victim, number))
        };
        Form { sender: number_it(sender), recipient: number_it(recipient), via, follows, number }
    });
    numbered.collect()
}

impl Via {
    /// Those whose own recipients have to be tried, too.
    pub(super) const OURS: [Self; 4] = [Self::Domain, Self::Host, Self::Literal, Self::Nobody];
}

impl Cast<'_> {
    /// `MAIL FROM` with an address elsewhere.
    pub(super) fn sender(&self, number: u32) -> String {
        format!("<{}@{}>", local_part(self.run, Kind::Sender, number), self.foreign)
    }

    /// `RCPT TO` with somebody who does not exist.
    pub(super) fn invented(&self, via: Via, number: u32) -> String {
        let template = match via {
            Via::Foreign => "<{u}@{X}>",
            Via::Domain => "<{u}@{D}>",
            Via::Host => "<{u}@{H}>",
            Via::Literal => "<{u}@{[I]}>",
            Via::Nobody => "<{u}>",
        };
        self.fill(template).replace("{u}", &local_part(self.run, Kind::Invented, number))
    }

    fn fill(&self, template: &str) -> String {
        let foreign = self.foreign.as_str();
        template
            .replace("{X}", foreign)
            .replace("{X, wide dots}", &foreign.replace('.', "\u{3002}"))
            .replace("{D}", self.domain.as_str())
            .replace("{H}", self.host)
            .replace("{[I]}", Domain::from(self.address).as_str())
            .replace("{I}", &self.address.to_string())
    }
}

const MARK: &str = "backstopprobe";
const SENDER: &str = "<{f}@{X}>";
const PLAIN: &str = "<{v}@{X}>";

/// With [`PLAIN`]: senders that some servers trust.
const SENDERS: [&str; 7] =
    ["<{f}@{X}>", "<>", "<{f}@{H}>", "<{f}@{[I]}>", "<{f}@localhost>", "<{f}>", "<{f}@{D}>"];

/// With [`SENDER`]: recipients in whom the real one is hidden, or that are written so that a filter reads another one than
/// the server.
const RECIPIENTS: [(&str, Via); 37] = [
    // the percent hack, and quotes around it
    ("<{v}%{X}@{[I]}>", Via::Literal),
    ("<{v}%{X}@{H}>", Via::Host),
    ("<{v}%{X}@{D}>", Via::Domain),
    ("<{v}%{X}>", Via::Nobody),
    ("<{v}%{X}%{D}>", Via::Nobody),
    ("<\"{v}%{X}\">", Via::Nobody),
    ("<\"{v}@{X}\">", Via::Nobody),
    ("<\"{v}@{X}\"@{[I]}>", Via::Literal),
    ("<\"{v}@{X}\"@{D}>", Via::Domain),
    // two signs
    ("<{v}@{X}@{[I]}>", Via::Literal),
    ("<{v}@{X}@{H}>", Via::Host),
    ("<{v}@{X}@{D}>", Via::Domain),
    ("<{v}\\@{X}@{D}>", Via::Domain),
    // source routes, which mean the last address (RFC 5321 §4.1.1.3)
    ("<@{[I]}:{v}@{X}>", Via::Foreign),
    ("<@{H}:{v}@{X}>", Via::Foreign),
    ("<@{D}:{v}@{X}>", Via::Foreign),
    ("<@{X},@{H}:{v}@{X}>", Via::Foreign),
    // UUCP
    ("<{X}!{v}>", Via::Nobody),
    ("<{X}!{v}@{[I]}>", Via::Literal),
    ("<{X}!{v}@{H}>", Via::Host),
    ("<{X}!{v}@{D}>", Via::Domain),
    ("<{H}!{X}!{v}>", Via::Nobody),
    ("<\"{X}!{v}\"@{D}>", Via::Domain),
    // DECnet
    ("<{X}:{v}>", Via::Nobody),
    ("<{v}:{X}@{D}>", Via::Domain),
    ("<{X}::{v}>", Via::Nobody),
    // ways to write a domain
    ("<{v}@{X}.>", Via::Foreign),
    ("<{v}@{I}>", Via::Literal),
    ("<IMCEASMTP-{v}+40{X}@{D}>", Via::Domain),
    // U+FF20, U+FF05, U+3002
    ("<{v}\u{ff20}{X}>", Via::Nobody),
    ("<{v}\u{ff20}{X}@{D}>", Via::Domain),
    ("<{v}\u{ff05}{X}@{D}>", Via::Domain),
    ("<{v}@{X, wide dots}>", Via::Foreign),
    // ways to write a path
    ("{v}@{X}", Via::Foreign),
    ("<{v}@{X}(c)>", Via::Foreign),
    ("<{v} @{X}>", Via::Foreign),
    ("<{v}@ {X}>", Via::Foreign),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cast<'a>(foreign: &'a Domain, domain: &'a Domain, host: &'a str) -> Cast<'a> {
        Cast { foreign, domain, host, address: "192.0.2.25".parse().unwrap(), run: "abcdef" }
    }

    #[test]
    fn forms_are_whole_lines_and_each_is_there_once() {
        let (foreign, domain) = (Domain::parse("x.test").unwrap(), Domain::parse("d.test").unwrap());
        let all = forms(&cast(&foreign, &domain, "mx.d.test"), 10);
        assert_eq!(all.len(), SENDERS.len() + RECIPIENTS.len() + 1);
        for (form, number) in all.iter().zip(10..) {
            let text = format!("{}{}", form.sender, form.recipient);
            assert!(!text.contains(['{', '}', '\r', '\n', '\0']), "{text}");
            assert!(form.recipient.contains(&local_part("abcdef", Kind::Victim, number)), "{text}");
            assert_eq!(form.number, number);
            // 512 with "RCPT TO:" and the end of the line (RFC 5321 §4.5.3.1.4).
            assert!(form.recipient.len() < 500, "{text}");
        }
        let shown: Vec<String> =
            all.iter().map(|form| form.recipient.replace("backstopprobeabcdef", "")).collect();
        for wanted in [
            "<v10@x.test>",
            "<v17%x.test@[192.0.2.25]>",
            "<@mx.d.test:v31@x.test>",
            "<\"x.test!v39\"@d.test>",
            "<IMCEASMTP-v45+40x.test@d.test>",
            "<v44@192.0.2.25>",
            "<v49@x\u{3002}test>",
            "v50@x.test",
        ] {
            assert!(shown.iter().any(|form| form == wanted), "{wanted}: {shown:#?}");
        }
        let same = forms(&cast(&foreign, &domain, "d.test"), 0);
        assert_eq!(same.len(), all.len() - 5, "the server's name is the domain");
    }

    #[test]
    fn local_parts_are_read_back() {
        for kind in [Kind::Sender, Kind::Victim, Kind::Invented] {
            for number in [0, 7, 99, 100, 1000] {
                let text = local_part("abcdef", kind, number);
                assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
                assert_eq!(read_local_part("abcdef", &text), Some((kind, number)));
                assert_eq!(read_local_part("fedcba", &text), None);
            }
        }
        for text in [
            "",
            "backstopprobeabcdef",
            "backstopprobeabcdefv",
            "backstopprobeabcdefv1",
            "backstopprobeabcdefx01",
            "backstopprobeabcdefv+1",
        ] {
            assert_eq!(read_local_part("abcdef", text), None, "{text}");
        }
    }
}
