use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn with(oid: &str, value: &[u8]) -> Vec<Control> {
    vec![Control(None, RawControl { ctype: oid.to_owned(), crit: false, val: Some(value.to_vec()) })]
}

/// An Intermediate Response: `[APPLICATION 25] { [0] responseName, [1] responseValue }` (RFC 4511 §4.13).
fn message(name: &str, value: &[u8]) -> StructureTag {
    let mut fields = Vec::new();
    write(&mut fields, 0x80, name.as_bytes());
    write(&mut fields, 0x81, value);
    let mut all = Vec::new();
    write(&mut all, 0x79, &fields);
    ldap3::asn1::parse_tag(&all).unwrap().1
}

const CSN: &str = "rid=000,csn=20261122014044.128151Z#000000#000#000000";

/// Captured from slapd 2.5.13 during adds, changes and deletions.
#[test]
fn sync_states_of_slapd() {
    let uuid = *b"\x7a\x2b\x85\x4e\x7a\x61\x10\x41\x9e\x6a\xf9\xdc\x33\x7a\xb0\x5a";
    for (hex, state, cookie) in [
        ("30150a010104107a2b854e7a6110419e6af9dc337ab05a", EntryState::Add, None),
        (
            "304b0a010104107a2b854e7a6110419e6af9dc337ab05a04347269643d3030302c63736e3d32303236313132323031343034342e3132383135315a233030303030302330303023303030303030",
            EntryState::Add,
            Some(CSN),
        ),
        (
            "304b0a010204107a2b854e7a6110419e6af9dc337ab05a04347269643d3030302c63736e3d32303236313132323031343034342e3132383135315a233030303030302330303023303030303030",
            EntryState::Modify,
            Some(CSN),
        ),
        (
            "304b0a010304107a2b854e7a6110419e6af9dc337ab05a04347269643d3030302c63736e3d32303236313132323031343034342e3132383135315a233030303030302330303023303030303030",
            EntryState::Delete,
            Some(CSN),
        ),
    ] {
        let cookie = cookie.map(|cookie| Box::from(cookie.as_bytes()));
        let read = sync_state(&with(SYNC_STATE, &bytes(hex)));
        assert_eq!(read, Ok(Some(SyncState { state, uuid, cookie })), "{hex}");
    }
}

/// Captured from slapd 2.5.13: the end of a refresh without a cookie, one where nothing had changed, one in whose delete
/// phase an entry went, the end of a present phase, an answer to a cookie that made no sense, and a change elsewhere.
#[test]
fn sync_infos_of_slapd() {
    let cookie = |text: &str| Some(Box::from(text.as_bytes()));
    let new = "rid=000,csn=20261122014110.662126Z#000000#000#000000";
    let deleted = "rid=000,csn=20261122014044.231158Z#000000#000#000000,delcsn=20261122014110.652442Z#000000#000#000000";
    for (hex, info) in [
        (
            "a13604347269643d3030302c63736e3d32303236313132323031343131302e3636323132365a233030303030302330303023303030303030",
            SyncInfo::RefreshDelete { cookie: cookie(new), done: true },
        ),
        ("a100", SyncInfo::RefreshDelete { cookie: None, done: true }),
        (
            "a37d04647269643d3030302c63736e3d32303236313132323031343034342e3233313135385a2330303030303023303030233030303030302c64656c63736e3d32303236313132323031343131302e3635323434325a2330303030303023303030233030303030300101ff3112041089f5c1607a6110419e6cf9dc337ab05a",
            SyncInfo::IdSet {
                cookie: cookie(deleted),
                deletes: true,
                uuids: vec![*b"\x89\xf5\xc1\x60\x7a\x61\x10\x41\x9e\x6c\xf9\xdc\x33\x7a\xb0\x5a"],
            },
        ),
        (
            "a23604347269643d3030302c63736e3d32303236313132323031343131302e3636323132365a233030303030302330303023303030303030",
            SyncInfo::RefreshPresent { cookie: cookie(new), done: true },
        ),
        ("a1020400", SyncInfo::RefreshDelete { cookie: cookie(""), done: true }),
        (
            "80347269643d3030302c63736e3d32303236313132323031343131302e3636323132365a233030303030302330303023303030303030",
            SyncInfo::NewCookie(new.as_bytes().into()),
        ),
    ] {
        assert_eq!(sync_info(&message(SYNC_INFO, &bytes(hex))), Ok(Some(info)), "{hex}");
    }
    // RFC 4533 §2.5: the defaults, and a set of entries that are as they were.
    for (hex, info) in [
        ("a2030101 00", SyncInfo::RefreshPresent { cookie: None, done: false }),
        ("a3023100", SyncInfo::IdSet { cookie: None, deletes: false, uuids: vec![] }),
    ] {
        assert_eq!(sync_info(&message(SYNC_INFO, &bytes(&hex.replace(' ', "")))), Ok(Some(info)), "{hex}");
    }
    assert_eq!(sync_info(&message("1.3.6.1.4.1.1466.20036", b"\xa1\0")), Ok(None), "another message");
}

