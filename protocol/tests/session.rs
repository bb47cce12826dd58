//! The session's rules: negotiation, order, who answers what, macros' lifetimes, misuse. What MTAs really do is in `captures.rs`,
//! what libmilter does in `libmilter.rs`.

#![cfg(test)]

use bytes::BytesMut;
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::frame::FrameError;
use milter_protocol::macros::{Macros, MacrosTooLong, Stage};
use milter_protocol::negotiation::{CURRENT_OFFER, NegotiationError, Offer, Wanted, WantedError};
use milter_protocol::reply::Modification;
use milter_protocol::session::{Ask, Event, NotAgreed, Phase, ProtocolError, Session};
use milter_protocol::smtp_reply::SmtpReply;
use milter_protocol::verdict::*;

/// Frames as they are in the captures, each behind its length word.
fn stream(frames: &[&[u8]]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat())
        .collect()
}

fn offer(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    let words = [version, actions, steps].map(u32::to_be_bytes).concat();
    [b"O", &words[..]].concat()
}

/// A session after its negotiation with a current MTA.
fn agreed(steps: Steps) -> Session {
    agreed_with(steps, 0x1F_FFFF)
}

fn agreed_with(steps: Steps, offered: u32) -> Session {
    let mut session = Session::new(Wanted::new(Actions::NONE, steps).unwrap());
    run(&mut session, &[&offer(6, 0x1FF, offered)]).unwrap();
    session
}

/// Feeds frames, answers each question with *continue*. The events' names, and the bytes of the replies.
fn run(session: &mut Session, frames: &[&[u8]]) -> Result<(Vec<&'static str>, String), ProtocolError> {
    let bytes = stream(frames);
    let mut input = &bytes[..];
    let mut output = BytesMut::new();
    let mut names = Vec::new();
    while let Some(event) = session.next(&mut input, &mut output)? {
        names.push(proceed(session, event, &mut output));
    }
    Ok((names, codes(&output)))
}

/// The replies' bytes, without what is in them.
fn codes(mut output: &[u8]) -> String {
    let mut codes = String::new();
    while let Some(frame) = milter_protocol::frame::next_frame(&mut output, usize::MAX - 1).unwrap() {
        codes.push(char::from(frame.code));
    }
    codes
}

