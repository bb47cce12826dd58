//! An MTA with or without a milter, as it is measured.

use std::fs;
use std::path::Path;

use backstop_harness::{Postfix, Sendmail, Sink, TempDir};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::people::DOMAINS;
use crate::rows::Bench;
use crate::smtp::Target;
use crate::{Endpoint, Error};

/// Which MTA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mta {
    /// Postfix, which discards what it has accepted.
    Postfix,
    /// Sendmail, which relays it to a sink.
    Sendmail,
}

/// Who refuses recipients.
#[derive(Debug, Clone, Copy)]
pub(super) enum Milter<'a> {
    /// Nobody.
    None,
    /// The MTA itself, by a map of all who exist (only Postfix, `relay_recipient_maps = lmdb:…`).
    Native,
    /// The milter that listens there.
    At(&'a Endpoint),
}

/// A running MTA. It ends with the value.
#[derive(Debug)]
pub(super) struct Site {
    /// Where its clients find it.
    pub(super) target: Target,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Postfix(Postfix, #[expect(dead_code, reason = "it goes with the value")] TempDir),
    Sendmail(
        #[expect(dead_code, reason = "it ends with the value")] Sendmail,
        #[expect(dead_code, reason = "it ends with the value")] Sink,
    ),
}

impl Site {
    /// Starts it on the servers' CPU.
    ///
    /// # Errors
    /// When the addresses can't be read, or the CPU not be had.
    ///
    /// # Panics
    /// When it does not start.
    pub(super) fn start(mta: Mta, milter: Milter<'_>, bench: &Bench) -> Result<Self, Error> {
        let map = match milter {
            Milter::Native => Some(map(&bench.people()?)?),
            Milter::None | Milter::At(_) => None,
        };
        on_their_cpu(&bench.pinned, || match mta {
            Mta::Postfix => Self::postfix(milter, map.as_deref()),
            Mta::Sendmail => Self::sendmail(milter),
        })
    }

    /// Postfix' master; `None` for another MTA.
    #[must_use]
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.running {
            Running::Postfix(postfix, _) => Some(postfix.pid()),
            Running::Sendmail(..) => None,
        }
    }

    /// Waits until nothing is under way any more.
    ///
    /// # Panics
    /// When something is after a minute.
    pub(super) fn settle(&self) {
        if let Running::Postfix(postfix, _) = &self.running {
            postfix.wait_for_empty_queue();
        }
    }

    fn postfix(milter: Milter<'_>, map: Option<&str>) -> Self {
        let queue = TempDir::in_memory("queue");
        let mut builder = Postfix::builder().main(&format!(
            "queue_directory = {queue}\n\
             relay_domains = {domains}\n\
             relay_transport = discard:\n\
             smtpd_peername_lookup = no\n\
             smtpd_upstream_proxy_protocol = haproxy",
            queue = queue.path().display(),
            domains = DOMAINS.join(" "),
        ));
        if let Milter::At(endpoint) = milter {
            builder = builder.milter(&endpoint.to_string());
        }
        if let Some(map) = map {
            builder = builder
                .map("lmdb", "relay_recipients", map)
                .main("relay_recipient_maps = lmdb:$config_directory/relay_recipients");
        }
        let postfix = builder.start();
        let address = ([127, 0, 0, 1], postfix.port()).into();
        let refuses = !matches!(milter, Milter::None);
        Site {
            target: Target { address, is_proxied: true, refuses },
            running: Running::Postfix(postfix, queue),
        }
    }

    fn sendmail(milter: Milter<'_>) -> Self {
        let sink = Sink::start();
        let mut builder = Sendmail::builder()
            .relay_domains(&DOMAINS)
            .next_hop(sink.port())
            .mc("define(`confSAFE_QUEUE', `False')dnl");
        if let Milter::At(endpoint) = milter {
            builder = builder.milter(&endpoint.for_libmilter());
        }
        let sendmail = builder.start();
        let refuses = !matches!(milter, Milter::None);
        Site {
            target: Target { address: sendmail.ipv4(), is_proxied: false, refuses },
            running: Running::Sendmail(sendmail, sink),
        }
    }
}

/// The addresses as Postfix wants a map: each with a value.
fn map(addresses: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(addresses).map_err(Error::io(addresses.display().to_string()))?;
    Ok(text.replace('\n', " ok\n"))
}

/// What is started meanwhile is kept to the CPU that the words name; the harness starts MTAs without such words.
fn on_their_cpu<T>(pinned: &[String], start: impl FnOnce() -> T) -> Result<T, Error> {
    let Some(cpu) = pinned.last().and_then(|cpu| cpu.parse().ok()) else { return Ok(start()) };
    let failed = |error: rustix::io::Errno| Error::io("CPUs")(error.into());
    let own = sched_getaffinity(None).map_err(failed)?;
    let mut theirs = CpuSet::new();
    theirs.set(cpu);
    sched_setaffinity(None, &theirs).map_err(failed)?;
    let started = start();
    sched_setaffinity(None, &own).map_err(failed)?;
    Ok(started)
}
