//! One recipient through all directories in charge.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{Answer, Detected, Directories, Directory, NOBODY, Why};
use crate::{
    address::{Address, Candidate, Form, candidates},
    policy::{Attributes, RecipientFact, Unavailable},
};

/// The answer for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What policy needs.
    pub fact: RecipientFact,
    /// Who said what, in order; empty unless asked for.
    pub steps: Vec<Step>,
}

/// One question and its answer, for `backstop check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The directory's name.
    pub directory: Arc<str>,
    /// The form of the address, or `@domain`; safe to print.
    pub asked: String,
    /// What it said.
    pub answer: Answer,
    /// What its server says, where it can't tell.
    pub because: Option<String>,
    /// Where the answer is from, and how old it is.
    pub origin: Option<String>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ", self.directory, self.asked)?;
        match self.answer {
            Answer::Exists(_) => f.write_str("exists"),
            Answer::Absent => f.write_str("is absent"),
            Answer::Unknown(why) => write!(f, "can't be told: {why}"),
        }?;
        if let Some(because) = &self.because {
            write!(f, " ({because})")?;
        }
        self.origin.as_ref().map_or(Ok(()), |origin| write!(f, " [{origin}]"))
    }
}

impl Directories {
    /// What the directories in charge know of the address. Takes as long as the slowest of them; those in
    /// memory answer without waiting.
    pub async fn find(&self, address: &Address) -> Found {
        self.find_within(NO_LIMIT, address, false).await
    }

    /// The same, with every step that led to it.
    pub async fn explain(&self, address: &Address) -> Found {
        self.find_within(NO_LIMIT, address, true).await
    }

    /// The same, with every step if it is to `explain`. Who has not answered within the limit can't tell; what the others
    /// say counts.
    pub async fn find_within(&self, limit: Duration, address: &Address, explain: bool) -> Found {
        let detected = self.detected.load();
        let forms = self.forms(&detected, address);
        let mut search = Search::begin(self, &detected, address, forms, explain);
        search.ask_others(limit).await;
        search.end()
    }

    /// What they know of the address, from memory; `None` where somebody has to be asked for it.
    #[must_use]
    pub fn recall(&self, address: &Address) -> Option<RecipientFact> {
        let detected = self.detected.load();
        let forms = self.forms(&detected, address);
        let search = Search::begin(self, &detected, address, forms, false);
        search.others.is_empty().then(|| search.end().fact)
    }

    /// Whether one that answers from memory knows the recipient himself, and not by a catch-all.
    #[must_use]
    pub fn remembers(&self, address: &Address) -> bool {
        let detected = self.detected.load();
        let search = Search::begin(self, &detected, address, self.forms(&detected, address), false);
        search.merged.exists.is_some_and(|found| !found.catch_all)
    }

    /// What they know of the address exactly as it is: no tag undone, no sub-address stripped.
    pub async fn find_exactly(&self, address: &Address) -> RecipientFact {
        let detected = self.detected.load();
        let mut forms = Forms::new();
        forms.push(Candidate { form: Form::Written, address: Cow::Borrowed(address) });
        let mut search = Search::begin(self, &detected, address, forms, false);
        search.ask_others(NO_LIMIT).await;
        search.end().fact
    }

    /// All that may be meant by the address.
    fn forms<'a>(&'a self, detected: &'a Detected, address: &'a Address) -> Forms<'a> {
        let mut forms: Forms<'_> = candidates(address, &self.delimiters).collect();
        if detected.get(address.domain()).is_some() {
            // What the MTA takes for a sub-address counts, whatever the configuration says.
            for form in candidates(address, &detected.delimiters) {
                if !forms.contains(&form) {
                    forms.push(form);
                }
            }
        }
        forms
    }
}

