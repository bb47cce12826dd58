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
pub struct Delimiters {
    characters: Box<str>,
    /// One bit for each of them that is ASCII.
    ascii: u128,
}

impl Delimiters {
    /// The set of the characters of `characters`; none: addresses have no sub-address.
    pub fn new(characters: &str) -> Delimiters {
        let ascii = characters.chars().filter(char::is_ascii).fold(0, |set, character| set | bit(character));
        Delimiters { characters: characters.into(), ascii }
    }

    /// Whether the character separates.
    pub fn contains(&self, character: char) -> bool {
        if character.is_ascii() {
            self.ascii & bit(character) != 0
        } else {
            self.characters.contains(character)
        }
    }

    /// Whether there may be a tag or a sub-address in a local part.
    fn may_split(&self, local: &str) -> bool {
        let is_one = |byte: u8| byte == b'=' || byte.is_ascii() && self.ascii & 1 << byte != 0;
        local.bytes().any(is_one) || !self.characters.is_ascii() && local.contains(|c| self.contains(c))
    }

    /// The characters, as given.
    pub fn as_str(&self) -> &str {
        &self.characters
    }
}

/// Of an ASCII character.
fn bit(character: char) -> u128 {
    1 << (u32::from(character) & 127)
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

/// The address without tags and sub-address, in its own domain: one for all the forms of a mailbox.
pub fn mailbox<'a>(address: &'a Address, delimiters: &'a Delimiters) -> Cow<'a, Address> {
    let forms = candidates(address, delimiters).map(|form| form.address);
    let own = forms.filter(|form| form.domain() == address.domain());
    own.min_by_key(|form| form.local().len()).unwrap_or(Cow::Borrowed(address))
}

/// Iterator of [`candidates()`].
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
    // Most addresses have no other form, and cost nothing more.
    let local = written.local();
    if !delimiters.may_split(local) {
        return Vec::new();
    }
    let mut found: Vec<(Form, Address)> = Vec::new();
    // `reserved` places are kept for what comes later and matters more.
    let mut add = |form, address: Address, reserved: usize| {
        let known = address == *written || found.iter().any(|(_, other)| *other == address);
        let used = 1 + found.len();
        if !known && used + reserved < MAX_CANDIDATES {
            found.push((form, address));
        }
    };
    let mut bases = vec![Cow::Borrowed(written)];
    while bases.len() <= MAX_TAGS
        && let Some(inner) = bases.last().and_then(|base| untagged(base))
    {
        add(Form::Untagged, inner.clone(), 0);
        bases.push(Cow::Owned(inner));
    }
    bases.retain(|base| base.domain() == written.domain());
    // The innermost first: it is the likeliest. The written one last, because a mailbox named `srs0` may exist.
    for (later, base) in bases.iter().enumerate().rev() {
        let local = base.local();
        let cuts =
            local.char_indices().filter(|(at, c)| *at > 0 && delimiters.contains(*c)).map(|(at, _)| at);
        let Some(shortest) = cuts.clone().next() else { continue };
        for cut in cuts.rev().take_while(|cut| *cut > shortest).take(MAX_CANDIDATES).chain([shortest]) {
            let stripped = base.with_local(&local[..cut]).expect("a part of a local part, and not empty");
            add(Form::Stripped, stripped, later + usize::from(cut > shortest));
        }
    }
    found
}

fn untagged(address: &Address) -> Option<Address> {
    let inner = untag(address.local())?;
    match inner.domain {
        Some(domain) => Address::new(inner.local, &Domain::parse(domain).ok()?).ok(),
        None => address.with_local(inner.local).ok(),
    }
}

/// Tags within tags that are undone: signed (BATV) by one host, rewritten (SRS) by the next.
const MAX_TAGS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(address: &str, delimiters: &str) -> Vec<String> {
        let address = Address::parse(address).unwrap();
        candidates(&address, &Delimiters::new(delimiters))
            .map(|Candidate { form, address }| match form {
                Form::Written => format!("w {}", address.key_str()),
                Form::Untagged => format!("u {}", address.key_str()),
                Form::Stripped => format!("s {}", address.key_str()),
            })
            .collect()
    }

    #[test]
    fn candidates_in_order() {
        for (address, delimiters, expected) in [
            ("joe@d", "+", &["w joe@d"][..]),
            // postconf(5) recipient_delimiter: a set; local(8) strips the extension.
            ("Joe+x@d", "+", &["w joe+x@d", "s joe@d"]),
            ("joe+x@d", "", &["w joe+x@d"]),
            ("joe+x@d", "-", &["w joe+x@d"]),
            ("a+b+c@d", "+", &["w a+b+c@d", "s a+b@d", "s a@d"]),
            ("a-b+c@d", "+-", &["w a-b+c@d", "s a-b@d", "s a@d"]),
            ("joe+@d", "+", &["w joe+@d", "s joe@d"]),
            ("a++b@d", "+", &["w a++b@d", "s a+@d", "s a@d"]),
            // split_addr(3) of Postfix: never an empty local part.
            ("+joe@d", "+", &["w +joe@d"]),
            ("+@d", "+", &["w +@d"]),
            ("jos\u{e9}+x@d", "+", &["w jos\u{e9}+x@d", "s jos\u{e9}@d"]),
            // Tags are undone before the sub-address is stripped.
            ("prvs=1234abcdef=joe@d", "+", &["w prvs=1234abcdef=joe@d", "u joe@d"]),
            (
                "prvs=1234abcdef=joe+x@d",
                "+",
                &["w prvs=1234abcdef=joe+x@d", "u joe+x@d", "s joe@d", "s prvs=1234abcdef=joe@d"],
            ),
            // An SRS forwarder that is a mailbox named `srs0` with sub-addresses is found as well.
            ("SRS0+hh=tt=x=joe@d", "+", &["w srs0+hh=tt=x=joe@d", "u joe@x", "s srs0@d"]),
            (
                "SRS0=hh=tt=d=joe+x@d",
                "+",
                &["w srs0=hh=tt=d=joe+x@d", "u joe+x@d", "s joe@d", "s srs0=hh=tt=d=joe@d"],
            ),
            // Not a domain: the tag is not undone.
            ("\"SRS0=hh=tt=a b=joe\"@d", "+", &["w srs0=hh=tt=a b=joe@d"]),
            // More than fit: the shortest stays.
            (
                "1+2+3+4+5+6+7+8+9+0@d",
                "+",
                &[
                    "w 1+2+3+4+5+6+7+8+9+0@d",
                    "s 1+2+3+4+5+6+7+8+9@d",
                    "s 1+2+3+4+5+6+7+8@d",
                    "s 1+2+3+4+5+6+7@d",
                    "s 1+2+3+4+5+6@d",
                    "s 1+2+3+4+5@d",
                    "s 1+2+3+4@d",
                    "s 1@d",
                ],
            ),
        ] {
            assert_eq!(forms(address, delimiters), expected, "{address}");
        }
    }

    #[test]
    fn tags_within_tags_end() {
        let deep = "prvs=1234abcdef=".repeat(50) + "joe@d";
        assert_eq!(forms(&deep, "+").len(), 1 + MAX_TAGS);
    }

    #[test]
    fn the_first_candidate_is_borrowed() {
        let (address, delimiters) = (Address::parse("joe+x@d").unwrap(), Delimiters::default());
        assert!(matches!(candidates(&address, &delimiters).next().unwrap().address, Cow::Borrowed(_)));
    }
}
