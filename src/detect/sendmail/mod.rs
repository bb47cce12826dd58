//! Sendmail: sendmail.cf tells the tables, `sendmail -bt` the classes and what becomes of an invented recipient.
//!
//! A domain of class `$=w` is whole when its unknown users end at the local mailer (or in a permanent error), nothing in
//! ruleset 5 diverts them (LUSER_RELAY, MAIL_HUB, LOCAL_RELAY), the local mailer asks the system for its users (`F=w`),
//! and every table consulted on the way (virtusertable, aliases) can be listed. `$=R` and `{VirtHost}` are only relayed.

mod cf;
mod routes;
mod testmode;
mod ways;

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use cf::Cf;
pub use testmode::is_permanent as is_permanent_error;
use testmode::{Answers, PROBE, Resolution, alias_lookup, local_address, resolution};

use crate::address::Domain;

use super::command::{converse, program};
use super::fuzz::commented;
use super::{
    Class, Evidence, Findings, Found, FoundDomain, Hint, How, Mta, Options, Partial, Pattern, Place, Source,
    SourceId,
};

/// One sendmail.cf while it is looked at.
struct Sendmail<'a> {
    options: &'a Options,
    findings: &'a mut Findings,
    path: PathBuf,
    cf: Cf,
    /// `None`: not installed.
    program: Option<PathBuf>,
    makemap: Option<PathBuf>,
}

/// Looks for Sendmail and adds what it finds.
pub(super) async fn find(options: &Options, findings: &mut Findings) {
    let path = match &options.sendmail {
        Place::Skip => return,
        Place::At(path) => path.clone(),
        Place::Usual => match program(&CF) {
            Some(path) => path,
            None => return findings.notes.push("Sendmail: no sendmail.cf".to_owned()),
        },
    };
    findings.watch.push(path.clone());
    let text = match tokio::fs::read(&path).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let error = format!("{}: {error}", path.display());
            findings.rewrites.push(format!("what Sendmail does with senders is not known: {error}"));
            return findings.notes.push(format!("Sendmail: {error}"));
        }
    };
    let sendmail = options.sendmail_program.clone().or_else(|| program(&PROGRAM));
    let makemap = program(&MAKEMAP);
    let mut sendmail = Sendmail { options, findings, path, cf: Cf::parse(&text), program: sendmail, makemap };
    sendmail.look().await;
}

