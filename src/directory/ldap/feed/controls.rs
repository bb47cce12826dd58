//! The controls and messages of the change feeds, from and to BER (X.690), by hand.
//!
//! ldap3's own parsers panic at malformed values; these never do, and allocate no more than the value's own size. What is
//! malformed is an error that ends the feed: no part of such a message counts.

use ldap3::{
    asn1::{PL, StructureTag},
    controls::{Control, RawControl},
};

/// A control, or a message, that is not what its specification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a malformed {0}")]
pub(super) struct Malformed(&'static str);

/// An `entryUUID`, 16 octets (RFC 4530; `syncUUID` of RFC 4533 §2.1).
pub(super) type Uuid = [u8; 16];

/// What a Sync State Control says became of an entry (RFC 4533 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryState {
    /// It is as it was.
    Present,
    /// It is new, or may be.
    Add,
    /// It changed.
    Modify,
    /// It is gone, or no longer in the scope of the search.
    Delete,
}

/// The Sync State Control (RFC 4533 §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyncState {
    pub(super) state: EntryState,
    pub(super) uuid: Uuid,
    pub(super) cookie: Option<Box<[u8]>>,
}

/// The Sync Done Control (RFC 4533 §2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyncDone {
    pub(super) cookie: Option<Box<[u8]>>,
    /// The deletions were told; else whoever was not mentioned is gone.
    pub(super) refresh_deletes: bool,
}

/// The Sync Info Message (RFC 4533 §2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyncInfo {
    NewCookie(Box<[u8]>),
    /// The end of a delete phase.
    RefreshDelete {
        cookie: Option<Box<[u8]>>,
        done: bool,
    },
    /// The end of a present phase.
    RefreshPresent {
        cookie: Option<Box<[u8]>>,
        done: bool,
    },
    /// Entries that are gone (`deletes`), or that are as they were.
    IdSet {
        cookie: Option<Box<[u8]>>,
        deletes: bool,
        uuids: Vec<Uuid>,
    },
}

/// How a consumer wants to be kept current (RFC 4533 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncMode {
    /// Tell what changed, and end.
    RefreshOnly = 1,
    /// Tell what changed, and then what changes.
    RefreshAndPersist = 3,
}

/// What comes with an answer to a DirSync search (MS-ADTS §3.1.1.3.4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirSync {
    /// There is more to fetch with this cookie.
    pub(super) more: bool,
    pub(super) cookie: Box<[u8]>,
}

/// The Sync Request Control (RFC 4533 §2.2), critical.
pub(super) fn sync_request(mode: SyncMode, cookie: Option<&[u8]>) -> RawControl {
    let mut value = Vec::new();
    write(&mut value, ENUMERATED, &[mode as u8]);
    if let Some(cookie) = cookie {
        write(&mut value, OCTET_STRING, cookie);
    }
    control(SYNC_REQUEST, Some(sequence(&value)))
}

/// The DirSync control of a request, critical. `as_reader`: see only what the account may read, which takes no right to
/// replicate (`LDAP_DIRSYNC_OBJECT_SECURITY`).
pub(super) fn dirsync_request(as_reader: bool, cookie: &[u8]) -> RawControl {
    let mut value = Vec::new();
    write_integer(&mut value, u32::from(as_reader));
    // A server takes its own limit where that is lower.
    write_integer(&mut value, DIRSYNC_BYTES);
    write(&mut value, OCTET_STRING, cookie);
    control(DIRSYNC, Some(sequence(&value)))
}

/// The control that shows deleted objects, too (MS-ADTS §3.1.1.3.4.1.14), critical.
pub(super) fn show_deleted() -> RawControl {
    control(SHOW_DELETED, None)
}

/// The Paged Results control of a request (RFC 2696), critical: a server without it would cut the list short.
pub(super) fn page_request(size: u32, cookie: &[u8]) -> RawControl {
    let mut value = Vec::new();
    write_integer(&mut value, size);
    write(&mut value, OCTET_STRING, cookie);
    control(PAGED_RESULTS, Some(sequence(&value)))
}

