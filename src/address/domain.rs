//! A mail domain or address literal, normalised so that equal places are equal bytes.
//!
//! It never asks the DNS and never judges whether a name is a good one: what can be compared is kept, so that a
//! strange domain is found "not local" and not "wrong". Failure answer: [`DomainError`].

use std::{borrow::Borrow, fmt, fmt::Write, net::IpAddr, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{
    error::DomainError,
    text::{Text, fold, is_forbidden},
};

/// A domain in lower case, NFC, as IDNA A-labels and without its trailing dot; or an address literal in its
/// canonical form (`[192.0.2.1]`, `[IPv6:2001:db8::1]`, RFC 5321 §4.1.3).
///
/// Underscores and over-long labels are kept. A name that IDNA (UTS #46, non-transitional) rejects is kept as
/// folded text. It holds no blank, no control character and none of the specials of RFC 5321, so it is safe to log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Text);

impl Domain {
    /// Bytes; RFC 1035 allows 255, a domain in Unicode may be written with more.
    pub const MAX_LENGTH: usize = 1024;

    /// Reads and normalises a domain or a bracketed address literal.
    ///
    /// # Errors
    /// [`DomainError`] if the text is empty or cannot be part of any envelope address.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Domain, DomainError> {
        let bytes = text.as_ref();
        if bytes.len() > Domain::MAX_LENGTH {
            return Err(DomainError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DomainError::InvalidUtf8)?;
        if let Some(inside) = text.strip_prefix('[') {
            return literal(inside.strip_suffix(']').ok_or(DomainError::Literal)?);
        }
        let mut name = Text::default();
        if text.is_ascii() {
            // An ASCII name is its own A-label form, valid `xn--` or not.
            name.push_folded(text);
        } else {
            push_alabels(&mut name, text);
        }
        name.pop_ascii(b'.');
        check(&name)?;
        Ok(Domain(name))
    }

    /// A name of letters, digits, `-`, `_` and single dots between them; `is_lower`: none of the letters is a capital.
    pub(super) fn plain(name: &str, is_lower: bool) -> Domain {
        let mut text = Text::default();
        text.push_ascii(name, is_lower);
        Domain(text)
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address of a literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. `None` for names and other literals.
    ///
    /// An IPv4-mapped IPv6 address is given, and written, as the IPv4 address that it means.
    pub fn literal(&self) -> Option<IpAddr> {
        address_inside(self.as_str().strip_prefix('[')?.strip_suffix(']')?)
    }

    /// The domain one level up: `example.org` for `mail.example.org`; `None` for a single label or a literal.
    pub fn parent(&self) -> Option<&str> {
        self.ancestors().next()
    }

    /// All domains above this one, nearest first, for the leading-dot look-up (`.example.org`).
    pub fn ancestors(&self) -> Ancestors<'_> {
        let name = self.as_str();
        Ancestors(if name.starts_with('[') { "" } else { name })
    }
}

/// The literal of an address: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
impl From<IpAddr> for Domain {
    fn from(address: IpAddr) -> Domain {
        let mut text = Text::default();
        match address.to_canonical() {
            IpAddr::V4(v4) => write!(text, "[{v4}]"),
            IpAddr::V6(v6) => write!(text, "[IPv6:{v6}]"),
        }
        .expect("writing to memory cannot fail");
        Domain(text)
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Domain, DomainError> {
        Domain::parse(text)
    }
}

/// So that a map keyed by `Domain` can be asked with an ancestor's `&str`.
impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Iterator of [`Domain::ancestors`].
#[derive(Debug, Clone)]
pub struct Ancestors<'a>(&'a str);

impl<'a> Iterator for Ancestors<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0 = self.0.split_once('.')?.1;
        Some(self.0)
    }
}

/// Characters that no domain holds outside an address literal: the specials of RFC 5321 §4.1.2, and a quote.
pub(super) const fn is_special(character: char) -> bool {
    matches!(character, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | ',' | '@' | '"' | '\\')
}

fn push_alabels(name: &mut Text, text: &str) {
    if let Some(ascii) = alabels(text) {
        name.push_str(&ascii);
        return;
    }
    // Folding may turn what IDNA rejects into what it accepts: try again, so that parsing twice changes nothing.
    let folded = fold(text);
    name.push_str(alabels(&folded).as_deref().unwrap_or(&folded));
}

fn alabels(text: &str) -> Option<String> {
    Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore)
        .ok()
        .map(Into::into)
}

fn check(name: &Text) -> Result<(), DomainError> {
    if name.len() == 0 {
        return Err(DomainError::Empty);
    }
    if name.len() > Domain::MAX_LENGTH {
        return Err(DomainError::TooLong);
    }
    let ordinary = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    if !name.as_bytes().iter().all(ordinary) {
        let bad = |c: &char| is_special(*c) || c.is_whitespace() || is_forbidden(*c);
        if let Some(character) = name.as_str().chars().find(bad) {
            return Err(DomainError::Character(character));
        }
    }
    if name.as_bytes().split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return Err(DomainError::EmptyLabel);
    }
    Ok(())
}

