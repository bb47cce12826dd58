//! `pcre` and `regexp`: pcre_table(5) and regexp_table(5), asked with a whole address, or with the name of a client.
//!
//! A table vouches for absence only when every rule was understood and could be matched within its limit;
//! otherwise the answer for what no rule matches is "unknown". So it is, for those who ask what the *first* rule that
//! matches says, when a rule before that could not be tried.
//!
//! Postfix shows patterns the address as the client wrote it; here it is lower case, so rules that ask for
//! case (`/…/i`) match without it. Where that, or the folding of letters beyond ASCII, could hide a match, the answer
//! is "unknown", too.

use std::{
    fmt,
    io::{self, BufRead},
    sync::Arc,
};

use pcre2::bytes::{Regex, RegexBuilder};

use super::{
    ere,
    lines::{Lines, is_blank},
    loaded::{Faults, LoadError, Loaded, Text},
    words::trim,
};

/// Which kind of expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// Perl's.
    Pcre,
    /// POSIX' extended ones.
    Regexp,
}

impl Grammar {
    /// What Postfix calls tables of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcre => "pcre",
            Self::Regexp => "regexp",
        }
    }
}

/// Rules, in order.
#[derive(Debug, Default)]
pub struct Table {
    steps: Vec<Step>,
    rules: u64,
    /// A rule was not understood.
    incomplete: bool,
}

/// What a table says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    /// A rule matches.
    Yes,
    /// None does.
    No,
    /// None that could be tried does, and not all could.
    Perhaps,
}

/// The first rule that matches, as far as the rules could be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First<'a> {
    /// Where the rule begins, and its result as written, cut to [`RESULT_LIMIT`] bytes; `None` where none matches.
    pub rule: Option<(u64, &'a str)>,
    /// No rule before that one, or none at all, could not be tried.
    pub is_sure: bool,
}

/// Why a rule is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    #[error("longer than {} bytes", super::LINE_LIMIT)]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("a NUL byte")]
    Nul,
    #[error("neither a /pattern/ nor if or endif")]
    NoPattern,
    #[error("no end of the pattern")]
    NoEnd,
    #[error("unknown flag {0:?}")]
    Flag(char),
    #[error("no result after the pattern")]
    NoResult,
    #[error("endif without if")]
    EndWithoutIf,
    #[error("the pattern: {0}")]
    Pattern(String),
    #[error("the pattern: {0}")]
    Posix(#[from] ere::Unsupported),
}

impl Table {
    /// Whether a rule gives a result for the address.
    pub fn find(&self, address: &str) -> Matched {
        match self.first(address) {
            First { rule: Some(_), .. } => Matched::Yes,
            First { is_sure: true, .. } => Matched::No,
            First { is_sure: false, .. } => Matched::Perhaps,
        }
    }

    /// The first rule that gives a result for an address or a name in lower case.
    pub fn first(&self, key: &str) -> First<'_> {
        // Postfix shows patterns the domain in Unicode if the client wrote it so, and letters as they were written.
        let mut unsure = self.incomplete || (!self.steps.is_empty() && is_beyond_ascii(key));
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            let Ok(matched) = step.pattern.matches(key.as_bytes()) else {
                // The limit was hit. What depends on this rule is unknown; others may still match.
                unsure = true;
                at += step.inside;
                continue;
            };
            match &step.kind {
                Kind::Rule { line, result } if matched => {
                    return First { rule: Some((*line, result)), is_sure: !unsure };
                }
                Kind::If if matched => {}
                Kind::Rule { .. } | Kind::If => {
                    unsure |= step.pattern.unsure_if_not();
                    at += step.inside;
                }
            }
        }
        First { rule: None, is_sure: !unsure }
    }

    /// Number of rules that give a result.
    pub fn rules(&self) -> u64 {
        self.rules
    }

    /// Adds the rules of a file; what is wrong with lines that are skipped goes to `fault`, with the line's number.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read<R: BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        grammar: Grammar,
        fault: &mut dyn FnMut(u64, BadRule),
    ) -> io::Result<()> {
        // The places of the open ifs; none for one that was not understood.
        let mut open: Vec<Option<usize>> = Vec::new();
        while let Some(line) = lines.next_logical()? {
            let parsed = match line.cut {
                true => Err((BadRule::TooLong, keyword(line.text).0 == b"if")),
                false => parse(line.text, grammar),
            };
            // What stands in an if that was not understood may or may not count.
            let skipped = open.contains(&None);
            match parsed {
                Ok(Parsed::Rule(..)) if skipped => {}
                Ok(Parsed::Rule(pattern, result)) => {
                    self.rules += 1;
                    let kind = Kind::Rule { line: line.number, result };
                    self.steps.push(Step { pattern, kind, inside: 0 });
                }
                Ok(Parsed::If(_)) if skipped => open.push(None),
                Ok(Parsed::If(pattern)) => {
                    open.push(Some(self.steps.len()));
                    self.steps.push(Step { pattern, kind: Kind::If, inside: 0 });
                }
                Ok(Parsed::End) => match open.pop() {
                    Some(begin) => self.close(begin),
                    None => fault(line.number, BadRule::EndWithoutIf),
                },
                Err((bad, is_if)) => {
                    fault(line.number, bad);
                    self.incomplete = true;
                    if is_if {
                        open.push(None);
                    }
                }
            }
        }
        for begin in open {
            self.close(begin);
        }
        Ok(())
    }

    fn close(&mut self, begin: Option<usize>) {
        if let Some(begin) = begin {
            self.steps[begin].inside = self.steps.len() - begin - 1;
        }
    }
}