/// The cookie for the next page (RFC 2696); `None`: this was the last one.
pub(super) fn next_page(controls: &[Control]) -> Result<Option<Box<[u8]>>, Malformed> {
    let Some(value) = value_of(controls, PAGED_RESULTS) else { return Ok(None) };
    let read = |value| {
        let mut fields = whole(value, SEQUENCE)?;
        integer(fields.take(INTEGER)?)?;
        let cookie = fields.take(OCTET_STRING)?;
        fields.end()?;
        Some(cookie)
    };
    let cookie = read(value).ok_or(Malformed("Paged Results control"))?;
    Ok((!cookie.is_empty()).then(|| cookie.into()))
}

/// The Sync State Control among `controls`, if there is one.
pub(super) fn sync_state(controls: &[Control]) -> Result<Option<SyncState>, Malformed> {
    value_of(controls, SYNC_STATE)
        .map(|value| parse_sync_state(value).ok_or(Malformed("Sync State Control")))
        .transpose()
}

/// The Sync Done Control among `controls`, if there is one.
pub(super) fn sync_done(controls: &[Control]) -> Result<Option<SyncDone>, Malformed> {
    value_of(controls, SYNC_DONE)
        .map(|value| parse_sync_done(value).ok_or(Malformed("Sync Done Control")))
        .transpose()
}

/// The DirSync control among `controls`, if there is one.
pub(super) fn dirsync(controls: &[Control]) -> Result<Option<DirSync>, Malformed> {
    value_of(controls, DIRSYNC)
        .map(|value| parse_dirsync(value).ok_or(Malformed("DirSync control")))
        .transpose()
}

/// The Sync Info Message in an Intermediate Response (RFC 4511 §4.13); `None`, if it is another message.
pub(super) fn sync_info(message: &StructureTag) -> Result<Option<SyncInfo>, Malformed> {
    const WHAT: Malformed = Malformed("Sync Info Message");
    let PL::C(fields) = &message.payload else { return Err(WHAT) };
    let field = |number| {
        fields.iter().find(|field| field.id == number).and_then(|field| match &field.payload {
            PL::P(bytes) => Some(bytes.as_slice()),
            PL::C(_) => None,
        })
    };
    if field(0) != Some(SYNC_INFO.as_bytes()) {
        return Ok(None);
    }
    field(1).and_then(parse_sync_info).map(Some).ok_or(WHAT)
}

/// `syncStateValue ::= SEQUENCE { state ENUMERATED, entryUUID syncUUID, cookie syncCookie OPTIONAL }`
fn parse_sync_state(value: &[u8]) -> Option<SyncState> {
    let mut fields = whole(value, SEQUENCE)?;
    let state = match integer(fields.take(ENUMERATED)?)? {
        0 => EntryState::Present,
        1 => EntryState::Add,
        2 => EntryState::Modify,
        3 => EntryState::Delete,
        _ => return None,
    };
    let uuid = fields.take(OCTET_STRING)?.try_into().ok()?;
    let cookie = fields.take(OCTET_STRING).map(Box::from);
    fields.end()?;
    Some(SyncState { state, uuid, cookie })
}

/// `syncDoneValue ::= SEQUENCE { cookie syncCookie OPTIONAL, refreshDeletes BOOLEAN DEFAULT FALSE }`
fn parse_sync_done(value: &[u8]) -> Option<SyncDone> {
    let (cookie, refresh_deletes, fields) = cookie_and_flag(whole(value, SEQUENCE)?, false)?;
    fields.end()?;
    Some(SyncDone { cookie, refresh_deletes })
}

/// `syncInfoValue ::= CHOICE { newcookie [0], refreshDelete [1], refreshPresent [2], syncIdSet [3] }`
fn parse_sync_info(value: &[u8]) -> Option<SyncInfo> {
    let mut all = Reader(value);
    let (tag, content) = all.next()?;
    all.end()?;
    Some(match tag {
        0x80 => SyncInfo::NewCookie(content.into()),
        0xa1 | 0xa2 => {
            let (cookie, done, fields) = cookie_and_flag(Reader(content), true)?;
            fields.end()?;
            match tag {
                0xa1 => SyncInfo::RefreshDelete { cookie, done },
                _ => SyncInfo::RefreshPresent { cookie, done },
            }
        }
        0xa3 => {
            let (cookie, deletes, mut fields) = cookie_and_flag(Reader(content), false)?;
            let mut set = Reader(fields.take(SET)?);
            fields.end()?;
            let mut uuids = Vec::with_capacity(set.0.len() / 18);
            while !set.0.is_empty() {
                uuids.push(set.take(OCTET_STRING)?.try_into().ok()?);
            }
            SyncInfo::IdSet { cookie, deletes, uuids }
        }
        _ => return None,
    })
}

