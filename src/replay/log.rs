//! What a log tells of messages, line by line.

use smallvec::SmallVec;

use super::{
    postfix,
    queue::{Fate, Origin, Queue},
    sendmail,
};

/// The lines of one host, from any number of files, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Log {
    queue: Queue,
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'l> {
    /// Of an MTA, and nothing to do.
    Understood,
    /// A recipient was refused, as it should be.
    Refused,
    /// Recipients were delivered or bounced.
    Found(Finding<'l>),
}

/// Recipients of one message that one thing became of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding<'l> {
    pub(super) id: &'l str,
    /// As the client named them, without brackets.
    pub(super) recipients: SmallVec<[&'l str; 1]>,
    pub(super) fate: Fate,
}

impl Log {
    /// Takes what a program has logged. `None`: it is no MTA, or says something else.
    pub(super) fn hear<'l>(&mut self, program: &str, text: &'l str) -> Option<Heard<'l>> {
        postfix::read(&mut self.queue, program, text)
            .or_else(|| sendmail::read(&mut self.queue, program, text))
    }

    /// The message, where it is one that came by SMTP and whose recipients are not told of elsewhere.
    pub(super) fn incoming(&mut self, id: &str) -> Option<&mut Origin> {
        self.queue.get(id).filter(|origin| origin.is_incoming && !origin.is_passed_on)
    }
}
