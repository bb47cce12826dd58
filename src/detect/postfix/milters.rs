//! Whether Postfix asks milters, for each service, and what it does when they are away (MILTER_README).

use super::Postfix;
use super::conf::{Conf, Service, split};
use crate::detect::MilterUse;

impl Postfix<'_> {
    pub(super) fn milters(&mut self) {
        let uses = uses(&self.conf, &self.services);
        self.findings.milters.extend(uses);
    }
}

/// Mail comes in by smtpd(8), and from programs by sendmail(1), pickup(8) and cleanup(8).
fn uses(conf: &Conf, services: &[Service]) -> Vec<MilterUse> {
    let action = conf.value("milter_default_action");
    let has_no_milters = |service: &Service| {
        split(service.over("receive_override_options").unwrap_or_default()).contains(&"no_milters")
    };
    let of_main =
        |parameter: &str, is_way_out| used(parameter.to_owned(), conf.value(parameter), action, is_way_out);
    let of_service = |service: &Service, milters: &str, is_way_out| {
        let action = service.over("milter_default_action").unwrap_or(action);
        used(format!("master.cf {}", service.name), milters, action, is_way_out)
    };
    let named = |command: &'static str| services.iter().filter(move |service| service.command == command);
    let own = |service: &Service| match has_no_milters(service) {
        true => Some(String::new()),
        false => service.over("smtpd_milters").map(str::to_owned),
    };
    let own_cleanup = |service: &Service| service.over("non_smtpd_milters").map(str::to_owned);
    let mut uses = vec![
        of_main("smtpd_milters", named("smtpd").any(|service| own(service).is_none())),
        of_main(
            "non_smtpd_milters",
            named("pickup").any(|service| !has_no_milters(service))
                && named("cleanup").any(|service| own_cleanup(service).is_none()),
        ),
    ];
    for service in named("smtpd") {
        let own = own(service);
        if own.is_some() || service.over("milter_default_action").is_some() {
            let milters = own.as_deref().unwrap_or_else(|| conf.value("smtpd_milters"));
            uses.push(of_service(service, milters, !is_loopback(service)));
        }
    }
    uses.extend(
        named("pickup")
            .filter(|service| has_no_milters(service))
            .map(|service| of_service(service, "", true)),
    );
    for service in named("cleanup") {
        uses.extend(own_cleanup(service).map(|milters| of_service(service, &milters, true)));
    }
    uses
}

/// Where filters bring back what was seen already (FILTER_README); they must not ask the milters again.
fn is_loopback(service: &Service) -> bool {
    ["127.", "[::1]:", "localhost:"].iter().any(|host| service.name.starts_with(host))
}

/// A list of milters: `inet:host:port`, `unix:/path`, or `{ inet:host:port, default_action=accept, … }`.
fn used(service: String, milters: &str, action: &str, is_way_out: bool) -> MilterUse {
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
    MilterUse { service, milters: addresses, when_away, is_way_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_list() {
        let plain = used("smtpd_milters".into(), "inet:localhost:8890, unix:/run/x", "tempfail", true);
        assert_eq!(plain.milters, ["inet:localhost:8890", "unix:/run/x"]);
        assert_eq!(plain.when_away, "tempfail");
        // MILTER_README, "Different settings for different milters"
        let braces =
            used("x".into(), "{ inet:host:1, connect_timeout=10s, default_action=accept }", "tempfail", true);
        assert_eq!((braces.milters, braces.when_away), (vec!["inet:host:1".to_owned()], "accept".to_owned()));
        assert!(used("x".into(), "", "tempfail", true).milters.is_empty());
    }

    /// master.cf as Debian has it, with what admins add.
    #[test]
    fn by_which_ways_users_write() {
        let services = "smtp inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\npickup unix n - y 60 1 pickup\n\
            cleanup unix n - y - 0 cleanup\nsubmission inet n - y - - smtpd\n127.0.0.1:10025 inet n - y - - smtpd\n";
        let ways = |main: &str, over: &str| -> Vec<String> {
            let (conf, services) = (Conf::parse(main), Service::parse(services, over));
            let findings = crate::detect::Findings { milters: uses(&conf, &services), ..Default::default() };
            let unseen = findings.unseen(|milter| milter == "inet:localhost:8890");
            unseen.iter().map(|why| why.split(" does not").next().unwrap().to_owned()).collect()
        };
        const SMTPD: &str = "smtpd_milters = inet:localhost:1, inet:localhost:8890\n";
        const BOTH: &str = "smtpd_milters = inet:localhost:8890\nnon_smtpd_milters = inet:localhost:8890\n";
        for (main, over, unseen) in [
            ("", "", &["smtpd_milters", "non_smtpd_milters"][..]),
            (SMTPD, "", &["non_smtpd_milters"]),
            (BOTH, "", &[]),
            (BOTH, "submission/inet/smtpd_milters = inet:localhost:1", &["master.cf submission/inet"]),
            (BOTH, "submission/inet/receive_override_options = no_milters", &["master.cf submission/inet"]),
            (BOTH, "submission/inet/milter_default_action = accept", &[]),
            (BOTH, "127.0.0.1:10025/inet/smtpd_milters =", &[]),
            (BOTH, "pickup/unix/receive_override_options = no_milters", &["master.cf pickup/unix"]),
            (BOTH, "cleanup/unix/non_smtpd_milters =", &["master.cf cleanup/unix"]),
            (SMTPD, "cleanup/unix/non_smtpd_milters = inet:localhost:8890", &[]),
            (
                "non_smtpd_milters = inet:localhost:8890",
                "smtpd/pass/smtpd_milters = inet:localhost:8890\nsubmission/inet/smtpd_milters = inet:localhost:8890\n\
                 127.0.0.1:10025/inet/smtpd_milters =",
                &[],
            ),
        ] {
            assert_eq!(ways(main, over), unseen, "{main} {over}");
        }
    }
}
