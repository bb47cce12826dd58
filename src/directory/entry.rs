//! One line's worth of a list of recipients.

use std::borrow::Cow;

use crate::address::{
    Address, AddressError, AddressErrorKind, Domain, DomainError, LocalPart, Path, parse_rcpt,
};

/// What a list names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// `user@example.com`
    Address(Address),
    /// `user`: that local part in every domain that the list is in charge of.
    Local(LocalPart),
    /// `@example.com`: whatever is sent to that domain.
    CatchAll(Domain),
}

/// Text that names no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Not a local part.
    #[error(transparent)]
    Local(#[from] AddressErrorKind),
    /// Not a domain after the leading `@`.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Entry {
    /// What stands for it in an index: `local@domain`, `local@` (in any domain), `@domain` (catch-all).
    pub(super) fn key(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Address(address) => Cow::Borrowed(address.key()),
            Self::Local(local) => Cow::Owned([local.as_str().as_bytes(), b"@"].concat()),
            Self::CatchAll(domain) => Cow::Owned([b"@", domain.as_str().as_bytes()].concat()),
        }
    }

    /// Reads an entry as an administrator writes it: quotes only where the address needs them.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(text: &[u8]) -> Result<Self, EntryError> {
        if let [b'@', domain @ ..] = text {
            return Ok(Self::CatchAll(Domain::parse(domain)?));
        }
        Ok(match parse_rcpt(text)? {
            Path::Address(address) => Self::Address(address),
            Path::Local(local) => Self::Local(local),
        })
    }

    /// Reads a user's name as a system knows it: nothing is quoted, and if there is an `@`, what follows the
    /// last one is the domain.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn from_name(name: &str) -> Result<Self, EntryError> {
        Ok(match name.rsplit_once('@') {
            Some(("", domain)) => Self::CatchAll(Domain::parse(domain)?),
            Some((local, domain)) => Self::Address(Address::new(local, &Domain::parse(domain)?)?),
            None => Self::Local(LocalPart::new(name)?),
        })
    }
}