/// Captured from slapd 2.5.13: refreshOnly where nothing, and where something had changed.
#[test]
fn sync_dones_of_slapd() {
    let long = "303904347269643d3030302c63736e3d32303236313132323031343131302e3636323132365a2330303030303023303030233030303030300101ff";
    let new = Box::from(&b"rid=000,csn=20261122014110.662126Z#000000#000#000000"[..]);
    for (hex, cookie, refresh_deletes) in
        [("30030101ff", None, true), (long, Some(new), true), ("3000", None, false)]
    {
        let read = sync_done(&with(SYNC_DONE, &bytes(hex)));
        assert_eq!(read, Ok(Some(SyncDone { cookie, refresh_deletes })), "{hex}");
    }
    assert_eq!(sync_done(&[]), Ok(None));
}

/// The answer of Samba 4.17 has `MoreResults` 0, a second number, and a cookie that begins with `MSDS`.
#[test]
fn dirsync_of_samba() {
    let cookie = bytes("4d5344530300000000b2b6b1227add0100000000");
    let mut value = bytes("020100020100");
    write(&mut value, OCTET_STRING, &cookie);
    let read = |fields: &[u8]| dirsync(&with(DIRSYNC, &sequence(fields)));
    assert_eq!(read(&value), Ok(Some(DirSync { more: false, cookie: cookie.as_slice().into() })));
    for more in [1, 0xff] {
        value[2] = more;
        assert!(read(&value).unwrap().unwrap().more);
    }
    assert_eq!(dirsync(&[]), Ok(None));
}

/// RFC 4533 §2.2, RFC 2696 and MS-ADTS §3.1.1.3.4.1.3, by hand from their ASN.1.
#[test]
fn requests() {
    let value = |control: RawControl| {
        assert!(control.crit, "without it the answer would mean something else");
        control.val.unwrap_or_default()
    };
    assert_eq!(value(sync_request(SyncMode::RefreshOnly, None)), b"\x30\x03\x0a\x01\x01");
    assert_eq!(
        value(sync_request(SyncMode::RefreshAndPersist, Some(b"c"))),
        b"\x30\x06\x0a\x01\x03\x04\x01c"
    );
    assert_eq!(value(dirsync_request(false, b"")), b"\x30\x0a\x02\x01\x00\x02\x03\x10\x00\x00\x04\x00");
    assert_eq!(value(dirsync_request(true, b"c")), b"\x30\x0b\x02\x01\x01\x02\x03\x10\x00\x00\x04\x01c");
    assert_eq!(value(page_request(500, b"")), b"\x30\x06\x02\x02\x01\xf4\x04\x00");
    assert_eq!(value(page_request(128, b"c")), b"\x30\x07\x02\x02\x00\x80\x04\x01c");
    assert_eq!(value(page_request(u32::MAX, b"")), b"\x30\x09\x02\x05\x00\xff\xff\xff\xff\x04\x00");
    assert_eq!(show_deleted().val, None);
    let long = value(dirsync_request(false, &[7; 300]));
    assert_eq!(long[..4], [0x30, 0x82, 0x01, 0x38]);
    assert_eq!(long[12..16], [0x04, 0x82, 0x01, 0x2c]);
}

#[test]
fn pages_end_with_an_empty_cookie() {
    // RFC 2696 §2; the first as Samba 4.17 sends it.
    let next = |hex: &str| next_page(&with(PAGED_RESULTS, &bytes(hex)));
    assert_eq!(next("300702010504023100"), Ok(Some(Box::from(&b"1\0"[..]))));
    assert_eq!(next("30050201000400"), Ok(None));
    assert_eq!(next_page(&[]), Ok(None), "all was sent at once");
    assert!(next("3005020100040100").is_err());
}

