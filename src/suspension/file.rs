//! The text file of suspensions, and what it says. Toriss' toriss_suspensions.txt is one.

use std::{collections::HashSet, sync::Arc};

use super::Suspension;
use crate::{
    address::{Address, AddressError, Domain, DomainError, Path, parse_rcpt},
    files::{Faults, LINE_LIMIT, LoadError, Loaded, Text, Unbalanced, first_word, trim},
};

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    /// `local@domain`
    addresses: HashSet<Box<str>>,
    /// Local parts, in every domain.
    locals: HashSet<Box<str>>,
    domains: HashSet<Domain>,
}

impl Suspended {
    pub(super) fn find(&self, address: &Address) -> Option<Suspension> {
        if self.addresses.contains(address.key_str()) {
            Some(Suspension::Address)
        } else if self.locals.contains(address.local()) {
            Some(Suspension::Local)
        } else if self.domains.contains(address.domain()) {
            Some(Suspension::Domain)
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len() + self.locals.len() + self.domains.len()
    }

    /// Takes one line's word.
    fn add(&mut self, word: &[u8]) -> Result<(), BadLine> {
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
}

/// Reads suspensions: `user@example.com`, `user`, `@example.com` or `example.com` a line, `#` comments.
pub(super) fn load(texts: &mut [Text]) -> Result<Loaded<Suspended>, LoadError> {
    let mut content = Suspended::default();
    let (mut faults, mut entries) = (Faults::default(), 0);
    for text in texts {
        let path = Arc::clone(text.path());
        let (mut of_file, mut good) = (Faults::default(), 0);
        let mut lines = text.lines();
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(text.error(&error)),
            };
            let said = trim(line.text);
            if said.is_empty() || said.starts_with(b"#") {
                continue;
            }
            let added = if line.cut {
                Err(BadLine::TooLong)
            } else {
                only_word(said).and_then(|word| content.add(word))
            };
            match added {
                Ok(()) => good += 1,
                Err(bad) => of_file.note(&path, line.number, &bad),
            }
        }
        of_file.judge(good)?;
        entries += good;
        faults.append(of_file);
    }
    // To hold back what is gone would refuse mail for those who were let in again.
    Ok(Loaded { content, entries, faults, may_shrink: true })
}

fn only_word(text: &[u8]) -> Result<&[u8], BadLine> {
    let (word, rest) = first_word(text)?;
    if rest.is_empty() || rest.starts_with(b"#") { Ok(word) } else { Err(BadLine::Words) }
}

#[derive(Debug, thiserror::Error)]
enum BadLine {
    #[error("longer than {LINE_LIMIT} bytes")]
    TooLong,
    #[error("more than one word")]
    Words,
    #[error(transparent)]
    Quote(#[from] Unbalanced),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Domain(#[from] DomainError),
}
