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
pub(super) fn is_special(character: char) -> bool {
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
    let bad = |c: &char| is_special(*c) || c.is_whitespace() || is_forbidden(*c);
    let name = name.as_str();
    if let Some(character) = name.chars().find(bad) {
        return Err(DomainError::Character(character));
    }
    if name.split('.').any(str::is_empty) {
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
