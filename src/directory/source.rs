//! One source of recipients, whatever it is made of.
//!
//! A source says what it knows and never guesses: what it can't tell is [`Answer::Unknown`] with the reason.
//! Sources in memory answer at once ([`Source::recall`]); the others have to be waited for ([`Source::ask`]).

use std::{sync::Arc, time::Instant};

use super::{Index, Remote, Users, replica::Replica};
use crate::{
    address::{Candidate, Domain},
    files::{Matched, Status, Table, Watched, ago, read},
    policy::{Attributes, Unavailable},
};

/// A source with a name: a `[directory.NAME]`, or something that detection found.
#[derive(Debug)]
pub struct Directory {
    /// For logs, metrics and `check`: the admin's name, or one of few constants.
    pub name: Arc<str>,
    /// Where it looks.
    pub source: Source,
    /// What becomes of mail when it can't tell.
    pub on_unavailable: Unavailable,
}

/// Where recipients are looked up.
#[derive(Debug)]
pub enum Source {
    /// A list in files.
    List(Watched<Index>),
    /// Tables of regular expressions in files.
    Table(Watched<Table>),
    /// A list that stays as it is, such as one that a command printed, and since when.
    Listed(Arc<Index>, Instant),
    /// The users of this host.
    Users(Users),
    /// A server that is asked.
    Remote(Arc<Remote>),
    /// A server whose list is kept here.
    Replica(Arc<Replica>),
}

/// What one source says of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// One of the forms asked for is known.
    Exists(Attributes),
    /// None of them is.
    Absent,
    /// It can't tell.
    Unknown(Why),
}

/// Why a source can't tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The file was never read, or was empty from the start.
    #[error("no content yet")]
    NoContent,
    /// The file changed since, and can't be read or understood now.
    #[error("its present content can't be read")]
    Unreadable,
    /// A rule of a table was not understood, or took too long.
    #[error("not every rule could be tried")]
    Rules,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The system's error.
    #[error("{0}")]
    System(nix::errno::Errno),
    /// Detection could not list every source that the MTA consults.
    #[error("not all sources of this domain are known")]
    Partial,
    /// The local part needs quotes, and MTAs read such ones each in their own way: Sendmail takes `"joe(x)"` for `joe`.
    #[error("the MTA may read this spelling in its own way")]
    Spelling,
    /// No server of the directory can be reached.
    #[error("no server can be reached")]
    Down,
    /// A server's answer was an error, or made no sense.
    #[error("the server's answer was an error")]
    Failed,
    /// It has no answer for this address now, but may have one later.
    #[error("the server put this address off")]
    PutOff,
    /// Too many questions at once.
    #[error("too many questions at once")]
    Busy,
    /// The server takes any recipient, so its yes means nothing.
    #[error("the server takes any recipient, so it can't tell")]
    TakesAll,
    /// The server refuses the recipient, but does not say that it is unknown.
    #[error("the server refuses it for another reason than that it is unknown")]
    Refused,
    /// The configuration names no server that could be asked about the domain.
    #[error("no server is named for this domain")]
    NoHost,
    /// A forwarder's tag (SRS) around an address elsewhere; whether it is genuine only its maker can tell.
    #[error("a forwarder's tag that can't be verified")]
    Tag,
}

impl Why {
    /// Whether the directory as a whole is in trouble, and not just this question.
    pub(super) fn is_trouble(self) -> bool {
        !matches!(
            self,
            Self::Busy
                | Self::PutOff
                | Self::Spelling
                | Self::Tag
                | Self::TakesAll
                | Self::Refused
                | Self::NoHost
        )
    }

    /// Whether the server answered, though neither yes nor no.
    pub(super) fn is_answer(self) -> bool {
        matches!(self, Self::PutOff | Self::TakesAll | Self::Refused)
    }

    /// What becomes of mail, where the admin chose this for a directory that can't answer.
    pub(super) fn outcome(self, chosen: Unavailable) -> Unavailable {
        match self {
            // It never will, so that to wait for it would refuse everything in the end.
            Self::TakesAll | Self::Partial | Self::Spelling | Self::Tag => Unavailable::Continue,
            _ => chosen,
        }
    }
}

