//! Through real MTAs: what Backstop costs their clients, in time to wait, and their hosts, in CPU time.
//!
//! No disk is measured: Postfix has its queue in memory, Sendmail delivers without writing it down first. Postfix is told
//! the clients' addresses by a proxy's line, and does not look for their names; Sendmail sees addresses of loopback.

mod native;
mod site;
mod stalls;

use std::path::PathBuf;

pub use native::{Comparison, Round, Subject, compare};
pub use site::{Milter, Mta, Site};
pub use stalls::{Stalls, stalls};

/// What all rows of this kind need.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `backstop`
    pub program: PathBuf,
    /// The file of addresses that exist.
    pub addresses: PathBuf,
    /// So many are in it.
    pub count: u64,
    /// The words that keep servers to their CPU; see [`cpu::part`](crate::measure::cpu::part).
    pub pinned: Vec<String>,
}
