//! What a store can be asked to do.

use std::time::Duration;

use smallvec::SmallVec;

/// A kind of state. Each has a bound of its own, so that a flood of one can't drive out another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Clients that are trusted for a time.
    Trusts,
    /// Clients that are blocked.
    Blocks,
    /// Counts of what clients asked for.
    Harvest,
    /// First attempts.
    Greylist,
    /// Clients and senders that came back.
    Passed,
    /// Local senders who wrote lately.
    Senders,
    /// Suspended recipients.
    Suspensions,
    /// Secrets of the site, e.g. of its keyed hashes.
    Secrets,
}

/// What a value is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// In which table.
    pub table: Table,
    /// Which of it.
    pub id: SmallVec<[u8; 32]>,
}

/// One thing to do; each is done as a whole, also when others use the same key at the same time. `ttl`: how long from now
/// the value is kept, at least [`SHORTEST`] and at most [`LONGEST`] whatever is said. A key holds values or a count, never
/// both by turns; a count read as a value is its decimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// What is there? Gives [`Outcome::Value`].
    Get(Key),
    /// Puts a value in the place of what is there. Gives [`Outcome::Done`].
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Vec<u8>,
        /// How long.
        ttl: Duration,
    },
    /// Puts a value there if none is. Gives what was there before as [`Outcome::Value`].
    PutNew {
        /// Where.
        key: Key,
        /// What.
        value: Vec<u8>,
        /// How long.
        ttl: Duration,
    },
    /// Adds to a count, which begins at 0. Gives the sum as [`Outcome::Count`]. The time to live is set when the count
    /// begins, and not changed after that.
    Add {
        /// Where.
        key: Key,
        /// How many.
        by: u32,
        /// How long.
        ttl: Duration,
    },
    /// Reads a count. Gives [`Outcome::Count`], 0 where there is none.
    Count(Key),
    /// Takes away what is there. Gives [`Outcome::Done`].
    Remove(Key),
}

/// What became of an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What is there, or was.
    Value(Option<Vec<u8>>),
    /// A count.
    Count(u64),
    /// It is so now.
    Done,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, within the table.
    pub id: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// How long it is kept yet.
    pub left: Duration,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Trusts,
        Self::Blocks,
        Self::Harvest,
        Self::Greylist,
        Self::Passed,
        Self::Senders,
        Self::Suspensions,
        Self::Secrets,
    ];

    /// So many entries of it are kept in the memory of a process; of more, those go that are the least useful: low counts,
    /// then what ends next. An entry takes about 150 bytes.
    #[must_use]
    pub const fn capacity(self) -> usize {
        match self {
            Self::Trusts | Self::Blocks => 250_000,
            Self::Harvest | Self::Passed => 500_000,
            Self::Greylist | Self::Senders | Self::Suspensions => 1_000_000,
            Self::Secrets => 10_000,
        }
    }

    /// Lower counts are not written down: under an attack they are of many who come once and never again. Whoever counts what
    /// must not be lost counts in larger steps.
    pub(super) const fn least_written(self) -> u64 {
        match self {
            Self::Harvest => 5,
            _ => 0,
        }
    }

    /// The name in keys and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusts => "trusts",
            Self::Blocks => "blocks",
            Self::Harvest => "harvest",
            Self::Greylist => "greylist",
            Self::Passed => "passed",
            Self::Senders => "senders",
            Self::Suspensions => "suspensions",
            Self::Secrets => "secrets",
        }
    }
}

impl Key {
    /// The value of this name in the table.
    pub fn new(table: Table, id: impl AsRef<[u8]>) -> Self {
        Self { table, id: SmallVec::from_slice(id.as_ref()) }
    }
}

impl Op {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        let (Self::Get(key)
        | Self::Put { key, .. }
        | Self::PutNew { key, .. }
        | Self::Add { key, .. }
        | Self::Count(key)
        | Self::Remove(key)) = self;
        key
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Count(_))
    }
}

impl Outcome {
    /// The value that a [`Op::Get`] or [`Op::PutNew`] found.
    #[must_use]
    pub fn value(self) -> Option<Vec<u8>> {
        match self {
            Self::Value(value) => value,
            Self::Count(_) | Self::Done => None,
        }
    }

    /// The same, lent.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Value(value) => value.as_deref(),
            Self::Count(_) | Self::Done => None,
        }
    }

    /// The count of an [`Op::Add`] or [`Op::Count`]; 0 for others.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Count(count) => *count,
            Self::Value(_) | Self::Done => 0,
        }
    }
}

/// How long a value is really kept.
pub(super) fn lasting(ttl: Duration) -> Duration {
    ttl.clamp(SHORTEST, LONGEST)
}

/// What Redis can count.
pub const SHORTEST: Duration = Duration::from_millis(1);
/// A hundred years: as good as for ever, and within what clocks can tell.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
