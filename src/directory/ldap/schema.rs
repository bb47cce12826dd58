//! What entries mean: whom they stand for, who of them is suspended or restricted, and how one is found.
//!
//! Pure: it gets entries and the time, and asks nobody. A live look-up, a listing and a feed all read entries here, so that
//! they say the same. Failure: what makes no sense in an entry is skipped; what it does not show is never held against it.

mod active_directory;

use std::{collections::HashSet, time::SystemTime};

use active_directory::{
    ASIDE, CONTROL, EXPIRES, KIND, REQUIRES_LOGIN, account_expires, is_disabled, is_plain_mailbox, is_typed,
    untyped,
};

use super::{
    Config, Schema, SuspendedWhen,
    filter::{Filter, escape},
    object::Object,
    settings::{SettingError, is_attribute},
};
use crate::{
    address::Address,
    directory::{Entry, replica::Recipient},
    policy::Attributes,
};

/// How to read the entries of one directory.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    schema: Schema,
    /// The attributes that hold addresses.
    addresses: Vec<String>,
    /// The administrator named them: what has no `@` is a local part.
    own: bool,
    /// The attributes that the administrator named, of those that say who is a recipient.
    named: Vec<String>,
    /// Only what matches this is a recipient, as written.
    filter: Option<String>,
    suspended: Option<Filter>,
    restricted: Option<Filter>,
    disabled: bool,
    expired: bool,
    /// What to ask for.
    wanted: Vec<String>,
}

/// What an entry that the server found has to do with the address that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It stands for it.
    Holds(Attributes),
    /// It stands for whatever is sent to the domain.
    CatchesAll(Attributes),
    /// Nothing.
    Other,
}

