//! The one safe form of a REPLYCODE. What the other forms do was seen on Postfix 3.7.11 and Sendmail 8.17.1.

#![cfg(test)]

use bytes::BytesMut;
use milter_protocol::smtp_reply::{EnhancedCode, SmtpReply, SmtpReplyError as Error, sanitize};
use proptest::prelude::*;

fn enhanced(text: &str) -> EnhancedCode {
    text.parse().unwrap()
}

fn reply(code: u16, class: &str, lines: &[&str]) -> Result<SmtpReply, Error> {
    SmtpReply::new(code, enhanced(class), lines)
}

fn wire(reply: &SmtpReply) -> Vec<u8> {
    let mut output = BytesMut::new();
    reply.encode(&mut output);
    output.to_vec()
}

#[test]
fn the_wire_form() {
    let one = reply(550, "5.1.1", &["<bob@example.test> no such user"]).unwrap();
    assert_eq!(wire(&one), b"\0\0\0\x2by550 5.1.1 <bob@example.test> no such user\0");
    let two = reply(451, "4.4.3", &["one", "two", "100% three"]).unwrap();
    assert_eq!(wire(&two)[4..], *b"y451-4.4.3 one\r\n451-4.4.3 two\r\n451 4.4.3 100%% three\0");
    assert_eq!(two.to_string(), "451-4.4.3 one\n451-4.4.3 two\n451 4.4.3 100% three");
    assert_eq!(two.lines().collect::<Vec<_>>(), ["one", "two", "100% three"]);
    assert_eq!((two.code(), two.enhanced(), two.is_permanent()), (451, enhanced("4.4.3"), false));
    assert_eq!((one.code(), one.enhanced(), one.is_permanent()), (550, enhanced("5.1.1"), true));
    assert_eq!(reply(421, "4.7.0", &["x"]).unwrap().code(), 421);
}

#[test]
fn what_is_refused() {
    let class_differs = |code, class| Error::ClassDiffers { code, class };
    let character = |line, character| Error::Character { line, character };
    let long = "x".repeat(SmtpReply::MAX_LINE - "550 5.1.1 ".len());
    let longer = format!("{long}x");
    let percents = "%".repeat(236);
    let table: [(u16, &str, &[&str], Error); 21] = [
        (250, "5.1.1", &["a"], Error::Code(250)),
        (354, "5.1.1", &["a"], Error::Code(354)),
        (399, "4.1.1", &["a"], Error::Code(399)),
        (600, "5.1.1", &["a"], Error::Code(600)),
        (0, "5.1.1", &["a"], Error::Code(0)),
        (550, "4.1.1", &["a"], class_differs(550, 4)),
        (450, "5.1.1", &["a"], class_differs(450, 5)),
        (550, "5.1.1", &[], Error::NoText(1)),
        (550, "5.1.1", &[""], Error::NoText(1)),
        (550, "5.1.1", &["a", " "], Error::NoText(2)),
        (550, "5.1.1", &["a\r\n"], character(1, '\r')),
        (550, "5.1.1", &["a", "b\nc"], character(2, '\n')),
        (550, "5.1.1", &["a\0"], character(1, '\0')),
        (550, "5.1.1", &["a\tb"], character(1, '\t')),
        (550, "5.1.1", &["a\x7f"], character(1, '\x7f')),
        (550, "5.1.1", &["a\u{85}"], character(1, '\u{85}')),
        (550, "5.1.1", &["grün"], character(1, 'ü')),
        (550, "5.1.1", &[&longer], Error::LineTooLong { line: 1, length: 481 }),
        (550, "5.1.1", &["a", &longer], Error::LineTooLong { line: 2, length: 481 }),
        (550, "5.1.1", &[&percents], Error::LineTooLong { line: 1, length: 482 }),
        (550, "5.1.1", &["a"; 33], Error::TooManyLines),
    ];
    for (code, class, lines, error) in table {
        assert_eq!(reply(code, class, lines), Err(error), "{code} {class} {lines:?}");
    }
    assert!(reply(550, "5.1.1", &[&long]).is_ok());
    assert!(reply(550, "5.1.1", &[&percents[1..]]).is_ok());
    assert!(reply(550, "5.1.1", &["a"; 32]).is_ok());
}

/// RFC 3463 §2.
#[test]
fn enhanced_codes() {
    for text in ["4.0.0", "5.1.1", "5.999.999", "5.7.10"] {
        assert_eq!(enhanced(text).to_string(), text);
    }
    for text in [
        "", "5", "5.1", "5.1.1.1", "2.1.5", "3.0.0", "6.1.1", "5.1000.1", "5.01.1", "5..1", "5.1.", "05.1.1",
        "5.1.x", "5.-1.1", " 5.1.1", "5.+1.1",
    ] {
        assert_eq!(text.parse::<EnhancedCode>(), Err(Error::Enhanced), "{text}");
    }
    let out_of_range = EnhancedCode { class: 5, subject: 1000, detail: 0 };
    assert_eq!(SmtpReply::new(550, out_of_range, ["a"]), Err(Error::Enhanced));
}

