//! A transport map of Postfix as text (transport(5)): where it hands a recipient's mail.
//!
//! What it hands to something other than an SMTP or LMTP server can't be asked. A line that is not understood makes the
//! whole file unusable: without it, its domain would seem to go elsewhere, to a server that does not know its users.

use std::{
    collections::HashMap,
    io::{self, BufRead},
};

use super::{conversation::Protocol, destination::Destination};
use crate::{
    address::{Address, Domain, DomainError},
    files::{Line, Lines, Unbalanced, first_word, is_blank},
};

/// A map that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TransportMap {
    users: HashMap<Address, Hop>,
    domains: HashMap<Domain, Hop>,
    below: HashMap<Domain, Hop>,
    any: Option<Hop>,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hop {
    /// To the first of these that takes it.
    Servers(Vec<Destination>),
    /// To the server of the recipient's domain.
    Domain(Protocol),
    /// To nothing that could be asked: `local:`, `virtual:`, `error:`, a pipe, or whatever Postfix does without the map.
    Elsewhere,
}

/// What the map says of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Mail for him goes there.
    Hop(&'a Hop),
    /// There is no entry.
    Nothing,
    /// A user whose sub-address this may be goes elsewhere than the domain.
    Doubtful,
}

/// A map that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("more than {MAX_BYTES} bytes")]
    Big,
    #[error("line {0}: {1}")]
    Line(u64, LineError),
}

/// A line that is not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("too long, or not UTF-8")]
    Text,
    #[error("a continuation of nothing")]
    Indented,
    #[error(transparent)]
    Quote(#[from] Unbalanced),
    #[error("a pattern: only maps that postmap reads as text are understood")]
    Pattern,
    #[error("no value, or one without a colon")]
    NoValue,
    #[error("its key is no address: {0}")]
    Address(crate::address::AddressError),
    #[error("its key is no domain: {0}")]
    Domain(#[from] DomainError),
}

impl TransportMap {
    /// Reads the text that postmap(1) reads. Of several lines with one key the first counts, as there.
    pub(super) fn read(reader: impl BufRead) -> Result<Self, MapError> {
        let mut map = Self::default();
        // One byte more, to tell that there is more.
        let mut lines = Lines::new(reader.take(MAX_BYTES + 1));
        let mut bytes = 0;
        while let Some(line) = lines.next_logical()? {
            bytes += line.text.len() as u64 + 1;
            if bytes > MAX_BYTES {
                return Err(MapError::Big);
            }
            map.insert(&line).map_err(|error| MapError::Line(line.number, error))?;
        }
        Ok(map)
    }

    /// Where mail for the address goes (transport(5), TABLE SEARCH ORDER).
    pub(super) fn find(&self, address: &Address) -> Found<'_> {
        if let Some(hop) = self.users.get(address) {
            return Found::Hop(hop);
        }
        let domain = address.domain();
        let hop = self
            .domains
            .get(domain)
            .or_else(|| domain.ancestors().find_map(|above| self.below.get(above)))
            .or(self.any.as_ref());
        // Postfix looks for the user without sub-address, too, by a delimiter that is not known here.
        let user =
            || self.shorter(address).any(|user| self.users.get(&user).is_some_and(|to| Some(to) != hop));
        match hop {
            _ if !self.users.is_empty() && user() => Found::Doubtful,
            Some(hop) => Found::Hop(hop),
            None => Found::Nothing,
        }
    }

    /// The address cut before each character that may be a delimiter.
    fn shorter(&self, address: &Address) -> impl Iterator<Item = Address> {
        let local = address.local();
        let ends = local.char_indices().filter(|(at, c)| *at > 0 && !c.is_alphanumeric());
        ends.filter_map(move |(at, _)| address.with_local(local.get(..at)?).ok())
    }

    fn insert(&mut self, line: &Line<'_>) -> Result<(), LineError> {
        if line.cut {
            return Err(LineError::Text);
        }
        if line.text.first().is_some_and(|&byte| is_blank(byte)) {
            return Err(LineError::Indented);
        }
        let (key, value) = first_word(line.text)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| LineError::Text);
        let (key, value) = (text(key)?, text(value)?);
        if key.starts_with('/') || key == "if" || key == "endif" || key.starts_with('!') {
            return Err(LineError::Pattern);
        }
        let hop = Hop::parse(value).ok_or(LineError::NoValue)?;
        if key == "*" {
            self.any.get_or_insert(hop);
        } else if key.contains('@') {
            self.users.entry(Address::parse(key).map_err(LineError::Address)?).or_insert(hop);
        } else if let Some(domain) = key.strip_prefix('.') {
            self.below.entry(Domain::parse(domain)?).or_insert(hop);
        } else {
            self.domains.entry(Domain::parse(key)?).or_insert(hop);
        }
        Ok(())
    }
}

