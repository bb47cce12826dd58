//! The spellings under which one recipient is looked up, in order: as written, without SRS or BATV tags, without
//! its sub-address.
//!
//! It never makes an empty local part, and never more than [`MAX_CANDIDATES`]. It cannot fail.

use std::{borrow::Cow, vec};

use super::{domain::Domain, mailbox::Address, tags::untag};

/// Most candidates that one address has. With more delimiters than fit, the shortest form is still among them,
/// because it is the one that Postfix (`recipient_delimiter`) and Sendmail (`user+detail`) fall back to.
pub const MAX_CANDIDATES: usize = 8;

/// A set of characters, any of which separates a mailbox from its sub-address, as Postfix reads
/// `recipient_delimiter` (postconf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiters(Box<str>);

impl Delimiters {
    /// The set of the characters of `characters`; none: addresses have no sub-address.
    pub fn new(characters: &str) -> Delimiters {
        Delimiters(characters.into())
    }

    /// Whether the character separates.
    pub fn contains(&self, character: char) -> bool {
        self.0.contains(character)
    }

    /// The characters, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `+`, as most systems have it.
impl Default for Delimiters {
    fn default() -> Delimiters {
        Delimiters::new("+")
    }
}

/// One spelling to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// How it came about.
    pub form: Form,
    /// What to look up; borrowed where it is the address itself.
    pub address: Cow<'a, Address>,
}

/// How a candidate came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The address as written.
    Written,
    /// Without its SRS or BATV tag. With SRS the domain may be another one.
    Untagged,
    /// Without its sub-address.
    Stripped,
}

/// The candidates of an address, each once. The first costs nothing; the others are made when it is used up.
pub fn candidates<'a>(address: &'a Address, delimiters: &'a Delimiters) -> Candidates<'a> {
    Candidates { written: Some(address), address, delimiters, rest: None }
}

/// Iterator of [`candidates`].
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    written: Option<&'a Address>,
    address: &'a Address,
    delimiters: &'a Delimiters,
    rest: Option<vec::IntoIter<(Form, Address)>>,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    fn next(&mut self) -> Option<Candidate<'a>> {
        if let Some(written) = self.written.take() {
            return Some(Candidate { form: Form::Written, address: Cow::Borrowed(written) });
        }
        let rest = self.rest.get_or_insert_with(|| others(self.address, self.delimiters).into_iter());
        rest.next().map(|(form, address)| Candidate { form, address: Cow::Owned(address) })
    }
}

fn others(written: &Address, delimiters: &Delimiters) -> Vec<(Form, Address)> {
    let mut found = Vec::new();
    let mut add = |form, address: Address, room: usize| {
        let known = address == *written || found.iter().any(|(_, other)| *other == address);
        if !known && found.len() + 1 + room < MAX_CANDIDATES + 1 {
            found.push((form, address));
        }
    };
    let mut bases = vec![written.clone()];
    while bases.len() <= MAX_TAGS
        && let Some(inner) = bases.last().and_then(untagged)
    {
        add(Form::Untagged, inner.clone(), 0);
        bases.push(inner);
    }
    // The innermost first: it is the likeliest. The written one last, because a mailbox named `srs0` may exist.
    bases.reverse();
    for base in bases.iter().filter(|base| base.domain() == written.domain()) {
        strip(base, delimiters, &mut add);
    }
    found
}

fn strip(base: &Address, delimiters: &Delimiters, add: &mut impl FnMut(Form, Address, usize)) {
    let local = base.local();
    let cuts = || local.char_indices().filter(|(at, c)| *at > 0 && delimiters.contains(*c)).map(|(at, _)| at);
    let Some(shortest) = cuts().next() else { return };
    for cut in cuts().rev().take(MAX_CANDIDATES) {
        if let Ok(address) = base.with_local(&local[..cut]) {
            add(Form::Stripped, address, usize::from(cut != shortest));
        }
    }
    if let Ok(address) = base.with_local(&local[..shortest]) {
        add(Form::Stripped, address, 0);
    }
}

fn untagged(address: &Address) -> Option<Address> {
    let inner = untag(address.local())?;
    match inner.domain {
        Some(domain) => Address::new(inner.local, &Domain::parse(domain).ok()?).ok(),
        None => address.with_local(inner.local).ok(),
    }
}

/// Tags within tags that are undone: BATV signed by one host, SRS rewritten by the next.
const MAX_TAGS: usize = 3;
