//! What Postfix tells with each command: its own list of macros, or the one that the milter asked for.

use std::collections::BTreeMap;

use milter_protocol::command::OptNeg;
use milter_protocol::macros::Stage;

/// The macros of each stage, by what the milter asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(BTreeMap<u32, Vec<String>>);

impl Told {
    /// By the milter's answer to the offer.
    pub(super) fn by(answer: &OptNeg<'_>) -> Self {
        let requests = answer.macro_requests().map(|(stage, names)| {
            let names = String::from_utf8_lossy(names);
            let names = names.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned);
            (stage, names.collect())
        });
        // An empty list is Postfix' own list.
        Self(requests.filter(|(_, names): &(u32, Vec<String>)| !names.is_empty()).collect())
    }

    /// Of `values` those that are told at this stage, in order. Postfix leaves out what has no value.
    pub(super) fn at<'v>(
        &'v self,
        stage: Stage,
        values: &[(&'static str, &'v str)],
    ) -> Vec<(&'v str, &'v str)> {
        let value = |name: &str| values.iter().find(|(other, _)| bare(other) == bare(name));
        match self.0.get(&stage.id()) {
            Some(names) => names.iter().filter_map(|name| Some((name.as_str(), value(name)?.1))).collect(),
            None => own(stage).iter().filter_map(|name| Some((*name, value(name)?.1))).collect(),
        }
    }
}

/// Postfix' own lists (postconf(5), `milter_connect_macros` and the others).
fn own(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Connect => &["j", "{daemon_name}", "{daemon_addr}", "v", "_"],
        Stage::Helo => &["{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"],
        Stage::Mail => &[
            "i",
            "{auth_type}",
            "{auth_authen}",
            "{auth_author}",
            "{mail_addr}",
            "{mail_host}",
            "{mail_mailer}",
        ],
        Stage::Rcpt => &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
        Stage::Data | Stage::EndOfHeaders | Stage::EndOfMessage => &["i"],
    }
}

fn bare(name: &str) -> &str {
    name.trim_matches(['{', '}'])
}

#[cfg(test)]
mod tests {
    use milter_protocol::flags::{Actions, Steps, Version};

    use super::*;

    fn answer(macros: &[u8]) -> OptNeg<'_> {
        OptNeg { version: Version::MAX, actions: Actions::SET_SYMLIST, steps: Steps::NONE, macros }
    }

    // Postfix 3.7.11: protocol/tests/captures/postfix-3.7.11-all-callbacks.txt
    #[test]
    fn without_a_request_the_list_is_postfix_own() {
        let told = Told::by(&answer(b""));
        let values = [("v", "Postfix"), ("j", "mx"), ("{rcpt_addr}", "a@b"), ("_", "unknown [192.0.2.1]")];
        let expected = [("j", "mx"), ("v", "Postfix"), ("_", "unknown [192.0.2.1]")];
        assert_eq!(told.at(Stage::Connect, &values), expected);
        assert_eq!(told.at(Stage::Helo, &values), []);
    }

    // Postfix 3.7.11: protocol/tests/captures/postfix-3.7.11-macro-request.txt
    #[test]
    fn with_a_request_it_is_the_milters() {
        let told = Told::by(&answer(b"\0\0\0\x03{rcpt_addr} {client_ptr} {auth_authen} j, {j}\0\0\0\0\0\0"));
        let values = [("j", "mx"), ("{rcpt_addr}", "a@b"), ("{rcpt_host}", "b"), ("v", "Postfix")];
        assert_eq!(told.at(Stage::Rcpt, &values), [("{rcpt_addr}", "a@b"), ("j", "mx"), ("{j}", "mx")]);
        assert_eq!(told.at(Stage::Connect, &values), [("j", "mx"), ("v", "Postfix")], "an empty list");
    }
}
