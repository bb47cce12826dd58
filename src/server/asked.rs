//! What the policy asked for one decision, and what it was answered. To note it costs no allocation; words are made of it
//! only for a decision that somebody looks at.

use std::{net::IpAddr, time::Duration};

use smallvec::SmallVec;

use super::decide::{Answer, level};
use crate::policy::{Facts, Question, TraceStep};

/// The questions of one decision with their answers, in order.
#[derive(Debug, Default)]
pub struct Asked {
    explains: bool,
    notes: SmallVec<[Note; USUAL]>,
}

#[derive(Debug)]
struct Note {
    question: Question,
    answer: Answer,
    took: Duration,
}

impl Asked {
    /// With the evidence for each answer, and the time that it took: both cost something.
    #[must_use]
    pub fn explained() -> Self {
        Self { explains: true, ..Self::default() }
    }

    /// Whether there is evidence in it.
    #[must_use]
    pub fn explains(&self) -> bool {
        self.explains
    }

    pub(super) fn push(&mut self, question: Question, answer: Answer, took: Duration) {
        self.notes.push(Note { question, answer, took });
    }

    /// In words. `facts`: those that the questions were about.
    pub fn steps(self, facts: &Facts) -> impl Iterator<Item = TraceStep> {
        self.notes.into_iter().map(|Note { question, answer: (answer, evidence), took }| TraceStep {
            question: question.to_string(),
            about: about(question, facts).unwrap_or_default(),
            answer: answer.to_owned(),
            evidence,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

/// How the client stands, before anything is asked about it.
#[must_use]
pub fn client_step(client: Option<IpAddr>, facts: &Facts, evidence: Vec<String>) -> TraceStep {
    let answer = match (facts.trusted, facts.authenticated, facts.denied) {
        (true, _, _) => "trusted, an insider",
        (false, true, _) => "authenticated, an insider",
        (false, false, true) => "on the deny list",
        (false, false, false) => "an outsider",
    };
    TraceStep {
        question: "client".to_owned(),
        about: client.map(|client| client.to_string()).unwrap_or_default(),
        answer: answer.to_owned(),
        evidence,
        micros: 0,
    }
}

fn about(question: Question, facts: &Facts) -> Option<String> {
    match question {
        Question::Domain(at) => level(facts, at)
            .map(|level| level.address.domain().to_string())
            .or_else(|| facts.recipient.domain().map(ToString::to_string)),
        Question::Trap(at) | Question::Suspended(at) | Question::Recipient(at) => {
            level(facts, at).map(|level| level.address.to_string())
        }
        Question::Standing | Question::Class | Question::Greylist | Question::Solicited => None,
    }
}

/// A known recipient of a directory in memory is asked for with no more.
const USUAL: usize = 6;