/// Each is one octet away from what is right.
#[test]
fn malformed_values_are_refused() {
    for hex in [
        "",
        "30",
        "3000",
        "30150a010404107a2b854e7a6110419e6af9dc337ab05a",
        "30150a0101040f7a2b854e7a6110419e6af9dc337ab05a",
        "30140a0101040f7a2b854e7a6110419e6af9dc337ab0",
        "30150a010104107a2b854e7a6110419e6af9dc337ab05a00",
        "30170a010104107a2b854e7a6110419e6af9dc337ab05a0101",
        "30800a010104107a2b854e7a6110419e6af9dc337ab05a0000",
        "308500000000150a010104107a2b854e7a6110419e6af9dc337ab05a",
        "30150201010410 7a2b854e7a6110419e6af9dc337ab05a",
    ] {
        let value = bytes(&hex.replace(' ', ""));
        assert!(sync_state(&with(SYNC_STATE, &value)).is_err(), "{hex}");
    }
    for hex in [
        "",
        "a4",
        "a400",
        "a1",
        "a10101",
        "a1030102ff",
        "a1040101ff00",
        "a300",
        "a30404020000",
        "a31404107a2b854e7a6110419e6af9dc337ab05a",
        "a303310104",
        "8005",
    ] {
        assert!(sync_info(&message(SYNC_INFO, &bytes(hex))).is_err(), "{hex}");
    }
    for hex in ["", "30020101", "30040102ffff", "30050101ff0400"] {
        assert!(sync_done(&with(SYNC_DONE, &bytes(hex))).is_err(), "{hex}");
    }
    for hex in [
        "",
        "3000",
        "3008020100020100040100",
        "30080200020100 0400",
        "30120209ff0000000000000000020100040000",
    ] {
        assert!(dirsync(&with(DIRSYNC, &bytes(&hex.replace(' ', "")))).is_err(), "{hex}");
    }
    let no_value = vec![Control(None, RawControl { ctype: SYNC_STATE.to_owned(), crit: false, val: None })];
    assert!(sync_state(&no_value).is_err());
}

/// Octets that look like BER more often than chance has it.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        Just(0x30_u8),
        Just(0x31),
        Just(0x04),
        Just(0x0a),
        Just(0x01),
        Just(0x02),
        Just(0x80),
        Just(0xa1),
        Just(0xa3),
        Just(0x84),
        0_u8..24,
        any::<u8>(),
    ];
    proptest::collection::vec(octet, 0..64)
}

proptest! {
    /// Nothing panics, and nothing is more than what came.
    #[test]
    fn any_octets_are_read_or_refused(value in hostile()) {
        if let Ok(Some(state)) = sync_state(&with(SYNC_STATE, &value)) {
            prop_assert!(state.cookie.map_or(0, |cookie| cookie.len()) + 16 < value.len());
        }
        if let Ok(Some(SyncInfo::IdSet { uuids, .. })) = sync_info(&message(SYNC_INFO, &value)) {
            prop_assert!(uuids.len() * 18 < value.len());
        }
        let _ = sync_done(&with(SYNC_DONE, &value));
        let _ = dirsync(&with(DIRSYNC, &value));
        let _ = next_page(&with(PAGED_RESULTS, &value));
    }

    /// A length can't reach outside, however it is written.
    #[test]
    fn a_long_length_is_refused(octets in 1_usize..=4, length in 1_u32.., content in proptest::collection::vec(any::<u8>(), 0..8)) {
        let mut value = vec![0x30, 0x80 | octets as u8];
        value.extend_from_slice(&length.to_be_bytes()[4 - octets..]);
        value.extend_from_slice(&content);
        let told = length.to_be_bytes()[4 - octets..].iter().fold(0_usize, |n, &octet| n << 8 | usize::from(octet));
        prop_assert_eq!(Reader(&value).next().is_some(), told <= content.len());
    }

    #[test]
    fn dirsync_cookies_come_back(cookie in proptest::collection::vec(any::<u8>(), 0..400), more in any::<bool>()) {
        let mut value = Vec::new();
        write_integer(&mut value, u32::from(more));
        write_integer(&mut value, 0);
        write(&mut value, OCTET_STRING, &cookie);
        let read = dirsync(&with(DIRSYNC, &sequence(&value)));
        prop_assert_eq!(read, Ok(Some(DirSync { more, cookie: cookie.into() })));
    }

    #[test]
    fn sync_states_come_back(state in 0_u8..4, uuid in any::<[u8; 16]>(), cookie in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300))) {
        let mut value = Vec::new();
        write(&mut value, ENUMERATED, &[state]);
        write(&mut value, OCTET_STRING, &uuid);
        if let Some(cookie) = &cookie {
            write(&mut value, OCTET_STRING, cookie);
        }
        let read = sync_state(&with(SYNC_STATE, &sequence(&value))).unwrap().unwrap();
        prop_assert_eq!((read.state as u8, read.uuid, read.cookie), (state, uuid, cookie.map(Box::from)));
    }
}
