//! The normalised address and local part: what look-ups compare.
//!
//! It keeps no original spelling (the caller has the argument) and never holds an empty local part or a control
//! character. Failure answer: [`AddressErrorKind`].

use std::{
    fmt::{self, Write},
    hash,
    str::FromStr,
};

use super::{
    domain::Domain,
    error::{AddressError, AddressErrorKind},
    path::{Path, no_domain, parse_rcpt},
    text::{Text, find_forbidden},
};

/// A mailbox, `local-part@domain`, in the form in which two spellings of one mailbox are equal.
///
/// The local part is without quotes and backslashes, case-folded and NFC (RFC 5321 §2.4 leaves its case to the
/// host; hosts that tell `Joe` from `joe` are not worth a wrong refusal). No heap allocation up to 64 bytes.
#[derive(Clone)]
pub struct Address {
    key: Text,
    /// Length of the local part within `key`.
    at: usize,
    domain: Domain,
}

impl Address {
    /// Makes an address of a local part without quotes and a domain; the local part is normalised.
    ///
    /// # Errors
    /// [`AddressErrorKind::EmptyLocalPart`] or [`AddressErrorKind::ControlCharacter`].
    pub fn new(local: &str, domain: &Domain) -> Result<Address, AddressErrorKind> {
        Ok(LocalPart::new(local)?.complete(domain))
    }

    /// Reads `user@domain` as in an envelope, brackets and quotes included; a domain is needed.
    ///
    /// # Errors
    /// [`AddressError`] as [`parse_rcpt`], and with [`AddressErrorKind::NoDomain`].
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Address, AddressError> {
        let text = text.as_ref();
        match parse_rcpt(text)? {
            Path::Address(address) => Ok(address),
            Path::Local(_) => Err(no_domain(text)),
        }
    }

    /// Of a local part in ASCII that has nothing to undo; `is_lower`: and nothing to fold.
    pub(super) fn plain(local: &str, is_lower: bool, domain: Domain) -> Address {
        let mut key = Text::default();
        key.push_ascii(local, is_lower);
        let at = key.len();
        key.push_str("@");
        key.push_str(domain.as_str());
        Address { key, at, domain }
    }

    /// The local part, without quotes, folded.
    pub fn local(&self) -> &str {
        &self.key.as_str()[..self.at]
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// `local@domain` without quotes: the key of every index. The last `@` is the separator.
    pub fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// [`Address::key`] as text. Not for logs and not for writing into a command: use `Display` there.
    pub fn key_str(&self) -> &str {
        self.key.as_str()
    }

    /// The same domain with another local part, which is normalised.
    ///
    /// # Errors
    /// As [`Address::new`].
    pub fn with_local(&self, local: &str) -> Result<Address, AddressErrorKind> {
        Address::new(local, &self.domain)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.key == other.key
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Address) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Address) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl hash::Hash for Address {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}

/// `Mailbox` of RFC 5321 §4.1.2, quoted where needed; reads back as the same address and is safe to log.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_local(f, self.local())?;
        write!(f, "@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.key_str())
    }
}

/// A local part alone, normalised: `postmaster`, or what a local submission wrote without a domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart(Text);

impl LocalPart {
    /// Normalises a local part that has no quotes and no backslashes to undo.
    ///
    /// # Errors
    /// [`AddressErrorKind::EmptyLocalPart`] or [`AddressErrorKind::ControlCharacter`].
    pub fn new(local: &str) -> Result<LocalPart, AddressErrorKind> {
        if local.is_empty() {
            return Err(AddressErrorKind::EmptyLocalPart);
        }
        if find_forbidden(local).is_some() {
            return Err(AddressErrorKind::ControlCharacter);
        }
        let mut text = Text::default();
        text.push_folded(local);
        Ok(LocalPart(text))
    }

    /// The local part, without quotes, folded.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address of this local part in `domain`.
    pub fn complete(self, domain: &Domain) -> Address {
        let mut key = self.0;
        let at = key.len();
        key.push_str("@");
        key.push_str(domain.as_str());
        Address { key, at, domain: domain.clone() }
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_local(f, self.as_str())
    }
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// `Local-part = Dot-string / Quoted-string` (RFC 5321 §4.1.2).
fn write_local(f: &mut fmt::Formatter<'_>, local: &str) -> fmt::Result {
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_atext);
    if local.split('.').all(is_atom) {
        return f.write_str(local);
    }
    f.write_char('"')?;
    for character in local.chars() {
        if matches!(character, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(character)?;
    }
    f.write_char('"')
}

/// `atext` of RFC 5322 §3.2.3, with UTF8-non-ascii (RFC 6531 §3.3).
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric() || !character.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_quotes_where_rfc_5321_section_4_1_2_asks() {
        let domain = Domain::parse("example.com").unwrap();
        for (local, shown) in [
            ("joe", "joe@example.com"),
            ("Joe.User+tag", "joe.user+tag@example.com"),
            ("a!b%c=d", "a!b%c=d@example.com"),
            ("jos\u{e9}", "jos\u{e9}@example.com"),
            ("a b", r#""a b"@example.com"#),
            ("a@b", r#""a@b"@example.com"#),
            (r#"a"b\c"#, r#""a\"b\\c"@example.com"#),
            (".a", r#"".a"@example.com"#),
            ("a.", r#""a."@example.com"#),
            ("a..b", r#""a..b"@example.com"#),
            ("<>", r#""<>"@example.com"#),
        ] {
            let address = Address::new(local, &domain).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap(), address);
            assert_eq!(address.key_str(), format!("{}@example.com", local.to_lowercase()));
        }
    }

    #[test]
    fn a_local_part_is_never_empty_and_never_holds_a_control_character() {
        for (local, error) in [
            ("", AddressErrorKind::EmptyLocalPart),
            ("a\nb", AddressErrorKind::ControlCharacter),
            ("\u{7f}", AddressErrorKind::ControlCharacter),
            ("a\u{9b}", AddressErrorKind::ControlCharacter),
            ("a\u{2028}", AddressErrorKind::ControlCharacter),
            ("a\u{2066}", AddressErrorKind::ControlCharacter),
        ] {
            assert_eq!(LocalPart::new(local), Err(error), "{local:?}");
        }
    }

    #[test]
    fn the_last_at_sign_of_the_key_separates() {
        let address = Address::parse(r#""a@b"@example.com"#).unwrap();
        assert_eq!(address.local(), "a@b");
        assert_eq!(address.domain().as_str(), "example.com");
        assert_eq!(address.key(), b"a@b@example.com");
        assert_eq!(address.with_local("X").unwrap().key_str(), "x@example.com");
    }

    #[test]
    fn an_address_in_a_file_needs_a_domain() {
        let error = Address::parse("joe").unwrap_err();
        assert_eq!(error, AddressError { at: 3, kind: AddressErrorKind::NoDomain, domain: None });
    }
}
