//! Parses sendmail.cf (op.me, "The Whole Scoop on the Configuration File"). Pure.

use std::collections::BTreeMap;

/// What sendmail.cf says, as far as it decides who exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cf {
    /// `D`: macros by name.
    pub macros: BTreeMap<String, String>,
    /// `C`: words of classes.
    pub words: BTreeMap<String, Vec<String>>,
    /// `F`: files of classes.
    pub files: BTreeMap<String, Vec<String>>,
    /// `K`: maps by name.
    pub maps: BTreeMap<String, KeyMap>,
    /// `O`: options by name; several values for those that may be set more than once.
    pub options: BTreeMap<String, Vec<String>>,
    /// `X`: milters by name, with what follows the name.
    pub milters: BTreeMap<String, String>,
    /// `M`: flags (`F=`) of mailers by name.
    pub mailers: BTreeMap<String, String>,
    /// Rulesets that have at least one rule, by every name they go by.
    pub rulesets: Vec<String>,
    /// Senders of the envelope are masqueraded as those of the header are: FEATURE(`masquerade_envelope').
    pub masquerades_envelope: bool,
    /// Line numbers (from 1) of the lines above, by their first word.
    pub lines: BTreeMap<String, usize>,
}

/// A `K` line: `Kvirtuser hash -o /etc/mail/virtusertable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyMap {
    /// `hash`
    pub kind: String,
    /// What follows the flags: mostly a file.
    pub file: String,
    /// `-o`: it need not be there.
    pub optional: bool,
}

impl Cf {
    pub(super) fn parse(text: &str) -> Self {
        let mut cf = Self::default();
        let mut ruleset: Vec<String> = Vec::new();
        for (number, line) in logical_lines(text) {
            let mut chars = line.chars();
            let Some(letter) = chars.next() else { continue };
            let rest = chars.as_str();
            match letter {
                'S' => ruleset = ruleset_names(rest),
                'R' => {
                    let new = ruleset.iter().filter(|name| !cf.rulesets.contains(name));
                    let new: Vec<String> = new.cloned().collect();
                    cf.rulesets.extend(new);
                    let calls = |name: &str| rest.contains(&format!("$>{name}"));
                    cf.masquerades_envelope |=
                        ruleset.iter().any(|name| name == "MasqEnv") && (calls("MasqHdr") || calls("93"));
                }
                _ => cf.line(letter, rest, number),
            }
        }
        cf
    }

    fn line(&mut self, letter: char, rest: &str, number: usize) {
        let mut note = |word: String| {
            self.lines.entry(word).or_insert(number);
        };
        match letter {
            'D' => {
                let (name, value) = macro_name(rest);
                note(format!("D{name}"));
                self.macros.insert(name, value.trim().to_owned());
            }
            'C' => {
                let (name, value) = macro_name(rest);
                note(format!("C{name}"));
                let words = value.split_whitespace().map(str::to_owned);
                self.words.entry(name).or_default().extend(words);
            }
            'F' => {
                let (name, value) = macro_name(rest);
                note(format!("F{name}"));
                let file = value.split_whitespace().find(|word| !word.starts_with('-'));
                self.files
                    .entry(name)
                    .or_default()
                    .extend(file.map(|file| file.trim_start_matches("-o").to_owned()));
            }
            'K' => {
                let mut words = rest.split_whitespace();
                let Some((name, kind)) = words.next().zip(words.next()) else { return };
                let words: Vec<&str> = words.collect();
                let file = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
                let optional = words.iter().any(|word| word.starts_with("-o"));
                note(format!("K{name}"));
                let map = KeyMap { kind: kind.to_owned(), file: file.to_owned(), optional };
                self.maps.insert(name.to_owned(), map);
            }
            'O' => {
                let Some((name, value)) = rest.trim_start().split_once('=') else { return };
                let name = name.trim().to_ascii_lowercase();
                note(format!("O{name}"));
                self.options.entry(name).or_default().push(value.trim().to_owned());
            }
            'X' => {
                let (name, value) = rest.split_once(',').unwrap_or((rest, ""));
                note(format!("X{}", name.trim()));
                self.milters.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            'M' => {
                let (name, value) = rest.split_once(',').unwrap_or((rest, ""));
                let flags = value.split(',').find_map(|field| field.trim().strip_prefix("F="));
                self.mailers.insert(name.trim().to_owned(), flags.unwrap_or_default().trim().to_owned());
            }
            _ => {}
        }
    }

    /// The values of an option, by its long name in any case.
    pub(super) fn option(&self, name: &str) -> &[String] {
        self.options.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// A macro's value, empty where it is not set.
    pub(super) fn value(&self, name: &str) -> &str {
        self.macros.get(name).map_or("", String::as_str)
    }
}

/// Lines with their continuations (a leading blank) joined; comments and empty lines left out.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, last)) = lines.last_mut() {
                last.push_str(line);
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            lines.push((number + 1, line.to_owned()));
        }
    }
    lines
}

