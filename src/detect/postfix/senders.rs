//! Settings that give a message another envelope sender than the client wrote: its bounces come to that one
//! (ADDRESS_REWRITING_README). And those by which some clients ask no milter.

use super::Postfix;
use super::conf::split;

impl Postfix<'_> {
    pub(super) fn senders(&mut self) {
        let mut rewrites = Vec::new();
        for (parameter, classes) in REWRITES {
            let spares = |classes: &str| !split(classes).contains(&"envelope_sender");
            let is_own = |classes| self.services.iter().any(|service| service.over(classes).is_some());
            if classes.is_some_and(|classes| spares(self.conf.value(classes)) && !is_own(classes)) {
                continue;
            }
            if !self.conf.value(parameter).is_empty() {
                rewrites.push(format!("{} rewrites senders", self.evidence(parameter)));
            }
            for service in &self.services {
                if let Some(value) = service.over(parameter).filter(|value| !value.is_empty()) {
                    rewrites
                        .push(format!("master.cf {}: {parameter} = {value} rewrites senders", service.name));
                }
            }
        }
        // postconf(5), smtpd_milter_maps: some clients ask other milters, or none.
        let maps = "smtpd_milter_maps";
        if !self.conf.value(maps).is_empty() {
            rewrites.push(format!("{} lets clients write unseen", self.evidence(maps)));
        }
        for service in &self.services {
            if let Some(value) = service.over(maps).filter(|value| !value.is_empty()) {
                rewrites
                    .push(format!("master.cf {}: {maps} = {value} lets clients write unseen", service.name));
            }
        }
        self.findings.rewrites.extend(rewrites);
    }
}

/// Each with the parameter that says which addresses it is for.
const REWRITES: [(&str, Option<&str>); 5] = [
    ("canonical_maps", Some("canonical_classes")),
    ("sender_canonical_maps", Some("sender_canonical_classes")),
    ("masquerade_domains", Some("masquerade_classes")),
    ("smtp_generic_maps", None),
    ("lmtp_generic_maps", None),
];