fn literal(inside: &str) -> Result<Domain, DomainError> {
    if let Some(address) = address_inside(inside) {
        return Ok(address.into());
    }
    // General-address-literal (RFC 5321 §4.1.3), or something odd that can only be compared.
    let folded = fold(inside);
    let bad = |c: &char| (is_special(*c) && *c != ':') || c.is_whitespace() || is_forbidden(*c);
    match folded.chars().find(bad) {
        Some(character) => Err(DomainError::Character(character)),
        None if folded.is_empty() => Err(DomainError::Literal),
        None if folded.len() + 2 > Domain::MAX_LENGTH => Err(DomainError::TooLong),
        None => {
            let mut text = Text::from("[");
            text.push_str(&folded);
            text.push_str("]");
            Ok(Domain(text))
        }
    }
}

/// `IPv6:2001:db8::1` or `192.0.2.1`; the tag may be missing and may be in any case.
fn address_inside(literal: &str) -> Option<IpAddr> {
    let address = match literal.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("ipv6:") => IpAddr::V6(rest.parse().ok()?),
        _ => literal.parse().ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn domains_are_normalised() {
        for (written, normal) in [
            // RFC 5321 §2.4: domains compare without case. One trailing dot: RFC 1034 §3.1.
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            // RFC 5891 §4.4, RFC 6531 §3.2: U-labels compare as A-labels, composed or not, valid or not.
            ("B\u{dc}CHER.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("xn--zzzzzz--.example", "xn--zzzzzz--.example"),
            ("fa\u{df}.example", "xn--fa-hia.example"),
            // UTS #46 §4: full-width letters and the other dots are mapped.
            ("\u{ff24}\u{ff0e}example\u{3002}", "d.example"),
            ("d\u{ff61}example", "d.example"),
            // Tolerated: underscore, hyphens anywhere, other printable characters, labels over 63 bytes.
            ("_dmarc.example", "_dmarc.example"),
            ("-a-.ex--ample", "-a-.ex--ample"),
            ("a%b.example", "a%b.example"),
            // Rejected by IDNA (U+FFFD is disallowed), kept to be compared.
            ("\u{fffd}A.example", "\u{fffd}a.example"),
        ] {
            assert_eq!(domain(written).as_str(), normal, "{written}");
            assert_eq!(domain(normal), domain(written), "{written}");
        }
        let long = "A".repeat(70) + ".example";
        assert_eq!(domain(&long).as_str(), long.to_lowercase());
    }

    #[test]
    fn literals_are_canonical() {
        // RFC 5321 §4.1.3; RFC 5952 for the text form.
        for (written, normal) in [
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:DB8:0:0::1]", "[IPv6:2001:db8::1]"),
            ("[ipv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
        ] {
            let literal = domain(written);
            assert_eq!(literal.as_str(), normal, "{written}");
            assert_eq!(Domain::from(literal.literal().unwrap()), literal);
            assert_eq!(literal.parent(), None);
        }
        for (written, normal) in
            [("[x-Tag:ABC]", "[x-tag:abc]"), ("[Example.com]", "[example.com]"), ("[1.2.3]", "[1.2.3]")]
        {
            assert_eq!(domain(written).as_str(), normal);
            assert_eq!(domain(written).literal(), None);
        }
        assert_eq!(domain("192.0.2.1").literal(), None);
    }

    #[test]
    fn what_is_no_domain() {
        use DomainError::*;
        for (text, error) in [
            ("", Empty),
            (".", Empty),
            ("..", EmptyLabel),
            (".example.com", EmptyLabel),
            ("a..b", EmptyLabel),
            ("a..", EmptyLabel),
            ("a\u{3002}\u{3002}b", EmptyLabel),
            ("a b", Character(' ')),
            ("a\0", Character('\0')),
            ("a\r\n", Character('\r')),
            ("a\u{85}", Character('\u{85}')),
            ("a\u{202e}b", Character('\u{202e}')),
            ("a@b", Character('@')),
            // UTS #46 maps the full-width form to a special.
            ("a\u{ff20}b", Character('@')),
            ("a>", Character('>')),
            ("[", Literal),
            ("[]", Literal),
            ("[192.0.2.1", Literal),
            ("[192.0.2.1].", Literal),
            ("[a]b]", Character(']')),
            ("[a b]", Character(' ')),
        ] {
            assert_eq!(Domain::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Domain::parse(b"a\xff"), Err(InvalidUtf8));
        assert!(Domain::parse("a".repeat(Domain::MAX_LENGTH)).is_ok());
        assert_eq!(Domain::parse("a".repeat(Domain::MAX_LENGTH + 1)), Err(TooLong));
        assert_eq!(Domain::parse(format!("[{}]", "a".repeat(Domain::MAX_LENGTH - 1))), Err(TooLong));
    }

    #[test]
    fn ancestors_are_nearest_first() {
        let name = domain("a.b.example.org");
        assert_eq!(name.ancestors().collect::<Vec<_>>(), ["b.example.org", "example.org", "org"]);
        assert_eq!(name.parent(), Some("b.example.org"));
        assert_eq!(domain("org").parent(), None);
        let map = std::collections::HashMap::from([(domain("b.example.org"), 1)]);
        assert_eq!(map.get("b.example.org"), Some(&1));
    }
}
