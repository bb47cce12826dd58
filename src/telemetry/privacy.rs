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

    /// A text in which there may be addresses, each as this says.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        each_address(text, |address| self.show(address.as_bytes()).into_owned())
    }

    /// The same of a text about this address, whose local part may stand there by itself: servers say `anna: over quota`.
    #[must_use]
    pub fn line_about(&self, text: &str, address: &str) -> String {
        if matches!(self, Self::Plain) || address.is_empty() {
            return self.line(text);
        }
        let shown = self.show(address.as_bytes());
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        let alone = shown.rsplit_once('@').map_or(&*shown, |(local, _)| local);
        // What was put in place of it is not looked at again.
        let parts = text.split(address).map(|part| each_word(&self.line(part), local, alone));
        parts.collect::<Vec<_>>().join(&shown)
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

/// The text with each address in it as `show` has it; `@example.test` alone is nobody's.
#[must_use]
pub fn each_address(text: &str, show: impl Fn(&str) -> String) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('@') {
        let (begin, end) = (begin_of_local(rest, at), end_of_domain(rest, at));
        let address = rest.get(begin..end).unwrap_or_default();
        shown.push_str(rest.get(..begin).unwrap_or_default());
        if begin == at {
            shown.push_str(address);
        } else {
            shown.push_str(&show(address));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    shown + rest
}

/// The text with another word in place of each that is this one, in large or small letters.
fn each_word(text: &str, word: &str, other: &str) -> String {
    let (folded, word) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    let (mut shown, mut from) = (String::new(), 0);
    for (at, _) in folded.match_indices(&word).filter(|_| !word.is_empty()) {
        let end = at + word.len();
        let is_apart = !folded[..at].ends_with(char::is_alphanumeric)
            && !folded[end..].starts_with(|c: char| c.is_alphanumeric() || c == '…');
        if is_apart && at >= from {
            shown.push_str(&text[from..at]);
            shown.push_str(other);
            from = end;
        }
    }
    shown + &text[from..]
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

/// Where the local part in front of an `@` begins; at the `@` where there is none.
fn begin_of_local(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    if let Some(inner) = before.strip_suffix('"') {
        let mut quotes = inner.rmatch_indices('"').map(|(at, _)| at);
        return quotes.find(|at| !inner[..*at].ends_with('\\')).unwrap_or(0);
    }
    let behind = |ends: &dyn Fn(char) -> bool| {
        before.rfind(ends).map_or(0, |last| last + before[last..].chars().next().map_or(1, char::len_utf8))
    };
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let begin = behind(&|c| is_blank(c) || "<>(),;:\"[]".contains(c));
    // What nobody's address ends with is no end of words around it either: all of it may be meant as one.
    if begin == at && before.ends_with(|c: char| !is_blank(c) && !"<(".contains(c)) {
        return behind(&is_blank);
    }
    begin
}

/// Where the domain behind an `@` ends.
fn end_of_domain(text: &str, at: usize) -> usize {
    let domain = &text[at + 1..];
    let belongs = |c: char| c.is_alphanumeric() || "-._[]:".contains(c);
    let end = domain.find(|c| !belongs(c)).unwrap_or(domain.len());
    at + 1 + domain[..end].trim_end_matches([':', '.', ']']).len()
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

    /// What servers say of a recipient, as Postfix, Sendmail, Cyrus and PostgreSQL do.
    #[test]
    fn addresses_in_texts_of_others() {
        for (text, expected) in [
            ("450 4.2.0 <anna@example.test>: try later", "450 4.2.0 <a…@example.test>: try later"),
            ("450 <Anna@Example.Test>: try later", "450 <a…@Example.Test>: try later"),
            ("451 anna... Deferred: ANNA is over quota", "451 a…... Deferred: a… is over quota"),
            ("450 <anna@inside.test> (joanna, annabel)", "450 <a…@inside.test> (joanna, annabel)"),
            ("452 bob@example.test has what is anna's", "452 b…@example.test has what is a…'s"),
            ("invalid input: \"anna@example.test\"", "invalid input: \"a…@example.test\""),
            ("connection refused", "connection refused"),
            ("", ""),
        ] {
            let shown = Privacy::Masked.line_about(text, "anna@example.test");
            assert_eq!(shown.to_lowercase(), expected.to_lowercase(), "{text}");
            assert_eq!(Privacy::Plain.line_about(text, "anna@example.test"), text);
        }
        let hashed = Privacy::Hashed(key(b"k"));
        let code = hashed.show(b"anna@example.test").into_owned();
        let text = "<anna@example.test> (anna)";
        let alone = code.split('@').next().unwrap();
        assert_eq!(hashed.line_about(text, "anna@example.test"), format!("<{code}> ({alone})"));
        let odd = "\"an na@x\"@example.test";
        assert_eq!(Privacy::Masked.line_about(&format!("no {odd}!"), odd), "no a…@example.test!");
        assert_eq!(
            Privacy::Masked.line("ask carla@example.test, @example.org"),
            "ask c…@example.test, @example.org"
        );
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
