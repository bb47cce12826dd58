//! Known answers for every message in both directions; its lengths at the edges; a cut after each byte.
//! Layouts: `libmilter/mfdef.h`, sendmail's `libmilter/docs`, Postfix' `milter8.c`; see also `captures.rs`.

#![cfg(test)]

use bytes::BytesMut;
use milter_protocol::command::{
    CStrings, ClientAddress, Command, Connect, Header, MacroList, Mail, Malformed, OptNeg, Rcpt,
};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::frame::{COMMAND_LIMIT, Frame, FrameError, next_frame};
use milter_protocol::macros::Stage;
use milter_protocol::negotiation::CURRENT_OFFER;
use milter_protocol::reply::{Modification, Reply};

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { code: bytes[0], payload: &bytes[1..] }
}

fn strings(wire: &[u8]) -> CStrings<'_> {
    CStrings::from_wire(wire).unwrap()
}

/// Every command, as it is on the wire without its length word.
fn commands() -> Vec<(&'static [u8], Command<'static>)> {
    let inet = |a, b, c, d, port| ClientAddress::Inet([a, b, c, d].into(), port);
    vec![
        (b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff", Command::Negotiate(CURRENT_OFFER)),
        (b"DH", Command::Macros(MacroList { code: b'H', list: b"" })),
        (b"DRi\x005A\0", Command::Macros(MacroList { code: b'R', list: b"i\x005A\0" })),
        (
            b"C[127.0.0.1]\x004\xd5b127.0.0.1\0",
            Command::Connect(Connect { host: b"[127.0.0.1]", address: inet(127, 0, 0, 1, 0xD562) }),
        ),
        (
            b"Cmail.example\x006\0\x19::1\0",
            Command::Connect(Connect {
                host: b"mail.example",
                address: ClientAddress::Inet6([0, 0, 0, 0, 0, 0, 0, 1].into(), 25),
            }),
        ),
        (
            b"Clocalhost\0L\0\0/run/socket\0",
            Command::Connect(Connect { host: b"localhost", address: ClientAddress::Unix(b"/run/socket") }),
        ),
        (b"C\0U", Command::Connect(Connect { host: b"", address: ClientAddress::Unknown })),
        (b"Hclient.example\0", Command::Helo(b"client.example")),
        (b"H\0", Command::Helo(b"")),
        (
            b"M<alice@example.org>\0SIZE=100\0BODY=8BITMIME\0",
            Command::Mail(Mail {
                address: b"<alice@example.org>",
                parameters: strings(b"SIZE=100\0BODY=8BITMIME\0"),
            }),
        ),
        (b"M\0", Command::Mail(Mail { address: b"", parameters: strings(b"") })),
        (b"R<\"a b\"@h>\0", Command::Rcpt(Rcpt { address: b"<\"a b\"@h>", parameters: strings(b"") })),
        (b"R<u@h>\0\0A\0", Command::Rcpt(Rcpt { address: b"<u@h>", parameters: strings(b"\0A\0") })),
        (b"T", Command::Data),
        (b"LX-A\0b\n c\0", Command::Header(Header { name: b"X-A", value: b"b\n c" })),
        (b"L\0\0", Command::Header(Header { name: b"", value: b"" })),
        (b"N", Command::EndOfHeaders),
        (b"B", Command::Body(b"")),
        (b"Bhello\0\r\n", Command::Body(b"hello\0\r\n")),
        (b"E", Command::EndOfMessage(b"")),
        (b"Erest\0", Command::EndOfMessage(b"rest\0")),
        (b"UFOO\0", Command::Unknown(b"FOO")),
        (b"A", Command::Abort),
        (b"Q", Command::Quit),
        (b"K", Command::QuitNewConnection),
        (b"zany", Command::Other(Frame { code: b'z', payload: b"any" })),
    ]
}

/// Every reply, as it is on the wire without its length word.
fn replies() -> Vec<(&'static [u8], Reply<'static>)> {
    let answer = OptNeg {
        version: Version(6),
        actions: Actions::SET_SYMLIST,
        steps: Steps::NONE,
        macros: b"\0\0\0\x03i j\0\0\0\0\x05\0",
    };
    let modify = Reply::Modify;
    vec![
        (b"O\0\0\0\x06\0\0\x01\0\0\0\0\0\0\0\0\x03i j\0\0\0\0\x05\0", Reply::Negotiate(answer)),
        (b"c", Reply::Continue),
        (b"a", Reply::Accept),
        (b"r", Reply::Reject),
        (b"t", Reply::Tempfail),
        (b"d", Reply::Discard),
        (b"s", Reply::Skip),
        (b"p", Reply::Progress),
        (b"4", Reply::Shutdown),
        (b"f", Reply::ConnectionFailed),
        (b"y550 5.1.1 No\0", Reply::ReplyCode(b"550 5.1.1 No")),
        (b"hX-A\0b\0", modify(Modification::AddHeader { name: b"X-A", value: b"b" })),
        (b"i\0\0\0\x01X-A\0b\0", modify(Modification::InsertHeader { index: 1, name: b"X-A", value: b"b" })),
        (b"m\0\0\0\x02X-A\0\0", modify(Modification::ChangeHeader { index: 2, name: b"X-A", value: b"" })),
        (b"+<u@h>\0", modify(Modification::AddRcpt(b"<u@h>"))),
        (b"2<u@h>\0", modify(Modification::AddRcptPar { address: b"<u@h>", parameters: strings(b"") })),
        (
            b"2<u@h>\0NOTIFY=NEVER\0",
            modify(Modification::AddRcptPar { address: b"<u@h>", parameters: strings(b"NOTIFY=NEVER\0") }),
        ),
        (b"-<u@h>\0", modify(Modification::DeleteRcpt(b"<u@h>"))),
        (b"e<>\0", modify(Modification::ChangeFrom { address: b"<>", parameters: strings(b"") })),
        (
            b"e<u@h>\0SIZE=1\0",
            modify(Modification::ChangeFrom { address: b"<u@h>", parameters: strings(b"SIZE=1\0") }),
        ),
        (b"bhello\0\r\n", modify(Modification::ReplaceBody(b"hello\0\r\n"))),
        (b"qwhy\0", modify(Modification::Quarantine(b"why"))),
        (b"zany", Reply::Other(Frame { code: b'z', payload: b"any" })),
    ]
}

#[test]
fn commands_are_read_and_written() {
    for (bytes, command) in commands() {
        assert_eq!(Command::parse(frame(bytes)), Ok(command), "{}", bytes.escape_ascii());
        assert_eq!(command.code(), bytes[0]);
        let mut output = BytesMut::from("before");
        command.encode(&mut output);
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        assert_eq!(output, [b"before", &length[..], bytes].concat(), "{command:?}");
    }
}

#[test]
fn replies_are_read_and_written() {
    for (bytes, reply) in replies() {
        assert_eq!(Reply::parse(frame(bytes)), Ok(reply), "{}", bytes.escape_ascii());
        assert_eq!(reply.code(), bytes[0]);
        let is_last =
            !matches!(bytes[0], b'p' | b'h' | b'i' | b'm' | b'+' | b'2' | b'-' | b'e' | b'b' | b'q');
        assert_eq!(reply.is_final(), is_last);
        let mut output = BytesMut::from("before");
        reply.encode(&mut output);
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        assert_eq!(output, [b"before", &length[..], bytes].concat(), "{reply:?}");
    }
}

/// A stream that is cut after any byte needs more bytes; it is neither an error nor an event.
#[test]
fn cut_streams_wait() {
    let all =
        commands().into_iter().map(|(bytes, _)| bytes).chain(replies().into_iter().map(|(bytes, _)| bytes));
    for bytes in all {
        let mut wire = BytesMut::new();
        frame(bytes).encode(&mut wire);
        for cut in 0..wire.len() {
            let mut input = &wire[..cut];
            assert_eq!(next_frame(&mut input, COMMAND_LIMIT), Ok(None));
            assert_eq!(input.len(), cut);
        }
    }
}

/// A payload that is cut after any byte is malformed, unless it is a whole message of another meaning.
#[test]
fn cut_payloads_are_malformed() {
    for (bytes, command) in commands() {
        for cut in 1..bytes.len() {
            let shorter = &bytes[..cut];
            let whole = match command {
                // Tolerated, or any bytes do.
                Command::Macros(_) => cut > 1,
                Command::Body(_) | Command::EndOfMessage(_) | Command::Other(_) => true,
                // Some parameters less.
                Command::Mail(_) | Command::Rcpt(_) => cut > 1 && shorter.ends_with(b"\0"),
                _ => false,
            };
            let parsed = Command::parse(frame(shorter));
            assert_eq!(parsed.is_ok(), whole, "{}", shorter.escape_ascii());
            assert!(whole || parsed == Err(Malformed(bytes[0])));
        }
    }
    for (bytes, reply) in replies() {
        for cut in 1..bytes.len() {
            let shorter = &bytes[..cut];
            let whole = match reply {
                Reply::Negotiate(_) => cut >= 13,
                Reply::Modify(Modification::ReplaceBody(_)) | Reply::Other(_) => true,
                Reply::Modify(Modification::AddRcptPar { .. } | Modification::ChangeFrom { .. }) => {
                    cut > 1 && shorter.ends_with(b"\0")
                }
                _ => false,
            };
            assert_eq!(Reply::parse(frame(shorter)).is_ok(), whole, "{}", shorter.escape_ascii());
        }
    }
}

#[test]
fn leftover_bytes_are_malformed() {
    for (bytes, command) in commands() {
        let longer = [bytes, b"x"].concat();
        let tolerated = matches!(
            command,
            // libmilter tolerates what is behind the MTA's offer, and odd macros; and see ClientAddress::Unknown.
            Command::Negotiate(_)
                | Command::Macros(_)
                | Command::Body(_)
                | Command::EndOfMessage(_)
                | Command::Other(_)
        ) || bytes == b"C\0U";
        assert_eq!(Command::parse(frame(&longer)).is_ok(), tolerated, "{command:?}");
    }
    for (bytes, reply) in replies() {
        let longer = [bytes, b"x"].concat();
        let any = matches!(
            reply,
            Reply::Negotiate(_) | Reply::Modify(Modification::ReplaceBody(_)) | Reply::Other(_)
        );
        assert_eq!(Reply::parse(frame(&longer)).is_ok(), any, "{reply:?}");
    }
}

#[test]
fn the_empty_payload() {
    for code in 0..=u8::MAX {
        let empty = Frame { code, payload: b"" };
        assert_eq!(Command::parse(empty).is_err(), b"ODCHMRLU".contains(&code), "{code}");
        assert_eq!(Reply::parse(empty).is_err(), b"Oyhim+2-eq".contains(&code), "{code}");
    }
}

/// libmilter takes payloads of up to 65535 bytes (MILTER_CHUNK_SIZE), so frames of up to 65536.
#[test]
fn the_longest_body() {
    let chunk = vec![b'x'; COMMAND_LIMIT + 1];
    let mut output = BytesMut::new();
    Command::Body(&chunk[1..]).encode(&mut output);
    let frame = next_frame(&mut &output[..], COMMAND_LIMIT).unwrap().unwrap();
    assert_eq!(Command::parse(frame), Ok(Command::Body(&chunk[1..])));

    output.clear();
    Command::Body(&chunk).encode(&mut output);
    let error = FrameError::TooLong { length: 65_537, limit: 65_535 };
    // As soon as the length word is there.
    assert_eq!(next_frame(&mut &output[..4], COMMAND_LIMIT), Err(error));
    assert_eq!(next_frame(&mut &output[..3], COMMAND_LIMIT), Ok(None));
}

/// What MTAs and other software write for an address (facts: Postfix `::1`, Sendmail `IPv6:…`, XCLIENT `unknown`).
#[test]
fn client_addresses() {
    let inet = |a, b, c, d| ClientAddress::Inet([a, b, c, d].into(), 7);
    let inet6 = |text: &str| ClientAddress::Inet6(text.parse().unwrap(), 7);
    let table: [(u8, &[u8], ClientAddress<'_>); 22] = [
        (b'4', b"127.0.0.1", inet(127, 0, 0, 1)),
        (b'4', b"[192.0.2.1]", inet(192, 0, 2, 1)),
        (b'4', b"unknown", ClientAddress::Unknown),
        (b'4', b"", ClientAddress::Unknown),
        (b'4', b"127.1", ClientAddress::Unknown),
        (b'4', b"1.2.3.256", ClientAddress::Unknown),
        (b'4', b"01.2.3.4", ClientAddress::Unknown),
        (b'4', b"::1", ClientAddress::Unknown),
        (b'4', b" 1.2.3.4", ClientAddress::Unknown),
        (b'4', b"\xff\xfe", ClientAddress::Unknown),
        (b'6', b"::1", inet6("::1")),
        (b'6', b"IPv6:0:0:0:0:0:0:0:1", inet6("::1")),
        (b'6', b"IPV6:2001:db8::1", inet6("2001:db8::1")),
        (b'6', b"[ipv6:2001:DB8::1]", inet6("2001:db8::1")),
        (b'6', b"::ffff:192.0.2.1", inet6("::ffff:192.0.2.1")),
        (b'6', b"fe80::1%eth0", inet6("fe80::1")),
        (b'6', b"IPv6:", ClientAddress::Unknown),
        (b'6', b"unknown", ClientAddress::Unknown),
        (b'6', b"127.0.0.1", ClientAddress::Unknown),
        (b'6', "ü:::".as_bytes(), ClientAddress::Unknown),
        (b'L', b"/tmp/s", ClientAddress::Unix(b"/tmp/s")),
        (b'L', b"", ClientAddress::Unix(b"")),
    ];
    for (family, text, expected) in table {
        let bytes = [b"Ch\0", &[family][..], b"\0\x07", text, b"\0"].concat();
        let Ok(Command::Connect(connect)) = Command::parse(frame(&bytes)) else {
            panic!("{}", text.escape_ascii())
        };
        assert_eq!(connect.address, expected, "{}", text.escape_ascii());
    }
}

#[test]
fn parameters_and_macro_requests() {
    let Ok(Command::Mail(mail)) = Command::parse(frame(b"M<>\0SIZE=1\0BODY=8BITMIME\0")) else { panic!() };
    assert_eq!(mail.parameters.iter().collect::<Vec<_>>(), [&b"SIZE=1"[..], b"BODY=8BITMIME"]);
    let Ok(Reply::Negotiate(answer)) = Reply::parse(frame(replies()[0].0)) else { panic!() };
    let requests = answer.macro_requests().map(|(id, names)| (Stage::from_id(id), names)).collect::<Vec<_>>();
    assert_eq!(requests, [(Some(Stage::Rcpt), &b"i j"[..]), (Some(Stage::EndOfMessage), b"")]);
}

/// A NUL in a string can't smuggle in a second one.
#[test]
fn strings_end_at_a_nul() {
    let mut output = BytesMut::new();
    Command::Helo(b"a\0b").encode(&mut output);
    Reply::Modify(Modification::AddRcpt(b"<u@h>\0<v@h>")).encode(&mut output);
    assert_eq!(&output[..], b"\0\0\0\x03Ha\0\0\0\0\x07+<u@h>\0");
}

/// Nothing that a log line shows has a control character in it.
#[test]
fn debug_output_is_escaped() {
    let hostile = b"<a\n\x1b[31m\r>";
    let rcpt = Command::Rcpt(Rcpt { address: hostile, parameters: strings(b"\n\0") });
    let text = format!("{rcpt:?}{:?}", Command::Macros(MacroList { code: b'\n', list: b"\n\0" }));
    assert!(!text.chars().any(char::is_control), "{text}");
}
