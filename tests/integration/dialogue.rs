//! SMTP dialogues as data: the format of `tests/cases/*.case`, which `tests/cases/README.md` describes.

use std::fmt;
use std::path::Path;

/// One dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The file and line where it begins, for messages.
    pub(crate) place: String,
    /// `None`: every MTA.
    pub(crate) mta: Option<Mta>,
    pub(crate) client: Client,
    pub(crate) authenticated: bool,
    pub(crate) steps: Vec<Step>,
}

/// Where the client connects from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Anyone's mail server.
    Outside,
    /// A host in `client.trusted`.
    Inside,
    /// Anyone's mail server, over IPv6.
    Ipv6,
    /// The MTA does not know the client's address (Postfix: XCLIENT says so).
    Hidden,
}

/// A server that the dialogues are run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mta {
    Postfix,
    Sendmail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// One command, or several sent in one write.
    Commands(Vec<Command>),
    /// The message has arrived in the sink for exactly these recipients.
    Delivered(Vec<String>),
}

/// A command line and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// As sent: `RCPT TO:<a@example.test>`.
    pub(crate) line: String,
    pub(crate) line_number: usize,
    pub(crate) expect: Vec<(Option<Mta>, Expect)>,
}

/// What is expected of one reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Expect {
    pub(crate) code: u16,
    pub(crate) enhanced: Option<String>,
    /// The reason for which Backstop decided, if it was asked.
    pub(crate) reason: Option<String>,
    /// The reply ends with the reason in brackets.
    pub(crate) shown: bool,
}

impl Command {
    /// What this MTA is expected to reply.
    pub(crate) fn expect(&self, mta: Mta) -> &Expect {
        let specific = self.expect.iter().find(|(of, _)| *of == Some(mta));
        let found = specific.or_else(|| self.expect.iter().find(|(of, _)| of.is_none()));
        &found.unwrap_or_else(|| panic!("line {}: no expectation for {mta:?}", self.line_number)).1
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(f, " {enhanced}")?;
        }
        match (&self.reason, self.shown) {
            (Some(reason), true) => write!(f, " [{reason}]"),
            (Some(reason), false) => write!(f, " ({reason})"),
            (None, _) => Ok(()),
        }
    }
}

/// Reads all dialogues of a directory, in the order of the file names.
///
/// # Panics
/// When a file cannot be read or has a line that is not of the format.
pub(crate) fn read_all(dir: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("read a directory").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "case"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_name().expect("it has an extension").to_string_lossy().into_owned();
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(parse(&name, &text).unwrap_or_else(|error| panic!("{error}")));
    }
    cases
}

/// Reads the dialogues of one file.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let fail = |why: &str| Err(format!("{file}:{line_number}: {why}: {line}"));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            cases.push(Case {
                name: rest.to_owned(),
                place: format!("{file}:{line_number}"),
                mta: None,
                client: Client::Outside,
                authenticated: false,
                steps: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else { return fail("a file begins with a case") };
        match (word, rest) {
            ("mta", "postfix") => case.mta = Some(Mta::Postfix),
            ("mta", "sendmail") => case.mta = Some(Mta::Sendmail),
            ("client", "outside") => case.client = Client::Outside,
            ("client", "inside") => case.client = Client::Inside,
            ("client", "ipv6") => case.client = Client::Ipv6,
            ("client", "hidden") => case.client = Client::Hidden,
            ("authenticated", "") => case.authenticated = true,
            ("delivered", rcpts) if !rcpts.is_empty() => {
                case.steps.push(Step::Delivered(rcpts.split(", ").map(str::to_owned).collect()));
            }
            ("+", rest) => match (case.steps.last_mut(), command(rest, line_number)) {
                (Some(Step::Commands(group)), Some(command)) => group.push(command),
                _ => return fail("nothing that can be sent together with the line before"),
            },
            _ => match command(line, line_number) {
                Some(command) => case.steps.push(Step::Commands(vec![command])),
                None => return fail("not a line of a case"),
            },
        }
    }
    Ok(cases)
}

