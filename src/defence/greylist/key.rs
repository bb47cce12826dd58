//! What is taken for the same client, and for the same sender. Pure.
//!
//! Names are hashed, so that what is kept is short, however long the names that others choose.

use std::net::IpAddr;

use ring::digest::{Context, SHA256};
use smallvec::SmallVec;

use crate::address::{Address, Domain, untag};

/// Names something in the store.
pub(super) type Id = [u8; 16];

/// The names of a client, at least one: the registrable domain of its confirmed name, if it has one, then its network.
///
/// Large providers send from pools in many networks, and try again from anywhere in them: the domain is what stays. The
/// network counts besides, because the DNS does not always answer.
pub(super) fn clients(address: IpAddr, name: Option<&str>) -> SmallVec<[Id; 2]> {
    let mut names = SmallVec::new();
    if let Some(domain) = name.and_then(registrable) {
        names.push(id(&[b"domain", domain.as_bytes()]));
    }
    names.push(match address.to_canonical() {
        // The usual size of a pool of servers, and the smallest network that is routed on the Internet.
        IpAddr::V4(address) => id(&[b"ipv4", &address.octets()[..3]]),
        // What one customer has: RFC 6177 §2.
        IpAddr::V6(address) => id(&[b"ipv6", &address.octets()[..8]]),
    });
    names
}

/// This sender to this recipient, from this client.
pub(super) fn triplet(client: Id, sender: &[u8], recipient: &Address) -> Id {
    id(&[&client, sender, recipient.key()])
}

