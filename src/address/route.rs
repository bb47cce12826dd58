//! The address hidden inside a local part: `user%host`, `host!user`, `"user@host"`, and what imitates them.
//!
//! It never decides whether such a route is allowed, nor whether a host is ours: an address that exists as written
//! is no route, whatever it contains. Failure answer: `None`, nothing is hidden; [`Inner::Malformed`], something is,
//! but no address.
//!
//! # Which operator binds first
//! Postfix (trivial-rewrite(8); postconf(5) `swap_bangpath`, `allow_percent_hack`, `resolve_dequoted_address`)
//! removes a local domain and rewrites what is left: a source route, the last `@`, else `site!user` at the first
//! `!`, else `user%domain` at the last `%`. Sendmail (ruleset 3, Canonify) does the same, with `node::user`
//! (FEATURE DECNET) between the last two. Hence: source route, last `@`, first `!`, first `::`, last `%`.

use std::borrow::Cow;

use super::{domain::Domain, mailbox::Address};

/// How many levels [`routes`] uncovers.
pub const MAX_DEPTH: usize = 5;

/// What one level of routing hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inner {
    /// An address; its domain is the outer one's where the route names none (`user%`, `@host:user`).
    Address(Address),
    /// A route to something that is no domain, or deeper than [`MAX_DEPTH`].
    Malformed,
}

/// Uncovers one level. `None`: the local part holds no route.
pub fn inner_route(address: &Address) -> Option<Inner> {
    let local = fold_lookalikes(address.local());
    let outer = address.domain();
    if let Some(decoded) = decapsulate(&local) {
        return qualify(&fold_lookalikes(&decoded), outer);
    }
    if let Some((_, rest)) = local.strip_prefix('@').and_then(split_route) {
        return qualify(rest, outer);
    }
    let at = || join(local.rsplit_once('@')?, outer);
    let bang = || local.split_once('!').and_then(|(host, user)| join((user, host), outer));
    let decnet = || local.split_once("::").and_then(|(host, user)| join((user, host), outer));
    let percent = || join(local.rsplit_once('%')?, outer);
    at().or_else(bang).or_else(decnet).or_else(percent)
}

/// Uncovers level after level, at most [`MAX_DEPTH`]; anything deeper, or malformed, ends it with
/// [`Inner::Malformed`]. The caller takes the next one only while the domain of the last is local.
pub fn routes(address: &Address) -> Routes {
    Routes { next: inner_route(address), depth: 0 }
}

/// Iterator of [`routes`].
#[derive(Debug, Clone)]
pub struct Routes {
    next: Option<Inner>,
    depth: usize,
}

impl Iterator for Routes {
    type Item = Inner;

    fn next(&mut self) -> Option<Inner> {
        let inner = self.next.take()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Some(Inner::Malformed);
        }
        if let Inner::Address(address) = &inner {
            self.next = inner_route(address);
        }
        Some(inner)
    }
}

/// `user@host`, or `user` at the outer domain.
fn qualify(text: &str, outer: &Domain) -> Option<Inner> {
    join(text.rsplit_once('@').unwrap_or((text, "")), outer)
}

/// The inner address. Nobody before the operator: no route. No host: this one, as Postfix reads `user@`.
fn join((user, host): (&str, &str), outer: &Domain) -> Option<Inner> {
    if user.is_empty() {
        return None;
    }
    let address = match host {
        "" => Address::new(user, outer).ok(),
        host => Domain::parse(host).ok().and_then(|domain| Address::new(user, &domain).ok()),
    };
    Some(address.map_or(Inner::Malformed, Inner::Address))
}

/// `a,@b:user@host` after its first `@`: the route and what it leads to. A colon may also be part of a literal.
fn split_route(text: &str) -> Option<(&str, &str)> {
    let literal = text.rfind(']').unwrap_or(0);
    let colon = text[literal..].find(':').or_else(|| text.find(':')).map(|at| at + literal)?;
    Some((&text[..colon], &text[colon + 1..]))
}

/// `IMCEASMTP-user+40host`: `+` and two hex digits for an octet, `_` for `/` ([MS-OXCMAIL] §2.1.3.1.8).
fn decapsulate(local: &str) -> Option<String> {
    let encoded = local.strip_prefix("imceasmtp-")?;
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'_' => b'/',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Characters that look like, or normalise (NFKC) to, the operators and the dot, as software in the way may do.
fn fold_lookalikes(local: &str) -> Cow<'_, str> {
    if local.is_ascii() {
        return Cow::Borrowed(local);
    }
    Cow::Owned(local.chars().map(lookalike).collect())
}

fn lookalike(character: char) -> char {
    match character {
        '\u{ff20}' | '\u{fe6b}' => '@',
        '\u{ff05}' | '\u{fe6a}' => '%',
        '\u{ff01}' | '\u{fe57}' => '!',
        '\u{ff1a}' | '\u{fe55}' => ':',
        '\u{ff0e}' | '\u{3002}' | '\u{ff61}' | '\u{fe52}' => '.',
        other => other,
    }
}