impl Shape {
    /// How `config` wants entries to be read; `say` is told what can't be used.
    pub(super) fn read(config: &Config, say: &mut dyn FnMut(&'static str, SettingError)) -> Option<Self> {
        let mut sound = true;
        let mut say = |key, error| {
            sound = false;
            say(key, error);
        };
        let mut in_filter = Vec::new();
        match config.filter.as_deref().map(Filter::parse) {
            Some(Err(error)) => say("filter", SettingError::Filter(error)),
            Some(Ok(filter)) => filter.attributes(&mut in_filter),
            None => {}
        }
        let mut own = |key, text: &Option<String>| match text.as_deref().map(Filter::parse_own) {
            Some(Err(error)) => {
                say(key, SettingError::Filter(error));
                None
            }
            Some(Ok(filter)) => Some(filter),
            None => None,
        };
        let suspended = own("suspended_filter", &config.suspended_filter);
        let restricted = own("restricted_filter", &config.restricted_filter);
        let named = config.attributes.as_deref();
        if named.is_some_and(<[String]>::is_empty) {
            say("attributes", SettingError::NoAttributes);
        }
        for name in named.unwrap_or_default().iter().filter(|name| !is_attribute(name)) {
            say("attributes", SettingError::Attribute(name.clone()));
        }
        let is_active_directory = config.schema == Schema::ActiveDirectory;
        if !config.suspended_when.is_empty() && !is_active_directory {
            say("suspended_when", SettingError::SuspendedWhen);
        }
        let usual: &[&str] = if is_active_directory { &ACTIVE_DIRECTORY } else { &INET_ORG_PERSON };
        let addresses =
            named.map_or_else(|| usual.iter().map(|&name| name.to_owned()).collect(), <[String]>::to_vec);
        let mut shape = Self {
            schema: config.schema,
            wanted: addresses.clone(),
            addresses,
            own: named.is_some(),
            named: plain_names(named.unwrap_or_default().iter().chain(&in_filter)),
            filter: config.filter.clone(),
            suspended,
            restricted,
            disabled: config.suspended_when.contains(&SuspendedWhen::Disabled),
            expired: config.suspended_when.contains(&SuspendedWhen::Expired),
        };
        shape.want_the_rest();
        sound.then_some(shape)
    }

    /// The attributes to ask for.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// The attributes that the server has to have, by name.
    pub(super) fn named(&self) -> &[String] {
        &self.named
    }

    /// The filter that finds who stands for the address, or for all of its domain. Whatever has such an address counts:
    /// users, groups, contacts, public folders.
    pub(super) fn one(&self, address: &Address) -> String {
        let written = address.to_string();
        let mut texts = vec![address.key_str().to_owned(), format!("@{}", address.domain())];
        if written != texts[0] {
            texts.push(written);
        }
        // A domain may be stored in letters or as A-labels.
        let (letters, _) = idna::domain_to_unicode(address.domain().as_str());
        if letters != address.domain().as_str() {
            let other = |text: &String| {
                text.strip_suffix(address.domain().as_str()).map(|local| format!("{local}{letters}"))
            };
            texts.extend(texts.iter().filter_map(other).collect::<Vec<_>>());
        }
        let mut terms = String::new();
        let mut ask = |name: &str, kind: &str, text: &str| {
            terms.push_str(&format!("({name}={kind}{})", escape(text)));
        };
        for name in &self.addresses {
            for text in &texts {
                if is_typed(name) {
                    ask(name, "smtp:", text);
                }
                ask(name, "", text);
            }
            if self.own && !is_typed(name) {
                ask(name, "", address.local());
            }
        }
        self.of_recipients(&format!("(|{terms})"))
    }

    /// The filter that finds all recipients.
    pub(super) fn all(&self) -> String {
        let terms: String = self.addresses.iter().map(|name| format!("({name}=*)")).collect();
        self.of_recipients(&format!("(|{terms})"))
    }

    /// The recipients that the entry stands for; none, if it has no address. Values that were not sent are missing: see
    /// [`complete`](super::object::complete).
    pub(super) fn recipients(&self, object: &Object, now: SystemTime) -> Vec<Recipient> {
        let attributes = self.attributes(object, now);
        let mut seen = HashSet::new();
        self.entries(object)
            .filter(|entry| seen.insert(entry.clone()))
            .map(|entry| Recipient { entry, attributes })
            .collect()
    }

    /// Whether an entry that the server found by [`Shape::all`] shows an address. One that does not has some that the account
    /// may search for and not read.
    pub(super) fn is_shown(&self, object: &Object) -> bool {
        self.addresses.iter().any(|name| object.values(name).next().is_some())
    }

    /// What an entry that the server found by [`Shape::one`] has to do with the address.
    ///
    /// Its own values, read back, have to hold it: the server's comparison may be laxer than ours (Active Directory takes
    /// `jose` for `josé`). Where it does not show all of them (no right to read them, or too many to send), the server is
    /// believed: to call somebody absent whose entry it found would be the worse mistake.
    pub(super) fn judge(&self, object: &Object, address: &Address, now: SystemTime) -> Judged {
        let attributes = self.attributes(object, now);
        let mut judged = Judged::Other;
        for entry in self.entries(object) {
            match entry {
                Entry::Address(held) if held == *address => return Judged::Holds(attributes),
                Entry::Local(local) if local.as_str() == address.local() => return Judged::Holds(attributes),
                Entry::CatchAll(domain) if domain == *address.domain() => {
                    judged = Judged::CatchesAll(Attributes { catch_all: true, ..attributes });
                }
                _ => {}
            }
        }
        let is_shown = |name: &String| object.values(name).next().is_some() && object.is_whole(name);
        if judged == Judged::Other && !self.addresses.iter().all(is_shown) {
            return Judged::Holds(attributes);
        }
        judged
    }

    /// Whether an Active Directory's entries can be read so: its users may have no address but in `proxyAddresses`.
    pub(super) fn fits_active_directory(&self) -> bool {
        self.own || self.schema == Schema::ActiveDirectory
    }

    /// Whether a part of the directory that a reference names holds no recipients, as every domain of Active Directory has
    /// some: DNS zones, configuration and schema.
    pub(super) fn is_aside(&self, base: &str) -> bool {
        let first = base.split(',').next().unwrap_or_default().trim();
        self.fits_active_directory() && ASIDE.iter().any(|name| first.eq_ignore_ascii_case(name))
    }

    fn of_recipients(&self, terms: &str) -> String {
        match &self.filter {
            Some(filter) => format!("(&{filter}{terms})"),
            None => terms.to_owned(),
        }
    }

    fn entries<'a>(&'a self, object: &'a Object) -> impl Iterator<Item = Entry> + 'a {
        self.addresses.iter().flat_map(move |name| {
            let values = object.values(name).filter_map(|value| str::from_utf8(value).ok());
            values.filter_map(move |value| self.entry(name, value.trim()))
        })
    }

    /// The recipient that a value names, if it names one.
    fn entry(&self, name: &str, value: &str) -> Option<Entry> {
        let address = if is_typed(name) { untyped(value)? } else { value };
        if !address.contains('@') && (!self.own || is_typed(name)) {
            return None;
        }
        if address.starts_with('"') {
            Entry::parse(address.as_bytes()).ok()
        } else {
            Entry::from_name(address).ok()
        }
    }

    fn attributes(&self, object: &Object, now: SystemTime) -> Attributes {
        let matches = |filter: &Option<Filter>| {
            filter.as_ref().is_some_and(|filter| filter.judge(object) == Some(true))
        };
        let is_disabled = || self.disabled && is_disabled(object);
        let is_expired = || self.expired && account_expires(object).is_some_and(|end| end <= now);
        let needs_login = self.schema == Schema::ActiveDirectory
            && object.text(REQUIRES_LOGIN).is_some_and(|value| value.eq_ignore_ascii_case("TRUE"));
        Attributes {
            suspended: matches(&self.suspended)
                || ((is_disabled() || is_expired()) && is_plain_mailbox(object)),
            restricted: matches(&self.restricted) || needs_login,
            ..Attributes::default()
        }
    }

    fn want_the_rest(&mut self) {
        let mut names = Vec::new();
        for filter in [&self.suspended, &self.restricted].into_iter().flatten() {
            filter.attributes(&mut names);
        }
        if self.schema == Schema::ActiveDirectory {
            names.push(REQUIRES_LOGIN.to_owned());
            if self.disabled || self.expired {
                names.extend([CONTROL, EXPIRES, KIND].map(str::to_owned));
            }
        }
        for name in names {
            if !self.wanted.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                self.wanted.push(name);
            }
        }
    }
}

