//! A domain as an administrator writes it: `example.com`, or `.example.org` for that domain's subdomains.
//!
//! It never matches by substring. Failure answer: [`DomainError`].

use std::{fmt, str::FromStr};

use super::{domain::Domain, error::DomainError};

/// `example.com` (that domain alone) or `.example.org` (its subdomains at any depth, not itself).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainPattern {
    domain: Domain,
    subdomains: bool,
}

impl DomainPattern {
    /// Reads a pattern; the domain is normalised as [`Domain::parse`] does.
    ///
    /// # Errors
    /// [`DomainError`] if what follows the optional leading dot is not a domain, or is a literal behind a dot.
    pub fn parse(text: &str) -> Result<DomainPattern, DomainError> {
        match text.strip_prefix('.') {
            Some(rest) if rest.starts_with('[') => Err(DomainError::Literal),
            Some(rest) => Ok(DomainPattern { domain: Domain::parse(rest)?, subdomains: true }),
            None => Ok(DomainPattern { domain: Domain::parse(text)?, subdomains: false }),
        }
    }

    /// Whether the domain is meant by this pattern.
    pub fn matches(&self, domain: &Domain) -> bool {
        if self.subdomains {
            domain.ancestors().any(|ancestor| ancestor == self.domain.as_str())
        } else {
            *domain == self.domain
        }
    }

    /// The domain without the leading dot.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the pattern has a leading dot: the domain's subdomains are meant, not the domain.
    pub fn subdomains(&self) -> bool {
        self.subdomains
    }
}

impl From<Domain> for DomainPattern {
    fn from(domain: Domain) -> DomainPattern {
        DomainPattern { domain, subdomains: false }
    }
}

impl FromStr for DomainPattern {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<DomainPattern, DomainError> {
        DomainPattern::parse(text)
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.subdomains { "." } else { "" }, self.domain)
    }
}

impl<'de> serde::Deserialize<'de> for DomainPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DomainPattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format_args!("`{}`: {error}", text.escape_debug())))
    }
}

impl serde::Serialize for DomainPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_dot_means_the_subdomains_only() {
        for (pattern, domain, matches) in [
            ("example.com", "Example.COM.", true),
            ("example.com", "mail.example.com", false),
            (".example.org", "mail.example.org", true),
            (".example.org", "a.b.example.org", true),
            (".Example.Org.", "a.example.org", true),
            (".example.org", "example.org", false),
            (".example.org", "badexample.org", false),
            (".b\u{fc}cher.example", "x.xn--bcher-kva.example", true),
            ("[192.0.2.1]", "[192.0.2.1]", true),
        ] {
            let pattern = DomainPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&Domain::parse(domain).unwrap()), matches, "{pattern} {domain}");
            assert_eq!(DomainPattern::parse(&pattern.to_string()).unwrap(), pattern);
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for (text, error) in [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("..example.org", DomainError::EmptyLabel),
            (".[192.0.2.1]", DomainError::Literal),
            (".2.1]", DomainError::Character(']')),
            ("*.example.org ", DomainError::Character(' ')),
        ] {
            assert_eq!(DomainPattern::parse(text), Err(error), "{text:?}");
        }
    }
}
