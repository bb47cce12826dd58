//! Spam traps: addresses that never existed. Whoever writes to one has guessed it, or bought it.
//!
//! It knows what the administrator listed. Whether such an address is somebody's all the same is for the directories to say,
//! and then it is no trap; here that is only noted, for the administrator. Failure: what can't be read is no trap.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    address::{Address, AddressSet},
    files::{Keeper, Loaded, OpenError, Spec, Watched, read_words},
    policy::{Locals, Rules},
    telemetry::log::shown,
};

/// `[defence.traps]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `bait@example.com`; `bait`, in every local domain; `@example.com` or `example.com`, a whole domain. Never
    /// `postmaster`, nor what is in `recipients.exempt`.
    pub addresses: Vec<String>,
    /// The same, in the format of [suspension files](#suspension-files); their content is
    /// [followed](#files-that-change).
    pub files: Vec<PathBuf>,
}

/// All traps.
#[derive(Debug)]
pub struct Traps {
    listed: AddressSet,
    files: Option<Watched<AddressSet>>,
    /// Those that are somebody's, the first few.
    existing: Mutex<BTreeSet<String>>,
}

impl Config {
    /// Tells `say` which key can't be used, and why. `exempt`: local parts that the defences leave alone.
    pub fn check(&self, exempt: &Locals, say: &mut dyn FnMut(&'static str, String)) {
        let rules = Rules { exempt: exempt.clone(), ..Rules::default() };
        for word in &self.addresses {
            let mut listed = AddressSet::default();
            if let Err(error) = listed.add(word.as_bytes()) {
                say(
                    "addresses",
                    format!("{word:?} is neither an address, a local part nor a domain: {error}"),
                );
            }
            if listed.users().any(|(_, local)| rules.is_no_trap(local)) {
                say(
                    "addresses",
                    format!(
                        "{word:?} can be no trap: it must always be reachable, or is in recipients.exempt"
                    ),
                );
            }
        }
    }
}

impl Traps {
    /// Opens the files. Blocks while they are read.
    ///
    /// # Errors
    /// When one is missing, unreadable, or makes no sense.
    pub(super) fn build(config: &Config, keeper: &Keeper) -> Result<Self, OpenError> {
        let mut listed = AddressSet::default();
        for word in &config.addresses {
            // The configuration was checked; what makes no sense is no trap.
            let _ = listed.add(word.as_bytes());
        }
        let mut files = None;
        if !config.files.is_empty() {
            let spec = Spec {
                name: "traps".to_owned(),
                kind: "traps",
                paths: config.files.clone(),
                report: Box::new(|_| {}),
            };
            files = Some(keeper.open(spec, |texts| {
                let mut content = AddressSet::default();
                let (entries, faults) = read_words(texts, |word| content.add(word))?;
                // Fewer traps refuse nobody.
                Ok(Loaded { content, entries, faults, may_shrink: true })
            })?);
        }
        Ok(Self { listed, files, existing: Mutex::default() })
    }

    /// Whether this address, exactly as it is, its local part or its domain is listed. Costs no lock.
    #[must_use]
    pub fn lists(&self, address: &Address) -> bool {
        let in_files = || Some(self.files.as_ref()?.current().as_ref()?.find(address).is_some());
        self.listed.find(address).is_some() || in_files().unwrap_or(false)
    }

    /// There are none, and no file that may name some later.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.files.is_none()
    }

    /// A directory knows this one: it is no trap, and the administrator should know.
    pub fn note_existing(&self, address: &Address) {
        let mut existing = self.existing.lock().unwrap_or_else(PoisonError::into_inner);
        if existing.len() < MOST_NOTED && existing.insert(address.to_string()) {
            let address = address.to_string();
            warn!(
                address = &*shown(address.as_bytes()),
                "listed as a trap, but a directory knows it: its mail passes"
            );
        }
    }

    /// Files whose present content is not in use, and addresses that are no traps.
    #[must_use]
    pub fn notices(&self, rules: &Rules) -> Vec<String> {
        let in_files = self.files.as_ref().and_then(|files| files.current().clone());
        // `addresses` were checked.
        let free = in_files.iter().flat_map(|listed| listed.users());
        let free = free.filter(|(_, local)| rules.is_no_trap(local)).take(MOST_NOTED).map(|(entry, _)| {
            format!("traps: {entry} is listed, but must always be reachable, or is in recipients.exempt: it is no trap")
        });
        let free: Vec<String> = free.collect();
        let existing = self.existing.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = existing.iter().map(|address| {
            format!("traps: {address} is listed, but a directory knows it; mail for it passes")
        });
        self.files.iter().filter_map(|files| files.status().notice()).chain(free).chain(existing).collect()
    }
}

/// Enough to see that the list is wrong.
const MOST_NOTED: usize = 10;

#[cfg(test)]
mod tests;
