//! Words of the configuration and of files: networks, places, patterns.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use backstop::{
    address::{Address, AddressSet, Delimiters, Domain, DomainPattern, Listed, Path, parse_rcpt},
    client::{DnsList, Network, Pattern},
    directory::Entry,
    net::{Endpoint, NameServer},
    policy::Reason,
    probe::Target,
    store::Place,
};

/// What is shown of a word is read as the same; a set has what was added to it; a pattern means what it says.
pub(crate) fn run(bytes: &[u8]) {
    set(bytes);
    if let Ok(entry) = Entry::parse(bytes) {
        let shown = match &entry {
            Entry::Address(address) => address.to_string(),
            Entry::Local(local) => local.to_string(),
            Entry::CatchAll(domain) => format!("@{domain}"),
        };
        assert_eq!(Entry::parse(shown.as_bytes()).as_ref(), Ok(&entry), "shown as {shown:?}");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    name(text);
    delimiters(text);
    if let Some(pattern) = reads_back::<DomainPattern>(text) {
        means_itself(&pattern);
    }
    reads_back::<DnsList>(text);
    reads_back::<NameServer>(text);
    reads_back::<Target>(text);
    reads_back::<Place>(text);
    reads_back::<Pattern>(text);
    reads_back::<Network>(text);
    reads_back::<Endpoint>(text);
    reads_back::<Reason>(text);
}

fn reads_back<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let word = text.parse::<T>().ok()?;
    let shown = word.to_string();
    assert_eq!(shown.parse::<T>().ok().as_ref(), Some(&word), "{text:?} is shown as {shown:?}");
    Some(word)
}

/// Who was added is found, and nobody else, and adding again adds nothing.
fn set(word: &[u8]) {
    let mut set = AddressSet::default();
    let is_taken = set.add(word).is_ok();
    let before = set.len();
    assert_eq!((set.is_empty(), set.add(word).is_ok(), set.len()), (!is_taken, is_taken, before));
    let find = |address: &str| set.find(&Address::parse(address).expect("an address"));
    match parse_rcpt(word) {
        _ if word.first() == Some(&b'@') => {
            let Ok(domain) = Domain::parse(&word[1..]) else { return };
            assert_eq!(find(&format!("anybody@{domain}")), Some(Listed::Domain));
            assert_eq!(find(&format!("anybody@not.{}", "example")), None);
        }
        Ok(Path::Address(address)) => assert_eq!(set.find(&address), Some(Listed::Address)),
        Ok(Path::Local(local)) => {
            let domain = Domain::parse("anywhere.example").expect("a domain");
            assert_eq!(set.find(&local.complete(&domain)), Some(Listed::Local));
        }
        Err(_) => assert!(!is_taken),
    }
    assert!(set.users().all(|(entry, user)| entry.starts_with(user) && !user.is_empty()));
}

/// A user's name as a system knows it is its own key: nothing in it is quoted.
fn name(text: &str) {
    let Ok(entry) = Entry::from_name(text) else { return };
    let key = match &entry {
        Entry::Address(address) => address.key_str().to_owned(),
        Entry::Local(local) => local.as_str().to_owned(),
        Entry::CatchAll(domain) => format!("@{domain}"),
    };
    assert_eq!(Entry::from_name(&key).as_ref(), Ok(&entry), "{text:?} is {key:?}");
}

/// A delimiter is each character of the text, and no other.
fn delimiters(text: &str) {
    let delimiters = Delimiters::new(text);
    assert_eq!(delimiters.as_str(), text);
    for c in text.chars().chain("+-=.a\0\u{7f}\u{80}\u{e9}".chars()) {
        assert_eq!(delimiters.contains(c), text.contains(c), "{c:?} of {text:?}");
    }
}

/// With a dot before it a pattern means what is below its domain, without one the domain alone.
fn means_itself(pattern: &DomainPattern) {
    assert_eq!(pattern.matches(pattern.domain()), !pattern.subdomains(), "{pattern}");
    if pattern.domain().literal().is_none()
        && let Ok(below) = Domain::parse(format!("below.{}", pattern.domain()))
    {
        assert_eq!(pattern.matches(&below), pattern.subdomains(), "{pattern} and {below}");
    }
    if let Ok(beside) = Domain::parse(format!("beside{}", pattern.domain())) {
        assert!(!pattern.matches(&beside), "{pattern} and {beside}");
    }
}