/// The one answer that several entries give for one address; `None`: nobody stands for it. Who stands for the address
/// itself counts before who takes the whole domain. If one of several is not suspended, mail has somewhere to go.
pub(super) fn merge(judged: impl IntoIterator<Item = Judged>) -> Option<Attributes> {
    let (mut held, mut caught): (Option<Attributes>, Option<Attributes>) = (None, None);
    for judged in judged {
        let (so_far, found) = match judged {
            Judged::Holds(found) => (&mut held, found),
            Judged::CatchesAll(found) => (&mut caught, found),
            Judged::Other => continue,
        };
        *so_far = Some(match *so_far {
            None => found,
            Some(other) => Attributes { suspended: found.suspended && other.suspended, ..found.merge(other) },
        });
    }
    held.or(caught)
}

/// Names without options (`mail;lang-de`); what is a number (RFC 4512 §1.4, `numericoid`) is no name.
fn plain_names<'a>(attributes: impl Iterator<Item = &'a String>) -> Vec<String> {
    let plain = attributes.filter_map(|name| name.split(';').next());
    plain
        .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))
        .map(str::to_owned)
        .collect()
}

const ACTIVE_DIRECTORY: [&str; 2] = ["proxyAddresses", "mail"];
/// RFC 2798; qmail-ldap's and Netscape's further addresses.
const INET_ORG_PERSON: [&str; 3] = ["mail", "mailAlternateAddress", "mailLocalAddress"];

#[cfg(test)]
mod tests;
