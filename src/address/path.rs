//! The argument of `MAIL` and `RCPT` as the MTAs hand it to a milter: with or without angle brackets, a null
//! sender as `<>` or as nothing, a source route, a local part alone.
//!
//! It never guesses a missing domain (see [`Path::complete`]). Failure answer: [`AddressError`], which carries the
//! domain wherever one can be read.

use nom::Offset;

use super::{
    domain::{Domain, is_special},
    error::{AddressError, AddressErrorKind},
    mailbox::{Address, LocalPart},
    parse,
    text::find_forbidden,
};

/// Longest argument that is looked at, in bytes. RFC 5321 §4.5.3.1.3 allows a path 256, tags and UTF-8 need more.
pub const MAX_ARGUMENT: usize = 1024;

/// A recipient that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// With a domain.
    Address(Address),
    /// Without one: `<postmaster>`, or a name given to the local `sendmail` command.
    Local(LocalPart),
}

impl Path {
    /// The local part, without quotes, folded.
    pub fn local(&self) -> &str {
        match self {
            Path::Address(address) => address.local(),
            Path::Local(local) => local.as_str(),
        }
    }

    /// The domain, where one was written.
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Path::Address(address) => Some(address.domain()),
            Path::Local(_) => None,
        }
    }

    /// The address, in `domain` if none was written. The MTA knows which (`$myorigin`, macro `j`).
    pub fn complete(self, domain: &Domain) -> Address {
        match self {
            Path::Address(address) => address,
            Path::Local(local) => local.complete(domain),
        }
    }
}

/// A sender. Nobody is refused for the shape of his sender address, hence no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>` or nothing: a bounce or another automatic message (RFC 5321 §4.5.5).
    Null,
    /// An address with its domain.
    Address(Address),
    /// A local part alone, or something that is no address.
    Other,
}

/// Reads the first argument of `RCPT`, with or without angle brackets, without `TO:` and ESMTP parameters.
///
/// Stricter than the MTAs (which rewrite) where guessing is dangerous, wider than RFC 5321 where real mailboxes
/// are: dots may stand anywhere in the local part, which may be longer than 64 bytes (SRS, VERP).
///
/// # Errors
/// [`AddressError`]: the place, the kind and the domain as far as it can be read.
pub fn parse_rcpt(argument: &[u8]) -> Result<Path, AddressError> {
    read(argument).map_err(|(at, kind)| AddressError { at, kind, domain: salvage(argument) })
}

/// Reads the first argument of `MAIL`, with or without angle brackets, without `FROM:` and ESMTP parameters.
pub fn parse_mail(argument: &[u8]) -> ReversePath {
    match parse_rcpt(argument) {
        Ok(Path::Address(address)) => ReversePath::Address(address),
        Err(AddressError { kind: AddressErrorKind::Empty, .. }) => ReversePath::Null,
        Ok(Path::Local(_)) | Err(_) => ReversePath::Other,
    }
}

/// The error for an address that must have a domain and has none.
pub(super) fn no_domain(argument: &[u8]) -> AddressError {
    AddressError { at: argument.len(), kind: AddressErrorKind::NoDomain, domain: None }
}

fn read(argument: &[u8]) -> Result<Path, (usize, AddressErrorKind)> {
    if let Some(address) = plain(argument) {
        return Ok(Path::Address(address));
    }
    read_by_grammar(argument)
}