/// `{Name}rest` or `nrest`.
fn macro_name(text: &str) -> (String, &str) {
    if let Some((name, rest)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return (name.to_owned(), rest);
    }
    let mut chars = text.chars();
    (chars.next().map(String::from).unwrap_or_default(), chars.as_str())
}

/// `SParseLocal=98` goes by both names.
fn ruleset_names(text: &str) -> Vec<String> {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.split('=').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as m4 makes them from cf/cf.m4 of Sendmail 8.17.1.
    #[test]
    fn lines_of_a_real_cf() {
        let cf = Cf::parse(
            "# comment\nCwlocalhost\nFw-o /etc/mail/local-host-names\nFR-o /etc/mail/relay-domains\nDLlocal:catch\n\
             C{VirtHost}virt.test other.test\nC{R}relay.test\nKvirtuser hash -o /etc/mail/virtusertable\n\
             Kmailertable hash /etc/mail/mailertable\nKaccess hash -o -T<TMPF> /etc/mail/access\n\
             O AliasFile=/etc/mail/aliases, nis:mail.aliases\nO InputMailFilters=backstop\n\
             Xbackstop, S=inet:8890@localhost, F=T, T=C:10s;S:30s;R:30s;E:5m\n\
             Mlocal,\t\tP=/usr/bin/procmail, F=lsDFMAw5:/|@qSPfhn9, S=EnvFromL/HdrFromL,\n\t\tT=DNS/RFC822/X-Unix,\n\
             SParseLocal=98\n\nSLocal_localaddr\nSlocaladdr=5\nR$+\t\t\t$: $1\n",
        );
        assert_eq!(cf.words["w"], ["localhost"]);
        assert_eq!(cf.words["VirtHost"], ["virt.test", "other.test"]);
        assert_eq!(cf.words["R"], ["relay.test"]);
        assert_eq!(cf.files["w"], ["/etc/mail/local-host-names"]);
        assert_eq!(cf.files["R"], ["/etc/mail/relay-domains"]);
        assert_eq!(cf.value("L"), "local:catch");
        assert_eq!(cf.value("H"), "");
        let map =
            |name: &str| (cf.maps[name].kind.clone(), cf.maps[name].file.clone(), cf.maps[name].optional);
        assert_eq!(map("virtuser"), ("hash".into(), "/etc/mail/virtusertable".into(), true));
        assert_eq!(map("mailertable"), ("hash".into(), "/etc/mail/mailertable".into(), false));
        assert_eq!(map("access"), ("hash".into(), "/etc/mail/access".into(), true));
        assert_eq!(cf.option("AliasFile"), ["/etc/mail/aliases, nis:mail.aliases"]);
        assert_eq!(cf.milters["backstop"], "S=inet:8890@localhost, F=T, T=C:10s;S:30s;R:30s;E:5m");
        assert_eq!(cf.mailers["local"], "lsDFMAw5:/|@qSPfhn9");
        assert_eq!(cf.rulesets, ["localaddr", "5"]);
        assert_eq!(cf.lines["Kvirtuser"], 8);
    }

    #[test]
    fn rubbish_is_survived() {
        for text in [
            "",
            "\n \n",
            " x",
            "C",
            "C{",
            "D{x",
            "K",
            "Kx",
            "O",
            "O x",
            "S",
            "R",
            "M",
            "X",
            "F",
            "Fw|/bin/prog",
        ] {
            let _ = Cf::parse(text);
        }
    }
}