/// One question to all directories in charge.
struct Search<'a> {
    among: &'a Directories,
    address: &'a Address,
    forms: Forms<'a>,
    /// A form is in another domain.
    is_forwarded: bool,
    directories: SmallVec<[Asked<'a>; 4]>,
    /// Of their lists, before they were asked.
    turns: Option<u64>,
    /// A configured directory is in charge.
    configured: bool,
    /// Detection could not see all.
    partial: bool,
    merged: Merged,
    /// Those that don't answer from memory, and may know more.
    others: SmallVec<[Asked<'a>; 2]>,
}

impl<'a> Search<'a> {
    /// Asks those that answer from memory.
    fn begin(
        among: &'a Directories,
        detected: &'a Detected,
        address: &'a Address,
        mut forms: Forms<'a>,
        explain: bool,
    ) -> Self {
        let domain = address.domain();
        let asked = |directory, decides| Asked { directory, decides };
        let mut directories: SmallVec<[Asked<'_>; 4]> =
            among.in_charge(domain, among.lists(domain)).map(|directory| asked(directory, true)).collect();
        // Where a configured directory is in charge, whom detection knows exists, and what it can't see says nothing.
        let configured = !directories.is_empty();
        let detected = detected.get(domain);
        let found = detected.iter().flat_map(|found| found.directories.iter());
        directories.extend(found.map(|directory| asked(directory, !configured)));
        let partial = !configured && detected.is_some_and(|found| found.partial);

        let all = forms.len();
        forms.retain(|form| form.address.domain() == domain);
        let is_forwarded = forms.len() < all;

        let turns = turns(&directories);
        let mut merged = Merged { steps: explain.then(Vec::new), exists: None, unavailable: None };
        let mut others = merged.ask_memory(&directories, &forms);
        if merged.exists.is_some() {
            others.retain(|asked| asked.directory.source.has_attributes());
        }
        Self { among, address, forms, is_forwarded, directories, turns, configured, partial, merged, others }
    }

    /// Asks those that are not in memory, all at the same time.
    async fn ask_others(&mut self, limit: Duration) {
        let Self { among, forms, merged, others, .. } = self;
        let slow = std::mem::take(others);
        if slow.is_empty() {
            return;
        }
        if limit.is_zero() {
            // Whoever has no time asks nobody: a question goes on without him.
            for asked in slow {
                merged.add_answer(&asked, forms, Answer::Unknown(Why::TimedOut), None);
            }
            return;
        }
        let begun = Instant::now();
        let mut waiting: SmallVec<[_; 2]> = slow
            .iter()
            .map(|asked| {
                let answer = async {
                    let answer = asked.directory.source.ask(forms).await;
                    (answer, begun.elapsed())
                };
                Waiting::Pending(Box::pin(answer))
            })
            .collect();
        for (asked, answer) in slow.iter().zip(together(limit, &mut waiting).await) {
            let (answer, time) = answer.unwrap_or((Answer::Unknown(Why::TimedOut), limit));
            among.metrics.asked(&asked.directory.name, answer, time);
            merged.add_answer(asked, forms, answer, Some(begun));
        }
    }

    /// What came of it, when all have been asked.
    fn end(mut self) -> Found {
        let fact = self.judge();
        Found { fact, steps: self.merged.steps.unwrap_or_default() }
    }

    fn judge(&mut self) -> RecipientFact {
        let Self { among, address, ref forms, ref directories, turns, ref mut merged, .. } = *self;
        let domain = address.domain();
        let is_caught = among.catch_all.contains(domain);
        if directories.is_empty() && !self.partial && !is_caught {
            return NOBODY;
        }
        if self.partial {
            merged.add(
                &"detected".into(),
                format_args!("@{domain}"),
                Answer::Unknown(Why::Partial),
                Some(Unavailable::Continue),
            );
        }
        if !self.configured && needs_quotes(address.local()) {
            merged.add(
                &"detected".into(),
                format_args!("{address}"),
                Answer::Unknown(Why::Spelling),
                Some(Unavailable::Continue),
            );
        }
        if self.is_forwarded {
            merged.add(
                &"forwarder".into(),
                format_args!("{address}"),
                Answer::Unknown(Why::Tag),
                Some(Unavailable::Continue),
            );
        }
        if let Some(fact) = merged.known() {
            return fact;
        }
        let unsure = merged.unavailable.is_some();
        let catch_all =
            RecipientFact::Exists(Attributes { catch_all: true, unsure, ..Attributes::default() });
        if is_caught {
            merged.caught(&"recipients.catch_all".into(), address);
            return catch_all;
        }
        if let Some(directory) = directories.iter().find(|asked| asked.directory.source.catches_all(domain)) {
            merged.caught(&directory.directory.name, address);
            return catch_all;
        }
        if let Some(unavailable) = merged.unavailable {
            return RecipientFact::Unknown(unavailable);
        }
        // A list may have been replaced after it was asked: the address has taken the place of the catch-all.
        if turns.is_some() && turns == self::turns(directories) {
            return RecipientFact::Absent;
        }
        let mut again = Merged { steps: None, exists: None, unavailable: None };
        again.ask_memory(directories, forms);
        match (again.known(), again.unavailable) {
            (Some(fact), _) => fact,
            (None, Some(unavailable)) => RecipientFact::Unknown(unavailable),
            (None, None) => RecipientFact::Absent,
        }
    }
}

/// Which contents their lists have: numbers only grow, so that their sum is the same for the same contents alone. `None`: one is
/// being replaced just now, or is what a server has answered, which may change at any time.
fn turns(directories: &[Asked<'_>]) -> Option<u64> {
    directories.iter().try_fold(0_u64, |sum, asked| Some(sum.wrapping_add(asked.directory.source.turn()?)))
}

/// Whether a local part holds what RFC 5321 §4.1.2 allows between quotes only. Dots may be anywhere.
fn needs_quotes(local: &str) -> bool {
    local.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b"()<>[]:;@\\,\"".contains(&byte))
}

/// One directory that is asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    directory: &'a Directory,
    /// Its silence counts: without it, nobody is absent.
    decides: bool,
}

impl Asked<'_> {
    /// What becomes of the recipient where it can't tell; `None`: nothing.
    fn unavailable(&self) -> Option<Unavailable> {
        self.decides.then_some(self.directory.on_unavailable)
    }
}

/// The forms of one address within its domain.
type Forms<'a> = SmallVec<[Candidate<'a>; 2]>;

