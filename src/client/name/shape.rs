//! The built-in rules: what the shape of a name says.
//!
//! Explicit conjunctions, no scores: each rule can be told in one sentence, and one that is wrong can be found.

use std::net::IpAddr;

use super::{
    Judged, Rule,
    embedded::{self, Embedded},
    host::{Host, Token},
    words::{self, Kind},
};
use crate::policy::ClientClass::{Dynamic, Generic, Server};

/// Judges a name in lower case without a dot at the end.
pub(super) fn judge(client: IpAddr, name: &str) -> Judged {
    if !is_host_name(name) {
        return Judged { class: Generic, rule: Rule::NotAHostName };
    }
    let host = Host::of(name);
    let tokens: Vec<Token<'_>> = host.tokens().collect();
    let embedded = embedded::find(client, &host, &tokens);
    let words = Words::of(&tokens);
    let accused = accuse(embedded, &words, &tokens);
    match (accused, words.spares) {
        (Some(_), Some(word)) => Judged { class: Server, rule: Rule::Spared(word) },
        (Some(judged), None) => judged,
        (None, _) if embedded == Embedded::Address => {
            Judged { class: Server, rule: words.spares.map_or(Rule::AddressAlone, Rule::Spared) }
        }
        (None, _) => Judged { class: Server, rule: Rule::Plain },
    }
}

/// Whether a name spells out the address, or a part of it.
pub(super) fn has_address(client: IpAddr, name: &str) -> bool {
    let host = Host::of(name);
    let tokens: Vec<Token<'_>> = host.tokens().collect();
    embedded::find(client, &host, &tokens) != Embedded::No
}

/// Whether a name can be the name of a host (RFC 1123 §2.1; underscores are seen in practice), and not just of an
/// address.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let top = name.rsplit('.').next().unwrap_or("");
    name.len() <= LONGEST_NAME
        && name.contains('.')
        && name.split('.').all(label)
        && top != "arpa"
        && !top.bytes().all(|byte| byte.is_ascii_digit())
}

/// What speaks against a host.
fn accuse(embedded: Embedded, words: &Words, tokens: &[Token<'_>]) -> Option<Judged> {
    let dynamic = |rule| Some(Judged { class: Dynamic, rule });
    let line = words.dynamic.or(words.line);
    match embedded {
        Embedded::Address => match line.or(words.place) {
            Some(word) => dynamic(Rule::AddressAndWord(word)),
            // `192-0-2-1.example.com` is how some name their servers, too.
            None if is_all_numbers(tokens) => None,
            None => Some(Judged { class: Generic, rule: Rule::Address }),
        },
        Embedded::Tail => match line {
            Some(word) => dynamic(Rule::TailAndWord(word)),
            None => Some(Judged { class: Generic, rule: Rule::Tail }),
        },
        Embedded::Last if line.is_some() => line.and_then(|word| dynamic(Rule::TailAndWord(word))),
        Embedded::Hardware => match line.or(words.place) {
            Some(word) => dynamic(Rule::HardwareAndWord(word)),
            None => Some(Judged { class: Generic, rule: Rule::Hardware }),
        },
        Embedded::Last | Embedded::No => words.numbered.and_then(|word| dynamic(Rule::NumberAndWord(word))),
    }
}

/// Whether there are only numbers, all in one label.
fn is_all_numbers(tokens: &[Token<'_>]) -> bool {
    tokens.iter().all(|token| token.is_number() && token.label == 0)
}

/// The first word of each kind.
#[derive(Debug, Default)]
struct Words {
    dynamic: Option<&'static str>,
    /// One for an address that changes, with a number of two digits at least in its label or the one before it.
    numbered: Option<&'static str>,
    line: Option<&'static str>,
    place: Option<&'static str>,
    /// Static, or mail.
    spares: Option<&'static str>,
}

impl Words {
    fn of(tokens: &[Token<'_>]) -> Self {
        let mut found = Self::default();
        let is_long = |token: &Token<'_>| token.is_number() && token.text.len() > 1;
        for token in tokens.iter().filter(|token| !token.is_number()) {
            if token.label == 0
                && let Some(word) = words::mail_at_start(token.text)
            {
                found.spares = found.spares.or(Some(word));
            }
            let Some((kind, word)) = words::find(token.text) else { continue };
            let place = match kind {
                Kind::Dynamic => &mut found.dynamic,
                Kind::Line => &mut found.line,
                Kind::Place => &mut found.place,
                Kind::Static | Kind::Mail => &mut found.spares,
            };
            place.get_or_insert(word);
            if kind == Kind::Dynamic
                && tokens.iter().any(|other| {
                    is_long(other) && (other.label == token.label || other.label + 1 == token.label)
                })
            {
                found.numbered.get_or_insert(word);
            }
        }
        found
    }
}

/// RFC 1035 §2.3.4, as text.
const LONGEST_NAME: usize = 253;