impl Sendmail<'_> {
    async fn look(&mut self) {
        let classes = self
            .ask(&["$=w", "$=R", "$={VirtHost}", &format!("5 {PROBE}"), &format!("/map aliases {PROBE}")])
            .await;
        let answer = |at: usize| classes.as_ref().ok().and_then(|answers| answers.answers.get(at).cloned());
        let version = classes.as_ref().ok().and_then(|answers| answers.version.clone());
        self.findings.mtas.push(Mta::Sendmail { version, cf: self.path.clone() });
        if !self.findings.delimiters.contains('+') {
            self.findings.delimiters.push('+'); // user+detail is built in (cf/README, "PLUSSED USERS")
        }
        self.class_files();
        self.milters();
        self.senders();
        let words = |text: Option<String>| {
            text.map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
        };
        let local = words(answer(0)).unwrap_or_else(|| self.cf.words.get("w").cloned().unwrap_or_default());
        let relayed = words(answer(1)).unwrap_or_default();
        let hosted = words(answer(2)).unwrap_or_default();
        let relayed = [relayed, self.relayed_by_access().await].concat();

        let mut common = self.tables();
        common.1.extend(self.diverts());
        match &classes {
            Ok(answers) => {
                let diverts =
                    |parameter: &str, value| Partial::Diverts { parameter: parameter.to_owned(), value };
                let divert = local_address(&answers.answers[3]).map(|value| diverts("ruleset 5", value));
                let aliases = alias_lookup(&answers.answers[4])
                    .map(|value| diverts("alias of an invented user", value));
                common.1.extend(divert.into_iter().chain(aliases));
            }
            Err(partial) => common.1.push(partial.clone()),
        }
        self.local(&local, &common).await;
        self.elsewhere(&hosted, Class::VirtualAlias, "{VirtHost}", &local);
        self.elsewhere(&relayed, Class::Relay, "$=R", &local);
        self.hint();
    }

    /// Asks `sendmail -bt`, one answer a question.
    async fn ask(&self, questions: &[&str]) -> Result<Answers, Partial> {
        let not_asked = |error: String| Partial::NotAsked { program: "sendmail -bt".to_owned(), error };
        let program =
            self.program.as_ref().ok_or_else(|| not_asked("sendmail is not installed".to_owned()))?;
        let arguments = [format!("-C{}", self.path.display()), "-bt".to_owned(), "-d0.1".to_owned()];
        let input = questions.join("\n") + "\n";
        // its exit status is that of the last address it looked at
        let output = converse(self.options, program, &arguments, input.as_bytes()).await;
        let (output, ..) = output.map_err(|error| not_asked(error.to_string()))?;
        let answers = Answers::parse(&output);
        match answers.answers.len() == questions.len() {
            true => Ok(answers),
            false => Err(not_asked("its answers were not understood".to_owned())),
        }
    }

    async fn local(&mut self, names: &[String], common: &(Vec<SourceId>, Vec<Partial>)) {
        let names: Vec<String> = names.iter().filter_map(|name| domain(name)).collect();
        let questions: Vec<String> = names.iter().map(|name| format!("/parse {PROBE}@{name}")).collect();
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let answers = self.ask(&questions).await;
        let routes = self.routes().await;
        for (at, name) in names.iter().enumerate() {
            let mut partial = common.1.clone();
            partial.extend(routes.of(name));
            match answers.as_ref().map(|answers| resolution(&answers.answers[at])) {
                Ok(Resolution::LocalUser | Resolution::Refused) => {}
                Ok(Resolution::Elsewhere(end)) => partial.push(Partial::Resolves(end)),
                Err(why) => partial.push(why.clone()),
            }
            let evidence = self.evidence("$=w", name, &["Fw", "Cw"]);
            self.findings.domains.push(FoundDomain {
                mta: self.findings.mtas.len() - 1,
                pattern: Pattern::Name(name.clone()),
                class: Class::Local,
                evidence,
                sources: common.0.clone(),
                bare: true,
                partial,
                lmtp: None,
            });
        }
    }

    /// Domains whose mail is handed on: no recipients are known here.
    fn elsewhere(&mut self, names: &[String], class: Class, what: &str, local: &[String]) {
        for name in names.iter().filter(|name| !local.contains(name)) {
            if let Some(network) = network(name) {
                let evidence = self.evidence(what, name, &["FR", "CR"]);
                self.findings.networks.push(Found { value: network, evidence });
                continue;
            }
            let Some(name) = domain(name) else { continue };
            let evidence = self.evidence(what, &name, &["FR", "CR", "C{VirtHost}"]);
            for pattern in [Pattern::Name(name.clone()), Pattern::Below(name.clone())] {
                self.findings.domains.push(FoundDomain {
                    mta: self.findings.mtas.len() - 1,
                    pattern,
                    class,
                    evidence: evidence.clone(),
                    sources: Vec::new(),
                    bare: false,
                    partial: vec![Partial::RelayedOnly(what.to_owned())],
                    lmtp: None,
                });
            }
        }
    }

    /// Where recipients are, and what can't be seen of it.
    fn tables(&mut self) -> (Vec<SourceId>, Vec<Partial>) {
        let mut sources = vec![self.findings.source(Source {
            name: "system users".to_owned(),
            evidence: Evidence { what: "local mailer".to_owned(), ..Evidence::default() },
            how: How::SystemUsers,
        })];
        let mut partial = Vec::new();
        let mut tables: Vec<(String, String, String)> = Vec::new();
        if let Some(map) = self.cf.maps.get("virtuser") {
            tables.push(("virtuser".to_owned(), map.kind.clone(), map.file.clone()));
        }
        for value in self.cf.option("AliasFile").to_vec() {
            for file in value.split(',').map(str::trim).filter(|file| !file.is_empty()) {
                let (kind, path) = file.split_once(':').unwrap_or(("implicit", file));
                tables.push(("AliasFile".to_owned(), kind.trim().to_owned(), path.trim().to_owned()));
            }
        }
        for (parameter, kind, file) in tables {
            let evidence = self.evidence(
                &parameter,
                &format!("{kind} {file}"),
                &[&format!("K{parameter}"), "Oaliasfile"],
            );
            match self.table(&parameter, &kind, &file) {
                Ok(how) => {
                    sources.push(self.findings.source(Source {
                        name: format!("{kind}:{file}"),
                        evidence,
                        how,
                    }));
                }
                Err(why) => partial.push(why),
            }
        }
        (sources, partial)
    }

    /// How a map's keys are had. Sendmail reads an alias file without an index as text.
    fn table(&mut self, parameter: &str, kind: &str, file: &str) -> Result<How, Partial> {
        let unlistable =
            || Partial::Unlistable { parameter: parameter.to_owned(), map: format!("{kind}:{file}") };
        let file = file.split(' ').next_back().unwrap_or_default(); // `hash -o /path`
        let (kind, suffix) = match kind {
            "hash" | "implicit" => ("hash", "db"),
            "btree" => ("btree", "db"),
            "cdb" => ("cdb", "cdb"),
            _ => return Err(unlistable()),
        };
        if !Path::new(file).is_absolute() {
            return Err(unlistable());
        }
        let index = PathBuf::from(format!("{file}.{suffix}"));
        self.findings.watch.extend([index.clone(), PathBuf::from(file)]);
        if parameter == "AliasFile" && !index.exists() {
            return Ok(How::Aliases(file.into()));
        }
        let makemap = self.makemap().ok_or_else(unlistable)?;
        let arguments =
            ["-C", &self.path.display().to_string(), "-u", kind, file].map(str::to_owned).to_vec();
        Ok(How::Listed { program: makemap, arguments })
    }

    /// makemap lies beside sendmail, or in one of the usual places.
    fn makemap(&self) -> Option<PathBuf> {
        let beside = self.program.as_ref()?.with_file_name("makemap");
        if beside.is_file() { Some(beside) } else { self.makemap.clone() }
    }

    /// Settings of sendmail.cf that give unknown users a destiny of their own, or find users in ways we can't see.
    fn diverts(&self) -> Vec<Partial> {
        let mut partial = Vec::new();
        let mut add = |parameter: &str, value: &str| {
            partial.push(Partial::Diverts { parameter: parameter.to_owned(), value: value.to_owned() });
        };
        for (name, parameter) in [("L", "LUSER_RELAY"), ("H", "MAIL_HUB"), ("R", "LOCAL_RELAY")] {
            let value = self.cf.value(name);
            if !value.is_empty() {
                add(parameter, value);
            }
        }
        for (option, harmless) in
            [("UserDatabaseSpec", ""), ("MailboxDatabase", "pw"), ("MatchGECOS", "False")]
        {
            if let Some(value) =
                self.cf.option(option).iter().find(|value| !value.eq_ignore_ascii_case(harmless))
            {
                add(option, value);
            }
        }
        for (name, map) in &self.cf.maps {
            if name.starts_with("ldapmra") || name.starts_with("ldapmh") {
                add("LDAPROUTE", &map.kind);
            }
        }
        for ruleset in ["98", "Local_localaddr"] {
            if self.cf.rulesets.iter().any(|name| name == ruleset) {
                add("local rules in ruleset", ruleset);
            }
        }
        match self.cf.mailers.get("local") {
            Some(flags) if flags.contains('w') => {}
            Some(flags) => add("the local mailer's flags (no w: it takes any user)", flags),
            None => add("the local mailer", "is not defined"),
        }
        let switch =
            self.cf.option("ServiceSwitchFile").first().map_or("/etc/mail/service.switch", String::as_str);
        if let Ok(text) = std::fs::read_to_string(switch) {
            let services = text.lines().filter_map(|line| line.trim().strip_prefix("aliases"));
            for service in services.flat_map(str::split_whitespace).filter(|service| *service != "files") {
                add("service switch, aliases", service);
            }
        }
        partial
    }

    fn class_files(&mut self) {
        let files = self.cf.files.values().flatten().filter(|file| file.starts_with('/'));
        self.findings.watch.extend(files.map(PathBuf::from));
        let switch = self.cf.option("ServiceSwitchFile").first().map(PathBuf::from);
        self.findings.watch.extend(switch);
    }

    fn hint(&mut self) {
        let relayed =
            |domain: &&FoundDomain| domain.partial.iter().any(|why| matches!(why, Partial::RelayedOnly(_)));
        let names: Vec<String> =
            self.findings.domains.iter().filter(relayed).map(|domain| domain.pattern.to_string()).collect();
        if !names.is_empty() {
            self.findings.hints.push(Hint::relayed("Sendmail relays every recipient of", &names, ""));
        }
    }

    fn evidence(&self, what: &str, value: &str, lines: &[&str]) -> Evidence {
        let line = lines.iter().find_map(|word| self.cf.lines.get(*word)).copied();
        Evidence { what: what.to_owned(), value: value.to_owned(), place: Some((self.path.clone(), line)) }
    }
}