/// The event's name; with a `!` if it was a question.
fn proceed(session: &mut Session, event: Event<'_>, output: &mut BytesMut) -> &'static str {
    fn give<V: Verdict>(
        session: &mut Session,
        ask: Option<Ask<V>>,
        verdict: V,
        output: &mut BytesMut,
        names: [&'static str; 2],
    ) -> &'static str {
        match ask {
            Some(ask) => {
                session.answer(ask, verdict, output);
                names[1]
            }
            None => names[0],
        }
    }
    match event {
        Event::Negotiated => "negotiated",
        Event::Connect(_, ask) => {
            give(session, ask, ConnectVerdict::Continue, output, ["connect", "connect!"])
        }
        Event::Helo(_, ask) => give(session, ask, HeloVerdict::Continue, output, ["helo", "helo!"]),
        Event::Mail(_, ask) => give(session, ask, MailVerdict::Continue, output, ["mail", "mail!"]),
        Event::Rcpt(_, ask) => give(session, Some(ask), RcptVerdict::Continue, output, ["", "rcpt!"]),
        Event::Data(ask) => give(session, ask, DataVerdict::Continue, output, ["data", "data!"]),
        Event::Header(_, ask) => give(session, ask, HeaderVerdict::Continue, output, ["header", "header!"]),
        Event::EndOfHeaders(ask) => {
            give(session, ask, EndOfHeadersVerdict::Continue, output, ["eoh", "eoh!"])
        }
        Event::Body(_, ask) => give(session, ask, BodyVerdict::Continue, output, ["body", "body!"]),
        Event::EndOfMessage(_, ask) => {
            give(session, Some(ask), EndOfMessageVerdict::Continue, output, ["", "end!"])
        }
        Event::Unknown(_, ask) => {
            give(session, ask, UnknownVerdict::Continue, output, ["unknown", "unknown!"])
        }
        Event::Abort => "abort",
        Event::NewConnection => "new-connection",
        Event::Quit => "quit",
    }
}

const CONNECT: &[u8] = b"Chost\0U";
const MAIL: &[u8] = b"M<a>\0";
const RCPT: &[u8] = b"R<b>\0";
const MESSAGE: [&[u8]; 8] = [MAIL, RCPT, RCPT, b"T", b"La\0b\0", b"N", b"Bbody", b"E"];

fn no_such_user() -> SmtpReply {
    SmtpReply::new(550, "5.1.1".parse().unwrap(), ["No such user"]).unwrap()
}

// --- Negotiation

#[test]
fn what_is_agreed() {
    type Case = (Vec<u8>, (Actions, Steps), &'static [u8]);
    let table: [Case; 9] = [
        // Postfix and Sendmail today.
        (offer(6, 0x1FF, 0x1F_FFFF), (Actions::NONE, Steps(0x377)), b"O\0\0\0\x06\0\0\0\0\0\0\x03\x77"),
        // Postfix with milter_protocol = 2: NO_UNKNOWN and NO_DATA are not offered.
        (offer(2, 0x1FF, 0x7F), (Actions::NONE, Steps(0x377)), b"O\0\0\0\x02\0\0\0\0\0\0\0\x77"),
        // Some test servers.
        (offer(8, 0x1FF, 0x1F_FFFF), (Actions::NONE, Steps::NONE), b"O\0\0\0\x06\0\0\0\0\0\0\0\0"),
        // Zero is what version 1 had: actions 0x0F, steps 0x3F.
        (offer(2, 0, 0), (Actions(0x0F), Steps(0x377)), b"O\0\0\0\x02\0\0\0\x0f\0\0\0\x37"),
        // The MDS bits are never echoed.
        (offer(6, 0x1FF, 0x301F_FFFF), (Actions::NONE, Steps::SKIP), b"O\0\0\0\x06\0\0\0\0\0\0\x04\0"),
        // NR bits that are not offered are dropped, and so are others.
        (
            offer(6, 0x1FF, 0x7F),
            (Actions::NONE, Steps::NR_MAIL | Steps::SKIP),
            b"O\0\0\0\x06\0\0\0\0\0\0\0\0",
        ),
        // A bit that has no name, wanted and offered.
        (offer(6, 0x1FF, 0x401F_FFFF), (Actions::NONE, Steps(0x4000_0000)), b"O\0\0\0\x06\0\0\0\0\x40\0\0\0"),
        // SET_SYMLIST is not sent without a list.
        (offer(6, 0x1FF, 0x1F_FFFF), (Actions(0x1FF), Steps::NONE), b"O\0\0\0\x06\0\0\0\xff\0\0\0\0"),
        // What is behind the three words is tolerated (libmilter).
        (
            [&offer(6, 1, 0)[..], b"behind"].concat(),
            (Actions(1), Steps::NONE),
            b"O\0\0\0\x06\0\0\0\x01\0\0\0\0",
        ),
    ];
    for (offer, (actions, steps), answer) in table {
        let mut session = Session::new(Wanted::new(actions, steps).unwrap());
        let bytes = stream(&[&offer]);
        let mut output = BytesMut::new();
        let event = session.next(&mut &bytes[..], &mut output).unwrap();
        assert!(matches!(event, Some(Event::Negotiated)));
        assert_eq!(output.escape_ascii().to_string(), stream(&[answer]).escape_ascii().to_string());
    }
}

#[test]
fn macro_requests_go_where_they_are_permitted() {
    let wanted = Wanted::new(Actions::NONE, Steps::NONE).unwrap();
    let wanted = wanted.macros(Stage::Rcpt, "i {rcpt_addr}").macros(Stage::EndOfHeaders, "i");
    let answer = |offered: u32| {
        let mut session = Session::new(wanted.clone());
        let mut output = BytesMut::new();
        let bytes = stream(&[&offer(6, offered, 0x1F_FFFF)]);
        let event = session.next(&mut &bytes[..], &mut output).unwrap();
        assert!(matches!(event, Some(Event::Negotiated)));
        output[4..].to_vec()
    };
    let lists = b"O\0\0\0\x06\0\0\x01\0\0\0\0\0\0\0\0\x03i {rcpt_addr}\0\0\0\0\x06i\0";
    assert_eq!(answer(0x1FF), lists);
    assert_eq!(answer(0x0FF), b"O\0\0\0\x06\0\0\0\0\0\0\0\0");
}

#[test]
fn what_is_not_agreed() {
    let fail = |offered: Vec<u8>, actions| {
        let mut session = Session::new(Wanted::new(actions, Steps::NONE).unwrap());
        run(&mut session, &[&offered]).unwrap_err()
    };
    let too_old = |version| ProtocolError::Negotiation(NegotiationError::VersionTooOld(Version(version)));
    assert_eq!(fail(offer(1, 0x0F, 0x3F), Actions::NONE), too_old(1));
    assert_eq!(fail(offer(0, 0x0F, 0x3F), Actions::NONE), too_old(0));
    let missing = NegotiationError::ActionsNotOffered(Actions::QUARANTINE);
    assert_eq!(fail(offer(6, 0x1F, 0), Actions(0x3F)), ProtocolError::Negotiation(missing));
    assert_eq!(fail(offer(2, 0, 0), Actions(0x2F)), ProtocolError::Negotiation(missing));
    assert_eq!(fail(offer(6, 0, 0)[..12].to_vec(), Actions::NONE).kind(), "malformed");
}

#[test]
fn what_a_filter_must_not_want() {
    for steps in [Steps::NO_RCPT, Steps::NR_RCPT, Steps::NO_RCPT | Steps::NR_RCPT] {
        let error = Wanted::new(Actions::NONE, steps | Steps::NO_HELO).unwrap_err();
        assert_eq!(error, WantedError::Recipients(steps));
    }
    let error = Wanted::new(Actions::NONE, Steps::MDS_1M).unwrap_err();
    assert_eq!(error, WantedError::DataSize(Steps::MDS_1M));
}

// --- Who answers

/// All NR bits but RCPT's; then the same from an MTA that doesn't know them: the session answers.
#[test]
fn without_replies() {
    let steps = Steps(0xF_F080) - Steps::NR_RCPT;
    let frames = [&[CONNECT, b"Ha\0", b"Ufoo\0"], &MESSAGE[..]].concat();
    let events =
        ["connect", "helo", "unknown", "mail", "rcpt!", "rcpt!", "data", "header", "eoh", "body", "end!"];
    let (names, replies) = run(&mut agreed(steps), &frames).unwrap();
    assert_eq!((&names[..], &replies[..]), (&events[..], "ccc"));
    let (names, replies) = run(&mut agreed_with(steps, 0x7F), &frames).unwrap();
    assert_eq!((&names[..], &replies[..]), (&events[..], "ccccccccccc"));
}

/// An MTA that can't leave anything out (steps 0x400) sends what the filter does not want: it is answered and not shown.
#[test]
fn unwanted_events_are_answered_and_not_shown() {
    let steps = Steps(0x377);
    let mut session = agreed_with(steps, 0x400);
    assert_eq!(session.agreed().unwrap().handled_here, steps);
    let frames = [&[CONNECT, b"Ha\0", b"Ufoo\0"], &MESSAGE[..]].concat();
    let (names, replies) = run(&mut session, &frames).unwrap();
    assert_eq!((&names[..], &replies[..]), (&["rcpt!", "rcpt!", "end!"][..], "ccccccccccc"));
}

/// NO is not offered and NR is: the MTA sends the event and expects no reply.
#[test]
fn unwanted_events_without_replies() {
    let mut session = agreed_with(Steps::NO_HELO | Steps::NR_HELO, 0x2000);
    let (names, replies) = run(&mut session, &[CONNECT, b"Ha\0", MAIL]).unwrap();
    assert_eq!((&names[..], &replies[..]), (&["connect!", "mail!"][..], "cc"));
}

#[test]
fn suppressed_commands_do_not_come() {
    let table: [(Steps, &[&[u8]], u8); 8] = [
        (Steps::NO_CONNECT, &[CONNECT], b'C'),
        (Steps::NO_HELO, &[CONNECT, b"Ha\0"], b'H'),
        (Steps::NO_MAIL, &[CONNECT, MAIL], b'M'),
        (Steps::NO_DATA, &[CONNECT, MAIL, RCPT, b"T"], b'T'),
        (Steps::NO_HEADERS, &[CONNECT, MAIL, RCPT, b"La\0b\0"], b'L'),
        (Steps::NO_EOH, &[CONNECT, MAIL, RCPT, b"N"], b'N'),
        (Steps::NO_BODY, &[CONNECT, MAIL, RCPT, b"Bx"], b'B'),
        (Steps::NO_UNKNOWN, &[CONNECT, b"Ufoo\0"], b'U'),
    ];
    for (steps, frames, code) in table {
        assert_eq!(run(&mut agreed(steps), frames), Err(ProtocolError::Suppressed(code)));
    }
}

// --- Order

#[test]
fn orders_that_are_legal() {
    let no = |steps: Steps, frames: &[&[u8]]| (steps, frames.iter().map(|f| f.to_vec()).collect::<Vec<_>>());
    let any = |frames: &[&[u8]]| no(Steps::NONE, frames);
    let table = [
        any(&[]),
        any(&[b"A", b"A", CONNECT, b"A", b"A", b"Q"]),
        any(&[b"Q"]),
        any(&[b"Ufoo\0", CONNECT, b"Ufoo\0", MAIL, b"Ufoo\0", RCPT, b"Ufoo\0", b"T", b"Ufoo\0", b"N"]),
        any(&[CONNECT, b"Ha\0", b"Hb\0", MAIL, b"Hc\0", MAIL, RCPT]),
        any(&[CONNECT, MAIL, MAIL, RCPT, MAIL]),
        any(&[CONNECT, MAIL, RCPT, b"La\0b\0", b"La\0b\0", b"N", b"Bx", b"Bx", b"E", MAIL]),
        any(&[
            CONNECT, MAIL, RCPT, b"N", b"E", b"A", MAIL, RCPT, b"E", MAIL, RCPT, b"T", b"N", b"E", b"A",
            b"A", b"Q",
        ]),
        any(&[CONNECT, MAIL, RCPT, b"T", b"La\0b\0", b"A", MAIL]),
        any(&[CONNECT, MAIL, RCPT, b"T", b"La\0b\0", b"Ha\0"]),
        any(&[CONNECT, MAIL, b"K", CONNECT, MAIL]),
        any(&[b"K", b"K", CONNECT]),
        // With NO_MAIL, RCPT comes without MAIL.
        no(Steps::NO_MAIL, &[CONNECT, RCPT, RCPT, b"E", RCPT, b"A", RCPT]),
        no(Steps::NO_CONNECT, &[b"Ha\0", MAIL, b"K", MAIL]),
        no(Steps(0x377), &[RCPT, RCPT, b"E", b"A", RCPT, b"A", b"A", b"Q"]),
        no(Steps::NO_EOH, &[CONNECT, MAIL, RCPT, b"T", b"La\0b\0", b"Bx", b"E"]),
        no(Steps::NO_EOH | Steps::NO_BODY, &[CONNECT, MAIL, RCPT, b"T", b"E"]),
    ];
    for (steps, frames) in table {
        let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
        let (names, _) =
            run(&mut agreed(steps), &frames).unwrap_or_else(|error| panic!("{error}: {frames:?}"));
        assert_eq!(names.len(), frames.len());
    }
}

#[test]
fn orders_that_are_not() {
    let negotiated = Phase::Negotiated;
    let table: [(Steps, &[&[u8]], u8, Phase); 24] = [
        (Steps::NONE, &[MAIL], b'M', negotiated),
        (Steps::NONE, &[b"Ha\0"], b'H', negotiated),
        (Steps::NONE, &[RCPT], b'R', negotiated),
        (Steps::NO_MAIL, &[RCPT], b'R', negotiated),
        (Steps::NONE, &[CONNECT, b"K", MAIL], b'M', negotiated),
        (Steps::NONE, &[CONNECT, CONNECT], b'C', Phase::Connected),
        (Steps::NONE, &[CONNECT, MAIL, CONNECT], b'C', Phase::Mail),
        (Steps::NONE, &[CONNECT, RCPT], b'R', Phase::Connected),
        (Steps::NONE, &[CONNECT, MAIL, b"A", RCPT], b'R', Phase::Connected),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"T", RCPT], b'R', Phase::Data),
        (Steps::NO_MAIL, &[CONNECT, RCPT, b"T", RCPT], b'R', Phase::Data),
        (Steps::NONE, &[CONNECT, MAIL, b"T"], b'T', Phase::Mail),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"T", b"T"], b'T', Phase::Data),
        (Steps::NONE, &[CONNECT, MAIL, b"La\0b\0"], b'L', Phase::Mail),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"N", b"La\0b\0"], b'L', Phase::EndOfHeaders),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"N", b"N"], b'N', Phase::EndOfHeaders),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"Bx", b"N"], b'N', Phase::Body),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"T", b"Bx"], b'B', Phase::Data),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"La\0b\0", b"E"], b'E', Phase::Headers),
        (Steps::NONE, &[CONNECT, b"E"], b'E', Phase::Connected),
        (Steps::NONE, &[CONNECT, MAIL, b"E"], b'E', Phase::Mail),
        (Steps::NONE, &[CONNECT, MAIL, RCPT, b"E", b"E"], b'E', Phase::Connected),
        (Steps::NONE, &[b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"], b'O', negotiated),
        (Steps::NONE, &[CONNECT, b"Q", MAIL], b'M', Phase::Closed),
    ];
    for (steps, frames, command, phase) in table {
        let error = run(&mut agreed(steps), frames).unwrap_err();
        assert_eq!(error, ProtocolError::OutOfOrder { command, phase }, "{frames:?}");
        assert_eq!(error.kind(), "out-of-order");
    }
}

