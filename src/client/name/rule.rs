//! Why a name means what it does.

use std::fmt;

/// The rule that judged a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Nothing speaks against it.
    Plain,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("a name of its own"),
        }
    }
}
