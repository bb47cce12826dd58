//! What entries mean: whom they stand for, who of them is suspended or restricted, and how one is found.
//!
//! Pure: it gets entries and the time, and asks nobody. A live look-up, a listing and a feed all read entries here, so that
//! they say the same. Failure: what makes no sense in an entry is skipped; what it does not show is never held against it.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
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
            catch_all: false,
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

/// Whether values of the attribute begin with the kind of address that follows (MS-OXOABK, `proxyAddresses`).
fn is_typed(name: &str) -> bool {
    name.eq_ignore_ascii_case("proxyAddresses")
}

/// `SMTP:joe@example.com` (the primary address) and `smtp:` (the others) are mail addresses; `SIP:`, `X400:`, `X500:`,
/// `EUM:` are none. Without a kind it is one.
fn untyped(value: &str) -> Option<&str> {
    match value.split_once(':') {
        Some((kind, rest)) if !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            kind.eq_ignore_ascii_case("smtp").then_some(rest)
        }
        _ => Some(value),
    }
}

/// `ADS_UF_ACCOUNTDISABLE` (MS-ADTS 2.2.16).
fn is_disabled(object: &Object) -> bool {
    object.text(CONTROL).and_then(|bits| bits.parse::<i64>().ok()).is_some_and(|bits| bits & 2 != 0)
}

/// A mailbox of a user, where the log-in and the mailbox end together. The accounts of shared, room, equipment, linked and
/// remote mailboxes are disabled from the start, and mail users have their mailbox elsewhere.
fn is_plain_mailbox(object: &Object) -> bool {
    object.values(KIND).next().is_none() || object.text(KIND) == Some(USER_MAILBOX)
}

/// `accountExpires`: units of 100 ns since 1601 (FILETIME); 0 and 2^63-1 mean never.
fn account_expires(object: &Object) -> Option<SystemTime> {
    let units: u64 = object.text(EXPIRES)?.parse().ok()?;
    if units == 0 || units >= i64::MAX.unsigned_abs() {
        return None;
    }
    let unix = units.saturating_sub(UNIX_EPOCH_AS_FILETIME);
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(unix / 10_000_000, u32::try_from(unix % 10_000_000).ok()? * 100))
}

const ACTIVE_DIRECTORY: [&str; 2] = ["proxyAddresses", "mail"];
/// RFC 2798; qmail-ldap's and Netscape's further addresses.
const INET_ORG_PERSON: [&str; 3] = ["mail", "mailAlternateAddress", "mailLocalAddress"];

const CONTROL: &str = "userAccountControl";
const EXPIRES: &str = "accountExpires";
const KIND: &str = "msExchRecipientTypeDetails";
const REQUIRES_LOGIN: &str = "msExchRequireAuthToSendTo";