#[test]
fn before_the_negotiation() {
    let fresh = || Session::new(Wanted::default());
    for code in *b"CHMRTLNBEUK" {
        let frame = match code {
            b'C' => CONNECT.to_vec(),
            b'L' => b"La\0b\0".to_vec(),
            b'T' | b'N' | b'E' | b'K' => vec![code],
            _ => [&[code][..], b"a\0"].concat(),
        };
        assert_eq!(run(&mut fresh(), &[&frame]), Err(ProtocolError::NotNegotiated(code)));
    }
    // Macros before the offer are forgotten, as with libmilter.
    let mut session = fresh();
    let (names, _) = run(&mut session, &[b"DCj\0mx\0", b"A", &offer(6, 0, 0), CONNECT]).unwrap();
    assert_eq!(names, ["abort", "negotiated", "connect!"]);
    assert_eq!(session.macros().get("j"), None);
    assert_eq!(run(&mut fresh(), &[b"Q"]).unwrap().0, ["quit"]);
}

#[test]
fn after_a_refusal_a_new_message_begins() {
    fn refuse(session: &mut Session, frame: &[u8]) {
        let bytes = stream(&[frame]);
        let mut output = BytesMut::new();
        match session.next(&mut &bytes[..], &mut output).unwrap().unwrap() {
            Event::Mail(_, Some(ask)) => {
                session.answer(ask, MailVerdict::Refuse(no_such_user()), &mut output);
            }
            Event::Rcpt(_, ask) => session.answer(ask, RcptVerdict::Refuse(no_such_user()), &mut output),
            Event::Unknown(_, Some(ask)) => {
                session.answer(ask, UnknownVerdict::Refuse(no_such_user()), &mut output);
            }
            Event::Body(_, Some(ask)) => session.answer(ask, BodyVerdict::Discard, &mut output),
            Event::Data(Some(ask)) => session.answer(ask, DataVerdict::Refuse(no_such_user()), &mut output),
            other => panic!("{other:?}"),
        }
    }
    let mut session = agreed(Steps::NONE);
    run(&mut session, &[CONNECT]).unwrap();
    refuse(&mut session, MAIL);
    assert_eq!(session.phase(), Phase::Connected);
    run(&mut session, &[MAIL]).unwrap();
    // A refused recipient, or an unknown command within the message, does not end it.
    refuse(&mut session, RCPT);
    refuse(&mut session, b"Ufoo\0");
    assert_eq!(session.phase(), Phase::Rcpt);
    // Postfix: after a refused DATA the client may name more recipients and try again.
    refuse(&mut session, b"T");
    run(&mut session, &[RCPT, b"T", b"N"]).unwrap();
    refuse(&mut session, b"Bx");
    assert_eq!(session.phase(), Phase::Connected);
}

