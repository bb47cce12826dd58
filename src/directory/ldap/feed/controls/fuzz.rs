//! Controls of answers and of requests, whatever is in them. For tests/fuzz.

use std::fmt::Debug;

use super::*;

/// Each of the answers' controls with this value, and the value in a Sync Info Message. What is understood means the same when
/// it is written and read again; nothing is understood of a part, or with something behind it. And the first byte and the value
/// as parts of our own requests.
pub(in crate::directory::ldap) fn fuzz_control(at: u8, value: &[u8]) {
    requests(at, value);
    match at % 5 {
        0 => answer(value, PAGED_RESULTS, next_page, |cookie| {
            [integer_of(0), octets(cookie.as_deref().unwrap_or_default())].concat()
        }),
        1 => answer(value, SYNC_STATE, sync_state, |read| {
            let read = read.as_ref().expect("the control is there");
            let state = element(ENUMERATED, &[read.state as u8]);
            [state, octets(&read.uuid), cookie(&read.cookie)].concat()
        }),
        2 => answer(value, SYNC_DONE, sync_done, |read| {
            let read = read.as_ref().expect("the control is there");
            [cookie(&read.cookie), boolean(read.refresh_deletes)].concat()
        }),
        3 => answer(value, DIRSYNC, dirsync, |read| {
            let read = read.as_ref().expect("the control is there");
            [integer_of(u32::from(read.more)), integer_of(0), octets(&read.cookie)].concat()
        }),
        _ => info(value),
    }
}

/// A control of an answer, with its fields as `fields` would write them.
fn answer<T: Debug + PartialEq>(
    value: &[u8],
    oid: &str,
    read: impl Fn(&[Control]) -> Result<T, Malformed>,
    fields: impl Fn(&T) -> Vec<u8>,
) {
    let read = |value: &[u8]| {
        let raw = RawControl { ctype: oid.to_owned(), crit: false, val: Some(value.to_vec()) };
        read(&[Control(None, raw)])
    };
    let Ok(meant) = read(value) else { return };
    assert_eq!(read(&sequence(&fields(&meant))).as_ref(), Ok(&meant), "written and read again");
    for cut in 0..value.len() {
        assert!(read(&value[..cut]).is_err(), "{meant:?} without its end");
    }
    assert!(read(&[value, &[0]].concat()).is_err(), "{meant:?} and more");
}

fn info(value: &[u8]) {
    if let Ok((_, tag)) = ldap3::asn1::parse_tag(value) {
        let _ = sync_info(&tag);
    }
    let Some(meant) = parse_sync_info(value) else { return };
    let written = match &meant {
        SyncInfo::NewCookie(new) => element(0x80, new),
        SyncInfo::RefreshDelete { cookie: new, done } => {
            element(0xa1, &[cookie(new), boolean(*done)].concat())
        }
        SyncInfo::RefreshPresent { cookie: new, done } => {
            element(0xa2, &[cookie(new), boolean(*done)].concat())
        }
        SyncInfo::IdSet { cookie: new, deletes, uuids } => {
            let set: Vec<u8> = uuids.iter().flat_map(|uuid| octets(uuid)).collect();
            element(0xa3, &[cookie(new), boolean(*deletes), element(SET, &set)].concat())
        }
    };
    assert_eq!(parse_sync_info(&written).as_ref(), Some(&meant), "written and read again");
    for cut in 0..value.len() {
        assert_eq!(parse_sync_info(&value[..cut]), None, "{meant:?} without its end");
    }
    assert_eq!(parse_sync_info(&[value, &[0]].concat()), None, "{meant:?} and more");
    // The same in a message, and nothing else in another one.
    for (name, expected) in [(SYNC_INFO, Ok(Some(meant))), (SYNC_DONE, Ok(None))] {
        let fields = [element(0x80, name.as_bytes()), element(0x81, value)].concat();
        let message = element(0x79, &fields);
        let (rest, message) = ldap3::asn1::parse_tag(&message).expect("a message");
        assert!(rest.is_empty());
        assert_eq!(sync_info(&message), expected);
    }
}

/// What is asked is what our own reader reads of it; two of the requests have the shape of their answers.
fn requests(at: u8, text: &[u8]) {
    let as_answer = |request: RawControl| [Control(None, request)];
    let kept = (!text.is_empty()).then(|| text.into());
    let size = u32::from(at) << (text.len() % 25);
    assert_eq!(next_page(&as_answer(page_request(size, text))), Ok(kept), "a page");
    let asked = DirSync { more: at % 2 == 1, cookie: text.into() };
    assert_eq!(dirsync(&as_answer(dirsync_request(asked.more, text))), Ok(Some(asked)), "DirSync");

    let request = sync_request(SyncMode::RefreshAndPersist, Some(text)).val.expect("it has a value");
    let mut fields = whole(&request, SEQUENCE).expect("a sequence");
    assert_eq!(fields.take(ENUMERATED), Some(&[3][..]), "the mode");
    assert_eq!((fields.take(OCTET_STRING), fields.end()), (Some(text), Some(())), "the cookie");

    let number = element_of(integer_of(size));
    assert_eq!(integer(&number), Some(i64::from(size)));
}

/// The content of the one INTEGER.
fn element_of(written: Vec<u8>) -> Vec<u8> {
    Reader(&written).take(INTEGER).expect("an INTEGER").to_vec()
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, tag, content);
    out
}

fn octets(content: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, content)
}

fn cookie(cookie: &Cookie) -> Vec<u8> {
    cookie.as_deref().map(octets).unwrap_or_default()
}

fn boolean(is_so: bool) -> Vec<u8> {
    element(BOOLEAN, &[u8::from(is_so) * 0xff])
}

fn integer_of(number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    write_integer(&mut out, number);
    out
}
