//! Words of the configuration and of files: networks, places, patterns.

use std::{fmt::Display, str::FromStr};

use backstop::{
    address::{AddressSet, Delimiters, DomainPattern},
    client::{DnsList, Network},
    directory::Entry,
    net::{Endpoint, NameServer},
    policy::Reason,
    probe::Target,
    store::Place,
};

/// What is shown of a word is read as the same.
pub(crate) fn run(bytes: &[u8]) {
    let _ = (Entry::parse(bytes), AddressSet::default().add(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (
        Entry::from_name(text),
        text.parse::<DnsList>(),
        DomainPattern::from_str(text),
        Delimiters::new(text),
    );
    let _ = (text.parse::<NameServer>(), text.parse::<Target>(), text.parse::<Place>());
    reads_back::<Network>(text);
    reads_back::<Endpoint>(text);
    reads_back::<Reason>(text);
}

fn reads_back<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(word) = text.parse::<T>() {
        let shown = word.to_string();
        assert!(shown.parse::<T>().is_ok_and(|again| again == word), "{text:?} is shown as {shown:?}");
    }
}
