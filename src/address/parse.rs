//! The grammar of an envelope argument, in nom, over text without control characters.
//!
//! It only takes the text apart: nothing here is folded or compared. Failure answer: [`Fault`], the place and the
//! kind. Each parser's comment is its ABNF (RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3; `obs-` marks what is
//! tolerated beyond them).

use std::borrow::Cow;

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{take_while, take_while1},
    character::complete::{anychar, char},
    combinator::{all_consuming, opt, recognize},
    error::{ErrorKind, ParseError},
    multi::{fold_many0, separated_list1},
    sequence::{delimited, preceded, terminated},
};

use super::{domain::is_special, error::AddressErrorKind};

/// An argument taken apart; the domain not yet looked at.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed<'a> {
    /// Quotes and backslashes undone.
    pub(super) local: Cow<'a, str>,
    /// A part of the input, so that its place is known.
    pub(super) domain: Option<&'a str>,
}

/// What is left of the input at the fault, and what is wrong.
#[derive(Debug, PartialEq)]
pub(super) struct Fault<'a> {
    pub(super) rest: &'a str,
    pub(super) kind: AddressErrorKind,
}

/// `Reverse-path = Path / "<>"`: whether the argument names nobody. Postfix hands over an empty string for mail
/// submitted locally.
pub(super) fn is_null(input: &str) -> bool {
    let text = input.trim_matches(' ');
    text.is_empty() || text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).is_some_and(is_blank)
}

/// `argument = *SP ( "<" path ">" / path ) *SP`
pub(super) fn argument(input: &str) -> Result<Parsed<'_>, Fault<'_>> {
    let brackets = delimited(char('<'), path, expect('>', AddressErrorKind::UnbalancedBracket));
    let unwrapped = |text| if str::starts_with(text, '<') { Err(soft(text)) } else { path(text) };
    all_consuming(delimited(blanks, alt((unwrapped, brackets)), blanks))
        .parse(input)
        .map(|(_, parsed)| parsed)
        .map_err(|error| match error {
            nom::Err::Error(fault) | nom::Err::Failure(fault) => fault,
            nom::Err::Incomplete(_) => Fault { rest: "", kind: AddressErrorKind::Empty },
        })
}

type Output<'a, T> = IResult<&'a str, T, Fault<'a>>;

/// `path = [ A-d-l ":" ] Local-part [ "@" ( Domain / address-literal ) ]`; without a domain as `<Postmaster>`
/// (RFC 5321 §4.1.1.3)
fn path(input: &str) -> Output<'_, Parsed<'_>> {
    let (input, _) = opt(source_route).parse(input)?;
    let (input, local) = local_part(input)?;
    let (input, domain) = opt(preceded(char('@'), domain)).parse(input)?;
    Ok((input, Parsed { local, domain }))
}

/// `A-d-l = At-domain *( "," At-domain )`, `At-domain = "@" Domain`. To be accepted and ignored (RFC 5321
/// Appendix C). A lone `@domain` is no route but an address without a local part.
fn source_route(input: &str) -> Output<'_, ()> {
    let (rest, hops) = separated_list1(char(','), preceded(char('@'), domain)).parse(input)?;
    if let Some(mailbox) = rest.strip_prefix(':') {
        return Ok((mailbox, ()));
    }
    if hops.len() == 1 && matches!(rest.chars().next(), None | Some('>' | ' ')) {
        return hard(input, AddressErrorKind::EmptyLocalPart);
    }
    hard(rest, AddressErrorKind::SourceRoute)
}

/// `Local-part = Dot-string / Quoted-string`; `obs-local-part = 1*( Dot-string / Quoted-string / quoted-pair )`,
/// dots anywhere
fn local_part(input: &str) -> Output<'_, Cow<'_, str>> {
    let (rest, local) = text_of(alt((run, quoted_pair, quoted_string))).parse(input)?;
    if !local.is_empty() {
        return Ok((rest, local));
    }
    match rest.chars().next() {
        Some(character) if rest == input && !matches!(character, '@' | '>') => hard(rest, unexpected(rest)),
        _ => hard(input, AddressErrorKind::EmptyLocalPart),
    }
}

