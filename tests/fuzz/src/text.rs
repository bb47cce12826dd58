//! Text of others on its way into logs and pages.

use std::cell::Cell;

use backstop::{
    readable,
    telemetry::privacy::{Privacy, each_address, hash, key, mask},
};

/// Nothing that ends a line, steers a terminal or misleads a reader is left; no address is left where none may be, and of one
/// that is hidden only the first character and the domain.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let safe = readable::safe(&text);
    assert!(!safe.chars().any(|c| c.is_control() || readable::misleads(c)), "{safe:?}");
    assert_eq!(readable::safe(&safe), safe, "twice is once");
    masked(bytes);
    hashed(bytes);
    addresses(&text);
    about(&text);
}

/// At most a character, an ellipsis and a domain.
fn masked(address: &[u8]) {
    let shown = mask(address);
    assert!(shown.len() <= LONGEST, "{shown:?}");
    // The character may be an ellipsis itself.
    let hidden =
        shown.char_indices().take(2).find(|(_, c)| *c == '…').map(|(at, c)| &shown[at + c.len_utf8()..]);
    let rest = match hidden {
        Some(rest) if shown.starts_with('…') => rest.strip_prefix('…').unwrap_or(rest),
        Some(rest) => rest,
        None => &shown,
    };
    assert!(rest.is_empty() || rest == "<>" || is_at_domain(rest), "{shown:?}");
    assert_eq!(mask(&in_brackets(address)), shown, "with and without brackets");
}

/// A number and a domain; the same for the same address, in large or small letters.
fn hashed(address: &[u8]) {
    let key = key(b"0123456789abcdef");
    let shown = hash(address, &key);
    match shown.strip_prefix('#') {
        None => assert!(shown.is_empty() || shown == "<>" || is_at_domain(&shown), "{shown:?}"),
        Some(rest) => {
            let (digits, rest) = rest.split_at(12);
            assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{shown:?}");
            assert!(rest.is_empty() || is_at_domain(rest), "{shown:?}");
        }
    }
    assert_eq!(hash(&in_brackets(address), &key), shown, "with and without brackets");
    let large = hash(&address.to_ascii_uppercase(), &key);
    assert_eq!(large.split('@').next(), shown.split('@').next(), "in large letters");
}

/// Each is shown as it is to be, and nothing else is changed; afterwards there is none.
fn addresses(text: &str) {
    let last = Cell::new(0);
    let without = each_address(text, |address| {
        let at = text[last.get()..].find(address).expect("it stands there, behind the one before");
        last.set(last.get() + at + address.len());
        assert!(address.trim_start_matches('@').contains('@'), "{address:?} is nobody");
        HIDDEN.to_owned()
    });
    assert!(last.get() > 0 || without == text, "{without:?}");
    let _ = each_address(&without, |address| panic!("{address:?} is left of {text:?}"));
    assert_eq!(each_address(text, str::to_owned), text, "as they are");
}

/// Of the address that a text is about nothing is left, be it whole or its local part alone.
fn about(text: &str) {
    if text.to_ascii_lowercase().contains(WHO) {
        return;
    }
    let written = format!("{text} <{WHO}@host.test> {text}: {WHO}, {text}");
    for privacy in [Privacy::Masked, Privacy::Hashed(key(b"0123456789abcdef"))] {
        let shown = privacy.line_about(&written, &format!("{WHO}@host.test"));
        assert!(!shown.contains(WHO), "{shown:?} of {text:?}");
    }
    assert_eq!(Privacy::Plain.line_about(&written, WHO), written);
}

/// As SMTP writes a path, if it is not written so already.
fn in_brackets(address: &[u8]) -> Vec<u8> {
    let address = address.trim_ascii();
    let is_bare = !address.is_empty() && !address.starts_with(b"<") && !address.ends_with(b">");
    if is_bare { [b"<", address, b">"].concat() } else { address.to_vec() }
}

fn is_at_domain(text: &str) -> bool {
    let belongs = |c: char| c.is_alphanumeric() || "-._[]:".contains(c);
    text.strip_prefix('@').is_some_and(|domain| !domain.is_empty() && domain.chars().all(belongs))
}

/// Nobody's name.
const WHO: &str = "zq0zq";
/// No part of an address.
const HIDDEN: &str = "\n";
/// A domain, and what stands before it.
const LONGEST: usize = 255 + 24;
