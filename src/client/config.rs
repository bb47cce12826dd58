//! `[client]`, as written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DnsList, Dynamic, Network, Pattern, lookups::Questions};
use crate::net::NameServer;

/// `[client]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Insiders. With `domains.detect` the MTA's own networks (Postfix `mynetworks`, Sendmail `$=R`) come in as well.
    pub trusted: Vec<Network>,
    /// [Files of networks](#files-of-networks) of insiders; their content is [followed](#files-that-change).
    pub trusted_files: Vec<PathBuf>,
    /// Refused when they connect, unless trusted.
    pub denied: Vec<Network>,
    /// [Files of such networks](#files-of-networks); their content is [followed](#files-that-change).
    pub denied_files: Vec<PathBuf>,
    /// Clients on these are never taken for dynamic.
    pub dnswl: Vec<DnsList>,
    /// Who is asked about clients: the servers in `/etc/resolv.conf` (changes are noticed within five seconds), or
    /// one such as `"127.0.0.1"` or `"127.0.0.1:5353"`. Lists often don't answer public resolvers; a resolver on the
    /// own host does.
    pub resolver: NameServer,
    /// `[client.dynamic]`
    pub dynamic: Dynamic,
}

impl Config {
    /// Tells `say` what can't be used: where, below `client`, and why.
    pub fn check(&self, say: &mut dyn FnMut(&[&str], String)) {
        let mut once = |key: &[&str], lists: &[DnsList]| {
            for (index, list) in lists.iter().enumerate() {
                if lists.iter().take(index).any(|other| other.zone() == list.zone()) {
                    let message = format!("{} is there twice; put all answers into one", list.zone());
                    let index = index.to_string();
                    let key: Vec<&str> = key.iter().copied().chain([index.as_str()]).collect();
                    say(&key, message);
                }
            }
        };
        once(&["dnswl"], &self.dnswl);
        once(&["dynamic", "dnsbl"], &self.dynamic.dnsbl);
        self.dynamic.check(&mut |key, message| {
            let mut path = vec!["dynamic"];
            path.extend(key);
            say(&path, message);
        });
    }

    /// Every file that is named, with its key below `client`.
    pub fn files(&self) -> impl Iterator<Item = (&'static [&'static str], usize, &PathBuf)> {
        let lists: [(&'static [&'static str], &Vec<PathBuf>); 3] = [
            (&["trusted_files"], &self.trusted_files),
            (&["denied_files"], &self.denied_files),
            (&["dynamic", "networks"], &self.dynamic.networks),
        ];
        let patterns: &'static [&'static str] = &["dynamic", "patterns"];
        let tables =
            self.dynamic.patterns.iter().enumerate().filter_map(move |(index, pattern)| match pattern {
                Pattern::Table(_, path) => Some((patterns, index, path)),
                Pattern::Name(_) | Pattern::Expression(_) => None,
            });
        lists
            .into_iter()
            .flat_map(|(key, paths)| paths.iter().enumerate().map(move |(index, path)| (key, index, path)))
            .chain(tables)
    }

    pub(super) fn questions(&self) -> Questions {
        Questions {
            resolver: self.resolver,
            bad: self.dynamic.dnsbl.clone(),
            good: self.dnswl.clone(),
            names: self.dynamic.reverse_dns || self.dynamic.excepts_names(),
            deadline: self.dynamic.deadline,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1"].map(|text| text.parse().expect("a valid network"));
        Self {
            trusted: loopback.into(),
            trusted_files: Vec::new(),
            denied: Vec::new(),
            denied_files: Vec::new(),
            dnswl: Vec::new(),
            resolver: NameServer::System,
            dynamic: Dynamic::default(),
        }
    }
}
