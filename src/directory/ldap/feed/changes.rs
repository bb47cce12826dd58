//! What feeds of Active Directory have in common: they tell which objects changed, and these are then read again, whole.
//!
//! An object that is not found again, below the base and by the filter, is no recipient (any more).

use std::collections::HashMap;

use ldap3::Scope;

use super::{
    End,
    controls::show_deleted,
    link::{ANYTHING, BULK, Link, QUICK, Query, guid_of},
    listing::Again,
    names::{Guid, filter_of_guids},
    subject::Subject,
};
use crate::directory::{
    ldap::{fault::Fault, object::Object},
    replica::{Change, ObjectId, Recipient},
};

/// Objects that changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    gone: Vec<Guid>,
    changed: Vec<Guid>,
    /// Those that may have come from elsewhere, or gone there, with all that is below them.
    moved: Vec<(Guid, String)>,
    /// More than are kept.
    too_many: bool,
}

impl Changes {
    /// Takes down an object. `moved`: its place or name may be another than before.
    pub(super) fn note(&mut self, entry: Object, moved: bool) {
        let Some(guid) = guid_of(&entry) else { return };
        if self.gone.len() + self.changed.len() >= MOST_CHANGES {
            self.too_many = true;
            return;
        }
        if is_deleted(&entry) {
            self.gone.push(guid);
            return;
        }
        self.changed.push(guid);
        if moved {
            self.moved.push((guid, entry.dn));
        }
    }

    /// There were more than are kept: everything must be listed.
    pub(super) fn are_too_many(&self) -> bool {
        self.too_many
    }

    /// There were none.
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.changed.is_empty()
    }

    /// What they mean for the replica; `None`: a whole part of the tree came or went, or there are very many, and everything
    /// must be listed.
    ///
    /// # Errors
    /// Also [`Fault::Blind`], if something is out of sight, and all else is.
    pub(super) async fn read(
        mut self,
        link: &mut Link,
        subject: &Subject,
        context: &str,
        again: &mut Again,
    ) -> Result<Option<Vec<Change>>, End> {
        if self.too_many {
            return Ok(None);
        }
        self.changed.sort_unstable();
        self.changed.dedup();
        let mut found = HashMap::with_capacity(self.changed.len());
        for some in self.changed.chunks(AT_ONCE) {
            found.extend(read(link, subject, some).await?);
        }
        // What moves within the base stays in the list. An object moves with all that is below it, and that is not told.
        if subject.is_part_of(context) {
            let others: Vec<_> =
                self.moved.iter().filter(|(guid, _)| !found.contains_key(guid.as_slice())).collect();
            if others.len() > MOST_MOVED {
                return Ok(None);
            }
            for (_, name) in others {
                if link.has_children(name).await? {
                    return Ok(None);
                }
            }
        }
        let missing = self.changed.iter().filter(|guid| !found.contains_key(guid.as_slice())).count();
        if missing > 0 && !link.sees_anybody(subject).await? {
            return Err(Fault::Blind.into());
        }
        if is_doubtful(self.changed.len(), missing) {
            // Who is not found any more may be out of sight, or no recipient, now or ever: a listing tells, and what it
            // takes away is held back if it is much.
            again.owe();
            self.changed.retain(|guid| found.contains_key(guid.as_slice()));
        }
        let gone = self.gone.into_iter().map(|guid| Change::Remove(guid.into()));
        let changed = self.changed.into_iter().map(|guid| {
            let id = ObjectId::from(guid);
            let recipients = found.remove(&id).unwrap_or_default();
            Change::Put(id, recipients)
        });
        Ok(Some(gone.chain(changed).collect()))
    }
}

/// Those of the objects that are recipients.
async fn read(
    link: &mut Link,
    subject: &Subject,
    guids: &[Guid],
) -> Result<Vec<(ObjectId, Vec<Recipient>)>, End> {
    let (filter, attributes) = (filter_of_guids(&subject.filter, guids), subject.attributes());
    let query =
        Query { base: &subject.base, scope: Scope::Subtree, filter: &filter, attributes: &attributes };
    let page = link.search(&query, Vec::new(), BULK).await?;
    subject.read(link, page.entries).await
}

/// Whether the account may read what is left of deleted objects: it may if it may read what they are in.
pub(super) async fn sees_deleted(link: &mut Link, context: &str) -> Result<bool, End> {
    let name = format!("CN=Deleted Objects,{context}");
    let query = Query { base: &name, scope: Scope::Base, filter: ANYTHING, attributes: &["objectGUID"] };
    match link.search(&query, vec![show_deleted()], QUICK).await {
        Ok(page) => Ok(page.entries.iter().any(|entry| guid_of(entry).is_some())),
        Err(End::Fault(Fault::Search(_) | Fault::Base(..))) => Ok(false),
        Err(end) => Err(end),
    }
}

/// Whether so many changed objects that are not found look as if rights were taken away.
fn is_doubtful(changed: usize, missing: usize) -> bool {
    missing > MOST_MISSING && missing > changed / 2
}

/// Whether it is the rest of a deleted object (MS-ADTS §3.1.1.5.5.1).
pub(super) fn is_deleted(entry: &Object) -> bool {
    entry.text("isDeleted").is_some_and(|value| value.eq_ignore_ascii_case("TRUE"))
}

/// Objects read with one search. A filter may have some 1000 parts on some servers.
const AT_ONCE: usize = 100;
/// Beyond that it is quicker to list everything.
const MOST_MOVED: usize = 100;
/// Changes that are kept in memory.
const MOST_CHANGES: usize = 100_000;
/// Of objects that changed together, so many may be out of sight.
const MOST_MISSING: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_the_lesser_part_may_be_out_of_sight() {
        for (changed, missing, doubtful) in [
            (20, 20, false),
            (21, 21, true),
            (40, 21, true),
            (42, 21, false),
            (1000, 400, false),
            (0, 0, false),
        ] {
            assert_eq!(is_doubtful(changed, missing), doubtful, "{missing} of {changed}");
        }
    }

    #[test]
    fn a_flood_of_changes_is_not_kept() {
        let mut changes = Changes::default();
        for number in 0..=MOST_CHANGES {
            assert!(!changes.are_too_many(), "{number}");
            changes.note(Object::of(&[("objectGUID", &["0123456789abcdef"])]), true);
        }
        assert!(changes.are_too_many() && !changes.is_empty());
        assert_eq!(changes.changed.len(), MOST_CHANGES);
    }
}