// --- Frames

#[test]
fn frames_that_end_a_session() {
    let table: [(&[u8], ProtocolError); 4] = [
        (b"\0\0\0\0", FrameError::Empty.into()),
        (b"\0\x01\0\x01B", FrameError::TooLong { length: 65_537, limit: 65_535 }.into()),
        (b"\0\0\0\x01z", ProtocolError::UnknownCommand(b'z')),
        (b"\0\0\0\x02Ha", milter_protocol::command::Malformed(b'H').into()),
    ];
    for (bytes, expected) in table {
        let mut session = agreed(Steps::NONE);
        let mut output = BytesMut::new();
        assert_eq!(session.next(&mut &bytes[..], &mut output).unwrap_err(), expected);
        // And it does not come back to life.
        let more = stream(&[CONNECT]);
        assert_eq!(session.next(&mut &more[..], &mut output).unwrap_err(), expected);
        assert!(output.is_empty());
    }
}

#[test]
fn kinds_are_a_closed_list() {
    let errors = [
        ProtocolError::Frame(FrameError::Empty),
        ProtocolError::Frame(FrameError::TooLong { length: 9, limit: 1 }),
        ProtocolError::Malformed(milter_protocol::command::Malformed(b'H')),
        ProtocolError::UnknownCommand(b'\n'),
        ProtocolError::NotNegotiated(b'H'),
        ProtocolError::Negotiation(NegotiationError::VersionTooOld(Version(1))),
        ProtocolError::Negotiation(NegotiationError::ActionsNotOffered(Actions::ADD_RCPT)),
        ProtocolError::OutOfOrder { command: b'H', phase: Phase::Mail },
        ProtocolError::Suppressed(b'H'),
        ProtocolError::Macros(MacrosTooLong),
        ProtocolError::Unanswered(b'H'),
        ProtocolError::NotAsked,
    ];
    assert_eq!(errors.map(|error| error.kind()), ProtocolError::KINDS);
    for error in errors {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text}");
    }
}

