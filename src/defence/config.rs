//! `[defence]`, as written.

use serde::{Deserialize, Serialize};

use super::{bounces, greylist, harvest, tarpit, traps};
use crate::policy::Locals;

/// `[defence]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[defence.harvest]`
    pub harvest: harvest::Config,
    /// `[defence.tarpit]`
    pub tarpit: tarpit::Config,
    /// `[defence.greylist]`
    pub greylist: greylist::Config,
    /// `[defence.traps]`
    pub traps: traps::Config,
    /// `[defence.bounces]`
    pub bounces: bounces::Config,
}

impl Config {
    /// Tells `say` what can't be used: where, below `defence`, and why. `exempt`: `recipients.exempt`, in comparison form.
    pub fn check(&self, exempt: &Locals, say: &mut dyn FnMut(&[&str], String)) {
        self.harvest.check(&mut |key, message| say(&["harvest", key], message));
        self.tarpit.check(&mut |key, message| say(&["tarpit", key], message));
        self.greylist.check(&mut |key, message| say(&["greylist", key], message));
        self.traps.check(exempt, &mut |key, message| say(&["traps", key], message));
        self.bounces.check(&mut |key, message| say(&["bounces", key], message));
    }
}
