//! The MTA's side: what it sends for what was agreed, and which answers Postfix and Sendmail take for mistakes.

#![cfg(test)]

use bytes::BytesMut;
use milter_protocol::client::{Client, ClientError, Expect};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Malformed, Rcpt};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::frame::FrameError;
use milter_protocol::negotiation::{CURRENT_OFFER, Offer};
use milter_protocol::reply::{Modification, Reply};

fn stream(frames: &[&[u8]]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat())
        .collect()
}

fn answer(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    let words = [version, actions, steps].map(u32::to_be_bytes).concat();
    [b"O", &words[..]].concat()
}

fn negotiate(offer: Offer<'static>, answer: &[u8]) -> Result<Client, ClientError> {
    let mut client = Client::new(offer);
    let mut output = BytesMut::new();
    client.negotiate(&mut output);
    assert!(client.waits());
    assert!(client.receive(&mut &stream(&[answer])[..])?.is_some());
    assert!(!client.waits());
    Ok(client)
}

fn agreed(actions: u32, steps: u32) -> Client {
    negotiate(CURRENT_OFFER, &answer(6, actions, steps)).unwrap()
}

/// A name, and what it must be.
fn commands() -> Vec<(Command<'static>, Steps, Steps)> {
    let none = CStrings::default();
    vec![
        (
            Command::Connect(Connect { host: b"h", address: ClientAddress::Unknown }),
            Steps::NO_CONNECT,
            Steps::NR_CONNECT,
        ),
        (Command::Helo(b"h"), Steps::NO_HELO, Steps::NR_HELO),
        (Command::Mail(Mail { address: b"<>", parameters: none }), Steps::NO_MAIL, Steps::NR_MAIL),
        (Command::Rcpt(Rcpt { address: b"<a>", parameters: none }), Steps::NO_RCPT, Steps::NR_RCPT),
        (Command::Data, Steps::NO_DATA, Steps::NR_DATA),
        (Command::Header(Header { name: b"A", value: b"b" }), Steps::NO_HEADERS, Steps::NR_HEADER),
        (Command::EndOfHeaders, Steps::NO_EOH, Steps::NR_EOH),
        (Command::Body(b"x"), Steps::NO_BODY, Steps::NR_BODY),
        (Command::Unknown(b"FOO"), Steps::NO_UNKNOWN, Steps::NR_UNKNOWN),
    ]
}

/// Both MTAs send the macros of suppressed steps.
#[test]
fn steps_decide_what_is_sent() {
    for (command, no, no_reply) in commands() {
        let send = |steps: Steps| {
            let mut output = BytesMut::new();
            let mut client = agreed(0, steps.0);
            let expect = client.send(&command, Some(&[("i", "Q1")]), &mut output);
            assert_eq!(client.waits(), expect == Expect::Reply);
            (expect, output.to_vec())
        };
        let macros = stream(&[&[&[b'D', command.code()][..], b"i\0Q1\0"].concat()]);
        let mut both = BytesMut::from(&macros[..]);
        command.encode(&mut both);
        assert_eq!(send(Steps::NONE), (Expect::Reply, both.to_vec()));
        assert_eq!(send(no), (Expect::Suppressed, macros.clone()));
        assert_eq!(send(no_reply), (Expect::Nothing, both.to_vec()));
        assert_eq!(send(no | no_reply), (Expect::Suppressed, macros));
    }
    for command in [Command::Abort, Command::Quit, Command::QuitNewConnection] {
        assert_eq!(agreed(0, 0).send(&command, None, &mut BytesMut::new()), Expect::Nothing);
    }
    let end = agreed(0, 0x1F_FFFF).send(&Command::EndOfMessage(b""), None, &mut BytesMut::new());
    assert_eq!(end, Expect::Reply);
}

#[test]
fn macro_frames() {
    let mut output = BytesMut::new();
    agreed(0, 0).send(&Command::Helo(b"h"), Some(&[]), &mut output);
    assert_eq!(output, stream(&[b"DH", b"Hh\0"]));
    output.clear();
    agreed(0, 0).send(&Command::Data, None, &mut output);
    assert_eq!(output, stream(&[b"T"]));
}