// --- Macros

#[test]
fn lifetimes_of_macros() {
    let mut session = agreed(Steps::NONE);
    let get = |session: &Session, name| session.macros().get(name).map(|value| value.to_vec());
    run(&mut session, &[b"DCj\0mx\0i\0Q0\0", CONNECT, b"DH{cipher}\0AES\0", b"Ha\0"]).unwrap();
    run(&mut session, &[b"DM{auth_authen}\0joe\0", MAIL, b"DRi\0Q1\0{rcpt_addr}\0b@c\0", RCPT]).unwrap();
    // The latest stage wins; with and without braces.
    assert_eq!(get(&session, "i"), Some(b"Q1".to_vec()));
    assert_eq!(get(&session, "{i}"), Some(b"Q1".to_vec()));
    assert_eq!(get(&session, "rcpt_addr"), Some(b"b@c".to_vec()));
    assert_eq!(session.macros().get_at(Stage::Connect, "i"), Some(&b"Q0"[..]));
    // A recipient without macros does not have those of the one before.
    run(&mut session, &[RCPT]).unwrap();
    assert_eq!(get(&session, "rcpt_addr"), None);
    assert_eq!(get(&session, "i"), Some(b"Q0".to_vec()));
    assert_eq!(get(&session, "auth_authen"), Some(b"joe".to_vec()));
    // Postfix sends abort after the end of a message, and again: what is known of the connection stays.
    run(&mut session, &[b"DEi\0Q1\0", b"E", b"A", b"A"]).unwrap();
    assert_eq!(get(&session, "auth_authen"), None);
    assert_eq!(get(&session, "i"), Some(b"Q0".to_vec()));
    assert_eq!(get(&session, "cipher"), Some(b"AES".to_vec()));
    // Sendmail sends none: the next message does not see the last one's.
    run(&mut session, &[b"DM{auth_authen}\0joe\0", MAIL, RCPT, b"E", MAIL]).unwrap();
    assert_eq!(get(&session, "auth_authen"), None);
    // So does a HELO within a message.
    run(&mut session, &[b"DM{auth_authen}\0joe\0", MAIL, b"DH{cipher}\0DES\0", b"Ha\0"]).unwrap();
    assert_eq!(get(&session, "auth_authen"), None);
    assert_eq!(get(&session, "cipher"), Some(b"DES".to_vec()));
    run(&mut session, &[b"K"]).unwrap();
    assert_eq!(session.macros().iter().count(), 0);
}