#[test]
fn other_wire_forms_are_not_taken() {
    let good: [&[u8]; 3] = [b"550 5.1.1 a\0", b"550-5.1.1 a\r\n550 5.1.1 b\0", b"451 4.4.3 100%%\0"];
    for payload in good {
        let reply = SmtpReply::from_wire(payload).unwrap();
        assert_eq!(wire(&reply)[5..], *payload);
    }
    let bad: [&[u8]; 19] = [
        b"",
        b"\0",
        b"550 5.1.1 a", // no NUL: leaks memory of Postfix 3.7.11
        b"550 5.1.1 a\0\0",
        b"550 5.1.1 a\0b\0",
        b"550 5.1.1 a\r\n\0", // shifts all later replies by one
        b"550-5.1.1 a\0",     // hangs the client
        b"550-5.1.1 a\r\n550-5.1.1 b\0",
        b"550 5.1.1 a\r\n550 5.1.1 b\0",
        b"550-5.1.1 a\r\n551 5.1.1 b\0",
        b"550-5.1.1 a\r\n550 5.1.2 b\0",
        b"550-5.1.1 a\n550 5.1.1 b\0",
        b"550 5.1.1 100%\0",
        b"550 5.1.1 %s%s%s\0",
        b"550 5.1.1\0",
        b"550 No such user\0",
        b"550 4.1.1 a\0",
        b"250 2.1.5 a\0",
        b"550 5.1.1 \xff\0",
    ];
    for payload in bad {
        assert!(SmtpReply::from_wire(payload).is_err(), "{}", payload.escape_ascii());
    }
}

#[test]
fn sanitized_text() {
    let table: [(&[u8], usize, &str); 7] = [
        (b"<joe@example.com>", 100, "<joe@example.com>"),
        (b"a\r\n250 ok\0", 100, "a??250 ok?"),
        (b"\x1b[31m\x7f", 100, "?[31m?"),
        ("grün".as_bytes(), 100, "gr??n"),
        (b"\xff\xfe", 100, "??"),
        (b"abcdef", 3, "abc"),
        (b"100%", 100, "100%"),
    ];
    for (text, max, expected) in table {
        assert_eq!(sanitize(text, max), expected);
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_is_safe(
        code in 390u16..610,
        class in 3u8..7,
        lines in prop::collection::vec("[ -~]{0,20}|[ -~\\r\\n\\x00%]{0,300}|\\PC{0,20}", 0..4),
    ) {
        let enhanced = EnhancedCode { class, subject: 1, detail: 1 };
        if let Ok(reply) = SmtpReply::new(code, enhanced, &lines) {
            assert_safe(&reply);
        }
    }

    #[test]
    fn sanitized_lines_are_taken(text in prop::collection::vec(any::<u8>(), 1..300), code in 400u16..600) {
        let enhanced = EnhancedCode { class: if code < 500 { 4 } else { 5 }, subject: 1, detail: 1 };
        let line = format!("<{}>", sanitize(&text, 200));
        let reply = SmtpReply::new(code, enhanced, [&line]).unwrap();
        assert_safe(&reply);
        prop_assert_eq!(reply.lines().collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn reading_undoes_writing(lines in prop::collection::vec("[ -~]{0,60}[!-~]", 1..32), subject in 0u16..1000, permanent: bool) {
        let class = if permanent { 5 } else { 4 };
        let reply = SmtpReply::new(u16::from(class) * 100 + 50, EnhancedCode { class, subject, detail: 7 }, &lines).unwrap();
        assert_safe(&reply);
        prop_assert_eq!(SmtpReply::from_wire(&wire(&reply)[5..]).unwrap(), reply.clone());
        prop_assert_eq!(reply.lines().collect::<Vec<_>>(), lines);
        prop_assert_eq!((reply.enhanced().subject, reply.is_permanent()), (subject, permanent));
    }

    #[test]
    fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(reply) = SmtpReply::from_wire(&payload) {
            assert_safe(&reply);
        }
    }
}

/// All rules, by another way than the implementation's.
fn assert_safe(reply: &SmtpReply) {
    let bytes = wire(reply);
    let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(length as usize, bytes.len() - 4);
    assert_eq!(bytes[4], b'y');
    let (nul, text) = bytes[5..].split_last().unwrap();
    assert_eq!(*nul, 0);
    let text = std::str::from_utf8(text).unwrap();
    assert_eq!(text.replace("%%", "").matches('%').count(), 0);
    let lines: Vec<_> = text.split("\r\n").collect();
    assert!((1..=32).contains(&lines.len()));
    for (index, line) in lines.iter().enumerate() {
        assert!(line.len() <= 480 && line.bytes().all(|byte| (32..127).contains(&byte)), "{line:?}");
        assert!(line.starts_with(['4', '5']) && line[..3] == lines[0][..3]);
        assert_eq!(&line[3..4], if index + 1 == lines.len() { " " } else { "-" });
        assert_eq!(line[4..5], line[..1]);
        let (_, text) = line[4..].split_once(' ').unwrap();
        assert!(!text.trim().is_empty());
    }
}
