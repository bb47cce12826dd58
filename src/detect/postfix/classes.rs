//! The four address classes (ADDRESS_CLASS_README): which domains each holds, which tables know its recipients, and what
//! makes them partial.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Postfix;
use super::conf::split;
use super::domains::{DomainList, unreadable};
use super::maps::Map;
use crate::detect::{Class, FoundDomain, Hint, How, Partial, Pattern, SourceId, list};

/// Tables of recipients: those that can be used, and why others can't.
#[derive(Debug, Clone, Default)]
struct Tables {
    sources: Vec<SourceId>,
    partial: Vec<Partial>,
}

/// What transport_maps says: for whom, or why that can't be seen.
#[derive(Debug, Default)]
struct Routes {
    /// Lower-case keys without a local part, and the table of each.
    keys: HashMap<String, String>,
    everything: Vec<Partial>,
}

impl Postfix<'_> {
    pub(super) async fn classes(&mut self) {
        let mut common = self.tables(&COMMON);
        common.partial.extend(self.unchecked());
        common.partial.extend(self.overridden());
        let routes = self.routes().await;
        let below = split(self.conf.value("parent_domain_matches_subdomains")).contains(&"relay_domains");

        // resolve(5) takes the first class that has the domain
        let mut higher: Vec<(&str, DomainList)> = Vec::new();
        for (class, parameter) in CLASSES {
            let list = self.domain_list(parameter, class == Class::Relay && below).await;
            let own = self.class_tables(class);
            let names: Vec<String> =
                list.domains.iter().map(|(pattern, _)| base(pattern).to_owned()).collect();
            let mut ambiguous: Vec<(String, Partial)> = Vec::new();
            for (parameter, list) in &higher {
                ambiguous.extend(self.ambiguous(parameter, list, &names).await);
            }
            for (at, (pattern, evidence)) in list.domains.iter().enumerate() {
                let before = list.domains.get(..at).unwrap_or_default();
                let mut listed = higher.iter().flat_map(|(_, higher)| &higher.domains).chain(before);
                if listed.any(|(other, _)| other == pattern) {
                    continue;
                }
                let name = base(pattern).to_owned();
                let mut domain = FoundDomain {
                    mta: self.findings.mtas.len() - 1,
                    bare: class == Class::Local || name == self.conf.value("myorigin").to_lowercase(),
                    pattern: pattern.clone(),
                    class,
                    evidence: evidence.clone(),
                    sources: common.sources.iter().chain(&own.sources).copied().collect(),
                    partial: common
                        .partial
                        .iter()
                        .chain(&own.partial)
                        .chain(&list.partial)
                        .cloned()
                        .collect(),
                    lmtp: self.lmtp(class),
                };
                domain
                    .partial
                    .extend(ambiguous.iter().filter(|(key, _)| *key == name).map(|(_, why)| why.clone()));
                domain.partial.extend(routes.of(pattern));
                domain.partial.extend(self.rewritten(&name));
                domain.partial.extend(self.patterns_in_unicode(&name, &domain.sources));
                self.findings.domains.push(domain);
            }
            for (table, partial) in &list.unseen {
                self.findings
                    .notes
                    .push(format!("{parameter}: the domains in {table} are not known: {partial}"));
            }
            higher.push((parameter, list));
        }
        self.hints(&routes);
    }

    /// The tables that know the recipients of a class, and the settings that divert its unknown users.
    fn class_tables(&mut self, class: Class) -> Tables {
        let parameter = match class {
            Class::Local => "local_recipient_maps",
            Class::VirtualAlias => "virtual_alias_maps",
            Class::VirtualMailbox => "virtual_mailbox_maps",
            Class::Relay => "relay_recipient_maps",
        };
        // local(8) looks into alias_maps whatever local_recipient_maps says
        let mut tables = if class == Class::Local {
            self.tables(&[parameter, "alias_maps"])
        } else {
            self.tables(&[parameter])
        };
        if self.conf.value(parameter).is_empty() {
            tables.partial.push(Partial::NoTable(parameter.to_owned()));
        }
        if class == Class::Local {
            tables.partial.extend(self.local_diverts());
        }
        tables
    }

    /// The socket that mail of this class is handed to over LMTP (smtp(8), LMTP DESTINATION SYNTAX).
    fn lmtp(&self, class: Class) -> Option<PathBuf> {
        let parameters: &[&str] = match class {
            Class::Local => &["mailbox_transport", "local_transport"],
            Class::VirtualMailbox => &["virtual_transport"],
            Class::Relay => &["relay_transport"],
            Class::VirtualAlias => &[],
        };
        let path =
            parameters.iter().find_map(|parameter| self.conf.value(parameter).strip_prefix("lmtp:unix:"))?;
        Some(Path::new(self.conf.value("queue_directory")).join(path))
    }

    fn local_diverts(&self) -> Vec<Partial> {
        let set = DIVERTS.into_iter().filter(|parameter| !self.conf.value(parameter).is_empty());
        let mut diverts: Vec<Partial> = set.map(|parameter| self.diverts(parameter)).collect();
        let transport = self.conf.value("local_transport").split(':').next().unwrap_or_default();
        let agent = self.services.iter().find(|service| service.name == "local/unix");
        if transport != "local" || agent.is_some_and(|service| service.command != "local") {
            diverts.push(self.diverts("local_transport"));
        }
        diverts
    }

    fn diverts(&self, parameter: &str) -> Partial {
        Partial::Diverts { parameter: parameter.to_owned(), value: self.conf.value(parameter).to_owned() }
    }

    /// The sources that `parameters` name.
    fn tables(&mut self, parameters: &[&str]) -> Tables {
        let mut tables = Tables::default();
        for parameter in parameters {
            let value = self.conf.value(parameter).to_owned();
            let evidence = self.evidence(parameter);
            for map in Map::list(&value) {
                self.watch(&map);
                match map.how(parameter, &self.tools) {
                    _ if map.never_matches() => {}
                    Ok(how) => {
                        tables.sources.push(self.findings.source(map.source(parameter, how, &evidence)));
                    }
                    Err(partial) => tables.partial.push(partial),
                }
            }
        }
        tables
    }

    fn unchecked(&self) -> Option<Partial> {
        let parameter = "smtpd_reject_unlisted_recipient";
        let unchecked = || Partial::Unchecked {
            parameter: parameter.to_owned(),
            value: self.conf.value(parameter).to_owned(),
        };
        (!self.conf.flag(parameter, true)).then(unchecked)
    }

    /// Services that see other settings than main.cf's. An smtpd that asks no milter does not ask us.
    fn overridden(&self) -> Vec<Partial> {
        let mut partial = Vec::new();
        for service in &self.services {
            let options = service.over("receive_override_options").unwrap_or_default();
            let asks = service.over("smtpd_milters") != Some("") && !split(options).contains(&"no_milters");
            let counts = match service.command.as_str() {
                "smtpd" => asks,
                "trivial-rewrite" | "cleanup" | "local" => true,
                _ => false,
            };
            for (parameter, value) in &service.overrides {
                let matters = match parameter.as_str() {
                    "receive_override_options" => split(value).contains(&"no_unknown_recipient_checks"),
                    name => DECIDES.contains(&name) && value != self.conf.value(name),
                };
                if counts && matters {
                    let (service, parameter, value) =
                        (service.name.clone(), parameter.clone(), value.clone());
                    partial.push(Partial::Overridden { service, parameter, value });
                }
            }
        }
        partial
    }

    /// `joe@localhost` becomes `joe@localhost.$mydomain` before the tables are asked (append_dot_mydomain).
    fn rewritten(&self, name: &str) -> Option<Partial> {
        let parameter = "append_dot_mydomain";
        let rewritten = !name.contains('.') && self.conf.flag(parameter, true);
        rewritten.then(|| Partial::Rewritten { parameter: parameter.to_owned(), value: "yes".to_owned() })
    }

    /// Our addresses are in A-labels; a pattern that names the domain in Unicode does not match them (SMTPUTF8_README).
    fn patterns_in_unicode(&self, name: &str, sources: &[SourceId]) -> Option<Partial> {
        let is_pattern =
            |id: &&SourceId| matches!(self.findings.sources[id.0].how, How::Pcre(_) | How::Regexp(_));
        let source = sources.iter().find(is_pattern).filter(|_| name.contains("xn--"))?;
        Some(Partial::Unicode(self.findings.sources[source.0].name.clone()))
    }

    async fn routes(&mut self) -> Routes {
        let parameter = "transport_maps";
        let mut routes = Routes::default();
        let value = self.conf.value(parameter).to_owned();
        let evidence = self.evidence(parameter);
        for map in Map::list(&value) {
            self.watch(&map);
            let how = map.how(parameter, &self.tools);
            if let Ok(How::Pcre(_) | How::Regexp(_) | How::Everything | How::SystemUsers) = how {
                routes.everything.push(Partial::Routed {
                    parameter: parameter.to_owned(),
                    map: map.whole.to_owned(),
                    key: "any domain".to_owned(),
                });
                continue;
            }
            let entries = match how {
                _ if map.never_matches() => continue,
                Ok(how) => list(self.options, &map.source(parameter, how, &evidence)).await,
                Err(partial) => {
                    routes.everything.push(partial);
                    continue;
                }
            };
            match entries {
                Ok(entries) => {
                    let keys = entries
                        .iter()
                        .map(|entry| entry.key.rsplit('@').next().unwrap_or_default().to_lowercase());
                    routes.keys.extend(keys.map(|key| (key, map.whole.to_owned())));
                }
                Err(error) => routes.everything.push(unreadable(parameter, map.whole, error.to_string())),
            }
        }
        routes
    }

    /// Relayed domains whose recipients nobody here knows are where backscatter comes from.
    fn hints(&mut self, routes: &Routes) {
        let unknown = |domain: &&FoundDomain| {
            matches!(domain.class, Class::Relay | Class::VirtualMailbox)
                && domain.partial.iter().any(|partial| matches!(partial, Partial::NoTable(_)))
        };
        let unknown: Vec<&FoundDomain> = self.findings.domains.iter().filter(unknown).collect();
        let names: Vec<String> = unknown.iter().map(|domain| domain.pattern.to_string()).collect();
        if names.is_empty() {
            return;
        }
        let routed = unknown.iter().any(|domain| routes.keys.contains_key(base(&domain.pattern)));
        let own = self.conf.value("relay_transport").split_once(':').map_or("", |(_, next_hop)| next_hop);
        let next_hop = match own {
            _ if routed => "see transport_maps",
            "" => self.conf.value("relayhost"),
            own if unknown.iter().all(|domain| domain.class == Class::Relay) => own,
            _ => self.conf.value("relayhost"),
        };
        let hint =
            Hint::relayed("Postfix takes every recipient, as it has no table of them, in", &names, next_hop);
        self.findings.hints.push(hint);
    }
}

