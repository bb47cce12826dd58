//! The tests, one after the other.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::Instant;

use super::{
    Error,
    client::{Client, Trouble, Way},
    forms::{Form, Via},
    judge::{self, Control, Guesses, Judged, Outcome, is_yes},
    plan::{FIRST_CONTROL, FIRST_FORM, FIRST_GUESS, Plan},
    prober::{Prober, Progress, Step},
    report::{Check, Fate, Finding, Report, Test, Verdict},
    sink::Sink,
};
use crate::net::{TlsOptions, client_config, smtp_reply::Reply};

/// Carries the plan out. `progress` is told of each step before it is done.
///
/// # Errors
/// [`Error`], where nothing could be tested at all.
pub async fn run(plan: &Plan, progress: Progress<'_>) -> Result<Report, Error> {
    let sink = match plan.options.sink {
        None => None,
        Some(address) => {
            let opened = Sink::open(address, &plan.run, &plan.foreign).await;
            Some(opened.map_err(|error| Error::Sink { address, error })?)
        }
    };
    let tls = client_config(&TlsOptions { accept_any: true, ..TlsOptions::default() })?;
    let source = plan.options.source;
    let way =
        Way { address: plan.address, source, helo: plan.helo.clone(), server: server_name(plan), tls: None };
    let mut report = Report {
        server: plan.options.target.to_string(),
        address: plan.address.to_string(),
        name: None,
        domain: plan.options.domain.to_string(),
        run: plan.run.clone(),
        tls: false,
        verdict: Verdict::Unsure,
        tests: Vec::new(),
        notes: Vec::new(),
        stopped: None,
    };
    let mut prober = Prober::new(plan, way, progress);
    prober.tell(Step::Connects);
    let first = prober.fresh().await;
    match first {
        Ok(client) => {
            report.name = client.name.as_ref().map(ToString::to_string);
            let offered = client.offers_tls;
            client.quit().await;
            let host = plan.host().map(str::to_owned).or_else(|| report.name.clone());
            let host = host.unwrap_or_else(|| plan.options.domain.to_string());
            let mut examination = Examination { plan, prober, sink, host };
            if offered {
                examination.start_tls(&tls, &mut report).await;
            } else {
                report.notes.push("STARTTLS is not offered".to_owned());
            }
            examination.rest(&mut report).await;
        }
        Err(trouble @ (Trouble::Connect(_) | Trouble::TimedOut(_))) => {
            return Err(Error::Reach {
                server: report.server,
                address: plan.address,
                why: trouble.to_string(),
            });
        }
        Err(trouble) => {
            report.stopped = Some(trouble.to_string());
            report.tests.extend(MAIL_TESTS.into_iter().filter(|&test| plan.has(test)).map(not_made));
        }
    }
    report.verdict = report.tests.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unsure);
    Ok(report)
}

struct Examination<'a> {
    plan: &'a Plan,
    prober: Prober<'a>,
    sink: Option<Sink>,
    /// The server's own name.
    host: String,
}

/// What a test found, and why it ended before its end.
type Found = (Finding, Option<Trouble>);

