//! A host name cut into what the rules look at: the labels below the registrable domain, and the words and numbers in
//! these.

use psl::Type;

/// The part of a name that its owner chose for one host, in lower case.
///
/// The registrable domain is a name that somebody bought: `hyperdyne.com` says nothing about lines. Only suffixes
/// that registries offer count; `compute-1.amazonaws.com` is on the public suffix list for the sake of cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// The labels below the registrable domain, with the dots between them; empty if the name has none.
    pub(super) text: &'a str,
}

/// Words and numbers of a host, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// Only letters, or only digits.
    pub(super) text: &'a str,
    /// The label it is in, from 0 at the left.
    pub(super) label: usize,
    /// Whether it begins where the token before ends.
    pub(super) joined: bool,
}

impl<'a> Host<'a> {
    /// From a name in lower case without a dot at the end.
    pub(super) fn of(name: &'a str) -> Self {
        let below = name.len() - registrable(name).len();
        Self { text: name[..below].trim_end_matches('.') }
    }

    /// What stands between dots, hyphens and underscores.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text.split(SEPARATORS)
    }

    /// Words and numbers; what is neither separates.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token<'a>> + use<'a> {
        let text = self.text;
        let (mut at, mut label, mut joined) = (0, 0, false);
        std::iter::from_fn(move || {
            let bytes = text.as_bytes();
            while let Some(&byte) = bytes.get(at) {
                if byte.is_ascii_alphanumeric() {
                    let digits = byte.is_ascii_digit();
                    let same = |byte: &&u8| byte.is_ascii_alphanumeric() && byte.is_ascii_digit() == digits;
                    let length = bytes[at..].iter().take_while(same).count();
                    let token = Token { text: &text[at..at + length], label, joined };
                    at += length;
                    joined = true;
                    return Some(token);
                }
                label += usize::from(byte == b'.');
                joined = false;
                at += 1;
            }
            None
        })
    }
}

impl Token<'_> {
    pub(super) fn is_number(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_digit())
    }
}

/// The end of a name that was registered as a whole: `example.co.uk` of `a.b.example.co.uk`.
fn registrable(name: &str) -> &str {
    let mut suffix = name;
    // A private suffix is below a registry's: one label less, at least, in each round.
    while let Some(found) = psl::suffix(suffix.as_bytes()) {
        let length = found.as_bytes().len();
        let is_private = found.typ() == Some(Type::Private);
        suffix = &suffix[suffix.len() - length..];
        if !is_private {
            break;
        }
        let Some((_, parent)) = suffix.split_once('.') else { break };
        suffix = parent;
    }
    let before = name[..name.len() - suffix.len()].trim_end_matches('.');
    let label = before.rfind('.').map_or(0, |dot| dot + 1);
    &name[label..]
}

const SEPARATORS: [char; 3] = ['.', '-', '_'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrable_domain_is_taken_off() {
        for (name, host) in [
            ("mail.example.com", "mail"),
            ("example.com", ""),
            ("com", ""),
            ("", ""),
            ("a.b.example.co.uk", "a.b"),
            ("1-2-3-4.dsl.example.com.br", "1-2-3-4.dsl"),
            ("ec2-1-2-3-4.compute-1.amazonaws.com", "ec2-1-2-3-4.compute-1"),
            ("joe.dyndns.org", "joe"),
            ("host.example.unknown-tld", "host"),
            ("hyperdyne.com", ""),
            ("a..example.com", "a"),
            ("...", ""),
        ] {
            assert_eq!(Host::of(name).text, host, "{name}");
        }
    }

    #[test]
    fn words_and_numbers() {
        let host = Host { text: "dsl092-151.pool7b" };
        let tokens: Vec<_> = host.tokens().map(|token| (token.text, token.label, token.joined)).collect();
        assert_eq!(
            tokens,
            [
                ("dsl", 0, false),
                ("092", 0, true),
                ("151", 0, false),
                ("pool", 1, false),
                ("7", 1, true),
                ("b", 1, true)
            ]
        );
    }
}