impl Routes {
    /// What routes the domain, or may.
    fn of(&self, pattern: &Pattern) -> Vec<Partial> {
        let name = base(pattern);
        let parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        let mut keys: Vec<String> = vec!["*".to_owned(), name.to_owned(), format!(".{name}")];
        keys.extend(parents.flat_map(|parent| [parent.to_owned(), format!(".{parent}")]));
        let routed = |key: String| {
            let map = self.keys.get(&key)?.clone();
            Some(Partial::Routed { parameter: "transport_maps".to_owned(), map, key })
        };
        self.everything.iter().cloned().chain(keys.into_iter().filter_map(routed)).collect()
    }
}

fn base(pattern: &Pattern) -> &str {
    let (Pattern::Name(name) | Pattern::Below(name)) = pattern;
    name
}

/// Consulted for every recipient, whatever its class.
const COMMON: [&str; 3] = ["canonical_maps", "recipient_canonical_maps", "virtual_alias_maps"];

/// In the order in which resolve(5) tries them.
const CLASSES: [(Class, &str); 4] = [
    (Class::Local, "mydestination"),
    (Class::VirtualAlias, "virtual_alias_domains"),
    (Class::VirtualMailbox, "virtual_mailbox_domains"),
    (Class::Relay, "relay_domains"),
];

/// Settings that give unknown local users a destiny of their own (local(8)).
const DIVERTS: [&str; 5] = [
    "luser_relay",
    "fallback_transport",
    "fallback_transport_maps",
    "mailbox_transport",
    "mailbox_transport_maps",
];

/// Settings whose override in master.cf changes who exists.
const DECIDES: [&str; 22] = [
    "alias_maps",
    "append_dot_mydomain",
    "canonical_maps",
    "fallback_transport",
    "fallback_transport_maps",
    "local_recipient_maps",
    "local_transport",
    "luser_relay",
    "mailbox_transport",
    "mailbox_transport_maps",
    "mydestination",
    "myorigin",
    "recipient_canonical_maps",
    "recipient_delimiter",
    "relay_domains",
    "relay_recipient_maps",
    "smtpd_reject_unlisted_recipient",
    "transport_maps",
    "virtual_alias_domains",
    "virtual_alias_maps",
    "virtual_mailbox_domains",
    "virtual_mailbox_maps",
];