/// What stays the same of a sender from message to message. Forwarders, lists and services that send for others put the day,
/// a hash, a number or the recipient into it (SRS, BATV, VERP): such a sender must not begin anew each time.
pub(super) fn sender_key(address: &Address) -> Vec<u8> {
    let mut local = address.local();
    let mut domain = address.domain().as_str();
    for _ in 0..MOST_TAGS {
        let Some(inner) = untag(local) else { break };
        local = inner.local;
        // Somebody elsewhere who is forwarded; the forwarder is the client.
        domain = inner.domain.unwrap_or(domain);
    }
    // `+`: sub-addresses, and where most services put what changes. What is alone is a name.
    let local = local.split_once('+').map_or(local, |(base, _)| if base.is_empty() { local } else { base });
    let mut key = Vec::new();
    let mut word_begins = 0;
    for (at, c) in local.char_indices().chain([(local.len(), ' ')]) {
        if c.is_alphanumeric() {
            continue;
        }
        let word = &local[word_begins..at];
        key.extend_from_slice(if changes(word) { b"#" } else { word.as_bytes() });
        if at < local.len() {
            key.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        word_begins = at + c.len_utf8();
    }
    key.push(b'@');
    let parsed = Domain::parse(domain);
    let domain = parsed.as_ref().map_or(domain, Domain::as_str);
    key.extend_from_slice(registrable(domain).unwrap_or(domain).as_bytes());
    key
}

/// A word that may be a number, a day or a hash: it has a digit, or only hexadecimal ones.
fn changes(word: &str) -> bool {
    let hexadecimal = || word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.bytes().any(|byte| byte.is_ascii_digit()) || hexadecimal()
}

/// The domain under a public suffix; `None` for a suffix itself.
fn registrable(name: &str) -> Option<&str> {
    psl::domain_str(name.trim_end_matches('.'))
}

/// Parts can't run into each other: their lengths count.
fn id(parts: &[&[u8]]) -> Id {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// Tags within tags.
const MOST_TAGS: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(sender: &str) -> String {
        String::from_utf8(sender_key(&Address::parse(sender).unwrap())).unwrap()
    }

    #[test]
    fn what_changes_in_a_sender_is_left_out() {
        for (sender, expected) in [
            ("anna@example.org", "anna@example.org"),
            ("Anna.Lee@Example.ORG.", "anna.lee@example.org"),
            ("anna+list@example.org", "anna@example.org"),
            ("+anna@example.org", "+anna@example.org"),
            ("anna@mail.example.co.uk", "anna@example.co.uk"),
            ("j\u{f6}rg@example.org", "j\u{f6}rg@example.org"),
            // BATV, draft-levine-smtp-batv-01 §4.1; Barracuda and Momentum in their ways.
            ("prvs=1234abcdef=anna@example.org", "anna@example.org"),
            ("btv1==760cdc7c545==anna@example.org", "anna@example.org"),
            ("msprvs1=1202020UU5ulBw=bounces-7@example.org", "bounces-#@example.org"),
            // SRS (Mail::SRS), also twice.
            ("SRS0=HHH=TT=example.org=anna@forward.example", "anna@example.org"),
            ("SRS1=HHH=first.example==HHH=TT=example.org=anna@second.example", "anna@example.org"),
            // VERP: ezmlm, Mailman, and services that send for others.
            (
                "list-return-4711-anna=example.com@lists.example.org",
                "list-return-#-anna=example.com@example.org",
            ),
            ("list-bounces+anna=example.com@lists.example.org", "list-bounces@example.org"),
            ("bounces+1234567-ab12-anna=example.com@em42.example.org", "bounces@example.org"),
            (
                "0100018f3c2a9d0e-1b2c3d4e-5f60-7a8b-9c0d-1e2f3a4b5c6d-000000@eu-west-1.amazonses.com",
                "#-#-#-#-#-#-#@amazonses.com",
            ),
            ("bounce-md_30850198.65f1.v1-deadbeef@mandrill.example.org", "bounce-md_#.#.#-#@example.org"),
        ] {
            assert_eq!(key(sender), expected, "{sender}");
        }
        for (one, other) in [
            (
                "list-return-1-anna=example.com@lists.example.org",
                "list-return-2-anna=example.com@lists.example.org",
            ),
            ("prvs=0123456789=anna@example.org", "prvs=9876543210=anna@example.org"),
            ("SRS0=aaa=b1=example.org=anna@fw.example", "SRS0=ccc=d2=example.org=anna@fw.example"),
        ] {
            assert_eq!(key(one), key(other));
        }
        assert_ne!(key("anna@example.org"), key("bob@example.org"));
        assert_ne!(key("anna@example.org"), key("anna@example.com"));
    }

    #[test]
    fn a_pool_is_one_client() {
        let of = |address: &str, name: Option<&str>| clients(address.parse().unwrap(), name);
        let same = |one: &[Id], other: &[Id]| one.iter().any(|name| other.contains(name));
        let google = Some("mail-oi1-f171.google.com");
        for (one, other, expected) in [
            (of("198.51.100.7", None), of("198.51.100.250", None), true),
            (of("198.51.100.7", None), of("198.51.101.7", None), false),
            (of("::ffff:198.51.100.7", None), of("198.51.100.8", None), true),
            (of("2001:db8:1:2::1", None), of("2001:db8:1:2:ffff::1", None), true),
            (of("2001:db8:1:2::1", None), of("2001:db8:1:3::1", None), false),
            (of("198.51.100.7", google), of("203.0.113.7", Some("mail-lf1-f42.google.com")), true),
            (of("198.51.100.7", google), of("203.0.113.7", Some("mail.example.org")), false),
            // The DNS did not answer this time.
            (of("198.51.100.7", google), of("198.51.100.9", None), true),
            // A public suffix is nobody's domain.
            (of("198.51.100.7", Some("co.uk")), of("203.0.113.7", Some("co.uk")), false),
        ] {
            assert_eq!(same(&one, &other), expected);
        }
        assert_eq!(of("198.51.100.7", google).len(), 2);
    }

    proptest! {
        /// Senders are whatever a stranger writes.
        #[test]
        fn no_sender_panics(sender in "[\\PC@+=.\"0-9a-f-]{0,80}") {
            if let Ok(address) = Address::parse(format!("{sender}@example.org")) {
                prop_assert!(sender_key(&address).ends_with(b"@example.org") || untag(address.local()).is_some());
            }
        }
    }
}