fn read_by_grammar(argument: &[u8]) -> Result<Path, (usize, AddressErrorKind)> {
    if argument.len() > MAX_ARGUMENT {
        return Err((MAX_ARGUMENT, AddressErrorKind::TooLong));
    }
    let text = std::str::from_utf8(argument)
        .map_err(|error| (error.valid_up_to(), AddressErrorKind::InvalidUtf8))?;
    if let Some(at) = find_forbidden(text) {
        return Err((at, AddressErrorKind::ControlCharacter));
    }
    if parse::is_null(text) {
        return Err((0, AddressErrorKind::Empty));
    }
    let parsed = parse::argument(text).map_err(|fault| (argument.len() - fault.rest.len(), fault.kind))?;
    let local = LocalPart::new(&parsed.local).map_err(|kind| (0, kind))?;
    let Some(domain) = parsed.domain else { return Ok(Path::Local(local)) };
    let domain = Domain::parse(domain).map_err(|error| (text.offset(domain), error.into()))?;
    Ok(Path::Address(local.complete(&domain)))
}

/// What nearly every argument is: a dot-string at a name, in ASCII, with nothing to undo. The same as [`parse`] makes of it;
/// `None` where that has to look.
fn plain(argument: &[u8]) -> Option<Address> {
    let inside = match argument {
        [b'<', inside @ .., b'>'] => inside,
        _ => argument,
    };
    if inside.len() > MAX_PLAIN {
        return None;
    }
    let at = memchr::memchr(b'@', inside)?;
    let (local, domain) = (Looked::at(&inside[..at]), Looked::at(&inside[at + 1..]));
    // The one place that may have an empty label: a trailing dot.
    if local.all & LOCAL == 0 || domain.all & DOMAIN == 0 || domain.has_empty_label {
        return None;
    }
    // All of it is ASCII.
    let inside = str::from_utf8(inside).ok()?;
    let is_lower = (local.any | domain.any) & UPPER == 0;
    let (local, domain) = (&inside[..at], &inside[at + 1..]);
    Some(Address::plain(local, is_lower, Domain::plain(domain, is_lower)))
}

/// What kinds of bytes a part has.
struct Looked {
    /// What all of them are; nothing, of none.
    all: u8,
    /// What one of them is.
    any: u8,
    /// Two dots follow each other, or the first byte is one, or the last one of few.
    has_empty_label: bool,
}

impl Looked {
    fn at(part: &[u8]) -> Self {
        let (mut all, mut any, mut before, mut empty) = (LOCAL | DOMAIN, 0, DOT, 0);
        for byte in part {
            let kind = KINDS[usize::from(*byte)];
            (all, any) = (all & kind, any | kind);
            empty |= kind & before & DOT;
            before = kind;
        }
        if part.is_empty() {
            all = 0;
        }
        Self { all, any, has_empty_label: (empty | before & DOT) != 0 }
    }
}

/// The domain of an argument that is no address: what follows the last `@`, less blanks, control characters,
/// comments and brackets around it.
fn salvage(argument: &[u8]) -> Option<Domain> {
    let at = argument.iter().rposition(|byte| *byte == b'@')?;
    let mut text = &argument[at + 1..];
    loop {
        let trimmed = text.trim_ascii();
        let trimmed = trimmed.strip_suffix(b">").unwrap_or(trimmed);
        let trimmed = without_comment(trimmed);
        if trimmed.len() == text.len() {
            return Domain::parse(text).ok();
        }
        text = trimmed;
    }
}

/// `domain(comment)` or `(comment)domain`, one comment less (RFC 5322 §3.2.2; RFC 5321 knows none).
fn without_comment(text: &[u8]) -> &[u8] {
    if text.first() == Some(&b'(') {
        let end = text.iter().position(|byte| *byte == b')');
        return end.map_or(text, |end| &text[end + 1..]);
    }
    if text.last() == Some(&b')') {
        let start = text.iter().rposition(|byte| *byte == b'(');
        return start.map_or(text, |start| &text[..start]);
    }
    text
}

/// For each byte whether it may stand in the parts of a plain address.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        let is_name = character.is_ascii_alphanumeric() || matches!(character, b'-' | b'.' | b'_');
        if character.is_ascii_graphic() && !is_special(character as char) {
            kinds[byte] |= LOCAL;
        }
        if is_name {
            kinds[byte] |= DOMAIN;
        }
        if character == b'.' {
            kinds[byte] |= DOT;
        }
        if character.is_ascii_uppercase() {
            kinds[byte] |= UPPER;
        }
        byte += 1;
    }
    kinds
};
const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const DOT: u8 = 4;
const UPPER: u8 = 8;

