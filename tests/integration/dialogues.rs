//! The dialogues of `tests/cases` on each MTA: the same table, the same decisions.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postfix, Reply, SASL_PASSWORD, SASL_USER, Sendmail, Sink, Smtp};

use crate::dialogue::{Case, Client, Command, Expect, Mta, Step, read_all};
use crate::site;

#[test]
fn on_postfix() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .next_hop(sink.port())
        .main(&format!("relay_domains = {}", site::DOMAINS.join(" ")))
        // it takes everything, from everyone, for everyone
        .main("mynetworks = 0.0.0.0/0 [::]/0")
        .main("allow_untrusted_routing = yes")
        .start();
    let address = (Ipv4Addr::LOCALHOST, postfix.port()).into();
    Table { mta: Mta::Postfix, address, ipv6: address, backstop: &backstop, sink: &sink }.run();
}

#[test]
fn on_sendmail() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let sendmail = Sendmail::builder()
        .milter(&backstop.for_sendmail())
        .next_hop(sink.port())
        .relay_domains(&site::DOMAINS)
        .mc("FEATURE(`promiscuous_relay')dnl")
        .start();
    let (address, ipv6) = (sendmail.ipv4(), sendmail.ipv6());
    Table { mta: Mta::Sendmail, address, ipv6, backstop: &backstop, sink: &sink }.run();
}

struct Table<'a> {
    mta: Mta,
    address: SocketAddr,
    ipv6: SocketAddr,
    backstop: &'a Backstop,
    sink: &'a Sink,
}

impl Table<'_> {
    /// Runs every case and says which failed, with the whole dialogue.
    fn run(&self) {
        let cases = read_all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases")));
        let cases: Vec<_> = cases.iter().filter(|case| case.mta.is_none_or(|mta| mta == self.mta)).collect();
        assert!(!cases.is_empty(), "there are no cases");
        let failures: Vec<String> = cases.iter().filter_map(|case| self.run_case(case).err()).collect();
        for failure in &failures {
            eprintln!("{failure}\n");
        }
        assert!(failures.is_empty(), "{} of {} dialogues failed", failures.len(), cases.len());
        eprintln!("{} dialogues on {:?}", cases.len(), self.mta);
    }

    fn run_case(&self, case: &Case) -> Result<(), String> {
        let mut smtp = self.connect(case);
        let subject = format!("{} on {:?}", case.place, self.mta);
        let message = format!("From: sender@elsewhere.test\nSubject: {subject}\n\nHello.\n");
        let mut problem = None;
        for step in &case.steps {
            let outcome = match step {
                Step::Commands(commands) => self.commands(&mut smtp, commands, &message),
                Step::Delivered(rcpts) => self.delivered(&subject, rcpts),
            };
            if let Err(error) = outcome {
                problem = Some(error);
                break;
            }
        }
        let _ = smtp.try_command("QUIT"); // the answer decides nothing any more
        match problem {
            None => Ok(()),
            Some(error) => Err(format!(
                "{} on {:?}: {}: {error}\n{}",
                case.place,
                self.mta,
                case.name,
                smtp.transcript()
            )),
        }
    }

    fn connect(&self, case: &Case) -> Smtp {
        let mut smtp;
        match self.mta {
            Mta::Postfix => {
                smtp = Smtp::connect_from(None, self.address);
                smtp.ehlo("client.test");
                let reply = smtp.xclient(match case.client {
                    Client::Outside => "ADDR=198.51.100.7 PORT=4711 NAME=mail.elsewhere.test",
                    Client::Inside => "ADDR=192.0.2.7 PORT=4711 NAME=mail.elsewhere.test",
                    Client::Ipv6 => "ADDR=IPV6:2001:db8::7 PORT=4711 NAME=mail.elsewhere.test",
                    Client::Hidden => "ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE]",
                });
                assert_eq!(reply.code, 220, "{}", smtp.transcript());
            }
            Mta::Sendmail => {
                let from = |last| Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
                smtp = match case.client {
                    Client::Outside => Smtp::connect_from(from(9), self.address),
                    Client::Inside => Smtp::connect_from(from(1), self.address),
                    Client::Ipv6 => Smtp::connect_from(None, self.ipv6),
                    Client::Hidden => panic!("{}: Sendmail always knows the client's address", case.place),
                };
            }
        }
        smtp.ehlo("mail.elsewhere.test");
        if case.authenticated {
            let reply = smtp.auth_plain(SASL_USER, SASL_PASSWORD);
            assert_eq!(reply.code, 235, "{}", smtp.transcript());
        }
        smtp
    }

    /// Sends commands in one write, and compares the replies and Backstop's decisions with what is expected.
    fn commands(&self, smtp: &mut Smtp, commands: &[Command], message: &str) -> Result<(), String> {
        let before = self.reasons();
        let lines: Vec<&str> = commands.iter().map(|command| command.line.as_str()).collect();
        let replies = smtp.pipeline(&lines);
        let mut expected_reasons: BTreeMap<String, f64> = BTreeMap::new();
        for (command, mut reply) in commands.iter().zip(replies) {
            if command.line == "DATA" && reply.code == 354 {
                reply = smtp.message(message);
            }
            let expect = command.expect(self.mta);
            if !fits(expect, &reply) {
                return Err(format!(
                    "line {}: {}: expected {expect}, but it is {reply}; decisions: {:?}",
                    command.line_number,
                    command.line,
                    since(&before, &self.reasons())
                ));
            }
            if let Some(reason) = &expect.reason {
                *expected_reasons.entry(reason.clone()).or_default() += 1.0;
            }
        }
        let start = Instant::now();
        loop {
            let reasons = since(&before, &self.reasons());
            if reasons == expected_reasons {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(2) {
                let number = commands[0].line_number;
                return Err(format!(
                    "line {number}: expected decisions {expected_reasons:?}, but they are {reasons:?}"
                ));
            }
        }
    }

    fn delivered(&self, subject: &str, rcpts: &[String]) -> Result<(), String> {
        let mut wanted = rcpts.to_vec();
        wanted.sort();
        let start = Instant::now();
        loop {
            let messages = self.sink.messages().into_iter();
            let ours = messages.filter(|message| message.data.contains(&format!("Subject: {subject}\n")));
            let mut arrived: Vec<String> = ours.flat_map(|message| message.rcpts).collect();
            arrived.sort();
            if arrived == wanted {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("expected delivery for {wanted:?}, but it was for {arrived:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often Backstop has decided at RCPT for each reason.
    fn reasons(&self) -> BTreeMap<String, f64> {
        self.backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason")
    }
}

fn fits(expect: &Expect, reply: &Reply) -> bool {
    let tag = match &expect.reason {
        Some(reason) if expect.shown => reply.text.ends_with(&format!(" [{reason}]")),
        _ => !reply.text.ends_with(']'),
    };
    let enhanced = expect.enhanced.is_none() || expect.enhanced == reply.enhanced;
    expect.code == reply.code && enhanced && tag
}

fn since(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let more = |(reason, count): (&String, &f64)| {
        let more = count - before.get(reason).copied().unwrap_or_default();
        (more > 0.0).then(|| (reason.clone(), more))
    };
    after.iter().filter_map(more).collect()
}