impl Examination<'_> {
    /// STARTTLS is tested, and used for what follows if it works.
    async fn start_tls(&mut self, config: &Arc<ClientConfig>, report: &mut Report) {
        if self.plan.has(Test::StartTls) {
            self.prober.tell(Step::Begins(Test::StartTls));
            let (verdict, summary) = match self.say_more_than_start_tls(config).await {
                Ok(found) => found,
                Err(trouble) => (Verdict::Unsure, trouble.to_string()),
            };
            report.tests.push(Finding { test: Test::StartTls, verdict, summary, checks: Vec::new() });
        }
        let way = Way { tls: Some(Arc::clone(config)), ..self.prober.way.clone() };
        match Client::open(&way).await {
            Ok(client) => {
                client.quit().await;
                report.tls = true;
                self.prober.use_tls(config);
            }
            Err(trouble) => report.notes.push(format!("the rest is tested without TLS: {trouble}")),
        }
    }

    async fn say_more_than_start_tls(
        &mut self,
        config: &Arc<ClientConfig>,
    ) -> Result<(Verdict, String), Trouble> {
        let mut client = self.prober.fresh().await?;
        let hasty = match client.begin_tls_hastily().await {
            Ok(None) => client,
            Ok(Some(reply)) => {
                return Ok((Verdict::Safe, format!("refused with a command behind it: {reply}")));
            }
            // Postfix' smtpd_forbid_unauth_pipelining
            Err(Trouble::Closing(reply)) => {
                return Ok((Verdict::Safe, format!("refused with a command behind it: {reply}")));
            }
            Err(Trouble::Closed) => {
                return Ok((Verdict::Safe, "closes the connection for a command behind it".to_owned()));
            }
            Err(trouble) => return Err(trouble),
        };
        let mut client = hasty.secure(config, &self.prober.way.server).await?;
        let reply = client.say("QUIT").await?;
        let (verdict, text) = judge::start_tls(&reply);
        Ok((verdict, format!("{text}: {reply}")))
    }

    /// All tests that need recipients, until the server wants no more.
    async fn rest(&mut self, report: &mut Report) {
        for test in MAIL_TESTS.into_iter().filter(|&test| self.plan.has(test)) {
            if report.stopped.is_some() {
                report.tests.push(not_made(test));
                continue;
            }
            self.prober.tell(Step::Begins(test));
            let (finding, trouble) = match test {
                Test::ReverseNdr => self.reverse_ndr().await,
                Test::Relay => self.relay().await,
                Test::Harvest | Test::StartTls => self.harvest().await,
            };
            report.tests.push(finding);
            report.stopped = trouble.map(|trouble| trouble.to_string());
        }
        self.prober.leave().await;
    }

    async fn reverse_ndr(&mut self) -> Found {
        let cast = self.plan.cast(&self.host);
        let (sender, recipient) = (cast.sender(0), cast.invented(Via::Domain, 0));
        let known = format!("<{}>", self.plan.known);
        let asked = async {
            let known = self.prober.ask(&sender, None, &known).await?;
            let invented = self.put(&sender, None, &recipient, 0).await?;
            Ok::<_, Trouble>((known, invented))
        };
        let (known, mut outcome) = match asked.await {
            Ok(outcomes) => outcomes,
            Err(trouble) => {
                let finding = Finding::of(Test::ReverseNdr, trouble.to_string(), Vec::new());
                return (finding, Some(trouble));
            }
        };
        self.learn([(0, &mut outcome)]).await;
        let check = check(sender, recipient, &outcome, judge::reverse_ndr(&outcome, known.is_taken()));
        let summary = match check.verdict {
            Verdict::Safe => "refuses a recipient who does not exist",
            Verdict::Vulnerable => "takes mail for a recipient who does not exist",
            Verdict::Unsure => "whether it takes mail for a recipient who does not exist",
        };
        (Finding::of(Test::ReverseNdr, summary.to_owned(), vec![check]), None)
    }

    async fn relay(&mut self) -> Found {
        let forms = self.plan.forms(&self.host);
        let mut outcomes = Vec::new();
        let mut controls = BTreeMap::new();
        let mut known = None;
        let asked = self.ask_to_relay(&forms, &mut controls, &mut known, &mut outcomes).await;
        self.learn((FIRST_FORM..).zip(&mut outcomes)).await;
        let cast = self.plan.cast(&self.host);
        let checks: Vec<Check> = forms
            .iter()
            .zip(&outcomes)
            .map(|(form, outcome)| {
                let control = controls.get(&form.via).copied().unwrap_or(Control::Unsure);
                let plain = form.sender == cast.sender(form.number);
                let judged = judge::relay(outcome, plain, form.via, control, known.as_ref());
                let before = if form.follows { format!("<{}> and ", self.plan.known) } else { String::new() };
                check(form.sender.clone(), format!("{before}{}", form.recipient), outcome, judged)
            })
            .collect();
        let count = |wanted: &dyn Fn(&Check) -> bool| checks.iter().filter(|check| wanted(check)).count();
        let mut summary = format!(
            "{} forms: {} refused, {} accepted",
            checks.len(),
            count(&|check| check.verdict == Verdict::Safe),
            outcomes.iter().filter(|outcome| outcome.is_taken()).count(),
        );
        if self.sink.is_some() {
            let delivered = count(&|check| check.message == Some(Fate::Delivered));
            let bounced = count(&|check| check.message == Some(Fate::Bounced));
            summary.push_str(&format!(", {delivered} delivered, {bounced} bounced"));
        }
        let mut finding = Finding::of(Test::Relay, summary, checks);
        if asked.is_err() {
            finding.verdict = finding.verdict.max(Verdict::Unsure);
            finding.summary.push_str(&format!(" (of {})", forms.len()));
        }
        (finding, asked.err())
    }

    /// The controls, then the forms; what was answered is kept also where it ends early.
    async fn ask_to_relay(
        &mut self,
        forms: &[Form],
        controls: &mut BTreeMap<Via, Control>,
        known_outcome: &mut Option<Outcome>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Trouble> {
        let known = format!("<{}>", self.plan.known);
        let sender = self.plan.cast(&self.host).sender(FIRST_CONTROL);
        *known_outcome = Some(self.prober.ask(&sender, None, &known).await?);
        for (via, number) in Via::OURS.into_iter().zip(FIRST_CONTROL..) {
            let cast = self.plan.cast(&self.host);
            let (sender, recipient) = (cast.sender(number), cast.invented(via, number));
            let outcome = self.prober.ask(&sender, None, &recipient).await?;
            controls.insert(via, Control::from(&outcome));
        }
        for form in forms {
            let before = form.follows.then_some(known.as_str());
            outcomes.push(self.put(&form.sender, before, &form.recipient, form.number).await?);
        }
        Ok(())
    }

    async fn harvest(&mut self) -> Found {
        let mut found = Guesses { known_is_special: self.plan.known_is_special(), ..Guesses::default() };
        let guessed = self.guess(&mut found).await;
        let (mut verdict, mut summary) = judge::harvest(&found);
        if let Err(trouble) = &guessed {
            verdict = verdict.max(Verdict::Unsure);
            summary = trouble.to_string();
        }
        let cast = self.plan.cast(&self.host);
        let sender = cast.sender(FIRST_GUESS);
        let known = format!("<{}>", self.plan.known);
        let line = |recipient: String, reply: &Reply| {
            check(sender.clone(), recipient, &Outcome::Answered(reply.clone()), (verdict, None))
        };
        let guess =
            |at: usize| cast.invented(Via::Domain, FIRST_GUESS + u32::try_from(at).unwrap_or_default());
        let mut checks: Vec<Check> = found.known.iter().map(|reply| line(known.clone(), reply)).collect();
        checks.extend(found.answers.first().map(|(reply, _)| line(guess(0), reply)));
        let last = found.answers.len().saturating_sub(1);
        checks
            .extend(found.answers.get(last).filter(|_| last > 0).map(|(reply, _)| line(guess(last), reply)));
        checks.extend(found.known_after.iter().map(|reply| line(known.clone(), reply)));
        (Finding { test: Test::Harvest, verdict, summary, checks }, guessed.err())
    }

    /// One who exists, many who do not, and the first one again. A connection that the server ends is what we look for.
    async fn guess(&mut self, found: &mut Guesses) -> Result<(), Trouble> {
        let known = format!("RCPT TO:<{}>", self.plan.known);
        let mut client = self.begin().await?;
        self.prober.pace().await;
        found.known = Some(client.say(&known).await?);
        if !found.known.as_ref().is_some_and(is_yes) {
            client.quit().await;
            return Ok(());
        }
        let mut is_new = false;
        for number in 0..self.plan.options.guesses {
            self.prober.pace().await;
            let guess = self.plan.cast(&self.host).invented(Via::Domain, FIRST_GUESS + number);
            let begun = Instant::now();
            let trouble = match client.say(&format!("RCPT TO:{guess}")).await {
                Ok(reply) => {
                    let takes_all = found.answers.is_empty() && is_yes(&reply);
                    if is_new {
                        found.anew = Some(reply.clone());
                    }
                    is_new = false;
                    found.answers.push((reply, begun.elapsed()));
                    if takes_all {
                        client.quit().await;
                        return Ok(());
                    }
                    continue;
                }
                Err(trouble) => trouble,
            };
            found.ended += 1;
            let ends_at_once = is_new;
            if let (true, Trouble::Closing(reply)) = (is_new, &trouble) {
                found.anew = Some(reply.clone());
            }
            client = match self.begin().await {
                Ok(client) => client,
                Err(trouble) => {
                    found.shut_out = Some(trouble.to_string());
                    return Ok(());
                }
            };
            is_new = true;
            if ends_at_once || found.ended >= CONNECTIONS {
                break;
            }
        }
        self.prober.pace().await;
        match client.say(&known).await {
            Ok(reply) | Err(Trouble::Closing(reply)) => found.known_after = Some(reply),
            Err(trouble) => found.shut_out = Some(trouble.to_string()),
        }
        client.quit().await;
        Ok(())
    }

    /// A new connection with a transaction begun.
    async fn begin(&mut self) -> Result<Client, Trouble> {
        let mut client = self.prober.fresh().await?;
        let sender = self.plan.cast(&self.host).sender(FIRST_GUESS);
        let reply = client.say(&format!("MAIL FROM:{sender}")).await?;
        if is_yes(&reply) { Ok(client) } else { Err(Trouble::Senders(reply)) }
    }

    /// Asks for a recipient, with a message where there is a sink.
    async fn put(
        &mut self,
        sender: &str,
        before: Option<&str>,
        recipient: &str,
        number: u32,
    ) -> Result<Outcome, Trouble> {
        match self.sink {
            Some(_) => self.prober.send(sender, before, recipient, number).await,
            None => self.prober.ask(sender, before, recipient).await,
        }
    }

    /// Waits for what becomes of the messages, and writes it down.
    async fn learn<'o>(&mut self, outcomes: impl IntoIterator<Item = (u32, &'o mut Outcome)>) {
        let Some(sink) = &self.sink else { return };
        let mut sent: Vec<(u32, &mut Fate)> = Vec::new();
        for (number, outcome) in outcomes {
            if let Outcome::Sent(_, fate) = outcome {
                sent.push((number, fate));
            }
        }
        if sent.is_empty() {
            return;
        }
        // A server has nothing of us while it waits for a bounce to be made.
        self.prober.leave().await;
        let numbers: Vec<u32> = sent.iter().map(|(number, _)| *number).collect();
        self.prober.tell(Step::Waits(self.plan.options.wait));
        sink.wait(&numbers, self.plan.options.wait).await;
        for (number, fate) in sent {
            *fate = sink.fate(number);
        }
    }
}

fn check(sender: String, recipient: String, outcome: &Outcome, (verdict, note): Judged) -> Check {
    let reply = match outcome {
        Outcome::Lost(error) => error.clone(),
        outcome => outcome.reply().map(ToString::to_string).unwrap_or_default(),
    };
    let message = match outcome {
        Outcome::Sent(_, fate) => Some(*fate),
        _ => None,
    };
    Check { verdict, sender, recipient, reply, code: outcome.reply().map(|reply| reply.code), message, note }
}

fn not_made(test: Test) -> Finding {
    Finding::of(test, "not tested".to_owned(), Vec::new())
}

fn server_name(plan: &Plan) -> ServerName<'static> {
    let name = plan.host().and_then(|name| ServerName::try_from(name.to_owned()).ok());
    name.unwrap_or_else(|| ServerName::from(SocketAddr::ip(&plan.address)))
}

const MAIL_TESTS: [Test; 3] = [Test::ReverseNdr, Test::Relay, Test::Harvest];
/// That the server may end while we guess.
const CONNECTIONS: u32 = 5;
