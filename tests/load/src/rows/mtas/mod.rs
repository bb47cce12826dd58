//! Through real MTAs: what Backstop costs their clients, in time to wait, and their hosts, in CPU time.
//!
//! No disk is measured: Postfix has its queue in memory, Sendmail delivers without writing it down first. Postfix is told
//! the clients' addresses by a proxy's line, and does not look for their names; Sendmail sees addresses of loopback.

mod native;
mod site;
mod stalls;

pub(super) use native::rows as postfix;
pub(super) use stalls::rows as stalls;
