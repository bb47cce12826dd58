//! Sets of domains: names and `.subdomain` patterns, from the configuration and from files.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::{
    address::{Domain, DomainError, DomainPattern},
    files::{Faults, LINE_LIMIT, LoadError, Loaded, Text, first_word, trim},
};

/// Domains, looked up without allocation. Who administers the site chose them: nobody makes them fall together.
#[derive(Debug, Clone, Default)]
pub struct DomainSet {
    names: HashSet<Domain, RandomState>,
    /// Those whose subdomains are meant.
    above: HashSet<Domain, RandomState>,
}

/// Something for each of the site's domains. As only the site puts domains there, nobody can choose many that collide, and
/// a cheap hash will do.
pub type DomainMap<T> = HashMap<Domain, T, RandomState>;

impl DomainSet {
    /// The set of these names and patterns.
    ///
    /// # Errors
    /// The first that is neither, and why.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Self, (&'a str, DomainError)> {
        let mut set = Self::default();
        for name in names {
            set.insert(&DomainPattern::parse(name).map_err(|error| (name.as_str(), error))?);
        }
        Ok(set)
    }

    /// Whether the domain, or a pattern for it, is in the set.
    pub fn contains(&self, domain: &Domain) -> bool {
        self.names.contains(domain)
            || (!self.above.is_empty() && domain.ancestors().any(|above| self.above.contains(above)))
    }

    /// Whether the domain itself is in the set.
    pub(super) fn names(&self, domain: &Domain) -> bool {
        self.names.contains(domain)
    }

    /// The domain above it all of whose subdomains are in the set.
    pub(super) fn above<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        domain.ancestors().find(|above| self.above.contains(*above))
    }

    /// Number of names and patterns.
    pub fn len(&self) -> usize {
        self.names.len() + self.above.len()
    }

    /// No names and no patterns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, pattern: &DomainPattern) {
        let domain = pattern.domain().clone();
        if pattern.subdomains() {
            self.above.insert(domain)
        } else {
            self.names.insert(domain)
        };
    }
}

/// Reads domain files: one name or pattern a line, `#` comments, in any case. TORISS_DOMAINS.TXT is one.
///
/// # Errors
/// When a file can't be read, or most of it makes no sense.
pub fn load_domains(texts: &mut [Text]) -> Result<Loaded<DomainSet>, LoadError> {
    let mut content = DomainSet::default();
    let mut faults = Faults::default();
    for text in texts {
        let path = Arc::clone(text.path());
        let (of_page, good) = read(text, &path, &mut content).map_err(|error| text.error(&error))?;
        of_page.judge(good)?;
        faults.append(of_page);
    }
    let entries = content.len() as u64;
    Ok(Loaded { content, entries, faults, may_shrink: false })
}

fn read(text: &mut Text, path: &Arc<Path>, set: &mut DomainSet) -> std::io::Result<(Faults, u64)> {
    let (mut faults, mut good) = (Faults::default(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next()? {
        let words = trim(line.text);
        if words.is_empty() || words.starts_with(b"#") {
            continue;
        }
        match pattern(words, line.cut) {
            Ok(pattern) => {
                good += 1;
                set.insert(&pattern);
            }
            Err(bad) => faults.note(path, line.number, &bad),
        }
    }
    Ok((faults, good))
}

fn pattern(words: &[u8], cut: bool) -> Result<DomainPattern, BadDomain> {
    if cut {
        return Err(BadDomain::TooLong);
    }
    let (word, rest) = first_word(words).map_err(|_| BadDomain::Words)?;
    if !rest.is_empty() && !rest.starts_with(b"#") {
        return Err(BadDomain::Words);
    }
    let word = std::str::from_utf8(word).map_err(|_| BadDomain::NotUtf8)?;
    Ok(DomainPattern::parse(word)?)
}

#[derive(Debug, thiserror::Error)]
enum BadDomain {
    #[error("longer than {LINE_LIMIT} bytes")]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("not one domain")]
    Words,
    #[error(transparent)]
    Domain(#[from] DomainError),
}
