//! Why a name means what it does.

use std::{fmt, path::PathBuf};

/// The rule that judged a name. Shows as one line, with nothing of the name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// One of `client.dynamic.patterns`.
    Pattern(String),
    /// A table in `client.dynamic.patterns`: where in it, and the rule's result.
    Table {
        /// The file.
        path: PathBuf,
        /// Where the rule begins.
        line: u64,
        /// Its result, as written.
        result: String,
    },
    /// An address, a name for the DNS alone (`….in-addr.arpa`), or no host name at all.
    NotAHostName,
    /// The address is in the name, with a word for a line or its customer.
    AddressAndWord(&'static str),
    /// The end of the address is in the name, with a word for a line.
    TailAndWord(&'static str),
    /// A word for an address that changes, with a number.
    NumberAndWord(&'static str),
    /// The hardware address of a modem or network card is in the name, with a word for a line or its customer.
    HardwareAndWord(&'static str),
    /// The address is in the name.
    Address,
    /// The end of the address is in the name.
    Tail,
    /// A hardware address is in the name.
    Hardware,
    /// The name is the address below a domain: a server's as often as a line's.
    AddressAlone,
    /// The address or a word for a line is in the name, and a word that spares it.
    Spared(&'static str),
    /// Nothing of that.
    Plain,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => write!(f, "client.dynamic.patterns: {}", pattern.escape_debug()),
            Self::Table { path, line, result } => {
                let path = path.to_string_lossy();
                write!(f, "{}:{line}: {}", path.escape_debug(), result.escape_debug())
            }
            Self::NotAHostName => f.write_str("no host name"),
            Self::AddressAndWord(word) => write!(f, "the address is in it, and the word {word:?}"),
            Self::TailAndWord(word) => write!(f, "the end of the address is in it, and the word {word:?}"),
            Self::NumberAndWord(word) => write!(f, "a number is in it, and the word {word:?}"),
            Self::HardwareAndWord(word) => write!(f, "a hardware address is in it, and the word {word:?}"),
            Self::Address => f.write_str("the address is in it"),
            Self::Tail => f.write_str("the end of the address is in it"),
            Self::Hardware => f.write_str("a hardware address is in it"),
            Self::AddressAlone => {
                f.write_str("the address is all of it below its domain, without a word for a line")
            }
            Self::Spared(word) => write!(f, "the word {word:?} is in it, which no changing address has"),
            Self::Plain => f.write_str("a name of its own"),
        }
    }
}
