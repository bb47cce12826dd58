//! An entry as a server sent it (RFC 4511 §4.5.2), names compared without case and without their options.
//!
//! It is taken apart here, because the library's own way panics on what is not UTF-8. Active Directory sends long lists of
//! values in pieces (`;range=0-1499`): [`Object::is_whole`] tells, [`complete`] fetches the rest.

use std::ops::ControlFlow;

use ldap3::{Ldap, ResultEntry, Scope, SearchEntry};

use super::fault::{Code, Fault};

/// An entry, or what may be seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object {
    /// Its distinguished name; what is no text in it was replaced.
    pub(super) dn: String,
    attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    /// In lower case, without options.
    name: String,
    /// More values follow, from this one on.
    next: Option<u32>,
    values: Vec<Vec<u8>>,
}

impl Object {
    /// Takes an entry of a search result apart; `None` if it is none.
    pub(super) fn read(entry: ResultEntry) -> Option<Self> {
        let mut fields = entry.0.match_id(ENTRY)?.expect_constructed()?.into_iter();
        let dn = String::from_utf8_lossy(&fields.next()?.expect_primitive()?).into_owned();
        let mut attributes = Vec::new();
        for attribute in fields.next()?.expect_constructed()? {
            let mut parts = attribute.expect_constructed()?.into_iter();
            let description = parts.next()?.expect_primitive()?;
            let values = parts.next()?.expect_constructed()?.into_iter();
            let values = values.map(|value| value.expect_primitive()).collect::<Option<Vec<_>>>()?;
            attributes.push(Attribute::new(&String::from_utf8_lossy(&description), values));
        }
        Some(Self { dn, attributes })
    }

    /// The values of the attribute, whatever its options.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.attributes.iter().filter(move |attribute| attribute.name.eq_ignore_ascii_case(name));
        named.flat_map(|attribute| attribute.values.iter().map(Vec::as_slice))
    }

    /// Its first value, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        str::from_utf8(self.values(name).next()?).ok()
    }

    /// Whether all values that there are were sent.
    pub(super) fn is_whole(&self, name: &str) -> bool {
        !self
            .attributes
            .iter()
            .any(|attribute| attribute.next.is_some() && attribute.name.eq_ignore_ascii_case(name))
    }

    /// An attribute of which more values follow, and from which on.
    fn unfinished(&self) -> Option<(&str, u32)> {
        self.attributes.iter().find_map(|attribute| Some((attribute.name.as_str(), attribute.next?)))
    }

    /// Adds what came of the rest of the attribute; breaks off when it does not go on.
    fn extend(&mut self, name: &str, more: Self) -> ControlFlow<()> {
        let Some(known) = self.attributes.iter_mut().find(|known| known.name == name && known.next.is_some())
        else {
            return ControlFlow::Break(());
        };
        let before = known.next.take();
        let mut grown = false;
        for attribute in more.attributes.into_iter().filter(|attribute| attribute.name == name) {
            grown |= !attribute.values.is_empty();
            known.next = known.next.max(attribute.next);
            known.values.extend(attribute.values);
        }
        if !grown || known.next.is_some_and(|next| Some(next) <= before) || known.values.len() > MOST_VALUES {
            known.next = before;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    #[cfg(test)]
    pub(super) fn of(attributes: &[(&str, &[&str])]) -> Self {
        let attributes = attributes.iter().map(|(description, values)| {
            Attribute::new(description, values.iter().map(|value| value.as_bytes().to_vec()).collect())
        });
        Self { dn: "cn=test".to_owned(), attributes: attributes.collect() }
    }
}

/// From the library's own taking apart, for those who have one already.
impl From<SearchEntry> for Object {
    fn from(entry: SearchEntry) -> Self {
        let text = entry.attrs.into_iter().map(|(description, values)| {
            Attribute::new(&description, values.into_iter().map(String::into_bytes).collect())
        });
        let mut attributes: Vec<_> = text.collect();
        let binary =
            entry.bin_attrs.into_iter().map(|(description, values)| Attribute::new(&description, values));
        attributes.extend(binary);
        Self { dn: entry.dn, attributes }
    }
}

impl Attribute {
    fn new(description: &str, values: Vec<Vec<u8>>) -> Self {
        let mut parts = description.split(';');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let next = parts.find_map(range_end).and_then(|end| end.checked_add(1));
        Self { name, next, values }
    }
}

/// Fetches the values that Active Directory kept back, as long as it gives more.
///
/// # Errors
/// When the server can't be asked, says no, or sends more than any entry has. The entry then lacks values.
pub(super) async fn complete(ldap: &mut Ldap, object: &mut Object) -> Result<(), Fault> {
    while let Some((name, next)) = object.unfinished() {
        let name = name.to_owned();
        let wanted = format!("{name};range={next}-*");
        let found = ldap.search(&object.dn, Scope::Base, "(objectClass=*)", [wanted]).await?;
        if found.1.rc != 0 {
            return Err(Fault::Search(Code::of(&found.1)));
        }
        let more = found.0.into_iter().find_map(Object::read).ok_or(Fault::Malformed)?;
        if object.extend(&name, more).is_break() {
            return Err(Fault::Malformed);
        }
    }
    Ok(())
}

/// `range=0-1499` (MS-ADTS 3.1.1.3.1.3.3): the last value that is there; `None` for `range=0-*` and other options.
fn range_end(option: &str) -> Option<u32> {
    let (key, range) = option.split_once('=')?;
    if !key.eq_ignore_ascii_case("range") {
        return None;
    }
    range.split_once('-')?.1.parse().ok()
}

/// `SearchResultEntry ::= [APPLICATION 4]`
const ENTRY: u64 = 4;
/// Of one attribute.
const MOST_VALUES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_options() {
        let object = Object::of(&[
            ("mail", &["a@x"]),
            ("MAIL;lang-de", &["b@x"]),
            ("proxyAddresses", &[]),
            ("proxyAddresses;range=0-1", &["1", "2"]),
            ("member;range=0-*", &["3"]),
        ]);
        assert_eq!(object.values("Mail").collect::<Vec<_>>(), [b"a@x", b"b@x"]);
        assert_eq!(object.text("proxyaddresses"), Some("1"));
        assert!(!object.is_whole("proxyAddresses") && object.is_whole("member") && object.is_whole("mail"));
        assert_eq!(object.unfinished(), Some(("proxyaddresses", 2)));
    }

    #[test]
    fn pieces_are_put_together_and_a_server_that_never_ends_is_left() {
        let start = Object::of(&[("p;range=0-1", &["1", "2"])]);
        let last = Object::of(&[("p;range=2-*", &["3"])]);
        let mut object = start.clone();
        assert!(object.extend("p", last).is_continue());
        assert_eq!(object.values("p").count(), 3);
        assert!(object.is_whole("p"));
        for stuck in [
            Object::of(&[]),
            Object::of(&[("p;range=0-1", &["1", "2"])]),
            Object::of(&[("p;range=2-9", &[])]),
        ] {
            let mut object = start.clone();
            assert!(object.extend("p", stuck).is_break());
            assert!(!object.is_whole("p"), "what is missing is not forgotten");
        }
    }
}
