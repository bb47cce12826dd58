//! Whether anybody waits for a delayed acknowledgement (40 ms on Linux): each command of a session through Postfix and
//! Sendmail, over TCP and a unix socket, against the same MTA without a milter, whose late answers are the host's noise.

use std::fmt;
use std::time::Duration;

use backstop_harness::TempDir;

use super::{Milter, Mta, Setting, Site};
use crate::peers::{Peer, Start};
use crate::smtp::{Load, Step, Steps};
use crate::{Endpoint, Error, Transport};

/// What clients of one MTA waited for.
#[derive(Debug, Clone)]
pub struct Stalls {
    /// Which MTA.
    pub mta: Mta,
    /// How it is connected with Backstop.
    pub transport: Transport,
    /// With messages, or recipients who do not exist.
    pub is_good: bool,
    /// Sessions; as many were driven without a milter.
    pub sessions: u64,
    /// With Backstop.
    pub steps: Steps,
    /// Without a milter.
    pub noise: Steps,
}

/// Drives `sessions` sessions of each kind, one at a time, in turns with and without Backstop.
///
/// # Errors
/// What does not start, or is answered wrongly.
pub fn stalls(setting: &Setting, sessions: u64) -> Result<Vec<Stalls>, Error> {
    // Sendmail takes no socket below a directory that anyone can write to.
    let directory = TempDir::in_run("milter");
    let socket = Endpoint::Unix(directory.join("milter.sock"));
    let peer = Peer::Backstop {
        program: setting.program.clone(),
        more: String::new(),
        env: vec![("BACKSTOP__LISTEN".to_owned(), format!("[\"inet:127.0.0.1:0\", \"{socket}\"]"))],
    };
    let backstop = peer.start(&Start {
        transport: Transport::Tcp,
        addresses: &setting.addresses,
        launcher: setting.pinned.clone(),
        within: Duration::from_secs(180),
    })?;
    let mut found = Vec::new();
    for mta in [Mta::Postfix, Mta::Sendmail] {
        let bare = Site::start(mta, Milter::None, setting)?;
        for transport in Transport::ALL {
            let endpoint = match transport {
                Transport::Tcp => backstop.endpoint(),
                Transport::Unix => &socket,
            };
            let site = Site::start(mta, Milter::At(endpoint), setting)?;
            for is_good in [false, true] {
                found.push(in_turns(mta, transport, is_good, &site, &bare, setting, sessions)?);
            }
        }
    }
    Ok(found)
}

fn in_turns(
    mta: Mta,
    transport: Transport,
    is_good: bool,
    site: &Site,
    bare: &Site,
    setting: &Setting,
    sessions: u64,
) -> Result<Stalls, Error> {
    let load = if is_good { Load::good(setting.count, TURN) } else { Load::attack(setting.count, TURN) };
    let mut load = Load { at_once: 1, ..load };
    let (mut steps, mut noise) = (Steps::default(), Steps::default());
    let turns = sessions.div_ceil(TURN);
    for _ in 0..turns {
        steps.take(load.drive(site.target)?.steps);
        noise.take(load.drive(bare.target)?.steps);
        load = load.next();
    }
    Ok(Stalls { mta, transport, is_good, sessions: turns * TURN, steps, noise })
}

impl Stalls {
    /// The step that was late most often, and how often it was, with and without Backstop.
    #[must_use]
    pub fn worst(&self) -> Option<(Step, usize, usize)> {
        let late = self.steps.taken().zip(self.noise.taken());
        late.map(|((step, times), (_, noise))| (step, times.at_least(LATE), noise.at_least(LATE)))
            .max_by_key(|(_, times, noise)| times.saturating_sub(*noise))
    }

    /// No step is late more often than twice the noise and one time in a hundred: who stalls does it each time, or at least
    /// each time that the timer is to run.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let spare = self.sessions as usize / 100;
        self.worst().is_none_or(|(_, times, noise)| times <= 2 * noise + spare)
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_good { "good mail" } else { "attack" };
        writeln!(f, "{:?}, {}, {kind}, {} sessions:", self.mta, self.transport, self.sessions)?;
        for ((step, times), (_, noise)) in self.steps.taken().zip(self.noise.taken()) {
            write!(f, "  {step:8}")?;
            for times in [times, noise] {
                let at = |percent| times.percentile(percent).unwrap_or_default().as_secs_f64() * 1e3;
                let (p50, p99, most, late) = (at(50.0), at(99.0), at(100.0), times.at_least(LATE));
                write!(f, " | p50 {p50:6.2} ms, p99 {p99:6.2}, slowest {most:6.2}, late {late}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A little less than Linux delays an acknowledgement.
const LATE: Duration = Duration::from_millis(35);

/// Sessions before the other's turn.
const TURN: u64 = 20;
