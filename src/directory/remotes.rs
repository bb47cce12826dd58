//! The directories on other servers that are in use: they outlive a reload of the configuration.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{
    BuildError, Config, Metrics, Source, ldap,
    remote::{Backend, Remote},
    smtp, sql,
};

/// Opens directories on other servers. One that is asked for again with an unchanged configuration is handed out again,
/// with its connections and all that it remembers.
#[derive(Debug)]
pub struct Remotes {
    metrics: Metrics,
    open: Mutex<Vec<(String, Config, Weak<Remote>)>>,
}

impl Remotes {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    /// The source that `[directory.NAME]` describes. Connects nowhere, but reads files.
    pub(super) fn open(&self, name: &str, config: &Config) -> Result<Source, BuildError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(.., remote)| remote.strong_count() > 0);
        let same = open.iter().find(|(kept, as_was, _)| kept == name && as_was == config);
        if let Some(remote) = same.and_then(|(.., remote)| remote.upgrade()) {
            return Ok(Source::Remote(remote));
        }
        let key = format!("directory.{name}");
        let (backend, deadline) = match config {
            Config { ldap: Some(ldap), .. } => {
                (Backend::Ldap(ldap::Client::build(&key, ldap)?), ldap.deadline)
            }
            Config { sql: Some(sql), .. } => (Backend::Sql(sql::Client::build(&key, sql)?), sql.deadline),
            Config { smtp: Some(smtp), .. } => {
                (Backend::Smtp(smtp::Client::build(&key, smtp)?), smtp.deadline)
            }
            _ => return Err(BuildError::Kind { key }),
        };
        let remote = Arc::new(Remote::new(name, backend, deadline, &config.cache, &self.metrics));
        open.push((name.to_owned(), config.clone(), Arc::downgrade(&remote)));
        Ok(Source::Remote(remote))
    }
}
