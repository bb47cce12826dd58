//! Search filters (RFC 4515): values made harmless, filters of the administrator read, and judged over an entry.
//!
//! Judging here, not by the server, makes a look-up, a listing and a feed say the same of an entry. What an entry does not
//! show is never held against it: a comparison with an attribute that is not there is neither true nor false
//! (RFC 4511 §4.5.1.7), for rights may hide it. Failure: a [`FilterError`] that tells the place.

use std::borrow::Cow;

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{is_not, tag, take_while_m_n, take_while1},
    character::complete::{anychar, char},
    combinator::{fail, map, map_res, opt, peek, recognize},
    multi::{fold_many0, many0, many1},
    sequence::{delimited, preceded, terminated},
};

use super::{object::Object, settings::is_attribute};

/// `filter` of RFC 4515 §3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// The attribute's name without options, and what is asked of it.
    Item(Option<String>, Test),
}

/// What is asked of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Present,
    /// `=` and `~=`: one of its values is this.
    Equal(Vec<u8>),
    AtLeast(Vec<u8>),
    AtMost(Vec<u8>),
    /// Begins with the first, ends with the last, and has the others in between in this order; any may be empty.
    Substrings(Vec<Vec<u8>>),
    /// `:dn:RULE:=VALUE`
    Rule {
        dn: bool,
        rule: Option<String>,
        value: Vec<u8>,
    },
}

/// A filter that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::directory) enum FilterError {
    /// Not by RFC 4515.
    #[error("{text:?} is no filter (RFC 4515): {what} at character {at}", what = if *.end { "it ends" } else { "it goes wrong" })]
    Syntax {
        /// As written.
        text: String,
        /// Counted from 1.
        at: usize,
        /// Something is missing there.
        end: bool,
    },
    /// Only a server could judge it.
    #[error(
        "{0:?} can't be judged here: of matching rules there are 1.2.840.113556.1.4.803 and 1.2.840.113556.1.4.804, after the name of an attribute"
    )]
    Rule(String),
}

impl Filter {
    /// Reads a filter for the server.
    ///
    /// # Errors
    /// [`FilterError::Syntax`]
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        let error = |rest: &str| FilterError::Syntax {
            text: text.to_owned(),
            at: text.chars().count() - rest.chars().count() + 1,
            end: rest.is_empty(),
        };
        match filter(text, 0) {
            // What the library can't read it can't send.
            Ok(("", filter)) if ldap3::parse_filter(text).is_ok() => Ok(filter),
            Ok((rest, _)) => Err(error(rest)),
            Err(nom::Err::Error(wrong) | nom::Err::Failure(wrong)) => Err(error(wrong.input)),
            Err(nom::Err::Incomplete(_)) => Err(error("")),
        }
    }

    /// Reads a filter that is judged here.
    ///
    /// # Errors
    /// [`FilterError`]
    pub(super) fn parse_own(text: &str) -> Result<Self, FilterError> {
        let filter = Self::parse(text)?;
        if filter.is_own() { Ok(filter) } else { Err(FilterError::Rule(text.to_owned())) }
    }

    /// Whether the entry matches; `None`: that can't be told.
    pub(super) fn judge(&self, object: &Object) -> Option<bool> {
        match self {
            Self::And(filters) => all(filters, true, object),
            Self::Or(filters) => all(filters, false, object),
            Self::Not(filter) => filter.judge(object).map(|matches| !matches),
            Self::Item(None, _) => None,
            Self::Item(Some(attribute), test) => {
                let mut values = object.values(attribute).peekable();
                if *test == Test::Present {
                    return Some(values.peek().is_some());
                }
                // What was not sent of a very long list may hold it.
                let none = object.is_whole(attribute).then_some(false);
                values.peek()?;
                if values.any(|value| test.holds(value)) { Some(true) } else { none }
            }
        }
    }

    /// Adds the names of the attributes that it looks at.
    pub(super) fn attributes(&self, names: &mut Vec<String>) {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                for filter in filters {
                    filter.attributes(names);
                }
            }
            Self::Not(filter) => filter.attributes(names),
            Self::Item(attribute, _) => names.extend(attribute.clone()),
        }
    }

    fn is_own(&self) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().all(Self::is_own),
            Self::Not(filter) => filter.is_own(),
            Self::Item(attribute, Test::Rule { dn, rule, value }) => {
                let known = rule.as_deref().is_some_and(|rule| [BIT_AND, BIT_OR].contains(&rule));
                known && attribute.is_some() && !dn && number(value).is_some()
            }
            Self::Item(..) => true,
        }
    }
}

