//! A directory's whole address list, held in memory and on disk, and kept current by the directory's own feed.
//!
//! Whoever is in it exists, without a question. Who is not is asked for live before anybody calls him absent, unless the
//! feed is known to be current. While neither is possible the answer is Unknown.

mod change;

pub(super) use change::{Change, ObjectId, Recipient};