#[derive(Debug)]
struct Step {
    pattern: Pattern,
    kind: Kind,
    /// Steps that an if guards.
    inside: usize,
}

#[derive(Debug)]
enum Kind {
    Rule { line: u64, result: Box<str> },
    If,
}

struct Pattern {
    regex: Regex,
    negated: bool,
    /// Without case it may match less than it should.
    narrowed: bool,
}

impl Pattern {
    fn matches(&self, address: &[u8]) -> Result<bool, pcre2::Error> {
        Ok(self.regex.is_match(address)? != self.negated)
    }

    /// Postfix may find a match where there is none here.
    fn unsure_if_not(&self) -> bool {
        self.narrowed
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.negated { "!" } else { "" }, self.regex.as_str())
    }
}

enum Parsed {
    Rule(Pattern, Box<str>),
    If(Pattern),
    End,
}

/// One logical line. The error says whether an endif belongs to it.
fn parse(text: &[u8], grammar: Grammar) -> Result<Parsed, (BadRule, bool)> {
    let (is_if, text) = match keyword(text) {
        (b"endif", _) => return Ok(Parsed::End),
        (b"if", rest) => (true, trim(rest)),
        _ => (false, text),
    };
    let parsed = pattern(text, grammar).and_then(|(pattern, result)| match (is_if, result.is_empty()) {
        (true, _) => Ok(Parsed::If(pattern)),
        (false, false) => Ok(Parsed::Rule(pattern, excerpt(result))),
        (false, true) => Err(BadRule::NoResult),
    });
    parsed.map_err(|bad| (bad, is_if))
}

/// The word at the start of the line in lower case, if it is `if` or `endif`.
fn keyword(text: &[u8]) -> (&'static [u8], &[u8]) {
    for word in [&b"endif"[..], b"if"] {
        if let Some((start, rest)) = text.split_at_checked(word.len())
            && start.eq_ignore_ascii_case(word)
            && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
        {
            return (word, rest);
        }
    }
    (b"", text)
}

/// `!/pattern/flags`, and the rest of the line.
fn pattern(text: &[u8], grammar: Grammar) -> Result<(Pattern, &[u8]), BadRule> {
    let mut text = text;
    let mut negated = false;
    while let [b'!', rest @ ..] = text {
        negated = !negated;
        text = trim(rest);
    }
    let [delimiter, body @ ..] = text else { return Err(BadRule::NoPattern) };
    if delimiter.is_ascii_alphanumeric() || is_blank(*delimiter) {
        return Err(BadRule::NoPattern);
    }
    let mut escaped = false;
    let end = body.iter().position(|byte| {
        let end = byte == delimiter && !escaped;
        escaped = *byte == b'\\' && !escaped;
        end
    });
    let (body, after) = body.split_at(end.ok_or(BadRule::NoEnd)?);
    let body = std::str::from_utf8(body).map_err(|_| BadRule::NotUtf8)?;
    if body.contains('\0') {
        return Err(BadRule::Nul);
    }
    let after = &after[1..];
    let (flags, result) =
        after.split_at(after.iter().position(|&byte| is_blank(byte)).unwrap_or(after.len()));
    let flags = Flags::parse(flags, grammar)?;
    let regex = flags.compile(body, grammar)?;
    let narrowed =
        folds_to_ascii(body) || asks_for_case(body) || (!flags.caseless && (negated || excludes(body)));
    Ok((Pattern { regex, negated, narrowed }, trim(result)))
}

/// Reads tables of regular expressions into one.
///
/// # Errors
/// When a file can't be read, or is of another format.
pub fn load_table(texts: &mut [Text], grammar: Grammar) -> Result<Loaded<Table>, LoadError> {
    let mut faults = Faults::default();
    let mut content = Table::default();
    for text in texts {
        let path = Arc::clone(text.path());
        let before = content.rules();
        let mut of_page = Faults::default();
        content
            .read(&mut text.lines(), grammar, &mut |line, reason| of_page.note(&path, line, &reason))
            .map_err(|error| text.error(&error))?;
        of_page.judge(content.rules() - before)?;
        faults.append(of_page);
    }
    let entries = content.rules();
    Ok(Loaded { content, entries, faults, may_shrink: false })
}

