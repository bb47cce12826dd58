//! Talks to `sendmail -bt` (op.me, "Testing configuration files"). Pure: what to ask, and what the answers mean.

/// What the answers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// `8.17.1.9`
    pub version: Option<String>,
    /// The answer to each question, in order.
    pub answers: Vec<String>,
}

/// Where an invented recipient ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolution {
    /// At the local mailer, as the user that it was.
    LocalUser,
    /// Nowhere: refused for good.
    Refused,
    /// Elsewhere, in words.
    Elsewhere(String),
}

impl Answers {
    /// Splits the output at the prompts `> `, one before each question and one at the end.
    pub(super) fn parse(output: &str) -> Self {
        let (head, body) = output.split_once("Enter <ruleset> <address>\n").unwrap_or((output, ""));
        let version = head.lines().find_map(|line| line.strip_prefix("Version "));
        let mut answers: Vec<String> = Vec::new();
        for line in body.split_inclusive('\n') {
            let mut line = line;
            while let Some(rest) = line.strip_prefix("> ") {
                answers.push(String::new());
                line = rest;
            }
            if let Some(answer) = answers.last_mut() {
                answer.push_str(line);
            }
        }
        answers.pop(); // what follows the last prompt
        Self { version: version.map(|version| version.trim().to_owned()), answers }
    }
}

/// What `/parse PROBE@domain` says.
pub(super) fn resolution(answer: &str) -> Resolution {
    let Some(last) = answer.lines().rev().find_map(|line| line.strip_prefix("mailer ")) else {
        return Resolution::Elsewhere("no mailer".to_owned());
    };
    if last == format!("local, user {PROBE}") {
        return Resolution::LocalUser;
    }
    let permanent = last.strip_prefix("*error*, host ").is_some_and(|rest| {
        let code = rest.split(',').next().unwrap_or_default();
        is_permanent(code)
    });
    if permanent { Resolution::Refused } else { Resolution::Elsewhere(format!("mailer {last}")) }
}

/// Whether an `error:` code, in words or as an enhanced code, is a refusal for good (cf/README, "error:").
pub fn is_permanent(code: &str) -> bool {
    matches!(code, "nouser" | "nohost" | "unavailable") || code.starts_with("5.")
}

/// What ruleset 5 does with an unknown local user: `None` if clearly nothing, else what.
pub(super) fn local_address(answer: &str) -> Option<String> {
    let Some((_, last)) = answer.lines().rev().find_map(|line| line.split_once("returns: ")) else {
        return Some("not known".to_owned());
    };
    let last = last.trim();
    // tokens are printed with blanks between them
    let plain: String = last.split_whitespace().collect();
    (plain != PROBE).then(|| last.to_owned())
}

/// What `/map aliases PROBE` says: `None` for a clear "no such alias". With any other answer (sysexits(3) 75: an alias file
/// can't be opened) Sendmail takes every recipient, and finds out later.
pub(super) fn alias_lookup(answer: &str) -> Option<String> {
    let last = answer.lines().next_back().unwrap_or_default().trim();
    let clear = ["no match (0)", "no match (67)", "no match (68)"].iter().any(|clear| last.ends_with(clear));
    (!clear).then(|| last.to_owned())
}

/// A local part that nobody has. Sendmail splits words at `-` and `.` only where its OperatorChars say so: plain letters
/// stay whole.
pub(super) const PROBE: &str = "backstopasksyou7d41c2";

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from Sendmail 8.17.1, rulesets' traces shortened.
    #[test]
    fn a_session() {
        let output = "Version 8.17.1.9\n Compiled with: DNSMAP\n\nADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\n\
            Enter <ruleset> <address>\n> mx2.lab.test\nlocalhost\n[127.0.0.1]\n> > mx2.lab.test\n> ";
        let answers = Answers::parse(output);
        assert_eq!(answers.version.as_deref(), Some("8.17.1.9"));
        assert_eq!(answers.answers, ["mx2.lab.test\nlocalhost\n[127.0.0.1]\n", "", "mx2.lab.test\n"]);
        assert_eq!(Answers::parse(""), Answers::default());
    }

    #[test]
    fn resolutions() {
        let of = |last: &str| resolution(&format!("Cracked address = $g\ncanonify input: x\n{last}\n"));
        assert_eq!(of(&format!("mailer local, user {PROBE}")), Resolution::LocalUser);
        assert_eq!(of("mailer *error*, host nouser, user No such user"), Resolution::Refused);
        assert_eq!(of("mailer *error*, host 5.7.0, user 550 No such"), Resolution::Refused);
        for elsewhere in [
            "mailer *error*, host tempfail, user later",
            "mailer *error*, host 4.2.1, user later",
            "mailer local, user catch",
            "mailer esmtp, host w1.test., user zz@w1.test",
            "nothing of it",
        ] {
            assert!(matches!(of(elsewhere), Resolution::Elsewhere(_)), "{elsewhere}");
        }
    }

    #[test]
    fn aliases() {
        // captured from Sendmail 8.17.1: a file, a missing file, a hit
        let warned = "map_lookup: aliases (x) WARNING: cannot open alias database /x; reading text version\n";
        assert_eq!(
            alias_lookup(&format!("{warned}/x: 1 aliases, longest 4 bytes, 7 bytes total\nno match (68)\n")),
            None
        );
        assert_eq!(alias_lookup(&format!("{warned}no match (75)\n")).as_deref(), Some("no match (75)"));
        assert!(alias_lookup("map_lookup: aliases (x) returns root (0)\n").is_some());
        assert!(alias_lookup("Map named \"aliases\" not found\n").is_some());
    }

    #[test]
    fn ruleset_five() {
        let plain = format!("localaddr          input: {PROBE}\nlocaladdr        returns: {PROBE}\n");
        assert_eq!(local_address(&plain), None);
        assert_eq!(local_address("").as_deref(), Some("not known"));
        let relay = "localaddr          input: zz\nlocaladdr        returns: $# local $@ zz $: catch\n";
        assert_eq!(local_address(relay).as_deref(), Some("$# local $@ zz $: catch"));
    }
}
