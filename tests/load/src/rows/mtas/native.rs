//! Postfix with a milter on a unix socket against Postfix with a map of its own: sessions a second, and CPU time of all of
//! Postfix' processes and the milter. Each round drives them one after the other, and ratios are those within a round.

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::{Milter, Mta, Setting, Site};
use crate::measure::{cpu, tree};
use crate::peers::{Peer, Running, Start, floor};
use crate::smtp::Load;
use crate::{Endpoint, Error, Transport};

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Postfix, `relay_recipient_maps = lmdb:…`
    Native,
    /// The floor.
    Floor,
    /// The filter on libmilter.
    Libmilter,
    /// Backstop.
    Backstop,
}

/// What one of them did in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Sessions a second.
    pub rate: f64,
    /// CPU time of Postfix for each session.
    pub mta: Duration,
    /// CPU time of the milter for each session.
    pub milter: Duration,
}

/// All rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison(Vec<[Round; Subject::ALL.len()]>);

/// Drives `rounds` rounds of `sessions` sessions with each of them: messages, or recipients who do not exist.
///
/// # Errors
/// What does not start, or is answered wrongly.
pub fn compare(setting: &Setting, is_good: bool, rounds: usize, sessions: u64) -> Result<Comparison, Error> {
    let sites = Subject::ALL.map(|subject| Pair::start(subject, is_good, setting));
    let sites = sites.into_iter().collect::<Result<Vec<_>, _>>()?;
    let load = |sessions| if is_good { Load::good } else { Load::attack }(setting.count, sessions);
    // What comes first pays for what is kept, and starts Postfix' processes.
    let mut load = Load { sessions: sessions.div_ceil(4), ..load(sessions) };
    for site in &sites {
        site.round(&load)?;
    }
    load = Load { sessions, ..load.next() };
    let mut found = Vec::new();
    for _ in 0..rounds {
        let round = sites.iter().map(|site| site.round(&load)).collect::<Result<Vec<_>, _>>()?;
        found.extend(<[Round; Subject::ALL.len()]>::try_from(round));
        load = load.next();
    }
    Ok(Comparison(found))
}

/// An MTA and its milter.
struct Pair {
    site: Site,
    milter: Option<Running>,
}

impl Pair {
    fn start(subject: Subject, is_good: bool, setting: &Setting) -> Result<Self, Error> {
        let peer = match subject {
            Subject::Native => {
                return Ok(Self { site: Site::start(Mta::Postfix, Milter::Native, setting)?, milter: None });
            }
            Subject::Floor if is_good => Peer::Floor(floor::Answer::Accept),
            Subject::Floor => Peer::Floor(floor::Answer::Refuse),
            Subject::Libmilter => Peer::Libmilter,
            Subject::Backstop => Peer::backstop(&setting.program),
        };
        let milter = peer.start(&Start {
            transport: Transport::Unix,
            addresses: &setting.addresses,
            launcher: setting.pinned.clone(),
            within: Duration::from_secs(180),
        })?;
        permit(&milter)?;
        let site = Site::start(Mta::Postfix, Milter::At(milter.endpoint()), setting)?;
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
        let sessions = u32::try_from(load.sessions).unwrap_or(u32::MAX);
        let each = |before: Duration, after: Duration| after.saturating_sub(before) / sessions;
        Ok(Round {
            rate: outcome.rate(),
            mta: each(before.0, after.0),
            milter: each(before.1, after.1),
        })
    }
}

/// Postfix' smtpd is a user of its own, and the socket one in which anybody may ask.
fn permit(milter: &Running) -> Result<(), Error> {
    let Endpoint::Unix(path) = milter.endpoint() else { return Ok(()) };
    let everybody = Permissions::from_mode(0o666);
    fs::set_permissions(path, everybody).map_err(Error::io(path.display().to_string()))
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Native, Self::Floor, Self::Libmilter, Self::Backstop];
}

impl Comparison {
    /// The median of one's sessions a second.
    #[must_use]
    pub fn rate(&self, of: Subject) -> f64 {
        self.median(|round| round[of as usize].rate)
    }

    /// The median of one's CPU time for a session, in seconds: Postfix', and its own.
    #[must_use]
    pub fn cpu(&self, of: Subject) -> (f64, f64) {
        let mta = self.median(|round| round[of as usize].mta.as_secs_f64());
        (mta, self.median(|round| round[of as usize].milter.as_secs_f64()))
    }

    /// The median of the ratios of two's sessions a second.
    #[must_use]
    pub fn rates(&self, of: Subject, to: Subject) -> f64 {
        self.median(|round| round[of as usize].rate / round[to as usize].rate)
    }

    /// The median of the ratios of two's CPU times.
    #[must_use]
    pub fn costs(&self, of: Subject, to: Subject) -> f64 {
        let all = |round: Round| (round.mta + round.milter).as_secs_f64();
        self.median(|round| all(round[of as usize]) / all(round[to as usize]))
    }

    fn median(&self, value: impl Fn(&[Round; Subject::ALL.len()]) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for subject in Subject::ALL {
            let (mta, milter) = self.cpu(subject);
            writeln!(
                f,
                "{:10} {:6.0} sessions/s, {:.3} x floor; CPU {:6.1} + {:5.1} us, {:.3} x floor, {:.3} x native",
                format!("{subject:?}"),
                self.rate(subject),
                self.rates(subject, Subject::Floor),
                mta * 1e6,
                milter * 1e6,
                self.costs(subject, Subject::Floor),
                self.costs(subject, Subject::Native),
            )?;
        }
        Ok(())
    }
}