/// Whether the pattern itself switches case on, `(?-i)` or `(?^)`: then it may not match an address in lower case.
fn asks_for_case(pattern: &str) -> bool {
    pattern.match_indices("(?").any(|(at, _)| {
        let options = pattern[at + 2..].trim_start_matches(|c: char| c.is_ascii_alphabetic());
        options.starts_with(['-', '^'])
    })
}

/// Whether the pattern says what must not be there, `[^A-Z]` or `(?!Joe)`. Without case more is excluded, and what names
/// a case as a property never matches the other.
fn excludes(pattern: &str) -> bool {
    ["[^", "[:^", "(?", r"\P", r"\p"].iter().any(|sign| pattern.contains(sign))
}

/// Whether it holds letters that are others in a folded address: `ß` is `ss` there.
fn folds_to_ascii(pattern: &str) -> bool {
    let others = pattern.chars().filter(|c| !c.is_ascii());
    others
        .flat_map(char::to_lowercase)
        .flat_map(|c| std::iter::once(c).chain(c.to_uppercase()))
        .any(|c| c.is_ascii())
}

/// Letters that Postfix may have seen in another form: in the local part folded here, in the domain as A-labels.
fn is_beyond_ascii(address: &str) -> bool {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    !address.is_ascii() || domain.split('.').any(|label| label.starts_with("xn--"))
}

/// pcre_table(5) and regexp_table(5), TABLE FORMAT; a flag given twice is as if it were not given.
#[derive(Debug, Clone, Copy)]
struct Flags {
    caseless: bool,
    multi_line: bool,
    dot_all: bool,
    /// Of Perl: whitespace is ignored.
    extended: bool,
    /// Of POSIX: extended syntax, the only one known here.
    modern: bool,
    anchored: bool,
    ungreedy: bool,
}

impl Flags {
    fn parse(flags: &[u8], grammar: Grammar) -> Result<Self, BadRule> {
        let mut set = Self {
            caseless: true,
            multi_line: false,
            dot_all: true,
            extended: false,
            modern: true,
            anchored: false,
            ungreedy: false,
        };
        for &flag in flags {
            let toggled = match (grammar, flag) {
                (_, b'i') => &mut set.caseless,
                (_, b'm') => &mut set.multi_line,
                (Grammar::Regexp, b'x') => &mut set.modern,
                (Grammar::Pcre, b's') => &mut set.dot_all,
                (Grammar::Pcre, b'x') => &mut set.extended,
                (Grammar::Pcre, b'A') => &mut set.anchored,
                (Grammar::Pcre, b'U') => &mut set.ungreedy,
                // E is about a newline at the end, which no address has; X is nothing in PCRE2.
                (Grammar::Pcre, b'E' | b'X') => continue,
                _ => return Err(BadRule::Flag(flag.into())),
            };
            *toggled = !*toggled;
        }
        Ok(set)
    }

    fn compile(self, pattern: &str, grammar: Grammar) -> Result<Regex, BadRule> {
        let pattern = match grammar {
            Grammar::Pcre => pattern.to_owned(),
            Grammar::Regexp if self.modern => ere::translate(pattern)?,
            Grammar::Regexp => return Err(ere::Unsupported::Basic.into()),
        };
        let ungreedy = if self.ungreedy { "(?U)" } else { "" };
        // The line end ends a comment in the pattern.
        let (start, end) = match (self.anchored, self.extended) {
            (false, _) => ("", ""),
            (true, false) => (r"\A(?:", ")"),
            (true, true) => (r"\A(?:", "\n)"),
        };
        RegexBuilder::new()
            .caseless(true)
            .multi_line(self.multi_line)
            .dotall(self.dot_all)
            .extended(self.extended)
            .utf(true)
            .jit_if_available(true)
            .build(&format!("(*LIMIT_MATCH={MATCH_LIMIT}){ungreedy}{start}{pattern}{end}"))
            .map_err(|error| BadRule::Pattern(error.to_string()))
    }
}

/// The begin of a result.
fn excerpt(result: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(&result[..result.len().min(RESULT_LIMIT)]);
    text.into_owned().into_boxed_str()
}

/// What is kept of a result, in bytes: an action and the begin of its text.
pub const RESULT_LIMIT: usize = 80;

/// Steps of the matcher for one rule and address: some milliseconds at the worst. A pattern that sets a limit
/// itself can only lower it (pcre2pattern(3)).
const MATCH_LIMIT: u32 = 100_000;
