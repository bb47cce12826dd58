//! By which ways mail comes in, whether milters are asked there, and what becomes of its senders.

use super::Sendmail;
use crate::detect::MilterUse;

impl Sendmail<'_> {
    /// What gives a message another envelope sender than the client wrote (cf/README, "MASQUERADING AND RELAYING"). A generics
    /// table is only for headers without it.
    pub(super) fn senders(&mut self) {
        let cf = &self.cf;
        let names_users = cf.option("UserDatabaseSpec").iter().any(|value| !value.is_empty());
        let found = [
            (cf.masquerades_envelope, "FEATURE(`masquerade_envelope')"),
            (cf.maps.contains_key("domaintable"), "domaintable"),
            (names_users, "UserDatabaseSpec"),
            (cf.rulesets.iter().any(|name| name == "1"), "rules in ruleset 1 (LOCAL_RULE_1)"),
        ];
        let path = self.path.display();
        let found = found.into_iter().filter(|(is_there, _)| *is_there);
        self.findings.rewrites.extend(found.map(|(_, what)| format!("{what} ({path}) rewrites senders")));
    }

    pub(super) fn milters(&mut self) {
        let daemons = self.cf.option("DaemonPortOptions");
        let names_own = |daemon: &String| {
            daemon
                .split(',')
                .any(|field| ["InputMailFilters=", "I="].iter().any(|key| field.trim().starts_with(key)))
        };
        let is_used = daemons.is_empty() || !daemons.iter().all(names_own);
        let common = self.cf.option("InputMailFilters").join(", ");
        let mut uses = vec![("sendmail.cf".to_owned(), common, is_used)];
        for daemon in self.cf.option("DaemonPortOptions") {
            let field = |name: &str| {
                daemon.split(',').find_map(|field| field.trim().strip_prefix(name).map(str::to_owned))
            };
            if let Some(own) = field("InputMailFilters=").or_else(|| field("I=")) {
                let name = field("Name=").unwrap_or_else(|| daemon.clone());
                uses.push((format!("sendmail.cf daemon {name}"), own.replace(';', ","), true));
            }
        }
        for (service, names, is_way_out) in uses {
            let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let field = |name: &str, key: &str| {
                let text = self.cf.milters.get(name)?;
                text.split(',').find_map(|field| field.trim().strip_prefix(key).map(str::to_owned))
            };
            let milters =
                names.iter().map(|name| field(name, "S=").unwrap_or_else(|| (*name).to_owned())).collect();
            let when_away = names.iter().filter_map(|name| field(name, "F=")).map(|flag| format!("F={flag}"));
            let when_away = when_away.collect::<Vec<_>>().join(", ");
            self.findings.milters.push(MilterUse { service, milters, when_away, is_way_out });
        }
    }
}