/// The answers so far.
struct Merged {
    steps: Option<Vec<Step>>,
    exists: Option<Attributes>,
    unavailable: Option<Unavailable>,
}

impl Merged {
    /// Asks those that answer from memory; gives the others.
    fn ask_memory<'a>(&mut self, directories: &[Asked<'a>], forms: &Forms<'_>) -> SmallVec<[Asked<'a>; 2]> {
        let mut others = SmallVec::new();
        for asked in directories {
            let source = &asked.directory.source;
            let Some(answer) = source.recall(forms) else {
                others.push(*asked);
                continue;
            };
            if self.steps.is_none() || forms.len() == 1 {
                self.add_answer(asked, forms, answer, None);
                continue;
            }
            // What counts is what was said of all of them at once: what is remembered of one may be over by now.
            self.count(answer, asked.unavailable());
            for form in forms {
                // One form alone may have to be asked for where another one was enough.
                if let Some(answer) = source.recall(std::slice::from_ref(form)) {
                    self.tell(asked, std::slice::from_ref(form), answer, None);
                }
            }
        }
        others
    }

    /// What a directory said of these forms, the first of which is told; since then, where it had to be asked.
    fn add_answer(
        &mut self,
        asked: &Asked<'_>,
        forms: &[Candidate<'_>],
        answer: Answer,
        since: Option<Instant>,
    ) {
        self.count(answer, asked.unavailable());
        self.tell(asked, forms, answer, since);
    }

    /// A step, and no more.
    fn tell(&mut self, asked: &Asked<'_>, forms: &[Candidate<'_>], answer: Answer, since: Option<Instant>) {
        let Some(steps) = &mut self.steps else { return };
        let Directory { name, source, .. } = asked.directory;
        steps.push(Step {
            directory: Arc::clone(name),
            asked: forms[0].address.to_string(),
            answer,
            because: matches!(answer, Answer::Unknown(_)).then(|| source.failure(forms)).flatten(),
            origin: Some(source.origin(forms, since)),
        });
    }

    fn add(
        &mut self,
        name: &Arc<str>,
        asked: std::fmt::Arguments<'_>,
        answer: Answer,
        unavailable: Option<Unavailable>,
    ) {
        self.count(answer, unavailable);
        if let Some(steps) = &mut self.steps {
            steps.push(Step {
                directory: Arc::clone(name),
                asked: asked.to_string(),
                answer,
                because: None,
                origin: None,
            });
        }
    }

    fn count(&mut self, answer: Answer, unavailable: Option<Unavailable>) {
        match answer {
            Answer::Exists(attributes) => {
                self.exists = Some(self.exists.map_or(attributes, |exists| exists.merge(attributes)));
                if attributes.unsure {
                    self.unavailable = self.unavailable.max(unavailable);
                }
            }
            Answer::Absent => {}
            Answer::Unknown(why) => {
                self.unavailable = self.unavailable.max(unavailable.map(|chosen| why.outcome(chosen)));
            }
        }
    }

    /// What is known of the recipient, if anybody knows it. Nobody is refused for what may be over by now; nor for what is said
    /// of a shorter form or a whole domain, while somebody can't tell whether the address is a mailbox of its own.
    fn known(&self) -> Option<RecipientFact> {
        let known = Attributes { form: 0, ..self.exists? };
        let is_own = self.exists.is_some_and(|exists| exists.form == 0 && !exists.catch_all);
        Some(RecipientFact::Exists(match self.unavailable {
            Some(unavailable) if known.may_refuse() && (known.unsure || !is_own) => {
                if known.suspended && !known.catch_all {
                    return Some(RecipientFact::Unknown(unavailable));
                }
                // Insiders may write to him anyway.
                let restricted = known.restricted && unavailable == Unavailable::Defer;
                Attributes { restricted, unsure: restricted || known.catch_all, ..known }
            }
            unavailable => Attributes { unsure: known.catch_all && unavailable.is_some(), ..known },
        }))
    }

    fn caught(&mut self, name: &Arc<str>, address: &Address) {
        let attributes = Attributes { catch_all: true, ..Attributes::default() };
        let asked = format_args!("@{}", address.domain()).to_string();
        if let Some(steps) = &mut self.steps {
            steps.push(Step {
                directory: Arc::clone(name),
                asked,
                answer: Answer::Exists(attributes),
                because: None,
                origin: None,
            });
        }
    }
}

enum Waiting<F: Future> {
    Pending(Pin<Box<F>>),
    Done(Option<F::Output>),
}

/// Waits for all of them, or until the time is over.
async fn together<F: Future>(limit: Duration, waiting: &mut [Waiting<F>]) -> Vec<Option<F::Output>> {
    let all = poll_fn(|context| {
        let mut pending = false;
        for one in waiting.iter_mut() {
            if let Waiting::Pending(future) = one {
                match future.as_mut().poll(context) {
                    Poll::Ready(answer) => *one = Waiting::Done(Some(answer)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    });
    let _ = tokio::time::timeout(limit, all).await;
    waiting.iter_mut().map(|one| if let Waiting::Done(answer) = one { answer.take() } else { None }).collect()
}

const NO_LIMIT: Duration = Duration::MAX;
