//! An MTA and a filter that keep step: commands in any order, each written by the one side and answered by the other.

use bytes::BytesMut;
use milter_protocol::{
    client::{Client, Expect},
    command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt},
    flags::Steps,
    negotiation::{CURRENT_OFFER, Offer},
    session::{ProtocolError, Session},
};

use crate::{milter::wanted, play::decide};

/// Four bytes choose the steps that are wanted, four those that are offered; then each byte is a command, whose text are the two
/// bytes behind it. What the MTA waits for comes, and nothing else; a command at a wrong time ends it.
pub(crate) fn run(bytes: &[u8]) {
    let Some((steps, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((offered, commands)) = rest.split_first_chunk::<4>() else { return };
    let mut session = Session::new(wanted(u32::from_be_bytes(*steps)));
    let mut client = Client::new(Offer { steps: Steps(u32::from_be_bytes(*offered)), ..CURRENT_OFFER });
    let mut bytes = BytesMut::new();
    client.negotiate(&mut bytes);
    if !keeps_step(&mut client, &mut session, &bytes, Expect::Reply) {
        return;
    }
    for chosen in commands.chunks_exact(3) {
        let text: Vec<u8> = chosen[1..].iter().copied().filter(|byte| *byte != 0).collect();
        let parameters = CStrings::default();
        let command = match chosen[0] % 14 {
            0 => Command::Connect(Connect { host: &text, address: ClientAddress::Unknown }),
            1 => Command::Helo(&text),
            2 | 3 => Command::Mail(Mail { address: &text, parameters }),
            4..=6 => Command::Rcpt(Rcpt { address: &text, parameters }),
            7 => Command::Data,
            8 => Command::Header(Header { name: b"name", value: &text }),
            9 => Command::EndOfHeaders,
            10 => Command::Body(&text),
            11 => Command::EndOfMessage(b""),
            12 => Command::Abort,
            _ if chosen[1] % 2 == 0 => Command::Unknown(&text),
            _ => Command::QuitNewConnection,
        };
        bytes.clear();
        let macros = [("i", "1"), ("{rcpt_addr}", "a@b")];
        let macros = (chosen[0] >= 128).then_some(&macros[..usize::from(chosen[2] % 3)]);
        let expect = client.send(&command, macros, &mut bytes);
        if !keeps_step(&mut client, &mut session, &bytes, expect) {
            return;
        }
    }
}

/// `false`: the session has ended.
fn keeps_step(client: &mut Client, session: &mut Session, bytes: &[u8], expect: Expect) -> bool {
    let (mut input, mut output) = (bytes, BytesMut::new());
    loop {
        match session.next(&mut input, &mut output) {
            Ok(Some(event)) => decide(session, event, &mut output),
            Ok(None) => break,
            Err(error) => {
                let is_late =
                    matches!(error, ProtocolError::OutOfOrder { .. } | ProtocolError::Negotiation(_));
                assert!(is_late, "{error:?}");
                return false;
            }
        }
    }
    assert!(input.is_empty(), "a whole command was left");
    assert_eq!(!output.is_empty(), expect == Expect::Reply, "{expect:?}: {output:?}");
    let mut replies = &output[..];
    while !replies.is_empty() {
        client.receive(&mut replies).expect("a reply that may come").expect("a whole one");
    }
    assert!(!client.waits(), "the last one is final");
    true
}
