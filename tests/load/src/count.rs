//! What one session of a load costs a server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::drive::{Answers, Load};
use crate::measure::callgrind::{self, Callgrind};
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
/// what is done once is not in it. Callgrind's files are in `directory`.
///
/// # Errors
/// When something does not start, or fails, or answers wrongly.
pub fn instructions(subject: &Subject<'_>, load: &Load, directory: &Path) -> Result<f64, Error> {
    instructions_after(subject, load.sessions.div_ceil(2), load, directory)
}

/// The same, after `before` sessions that are not counted.
///
/// # Errors
/// When something does not start, or fails, or answers wrongly.
pub fn instructions_after(
    subject: &Subject<'_>,
    before: u64,
    load: &Load,
    directory: &Path,
) -> Result<f64, Error> {
    let output = directory.join(format!("callgrind.{}.{:?}", subject.peer, subject.transport));
    let running = subject.start(callgrind::launcher(&output))?;
    let mut callgrind = Callgrind::new(running.pid(), &output);
    // What comes first pays for what is kept.
    let uncounted = Load { sessions: before.max(100), ..load.clone() };
    subject.drive(&running, &uncounted)?;
    callgrind.begin()?;
    let once = Load { sessions: load.sessions, ..uncounted.next() };
    subject.drive(&running, &once)?;
    let counted = callgrind.count()?;
    let twice = Load { sessions: 2 * load.sessions, ..once.next() };
    subject.drive(&running, &twice)?;
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
