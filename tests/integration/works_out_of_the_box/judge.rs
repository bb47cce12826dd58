//! Detection, its directories and the decision engine, as `backstop serve` without a configuration puts them together.

use std::sync::Arc;

use backstop::{
    address::{Path, parse_rcpt},
    detect::{Findings, Options},
    directory::{self, Configs, Directories, Domains, Recipients, detected::Live},
    files::{self, Keeper},
    policy::{Facts, Question, Recipient, Rules, Step, Verdict, next},
    telemetry::Registry,
};
use tokio::runtime::Runtime;

/// Decides on recipients by what was detected.
pub(super) struct Judge {
    runtime: Runtime,
    live: Arc<Live>,
    directories: Directories,
    rules: Rules,
}

impl Judge {
    pub(super) fn new(options: Options) -> Self {
        let runtime = Runtime::new().expect("start a runtime");
        let registry = Registry::default();
        let keeper = Arc::new(Keeper::new(files::Metrics::register(&registry)));
        let live = Arc::new(runtime.block_on(Live::start(options, Arc::clone(&keeper))));
        let directories = Directories::build(
            &Domains::default(),
            &Recipients::default(),
            &Configs::default(),
            &keeper,
            &directory::Metrics::register(&registry),
            live.detected(),
        );
        let probes = live.findings().probes.iter().cloned().collect();
        Self {
            runtime,
            live,
            directories: directories.expect("nothing is configured"),
            rules: Rules { probes, ..Rules::default() },
        }
    }

    pub(super) fn findings(&self) -> Arc<Findings> {
        self.live.findings()
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Why the domain is partial, in words; `None` if it was not found.
    pub(super) fn partial(&self, domain: &str) -> Option<Vec<String>> {
        let findings = self.findings();
        let found: Vec<_> = findings.covering(domain).collect();
        let partial = found.iter().flat_map(|found| &found.partial).map(ToString::to_string).collect();
        (!found.is_empty()).then_some(partial)
    }

    /// The reason for which `address`, between the brackets of RCPT TO, is refused for good.
    pub(super) fn refuses(&self, address: &str) -> Option<&'static str> {
        let recipient = match parse_rcpt(format!("<{address}>").as_bytes()) {
            Ok(Path::Address(address)) => Recipient::address(address),
            Ok(Path::Local(local)) => Recipient::Bare(local.as_str().to_owned()),
            Err(error) => Recipient::Invalid { domain: error.domain, fact: None },
        };
        let mut facts = Facts { accepted: Some(0), recipient, ..Facts::default() };
        loop {
            match next(&self.rules, &facts) {
                Step::Ask(question) => self.answer(&mut facts, question),
                Step::Decide(decision) => {
                    return (decision.verdict() == Verdict::Reject).then_some(decision.reason.as_str());
                }
            }
        }
    }

    fn answer(&self, facts: &mut Facts, question: Question) {
        let domain_fact = |domain| self.directories.domain(domain);
        match (question, &mut facts.recipient) {
            (Question::Domain(at), Recipient::Levels(levels)) => {
                levels[at].domain = Some(domain_fact(levels[at].address.domain()));
            }
            (Question::Domain(_), Recipient::Invalid { domain: Some(domain), fact }) => {
                *fact = Some(domain_fact(domain));
            }
            (Question::Suspended(at), Recipient::Levels(levels)) => levels[at].suspended = Some(false),
            (Question::Recipient(at), Recipient::Levels(levels)) => {
                let found = self.runtime.block_on(self.directories.find(&levels[at].address));
                levels[at].found = Some(found.fact);
            }
            (question, recipient) => panic!("{question} of {recipient:?}"),
        }
    }
}
