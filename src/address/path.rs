//! The argument of `MAIL` and `RCPT` as the MTAs hand it to a milter: with or without angle brackets, a null
//! sender as `<>` or as nothing, a source route, a local part alone.
//!
//! It never guesses a missing domain (see [`Path::complete`]). Failure answer: [`AddressError`], which carries the
//! domain wherever one can be read.

use super::{
    domain::Domain,
    error::{AddressError, AddressErrorKind},
    mailbox::{Address, LocalPart},
    parse,
    text::is_forbidden,
};

/// Longest argument that is looked at, in bytes. RFC 5321 §4.5.3.1.3 allows a path 256, tags and UTF-8 need more.
pub const MAX_ARGUMENT: usize = 1024;

/// A recipient that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// With a domain.
    Address(Address),
    /// Without one: `<postmaster>`, or a name given to the local `sendmail` command.
    Local(LocalPart),
}

impl Path {
    /// The local part, without quotes, folded.
    pub fn local(&self) -> &str {
        match self {
            Path::Address(address) => address.local(),
            Path::Local(local) => local.as_str(),
        }
    }

    /// The domain, where one was written.
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Path::Address(address) => Some(address.domain()),
            Path::Local(_) => None,
        }
    }

    /// The address, in `domain` if none was written. The MTA knows which (`$myorigin`, macro `j`).
    pub fn complete(self, domain: &Domain) -> Address {
        match self {
            Path::Address(address) => address,
            Path::Local(local) => local.complete(domain),
        }
    }
}

/// A sender. Nobody is refused for the shape of his sender address, hence no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>` or nothing: a bounce or another automatic message (RFC 5321 §4.5.5).
    Null,
    /// An address with its domain.
    Address(Address),
    /// A local part alone, or something that is no address.
    Other,
}

/// Reads the first argument of `RCPT`, with or without angle brackets, without `TO:` and ESMTP parameters.
///
/// Stricter than the MTAs (which rewrite) where guessing is dangerous, wider than RFC 5321 where real mailboxes
/// are: dots may stand anywhere in the local part, which may be longer than 64 bytes (SRS, VERP).
///
/// # Errors
/// [`AddressError`]: the place, the kind and the domain as far as it can be read.
pub fn parse_rcpt(argument: &[u8]) -> Result<Path, AddressError> {
    read(argument).map_err(|(at, kind)| AddressError { at, kind, domain: salvage(argument) })
}

/// Reads the first argument of `MAIL`, with or without angle brackets, without `FROM:` and ESMTP parameters.
pub fn parse_mail(argument: &[u8]) -> ReversePath {
    match parse_rcpt(argument) {
        Ok(Path::Address(address)) => ReversePath::Address(address),
        Err(AddressError { kind: AddressErrorKind::Empty, .. }) => ReversePath::Null,
        Ok(Path::Local(_)) | Err(_) => ReversePath::Other,
    }
}

/// The error for an address that must have a domain and has none.
pub(super) fn no_domain(argument: &[u8]) -> AddressError {
    AddressError { at: argument.len(), kind: AddressErrorKind::NoDomain, domain: None }
}

fn read(argument: &[u8]) -> Result<Path, (usize, AddressErrorKind)> {
    if argument.len() > MAX_ARGUMENT {
        return Err((MAX_ARGUMENT, AddressErrorKind::TooLong));
    }
    let text = std::str::from_utf8(argument)
        .map_err(|error| (error.valid_up_to(), AddressErrorKind::InvalidUtf8))?;
    if let Some((at, _)) = text.char_indices().find(|(_, character)| is_forbidden(*character)) {
        return Err((at, AddressErrorKind::ControlCharacter));
    }
    if parse::is_null(text) {
        return Err((0, AddressErrorKind::Empty));
    }
    let parsed = parse::argument(text).map_err(|fault| (argument.len() - fault.rest.len(), fault.kind))?;
    let local = LocalPart::new(&parsed.local).map_err(|kind| (0, kind))?;
    let Some(domain) = parsed.domain else { return Ok(Path::Local(local)) };
    let at = domain.as_ptr().addr() - text.as_ptr().addr();
    let domain = Domain::parse(domain).map_err(|error| (at, error.into()))?;
    Ok(Path::Address(local.complete(&domain)))
}

/// The domain of an argument that is no address: what follows the last `@`, less blanks, control characters,
/// comments and brackets around it.
fn salvage(argument: &[u8]) -> Option<Domain> {
    let at = argument.iter().rposition(|byte| *byte == b'@')?;
    let mut text = &argument[at + 1..];
    loop {
        let trimmed = text.trim_ascii();
        let trimmed = trimmed.strip_suffix(b">").unwrap_or(trimmed);
        let trimmed = without_comment(trimmed);
        if trimmed.len() == text.len() {
            return Domain::parse(text).ok();
        }
        text = trimmed;
    }
}

/// `domain(comment)` or `(comment)domain`, one comment less (RFC 5322 §3.2.2; RFC 5321 knows none).
fn without_comment(text: &[u8]) -> &[u8] {
    if text.first() == Some(&b'(') {
        let end = text.iter().position(|byte| *byte == b')');
        return end.map_or(text, |end| &text[end + 1..]);
    }
    if text.last() == Some(&b')') {
        let start = text.iter().rposition(|byte| *byte == b'(');
        return start.map_or(text, |start| &text[..start]);
    }
    text
}
