//! What can be wrong with an address, as types. Every message is safe for a log: characters are shown escaped.

use super::domain::Domain;

/// An envelope argument that is not an address: where, why, and the domain that could be read all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {kind}")]
pub struct AddressError {
    /// Offset into the argument, in bytes, at which the fault was seen.
    pub at: usize,
    /// What is wrong.
    pub kind: AddressErrorKind,
    /// The text after the last `@`, where it is a domain. `None` equals no local domain.
    ///
    /// A source route, comments, a closing bracket and blanks around it are dropped. It exists so that a faulty
    /// address of a foreign domain can be told from a faulty address of ours.
    pub domain: Option<Domain>,
}

/// The ways in which an address can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressErrorKind {
    /// Nothing, or only `<>`, where a recipient is needed.
    #[error("no address")]
    Empty,
    /// Longer than [`MAX_ARGUMENT`](super::MAX_ARGUMENT) bytes.
    #[error("too long")]
    TooLong,
    /// Not UTF-8 (RFC 6531 §3.3 allows nothing else beyond ASCII).
    #[error("not UTF-8")]
    InvalidUtf8,
    /// A control character, NUL, CR, LF, a line separator or a character that reverses the reading direction.
    #[error("a control character")]
    ControlCharacter,
    /// A quoted string without its end.
    #[error("a quote without its partner")]
    UnbalancedQuote,
    /// `<`, `>`, `[` or `]` without its partner.
    #[error("a bracket without its partner")]
    UnbalancedBracket,
    /// A `\` with nothing after it.
    #[error("a backslash at the end")]
    TrailingBackslash,
    /// Nothing before the `@`, or `""`.
    #[error("an empty local part")]
    EmptyLocalPart,
    /// No `@domain` where one is needed (never from [`parse_rcpt`](super::parse_rcpt)).
    #[error("no domain")]
    NoDomain,
    /// A source route (`@a,@b:`, RFC 5321 Appendix C) that is not one.
    #[error("a malformed source route")]
    SourceRoute,
    /// A character that needs quotes, or that belongs elsewhere.
    #[error("unexpected {0:?}")]
    Unexpected(char),
    /// The text after the `@` is no domain.
    #[error("domain: {0}")]
    Domain(#[from] DomainError),
}

/// The ways in which a domain can be wrong. All else is kept and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No text, or a single dot.
    #[error("empty")]
    Empty,
    /// Two dots in a row, or one at the start: no such name can exist (RFC 1035 §2.3.1).
    #[error("an empty label")]
    EmptyLabel,
    /// Longer than [`Domain::MAX_LENGTH`] bytes, as written or as normalised.
    #[error("too long")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8")]
    InvalidUtf8,
    /// A blank, a control character or a special of RFC 5321 §4.1.2, which no domain can hold.
    #[error("unexpected {0:?}")]
    Character(char),
    /// `[` without `]`, or nothing between them.
    #[error("a malformed address literal")]
    Literal,
}