/// Longer ones are not worth the haste.
const MAX_PLAIN: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::DomainError;

    proptest! {
        /// The short way and the long one end at the same address.
        #[test]
        fn what_is_plain_reads_as_it_does_by_the_grammar(
            argument in r#"<?[a-zA-Z0-9.+=_!#{}\\"' -]{0,9}@[a-zA-Z0-9._-]{0,12}>?"#,
        ) {
            if let Some(address) = plain(argument.as_bytes()) {
                let by_grammar = read_by_grammar(argument.as_bytes());
                prop_assert_eq!(by_grammar.as_ref().map(|path| (path.local(), path.domain())),
                    Ok((address.local(), Some(address.domain()))));
                prop_assert_eq!(by_grammar, Ok(Path::Address(address)));
            }
        }
    }

    /// Each byte at each place of each part, and parts that are too long for either.
    #[test]
    fn no_byte_reads_otherwise_when_it_is_plain() {
        let parts = |byte: u8| {
            [vec![byte], vec![byte, b'a'], vec![b'a', byte], vec![b'a', byte, b'a'], vec![byte; 2]]
        };
        let mut count = 0;
        for part in (0..=255)
            .flat_map(parts)
            .chain([1, 63, 64, 250, 251, 252, 253, 1100].map(|length| vec![b'A'; length]))
        {
            for argument in [[&part[..], b"@h"].concat(), [b"u@", &part[..]].concat()] {
                for argument in [argument.clone(), [b"<", &argument[..], b">"].concat()] {
                    if let Some(address) = plain(&argument) {
                        count += 1;
                        assert_eq!(read_by_grammar(&argument), Ok(Path::Address(address)), "{argument:?}");
                    }
                }
            }
        }
        assert!(count > 1000, "{count}");
    }

    #[test]
    fn what_most_write_is_plain() {
        for (argument, is_plain) in [
            ("<u@h>", true),
            ("Anna.B+x=y@Mail.Example.org", true),
            ("<u@h", false),
            ("u@h>", false),
            ("<u@h.>", false),
            ("<u@.h>", false),
            ("<u@a..b>", false),
            ("<@h>", false),
            ("<u@>", false),
            ("<u@x@h>", false),
            ("<\"u\"@h>", false),
            ("<u@[192.0.2.1]>", false),
            (" <u@h>", false),
            ("<jos\u{e9}@h>", false),
        ] {
            assert_eq!(plain(argument.as_bytes()).is_some(), is_plain, "{argument}");
        }
    }

    fn shown(argument: &[u8]) -> String {
        match parse_rcpt(argument) {
            Ok(Path::Address(address)) => format!("{} / {}", address.local(), address.domain()),
            Ok(Path::Local(local)) => local.as_str().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn recipients_as_the_mtas_hand_them_over() {
        for (argument, expected) in [
            // libmilter, smfi_envrcpt: the argument as the client wrote it. Postfix non_smtpd_milters: no brackets.
            ("<u@h>", "u / h"),
            ("u@h", "u / h"),
            (" <U@H.> ", "u / h"),
            ("<joe>", "joe"),
            ("joe", "joe"),
            // RFC 5321 §4.1.1.3, §4.5.1.
            ("<Postmaster>", "postmaster"),
            // RFC 5321 §4.1.2: quoted strings, quoted pairs. RFC 821: quoted pairs outside quotes.
            (r#"<"a b"@h>"#, "a b / h"),
            (r#"<"a\"b\\c"@h>"#, r#"a"b\c / h"#),
            (r#"<"a\bc"@h>"#, "abc / h"),
            (r"<a\@b\ c@h>", "a@b c / h"),
            (r#"<"a".b@h>"#, "a.b / h"),
            (r#"<a."b c".d@h>"#, "a.b c.d / h"),
            (r#"<"joe"@h>"#, "joe / h"),
            (r#"<"">"#, "byte 1: an empty local part"),
            (r#"<"<>@(,)">"#, "<>@(,)"),
            (r#"<"a"@h>"#, "a / h"),
            // Tolerated: dots anywhere.
            ("<.a..b.@h>", ".a..b. / h"),
            // RFC 5321 Appendix C: a source route is ignored.
            ("<@r1,@r2:u@h>", "u / h"),
            ("<@[192.0.2.1]:u@h>", "u / h"),
            ("<@[IPv6:::1],@r:u@h>", "u / h"),
            ("@r:u@h", "u / h"),
            ("<@r:joe>", "joe"),
            // RFC 5321 §4.1.3.
            ("<u@[192.0.2.1]>", "u / [192.0.2.1]"),
            ("<u@[ipv6:2001:DB8::1]>", "u / [IPv6:2001:db8::1]"),
            // RFC 6531 §3.3.
            ("<JOS\u{c9}@B\u{dc}CHER.example>", "jos\u{e9} / xn--bcher-kva.example"),
            ("<jose\u{301}@h>", "jos\u{e9} / h"),
        ] {
            assert_eq!(shown(argument.as_bytes()), expected, "{argument}");
        }
    }

    #[test]
    fn faults_have_a_place_a_kind_and_a_domain() {
        use AddressErrorKind::*;
        for (argument, at, kind, domain) in [
            (&b""[..], 0, Empty, None),
            (b"<>", 0, Empty, None),
            (b" < > ", 0, Empty, None),
            (b"<u@h", 4, UnbalancedBracket, Some("h")),
            (b"u@h>", 3, UnbalancedBracket, Some("h")),
            (b"<u@h>>", 5, UnbalancedBracket, Some("h")),
            (b"<<u@h>>", 1, Unexpected('<'), Some("h")),
            (b"<u@h> x", 6, Unexpected('x'), None),
            (b"Joe <u@h>", 4, Unexpected('<'), Some("h")),
            (b"<@h>", 1, EmptyLocalPart, Some("h")),
            (b"@h", 0, EmptyLocalPart, Some("h")),
            (b"<\"\"@h>", 1, EmptyLocalPart, Some("h")),
            (b"<\"u@h>", 1, UnbalancedQuote, Some("h")),
            (b"<\"u\\\"@h>", 1, UnbalancedQuote, Some("h")),
            (b"<u\"@h>", 2, UnbalancedQuote, Some("h")),
            (b"u\\", 1, TrailingBackslash, None),
            (b"<u@[192.0.2.1>", 14, UnbalancedBracket, None),
            (b"<u@h]>", 4, UnbalancedBracket, None),
            (b"<u v@h>", 2, Unexpected(' '), Some("h")),
            (b"<u @h>", 2, Unexpected(' '), Some("h")),
            (b"<u@ h>", 3, Unexpected(' '), Some("h")),
            (b"<u,v@h>", 2, Unexpected(','), Some("h")),
            (b"<u;v@h>", 2, Unexpected(';'), Some("h")),
            (b"<u:v@h>", 2, Unexpected(':'), Some("h")),
            (b"<u(c)@h>", 2, Unexpected('('), Some("h")),
            (b"<u@h(c)>", 4, Unexpected('('), Some("h")),
            (b"<u@h (c) (d)>", 4, Unexpected(' '), Some("h")),
            (b"<u@(c)h>", 3, Unexpected('('), Some("h")),
            (b"<u@x@h>", 4, Unexpected('@'), Some("h")),
            (b"<u@>", 3, Domain(DomainError::Empty), None),
            (b"<u@a..b>", 3, Domain(DomainError::EmptyLabel), None),
            (b"<@a,b:u@h>", 3, SourceRoute, Some("h")),
            (b"<@a u@h>", 1, EmptyLocalPart, Some("h")),
            (b"<u\0@h>", 2, ControlCharacter, Some("h")),
            (b"<u@h\r\n>", 4, ControlCharacter, Some("h")),
            (b"<u@h>\n", 5, ControlCharacter, Some("h")),
            (b"<\"a\tb\"@h>", 3, ControlCharacter, Some("h")),
            (b"<u\xc2\x85@h>", 2, ControlCharacter, Some("h")),
            (b"<u\xff@h>", 2, InvalidUtf8, Some("h")),
            (b"<u@h\xff>", 4, InvalidUtf8, None),
        ] {
            let domain = domain.map(|name| crate::address::Domain::parse(name).unwrap());
            let expected = AddressError { at, kind, domain };
            assert_eq!(parse_rcpt(argument), Err(expected), "{}", argument.escape_ascii());
        }
    }

    #[test]
    fn the_whole_argument_is_limited_the_local_part_is_not() {
        // RFC 5321 §4.5.3.1.1 allows 64; SRS and VERP need more.
        let long = |length: usize| format!("<{}@h>", "a".repeat(length)).into_bytes();
        assert!(parse_rcpt(&long(65)).is_ok());
        assert!(parse_rcpt(&long(MAX_ARGUMENT - 4)).is_ok());
        let error = parse_rcpt(&long(MAX_ARGUMENT - 3)).unwrap_err();
        assert_eq!((error.at, error.kind), (MAX_ARGUMENT, AddressErrorKind::TooLong));
        assert_eq!(error.domain.unwrap().as_str(), "h");
    }

    #[test]
    fn a_flood_around_the_domain_hides_nothing() {
        // 64 KiB is what a milter frame holds.
        for (piece, domain) in
            [("()", Some("h")), (">", Some("h")), ("> ", Some("h")), (")", None), ("@", None)]
        {
            let argument = format!("<u v@h{}", piece.repeat(65_536 / piece.len()));
            let error = parse_rcpt(argument.as_bytes()).unwrap_err();
            assert_eq!(error.domain.as_ref().map(Domain::as_str), domain, "{piece}");
        }
    }

    #[test]
    fn senders() {
        // RFC 5321 §4.5.5; Postfix non_smtpd_milters hands the null sender over as nothing.
        for null in ["<>", "", " ", "< >"] {
            assert_eq!(parse_mail(null.as_bytes()), ReversePath::Null, "{null:?}");
        }
        let address = Address::parse("u@h").unwrap();
        for sender in ["<u@h>", "U@H.", "<@r:u@h>"] {
            assert_eq!(parse_mail(sender.as_bytes()), ReversePath::Address(address.clone()), "{sender:?}");
        }
        for other in ["<joe>", "joe", "<<>>", "<\"\">", "<u@x@h>", "<u\n@h>", "<"] {
            assert_eq!(parse_mail(other.as_bytes()), ReversePath::Other, "{other:?}");
        }
    }

    #[test]
    fn a_missing_domain_is_completed_a_written_one_stays() {
        let domain = Domain::parse("example.com").unwrap();
        for (argument, key) in
            [("<joe>", "joe@example.com"), ("<joe@h>", "joe@h"), ("X!v", "x!v@example.com")]
        {
            assert_eq!(parse_rcpt(argument.as_bytes()).unwrap().complete(&domain).key_str(), key);
        }
    }

    #[test]
    fn messages_are_safe_to_log() {
        let error = parse_rcpt("<u@h\u{202e}>".as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "byte 4: a control character");
        let error = parse_rcpt("<a \u{feff}@h>".as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "byte 2: unexpected ' '");
        assert_eq!(DomainError::Character('\n').to_string(), "unexpected '\\n'");
    }
}
