//! Conversations of real MTAs (Postfix 3.7.11, Sendmail 8.17.1 on Debian 12), replayed in both directions.
//!
//! Format of `captures/*.txt`: time, `#connection`, direction (`<-` from the MTA, `->` from the filter), `len=`, and one frame
//! without its length word as a Python bytes literal.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;

use bytes::BytesMut;
use milter_protocol::client::{Client, Expect};
use milter_protocol::command::{Command, Mail, Rcpt};
use milter_protocol::frame::{COMMAND_LIMIT, Frame, next_frame};
use milter_protocol::macros::Stage;
use milter_protocol::negotiation::{Offer, Wanted};
use milter_protocol::reply::Reply;
use milter_protocol::session::{Ask, Event, Session};
use milter_protocol::smtp_reply::SmtpReply;
use milter_protocol::verdict::*;

struct Line {
    from_mta: bool,
    frame: Vec<u8>,
}

impl Line {
    fn frame(&self) -> Frame<'_> {
        Frame { code: self.frame[0], payload: &self.frame[1..] }
    }

    fn wire(&self) -> Vec<u8> {
        let mut output = BytesMut::new();
        self.frame().encode(&mut output);
        output.to_vec()
    }
}

/// Every conversation, by file and connection.
fn conversations() -> BTreeMap<String, Vec<Line>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures");
    let mut all = BTreeMap::<String, Vec<Line>>::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let mut words = line.trim_start().splitn(5, ' ').filter(|word| !word.is_empty());
            let (connection, direction) = (words.nth(1).unwrap(), words.next().unwrap());
            let (_, literal) = line.split_once(" len=").unwrap();
            let (length, literal) = literal.split_once(' ').unwrap();
            let frame = python_bytes(literal);
            assert_eq!(frame.len(), length.parse::<usize>().unwrap(), "{line}");
            if matches!(direction, "<-" | "->") {
                let name = format!("{} {connection}", path.file_stem().unwrap().display());
                all.entry(name).or_default().push(Line { from_mta: direction == "<-", frame });
            }
        }
    }
    // A capture that is not read proves nothing.
    assert_eq!(all.len(), 12, "{:?}", all.keys());
    all
}

