//! Addresses as others may see them: whole, only hinted at, or as a code that is always the same.
//!
//! Works on what a peer wrote, whatever that is. The result is bounded in length; to escape it is the business of who
//! shows it. Failure: what is no address shows its first character at most.

use std::borrow::Cow;

use ring::hmac;
use serde::{Deserialize, Serialize};

/// How addresses are shown: `log.addresses`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// As they are.
    #[default]
    Plain,
    /// `a…@example.test`.
    Masked,
    /// `#5f1c0a9b3d27@example.test`: the same for the same address, where the key is the same.
    Hashed,
}

/// How to show addresses, with what it takes.
#[derive(Debug, Clone, Default)]
pub enum Privacy {
    /// As they are.
    #[default]
    Plain,
    /// See [`mask`].
    Masked,
    /// See [`hash`].
    Hashed(hmac::Key),
}

impl Privacy {
    /// The address, as this says. What is not UTF-8 is replaced.
    #[must_use]
    pub fn show<'a>(&self, address: &'a [u8]) -> Cow<'a, str> {
        match self {
            Self::Plain => String::from_utf8_lossy(address),
            Self::Masked => mask(address).into(),
            Self::Hashed(key) => hash(address, key).into(),
        }
    }
}

/// The first character of the local part, an ellipsis and the domain: `a…@example.test`. Of what is no address the first
/// character and an ellipsis; `<>` stays, and so does nothing.
#[must_use]
pub fn mask(address: &[u8]) -> String {
    hide(address, |local| {
        // A quoted local part begins behind its quotation mark (RFC 5321 §4.1.2).
        let first = local.trim_start_matches('"').chars().next();
        first.into_iter().chain(['…']).collect()
    })
}

/// `#` and 12 hexadecimal digits in place of the local part: HMAC-SHA-256 of the whole address in small letters. Of what is
/// no address all is in place of which they are; `<>` stays, and so does nothing.
#[must_use]
pub fn hash(address: &[u8], key: &hmac::Key) -> String {
    let whole = String::from_utf8_lossy(bare(address)).to_lowercase();
    hide(address, |_| {
        let tag = hmac::sign(key, whole.trim_end_matches('.').as_bytes());
        let digits = tag.as_ref().iter().take(HASHED).map(|byte| format!("{byte:02x}"));
        format!("#{}", digits.collect::<String>())
    })
}

/// The key for [`hash`] from a secret.
#[must_use]
pub fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

fn hide(address: &[u8], local: impl FnOnce(&str) -> String) -> String {
    let text = String::from_utf8_lossy(bare(address));
    if text.is_empty() {
        return if address.trim_ascii().is_empty() { String::new() } else { "<>".to_owned() };
    }
    match text.rsplit_once('@') {
        // A domain alone is nobody.
        Some(("", domain)) if is_domain(domain) => format!("@{domain}"),
        Some((name, domain)) if is_domain(domain) => format!("{}@{domain}", local(name)),
        _ => local(&text),
    }
}

/// Without the brackets that SMTP puts around a path.
fn bare(address: &[u8]) -> &[u8] {
    let address = address.trim_ascii();
    address.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">")).unwrap_or(address)
}

/// Whether nothing but a domain can be in it: a name, or an address in brackets. What stands behind the last `@` of a quoted
/// local part would be part of who is hidden.
fn is_domain(text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    let literal = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_literal =
        literal.is_some_and(|inner| inner.chars().all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c)));
    (1..=LONGEST_DOMAIN).contains(&text.len()) && (is_literal || text.chars().all(is_name))
}