/// Both MTAs send the macros of steps that they leave out, so they must outlive the commands that don't come.
#[test]
fn macros_of_suppressed_steps() {
    let mut session = agreed(Steps(0x377));
    let frames: [&[u8]; 5] = [b"DCj\0mx\0", b"DH", b"DM{auth_authen}\0joe\0", b"DR{rcpt_addr}\0b@c\0", RCPT];
    run(&mut session, &frames).unwrap();
    for (name, value) in [("j", "mx"), ("auth_authen", "joe"), ("rcpt_addr", "b@c")] {
        assert_eq!(session.macros().get(name), Some(value.as_bytes()));
    }
    // The next message's MAIL, without its command.
    run(&mut session, &[b"A", b"DM{mail_addr}\0x\0", RCPT]).unwrap();
    assert_eq!(session.macros().get("auth_authen"), None);
    assert_eq!(session.macros().get("rcpt_addr"), None);
    assert_eq!(session.macros().get("mail_addr"), Some(&b"x"[..]));
}

#[test]
fn macros_are_bounded() {
    let mut session = agreed(Steps::NONE);
    let list = |stage: u8| [&[b'D', stage][..], b"a\0", &vec![b'x'; 60_000][..], b"\0"].concat();
    run(&mut session, &[&list(b'C'), CONNECT, &list(b'M'), &list(b'M')]).unwrap();
    const { assert!(2 * 60_000 < Macros::LIMIT && 3 * 60_000 > Macros::LIMIT) };
    assert_eq!(run(&mut session, &[&list(b'R')]), Err(ProtocolError::Macros(MacrosTooLong)));
}

