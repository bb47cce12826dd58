//! A directory's whole address list, held in memory and on disk, and kept current by the directory's own feed.
//!
//! Whoever is in it exists, without a question. Who is not is asked for live before anybody calls him absent, unless the
//! feed is known to be current. While neither is possible the answer is Unknown.

mod change;
mod config;
mod writer;

pub(super) use change::{Change, ObjectId, Recipient};
pub use config::Config;
pub(super) use writer::{Lost, Writer};

use super::{ldap, remote::Failure, sql};

/// What keeps a replica current.
#[derive(Debug)]
pub(super) enum Feed {
    Ldap(ldap::Follower),
    Sql(sql::Follower),
}

impl Feed {
    /// Follows the directory and tells the writer, from where the writer's cookie says. Returns only when that fails: it
    /// is run again after a pause, with the same writer. It may be dropped at any await, and it may panic.
    ///
    /// A feed that only lists waits `refresh` between two listings, but looks at whatever it can tell changes by in
    /// between.
    pub(super) async fn run(&mut self, writer: &mut Writer) -> Failure {
        match self {
            Self::Ldap(follower) => follower.run(writer).await,
            Self::Sql(follower) => follower.run(writer).await,
        }
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        Self::new(super::Why::NoContent, lost)
    }
}