/// RFC 5321 §4.5.3.1.2
const LONGEST_DOMAIN: usize = 255;
/// Bytes of the hash that are shown: among a million addresses, two have the same with a chance of 1 in 560.
const HASHED: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5321 §4.1.2 for what a path may look like; the rest as clients write it.
    #[test]
    fn masked() {
        for (written, expected) in [
            (&b"<anna@example.test>"[..], "a…@example.test"),
            (b"anna@example.test", "a…@example.test"),
            (b" <anna@example.test> ", "a…@example.test"),
            (b"<a@example.test>", "a…@example.test"),
            (b"<>", "<>"),
            (b" <> ", "<>"),
            (b"", ""),
            (b"\r\n", ""),
            (b"postmaster", "p…"),
            (b"<anna@[192.0.2.1]>", "a…@[192.0.2.1]"),
            (b"<anna@[IPv6:2001:db8::1]>", "a…@[IPv6:2001:db8::1]"),
            (b"<\"anna b\"@example.test>", "a…@example.test"),
            (b"<\"anna@private\"@example.test>", "a…@example.test"),
            (b"<\"anna@private\">", "a…"),
            (b"<anna@private name>", "a…"),
            (b"<anna@>", "a…"),
            (b"<@example.test>", "@example.test"),
            (b"<anna%example.org@example.test>", "a…@example.test"),
            (b"example.org!anna", "e…"),
            ("<\u{e4}nna@b\u{fc}cher.test>".as_bytes(), "\u{e4}…@b\u{fc}cher.test"),
            (b"<anna@example.test\r\nX: y>", "a…"),
            ("<anna@example.test\u{202e}>".as_bytes(), "a…"),
            (b"<\xffnna@example.test>", "\u{fffd}…@example.test"),
        ] {
            assert_eq!(mask(written), expected, "{}", written.escape_ascii());
        }
    }

    /// RFC 4231 §4.2 is the known answer of the function underneath; ours is its first twelve digits.
    #[test]
    fn hashed() {
        assert_eq!(hash(b"Hi There", &key(&[0x0b; 20])).len(), 13);
        let tag = hmac::sign(&key(&[0x0b; 20]), b"Hi There");
        assert_eq!(tag.as_ref()[..4], [0xb0, 0x34, 0x4c, 0x61]);

        let (ours, theirs) = (key(b"a secret of this installation"), key(b"another"));
        let one = hash(b"<anna@example.test>", &ours);
        let digits = one.strip_prefix('#').and_then(|rest| rest.strip_suffix("@example.test")).unwrap();
        assert!(digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        for same in [&b"anna@example.test"[..], b"<anna@example.test>", b" <Anna@example.test>"] {
            assert_eq!(hash(same, &ours), one);
        }
        assert_eq!(hash(b"<anna@Example.Test>", &ours), one.replace("example.test", "Example.Test"));
        for other in [&b"anne@example.test"[..], b"anna@example.org", b"anna"] {
            assert_ne!(hash(other, &ours).split('@').next(), one.split('@').next());
        }
        assert_ne!(hash(b"<anna@example.test>", &theirs), one);
        assert_eq!((hash(b"<>", &ours), hash(b"", &ours)), ("<>".to_owned(), String::new()));
    }

    proptest! {
        /// Whatever a client writes: of a local part no more than its first character is shown, and nothing is long.
        #[test]
        fn a_local_part_stays_hidden(local in "[a-z][a-z0-9.+=-]{1,70}", domain in "[A-Z]{1,20}\\.TEST") {
            let masked = mask(format!("<{local}@{domain}>").as_bytes());
            prop_assert_eq!(masked, format!("{}…@{domain}", &local[..1]));
        }

        #[test]
        fn nothing_panics_and_nothing_is_long(address in prop::collection::vec(any::<u8>(), 0..2000)) {
            let key = key(b"k");
            for shown in [mask(&address), hash(&address, &key)] {
                prop_assert!(shown.len() <= LONGEST_DOMAIN + 24, "{} bytes", shown.len());
            }
        }

        /// Shapes that come near to addresses: what is shown in front of the domain is one character, and of the rest nothing
        /// that could not be a domain.
        #[test]
        fn what_is_shown_is_a_character_and_a_domain(address in "[ab<>@\"\\\\. :,%!\\[\\]\r\n\u{202e}é]{0,30}") {
            let masked = mask(address.as_bytes());
            match masked.split_once('…') {
                None => {
                    let is_domain = masked.strip_prefix('@').is_some_and(is_domain);
                    prop_assert!(is_domain || masked.is_empty() || masked == "<>", "{masked:?}");
                }
                Some((first, rest)) => {
                    prop_assert!(first.chars().count() <= 1, "{masked:?}");
                    prop_assert!(rest.is_empty() || rest.strip_prefix('@').is_some_and(is_domain), "{masked:?}");
                }
            }
        }
    }
}
