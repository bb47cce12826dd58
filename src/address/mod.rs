//! Envelope addresses and domains: parsed once, normalised once, compared as plain bytes from then on.
//!
//! Purpose: to turn what a client wrote after `MAIL FROM:` and `RCPT TO:` (RFC 5321 §4.1.2, RFC 6531), and
//! what an administrator wrote in a file, into values that are equal when mail for them goes to the same place.
//! It never does I/O, reads no clock, logs nothing and never panics on hostile input.
//! Failure answer: a typed [`AddressError`] which says where the fault is and still carries the domain, when one
//! can be read, because a fault in an address of a domain that is not ours is none of our business.
//!
//! - [`parse_rcpt`], [`parse_mail`]: the argument of a command, as the MTAs hand it over.
//! - [`Address`], [`LocalPart`], [`Domain`], [`DomainPattern`]: the normalised values.
//! - [`AddressSet`]: addresses, local parts and domains as administrators list them.
//! - [`inner_route`], [`routes`]: the addresses hidden inside a local part (`user%host`, `host!user`, …).
//! - [`untag`]: SRS and BATV undone. [`candidates()`]: the spellings under which a recipient is looked up.

mod candidates;
mod domain;
mod error;
mod mailbox;
mod parse;
mod path;
mod pattern;
mod route;
mod set;
mod tags;
mod text;

#[cfg(test)]
mod properties;

pub use candidates::{Candidate, Candidates, Delimiters, Form, MAX_CANDIDATES, candidates, mailbox};
pub use domain::{Ancestors, Domain};
pub use error::{AddressError, AddressErrorKind, DomainError};
pub use mailbox::{Address, LocalPart};
pub use path::{MAX_ARGUMENT, Path, ReversePath, parse_mail, parse_rcpt};
pub use pattern::DomainPattern;
pub use route::{Inner, MAX_DEPTH, Routes, inner_route, routes};
pub use set::{AddressSet, Listed, WordError};
pub use tags::{Scheme, Untagged, untag};

/// Whether a local part is `postmaster`, compared without case (RFC 5321 §4.5.1).
pub fn is_postmaster(local: &str) -> bool {
    local.eq_ignore_ascii_case("postmaster")
}
