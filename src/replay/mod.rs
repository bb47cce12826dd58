//! What would have become of yesterday's mail: reads logs of Postfix and Sendmail, and judges every recipient that was
//! delivered or bounced by the engine that answers real ones.
//!
//! Only mail that came by SMTP counts: for other mail nobody would have asked. Remembers a bounded number of messages and
//! recipients, however long the logs are. Failure: a file that can't be read ends the replay with its name; lines that
//! make no sense are counted.

mod field;
mod fuzz;
mod input;
mod journal;
mod judge;
mod log;
mod postfix;
mod queue;
mod sendmail;
mod stamp;
mod tally;

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{policy::Verdict, server::Snapshot};

#[doc(hidden)]
pub use fuzz::fuzz_log;
pub use input::InputError;
use input::{Input, Next};
use judge::Case;
use log::{Heard, Log};
use queue::Fate;
use tally::Tally;
pub use tally::{Recipients, Row};

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Lines, or entries of the journal.
    pub lines: u64,
    /// Lines that are not of a log.
    pub strange: u64,
    /// Lines of Postfix or Sendmail.
    pub of_mtas: u64,
    /// The time of the first line.
    pub since: Option<Timestamp>,
    /// The time of the last.
    pub until: Option<Timestamp>,
    /// Recipients that the MTA refused or put off then.
    pub refused_then: u64,
    /// Recipients of mail that did not come by SMTP, or whose beginning is not in the logs: they are not judged.
    pub left_out: u64,
    /// Recipients that were delivered then.
    pub delivered: u64,
    /// Of these, those that would be refused now.
    pub delivered_refused: Recipients,
    /// Of these, those that would be put off now.
    pub delivered_deferred: Recipients,
    /// Recipients that were accepted then, and bounced.
    pub bounced: u64,
    /// Of these, those that would be refused now.
    pub bounced_refused: Recipients,
    /// Of these, those that a bounce told a sender of: the backscatter that would not have been.
    pub backscatter: u64,
    /// Recipients that bounced then, and would pass or be put off now.
    pub bounced_passed: Recipients,
    /// Why directories may not have told all they know.
    pub notes: Vec<String>,
}

/// How a replay is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ask the DNS what the clients look like, and judge them by it.
    pub judges_clients: bool,
    /// How many recipients of each kind are listed.
    pub top: usize,
}

/// Replays files in the order given; `-` is standard input. `progress` is told how many bytes of which file were read
/// since.
///
/// # Errors
/// When a file can't be read; before all else, when one can't be opened.
pub async fn replay(
    snapshot: &Snapshot,
    files: &[PathBuf],
    options: Options,
    progress: impl Fn(&Path, u64) + Clone + 'static,
) -> Result<Replayed, InputError> {
    look(files)?;
    let mut replay = Replay::default();
    for path in files {
        let (name, progress) = (path.clone(), progress.clone());
        let mut input = Input::open(path, Timestamp::now(), move |read| progress(&name, read))?;
        loop {
            let is_over = replay.fill(&mut input).map_err(|error| InputError::reading(path, error))?;
            replay.judge(snapshot, options.judges_clients).await;
            if is_over {
                break;
            }
        }
    }
    Ok(replay.finish(options.top))
}

/// Whether all files are there and may be read.
///
/// # Errors
/// When one can't be opened.
pub fn look(files: &[PathBuf]) -> Result<(), InputError> {
    files.iter().try_for_each(|path| Input::check(path))
}

type Cases = Vec<(Case, Fate, Timestamp)>;

#[derive(Default)]
struct Replay {
    replayed: Replayed,
    log: Log,
    cases: Cases,
    delivered_refused: Tally,
    delivered_deferred: Tally,
    bounced_refused: Tally,
    bounced_passed: Tally,
}