/// `DirSyncResponseValue ::= SEQUENCE { MoreResults INTEGER, unused INTEGER, CookieServer OCTET STRING }`
fn parse_dirsync(value: &[u8]) -> Option<DirSync> {
    let mut fields = whole(value, SEQUENCE)?;
    let more = integer(fields.take(INTEGER)?)? != 0;
    integer(fields.take(INTEGER)?)?;
    let cookie = fields.take(OCTET_STRING)?.into();
    fields.end()?;
    Some(DirSync { more, cookie })
}

/// `cookie syncCookie OPTIONAL, flag BOOLEAN DEFAULT default`, and what follows.
fn cookie_and_flag(mut fields: Reader<'_>, default: bool) -> Option<(Cookie, bool, Reader<'_>)> {
    let cookie = fields.take(OCTET_STRING).map(Box::from);
    let flag = match fields.take(BOOLEAN) {
        None => default,
        Some([byte]) => *byte != 0,
        Some(_) => return None,
    };
    Some((cookie, flag, fields))
}

/// `syncCookie OPTIONAL`
type Cookie = Option<Box<[u8]>>;

/// BER elements one after another, of definite length and with tag numbers below 31: all that these messages need
/// (RFC 4511 §5.1).
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its identifier octet and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, if it has this identifier; else nothing is taken.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// Nothing is left.
    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The fields of the one element that `value` consists of.
fn whole(value: &[u8], tag: u8) -> Option<Reader<'_>> {
    let mut all = Reader(value);
    let content = all.take(tag)?;
    all.end()?;
    Some(Reader(content))
}

/// Two's complement, of 1 to 8 octets (X.690 §8.3).
fn integer(content: &[u8]) -> Option<i64> {
    let (&first, rest) = content.split_first()?;
    let first = i64::from(first.cast_signed());
    (rest.len() < 8).then(|| rest.iter().fold(first, |number, &octet| number << 8 | i64::from(octet)))
}

fn sequence(fields: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(fields.len() + 6);
    write(&mut value, SEQUENCE, fields);
    value
}

/// Appends an element, its length in as few octets as it takes.
fn write(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len();
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let significant = &octets[length.leading_zeros() as usize / 8..];
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
}

/// Appends an INTEGER in as few octets as it takes (X.690 §8.3.2), the first of which must not read as a minus.
fn write_integer(out: &mut Vec<u8>, number: u32) {
    let octets = u64::from(number).to_be_bytes();
    let significant = (u32::BITS - number.leading_zeros()) as usize / 8 + 1;
    write(out, INTEGER, &octets[octets.len() - significant..]);
}

fn control(oid: &str, val: Option<Vec<u8>>) -> RawControl {
    RawControl { ctype: oid.to_owned(), crit: true, val }
}

fn value_of<'a>(controls: &'a [Control], oid: &str) -> Option<&'a [u8]> {
    let found = controls.iter().find(|Control(_, control)| control.ctype == oid);
    found.map(|Control(_, control)| control.val.as_deref().unwrap_or_default())
}

/// The Sync Request Control (RFC 4533 §2.2).
pub(super) const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
/// `LDAP_SERVER_DIRSYNC_OID`
pub(super) const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// `LDAP_SERVER_SHOW_DELETED_OID`
pub(super) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// RFC 2696
pub(super) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";

/// The size of an answer.
const DIRSYNC_BYTES: u32 = 0x0010_0000;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

mod fuzz;
pub(in crate::directory::ldap) use fuzz::fuzz_control;

#[cfg(test)]
mod tests;
