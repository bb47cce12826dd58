//! Which of the configured directories are in charge of a domain, found without asking each of them.

use smallvec::SmallVec;

use super::DomainMap;
use crate::address::{Domain, DomainError, DomainPattern};

/// Places of directories in the configuration, by what they are in charge of.
#[derive(Debug, Default)]
pub(super) struct Charge {
    /// Of what `[domains]` lists.
    listed: Vec<usize>,
    names: DomainMap<Vec<usize>>,
    /// Of all subdomains of these.
    above: DomainMap<Vec<usize>>,
}

impl Charge {
    /// Puts the directory at that place in charge of these names and patterns; without any, of what `[domains]` lists.
    ///
    /// # Errors
    /// The first that is neither, and why.
    pub(super) fn add<'a>(
        &mut self,
        place: usize,
        names: Option<&'a [String]>,
    ) -> Result<(), (&'a str, DomainError)> {
        let Some(names) = names else {
            self.listed.push(place);
            return Ok(());
        };
        for name in names {
            let pattern = DomainPattern::parse(name).map_err(|error| (name.as_str(), error))?;
            let places = if pattern.subdomains() { &mut self.above } else { &mut self.names };
            places.entry(pattern.domain().clone()).or_default().push(place);
        }
        Ok(())
    }

    /// The directories in charge of a domain, which `[domains]` lists or not, in the order of the configuration.
    pub(super) fn places(&self, domain: &Domain, listed: bool) -> SmallVec<[usize; 4]> {
        let listed = listed.then_some(&self.listed).into_iter();
        let names = self.names.get(domain).into_iter();
        let mut places: SmallVec<_> = listed.chain(names).flatten().copied().collect();
        if !self.above.is_empty() {
            places.extend(domain.ancestors().filter_map(|above| self.above.get(above)).flatten().copied());
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether none names a domain.
    pub(super) fn names_nothing(&self) -> bool {
        self.names.is_empty() && self.above.is_empty()
    }

    /// Whether one names the domain itself.
    pub(super) fn names(&self, domain: &Domain) -> bool {
        self.names.contains_key(domain)
    }

    /// The nearest domain above it of all of whose subdomains one is in charge.
    pub(super) fn above<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        domain.ancestors().find(|above| self.above.contains_key(*above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_in_charge_in_the_order_of_the_configuration() {
        let mut charge = Charge::default();
        assert!(charge.names_nothing());
        let of: [Option<&[&str]>; 5] = [
            Some(&[".example.org", ".a.example.org", "a.example.org"]),
            None,
            Some(&["B.a.example.org.", "example.com"]),
            None,
            Some(&[".org", "example.com"]),
        ];
        for (place, names) in of.into_iter().enumerate() {
            let names = names.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
            charge.add(place, names.as_deref()).unwrap();
        }
        for (name, listed, expected) in [
            ("example.org", false, &[4][..]),
            ("a.example.org", false, &[0, 4]),
            ("b.a.example.org", false, &[0, 2, 4]),
            ("b.a.example.org", true, &[0, 1, 2, 3, 4]),
            ("x.b.a.example.org", false, &[0, 4]),
            ("example.com", false, &[2, 4]),
            ("example.com", true, &[1, 2, 3, 4]),
            ("sub.example.com", false, &[]),
            ("sub.example.com", true, &[1, 3]),
            ("[192.0.2.1]", false, &[]),
        ] {
            assert_eq!(charge.places(&name.parse().unwrap(), listed).as_slice(), expected, "{name}");
        }
        assert!(charge.names(&"example.com".parse().unwrap()));
        assert!(!charge.names(&"example.org".parse().unwrap()));
        assert_eq!(charge.above(&"b.a.example.org".parse().unwrap()), Some("a.example.org"));
        assert_eq!(charge.above(&"org".parse().unwrap()), None);
        assert!(!charge.names_nothing());
    }

    #[test]
    fn what_is_no_domain_is_told() {
        let names = ["example.com".to_owned(), "a@b".to_owned()];
        let (name, _) = Charge::default().add(0, Some(&names)).unwrap_err();
        assert_eq!(name, "a@b");
    }
}
