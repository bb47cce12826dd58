//! The text file of suspensions, and what it says. Toriss' toriss_suspensions.txt is one.

use crate::{
    address::AddressSet,
    files::{LoadError, Loaded, Text, read_words},
};

/// Reads suspensions: `user@example.com`, `user`, `@example.com` or `example.com` a line, `#` comments.
pub(super) fn load(texts: &mut [Text]) -> Result<Loaded<AddressSet>, LoadError> {
    let mut content = AddressSet::default();
    let (entries, faults) = read_words(texts, |word| content.add(word))?;
    // To hold back what is gone would refuse mail for those who were let in again.
    Ok(Loaded { content, entries, faults, may_shrink: true })
}
