//! Names that stand for themselves and all below them.

use std::collections::HashMap;

use crate::address::DomainPattern;

/// A set of domains; one with a dot before it stands only for what is below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Suffixes {
    /// As written, by the name without the dot.
    names: HashMap<Box<str>, Box<str>>,
}

impl Suffixes {
    /// The entry that a name falls under, as written; the name in lower case without a dot at the end. The longest
    /// counts.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        if self.names.is_empty() {
            return None;
        }
        let itself = self.names.get(name).filter(|written| !written.starts_with('.'));
        let below = || {
            let dots = name.match_indices('.');
            dots.filter_map(|(dot, _)| self.names.get(&name[dot + 1..])).next()
        };
        itself.or_else(below).map(AsRef::as_ref)
    }
}

impl<'a> FromIterator<&'a DomainPattern> for Suffixes {
    fn from_iter<I: IntoIterator<Item = &'a DomainPattern>>(patterns: I) -> Self {
        let mut names: HashMap<Box<str>, Box<str>> = HashMap::new();
        for pattern in patterns {
            let written = names.entry(pattern.domain().as_str().into()).or_default();
            // Of `.example.com` and `example.com` the latter covers both.
            if written.is_empty() || written.starts_with('.') {
                *written = pattern.to_string().into();
            }
        }
        Self { names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_all_below_it() {
        let patterns = ["static.example.net", ".example.org", "a.b.test"]
            .map(|text| DomainPattern::parse(text).unwrap());
        let suffixes: Suffixes = patterns.iter().collect();
        for (name, expected) in [
            ("static.example.net", Some("static.example.net")),
            ("1-2-3-4.static.example.net", Some("static.example.net")),
            ("nonstatic.example.net", None),
            ("example.net", None),
            ("example.org", None),
            ("x.example.org", Some(".example.org")),
            ("x.y.example.org", Some(".example.org")),
            ("b.test", None),
            ("", None),
        ] {
            assert_eq!(suffixes.find(name), expected, "{name}");
        }
        assert_eq!(Suffixes::default().find("x"), None);
    }
}
