//! One recipient through all directories in charge.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use smallvec::SmallVec;

use super::{Answer, Directories, Directory, NOBODY, Source, Why};
use crate::{
    address::{Address, Candidate, candidates},
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
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ", self.directory, self.asked)?;
        match self.answer {
            Answer::Exists(_) => f.write_str("exists"),
            Answer::Absent => f.write_str("is absent"),
            Answer::Unknown(why) => write!(f, "can't be told: {why}"),
        }
    }
}

impl Directories {
    /// What the directories in charge know of the address. Takes as long as the slowest of them; those in
    /// memory answer without waiting.
    pub async fn find(&self, address: &Address) -> Found {
        let fact = self.search(address, &mut None).await;
        Found { fact, steps: Vec::new() }
    }

    /// The same, with every step that led to it.
    pub async fn explain(&self, address: &Address) -> Found {
        let mut steps = Some(Vec::new());
        let fact = self.search(address, &mut steps).await;
        Found { fact, steps: steps.unwrap_or_default() }
    }

    async fn search(&self, address: &Address, steps: &mut Option<Vec<Step>>) -> RecipientFact {
        let domain = address.domain();
        let configured: SmallVec<[&Directory; 4]> = self.in_charge(domain, self.lists(domain)).collect();
        let all_detected = self.detected.load();
        let detected = if configured.is_empty() { all_detected.get(domain) } else { None };
        let found = detected.iter().flat_map(|found| found.directories.iter().map(Arc::as_ref));
        let directories: SmallVec<[&Directory; 4]> = configured.iter().copied().chain(found).collect();
        let partial = detected.is_some_and(|found| found.partial);
        if directories.is_empty() && !partial && !self.catch_all.contains(domain) {
            return NOBODY;
        }

        let mut forms: Forms<'_> = candidates(address, &self.delimiters).collect();
        if detected.is_some() {
            // What the MTA takes for a sub-address counts, whatever the configuration says.
            for form in candidates(address, &all_detected.delimiters) {
                if !forms.contains(&form) {
                    forms.push(form);
                }
            }
        }
        let all = forms.len();
        forms.retain(|form| form.address.domain() == domain);

        let mut merged = Merged { steps, exists: None, unavailable: None };
        merged.ask_memory(&directories, &forms);
        self.ask_others(&directories, &forms, &mut merged).await;
        if partial {
            merged.add(
                &"detected".into(),
                format_args!("@{domain}"),
                Answer::Unknown(Why::Partial),
                Unavailable::Continue,
            );
        }
        if forms.len() < all {
            merged.add(
                &"forwarder".into(),
                format_args!("{address}"),
                Answer::Unknown(Why::Tag),
                Unavailable::Continue,
            );
        }
        if let Some(attributes) = merged.exists {
            return RecipientFact::Exists(attributes);
        }
        let catch_all = RecipientFact::Exists(Attributes { catch_all: true, ..Attributes::default() });
        if self.catch_all.contains(domain) {
            merged.caught(&"recipients.catch_all".into(), address);
            return catch_all;
        }
        if let Some(directory) = directories.iter().find(|directory| directory.source.catches_all(domain)) {
            merged.caught(&directory.name, address);
            return catch_all;
        }
        merged.unavailable.map_or(RecipientFact::Absent, RecipientFact::Unknown)
    }

    /// Asks those that are not in memory, all at the same time.
    async fn ask_others(&self, directories: &[&Directory], forms: &Forms<'_>, merged: &mut Merged<'_>) {
        let found = merged.exists.is_some();
        let slow = directories.iter().filter(|directory| match directory.source {
            Source::List(_) | Source::Table(_) | Source::Listed(_) => false,
            // They know nothing but that a user exists.
            Source::Users(_) => !found,
        });
        let mut asked: SmallVec<[_; 2]> = slow
            .map(|directory| {
                let answer = async move {
                    let begun = Instant::now();
                    let answer = directory.source.ask(forms).await;
                    self.metrics.asked(&directory.name, answer, begun.elapsed());
                    (*directory, answer)
                };
                Asked::Pending(Box::pin(answer))
            })
            .collect();
        for (directory, answer) in together(&mut asked).await {
            merged.add_answer(directory, &forms[0], answer);
        }
    }
}

/// The forms of one address within its domain.
type Forms<'a> = SmallVec<[Candidate<'a>; 2]>;

/// The answers so far.
struct Merged<'a> {
    steps: &'a mut Option<Vec<Step>>,
    exists: Option<Attributes>,
    unavailable: Option<Unavailable>,
}

impl Merged<'_> {
    fn ask_memory(&mut self, directories: &[&Directory], forms: &Forms<'_>) {
        for directory in directories {
            if self.steps.is_none() {
                if let Some(answer) = directory.source.recall(forms) {
                    self.add_answer(directory, &forms[0], answer);
                }
                continue;
            }
            for form in forms {
                if let Some(answer) = directory.source.recall(std::slice::from_ref(form)) {
                    self.add_answer(directory, form, answer);
                }
            }
        }
    }

    fn add_answer(&mut self, directory: &Directory, form: &Candidate<'_>, answer: Answer) {
        self.add(&directory.name, format_args!("{}", form.address), answer, directory.on_unavailable);
    }

    fn add(
        &mut self,
        name: &Arc<str>,
        asked: std::fmt::Arguments<'_>,
        answer: Answer,
        unavailable: Unavailable,
    ) {
        match answer {
            Answer::Exists(attributes) => {
                self.exists = Some(self.exists.map_or(attributes, |exists| exists.merge(attributes)));
            }
            Answer::Absent => {}
            Answer::Unknown(_) => self.unavailable = self.unavailable.max(Some(unavailable)),
        }
        if let Some(steps) = self.steps {
            steps.push(Step { directory: Arc::clone(name), asked: asked.to_string(), answer });
        }
    }

    fn caught(&mut self, name: &Arc<str>, address: &Address) {
        let attributes = Attributes { catch_all: true, ..Attributes::default() };
        let asked = format_args!("@{}", address.domain()).to_string();
        if let Some(steps) = self.steps {
            steps.push(Step { directory: Arc::clone(name), asked, answer: Answer::Exists(attributes) });
        }
    }
}

enum Asked<F: Future> {
    Pending(Pin<Box<F>>),
    Done(Option<F::Output>),
}

/// Waits for all of them.
async fn together<F: Future>(asked: &mut [Asked<F>]) -> Vec<F::Output> {
    poll_fn(|context| {
        let mut pending = false;
        for one in asked.iter_mut() {
            if let Asked::Pending(future) = one {
                match future.as_mut().poll(context) {
                    Poll::Ready(answer) => *one = Asked::Done(Some(answer)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    asked
        .iter_mut()
        .filter_map(|one| if let Asked::Done(answer) = one { answer.take() } else { None })
        .collect()
}