/// A word of a class as a domain name; address literals are none.
fn domain(word: &str) -> Option<String> {
    let word = word.trim_end_matches('.');
    if word.is_empty() || word.contains(['[', ':', '@', ' ']) || network(word).is_some() {
        return None;
    }
    Domain::parse(word).ok().map(|domain| domain.as_str().to_owned())
}

/// Sendmail writes networks as prefixes of octets: `10.1` (cf/README, access database).
fn network(word: &str) -> Option<IpNet> {
    if let Some(v6) = word.strip_prefix("IPv6:") {
        return v6
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|address| IpNet::from(std::net::IpAddr::from(address)));
    }
    let octets: Vec<u8> = word.split('.').map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
    if octets.is_empty() || octets.len() > 4 {
        return None;
    }
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(&octets);
    ipnet::Ipv4Net::new(address.into(), u8::try_from(octets.len() * 8).ok()?).ok().map(IpNet::from)
}

const CF: [&str; 3] = ["/etc/mail/sendmail.cf", "/etc/sendmail.cf", "/usr/local/etc/mail/sendmail.cf"];
const PROGRAM: [&str; 5] = [
    "/usr/libexec/sendmail/sendmail",
    "/usr/lib/sm.bin/sendmail",
    "/usr/sbin/sendmail.sendmail",
    "/usr/sbin/sendmail",
    "/usr/lib/sendmail",
];
const MAKEMAP: [&str; 4] =
    ["/usr/libexec/sendmail/makemap", "/usr/lib/sm.bin/makemap", "/usr/sbin/makemap", "/usr/bin/makemap"];