impl Hop {
    /// `transport:nexthop`; either may be missing (transport(5), RESULT FORMAT).
    fn parse(value: &str) -> Option<Self> {
        let (transport, nexthop) = value.split_once(':')?;
        let nexthop = nexthop.trim();
        let protocol = match transport {
            "smtp" | "relay" => Protocol::Smtp,
            "lmtp" => Protocol::Lmtp,
            // For a relayed domain that is `relay`; and for a local one there would be no nexthop.
            "" if !nexthop.is_empty() => Protocol::Smtp,
            _ => return Some(Self::Elsewhere),
        };
        if nexthop.is_empty() {
            return Some(Self::Domain(protocol));
        }
        let words = nexthop.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        let servers: Option<Vec<_>> =
            words.take(MAX_SERVERS).map(|word| Destination::nexthop(protocol, word)).collect();
        Some(servers.filter(|servers| !servers.is_empty()).map_or(Self::Elsewhere, Self::Servers))
    }
}

/// A map of a million lines has less.
const MAX_BYTES: u64 = 256 << 20;
/// Of one entry.
const MAX_SERVERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TransportMap {
        TransportMap::read(text.as_bytes()).unwrap()
    }

    fn hop(map: &TransportMap, address: &str) -> String {
        match map.find(&Address::parse(address).unwrap()) {
            Found::Hop(Hop::Servers(servers)) => {
                servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            found => format!("{found:?}"),
        }
    }

    /// transport(5), RESULT FORMAT and EXAMPLES.
    #[test]
    fn values() {
        for (value, hops) in [
            ("smtp:[gw.x.test]:2025", "gw.x.test:2025"),
            ("relay:[gw.x.test]", "gw.x.test:25"),
            ("smtp:bar.test:2025", "the mail exchangers of bar.test:2025"),
            (":[gw.x.test]", "gw.x.test:25"),
            ("smtp:[a.test], [b.test]:26 c.test", "a.test:25, b.test:26, the mail exchangers of c.test:25"),
            ("lmtp:unix:private/dovecot-lmtp", "lmtp:unix:/var/spool/postfix/private/dovecot-lmtp"),
            ("lmtp:inet:127.0.0.1:2003", "lmtp:127.0.0.1:2003"),
            ("smtp:", "Hop(Domain(Smtp))"),
            ("relay:", "Hop(Domain(Smtp))"),
            (":", "Hop(Elsewhere)"),
            ("local:", "Hop(Elsewhere)"),
            ("virtual:", "Hop(Elsewhere)"),
            ("local:$myhostname", "Hop(Elsewhere)"),
            ("error:5.1.1 mail for *.x.test is not deliverable", "Hop(Elsewhere)"),
            ("slow:[gw.x.test]", "Hop(Elsewhere)"),
            ("dovecot:", "Hop(Elsewhere)"),
            ("smtp:[gw.x.test]:strange", "Hop(Elsewhere)"),
            ("smtp: , ", "Hop(Elsewhere)"),
        ] {
            assert_eq!(hop(&read(&format!("x.test  {value}\n")), "joe@x.test"), hops, "{value}");
        }
    }

    /// transport(5), TABLE SEARCH ORDER.
    #[test]
    fn the_order_of_the_search() {
        let map = read(
            "# a comment\n\
             joe+lists@x.test smtp:[lists]\njoe@x.test smtp:[joe]\nX.Test\n  smtp:[x]\n.x.test smtp:[below]\n\
             .deep.x.test smtp:[deep]\n* smtp:[any]\nx.test smtp:[second]\n",
        );
        for (address, hops) in [
            ("joe+lists@x.test", "lists:25"),
            ("Joe@X.test", "joe:25"),
            ("ann@x.test", "x:25"),
            ("joes@x.test", "x:25"),
            ("joe@a.x.test", "below:25"),
            ("joe@deep.x.test", "below:25"),
            ("joe@a.deep.x.test", "deep:25"),
            ("joe@badx.test", "any:25"),
            ("joe@y.test", "any:25"),
            // Whether these are Joe's only Postfix knows.
            ("joe+x@x.test", "Doubtful"),
            ("joe-x@x.test", "Doubtful"),
            ("joe.doe+x@x.test", "Doubtful"),
        ] {
            assert_eq!(hop(&map, address), hops, "{address}");
        }
        assert_eq!(hop(&read("x.test smtp:[x]\njoe@x.test smtp:[x]\n"), "joe+y@x.test"), "x:25");
        assert_eq!(hop(&read("joe@x.test smtp:[x]\n"), "joe+y@x.test"), "Doubtful");
        assert_eq!(hop(&read("x.test smtp:[x]\n"), "joe@y.test"), "Nothing");
        assert_eq!(hop(&read(""), "joe@y.test"), "Nothing");
    }

    #[test]
    fn a_line_that_is_not_understood_spoils_the_file() {
        for (text, line) in [
            ("x.test\n", 1),
            ("x.test smtp\n", 1),
            ("y.test smtp:\n/^x/ smtp:[x]\n", 2),
            ("if /x/\n", 1),
            ("  x.test smtp:\n", 1),
            ("joe@ smtp:[x]\n", 1),
            ("a..b smtp:[x]\n", 1),
            ("\"joe smtp:[x]\n", 1),
        ] {
            let error = TransportMap::read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, MapError::Line(at, _) if at == line), "{text:?}: {error}");
        }
        let binary = TransportMap::read(&b"\x00\x06\x15\x61\xff\n"[..]);
        assert!(binary.is_err(), "an index in place of the text");
    }
}
