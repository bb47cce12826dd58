//! What peers wrote, cut to a length that can be kept.

use std::{borrow::Cow, fmt::Write};

use crate::address::Address;

/// The text, at most [`LONGEST`] bytes of it; what is not UTF-8 is replaced.
#[must_use]
pub fn bounded(text: &[u8]) -> String {
    let cut = text.len() > LONGEST;
    let text = String::from_utf8_lossy(text.get(..LONGEST).filter(|_| cut).unwrap_or(text));
    let mut text = clip(text.into_owned());
    if cut && !text.ends_with(MARK) {
        text.push(MARK);
    }
    text
}

/// The same; it is a copy only where something is cut or replaced.
#[must_use]
pub fn cut(text: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(text) {
        Ok(text) if text.len() <= LONGEST => text.into(),
        _ => bounded(text).into(),
    }
}

/// Appends the text as [`bounded`] gives it.
pub(super) fn push(texts: &mut String, text: &[u8]) {
    texts.push_str(&cut(text));
}

/// Appends the address in the form in which it is compared, quoted where needed, likewise bounded.
pub(super) fn push_address(texts: &mut String, address: &Address) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte);
    if address.local().split('.').all(|word| !word.is_empty() && word.bytes().all(is_plain)) {
        return push(texts, address.key());
    }
    let begin = texts.len();
    write!(texts, "{address}").expect("writing to memory cannot fail");
    if texts.len() - begin > LONGEST {
        let whole = texts.split_off(begin);
        push(texts, whole.as_bytes());
    }
}

/// Text from a file, which may be longer than what we write.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > LONGEST + MARK.len_utf8() {
        let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push(MARK);
    }
    text
}

/// A path is at most 256 octets (RFC 5321 §4.5.3.1.3).
const LONGEST: usize = 256;
/// Where something was cut off.
const MARK: char = '…';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_shown() {
        for local in
            ["joe", "john.smith", "a-b_c+d", "a..b", ".a", "a.", "a b", "a@b", "j\u{e4}", "a!b", "\"", "."]
        {
            let address = Address::new(local, &"example.test".parse().unwrap()).unwrap();
            let mut text = "before".to_owned();
            push_address(&mut text, &address);
            assert_eq!(text, format!("before{address}"));
        }
    }

    #[test]
    fn nothing_is_longer_than_a_path() {
        assert_eq!(bounded(b"<a@b>"), "<a@b>");
        assert_eq!(bounded(&[b'x'; 256]).len(), 256);
        for long in [vec![b'x'; 257], vec![0xff; 100_000], "\u{e4}".repeat(10_000).into_bytes()] {
            let text = bounded(&long);
            assert!(text.len() <= LONGEST + 3 && text.ends_with(MARK), "{} bytes", text.len());
            assert_eq!(clip(text.clone()), text);
        }
    }
}
