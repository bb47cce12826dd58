//! What one session of a load costs a server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::drive::{Answers, Load, Pace};
use crate::measure::callgrind::{self, Callgrind};
use crate::measure::clock::Clock;
use crate::measure::{cpu, strace};
use crate::peers::{Peer, Running, Start};
use crate::{Error, Transport};

/// A server, and how it is started.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Which.
    pub peer: &'a Peer,
    /// Where it listens.
    pub transport: Transport,
    /// The file of the addresses that it knows.
    pub addresses: &'a Path,
    /// The words that keep it to its CPU; see [`cpu::part`].
    pub pinned: &'a [String],
}

/// After this, what is done once a second is done.
const SETTLED: Duration = Duration::from_millis(1500);

/// What a session costs, but for the instructions.
#[derive(Debug, Clone)]
pub struct Cost {
    /// CPU time, in user space and in the kernel.
    pub cpu: Duration,
    /// System calls of all sessions.
    pub calls: BTreeMap<String, u64>,
    /// Sessions in a second.
    pub rate: f64,
}

impl Subject<'_> {
    /// Starts it, below `launcher` as well.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, launcher: Vec<String>) -> Result<Running, Error> {
        let launcher = self.pinned.iter().cloned().chain(launcher).collect();
        let Subject { transport, addresses, .. } = *self;
        self.peer.start(&Start { transport, addresses, launcher, within: Duration::from_secs(180) })
    }

    /// Drives it; answers must be right, unless it is the floor, which does not look.
    ///
    /// # Errors
    /// When it fails, or answers wrongly.
    pub fn drive(&self, running: &Running, load: &Load) -> Result<Answers, Error> {
        let answers = load.drive(running.endpoint())?;
        if !matches!(self.peer, Peer::Floor(_)) && !answers.are_right() {
            let Answers { wrong, deferred, over, .. } = answers;
            let text = format!(
                "{}: {wrong} wrong answers, {deferred} deferred, {over} sessions ended early",
                self.peer
            );
            return Err(Error::Wrong(text));
        }
        Ok(answers)
    }
}

/// Instructions in user space for one session: the difference between the load and one of twice as many sessions, so that
/// what is done once is not in it. Sessions come one at a time, [`RATE`] in a second of the server's own time. Files are in
/// `directory`.
///
/// # Errors
/// When something does not start, or fails, or answers wrongly.
pub fn instructions(subject: &Subject<'_>, load: &Load, directory: &Path) -> Result<f64, Error> {
    instructions_after(subject, load.sessions.div_ceil(2), SLOWER, load, directory)
}

/// The same, after `before` sessions that are not counted, and come as fast as they can; the server's clock is `slower` times
/// as slow while it is counted: more for one that takes longer, so that it keeps up.
///
/// # Errors
/// When something does not start, or fails, or answers wrongly, or can't keep up.
pub fn instructions_after(
    subject: &Subject<'_>,
    before: u64,
    slower: i32,
    load: &Load,
    directory: &Path,
) -> Result<f64, Error> {
    let output = directory.join(format!("callgrind.{}.{:?}", subject.peer, subject.transport));
    let clock = Clock::new(directory)?;
    let running = subject.start([clock.launcher(), callgrind::launcher(&output)].concat())?;
    let mut callgrind = Callgrind::new(running.pid(), &output);
    // Done behind each load with a clock that is not slow: what is done once a second for all that came before.
    let settle = || {
        clock.slow(1)?;
        std::thread::sleep(SETTLED);
        clock.slow(slower)
    };
    // What comes first pays for what is kept.
    let uncounted = Load { sessions: before.max(100), ..load.clone() };
    subject.drive(&running, &uncounted)?;
    settle()?;
    callgrind.begin()?;
    let pace = Pace::Open(RATE / f64::from(slower));
    let once = Load { sessions: load.sessions, pace, ..uncounted.next() };
    subject.drive(&running, &once)?;
    settle()?;
    let counted = callgrind.count()?;
    let twice = Load { sessions: 2 * load.sessions, ..once.next() };
    let answers = subject.drive(&running, &twice)?;
    settle()?;
    let wanted = RATE / f64::from(slower);
    if answers.rate() < 0.8 * wanted {
        // More time for each session is more of what is done by the clock.
        let text = format!(
            "{:.0} sessions in a second, where {wanted:.0} are due: the machine is too busy",
            answers.rate()
        );
        return Err(Error::Wrong(text));
    }
    let difference = callgrind.count()? as f64 - counted as f64;
    Ok(difference / load.sessions as f64)
}

/// CPU time and system calls of one session.
///
/// # Errors
/// When something does not start, or fails, or answers wrongly.
pub fn cost(subject: &Subject<'_>, load: &Load) -> Result<Cost, Error> {
    let running = subject.start(Vec::new())?;
    subject.drive(&running, load)?;
    let load = load.next();
    let before = cpu::time(running.pid())?;
    let answers = subject.drive(&running, &load)?;
    let cpu = cpu::time(running.pid())?.saturating_sub(before).div_f64(load.sessions as f64);
    let load = load.next();
    let calls = strace::calls(running.pid(), || subject.drive(&running, &load).map(drop))?;
    Ok(Cost { cpu, calls, rate: answers.rate() })
}

/// Sessions in a second of the server's time: as many as one Postfix has on one processor, where it refuses all.
pub const RATE: f64 = 2500.0;

/// Below callgrind a server takes fifty times as long for what it does itself, but not for the kernel's part.
pub const SLOWER: i32 = 10;