/// `msExchRecipientTypeDetails` of a user's own mailbox.
const USER_MAILBOX: &str = "1";
/// 1970-01-01 in units of 100 ns since 1601-01-01.
const UNIX_EPOCH_AS_FILETIME: u64 = 116_444_736_000_000_000;
/// The first parts of the names of what is aside.
const ASIDE: [&str; 4] = ["DC=DomainDnsZones", "DC=ForestDnsZones", "CN=Configuration", "CN=Schema"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        let text = format!("urls = [\"ldapi://%2Fx\"]\nbase = \"dc=x\"\n{text}");
        let config: Config =
            figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&text))
                .extract()
                .unwrap();
        Shape::read(&config, &mut |key, error| panic!("{key}: {error}")).unwrap()
    }

    fn exchange(more: &str) -> Shape {
        shape(&format!("schema = \"active-directory\"\n{more}"))
    }

    fn names(shape: &Shape, object: &Object) -> Vec<String> {
        let shown = |recipient: Recipient| match recipient.entry {
            Entry::Address(address) => address.to_string(),
            Entry::Local(local) => local.to_string(),
            Entry::CatchAll(domain) => format!("@{domain}"),
        };
        shape.recipients(object, SystemTime::now()).into_iter().map(shown).collect()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    const PLAIN: Attributes = Attributes { suspended: false, restricted: false, catch_all: false };
    const SUSPENDED: Attributes = Attributes { suspended: true, ..PLAIN };

    /// facts of Exchange: what `proxyAddresses` holds, and what is no recipient of ours.
    #[test]
    fn recipients_in_active_directory() {
        let object = Object::of(&[
            (
                "proxyAddresses",
                &[
                    "SMTP:Joe.Doe@Example.COM",
                    "smtp:joe@example.com",
                    "sMtP:j@bücher.example",
                    "SIP:joe@sip.example.com",
                    "X400:c=US;a= ;p=Org;o=Exchange;s=Doe;g=Joe;",
                    "x500:/o=Org/ou=Group/cn=Recipients/cn=joe",
                    "EUM:8001;phone-context=plan.example.com",
                    "eum:joe@example.com",
                    "smtp:not an address",
                    "smtp:",
                    "smtp:joe doe@example.com",
                    "smtp:\"a b\"@example.com",
                    "plain@example.com",
                    "smtp:@all.example.com",
                ],
            ),
            ("mail", &["joe.doe@example.com"]),
            ("userPrincipalName", &["joe@corp.example.com"]),
            ("targetAddress", &["SMTP:joe@elsewhere.example"]),
            ("mailNickname", &["joe"]),
        ]);
        assert_eq!(
            names(&exchange(""), &object),
            [
                "joe.doe@example.com",
                "joe@example.com",
                "j@xn--bcher-kva.example",
                "\"joe doe\"@example.com",
                "\"a b\"@example.com",
                "plain@example.com",
                "@all.example.com",
            ]
        );
        let own = exchange("attributes = [\"mail\", \"userPrincipalName\"]");
        assert_eq!(names(&own, &object), ["joe.doe@example.com", "joe@corp.example.com"]);
    }

    #[test]
    fn recipients_in_other_directories() {
        let object = Object::of(&[
            ("mail", &["Joe@Example.com", "joe", ""]),
            ("mailAlternateAddress", &["j.doe@example.com"]),
            ("MAILLOCALADDRESS;x-y", &["jd@example.com", "@example.org"]),
            ("mailRoutingAddress", &["joe@inside.example.com"]),
            ("rfc822MailMember", &["ann@example.com"]),
            ("uid", &["joe"]),
        ]);
        let expected = ["joe@example.com", "j.doe@example.com", "jd@example.com", "@example.org"];
        assert_eq!(names(&shape(""), &object), expected);
        assert_eq!(names(&shape("attributes = [\"uid\"]"), &object), ["joe"]);
        assert_eq!(names(&shape(""), &Object::of(&[("cn", &["x"])])), <[&str; 0]>::default());
    }

    /// A disabled account is not a dead mailbox.
    #[test]
    fn who_is_suspended_in_active_directory() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let both = exchange("suspended_when = [\"disabled\", \"expired\"]");
        let disabled = exchange("suspended_when = [\"disabled\"]");
        let expired = exchange("suspended_when = [\"expired\"]");
        let off = exchange("");
        // 2023-11-14T22:13:20Z is 133444736000000000 as a FILETIME.
        for (bits, kind, expires, expected) in [
            ("512", None, None, [false, false, false]),
            ("514", None, None, [true, true, false]),
            ("66050", Some("1"), None, [true, true, false]),
            ("514", Some("2"), None, [false; 3]),
            ("514", Some("4"), None, [false; 3]),
            ("514", Some("16"), None, [false; 3]),
            ("514", Some("32"), None, [false; 3]),
            ("514", Some("128"), None, [false; 3]),
            ("514", Some("2147483648"), None, [false; 3]),
            ("514", Some("8589934592"), None, [false; 3]),
            ("514", Some("17179869184"), None, [false; 3]),
            ("514", Some("34359738368"), None, [false; 3]),
            ("514", Some("what"), None, [false; 3]),
            ("what", None, None, [false; 3]),
            ("512", None, Some("0"), [false; 3]),
            ("512", None, Some("9223372036854775807"), [false; 3]),
            ("512", None, Some("133444736000000000"), [true, false, true]),
            ("512", None, Some("133444736000000001"), [false; 3]),
            ("512", None, Some("1"), [true, false, true]),
            ("512", Some("1"), Some("133444735990000000"), [true, false, true]),
            ("512", Some("4"), Some("133444735990000000"), [false; 3]),
            ("512", None, Some("-1"), [false; 3]),
        ] {
            let mut attributes = vec![("mail", vec!["joe@example.com"]), ("userAccountControl", vec![bits])];
            attributes.extend(kind.map(|kind| ("msExchRecipientTypeDetails", vec![kind])));
            attributes.extend(expires.map(|expires| ("accountExpires", vec![expires])));
            let attributes: Vec<_> =
                attributes.iter().map(|(name, values)| (*name, values.as_slice())).collect();
            let object = Object::of(&attributes);
            let suspended = [&both, &disabled, &expired]
                .map(|shape| shape.recipients(&object, now)[0].attributes.suspended);
            assert_eq!(suspended, expected, "{bits} {kind:?} {expires:?}");
            assert_eq!(off.recipients(&object, now)[0].attributes, PLAIN);
        }
    }

    #[test]
    fn who_is_restricted() {
        let now = SystemTime::now();
        let object = Object::of(&[("mail", &["all@x"]), ("msExchRequireAuthToSendTo", &["TRUE"])]);
        let restricted = |shape: &Shape| shape.recipients(&object, now)[0].attributes.restricted;
        assert!(restricted(&exchange("")));
        assert!(!restricted(&shape("")));
        assert!(restricted(&shape("restricted_filter = \"(msExchRequireAuthToSendTo=true)\"")));
    }

    #[test]
    fn own_filters_tell_who_is_suspended() {
        let now = SystemTime::now();
        let shape = shape("suspended_filter = \"(|(accountStatus=disabled)(!(mayReceive=yes)))\"");
        for (attributes, suspended) in [
            (&[("accountStatus", &["Disabled"][..])][..], true),
            (&[("accountStatus", &["active"][..]), ("mayReceive", &["YES"][..])][..], false),
            (&[("mayReceive", &["no"][..])][..], true),
            // Perhaps there is no right to see the attribute.
            (&[][..], false),
        ] {
            let all = [&[("mail", &["joe@x"][..])][..], attributes].concat();
            assert_eq!(
                shape.recipients(&Object::of(&all), now)[0].attributes.suspended,
                suspended,
                "{attributes:?}"
            );
        }
        assert_eq!(
            shape.wanted(),
            ["mail", "mailAlternateAddress", "mailLocalAddress", "accountStatus", "mayReceive"]
        );
    }

    #[test]
    fn questions() {
        let joe = address("Joe@Example.com");
        assert_eq!(
            exchange("").one(&joe),
            "(|(proxyAddresses=smtp:joe@example.com)(proxyAddresses=joe@example.com)(proxyAddresses=smtp:@example.com)\
             (proxyAddresses=@example.com)(mail=joe@example.com)(mail=@example.com))"
        );
        assert_eq!(
            shape("attributes = [\"mail\", \"uid\"]\nfilter = \"(objectClass=person)\"").one(&joe),
            "(&(objectClass=person)(|(mail=joe@example.com)(mail=@example.com)(mail=joe)(uid=joe@example.com)\
             (uid=@example.com)(uid=joe)))"
        );
        let mail = shape("attributes = [\"proxyAddresses\"]");
        assert_eq!(
            mail.one(&address("a@xn--bcher-kva.example")),
            "(|(proxyAddresses=smtp:a@xn--bcher-kva.example)(proxyAddresses=a@xn--bcher-kva.example)\
             (proxyAddresses=smtp:@xn--bcher-kva.example)(proxyAddresses=@xn--bcher-kva.example)\
             (proxyAddresses=smtp:a@bücher.example)(proxyAddresses=a@bücher.example)\
             (proxyAddresses=smtp:@bücher.example)(proxyAddresses=@bücher.example))"
        );
        let quoted = shape("").one(&address(r#""*)(uid=*"@x"#));
        assert!(quoted.starts_with(r"(|(mail=\2a\29\28uid=\2a@x)(mail=@x)(mail="), "{quoted}");
        assert!(quoted.contains("(mail=\"\\2a\\29\\28uid=\\2a\"@x)"), "{quoted}");
        assert_eq!(shape("").all(), "(|(mail=*)(mailAlternateAddress=*)(mailLocalAddress=*))");
        assert_eq!(shape("filter = \"(a=b)\"\nattributes = [\"mail\"]").all(), "(&(a=b)(|(mail=*)))");
        for shape in [exchange(""), shape("attributes = [\"uid\"]")] {
            assert!(ldap3::parse_filter(shape.one(&joe)).is_ok() && ldap3::parse_filter(shape.all()).is_ok());
        }
    }

    #[test]
    fn an_entry_that_was_found_has_to_hold_the_address() {
        let now = SystemTime::now();
        let all: &[(&str, &[&str])] = &[("proxyAddresses", &["smtp:josé@x"]), ("mail", &["josé@x"])];
        for (attributes, asked, expected) in [
            (all, "José@X", Judged::Holds(PLAIN)),
            (all, "jose@x", Judged::Other),
            (
                &[("proxyAddresses", &["smtp:a@x", "smtp:@x"]), ("mail", &["a@x"])],
                "b@x",
                Judged::CatchesAll(Attributes { catch_all: true, ..PLAIN }),
            ),
            // What can't be seen may hold it.
            (&[("mail", &["a@x"])], "b@x", Judged::Holds(PLAIN)),
            (&[], "b@x", Judged::Holds(PLAIN)),
            (
                &[("proxyAddresses", &[]), ("proxyAddresses;range=0-0", &["smtp:a@x"]), ("mail", &["a@x"])],
                "b@x",
                Judged::Holds(PLAIN),
            ),
            (&[("proxyAddresses;range=0-*", &["smtp:a@x"]), ("mail", &["a@x"])], "b@x", Judged::Other),
        ] {
            assert_eq!(
                exchange("").judge(&Object::of(attributes), &address(asked), now),
                expected,
                "{attributes:?}"
            );
        }
    }

    #[test]
    fn several_entries_give_one_answer() {
        let caught = Attributes { catch_all: true, ..PLAIN };
        let restricted = Attributes { restricted: true, ..PLAIN };
        for (judged, expected) in [
            (vec![], None),
            (vec![Judged::Other], None),
            (vec![Judged::CatchesAll(caught), Judged::Other], Some(caught)),
            (vec![Judged::CatchesAll(caught), Judged::Holds(SUSPENDED)], Some(SUSPENDED)),
            (vec![Judged::Holds(SUSPENDED), Judged::Holds(SUSPENDED)], Some(SUSPENDED)),
            (vec![Judged::Holds(SUSPENDED), Judged::Holds(PLAIN)], Some(PLAIN)),
            (vec![Judged::Holds(restricted), Judged::Holds(PLAIN)], Some(restricted)),
        ] {
            assert_eq!(merge(judged.clone()), expected, "{judged:?}");
        }
    }

    #[test]
    fn names_that_a_server_has_to_have() {
        assert_eq!(exchange("suspended_filter = '(x=1)'").named(), [""; 0]);
        let own = "attributes = ['mail', '0.9.2342.19200300.100.1.3']\nfilter = '(&(!(a;lang-de=1))(b:dn:=2)(2.5.4.3=x))'";
        assert_eq!(shape(own).named(), ["mail", "a", "b"]);
    }

    #[test]
    fn parts_of_active_directory_without_recipients() {
        for (base, aside) in [
            ("DC=DomainDnsZones,DC=corp,DC=example,DC=com", true),
            ("dc=forestdnszones,dc=example,dc=com", true),
            ("CN=Configuration,DC=example,DC=com", true),
            ("DC=child,DC=corp,DC=example,DC=com", false),
            ("", false),
        ] {
            assert_eq!(exchange("").is_aside(base), aside, "{base}");
            assert_eq!(shape("attributes = ['mail', 'proxyAddresses']").is_aside(base), aside, "{base}");
            assert!(!shape("").is_aside(base));
        }
    }
}
