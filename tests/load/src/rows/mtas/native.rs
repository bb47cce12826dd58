//! Postfix with a milter on a unix socket against Postfix with a map of its own: sessions a second, and CPU time of all of
//! Postfix' processes and the milter. Each round drives them one after the other, and ratios are those within a round.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::site::{Milter, Mta, Site};
use crate::measure::{cpu, tree};
use crate::peers::{Peer, Running, Start, floor};
use crate::rows::{Bench, Row, median};
use crate::smtp::Load;
use crate::{Endpoint, Error, Transport};

pub(in crate::rows) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for is_good in [false, true] {
        let found = Comparison::measure(bench, is_good)?;
        let kind = if is_good { "good mail" } else { "attack" };
        let name = |what: &str| format!("Postfix, unix socket, {kind}: {what}");
        let rate = found.ratio(Subject::Backstop, Subject::Floor, |round| round.rate);
        let cost = found.ratio(Subject::Backstop, Subject::Floor, Round::cpu);
        rows.push(Row::new(name("sessions/s, to the floor's"), rate, "×").at_least(0.97).note(found.rates()));
        let cost = Row::new(name("CPU time of Postfix and milter, to the floor's"), cost, "×");
        rows.push(if is_good { cost } else { cost.at_most(1.05) }.note(found.costs()));
    }
    Ok(rows)
}

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// Postfix, `relay_recipient_maps = lmdb:…`
    Native,
    Floor,
    Libmilter,
    Backstop,
}

/// What one of them did in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    /// Sessions a second.
    rate: f64,
    /// CPU time of Postfix for each session, in microseconds.
    mta: f64,
    /// CPU time of the milter for each session, in microseconds.
    milter: f64,
}

/// All rounds.
struct Comparison(Vec<[Round; Subject::ALL.len()]>);

impl Round {
    fn cpu(&self) -> f64 {
        self.mta + self.milter
    }
}

impl Subject {
    const ALL: [Self; 4] = [Self::Native, Self::Floor, Self::Libmilter, Self::Backstop];
}

impl Comparison {
    /// Messages, or recipients who do not exist.
    fn measure(bench: &Bench, is_good: bool) -> Result<Self, Error> {
        let sites = Subject::ALL.map(|subject| Pair::start(subject, is_good, bench));
        let sites = sites.into_iter().collect::<Result<Vec<_>, _>>()?;
        let load = if is_good { Load::good } else { Load::attack };
        // What comes first pays for what is kept, and starts Postfix' processes.
        let mut load = load(bench.addresses, WARM);
        for site in &sites {
            site.round(&load)?;
        }
        load = Load { sessions: SESSIONS, ..load.next() };
        let mut found = Vec::new();
        for _ in 0..bench.rounds {
            let round = sites.iter().map(|site| site.round(&load)).collect::<Result<Vec<_>, _>>()?;
            found.extend(<[Round; Subject::ALL.len()]>::try_from(round));
            load = load.next();
        }
        Ok(Self(found))
    }

    /// The median of the ratios of two within a round.
    fn ratio(&self, of: Subject, to: Subject, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.0.iter().map(|round| value(&round[of as usize]) / value(&round[to as usize])).collect())
    }

    fn median(&self, of: Subject, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.0.iter().map(|round| value(&round[of as usize])).collect())
    }

    fn rates(&self) -> String {
        let each = Subject::ALL.map(|subject| {
            let rate = self.median(subject, |round| round.rate);
            let ratio = self.ratio(subject, Subject::Native, |round| round.rate);
            format!("{subject:?} {rate:.0} ({ratio:.3} × native)")
        });
        each.join(", ")
    }

    fn costs(&self) -> String {
        let each = Subject::ALL.map(|subject| {
            let mta = self.median(subject, |round| round.mta);
            let milter = self.median(subject, |round| round.milter);
            let ratio = self.ratio(subject, Subject::Native, Round::cpu);
            format!("{subject:?} {mta:.0} + {milter:.0} µs ({ratio:.3} × native)")
        });
        each.join(", ")
    }
}

/// An MTA and its milter.
struct Pair {
    site: Site,
    milter: Option<Running>,
}

impl Pair {
    fn start(subject: Subject, is_good: bool, bench: &Bench) -> Result<Self, Error> {
        let peer = match subject {
            Subject::Native => {
                return Ok(Self { site: Site::start(Mta::Postfix, Milter::Native, bench)?, milter: None });
            }
            Subject::Floor if is_good => Peer::Floor(floor::Answer::Accept),
            Subject::Floor => Peer::Floor(floor::Answer::Refuse),
            Subject::Libmilter => Peer::Libmilter,
            Subject::Backstop => Peer::installed(&bench.program),
        };
        // As its unit has it (deploy/systemd): CPUSchedulingPolicy=batch.
        let scheduled: &[&str] = if subject == Subject::Backstop { &["chrt", "--batch", "0"] } else { &[] };
        let launcher =
            bench.pinned.iter().cloned().chain(scheduled.iter().map(ToString::to_string)).collect();
        let milter = peer.start(&Start {
            transport: Transport::Unix,
            addresses: &bench.people()?,
            launcher,
            within: Duration::from_secs(180),
        })?;
        permit(&milter)?;
        let site = Site::start(Mta::Postfix, Milter::At(milter.endpoint()), bench)?;
        Ok(Self { site, milter: Some(milter) })
    }

    fn round(&self, load: &Load) -> Result<Round, Error> {
        let time = || -> Result<_, Error> {
            let mta = self.site.pid().map_or(Ok(Duration::ZERO), tree::time)?;
            let milter = self.milter.as_ref().map_or(Ok(Duration::ZERO), |milter| cpu::time(milter.pid()))?;
            Ok((mta, milter))
        };
        let before = time()?;
        let outcome = load.drive(self.site.target)?;
        if load.deliver {
            self.site.settle();
        }
        let after = time()?;
        let each = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / load.sessions as f64
        };
        Ok(Round { rate: outcome.rate(), mta: each(before.0, after.0), milter: each(before.1, after.1) })
    }
}

/// Postfix' smtpd is a user of its own, and the socket one in which anybody may ask.
fn permit(milter: &Running) -> Result<(), Error> {
    let Endpoint::Unix(path) = milter.endpoint() else { return Ok(()) };
    let everybody = Permissions::from_mode(0o666);
    fs::set_permissions(path, everybody).map_err(Error::io(path.display().to_string()))
}

/// Of each in a round.
const SESSIONS: u64 = 2000;

/// Before the first round.
const WARM: u64 = 500;
