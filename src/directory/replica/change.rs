//! What a feed tells of a directory's objects.

use crate::{directory::Entry, policy::Attributes};

/// What the directory itself calls an object for as long as it is there, whatever its name: an `entryUUID`, an
/// `objectGUID`, or (SQL) the address.
pub(in crate::directory) type ObjectId = Box<[u8]>;

/// One recipient that an object stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::directory) struct Recipient {
    /// Its address.
    pub(in crate::directory) entry: Entry,
    /// What goes for it.
    pub(in crate::directory) attributes: Attributes,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::directory) enum Change {
    /// It stands for these recipients now, and for no others; for none, if it is no recipient (any more).
    Put(ObjectId, Vec<Recipient>),
    /// It is gone.
    Remove(ObjectId),
}
