//! What is going to be sent: told before it is, and nothing else is sent.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};

use super::{
    Error,
    forms::{Cast, Form, Via, forms},
    report::Test,
    target::{Host, Target},
};
use crate::{
    address::{Address, Domain, is_postmaster},
    net::Resolver,
};

/// What to test, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server.
    pub target: Target,
    /// A domain that it takes mail for.
    pub domain: Domain,
    /// Somebody who exists there; `None`: postmaster.
    pub known: Option<Address>,
    /// A domain that it does not take mail for, and that is the tester's; `None`: the sink's address, or example.com.
    pub foreign: Option<Domain>,
    /// Who we say we are; `None`: this host's name.
    pub helo: Option<Domain>,
    /// Connect from this address of this host; `None`: the system chooses.
    pub source: Option<IpAddr>,
    /// Where to receive what is relayed or bounced. Without it no message is sent.
    pub sink: Option<SocketAddr>,
    /// How long to wait for that.
    pub wait: Duration,
    /// Only these tests; none: all.
    pub only: Vec<Test>,
    /// So many invented recipients for [`Test::Harvest`].
    pub guesses: u32,
    /// So many recipients a minute, at most; not 0.
    pub rate: u32,
}

/// What is going to be sent, to whom. To be shown before [`super::run`].
#[derive(Debug)]
pub struct Plan {
    pub(super) options: Options,
    pub(super) address: SocketAddr,
    pub(super) foreign: Domain,
    pub(super) known: Address,
    pub(super) helo: Option<Domain>,
    pub(super) run: String,
}

impl Plan {
    /// Looks the server's address up; sends nothing to it.
    ///
    /// # Errors
    /// [`Error`]: it has no address, or the options contradict each other.
    ///
    /// # Panics
    /// Never: the names that it makes up are valid.
    pub async fn make(options: Options) -> Result<Self, Error> {
        let ip = match &options.target.host {
            Host::Address(address) => *address,
            Host::Name(name) => {
                let found = Resolver::default().addresses(name.as_str()).await?;
                let v4 = options.source.is_none_or(|source| source.is_ipv4());
                let first = found.iter().find(|address| address.is_ipv4() == v4);
                *first.or(found.first()).ok_or(Error::NoAddress)?
            }
        };
        let foreign = match (&options.foreign, options.sink) {
            (Some(domain), _) => domain.clone(),
            (None, Some(sink))
                if sink.ip().is_unspecified() || sink.ip().is_loopback() || sink.port() != 25 =>
            {
                return Err(Error::Foreign);
            }
            (None, Some(sink)) => Domain::from(sink.ip()),
            (None, None) => Domain::parse(EXAMPLE).expect("it is a domain"),
        };
        if foreign == options.domain {
            return Err(Error::SameDomain);
        }
        let known = match &options.known {
            Some(address) => address.clone(),
            None => Address::new("postmaster", &options.domain).expect("postmaster is a local part"),
        };
        if *known.domain() != options.domain {
            return Err(Error::Known);
        }
        let address = SocketAddr::new(ip, options.target.port);
        let helo = options.helo.clone().or_else(own_name);
        Ok(Self { address, foreign, known, helo, run: run_id()?, options })
    }

    /// Whether the test is to be made.
    pub(super) fn has(&self, test: Test) -> bool {
        self.options.only.is_empty() || self.options.only.contains(&test)
    }

    /// The recipient who exists is one whom servers answer for in any case.
    pub(super) fn known_is_special(&self) -> bool {
        is_postmaster(self.known.local())
    }

    pub(super) fn cast<'a>(&'a self, host: &'a str) -> Cast<'a> {
        Cast {
            foreign: &self.foreign,
            domain: &self.options.domain,
            host,
            address: self.address.ip(),
            run: &self.run,
        }
    }

    /// The server's name as far as it is known without asking it.
    pub(super) fn host(&self) -> Option<&str> {
        match &self.options.target.host {
            Host::Name(name) => Some(name.as_str()),
            Host::Address(_) => None,
        }
    }

