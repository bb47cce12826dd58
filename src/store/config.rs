//! The configuration of the store, as written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::net::{Password, TlsOptions, client_config};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `embedded:/DIRECTORY` is a directory of this host, made when it is needed. Where it can't be written, the
    /// store and [replicas](#replicas) live in memory, with one warning. `redis://[USER@]HOST[:PORT][/DATABASE]`,
    /// `rediss://…` and `redis+unix:/SOCKET[?db=DATABASE&user=USER]` are a [server that speaks the protocol of
    /// Redis](operations.md#redis), for several MX hosts; `rediss:` is with TLS. Port 6379, database 0.
    pub url: Place,
    /// With Redis: where this host's own files are, such as [replicas](#replicas) and what [reports](report.md) tell;
    /// an absolute path.
    pub directory: PathBuf,
    /// A file (its absolute path) with the password for Redis and nothing else. Read for each new connection: a changed password needs no
    /// restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authorities to trust for `rediss:`, PEM; default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Redis has this long for one answer; at most 2 s. What takes longer is no answer, and the next one is asked for
    /// over a new connection.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// What the names of the keys in Redis begin with: 1 to 64 letters, digits and `: . _ - { } /`. Sites that share
    /// a server without sharing their state have one each.
    pub prefix: String,
}

impl Config {
    /// The directory for the files of this process; made, if it is not there.
    ///
    /// # Errors
    /// When it can't be made or written to.
    pub fn directory(&self) -> io::Result<PathBuf> {
        let directory = self.place_of_files();
        fs::create_dir_all(directory)?;
        nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)?;
        Ok(directory.to_owned())
    }

    /// The same as it is written; it may not be there.
    #[must_use]
    pub fn place_of_files(&self) -> &Path {
        match &self.url {
            Place::Embedded(directory) => directory,
            Place::Redis(_) => &self.directory,
        }
    }

    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        match &self.url {
            Place::Embedded(_) => {
                for (key, is_given) in
                    [("password_file", self.password_file.is_some()), ("ca_file", self.ca_file.is_some())]
                {
                    if is_given {
                        say(
                            key,
                            "a directory of this host has none: it goes with redis:// or rediss://"
                                .to_owned(),
                        );
                    }
                }
            }
            Place::Redis(server) => {
                match &self.password_file {
                    None if server.user.is_some() => {
                        say("url", "names a user, and there is no password_file".to_owned());
                    }
                    None => {}
                    Some(file) => {
                        if let Err(error) = Password::open(file) {
                            say("password_file", error.to_string());
                        }
                    }
                }
                match &self.ca_file {
                    Some(_) if !server.has_tls() => {
                        say("ca_file", "there is no connection to secure: write rediss://".to_owned());
                    }
                    Some(file) => {
                        let options = TlsOptions { ca_file: Some(file.clone()), ..TlsOptions::default() };
                        if let Err(error) = client_config(&options) {
                            say("ca_file", error.to_string());
                        }
                    }
                    None => {}
                }
            }
        }
        if !self.directory.is_absolute() {
            say("directory", "must be an absolute path".to_owned());
        }
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            say("deadline", format!("must be more than 0 and at most {LONGEST_DEADLINE:?}"));
        }
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b":._-{}/".contains(&byte);
        if self.prefix.is_empty() || self.prefix.len() > LONGEST_PREFIX || !self.prefix.bytes().all(may) {
            let message = format!("must be 1 to {LONGEST_PREFIX} letters, digits and : . _ - {{ }} /");
            say("prefix", message);
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let directory = PathBuf::from("/var/lib/backstop");
        Self {
            url: Place::Embedded(directory.clone()),
            directory,
            password_file: None,
            ca_file: None,
            deadline: Duration::from_millis(250),
            prefix: "backstop:".to_owned(),
        }
    }
}

/// Together with limits.lookup it stays below what MTAs wait for.
const LONGEST_DEADLINE: Duration = Duration::from_secs(2);
const LONGEST_PREFIX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str, change: impl FnOnce(&mut Config)) -> Vec<(&'static str, String)> {
        let mut config = Config { url: url.parse().unwrap(), ..Config::default() };
        change(&mut config);
        let mut found = Vec::new();
        config.check(&mut |key, message| found.push((key, message)));
        found
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, "secret\n").unwrap();
        let junk = dir.path().join("ca.pem");
        fs::write(&junk, "junk").unwrap();
        assert_eq!(said("embedded:/x", |_| {}), []);
        assert_eq!(said("redis://u@h", |config| config.password_file = Some(password.clone())), []);
        let (none, long) = (dir.path().join("none"), "p".repeat(65));
        type Change = Box<dyn FnOnce(&mut Config)>;
        let wrong: Vec<(&str, Change, &str, &str)> = vec![
            ("redis://u@h", Box::new(|_| {}), "url", "password_file"),
            ("redis://h", Box::new(move |c| c.password_file = Some(none)), "password_file", "No such file"),
            ("redis://h", Box::new(|c| c.ca_file = Some("/x".into())), "ca_file", "rediss://"),
            ("rediss://h", Box::new(move |c| c.ca_file = Some(junk)), "ca_file", "no certificate"),
            ("embedded:/x", Box::new(move |c| c.password_file = Some(password)), "password_file", "redis://"),
            ("embedded:/x", Box::new(|c| c.ca_file = Some("/x".into())), "ca_file", "redis://"),
            ("redis://h", Box::new(|c| c.deadline = Duration::ZERO), "deadline", "at most 2s"),
            ("redis://h", Box::new(|c| c.deadline = Duration::from_secs(3)), "deadline", "at most 2s"),
            ("redis://h", Box::new(|c| c.prefix = String::new()), "prefix", "1 to 64"),
            ("redis://h", Box::new(|c| c.prefix = "a*".into()), "prefix", "letters"),
            ("redis://h", Box::new(move |c| c.prefix = long), "prefix", "1 to 64"),
            ("redis://h", Box::new(|c| c.directory = "state".into()), "directory", "absolute"),
        ];
        for (url, change, key, part) in wrong {
            let said = said(url, change);
            let [(place, message)] = &said[..] else { panic!("{url} {key}: {said:?}") };
            assert_eq!(*place, key, "{message}");
            assert!(message.contains(part), "{key}: {message}");
        }
    }
}
