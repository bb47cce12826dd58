//! `[client]`, as written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DnsList, Dynamic, Network, Pattern, lookups::Questions};
use crate::net::NameServer;

/// `[client]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Networks of insiders; the MTA's own networks come in where `domains.detect` is on.
    pub trusted: Vec<Network>,
    /// Files of such networks.
    pub trusted_files: Vec<PathBuf>,
    /// Networks that may not send mail here at all.
    pub denied: Vec<Network>,
    /// Files of such networks.
    pub denied_files: Vec<PathBuf>,
    /// Lists in the DNS of clients that are known to be good.
    pub dnswl: Vec<DnsList>,
    /// Who answers questions about clients.
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
