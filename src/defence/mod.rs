//! Defences against clients: harvests of the directory, tarpit, greylist, traps, unsolicited bounces.
//!
//! It finds facts and keeps count; whether anybody is refused is the policy's choice. Failure: while the store can't be
//! asked nobody is blocked, greylisted or called unsolicited, and nobody is trusted for a time; `backstop_store_up` says so.

mod bounces;
mod config;
mod greylist;
mod harvest;
mod metrics;
mod network;
mod standing;
mod tarpit;
mod traps;

use std::sync::{Arc, atomic::AtomicBool};

pub use bounces::{Bounces, Senders, Solicited, Terms};
pub use config::Config;
pub use greylist::{Greylist, Triplet, Wait, Why};
pub use harvest::{Guess, Harvest, Purpose};
pub use metrics::Metrics;
pub use standing::{Block, Listed, Refused, Released, Standing, Standings, name as standing_name};
pub use tarpit::{Held, Tarpit};
pub use traps::Traps;

use crate::{
    address::Delimiters,
    files::{Keeper, OpenError},
    policy::{self, Rules},
    store::Store,
};

/// What a session asks, as configured now.
#[derive(Debug)]
pub struct Defences {
    /// Who is trusted for a time, and who is blocked.
    pub standings: Standings,
    /// Who guesses.
    pub harvest: Harvest,
    /// Who waits before a refusal.
    pub tarpit: Tarpit,
    /// Who has to come again.
    pub greylist: Greylist,
    /// Addresses that never existed.
    pub traps: Traps,
    /// Who wrote lately.
    pub bounces: Bounces,
}

/// What lives as long as the process, also when the configuration changes.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where counts are kept.
    pub store: Store,
    /// How the defences are counted.
    pub metrics: Metrics,
    /// The site as a whole.
    pub site: Arc<harvest::Site>,
    /// Who sleeps now.
    pub sleepers: Arc<tarpit::Sleepers>,
    /// Who wrote lately.
    pub senders: Arc<Senders>,
    /// First attempts are given up before those who made them can have come again.
    pub is_overrun: Arc<AtomicBool>,
}

impl Shared {
    /// State in this store.
    #[must_use]
    pub fn new(store: Store, metrics: Metrics) -> Self {
        let site = Arc::<harvest::Site>::default();
        let (blocked, distributed) = (Arc::clone(&site), Arc::clone(&site));
        metrics.harvesters_blocked.follow(move || blocked.blocked());
        metrics.harvest_distributed.follow(move || distributed.is_distributed().into());
        let senders = Arc::new(Senders::new(store.clone()));
        Self { store, metrics, site, sleepers: Arc::default(), senders, is_overrun: Arc::default() }
    }
}

impl Defences {
    /// Reads the traps' files. `delimiters`: what begins a sub-address. `unseen`: why somebody may write whom no session shows, or shows under another name.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn build(
        config: &Config,
        shared: &Shared,
        delimiters: &Delimiters,
        unseen: Vec<String>,
        keeper: &Keeper,
    ) -> Result<Self, OpenError> {
        let harvest = Harvest::new(&config.harvest, shared);
        Ok(Self {
            standings: Standings::new(shared, &harvest),
            harvest,
            tarpit: Tarpit::new(&config.tarpit, shared),
            greylist: Greylist::new(&config.greylist, shared),
            traps: Traps::build(&config.traps, keeper)?,
            bounces: Bounces::new(&config.bounces, shared, delimiters, unseen),
        })
    }

    /// What an admin should look at.
    #[must_use]
    pub fn notices(&self, rules: &Rules) -> Vec<String> {
        let notices = self.harvest.notice().into_iter().chain(self.traps.notices(rules));
        notices.chain(self.greylist.notice()).chain(self.bounces.notices()).collect()
    }

    /// Which questions are worth asking.
    #[must_use]
    pub fn wanted(&self) -> policy::Defences {
        policy::Defences {
            standing: true,
            traps: !self.traps.is_empty(),
            greylist: self.greylist.is_on(),
            unsolicited: self.bounces.is_on(),
            ..policy::Defences::default()
        }
    }
}

#[cfg(test)]
mod tests {
    mod simulation;
}
