//! Whether Postfix asks milters, for each service, and what it does when they are away (MILTER_README).

use super::Postfix;
use super::conf::split;
use crate::detect::MilterUse;

impl Postfix<'_> {
    pub(super) fn milters(&mut self) {
        let action = self.conf.value("milter_default_action");
        let mut uses = Vec::new();
        for parameter in ["smtpd_milters", "non_smtpd_milters"] {
            uses.push(used(parameter.to_owned(), self.conf.value(parameter), action));
        }
        for service in self.services.iter().filter(|service| service.command == "smtpd") {
            let options = service.over("receive_override_options").unwrap_or_default();
            let own =
                if split(options).contains(&"no_milters") { Some("") } else { service.over("smtpd_milters") };
            let own_action = service.over("milter_default_action");
            if own.is_some() || own_action.is_some() {
                let milters = own.unwrap_or_else(|| self.conf.value("smtpd_milters"));
                uses.push(used(format!("master.cf {}", service.name), milters, own_action.unwrap_or(action)));
            }
        }
        self.findings.milters.extend(uses);
    }
}

/// A list of milters: `inet:host:port`, `unix:/path`, or `{ inet:host:port, default_action=accept, … }`.
fn used(service: String, milters: &str, action: &str) -> MilterUse {
    let mut when_away = action.to_owned();
    let mut addresses = Vec::new();
    for milter in split(milters) {
        let inner = milter.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let parts = split(inner.unwrap_or(milter));
        addresses.extend(parts.first().map(|address| (*address).to_owned()));
        let own = parts.iter().find_map(|part| part.strip_prefix("default_action="));
        if let Some(own) = own {
            own.clone_into(&mut when_away);
        }
    }
    MilterUse { service, milters: addresses, when_away }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_list() {
        let plain = used("smtpd_milters".into(), "inet:localhost:8890, unix:/run/x", "tempfail");
        assert_eq!(plain.milters, ["inet:localhost:8890", "unix:/run/x"]);
        assert_eq!(plain.when_away, "tempfail");
        // MILTER_README, "Different settings for different milters"
        let braces =
            used("x".into(), "{ inet:host:1, connect_timeout=10s, default_action=accept }", "tempfail");
        assert_eq!((braces.milters, braces.when_away), (vec!["inet:host:1".to_owned()], "accept".to_owned()));
        assert!(used("x".into(), "", "tempfail").milters.is_empty());
    }
}