// --- Misuse

#[test]
fn a_dropped_question_is_found_out() {
    let mut session = agreed(Steps::NONE);
    let bytes = stream(&[CONNECT, MAIL]);
    let mut input = &bytes[..];
    let mut output = BytesMut::new();
    drop(session.next(&mut input, &mut output));
    assert_eq!(session.next(&mut input, &mut output).unwrap_err(), ProtocolError::Unanswered(b'C'));
    assert!(output.is_empty());
}

#[test]
fn an_answer_to_another_session_is_found_out() {
    let mut output = BytesMut::new();
    let connect = stream(&[CONNECT]);
    let mut sessions = [agreed(Steps::NONE), agreed(Steps::NONE)];
    let event = sessions[0].next(&mut &connect[..], &mut output).unwrap();
    let Some(Event::Connect(_, Some(ask))) = event else { panic!("{event:?}") };
    sessions[1].answer(ask, ConnectVerdict::Continue, &mut output);
    assert!(output.is_empty());
    let error = sessions[1].next(&mut &connect[..], &mut output).unwrap_err();
    assert_eq!(error, ProtocolError::NotAsked);
    let error = sessions[0].next(&mut &[][..], &mut output).unwrap_err();
    assert_eq!(error, ProtocolError::Unanswered(b'C'));
}

/// Thousands of idle sessions are kept; the buffers are the caller's.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 256, "{}", size_of::<Session>());
    assert_eq!(size_of::<Ask<RcptVerdict>>(), 0);
}

// --- Answers

#[test]
fn verdicts_on_the_wire() {
    fn answer(
        frames: &[&[u8]],
        steps: Steps,
        mut verdict: impl FnMut(&mut Session, Event<'_>, &mut BytesMut),
    ) -> Vec<u8> {
        let mut session = agreed(steps);
        let (last, before) = frames.split_last().unwrap();
        run(&mut session, before).unwrap();
        let bytes = stream(&[last]);
        let mut output = BytesMut::new();
        let event = session.next(&mut &bytes[..], &mut output).unwrap().unwrap();
        verdict(&mut session, event, &mut output);
        output.to_vec()
    }
    macro_rules! give {
        ($pattern:pat => $ask:expr, $verdict:expr) => {
            |session: &mut Session, event: Event<'_>, output: &mut BytesMut| {
                let $pattern = event else { panic!("{event:?}") };
                session.answer($ask, $verdict, output);
            }
        };
    }
    let refusal = stream(&[b"y550 5.1.1 No such user\0"]);
    let body = [CONNECT, MAIL, RCPT, b"Bx"];
    let (s, r) = (Steps::NONE, no_such_user);
    let refused = [
        answer(&body[..1], s, give!(Event::Connect(_, Some(ask)) => ask, ConnectVerdict::Refuse(r()))),
        answer(&[CONNECT, b"Ha\0"], s, give!(Event::Helo(_, Some(ask)) => ask, HeloVerdict::Refuse(r()))),
        answer(&body[..2], s, give!(Event::Mail(_, Some(ask)) => ask, MailVerdict::Refuse(r()))),
        answer(&body[..3], s, give!(Event::Rcpt(_, ask) => ask, RcptVerdict::Refuse(r()))),
        answer(&body, s, give!(Event::Body(_, Some(ask)) => ask, BodyVerdict::Refuse(r()))),
    ];
    for bytes in refused {
        assert_eq!(bytes, refusal);
    }
    let accepted = answer(&body[..1], s, give!(Event::Connect(_, Some(ask)) => ask, ConnectVerdict::Accept));
    assert_eq!(accepted, stream(&[b"a"]));
    let discarded = answer(&body, s, give!(Event::Body(_, Some(ask)) => ask, BodyVerdict::Discard));
    assert_eq!(discarded, stream(&[b"d"]));
    // Skip, only where the MTA understands it.
    let skip = || give!(Event::Body(_, Some(ask)) => ask, BodyVerdict::Skip);
    assert_eq!(answer(&body, Steps::SKIP, skip()), stream(&[b"s"]));
    assert_eq!(answer(&body, s, skip()), stream(&[b"c"]));
}