/// A text as its configuration, and as what `sendmail -bt` prints. For tests/fuzz.
pub(super) fn fuzz_sendmail(text: &str) {
    let cf = Cf::parse(text);
    let commented = Cf::parse(&commented(text));
    for (word, line) in &cf.lines {
        assert_eq!(commented.lines.get(word), Some(&(2 * line - 1)), "{word:?}, with comments");
    }
    assert_eq!(Cf { lines: cf.lines.clone(), ..commented }, cf, "with comments");
    for word in cf.words.values().chain(cf.files.values()).flatten() {
        assert!(text.contains(word), "{word:?}");
    }
    let answers = Answers::parse(text);
    assert!(answers.answers.len() < text.matches("> ").count().max(1), "one prompt is behind the last");
    assert!(answers.answers.iter().all(|answer| text.contains(answer)), "{answers:?}");
    for answer in answers.answers.iter().map(String::as_str).chain([text]) {
        // Who is told that nobody is there must have said so.
        match resolution(answer) {
            Resolution::LocalUser => assert!(answer.contains(PROBE), "{answer:?}"),
            Resolution::Refused => assert!(answer.contains("mailer *error*"), "{answer:?}"),
            Resolution::Elsewhere(_) => {}
        }
        assert!(local_address(answer).is_some() || answer.contains("returns: "), "{answer:?}");
        assert!(alias_lookup(answer).is_some() || answer.contains("no match ("), "{answer:?}");
    }
    for word in text.split_whitespace() {
        if let Some(name) = domain(word) {
            assert_eq!(domain(&name).as_ref(), Some(&name), "{word:?}: twice is once");
        }
        if let Some(found) = network(word) {
            assert!(found.trunc() == found && domain(word).is_none(), "{word:?} is {found}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_classes() {
        assert_eq!(domain("A.Test").as_deref(), Some("a.test"));
        assert_eq!(domain("localhost").as_deref(), Some("localhost"));
        assert_eq!(domain("M\u{fc}nchen.test.").as_deref(), Some("xn--mnchen-3ya.test"));
        // The last becomes a blank and a cedilla.
        for none in ["[127.0.0.1]", "IPv6:::1", "10.1", "192.0.2.1", "", "a@b", "\u{b8}"] {
            assert_eq!(domain(none), None, "{none}");
        }
        let net = |text: &str| Some(text.parse::<IpNet>().unwrap());
        assert_eq!(network("10.1"), net("10.1.0.0/16"));
        assert_eq!(network("192.0.2.1"), net("192.0.2.1/32"));
        assert_eq!(network("IPv6:2001:db8::1"), net("2001:db8::1/128"));
        assert_eq!(network("a.test"), None);
    }
}