fn python_bytes(literal: &str) -> Vec<u8> {
    let literal = literal.strip_prefix('b').unwrap();
    let mut chars = literal[1..literal.len() - 1].bytes();
    let mut bytes = Vec::new();
    while let Some(byte) = chars.next() {
        bytes.push(match byte {
            b'\\' => match chars.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = [chars.next().unwrap(), chars.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}

/// What the filter of a conversation wanted.
fn wanted(lines: &[Line]) -> Wanted {
    let answer = lines.iter().find(|line| !line.from_mta).unwrap();
    let Ok(Reply::Negotiate(answer)) = Reply::parse(answer.frame()) else { panic!("no negotiation") };
    let wanted = Wanted::new(answer.actions, answer.steps).unwrap();
    answer.macro_requests().fold(wanted, |wanted, (stage, names)| {
        wanted.macros(Stage::from_id(stage).unwrap(), std::str::from_utf8(names).unwrap())
    })
}

/// What the filter of a conversation answered at RCPT, as a verdict. A bare `r` has none: it becomes a reply.
fn rcpt_verdict(reply: &Line) -> RcptVerdict {
    match Reply::parse(reply.frame()).unwrap() {
        Reply::Continue => RcptVerdict::Continue,
        Reply::ReplyCode(_) => RcptVerdict::Refuse(SmtpReply::from_wire(&reply.frame[1..]).unwrap()),
        Reply::Reject => RcptVerdict::Refuse(bare_reject()),
        other => panic!("{other:?}"),
    }
}

fn bare_reject() -> SmtpReply {
    SmtpReply::new(550, "5.7.1".parse().unwrap(), ["Command rejected"]).unwrap()
}

#[test]
fn the_session_answers_as_the_filter_did() {
    for (name, lines) in conversations() {
        let mut session = Session::new(wanted(&lines));
        let mut replies = lines.iter().filter(|line| !line.from_mta);
        let mut quit = false;
        for line in lines.iter().filter(|line| line.from_mta) {
            let wire = line.wire();
            let mut input = &wire[..];
            let mut output = BytesMut::new();
            let event =
                session.next(&mut input, &mut output).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(input.is_empty());
            let mut expected = Vec::new();
            let macros_only = event.is_none();
            assert_eq!(macros_only, line.frame[0] == b'D', "{name}");
            let Some(event) = event else { continue };
            let mut reply = || replies.next().unwrap_or_else(|| panic!("{name}: {event:?} was not answered"));
            match event {
                Event::Negotiated => expected = reply().wire(),
                Event::Rcpt(_, _) => {
                    let reply = reply();
                    expected = if reply.frame == b"r" {
                        let mut bytes = BytesMut::new();
                        bare_reject().encode(&mut bytes);
                        bytes.to_vec()
                    } else {
                        reply.wire()
                    };
                    let Event::Rcpt(_, ask) = event else { unreachable!() };
                    session.answer(ask, rcpt_verdict(reply), &mut output);
                }
                Event::Abort => assert_eq!(line.frame, b"A"),
                Event::Quit => quit = true,
                _ => {
                    expected = reply().wire();
                    proceed(&mut session, event, &mut output);
                }
            }
            assert_eq!(output.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name}");
        }
        assert!(quit && replies.next().is_none(), "{name}: not everything was played");
    }
}

/// Answers *continue*.
fn proceed(session: &mut Session, event: Event<'_>, output: &mut BytesMut) {
    fn give<V: Verdict>(session: &mut Session, ask: Option<Ask<V>>, verdict: V, output: &mut BytesMut) {
        session.answer(ask.expect("no NR step was wanted"), verdict, output);
    }
    match event {
        Event::Connect(_, ask) => give(session, ask, ConnectVerdict::Continue, output),
        Event::Helo(_, ask) => give(session, ask, HeloVerdict::Continue, output),
        Event::Mail(_, ask) => give(session, ask, MailVerdict::Continue, output),
        Event::Data(ask) => give(session, ask, DataVerdict::Continue, output),
        Event::Header(_, ask) => give(session, ask, HeaderVerdict::Continue, output),
        Event::EndOfHeaders(ask) => give(session, ask, EndOfHeadersVerdict::Continue, output),
        Event::Body(_, ask) => give(session, ask, BodyVerdict::Continue, output),
        Event::EndOfMessage(_, ask) => give(session, Some(ask), EndOfMessageVerdict::Continue, output),
        Event::Unknown(_, ask) => give(session, ask, UnknownVerdict::Continue, output),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_client_sends_as_the_mta_did() {
    for (name, lines) in conversations() {
        let Ok(Command::Negotiate(offer)) = Command::parse(lines[0].frame()) else { panic!("{name}") };
        assert!(offer.macros.is_empty());
        let mut client = Client::new(Offer { macros: &[], ..offer });
        let mut macros: Option<(u8, Vec<(&str, &str)>)> = None;
        let mut expect = Expect::Nothing;
        let mut output = BytesMut::new();
        for line in &lines {
            let wire = line.wire();
            if !line.from_mta {
                let reply = client.receive(&mut &wire[..]).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(reply.is_some() && expect == Expect::Reply && !client.waits(), "{name}");
                expect = Expect::Nothing;
                continue;
            }
            assert_eq!(expect, Expect::Nothing, "{name}: the MTA did not wait for the reply");
            output.clear();
            match Command::parse(line.frame()).unwrap() {
                Command::Negotiate(_) => {
                    client.negotiate(&mut output);
                    expect = Expect::Reply;
                }
                Command::Macros(list) => {
                    if let Some((code, before)) = macros.take() {
                        // No command came for the ones before: it was left out.
                        suppressed(&mut client, code, &before);
                    }
                    let list = list.list.strip_suffix(b"\0").map_or(vec![], |list| {
                        let strings: Vec<_> =
                            list.split(|&byte| byte == 0).map(|s| std::str::from_utf8(s).unwrap()).collect();
                        strings.chunks(2).map(|pair| (pair[0], pair[1])).collect()
                    });
                    // The frame lives as long as the conversation; only the list is kept.
                    macros = Some((line.frame[1], list));
                    continue;
                }
                command => {
                    let mut own = None;
                    if let Some((code, list)) = macros.take() {
                        if code == command.code() {
                            own = Some(list);
                        } else {
                            suppressed(&mut client, code, &list);
                        }
                    }
                    expect = client.send(&command, own.as_deref(), &mut output);
                    assert_ne!(expect, Expect::Suppressed, "{name}");
                }
            }
            let mut frames = &output[..];
            let mut last = None;
            while let Some(frame) = next_frame(&mut frames, COMMAND_LIMIT).unwrap() {
                last = Some(frame);
            }
            let sent = [&[last.unwrap().code][..], last.unwrap().payload].concat();
            if !is_sendmails_ipv6(line) {
                assert_eq!(sent.escape_ascii().to_string(), line.frame.escape_ascii().to_string(), "{name}");
            }
        }
    }
}

/// Both MTAs send the macros of what they leave out.
fn suppressed(client: &mut Client, code: u8, macros: &[(&str, &str)]) {
    let command = match code {
        b'C' => Command::Connect(milter_protocol::command::Connect {
            host: b"",
            address: milter_protocol::command::ClientAddress::Unknown,
        }),
        b'H' => Command::Helo(b""),
        b'M' => Command::Mail(Mail { address: b"", parameters: Default::default() }),
        b'R' => Command::Rcpt(Rcpt { address: b"", parameters: Default::default() }),
        b'T' => Command::Data,
        b'U' => return,
        other => panic!("{other}"),
    };
    let mut output = BytesMut::new();
    assert_eq!(client.send(&command, Some(macros), &mut output), Expect::Suppressed);
    let frame = next_frame(&mut &output[..], COMMAND_LIMIT).unwrap().unwrap();
    assert_eq!((frame.code, frame.payload[0], output.len()), (b'D', code, 5 + frame.payload.len()));
}

/// `IPv6:0:0:0:0:0:0:0:1`; we write `::1`, as Postfix does.
fn is_sendmails_ipv6(line: &Line) -> bool {
    line.frame.starts_with(b"C[IPv6:0:0:0:0:0:0:0:1]\x006\xd2\xe6")
}

#[test]
fn every_frame_is_the_same_when_encoded_again() {
    let (mut commands, mut replies) = (0, 0);
    for (name, lines) in conversations() {
        for line in lines {
            let mut output = BytesMut::new();
            if line.from_mta {
                Command::parse(line.frame()).unwrap().encode(&mut output);
                commands += 1;
            } else {
                Reply::parse(line.frame()).unwrap().encode(&mut output);
                replies += 1;
            }
            let expected = if is_sendmails_ipv6(&line) {
                b"\0\0\0\x1fC[IPv6:0:0:0:0:0:0:0:1]\x006\xd2\xe6::1\0".to_vec()
            } else {
                line.wire()
            };
            assert_eq!(output.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name}");
        }
    }
    assert!(commands > 200 && replies > 90, "{commands} {replies}");
}
