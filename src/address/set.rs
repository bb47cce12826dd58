//! A set of addresses, of local parts in every domain, and of whole domains, as administrators list them.

use std::collections::HashSet;

use super::{
    domain::Domain,
    error::{AddressError, DomainError},
    mailbox::Address,
    path::{Path, parse_rcpt},
};

/// What an administrator listed.
#[derive(Debug, Default)]
pub struct AddressSet {
    /// `local@domain`
    addresses: HashSet<Box<str>>,
    /// Local parts, in every domain.
    locals: HashSet<Box<str>>,
    domains: HashSet<Domain>,
}

/// Which entry an address was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The address itself.
    Address,
    /// Its local part, wherever.
    Local,
    /// Its whole domain.
    Domain,
}

/// A word that names neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Not an address or local part.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Not a domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl AddressSet {
    /// Takes a word: `user@example.com`, `user` (that local part in every domain), `@example.com` or `example.com`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn add(&mut self, word: &[u8]) -> Result<(), WordError> {
        if let [b'@', domain @ ..] = word {
            self.domains.insert(Domain::parse(domain)?);
            return Ok(());
        }
        match parse_rcpt(word)? {
            Path::Address(address) => {
                self.addresses.insert(address.key_str().into());
            }
            Path::Local(local) => {
                // `example.com` may be meant as a domain, `joe.doe` as a user; neither is ever both.
                if local.as_str().contains('.')
                    && let Ok(domain) = Domain::parse(word)
                {
                    self.domains.insert(domain);
                }
                self.locals.insert(local.as_str().into());
            }
        }
        Ok(())
    }

    /// Whether the address, exactly as it is, its local part or its domain is listed.
    pub fn find(&self, address: &Address) -> Option<Listed> {
        if self.addresses.contains(address.key_str()) {
            Some(Listed::Address)
        } else if self.locals.contains(address.local()) {
            Some(Listed::Local)
        } else if self.domains.contains(address.domain()) {
            Some(Listed::Domain)
        } else {
            None
        }
    }

    /// The entries that name a local part, each with that.
    pub fn users(&self) -> impl Iterator<Item = (&str, &str)> {
        let local = |entry| str::rsplit_once(entry, '@').map_or(entry, |(local, _)| local);
        let addresses = self.addresses.iter().map(move |entry| (&**entry, local(entry)));
        // One in quotes may have an `@` of its own.
        addresses.chain(self.locals.iter().map(|entry| (&**entry, &**entry)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.addresses.len() + self.locals.len() + self.domains.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_addresses_local_parts_and_domains() {
        let mut set = AddressSet::default();
        for word in ["Joe@Example.COM", "ann", "\"a@b\"", "@example.org", "example.net", "bob.jones"] {
            set.add(word.as_bytes()).unwrap();
        }
        for (address, found) in [
            ("joe@example.com", Some(Listed::Address)),
            ("jo@example.com", None),
            ("ann@anything.example", Some(Listed::Local)),
            ("anyone@example.org", Some(Listed::Domain)),
            ("anyone@example.net", Some(Listed::Domain)),
            ("anyone@sub.example.org", None),
            ("bob.jones@example.com", Some(Listed::Local)),
        ] {
            assert_eq!(set.find(&Address::parse(address).unwrap()), found, "{address}");
        }
        let mut users: Vec<_> = set.users().collect();
        users.sort_unstable();
        assert_eq!(
            users,
            [
                ("a@b", "a@b"),
                ("ann", "ann"),
                ("bob.jones", "bob.jones"),
                // It may be a user's name as well.
                ("example.net", "example.net"),
                ("joe@example.com", "joe"),
            ]
        );
        for bad in ["", "@", "a b", "a@b@"] {
            assert!(set.add(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
