//! What a feed keeps to go on where it was: marked, so that no feed takes another's for its own.
//!
//! A mark is the kind of feed, what it looks at (base, filter and attributes: whoever changes them wants a new list) and,
//! where a cookie is worth something only there, the server. What bears another mark counts as none: everything is listed.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Whose a cookie is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    kind: Kind,
    subject: u64,
    server: Box<[u8]>,
}

/// The kinds of feeds that have cookies. The numbers are in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Syncrepl = 1,
    DirSync = 2,
    /// DirSync without the right to replicate.
    DirSyncAsReader = 3,
    Usn = 4,
}

impl Mark {
    /// `subject`: whatever must stay the same. `server`: whose numbers they are, or nothing, if any server's will do.
    pub(super) fn new(kind: Kind, subject: &impl Hash, server: &[u8]) -> Self {
        // The hash may change with the compiler; then everything is listed once.
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        Self { kind, subject: hasher.finish(), server: server.get(..255).unwrap_or(server).into() }
    }

    /// The marked cookie.
    pub(super) fn put_on(&self, cookie: &[u8]) -> Vec<u8> {
        let mut marked = self.header();
        marked.extend_from_slice(cookie);
        marked
    }

    /// The cookie, if it bears this mark.
    pub(super) fn take_off(&self, marked: &[u8]) -> Option<Box<[u8]>> {
        marked.strip_prefix(self.header().as_slice()).map(Box::from)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![VERSION, self.kind as u8];
        header.extend_from_slice(&self.subject.to_be_bytes());
        header.push(self.server.len() as u8);
        header.extend_from_slice(&self.server);
        header
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_mark_comes_off() {
        let mark = Mark::new(Kind::Usn, &("base", "(mail=*)"), b"dc1");
        let marked = mark.put_on(b"42");
        assert_eq!(mark.take_off(&marked).as_deref(), Some(&b"42"[..]));
        for other in [
            Mark::new(Kind::Usn, &("base", "(mail=*)"), b"dc2"),
            Mark::new(Kind::Usn, &("base", "(mail=*)"), b"dc"),
            Mark::new(Kind::Usn, &("base", "(mail=*)"), b""),
            Mark::new(Kind::Usn, &("other", "(mail=*)"), b"dc1"),
            Mark::new(Kind::DirSync, &("base", "(mail=*)"), b"dc1"),
        ] {
            assert_eq!(other.take_off(&marked), None, "{other:?}");
        }
        for cut in 0..marked.len() - 2 {
            assert_eq!(mark.take_off(&marked[..cut]), None);
        }
        assert_eq!(Mark::new(Kind::Usn, &0, &[1; 300]).header().len(), 11 + 255);
    }
}