    /// The ways to ask for relaying, of a server that is called so.
    pub(super) fn forms(&self, host: &str) -> Vec<Form> {
        forms(&self.cast(host), FIRST_FORM)
    }

    /// How many recipients are asked for, at most.
    #[must_use]
    pub fn recipients(&self) -> u64 {
        let forms = self.forms(self.host().unwrap_or(ITS_NAME)).len();
        let tests = [
            (Test::ReverseNdr, 2),
            (Test::Relay, forms + Via::OURS.len() + 1),
            (Test::Harvest, usize::try_from(self.options.guesses).unwrap_or(usize::MAX) + 2),
        ];
        tests.iter().filter(|(test, _)| self.has(*test)).map(|(_, count)| *count as u64).sum()
    }

    /// The least time between two recipients.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs(60) / self.options.rate.max(1)
    }
}

/// For a person, on several lines.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { target, domain, sink, guesses, rate, .. } = &self.options;
        let host = self.host().unwrap_or(ITS_NAME);
        let cast = self.cast(host);
        let helo = self.helo.as_ref().map_or("[our address]", Domain::as_str);
        writeln!(f, "To {target} ({}), as EHLO {helo}, test {}:", self.address, self.run)?;
        if self.has(Test::StartTls) {
            writeln!(f, "starttls: if it is offered, NOOP behind STARTTLS, in clear")?;
        }
        let message = if sink.is_some() { ", and a message where it is accepted" } else { "" };
        if self.has(Test::ReverseNdr) {
            writeln!(f, "reverse-ndr: MAIL FROM:{}{message}", cast.sender(0))?;
            writeln!(f, "  RCPT TO:<{}>, without a message", self.known)?;
            writeln!(f, "  RCPT TO:{}", cast.invented(Via::Domain, 0))?;
        }
        if self.has(Test::Relay) {
            let forms = self.forms(host);
            writeln!(f, "relay: {} forms{message}", forms.len())?;
            for form in &forms {
                let before = if form.follows { format!(" RCPT TO:<{}>", self.known) } else { String::new() };
                writeln!(f, "  MAIL FROM:{}{before} RCPT TO:{}", form.sender, form.recipient)?;
            }
            writeln!(f, "  and without a message, to compare:")?;
            writeln!(f, "  RCPT TO:<{}>", self.known)?;
            for (via, number) in Via::OURS.into_iter().zip(FIRST_CONTROL..) {
                writeln!(f, "  RCPT TO:{}", cast.invented(via, number))?;
            }
        }
        if self.has(Test::Harvest) {
            writeln!(f, "harvest: no message; up to {guesses} recipients who do not exist, like")?;
            writeln!(f, "  RCPT TO:{}", cast.invented(Via::Domain, FIRST_GUESS))?;
            writeln!(f, "  and before and after RCPT TO:<{}>", self.known)?;
            writeln!(f, "  The server may block this host for it, for a time.")?;
        }
        match sink {
            Some(sink) => writeln!(f, "What comes for {} is received at {sink}.", self.foreign)?,
            None => writeln!(f, "No message is sent: there is no --sink to receive what becomes of it.")?,
        }
        let seconds = self.recipients() * 60 / u64::from(*rate).max(1);
        writeln!(
            f,
            "{} recipients in {domain} and elsewhere, {rate} a minute: {seconds} s at least.",
            self.recipients()
        )
    }
}

/// This host's name, where it is one that means something elsewhere.
fn own_name() -> Option<Domain> {
    let name = nix::unistd::gethostname().ok()?;
    let name = Domain::parse(name.to_str()?).ok()?;
    (name.as_str().is_ascii() && name.as_str().contains('.')).then_some(name)
}

/// Six letters.
fn run_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 6];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

const EXAMPLE: &str = "example.com";
/// Until the server has said how it is called.
const ITS_NAME: &str = "ITS.OWN.NAME";
pub(super) const FIRST_FORM: u32 = 10;
pub(super) const FIRST_CONTROL: u32 = 90;
pub(super) const FIRST_GUESS: u32 = 100;
