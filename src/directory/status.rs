//! What can be told of the directories: to an admin, and to a health check.

use std::{sync::Arc, time::Duration};

use super::{Directories, Source};
use crate::{
    address::Domain,
    files::{Status, Watched},
};

/// How one directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The admin's name.
    pub name: Arc<str>,
    /// E.g. `file`.
    pub kind: &'static str,
    /// How it answers.
    pub state: State,
    /// Known addresses or rules, where they can be counted.
    pub addresses: Option<u64>,
    /// How long ago the content was what the directory says, where that is known.
    pub age: Option<Duration>,
}

/// How a directory answers; `status` and the metric of the same name tell this, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// From current content, or by asking a server that answers.
    Up,
    /// It is a server that nobody had to ask yet; nothing is known against it.
    Unasked,
    /// From what it knew before: see the notices.
    Stale,
    /// It never had content.
    Empty,
    /// Not at all: see the notices.
    Down,
}

impl State {
    /// Whether `backstop_directory_up` is 1.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Unasked)
    }

    /// In the words of `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unasked => "not asked yet",
            Self::Stale => "answers from what it knew before",
            Self::Empty => "no content yet",
            Self::Down => "can't answer",
        }
    }

    pub(super) fn of_files(status: &Status) -> Self {
        match (status.entries, &status.held) {
            (None, _) => Self::Empty,
            (Some(_), Some(_)) => Self::Stale,
            (Some(_), None) => Self::Up,
        }
    }
}

impl Directories {
    /// How each configured directory is.
    pub fn health(&self) -> Vec<Health> {
        self.configured()
            .map(|directory| {
                let status = directory.source.status();
                let mut health = Health {
                    name: Arc::clone(&directory.name),
                    kind: "file",
                    state: status.as_ref().map_or(State::Up, State::of_files),
                    addresses: status.and_then(|status| status.entries),
                    age: None,
                };
                match &directory.source {
                    Source::List(_) | Source::Table(_) => {}
                    Source::Listed(..) => health.kind = "list",
                    Source::Users(_) => health.kind = "system users",
                    Source::Remote(remote) => {
                        health.kind = remote.kind();
                        health.state = remote.state();
                    }
                    Source::Replica(replica) => {
                        health.kind = replica.kind();
                        health.state = replica.state();
                        health.addresses = Some(replica.addresses());
                        health.age = replica.age();
                    }
                }
                health
            })
            .collect()
    }

    /// Lists and replicas without content yet, and servers that never answered though they were asked, by name: what
    /// depends on them can't be told.
    pub fn waiting_for(&self) -> Vec<String> {
        let files = self.files().filter(|status| status.entries.is_none()).map(|status| status.name);
        let replicas = self.configured().filter_map(|directory| match &directory.source {
            Source::Replica(replica) if !replica.is_complete() => {
                Some(format!("directory {}", directory.name))
            }
            Source::Remote(remote) if !remote.has_answered() && remote.trouble().is_some() => {
                Some(format!("directory {}", directory.name))
            }
            _ => None,
        });
        files.chain(replicas).collect()
    }

    /// Files whose present content is not in use, or has lines that were skipped; servers that don't answer.
    pub fn notices(&self) -> Vec<String> {
        let remote = self.configured().flat_map(|directory| match &directory.source {
            Source::Remote(remote) => {
                let trouble = remote.trouble().map(|trouble| {
                    let seconds = trouble.since.elapsed().as_secs();
                    format!("no answer for {seconds} s: {}", trouble.text)
                });
                let notices = trouble.into_iter().chain(remote.notices());
                notices.map(|notice| format!("directory {}: {notice}", directory.name)).collect()
            }
            Source::Replica(replica) => replica.notices(),
            _ => Vec::new(),
        });
        self.files().filter_map(|status| status.notice()).chain(remote).collect()
    }

    /// Whether the configuration names no local domain at all.
    pub fn names_nothing(&self) -> bool {
        self.names.is_empty()
            && self.files.is_none()
            && self.catch_all.is_empty()
            && self.charge.names_nothing()
    }

    /// Why the domain is local, and who is in charge of it, a line each.
    pub fn explain_domain(&self, domain: &Domain) -> Vec<String> {
        let mut lines = Vec::new();
        if self.names.contains(domain) {
            lines.push("listed in domains.names".to_owned());
        }
        if self
            .files
            .as_ref()
            .is_some_and(|files| files.current().as_ref().is_some_and(|f| f.contains(domain)))
        {
            lines.push("listed in domains.files".to_owned());
        }
        for directory in self.in_charge(domain, self.lists(domain)) {
            lines.push(format!("directory {} is in charge", directory.name));
        }
        if self.catch_all.contains(domain) {
            lines.push("listed in recipients.catch_all".to_owned());
        }
        match self.detected.load().get(domain) {
            Some(detected) if detected.is_whole() => {
                let names: Vec<_> = detected.directories.iter().map(|directory| &*directory.name).collect();
                lines.push(format!("found on this host; its recipients are in {}", names.join(", ")));
            }
            Some(_) if self.in_charge(domain, self.lists(domain)).next().is_some() => {
                lines.push("found on this host; whom the MTA knows exists, too".to_owned());
            }
            Some(_) => lines.push(
                "found on this host, but not all of its recipients can be seen; `backstop detect` says why"
                    .to_owned(),
            ),
            None => {}
        }
        lines
    }

    fn files(&self) -> impl Iterator<Item = Status> {
        let lists = self.configured().filter_map(|directory| directory.source.status());
        lists.chain(self.files.iter().map(Watched::status))
    }
}
