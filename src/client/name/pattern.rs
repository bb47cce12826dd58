//! What the admin says of names: `client.dynamic.patterns`.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    address::{DomainError, DomainPattern},
    files::{Grammar, Lines, Table},
    policy::ClientClass,
};

/// One of `patterns`: names that are dynamic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `pool.example.net`: this name and all below it; with a dot before it only what is below.
    Name(DomainPattern),
    /// `/^dyn[0-9]+\./`: a regular expression as in pcre_table(5).
    Expression(String),
    /// `pcre:/path` or `regexp:/path`: a table of Postfix, whose results say what the names that match are.
    Table(Grammar, PathBuf),
}

/// Not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither form of the others, and no name.
    #[error(
        "{0:?} is neither a name (pool.example.net), nor a /regular expression/, nor pcre:/PATH or regexp:/PATH: {1}"
    )]
    Name(String, DomainError),
    /// What no host can be called.
    #[error(
        "{0:?} is no name of a host; write what the names end with (pool.example.net), or a /regular expression/"
    )]
    NoHost(String),
    /// An expression that can't be compiled.
    #[error("{0}")]
    Expression(String),
    /// A path that depends on where the server is started.
    #[error("{0:?}: the path has to begin with a slash")]
    Relative(String),
}

/// What the first word of a table's result says of the client: access(5), and our own words for the classes. `None` for
/// actions that say nothing of it, such as DUNNO or PREPEND.
pub(super) fn class_of_result(result: &str) -> Option<ClientClass> {
    let word = result.split_ascii_whitespace().next()?.to_ascii_uppercase();
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    match word.as_str() {
        "DYNAMIC" | "REJECT" | "DISCARD" => Some(ClientClass::Dynamic),
        "GENERIC" | "DEFER" | "DEFER_IF_REJECT" | "DEFER_IF_PERMIT" => Some(ClientClass::Generic),
        "SERVER" | "OK" | "PERMIT" => Some(ClientClass::Server),
        _ if is_number && word.len() == 3 && word.starts_with('5') => Some(ClientClass::Dynamic),
        // What is refused for a time only may be a server.
        _ if is_number && word.len() == 3 && word.starts_with('4') => Some(ClientClass::Generic),
        _ if is_number => Some(ClientClass::Server),
        _ => None,
    }
}

/// Whether a host's name can be this, or end with it: no wildcard, no expression, no range of addresses.
pub(in crate::client) fn is_end_of_names(pattern: &DomainPattern) -> bool {
    let name = pattern.domain().as_str();
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let top = name.rsplit('.').next().unwrap_or_default();
    name.bytes().all(is_of_a_name) && !top.bytes().all(|byte| byte.is_ascii_digit())
}

/// An expression as a table of one rule.
pub(super) fn compile(expression: &str) -> Result<Table, PatternError> {
    if expression.contains(['\n', '\r', '\0']) {
        return Err(PatternError::Expression("an expression is one line".to_owned()));
    }
    let line = format!("{expression} dynamic");
    let (mut table, mut wrong) = (Table::default(), None);
    table
        .read(&mut Lines::new(line.as_bytes()), Grammar::Pcre, &mut |_, bad| wrong = Some(bad.to_string()))
        .map_err(|error| PatternError::Expression(error.to_string()))?;
    match wrong {
        Some(wrong) => Err(PatternError::Expression(format!("{expression:?}: {wrong}"))),
        None => Ok(table),
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for (prefix, grammar) in GRAMMARS {
            if let Some(path) = text.strip_prefix(prefix) {
                let path = PathBuf::from(path);
                return if path.is_absolute() {
                    Ok(Self::Table(grammar, path))
                } else {
                    Err(PatternError::Relative(text.to_owned()))
                };
            }
        }
        if text.starts_with('/') {
            return compile(text).map(|_| Self::Expression(text.to_owned()));
        }
        match DomainPattern::parse(text) {
            Ok(name) if is_end_of_names(&name) => Ok(Self::Name(name)),
            Ok(_) => Err(PatternError::NoHost(text.to_owned())),
            Err(error) => Err(PatternError::Name(text.to_owned(), error)),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Expression(expression) => f.write_str(expression),
            Self::Table(grammar, path) => {
                let found = GRAMMARS.iter().find(|(_, other)| other == grammar);
                write!(f, "{}{}", found.map_or("", |(prefix, _)| prefix), path.display())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const GRAMMARS: [(&str, Grammar); 2] = [("pcre:", Grammar::Pcre), ("regexp:", Grammar::Regexp)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in [
            "pool.example.net",
            ".pool.example.net",
            r"/^dyn[0-9]+\./",
            "/^DYN/i",
            "pcre:/etc/postfix/dynamic.pcre",
            "regexp:/etc/postfix/dynamic.regexp",
        ] {
            assert_eq!(text.parse::<Pattern>().expect(text).to_string(), text);
        }
        for (text, wrong) in [
            ("", "neither a name"),
            ("two words", "neither a name"),
            ("pcre:dynamic.pcre", "begin with a slash"),
            ("/(/", "the pattern"),
            ("/x", "no end of the pattern"),
            ("/x/q", "unknown flag"),
            ("/x/\n/y/", "one line"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(wrong), "{text:?}: {error}");
        }
    }

    /// access(5), ACCEPT ACTIONS, REJECT ACTIONS and OTHER ACTIONS.
    #[test]
    fn results() {
        use ClientClass::{Dynamic, Generic, Server};
        for (result, class) in [
            ("REJECT generic name", Some(Dynamic)),
            ("550 5.7.1 no", Some(Dynamic)),
            ("554", Some(Dynamic)),
            ("450 S25R check, be patient", Some(Generic)),
            ("421 4.7.0 later", Some(Generic)),
            ("DEFER_IF_PERMIT x", Some(Generic)),
            ("OK", Some(Server)),
            ("permit", Some(Server)),
            ("1234567890", Some(Server)),
            ("DUNNO", None),
            ("PREPEND X-Dynamic: yes", None),
            ("WARN", None),
            ("check_greylist", None),
            ("dynamic", Some(Dynamic)),
            ("generic", Some(Generic)),
            ("server", Some(Server)),
            ("", None),
        ] {
            assert_eq!(class_of_result(result), class, "{result}");
        }
    }
}