impl Source {
    /// The answer of a source in memory for all forms of one address, the longest first. `None` if it has to be asked.
    pub fn recall(&self, candidates: &[Candidate<'_>]) -> Option<Answer> {
        match self {
            Self::List(list) => Some(of_files(list, |index| look_up(index, candidates))),
            Self::Listed(index, _) => Some(look_up(index, candidates)),
            Self::Table(table) => Some(of_files(table, |table| try_rules(table, candidates))),
            Self::Remote(remote) => remote.recall(candidates),
            Self::Replica(replica) => replica.recall(candidates),
            Self::Users(_) => None,
        }
    }

    /// The answer of any source.
    pub async fn ask(&self, candidates: &[Candidate<'_>]) -> Answer {
        if let Some(answer) = self.recall(candidates) {
            return answer;
        }
        match self {
            Self::Users(users) => users.ask(candidates).await,
            Self::Remote(remote) => remote.ask(candidates).await,
            Self::Replica(replica) => replica.ask(candidates).await,
            Self::List(_) | Self::Table(_) | Self::Listed(..) => unreachable!("they were recalled"),
        }
    }

    /// Whether it may know more of a recipient whom it did not recall than that he exists.
    pub(super) fn has_attributes(&self) -> bool {
        match self {
            Self::List(_) | Self::Table(_) | Self::Listed(..) => true,
            Self::Users(_) => false,
            Self::Remote(remote) => remote.has_attributes(),
            Self::Replica(replica) => replica.has_attributes(),
        }
    }

    /// Whether everything that is sent to the domain exists. Known from memory, or not known at all.
    pub fn catches_all(&self, domain: &Domain) -> bool {
        match self {
            Self::List(list) => {
                let contents = [list.current(), list.offered()];
                contents.iter().any(|content| content.as_ref().is_some_and(|index| index.catches_all(domain)))
            }
            Self::Listed(index, _) => index.catches_all(domain),
            Self::Replica(replica) => replica.catches_all(domain),
            Self::Table(_) | Self::Users(_) | Self::Remote(_) => false,
        }
    }

    /// The number of what is in memory, which is another one when that is replaced; `None`: it is being replaced just now, or
    /// that can't be told.
    pub(super) fn turn(&self) -> Option<u64> {
        match self {
            Self::List(list) => list.turn(),
            Self::Table(table) => table.turn(),
            Self::Replica(replica) => replica.turn(),
            Self::Listed(..) | Self::Users(_) => Some(0),
            Self::Remote(_) => None,
        }
    }

    /// Why a server did not answer for one of these forms, in its own words; `None` where no server is asked.
    pub(super) fn failure(&self, candidates: &[Candidate<'_>]) -> Option<String> {
        match self {
            Self::Remote(remote) => remote.failure(candidates),
            Self::Replica(replica) => replica.remote().failure(candidates),
            Self::List(_) | Self::Table(_) | Self::Listed(..) | Self::Users(_) => None,
        }
    }

    /// Where the answer for these forms is from, and how old it is, in words. `asked`: it had to be asked, since then.
    pub(super) fn origin(&self, candidates: &[Candidate<'_>], asked: Option<Instant>) -> String {
        match (self, asked) {
            (Self::List(list), _) => read(list.origin()),
            (Self::Table(table), _) => read(table.origin()),
            (Self::Listed(_, at), _) => format!("detected, listed {}", ago(at.elapsed())),
            (Self::Remote(remote), asked) => {
                let (age, asked) = (remote.age(candidates), asked.map(|asked| asked.elapsed()));
                match age {
                    Some(age) if asked.is_none() => format!("asked {}, and remembered", ago(age)),
                    // Older than the question: there was no answer to that.
                    Some(age) if asked.is_some_and(|asked| age > asked) => {
                        format!("no answer now; asked {}, and remembered", ago(age))
                    }
                    _ => NOW.to_owned(),
                }
            }
            (Self::Replica(replica), None) => match replica.age() {
                Some(age) => format!("replica, current {}", ago(age)),
                None => "replica".to_owned(),
            },
            (Self::Users(_) | Self::Replica(_), _) => NOW.to_owned(),
        }
    }

    /// The state of the files behind it; `None` if there are none.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::List(list) => Some(list.status()),
            Self::Table(table) => Some(table.status()),
            Self::Listed(..) | Self::Users(_) | Self::Remote(_) | Self::Replica(_) => None,
        }
    }
}

impl Answer {
    /// What one source says of an address, of which it said this of the address and each of its shorter forms: the longest
    /// that it knows counts, with what it says of that one alone, and a catch-all behind all of them. Who can't tell is heard before who says no.
    #[must_use]
    pub fn of_forms(answers: impl IntoIterator<Item = Self>) -> Self {
        let (mut all, mut unsure) = (Self::Absent, false);
        for (form, answer) in (0_u8..).zip(answers) {
            match (all, answer) {
                (_, Self::Exists(known)) if !known.catch_all => {
                    return Self::Exists(Attributes { unsure: unsure || known.unsure, form, ..known });
                }
                (Self::Absent | Self::Unknown(_), Self::Exists(_)) | (Self::Absent, Self::Unknown(_)) => {
                    all = answer;
                }
                _ => {}
            }
            unsure |= matches!(answer, Self::Unknown(_) | Self::Exists(Attributes { unsure: true, .. }));
        }
        match all {
            Self::Exists(caught) if caught.catch_all => Self::Exists(Attributes { unsure, ..caught }),
            _ => all,
        }
    }

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exists(_) => "exists",
            Self::Absent => "absent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What the content in use says. Whom it does not know may be in what is held back; that vouches for nobody's absence,
/// and what could not even be read may hold anybody.
fn of_files<T: Send + Sync + 'static>(files: &Watched<T>, ask: impl Fn(&T) -> Answer) -> Answer {
    let Some(content) = &*files.current() else { return Answer::Unknown(Why::NoContent) };
    let known = ask(content);
    if known != Answer::Absent {
        return known;
    }
    let offered = files.offered().as_ref().map_or(known, |offered| ask(offered));
    if offered == Answer::Absent && files.is_in_doubt() { Answer::Unknown(Why::Unreadable) } else { offered }
}

fn look_up(index: &Index, candidates: &[Candidate<'_>]) -> Answer {
    let find = |candidate: &Candidate<'_>| index.find(&candidate.address);
    Answer::of_forms(
        candidates.iter().map(|candidate| find(candidate).map_or(Answer::Absent, Answer::Exists)),
    )
}

fn try_rules(table: &Table, candidates: &[Candidate<'_>]) -> Answer {
    Answer::of_forms(candidates.iter().map(|candidate| match table.find(candidate.address.key_str()) {
        Matched::Yes => Answer::Exists(Attributes::default()),
        Matched::No => Answer::Absent,
        Matched::Perhaps => Answer::Unknown(Why::Rules),
    }))
}

const NOW: &str = "asked now";
