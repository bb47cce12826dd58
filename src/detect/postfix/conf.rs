//! Parses what `postconf` prints. Pure.

use std::collections::BTreeMap;

use crate::detect::fuzz::commented;

/// `postconf -x`: every parameter with its expanded value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conf(BTreeMap<String, String>);

/// A service of master.cf with the parameters that its `-o` options set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// `smtp/inet`
    pub name: String,
    /// `smtpd`
    pub command: String,
    /// From `-o`.
    pub overrides: BTreeMap<String, String>,
}

impl Conf {
    pub(super) fn parse(text: &str) -> Self {
        let settings = text.lines().filter_map(|line| line.split_once('='));
        Self(settings.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// The value, empty for a parameter that this Postfix does not know.
    pub(super) fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A boolean; `unknown` where this Postfix does not know the parameter.
    pub(super) fn flag(&self, name: &str, unknown: bool) -> bool {
        match self.value(name) {
            "" => unknown,
            value => value.eq_ignore_ascii_case("yes"),
        }
    }
}

impl Service {
    /// From `postconf -M` (services) and `postconf -Px` (`name/type/parameter = value`).
    pub(super) fn parse(services: &str, overrides: &str) -> Vec<Self> {
        let mut parsed: Vec<Self> = services.lines().filter_map(Self::parse_line).collect();
        for line in overrides.lines() {
            let Some((path, value)) = line.split_once('=') else { continue };
            let Some((name, parameter)) = path.trim().rsplit_once('/') else { continue };
            for service in parsed.iter_mut().filter(|service| service.name == name) {
                service.overrides.insert(parameter.to_owned(), value.trim().to_owned());
            }
        }
        parsed
    }

    fn parse_line(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (name, kind) = (fields.next()?, fields.next()?);
        let command = fields.nth(5)?; // private, unpriv, chroot, wakeup, maxproc
        Some(Self { name: format!("{name}/{kind}"), command: command.to_owned(), overrides: BTreeMap::new() })
    }

    pub(super) fn over(&self, parameter: &str) -> Option<&str> {
        self.overrides.get(parameter).map(String::as_str)
    }
}

/// Splits a list at commas and white space, but not inside braces: `a, {b c}` is `a` and `{b c}`.
pub(super) fn split(value: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, c) in value.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' | ' ' | '\t' | '\r' | '\n' if depth == 0 => {
                items.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&value[start..]);
    items.retain(|item| !item.is_empty());
    items
}

/// The line of main.cf that sets `name`: the last one counts.
pub(super) fn line_of(main_cf: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    main_cf.lines().enumerate().filter(|(_, line)| sets(line)).map(|(number, _)| number + 1).last()
}

/// What was read can be written and read again, and comments do not matter. For tests/fuzz.
pub(super) fn fuzz_conf(text: &str) {
    let conf = Conf::parse(text);
    let written: String = conf.0.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    assert_eq!(Conf::parse(&written), conf, "written as {written:?}");
    assert_eq!(Conf::parse(&commented(text)), conf, "with comments");
    for value in conf.0.values() {
        assert!(text.contains(value), "{value:?}");
    }

    let services = Service::parse(text, "");
    assert!(services.len() <= text.lines().count() && services.iter().all(|one| one.overrides.is_empty()));
    assert_eq!(Service::parse(&commented(text), "no/service/at = all"), services, "with comments");
    for (service, plain) in Service::parse(text, text).iter().zip(&services) {
        assert_eq!((&service.name, &service.command), (&plain.name, &plain.command));
        for (parameter, value) in &service.overrides {
            assert!(
                text.contains(&format!("{}/{parameter}", service.name)) && text.contains(value),
                "{service:?}"
            );
        }
    }

    let items = split(text);
    let mut rest = text;
    for item in &items {
        let at = rest.find(item).expect("an item stands there");
        assert!(rest[..at].chars().all(|c| ", \t\r\n".contains(c)), "{:?} is left out", &rest[..at]);
        rest = &rest[at + item.len()..];
    }
    assert!(rest.chars().all(|c| ", \t\r\n".contains(c)), "{rest:?} is left out");
    assert_eq!(split(&items.join(", ")), items);

    let name = "mydestination";
    if let Some(line) = line_of(text, name) {
        let found = text.lines().nth(line - 1).expect("a line that is there");
        assert!(found.starts_with(name) && found.contains('='), "{found:?}");
        assert_eq!(line_of(&commented(text), name), Some(2 * line - 1), "with comments");
    }
    let last = format!("{text}\n{name} =");
    assert_eq!(line_of(&last, name), Some(last.lines().count()), "the last one counts");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postconf_output() {
        let conf =
            Conf::parse("mydestination = mx.a.test, a.test\nrelay_domains =\nsoft_bounce = no\nx = a = b\n");
        assert_eq!(conf.value("mydestination"), "mx.a.test, a.test");
        assert_eq!(conf.value("relay_domains"), "");
        assert_eq!(conf.value("x"), "a = b");
        assert!(!conf.flag("soft_bounce", true) && conf.flag("unheard_of", true));
    }

    #[test]
    fn master_cf_as_postconf_prints_it() {
        // captured from Postfix 3.7.11, `postconf -M` and `postconf -Px`
        let services = "smtp       inet  n       -       y       -       -       smtpd\n\
            submission inet  n       -       y       -       -       smtpd -o smtpd_milters= -o syslog_name=x/y\n\
            pickup     unix  n       -       y       60      1       pickup\n";
        let overrides = "submission/inet/smtpd_milters = \nsubmission/inet/syslog_name = x/y\n";
        let parsed = Service::parse(services, overrides);
        assert_eq!(parsed.len(), 3);
        assert_eq!((&*parsed[1].name, &*parsed[1].command), ("submission/inet", "smtpd"));
        assert_eq!(parsed[1].over("smtpd_milters"), Some(""));
        assert_eq!(parsed[1].over("syslog_name"), Some("x/y"));
        assert_eq!(parsed[0].over("smtpd_milters"), None);
    }

    #[test]
    fn lists_with_braces() {
        // postconf(5): lists are separated by commas and/or white space; {} protects
        assert_eq!(split("a, b  c,,d"), ["a", "b", "c", "d"]);
        assert_eq!(split("inline:{a=b, {c = d e}}, hash:/x"), ["inline:{a=b, {c = d e}}", "hash:/x"]);
        assert_eq!(split(" , "), Vec::<&str>::new());
        assert_eq!(split("}a{ b"), ["}a{ b"]);
    }

    #[test]
    fn lines_of_main_cf() {
        let text = "# mydestination = x\nmydestination = a\nmydestination_x = c\nmydestination=b,\n  c\n";
        assert_eq!(line_of(text, "mydestination"), Some(4));
        assert_eq!(line_of(text, "relay_domains"), None);
    }
}
