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
    // Most hide none, and cost nothing more.
    let may_lead = |byte: u8| !byte.is_ascii() || matches!(byte, b'@' | b'!' | b':' | b'%');
    if !address.local().bytes().any(may_lead) && !address.local().starts_with(CAPSULE) {
        return None;
    }
    let local = fold_lookalikes(address.local());
    let outer = address.domain();
    if let Some(decoded) = decapsulate(&local) {
        return qualify(&fold_lookalikes(&decoded), outer);
    }
    if let Some(rest) = behind_route(&local) {
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

/// What the route `@a,@b:user@host` leads to; a colon within an address literal does not end it.
fn behind_route(local: &str) -> Option<&str> {
    let mut in_literal = false;
    let colon = local.strip_prefix('@')?.find(|character| {
        in_literal = character == '[' || in_literal && character != ']';
        character == ':' && !in_literal
    })?;
    Some(&local[colon + 2..])
}

/// `IMCEASMTP-user+40host`: `+` and two hex digits for an octet, `_` for `/` ([MS-OXCMAIL] §2.1.3.1.8).
fn decapsulate(local: &str) -> Option<String> {
    let encoded = local.strip_prefix(CAPSULE)?;
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

/// As an address is folded.
const CAPSULE: &str = "imceasmtp-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Path, parse_rcpt};

    /// What the module makes of an argument: the outer address and every inner one, or the error and its domain.
    fn shown(argument: &str) -> String {
        let (d, mut shown) = (Domain::parse("d.example").unwrap(), String::new());
        let path = match parse_rcpt(argument.as_bytes()) {
            Err(error) => {
                let domain = error.domain.as_ref().map_or("-", Domain::as_str);
                return format!("{}; {domain}", error.kind);
            }
            Ok(path) => path,
        };
        if matches!(path, Path::Local(_)) {
            shown += "bare ";
        }
        let address = path.complete(&d);
        shown += address.key_str();
        for inner in routes(&address) {
            shown += &match inner {
                Inner::Address(address) => format!(" > {}", address.key_str()),
                Inner::Malformed => " > malformed".to_owned(),
            };
        }
        shown
    }

    /// The open-relay forms in circulation: v = victim, x.example = foreign, h.example = the host tested,
    /// d.example = a local domain, 192.0.2.1 = the host's address. A bare local part is completed with d.example.
    #[test]
    fn open_relay_forms() {
        for (argument, expected) in [
            // Plain: for the domain to decide.
            ("<v@x.example>", "v@x.example"),
            ("<v@x.example.>", "v@x.example"),
            ("v@x.example", "v@x.example"),
            ("<a@h.example>", "a@h.example"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@localhost>", "a@localhost"),
            ("<a>", "bare a@d.example"),
            ("<a@d.example>", "a@d.example"),
            ("<v@192.0.2.1>", "v@192.0.2.1"),
            // Percent (RFC 1123 §5.2.16): the last binds.
            ("<v%x.example@[192.0.2.1]>", "v%x.example@[192.0.2.1] > v@x.example"),
            ("<v%x.example@h.example>", "v%x.example@h.example > v@x.example"),
            ("<v%x.example@d.example>", "v%x.example@d.example > v@x.example"),
            (
                "<v%x.example%d.example>",
                "bare v%x.example%d.example@d.example > v%x.example@d.example > v@x.example",
            ),
            ("<\"v%x.example\">", "bare v%x.example@d.example > v@x.example"),
            ("<\"v%x.example\"@d.example>", "v%x.example@d.example > v@x.example"),
            // Quoted at sign (postconf(5) resolve_dequoted_address).
            ("<\"v@x.example\">", "bare v@x.example@d.example > v@x.example"),
            ("<\"v@x.example\"@[192.0.2.1]>", "v@x.example@[192.0.2.1] > v@x.example"),
            ("<\"v@x.example\"@d.example>", "v@x.example@d.example > v@x.example"),
            ("<v\\@x.example@d.example>", "v@x.example@d.example > v@x.example"),
            // Two at signs: not an address (RFC 5321 §4.1.2); the domain is the last.
            ("<v@x.example@[192.0.2.1]>", "unexpected '@'; [192.0.2.1]"),
            ("<v@x.example@h.example>", "unexpected '@'; h.example"),
            ("<v@x.example@d.example>", "unexpected '@'; d.example"),
            // Source route (RFC 5321 Appendix C): ignored, the address behind it counts.
            ("<@[192.0.2.1]:v@x.example>", "v@x.example"),
            ("<@h.example:v@x.example>", "v@x.example"),
            ("<@d.example:v@x.example>", "v@x.example"),
            ("<@a.example,@h.example:v@x.example>", "v@x.example"),
            // Bang path (postconf(5) swap_bangpath): the first binds.
            ("<x.example!v>", "bare x.example!v@d.example > v@x.example"),
            ("<x.example!v@[192.0.2.1]>", "x.example!v@[192.0.2.1] > v@x.example"),
            ("<x.example!v@h.example>", "x.example!v@h.example > v@x.example"),
            ("<x.example!v@d.example>", "x.example!v@d.example > v@x.example"),
            (
                "<h.example!x.example!v>",
                "bare h.example!x.example!v@d.example > x.example!v@h.example > v@x.example",
            ),
            ("<\"x.example!v\"@d.example>", "x.example!v@d.example > v@x.example"),
            // Colons: not an address without quotes. DECnet's `::` is a route, a single colon is none.
            ("<x.example:v>", "unexpected ':'; -"),
            ("<v:x.example@d.example>", "unexpected ':'; d.example"),
            ("<x.example::v>", "unexpected ':'; -"),
            ("<x.example::v@d.example>", "unexpected ':'; d.example"),
            ("<\"x.example::v\"@d.example>", "x.example::v@d.example > v@x.example"),
            ("<\"x.example:v\"@d.example>", "x.example:v@d.example"),
            // Exchange encapsulation ([MS-OXCMAIL] §2.1.3.1.8).
            ("<IMCEASMTP-v+40x+2Eexample@d.example>", "imceasmtp-v+40x+2eexample@d.example > v@x.example"),
            ("<IMCEASMTP-v+40x.example@d.example>", "imceasmtp-v+40x.example@d.example > v@x.example"),
            (
                "<IMCEASMTP-v+25x.example@d.example>",
                "imceasmtp-v+25x.example@d.example > v%x.example@d.example > v@x.example",
            ),
            // Look-alikes: U+FF20, U+FF05, U+3002, and full-width dots.
            ("<v\u{ff20}x.example@d.example>", "v\u{ff20}x.example@d.example > v@x.example"),
            ("<v\u{ff20}x.example>", "bare v\u{ff20}x.example@d.example > v@x.example"),
            ("<v\u{ff05}x.example@d.example>", "v\u{ff05}x.example@d.example > v@x.example"),
            ("<v%x\u{3002}example@d.example>", "v%x\u{3002}example@d.example > v@x.example"),
            ("<v%x\u{ff0e}example@d\u{ff61}example>", "v%x\u{ff0e}example@d.example > v@x.example"),
            ("<v@x\u{3002}example>", "v@x.example"),
            // A comment, a blank.
            ("<v@x.example(c)>", "unexpected '('; x.example"),
            ("<v @x.example>", "unexpected ' '; x.example"),
        ] {
            assert_eq!(shown(argument), expected, "{argument}");
        }
    }

    #[test]
    fn which_operator_binds_first() {
        for (argument, expected) in [
            // Postfix, rewrite_tree: `!` before `%`. Sendmail, ruleset 3: the same; `::` between them.
            ("<x!v%y@d>", "x!v%y@d > v%y@x > v@y"),
            ("<\"y::v%z\"@d>", "y::v%z@d > v%z@y > v@z"),
            ("<\"x!y::v\"@d>", "x!y::v@d > y::v@x > v@y"),
            // `@` before all others.
            ("<\"x!v@y\"@d>", "x!v@y@d > x!v@y > v@x"),
            ("<\"v%x@y\"@d>", "v%x@y@d > v%x@y > v@x"),
            ("<\"v@x@y\"@d>", "v@x@y@d > v@x@y > v@x"),
            // A source route hidden in quotes.
            ("<\"@x:v@y\"@d>", "@x:v@y@d > v@y"),
            ("<\"@[IPv6:::1],@x:v@y\"@d>", "@[ipv6:::1],@x:v@y@d > v@y"),
            ("<\"@[IPv6:::1]:v@y\"@d>", "@[ipv6:::1]:v@y@d > v@y"),
            ("<\"@x:v\"@d>", "@x:v@d > v@d"),
            ("<\"@x:v@[IPv6:::1]\"@d>", "@x:v@[ipv6:::1]@d > v@[IPv6:::1]"),
            // postconf(5) resolve_null_domain, rewrite `user@`: no host means this one.
            ("<v%x%@d>", "v%x%@d > v%x@d > v@x"),
            ("<\"v@\"@d>", "v@@d > v@d"),
            ("<!v@d>", "!v@d > v@d"),
            // No user: no route.
            ("<%x@d>", "%x@d"),
            ("<x!@d>", "x!@d"),
            ("<\"@x\"@d>", "@x@d"),
            ("<!@d>", "!@d"),
            ("<%@d>", "%@d"),
            // Not a host.
            ("<\"v@x y\"@d>", "v@x y@d > malformed"),
            ("<v%x..y@d>", "v%x..y@d > malformed"),
            // Not an encapsulation.
            ("<IMCEASMTP-v+4@d>", "imceasmtp-v+4@d"),
            ("<IMCEASMTP-v+zz@d>", "imceasmtp-v+zz@d"),
            ("<IMCEASMTP-v+ff@d>", "imceasmtp-v+ff@d"),
            ("<IMCEASMTP-v+00+40x@d>", "imceasmtp-v+00+40x@d > malformed"),
            ("<IMCEASMTP-a_b+40x@d>", "imceasmtp-a_b+40x@d > a/b@x"),
            ("<IMCEASMTP-v@d>", "imceasmtp-v@d > v@d"),
            ("<IMCEAEX-_O+3Dx@d>", "imceaex-_o+3dx@d"),
            // As deep as MAX_DEPTH, and deeper.
            ("<v%5%4%3%2%1@d>", "v%5%4%3%2%1@d > v%5%4%3%2@1 > v%5%4%3@2 > v%5%4@3 > v%5@4 > v@5"),
            (
                "<v%6%5%4%3%2%1@d>",
                "v%6%5%4%3%2%1@d > v%6%5%4%3%2@1 > v%6%5%4%3@2 > v%6%5%4@3 > v%6%5@4 > v%6@5 > malformed",
            ),
            // Ordinary addresses hide nothing.
            ("<joe.user+tag=x/y@d>", "joe.user+tag=x/y@d"),
            ("<jos\u{e9}@d>", "jos\u{e9}@d"),
        ] {
            let shown = shown(argument).replace(".example", "");
            assert_eq!(shown, expected, "{argument}");
        }
    }
}