#[test]
fn only_agreed_changes() {
    let mut session = Session::new(Wanted::new(Actions::ADD_HEADERS, Steps::NONE).unwrap());
    run(&mut session, &[&offer(6, 0x1FF, 0), CONNECT, MAIL, RCPT]).unwrap();
    let bytes = stream(&[b"E"]);
    let mut output = BytesMut::new();
    let event = session.next(&mut &bytes[..], &mut output).unwrap();
    let Some(Event::EndOfMessage(b"", ask)) = event else { panic!("{event:?}") };
    let header = Modification::AddHeader { name: b"X", value: b"y" };
    session.modify(&ask, &header, &mut output).unwrap();
    let quarantine = Modification::Quarantine(b"why");
    assert_eq!(session.modify(&ask, &quarantine, &mut output), Err(NotAgreed(Actions::QUARANTINE)));
    session.progress(&ask, &mut output);
    session.answer(ask, EndOfMessageVerdict::Accept, &mut output);
    assert_eq!(output, stream(&[b"hX\0y\0", b"p", b"a"]));
}

#[test]
fn events_show_what_came() {
    let mut session = agreed(Steps(0xF_F080) - Steps::NR_RCPT);
    let frames: [&[u8]; 7] = [
        b"Chost\x004\0\x19192.0.2.1\0",
        b"Hname\0",
        b"M<>\0SIZE=1\0",
        b"Ufoo bar\0",
        RCPT,
        b"LA\0b\0",
        b"Elast",
    ];
    let bytes = stream(&frames);
    let mut input = &bytes[..];
    let mut output = BytesMut::new();
    let mut seen = 0;
    while let Some(event) = session.next(&mut input, &mut output).unwrap() {
        match event {
            Event::Connect(connect, None) => {
                let address = ClientAddress::Inet([192, 0, 2, 1].into(), 25);
                assert_eq!(connect, Connect { host: b"host", address });
            }
            Event::Helo(name, None) => assert_eq!(name, b"name"),
            Event::Mail(mail, None) => {
                let parameters = CStrings::from_wire(b"SIZE=1\0").unwrap();
                assert_eq!(mail, Mail { address: b"<>", parameters });
            }
            Event::Unknown(line, None) => assert_eq!(line, b"foo bar"),
            Event::Rcpt(rcpt, ask) => {
                assert_eq!(rcpt, Rcpt { address: b"<b>", parameters: CStrings::default() });
                session.answer(ask, RcptVerdict::Continue, &mut output);
                // Needed: the header may follow a recipient, and the end may follow only with NO_EOH.
            }
            Event::Header(header, None) => {
                assert_eq!(header, Header { name: b"A", value: b"b" });
                break;
            }
            other => panic!("{other:?}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
    let bytes = stream(&[b"N", b"Elast"]);
    let mut input = &bytes[..];
    assert!(matches!(session.next(&mut input, &mut output).unwrap(), Some(Event::EndOfHeaders(None))));
    assert!(matches!(session.next(&mut input, &mut output).unwrap(), Some(Event::EndOfMessage(b"last", _))));
}

/// What a current MTA offers can be played to a session by this crate's own client.
#[test]
fn the_offer_of_the_client() {
    let mut output = BytesMut::new();
    Command::Negotiate(Offer { ..CURRENT_OFFER }).encode(&mut output);
    assert_eq!(output[4..], offer(6, 0x1FF, 0x1F_FFFF));
}
