//! Asks for recipients, one transaction each: slowly, on connections that are given up before the server has to, and never again
//! when it wants no more.

use std::{sync::Arc, time::Duration};

use jiff::{Zoned, fmt::rfc2822};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep_until};

use super::{
    client::{Client, Trouble, Way},
    judge::{Outcome, is_no, is_yes},
    plan::Plan,
    report::{Fate, Test},
};
use crate::net::smtp_reply::Reply;

/// Whoever is to be told of each step.
pub(super) type Progress<'a> = &'a mut (dyn FnMut(Step) + Send);

/// What is done next, for who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The server is connected to.
    Connects,
    /// A test begins.
    Begins(Test),
    /// A recipient is asked for.
    Asks,
    /// It is waited for what comes back, so long at most.
    Waits(Duration),
}

/// Asks, and knows when to stop.
pub(super) struct Prober<'a> {
    pub(super) plan: &'a Plan,
    pub(super) way: Way,
    progress: Progress<'a>,
    client: Option<Client>,
    /// On this connection.
    refused: u32,
    /// Connections that ended before we ended them.
    lost: u32,
    /// Senders refused in a row.
    senders: u32,
    next: Instant,
}

impl<'a> Prober<'a> {
    pub(super) fn new(plan: &'a Plan, way: Way, progress: Progress<'a>) -> Self {
        Self { plan, way, progress, client: None, refused: 0, lost: 0, senders: 0, next: Instant::now() }
    }

    /// Tells who watches.
    pub(super) fn tell(&mut self, step: Step) {
        (self.progress)(step);
    }

    /// STARTTLS from now on.
    pub(super) fn use_tls(&mut self, config: &Arc<ClientConfig>) {
        self.way.tls = Some(Arc::clone(config));
    }

    /// Asks for one recipient, after another one if there is one before. `Err`: the server wants no more.
    pub(super) async fn ask(
        &mut self,
        sender: &str,
        before: Option<&str>,
        recipient: &str,
    ) -> Result<Outcome, Trouble> {
        let outcome = self.step(sender, before, recipient, None).await;
        self.settle(outcome).await
    }

    /// The same, and hands a message over where the recipient is accepted.
    pub(super) async fn send(
        &mut self,
        sender: &str,
        before: Option<&str>,
        recipient: &str,
        number: u32,
    ) -> Result<Outcome, Trouble> {
        let outcome = self.step(sender, before, recipient, Some(number)).await;
        self.settle(outcome).await
    }

    /// Waits for its turn.
    pub(super) async fn pace(&mut self) {
        sleep_until(self.next).await;
        self.next = Instant::now() + self.plan.pause();
        self.tell(Step::Asks);
    }

    /// A connection of one's own, after the one that may be open.
    pub(super) async fn fresh(&mut self) -> Result<Client, Trouble> {
        self.leave().await;
        Client::open(&self.way).await
    }

    pub(super) async fn leave(&mut self) {
        self.refused = 0;
        if let Some(client) = self.client.take() {
            client.quit().await;
        }
    }

    async fn step(
        &mut self,
        sender: &str,
        before: Option<&str>,
        recipient: &str,
        message: Option<u32>,
    ) -> Result<Outcome, Trouble> {
        self.pace().await;
        if self.refused >= REFUSED {
            self.leave().await;
        }
        let mut client = match self.client.take() {
            Some(mut client) => match client.say("RSET").await {
                Ok(_) => client,
                // Nothing was asked yet: it was not what we ask now.
                Err(Trouble::Closed | Trouble::Broken(_)) => Client::open(&self.way).await?,
                Err(trouble) => return Err(trouble),
            },
            None => Client::open(&self.way).await?,
        };
        let outcome = self.talk(&mut client, sender, before, recipient, message).await?;
        self.client = Some(client);
        Ok(outcome)
    }

    async fn talk(
        &self,
        client: &mut Client,
        sender: &str,
        before: Option<&str>,
        recipient: &str,
        message: Option<u32>,
    ) -> Result<Outcome, Trouble> {
        let reply = client.say(&format!("MAIL FROM:{sender}")).await?;
        if !is_yes(&reply) {
            return Ok(Outcome::NoSender(reply));
        }
        if let Some(before) = before {
            let reply = client.say(&format!("RCPT TO:{before}")).await?;
            if !is_yes(&reply) {
                return Ok(Outcome::NotBefore(reply));
            }
        }
        let reply = client.say(&format!("RCPT TO:{recipient}")).await?;
        let Some(number) = message.filter(|_| is_yes(&reply)) else { return Ok(Outcome::Answered(reply)) };
        let reply = client.say("DATA").await?;
        if reply.code != 354 {
            return Ok(Outcome::Later(reply));
        }
        let reply = client.message(&self.message(number)).await?;
        Ok(if is_yes(&reply) { Outcome::Sent(reply, Fate::Vanished) } else { Outcome::Later(reply) })
    }

    /// What a lost connection, or a refused sender, means for what follows.
    async fn settle(&mut self, outcome: Result<Outcome, Trouble>) -> Result<Outcome, Trouble> {
        match outcome {
            Ok(outcome) => {
                self.refused += u32::from(outcome.reply().is_some_and(is_refusal));
                self.senders = if matches!(outcome, Outcome::NoSender(_)) { self.senders + 1 } else { 0 };
                match outcome {
                    Outcome::NoSender(reply) if self.senders >= SENDERS => Err(Trouble::Senders(reply)),
                    outcome => Ok(outcome),
                }
            }
            Err(
                trouble
                @ (Trouble::Connect(_) | Trouble::Closing(_) | Trouble::Greeting(_) | Trouble::Tls(_)),
            ) => Err(trouble),
            Err(trouble) => {
                self.refused = 0;
                self.lost += 1;
                if self.lost >= LOST { Err(trouble) } else { Ok(Outcome::Lost(trouble.to_string())) }
            }
        }
    }

    /// A message that says what it is.
    fn message(&self, number: u32) -> String {
        let Plan { run, foreign, options, .. } = self.plan;
        let helo = self.way.helo.as_ref().map_or("backstop-probe", |name| name.as_str());
        let date = rfc2822::to_string(&Zoned::now()).unwrap_or_default();
        let target = &options.target;
        format!(
            "Date: {date}\n\
             From: Test of a mail server <backstopprobe{run}f{number:02}@{foreign}>\n\
             To: undisclosed-recipients:;\n\
             Message-ID: <{run}.{number}@{helo}>\n\
             Subject: Test of the mail server {target} ({run}/{number})\n\
             X-Backstop-Probe: {run}/{number} by {helo}\n\
             MIME-Version: 1.0\n\
             Content-Type: text/plain; charset=us-ascii\n\
             \n\
             Somebody at {helo} tests whether {target} relays mail for strangers or bounces\n\
             mail for recipients who do not exist. If you can read this, it may.\n\
             This message can be thrown away.\n"
        )
    }
}

fn is_refusal(reply: &Reply) -> bool {
    is_no(reply) || (400..500).contains(&reply.code)
}

/// Refusals on a connection: Postfix slows down after ten (`smtpd_soft_error_limit`).
const REFUSED: u32 = 8;
/// Connections that the server may end before it is left alone.
const LOST: u32 = 3;
/// Senders in a row that it may refuse.
const SENDERS: u32 = 10;