/// `RCPT <a@b> => 250 (ok)`, `RCPT <a@b> => 250 (ok) | sendmail 553`, `MAIL <>`, `RSET`.
fn command(line: &str, line_number: usize) -> Option<Command> {
    let (line, expectations) = match line.split_once(" => ") {
        Some((line, expectations)) => (line.trim(), Some(expectations)),
        None => (line, None),
    };
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (line, default) = match (verb, rest) {
        ("MAIL", path) if !path.is_empty() => (format!("MAIL FROM:{path}"), Some(250)),
        // what is expected of a recipient is always written down
        ("RCPT", path) if !path.is_empty() => (format!("RCPT TO:{path}"), None),
        ("DATA", "") => ("DATA".to_owned(), Some(250)),
        ("RSET", "") => ("RSET".to_owned(), Some(250)),
        _ => return None,
    };
    let expect = match expectations {
        Some(text) => text.split(" | ").map(|text| expect(text.trim())).collect::<Option<_>>()?,
        None => vec![(None, Expect { code: default?, ..Expect::default() })],
    };
    Some(Command { line, line_number, expect })
}

/// `[MTA] CODE [ENHANCED] [(REASON) or [REASON]]`
fn expect(text: &str) -> Option<(Option<Mta>, Expect)> {
    let mut words = text.split(' ').peekable();
    let mta = match words.peek() {
        Some(&"postfix") => Some(Mta::Postfix),
        Some(&"sendmail") => Some(Mta::Sendmail),
        _ => None,
    };
    if mta.is_some() {
        words.next();
    }
    let mut expect = Expect { code: words.next()?.parse().ok()?, ..Expect::default() };
    for word in words {
        let within = |open, close| word.strip_prefix(open)?.strip_suffix(close).map(str::to_owned);
        if let Some(reason) = within('[', ']') {
            (expect.reason, expect.shown) = (Some(reason), true);
        } else if let Some(reason) = within('(', ')') {
            expect.reason = Some(reason);
        } else if word.starts_with(['2', '4', '5']) && word.contains('.') {
            expect.enhanced = Some(word.to_owned());
        } else {
            return None;
        }
    }
    Some((mta, expect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format() {
        let text = "# a comment\n\
                    case two recipients\n  client ipv6\n  authenticated\n\
                    MAIL <>\n\
                    + RCPT <a@example.test> => 550 5.1.1 [unknown-recipient]\n\
                    RCPT <b@example.test> => 250 (ok) | sendmail 553\n\
                    DATA\n  delivered b@example.test\n";
        let cases = parse("x.case", text).expect("the format");
        assert_eq!(cases.len(), 1);
        let case = &cases[0];
        assert_eq!((case.name.as_str(), case.place.as_str()), ("two recipients", "x.case:2"));
        assert_eq!((case.client, case.authenticated, case.mta), (Client::Ipv6, true, None));
        assert_eq!(case.steps.len(), 4);
        let Step::Commands(group) = &case.steps[0] else { panic!("{case:?}") };
        assert_eq!(group.len(), 2);
        assert_eq!(group[0].line, "MAIL FROM:<>");
        assert_eq!(group[0].expect(Mta::Postfix).code, 250);
        assert_eq!(group[1].expect(Mta::Sendmail).to_string(), "550 5.1.1 [unknown-recipient]");
        let Step::Commands(group) = &case.steps[1] else { panic!("{case:?}") };
        assert_eq!(group[0].expect(Mta::Postfix).to_string(), "250 (ok)");
        assert_eq!(group[0].expect(Mta::Sendmail).to_string(), "553");
        assert_eq!(case.steps[3], Step::Delivered(vec!["b@example.test".to_owned()]));
    }

    #[test]
    fn mistakes_are_found() {
        for line in [
            "RCPT <a@example.test>",
            "RCPT <a@example.test> => no",
            "RCPT <a@example.test> => 250 ok",
            "client nowhere",
            "mta exim",
            "+ MAIL <>",
            "NOOP",
            "delivered",
        ] {
            let error = parse("x.case", &format!("case x\n{line}\n")).expect_err(line);
            assert!(error.starts_with("x.case:2: "), "{error}");
        }
        assert!(parse("x.case", "MAIL <>\n").is_err());
    }
}
