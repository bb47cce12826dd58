//! The configuration of domains, recipients and directories, as written.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{file, ldap, remote, replica, smtp, sql};
use crate::policy::{Locals, Unavailable};

/// All `[directory.NAME]`, by name.
pub type Configs = BTreeMap<String, Config>;

/// `[directory.NAME]`: exactly one of the kinds `file`, `ldap`, `sql` and `smtp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The domains it is in charge of. They are local then. Default: those in `names` and `files` of `[domains]`,
    /// never detected ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// While it can't tell: `defer` answers `451 4.4.3`, `continue` lets the recipient pass. Recipients from trusted
    /// clients always pass. Of several directories that can't tell, one with `defer` is enough.
    #[serde(default = "defer")]
    pub on_unavailable: Unavailable,
    /// `[directory.NAME.file]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<file::Config>,
    /// `[directory.NAME.ldap]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ldap: Option<ldap::Config>,
    /// `[directory.NAME.sql]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<sql::Config>,
    /// `[directory.NAME.smtp]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<smtp::Config>,
    /// `[directory.NAME.cache]`: how long answers of a server are remembered.
    #[serde(default)]
    pub cache: remote::Times,
    /// `[directory.NAME.replica]`: how the whole list is kept.
    #[serde(default)]
    pub replica: replica::Config,
}

impl Config {
    /// Whether `domains` names this one, as `example.com` or `.example.com`.
    #[must_use]
    pub fn names(&self, domain: &str) -> bool {
        let mut words = self.domains.iter().flatten();
        words.any(|word| word.eq_ignore_ascii_case(domain))
    }
}

/// `[domains]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domains {
    /// Ask the MTA on this host for its domains, users, sub-address delimiters, trusted networks and probe addresses.
    pub detect: bool,
    /// More local domains. `.example.org` means its subdomains, not itself.
    pub names: Vec<String>,
    /// Files of them, [one a line](#domain-files); their content is [followed](#files-that-change).
    pub files: Vec<PathBuf>,
}

/// `[recipients]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipients {
    /// Each of these characters begins a sub-address, as in Postfix' `recipient_delimiter`. `""` for none. In
    /// detected domains the MTA's own count as well.
    pub delimiters: String,
    /// Local parts that are left alone by the defences against clients: never blocked, put off, taken for a trap, or
    /// refused a bounce. They still have to exist.
    pub exempt: Vec<String>,
    /// Domains that take every recipient; suspensions still count.
    pub catch_all: Vec<String>,
}

impl Default for Domains {
    fn default() -> Self {
        Self { detect: true, names: Vec::new(), files: Vec::new() }
    }
}

impl Recipients {
    /// `exempt` in comparison form.
    #[must_use]
    pub fn exempt(&self) -> Locals {
        self.exempt.iter().map(|local| local.to_lowercase()).collect()
    }
}

impl Default for Recipients {
    fn default() -> Self {
        Self { delimiters: "+".to_owned(), exempt: vec!["abuse".to_owned()], catch_all: Vec::new() }
    }
}

impl Config {
    /// The kind of a directory on another server, and how long a question to it may take.
    pub fn deadline(&self) -> Option<(&'static str, Duration)> {
        let ldap = self.ldap.as_ref().map(|ldap| ("ldap", ldap.deadline));
        let sql = self.sql.as_ref().map(|sql| ("sql", sql.deadline));
        let smtp = self.smtp.as_ref().map(|smtp| ("smtp", smtp.deadline));
        ldap.or(sql).or(smtp)
    }

    /// Tells `say` what can't be used: where, below `directory.NAME`, and why.
    pub fn check(&self, say: &mut dyn FnMut(&[&str], String)) {
        let kinds = [self.file.is_some(), self.ldap.is_some(), self.sql.is_some(), self.smtp.is_some()];
        match kinds.into_iter().filter(|&given| given).count() {
            0 => say(
                &[],
                "says nothing about where recipients are; add a table such as [directory.NAME.file]"
                    .to_owned(),
            ),
            1 => {}
            _ => say(&[], "has several kinds; make a directory of its own of each".to_owned()),
        }
        if let Some(ldap) = &self.ldap {
            ldap.check(&mut |key, message| say(&["ldap", key], message));
        }
        if let Some(sql) = &self.sql {
            sql.check(&mut |key, message| say(&["sql", key], message));
        }
        if let Some(smtp) = &self.smtp {
            smtp.check(&mut |key, message| say(&["smtp", key], message));
        }
        if !replica::is_wanted(self) {
            if self.replica != replica::Config::default() {
                say(&["replica"], "counts for a replica only, and this directory keeps none".to_owned());
            }
            for key in self.ldap.iter().flat_map(ldap::Config::ignored) {
                say(&["ldap", key], "counts for a replica only, and `source` is \"live\"".to_owned());
            }
        }
        if self.cache != remote::Times::default() {
            if self.file.is_some() {
                say(
                    &["cache"],
                    "counts for directories on other servers only; a file is in memory".to_owned(),
                );
            } else if replica::is_wanted(self) {
                let message = "counts for directories that are asked live only; a replica has the whole list";
                say(&["cache"], message.to_owned());
            }
        }
        self.replica.check(&mut |key, message| say(&["replica", key], message));
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: None,
            on_unavailable: defer(),
            file: None,
            ldap: None,
            sql: None,
            smtp: None,
            cache: remote::Times::default(),
            replica: replica::Config::default(),
        }
    }
}

fn defer() -> Unavailable {
    Unavailable::Defer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_ignored_is_refused() {
        let ldap = |more: &str| format!(r#"{{"ldap": {{"urls": ["ldaps://h"], "base": "dc=x"{more}}}"#);
        let live = ldap(r#", "source": "live""#);
        for (written, wrong) in [
            (ldap("") + "}", vec![]),
            (live.clone() + "}", vec![]),
            (ldap(r#", "feed": "paged", "page_size": 100"#) + r#", "replica": {"refresh": "1m"}}"#, vec![]),
            (live.clone() + r#", "replica": {"refresh": "1m"}}"#, vec!["replica"]),
            (ldap(r#", "source": "live", "feed": "paged""#) + "}", vec!["ldap.feed"]),
            (ldap(r#", "source": "live", "page_size": 100"#) + "}", vec!["ldap.page_size"]),
            (live + r#", "cache": {"positive": "1m"}}"#, vec![]),
            (ldap("") + r#", "cache": {"positive": "1m"}}"#, vec!["cache"]),
            (r#"{"file": {"path": "/x"}}"#.to_owned(), vec![]),
            (r#"{"file": {"path": "/x"}, "cache": {"positive": "1m"}}"#.to_owned(), vec!["cache"]),
            (r#"{"file": {"path": "/x"}, "replica": {"max_shrink": 0.5}}"#.to_owned(), vec!["replica"]),
        ] {
            let config: Config = serde_json::from_str(&written).unwrap();
            let mut said = Vec::new();
            config.check(&mut |key, _| said.push(key.join(".")));
            assert_eq!(said, wrong, "{written}");
        }
    }
}