/// Version too high: Postfix default_action; version 1: Sendmail 451; unknown actions: both fail; unknown steps: Sendmail 451.
#[test]
fn answers_to_the_offer_that_are_mistakes() {
    let old = Offer { version: Version(2), actions: Actions(0x1FF), steps: Steps(0x7F), macros: &[] };
    let sizes = Offer { steps: Steps(0x301F_FFFF), ..CURRENT_OFFER };
    let table: [(Offer<'_>, Vec<u8>, ClientError); 12] = [
        (CURRENT_OFFER, answer(7, 0, 0), ClientError::Version(Version(7))),
        (old, answer(6, 0, 0), ClientError::Version(Version(6))),
        (CURRENT_OFFER, answer(1, 0, 0), ClientError::Version(Version(1))),
        (CURRENT_OFFER, answer(6, 0x200, 0), ClientError::Actions(Actions(0x200))),
        (CURRENT_OFFER, answer(6, 0, 0x20_0001), ClientError::Steps(Steps(0x20_0000))),
        (old, answer(2, 0, 0x100), ClientError::Steps(Steps::NO_UNKNOWN)),
        (sizes, answer(6, 0, 0x1000_0000), ClientError::Steps(Steps::MDS_256K)),
        (CURRENT_OFFER, answer(6, 0, 0)[..12].to_vec(), ClientError::Malformed(Malformed(b'O'))),
        (CURRENT_OFFER, b"c".to_vec(), ClientError::OutOfPlace(b'c')),
        // Macro requests: without the action, with a stage that does not exist, cut short.
        (CURRENT_OFFER, [&answer(6, 0, 0)[..], b"\0\0\0\x03i\0"].concat(), ClientError::MacroRequests),
        (CURRENT_OFFER, [&answer(6, 0x100, 0)[..], b"\0\0\0\x07i\0"].concat(), ClientError::MacroRequests),
        (CURRENT_OFFER, [&answer(6, 0x100, 0)[..], b"\0\0\0\x03i"].concat(), ClientError::MacroRequests),
    ];
    for (offer, answer, error) in table {
        assert_eq!(negotiate(offer, &answer).unwrap_err(), error);
    }
    // Zero is what version 1 had.
    let zero = Offer { version: Version(2), actions: Actions::NONE, steps: Steps::NONE, macros: &[] };
    assert!(negotiate(zero, &answer(2, 0x0F, 0x3F)).is_ok());
    assert_eq!(negotiate(zero, &answer(2, 0x1F, 0)).unwrap_err(), ClientError::Actions(Actions(0x10)));
    let requests = [&answer(6, 0x100, 0x377)[..], b"\0\0\0\x03i j\0\0\0\0\x05\0"].concat();
    let client = negotiate(CURRENT_OFFER, &requests).unwrap();
    assert_eq!(client.agreed().unwrap().steps, Steps(0x377));
}

#[test]
fn replies_in_and_out_of_place() {
    let mut output = BytesMut::new();
    let at = |command: Command<'static>, actions: u32, reply: &[u8]| {
        let mut client = agreed(actions, 0);
        client.send(&command, None, &mut BytesMut::new());
        client.receive(&mut &stream(&[reply])[..]).map(|reply| format!("{:?}", reply.unwrap()))
    };
    let end = Command::EndOfMessage(b"");
    assert_eq!(at(Command::Data, 0, b"c").unwrap(), "Continue");
    assert_eq!(at(end, 1, b"hX\0y\0").unwrap().split('(').next(), Some("Modify"));
    assert_eq!(at(end, 0, b"hX\0y\0"), Err(ClientError::NotPermitted(b'h')));
    assert_eq!(at(Command::Data, 1, b"hX\0y\0"), Err(ClientError::NotPermitted(b'h')));
    assert_eq!(at(Command::Data, 0, b"z"), Err(ClientError::OutOfPlace(b'z')));
    assert_eq!(at(Command::Data, 0, &answer(6, 0, 0)), Err(ClientError::OutOfPlace(b'O')));
    assert_eq!(at(Command::Data, 0, b"y550 no NUL"), Err(ClientError::Malformed(Malformed(b'y'))));
    assert_eq!(at(Command::Abort, 0, b"c"), Err(ClientError::NotAwaited(b'c')));
    assert_eq!(at(Command::Data, 0, b""), Err(ClientError::Frame(FrameError::Empty)));

    // Changes and progress are not final: the client waits on.
    let mut client = agreed(0x1FF, 0);
    client.send(&end, None, &mut output);
    let replies = stream(&[b"p", b"qwhy\0", b"a", b"c"]);
    let mut input = &replies[..];
    assert_eq!(client.receive(&mut input), Ok(Some(Reply::Progress)));
    let quarantine = Reply::Modify(Modification::Quarantine(b"why"));
    assert_eq!((client.receive(&mut input), client.waits()), (Ok(Some(quarantine)), true));
    assert_eq!((client.receive(&mut input), client.waits()), (Ok(Some(Reply::Accept)), false));
    assert_eq!(client.receive(&mut input), Err(ClientError::NotAwaited(b'c')));
}

#[test]
fn replies_are_limited() {
    let mut client = agreed(0, 0).with_reply_limit(10);
    client.send(&Command::Data, None, &mut BytesMut::new());
    let error = FrameError::TooLong { length: 12, limit: 10 };
    assert_eq!(client.receive(&mut &12u32.to_be_bytes()[..]), Err(ClientError::Frame(error)));
    assert_eq!(client.receive(&mut &11u32.to_be_bytes()[..]), Ok(None));
}