impl Replay {
    /// Reads on until there is something to judge for a while. Whether the input is at its end.
    fn fill(&mut self, input: &mut Input) -> std::io::Result<bool> {
        let Self { replayed, log, cases, .. } = self;
        for _ in 0..BATCH {
            let entry = match input.next()? {
                Next::End => return Ok(true),
                Next::Strange => {
                    replayed.lines += 1;
                    replayed.strange += 1;
                    continue;
                }
                Next::Entry(entry) => entry,
            };
            replayed.lines += 1;
            let Some(heard) = log.hear(entry.program, entry.text) else { continue };
            replayed.of_mtas += 1;
            replayed.since = Some(replayed.since.map_or(entry.at, |since| since.min(entry.at)));
            replayed.until = Some(replayed.until.map_or(entry.at, |until| until.max(entry.at)));
            let finding = match heard {
                Heard::Understood => continue,
                Heard::Refused => {
                    replayed.refused_then += 1;
                    continue;
                }
                Heard::Found(finding) => finding,
            };
            let Some(origin) = log.incoming(finding.id) else {
                replayed.left_out += finding.recipients.len() as u64;
                continue;
            };
            for recipient in finding.recipients {
                if origin.is_news(recipient, finding.fate) {
                    cases.push((Case::new(origin, recipient), finding.fate, entry.at));
                }
            }
        }
        Ok(false)
    }

    async fn judge(&mut self, snapshot: &Snapshot, judges_clients: bool) {
        let cases = std::mem::take(&mut self.cases);
        // A directory that has not found anybody yet may call nobody unknown: whom it put off is asked for once more.
        let put_off = self.judge_all(cases, snapshot, judges_clients, false).await;
        self.judge_all(put_off, snapshot, judges_clients, true).await;
    }

    /// Gives those that would be put off, which are not counted unless it `is_final`.
    async fn judge_all(
        &mut self,
        cases: Cases,
        snapshot: &Snapshot,
        judges_clients: bool,
        is_final: bool,
    ) -> Cases {
        let mut put_off = Cases::new();
        let judged = stream::iter(cases).map(async |(case, fate, at)| {
            let answer = case.judge(snapshot, judges_clients).await;
            (case, fate, at, answer)
        });
        let mut judged = std::pin::pin!(judged.buffered(AT_ONCE));
        while let Some((case, fate, at, answer)) = judged.next().await {
            if answer.verdict == Verdict::Defer && !is_final {
                put_off.push((case, fate, at));
                continue;
            }
            let tally = match (fate, answer.verdict) {
                (Fate::Delivered, Verdict::Continue) => {
                    self.replayed.delivered += 1;
                    continue;
                }
                (Fate::Delivered, Verdict::Reject) => &mut self.delivered_refused,
                (Fate::Delivered, Verdict::Defer) => &mut self.delivered_deferred,
                (Fate::Bounced, Verdict::Reject) => {
                    self.replayed.backscatter += u64::from(!case.is_null_sender);
                    &mut self.bounced_refused
                }
                (Fate::Bounced, _) => &mut self.bounced_passed,
            };
            tally.count(&case.recipient, at, answer);
        }
        put_off
    }

    fn finish(self, top: usize) -> Replayed {
        let delivered_refused = self.delivered_refused.finish(top);
        let delivered_deferred = self.delivered_deferred.finish(top);
        let bounced_refused = self.bounced_refused.finish(top);
        let bounced_passed = self.bounced_passed.finish(top);
        let delivered = self.replayed.delivered + delivered_refused.times + delivered_deferred.times;
        Replayed {
            delivered,
            notes: if delivered == 0 { vec![NOTHING_DELIVERED.to_owned()] } else { Vec::new() },
            bounced: bounced_refused.times + bounced_passed.times,
            delivered_refused,
            delivered_deferred,
            bounced_refused,
            bounced_passed,
            ..self.replayed
        }
    }
}

/// Who hears of no refusal takes it for good news.
const NOTHING_DELIVERED: &str = "no mail was delivered in it that came by SMTP: that says nothing of whom the directories lack. Are the lines of the SMTP \
     server in it, of all days?";
/// Lines between two looks at what was found.
const BATCH: usize = 4096;
/// Questions to directories and the DNS.
const AT_ONCE: usize = 32;
