//! A short string, and the folding that makes two spellings one.

use std::{borrow::Cow, fmt, hash};

use caseless::Caseless;
use compact_str::CompactString;
use unicode_normalization::UnicodeNormalization;

/// UTF-8 text, inline up to 24 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Text(CompactString);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Appends ASCII folded; `is_lower`: there is nothing to fold.
    pub(super) fn push_ascii(&mut self, text: &str, is_lower: bool) {
        let start = self.0.len();
        self.push_str(text);
        if !is_lower {
            self.0[start..].make_ascii_lowercase();
        }
    }

    /// Appends `text` as [`fold`] would make it.
    pub(super) fn push_folded(&mut self, text: &str) {
        if text.is_ascii() {
            self.push_ascii(text, false);
        } else {
            self.push_str(&fold_unicode(text));
        }
    }

    /// Removes a final ASCII `character`, once.
    pub(super) fn pop_ascii(&mut self, character: u8) {
        if character.is_ascii() && self.0.as_bytes().last() == Some(&character) {
            self.0.pop();
        }
    }
}

// As `str` hashes, so that maps keyed by the text can be asked with a `&str`.
impl hash::Hash for Text {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// Folds for comparison: full case folding and NFC (Unicode D145, RFC 6530 §10.1); ASCII becomes lower case.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        Cow::Owned(fold_unicode(text))
    } else if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a character may never be part of an address, because a log, a terminal or a reply could be misled by
/// it: C0 and C1 controls, line and paragraph separators, and the controls of reading direction.
///
/// RFC 5198 §2 keeps the first three out of network text; the last have no use in a mailbox name.
pub(super) fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Offset of the first character that [`is_forbidden`].
pub(super) fn find_forbidden(text: &str) -> Option<usize> {
    if text.is_ascii() {
        return text.bytes().position(|byte| byte.is_ascii_control());
    }
    text.char_indices().find(|(_, character)| is_forbidden(*character)).map(|(at, _)| at)
}

// Decomposed first, because folding sees characters one by one and U+0345 changes places otherwise (D145).
fn fold_unicode(text: &str) -> String {
    text.nfd().default_case_fold().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_as_unicode_says() {
        // CaseFolding.txt status C and F, UAX #15 figure 3 (singletons, composition).
        for (written, folded) in [
            ("Joe", "joe"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("JOSE\u{301}", "jos\u{e9}"),
            ("JOS\u{c9}", "jos\u{e9}"),
            ("\u{212a}", "k"),
            ("\u{3a3}\u{3c2}", "\u{3c3}\u{3c3}"),
            ("\u{130}", "i\u{307}"),
            ("\u{fb01}", "fi"),
        ] {
            assert_eq!(fold(written), folded, "{written:?}");
            let mut text = Text::default();
            text.push_folded(written);
            assert_eq!(text.as_str(), folded, "{written:?}");
        }
    }

    #[test]
    fn folding_twice_is_folding_once_for_every_character() {
        for character in characters() {
            // Alone, after letters and before the mark that changes places: composition may join them.
            for text in [format!("{character}"), format!("a{character}\u{3b1}{character}\u{345}")] {
                let once = fold(&text).into_owned();
                assert_eq!(fold(&once), once, "{text:?}");
            }
        }
    }

    #[test]
    fn folding_adds_no_forbidden_character() {
        for character in characters().filter(|character| !is_forbidden(*character)) {
            assert!(!fold(&character.to_string()).chars().any(is_forbidden), "{character:?}");
        }
    }

    #[test]
    fn the_ascii_path_equals_the_slow_path() {
        for byte in 0..128u8 {
            let text = char::from(byte).to_string();
            assert_eq!(fold(&text), fold_unicode(&text));
            assert_eq!(find_forbidden(&text).is_some(), text.chars().any(is_forbidden));
        }
    }

    /// All planes of Unicode that hold assigned characters other than private use.
    fn characters() -> impl Iterator<Item = char> {
        ('\0'..='\u{3ffff}').chain('\u{e0000}'..='\u{e0fff}')
    }
}