/// `run = 1*( atext / "." / UTF8-non-ascii )`
fn run(input: &str) -> Output<'_, Cow<'_, str>> {
    take_while1(|character| !is_special(character) && character != ' ').map(Cow::Borrowed).parse(input)
}

/// `quoted-pair = "\" %d32-126`, also outside quotes as in RFC 821 (`<quoted-char>`) and with UTF8-non-ascii
fn quoted_pair(input: &str) -> Output<'_, Cow<'_, str>> {
    let (rest, _) = char('\\').parse(input)?;
    if rest.is_empty() {
        return hard(input, AddressErrorKind::TrailingBackslash);
    }
    recognize(anychar).map(Cow::Borrowed).parse(rest)
}

/// `Quoted-string = DQUOTE *( qtext / quoted-pair ) DQUOTE`
fn quoted_string(input: &str) -> Output<'_, Cow<'_, str>> {
    let qtext = take_while1(|character| !matches!(character, '"' | '\\')).map(Cow::Borrowed);
    let unbalanced = |_| nom::Err::Failure(Fault { rest: input, kind: AddressErrorKind::UnbalancedQuote });
    let (rest, _) = char('"').parse(input)?;
    terminated(text_of(alt((qtext, quoted_pair))), char('"')).parse(rest).map_err(unbalanced)
}

/// `Domain / address-literal`, taken as it stands: `"[" *dcontent "]" / *domain-char`
fn domain(input: &str) -> Output<'_, &str> {
    let dtext = take_while(|character| !matches!(character, '[' | ']' | '\\' | '@' | ' '));
    let literal = recognize(delimited(char('['), dtext, expect(']', AddressErrorKind::UnbalancedBracket)));
    let name = take_while(|character| !is_special(character) && character != ' ');
    alt((literal, name)).parse(input)
}

/// `*SP`
fn blanks(input: &str) -> Output<'_, &str> {
    take_while(|character| character == ' ').parse(input)
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ')
}

/// The pieces put together; a single one is not copied.
fn text_of<'a>(
    piece: impl Parser<&'a str, Output = Cow<'a, str>, Error = Fault<'a>>,
) -> impl Parser<&'a str, Output = Cow<'a, str>, Error = Fault<'a>> {
    fold_many0(piece, Cow::default, |mut text: Cow<'a, str>, piece| {
        if text.is_empty() {
            return piece;
        }
        text.to_mut().push_str(&piece);
        text
    })
}

/// `wanted`; at the end of the input without it the fault is `missing`.
fn expect<'a>(
    wanted: char,
    missing: AddressErrorKind,
) -> impl Parser<&'a str, Output = char, Error = Fault<'a>> {
    move |input: &'a str| match input.chars().next() {
        Some(found) if found == wanted => Ok((&input[found.len_utf8()..], found)),
        Some(_) => hard(input, unexpected(input)),
        None => hard(input, missing),
    }
}

fn soft(rest: &str) -> nom::Err<Fault<'_>> {
    nom::Err::Error(Fault { rest, kind: unexpected(rest) })
}

fn hard<T>(rest: &str, kind: AddressErrorKind) -> Output<'_, T> {
    Err(nom::Err::Failure(Fault { rest, kind }))
}

fn unexpected(rest: &str) -> AddressErrorKind {
    match rest.chars().next() {
        None => AddressErrorKind::Empty,
        Some('>' | ']') => AddressErrorKind::UnbalancedBracket,
        Some(character) => AddressErrorKind::Unexpected(character),
    }
}

impl<'a> ParseError<&'a str> for Fault<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Fault<'a> {
        Fault { rest, kind: unexpected(rest) }
    }

    fn append(_: &'a str, _: ErrorKind, other: Fault<'a>) -> Fault<'a> {
        other
    }
}