impl Test {
    /// Whether it holds for one value. Letters compare without case, blanks as in `caseIgnoreMatch` (RFC 4518), numbers
    /// as numbers.
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Equal(wanted) => prepared(value) == prepared(wanted),
            Self::AtLeast(least) => compare(value, least).is_ge(),
            Self::AtMost(most) => compare(value, most).is_le(),
            Self::Substrings(parts) => has_parts(&prepared(value), parts),
            Self::Rule { rule, value: mask, .. } => match (number(value), number(mask)) {
                (Some(value), Some(mask)) if rule.as_deref() == Some(BIT_AND) => value & mask == mask,
                (Some(value), Some(mask)) => value & mask != 0,
                _ => false,
            },
        }
    }
}

/// A value as it is written in a filter: nothing in it can end the value or act as a wildcard (RFC 4515 §3).
pub(super) fn escape(value: &str) -> Cow<'_, str> {
    let special =
        |character: char| matches!(character, '*' | '(' | ')' | '\\') || character.is_ascii_control();
    if !value.contains(special) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        if special(character) {
            escaped.push_str(&format!("\\{:02x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// `and` (`decisive` is what it is unless one is not) and `or`: one that differs decides, else one that can't be told.
fn all(filters: &[Filter], whole: bool, object: &Object) -> Option<bool> {
    let mut judged = Some(whole);
    for filter in filters {
        match filter.judge(object) {
            Some(matches) if matches == whole => {}
            Some(differs) => return Some(differs),
            None => judged = None,
        }
    }
    judged
}

fn has_parts(value: &[u8], parts: &[Vec<u8>]) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let prepared = |part: &[u8]| prepare_part(part);
    let Some(mut rest) = value.strip_prefix(prepared(first).as_slice()) else { return false };
    for part in middle {
        let part = prepared(part);
        let Some(at) = rest.windows(part.len().max(1)).position(|window| window == part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(&prepared(last))
}

fn compare(value: &[u8], with: &[u8]) -> std::cmp::Ordering {
    match (number(value), number(with)) {
        (Some(value), Some(with)) => value.cmp(&with),
        _ => prepared(value).cmp(&prepared(with)),
    }
}

/// For comparison: case folded, no blanks at the ends, one in place of several.
fn prepared(value: &[u8]) -> Vec<u8> {
    let Ok(text) = str::from_utf8(value) else { return value.to_vec() };
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    caseless::default_case_fold_str(&words.join(" ")).into_bytes()
}

/// The same for a part of a value, whose blanks may stand at its ends.
fn prepare_part(part: &[u8]) -> Vec<u8> {
    str::from_utf8(part)
        .map_or_else(|_| part.to_vec(), |text| caseless::default_case_fold_str(text).into_bytes())
}

fn number(value: &[u8]) -> Option<i64> {
    str::from_utf8(value).ok()?.trim().parse().ok()
}

/// `filter = LPAREN filtercomp RPAREN`
fn filter(input: &str, depth: usize) -> IResult<&str, Filter> {
    if depth > DEEPEST {
        return fail().parse(input);
    }
    delimited(char('('), |input| component(input, depth), char(')')).parse(input)
}

/// `filtercomp = and / or / not / item`; `and = AMPERSAND filterlist`, which may be empty (RFC 4526).
fn component(input: &str, depth: usize) -> IResult<&str, Filter> {
    let list = |input| list(input, depth + 1);
    let (_, first) = peek(anychar).parse(input)?;
    match first {
        '&' => map(preceded(char('&'), list), Filter::And).parse(input),
        '|' => map(preceded(char('|'), list), Filter::Or).parse(input),
        '!' => {
            map(preceded(char('!'), |input| filter(input, depth + 1)), |inner| Filter::Not(Box::new(inner)))
                .parse(input)
        }
        ':' => preceded(char(':'), |input| extensible(input, None)).parse(input),
        _ => item(input),
    }
}

/// `filterlist = *filter`: unlike `many0`, it tells of the place inside a filter that goes wrong.
fn list(mut input: &str, depth: usize) -> IResult<&str, Vec<Filter>> {
    let mut filters = Vec::new();
    while input.starts_with('(') {
        let (rest, inner) = filter(input, depth)?;
        filters.push(inner);
        input = rest;
    }
    Ok((input, filters))
}

/// `simple`, `present`, `substring`, and `extensible` with an attribute.
fn item(input: &str) -> IResult<&str, Filter> {
    let (input, name) = attribute(input)?;
    let named = Some(name.to_owned());
    let (input, operator) = alt((tag(">="), tag("<="), tag("~="), tag("="), tag(":"))).parse(input)?;
    let simple = |make: fn(Vec<u8>) -> Test, input| {
        let (input, value) = value(input)?;
        Ok((input, Filter::Item(Some(name.to_owned()), make(value))))
    };
    match operator {
        ">=" => simple(Test::AtLeast, input),
        "<=" => simple(Test::AtMost, input),
        "~=" => simple(Test::Equal, input),
        ":" => extensible(input, named),
        _ => {
            let (input, first) = value(input)?;
            let (input, others) = many0(preceded(char('*'), value)).parse(input)?;
            let test = match others.as_slice() {
                [] => Test::Equal(first),
                [last] if first.is_empty() && last.is_empty() => Test::Present,
                _ => Test::Substrings([vec![first], others].concat()),
            };
            Ok((input, Filter::Item(named, test)))
        }
    }
}

/// `[dnattrs] [matchingrule] COLON EQUALS assertionvalue`, after the first colon.
fn extensible(input: &str, attribute: Option<String>) -> IResult<&str, Filter> {
    let (input, dn) = opt(alt((terminated(tag("dn"), peek(char(':'))),))).parse(input)?;
    let (input, _) = if dn.is_some() { char(':').parse(input)? } else { (input, ':') };
    let (input, rule) = opt(terminated(name, char(':'))).parse(input)?;
    if attribute.is_none() && rule.is_none() {
        return fail().parse(input);
    }
    let (input, value) = preceded(char('='), value).parse(input)?;
    let test = Test::Rule { dn: dn.is_some(), rule: rule.map(str::to_owned), value };
    Ok((input, Filter::Item(attribute, test)))
}

/// `attributedescription` (RFC 4512 §2.5), its options dropped.
fn attribute(input: &str) -> IResult<&str, &str> {
    let option = |byte: char| byte.is_ascii_alphanumeric() || byte == '-';
    terminated(name, many0(preceded(char(';'), take_while1(option)))).parse(input)
}

/// `oid` (RFC 4512 §1.4): a word or numbers.
fn name(input: &str) -> IResult<&str, &str> {
    let part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
    let (rest, name) = recognize(many1(take_while1(part))).parse(input)?;
    if is_attribute(name) { Ok((rest, name)) } else { fail().parse(input) }
}

/// `assertionvalue`: any text, with `\2a` and the like in it.
fn value(input: &str) -> IResult<&str, Vec<u8>> {
    let digit = |character: char| character.is_ascii_hexdigit();
    let escaped = map_res(preceded(char('\\'), take_while_m_n(2, 2, digit)), |digits| {
        u8::from_str_radix(digits, 16).map(|byte| vec![byte])
    });
    let plain = map(is_not("()*\\\0"), |text: &str| text.as_bytes().to_vec());
    let (rest, value) = fold_many0(alt((plain, escaped)), Vec::new, |mut all: Vec<u8>, part| {
        all.extend(part);
        all
    })
    .parse(input)?;
    if rest.starts_with('\\') { fail().parse(rest) } else { Ok((rest, value)) }
}

/// Active Directory: all these bits are set.
const BIT_AND: &str = "1.2.840.113556.1.4.803";
/// Active Directory: at least one of them is.
const BIT_OR: &str = "1.2.840.113556.1.4.804";
/// Filters within filters.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Object {
        Object::of(&[
            ("objectClass", &["top", "inetOrgPerson"]),
            ("mail", &["Joe@Example.com", "j.doe@example.com"]),
            ("cn", &["Joe  Q.  Doe"]),
            ("userAccountControl", &["514"]),
            ("accountStatus", &["Disabled"]),
            ("shadowExpire", &["19000"]),
            ("pwdEndTime", &["20240301120000Z"]),
            ("member;range=0-1", &["cn=a", "cn=b"]),
        ])
    }

    /// RFC 4515 §4 and RFC 4511 §4.5.1.7.
    #[test]
    fn filters_over_an_entry() {
        const YES: Option<bool> = Some(true);
        const NO: Option<bool> = Some(false);
        for (filter, expected) in [
            ("(mail=*)", YES),
            ("(MAIL=joe@example.COM)", YES),
            ("(mail;lang-en=joe@example.com)", YES),
            ("(mail=joe@example.org)", NO),
            ("(mail=joe*)", YES),
            ("(mail=*example.com)", YES),
            ("(mail=j*do*@*.com)", YES),
            ("(mail=*doe*joe*)", NO),
            ("(mail=joe@example.com*example.com)", NO),
            ("(mail~=JOE@example.com)", YES),
            ("(cn=joe q. doe)", YES),
            ("(cn=\\4a\\6fe q. doe)", YES),
            ("(cn=*q. d*)", YES),
            ("(objectclass=INETORGPERSON)", YES),
            ("(userAccountControl:1.2.840.113556.1.4.803:=2)", YES),
            ("(userAccountControl:1.2.840.113556.1.4.803:=3)", NO),
            ("(userAccountControl:1.2.840.113556.1.4.804:=3)", YES),
            ("(userAccountControl:1.2.840.113556.1.4.804:=5)", NO),
            ("(shadowExpire<=19500)", YES),
            ("(shadowExpire>=2000)", YES),
            ("(shadowExpire<=2000)", NO),
            ("(pwdEndTime<=20250101000000Z)", YES),
            ("(&)", YES),
            ("(|)", NO),
            ("(!(accountStatus=active))", YES),
            ("(&(accountStatus=disabled)(mail=*))", YES),
            ("(|(accountStatus=x)(mail=x))", NO),
            // Not there: it may be hidden.
            ("(nothing=*)", NO),
            ("(!(nothing=*))", YES),
            ("(nothing=x)", None),
            ("(!(nothing=x))", None),
            ("(&(nothing=x)(mail=*))", None),
            ("(&(nothing=x)(mail=x))", NO),
            ("(|(nothing=x)(mail=*))", YES),
            ("(|(nothing=x)(mail=x))", None),
            ("(!(&(nothing=x)(mail=x)))", YES),
            // Not all of it was sent.
            ("(member=CN=A)", YES),
            ("(member=cn=z)", None),
            ("(!(member=cn=z))", None),
        ] {
            assert_eq!(Filter::parse_own(filter).unwrap().judge(&entry()), expected, "{filter}");
        }
    }

    #[test]
    fn the_place_of_a_mistake_is_told() {
        for (filter, at, end) in [
            ("", 1, true),
            ("mail=*", 1, false),
            ("(mail=*", 8, true),
            ("(mail=*))", 9, false),
            ("(&(mail=*)(cn=x)", 17, true),
            ("(& (mail=*))", 3, false),
            ("(&(mail=*)cn=x)", 11, false),
            ("(&(mail=*)(c n=x))", 13, false),
            ("(mail=a\\zz)", 8, false),
            ("(mail=a\\2)", 8, false),
            ("(mail)", 6, false),
            ("(=x)", 2, false),
            ("(1a=x)", 2, false),
            ("(mail>x)", 6, false),
            ("(:=x)", 3, false),
            ("(ü=x)", 2, false),
            ("(cn=ü(", 6, false),
        ] {
            let error = FilterError::Syntax { text: filter.to_owned(), at, end };
            assert_eq!(Filter::parse(filter), Err(error), "{filter}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(40), ")".repeat(40));
        assert!(Filter::parse(&deep).is_err());
    }

    #[test]
    fn what_only_a_server_can_judge_is_not_judged_here() {
        for filter in [
            "(memberOf:1.2.840.113556.1.4.1941:=cn=x)",
            "(cn:dn:=x)",
            "(:caseExactMatch:=x)",
            "(cn:caseExactMatch:=x)",
            "(userAccountControl:1.2.840.113556.1.4.803:=two)",
            "(!(memberOf:1.2.840.113556.1.4.1941:=cn=x))",
        ] {
            assert!(Filter::parse(filter).is_ok(), "{filter}");
            assert_eq!(Filter::parse_own(filter), Err(FilterError::Rule(filter.to_owned())), "{filter}");
        }
    }

    #[test]
    fn the_attributes_that_it_looks_at() {
        let mut names = Vec::new();
        let filter =
            Filter::parse("(&(a=1)(|(b>=2)(!(c;x-y=*)))(d:1.2.840.113556.1.4.803:=2)(:1.2.3:=x))").unwrap();
        filter.attributes(&mut names);
        assert_eq!(names, ["a", "b", "c", "d"]);
    }

    /// RFC 4515 §3 and §4, and facts of LDAP injection.
    #[test]
    fn values_are_made_harmless() {
        for (value, escaped) in [
            ("joe@example.com", "joe@example.com"),
            ("*", "\\2a"),
            ("*)(uid=*))(|(uid=*", "\\2a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a"),
            ("a\\2ab", "a\\5c2ab"),
            ("a\0b\r", "a\\00b\\0d"),
            ("josé", "josé"),
        ] {
            assert_eq!(escape(value), escaped);
        }
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_one_value(value in any::<String>()) {
            let text = format!("(mail={})", escape(&value));
            let read = Filter::parse(&text);
            prop_assert_eq!(read, Ok(Filter::Item(Some("mail".to_owned()), Test::Equal(value.into_bytes()))));
        }

        /// Whatever an administrator writes, nothing panics, and nothing is taken that the library refuses.
        #[test]
        fn any_text_is_read_or_refused(text in "[()&|!*a:=<>~\\\\2\u{fc};. -]{0,24}") {
            if Filter::parse(&text).is_ok() {
                prop_assert!(ldap3::parse_filter(&text).is_ok());
            }
        }
    }
}
