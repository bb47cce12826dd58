//! Bytes of the milter protocol, of both sides.

use std::iter;

use bytes::BytesMut;
use milter_protocol::{
    client::{Client, ClientError},
    command::Command,
    flags::{Actions, Steps},
    frame::{COMMAND_LIMIT, Frame, next_frame},
    negotiation::{CURRENT_OFFER, Wanted},
    reply::Reply,
    smtp_reply::{SmtpReply, sanitize},
};

use crate::play::run;

/// What an MTA sends: four bytes choose the steps that are wanted, one where the stream is cut, the rest is the stream. How it
/// is cut does not matter, and what is answered are replies.
pub(crate) fn server(bytes: &[u8]) {
    let Some((steps, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((piece, stream)) = rest.split_first() else { return };
    let wanted = wanted(u32::from_be_bytes(*steps));
    let whole = run(&wanted, stream, iter::empty());
    assert_eq!(run(&wanted, stream, iter::repeat(usize::from(*piece))), whole);
    let mut output = &whole.1[..];
    while let Some(frame) = next_frame(&mut output, COMMAND_LIMIT).expect("frames") {
        assert!(!matches!(Reply::parse(frame), Err(_) | Ok(Reply::Other(_))), "{frame:?}");
    }
    assert!(output.is_empty(), "half a frame");
}

/// What a filter answers: one byte cuts, the rest is the stream, to an offer and then to the ends of messages.
pub(crate) fn client(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let whole = receive(stream, stream.len().max(1));
    assert_eq!(receive(stream, usize::from(*piece).max(1)), whole);
}

/// One frame: what is read and written again is the same, but for the addresses of clients, which have several spellings.
pub(crate) fn frame(bytes: &[u8]) {
    let Some((&code, payload)) = bytes.split_first() else { return };
    let frame = Frame { code, payload };
    if payload.len() >= COMMAND_LIMIT {
        return;
    }
    let mut output = BytesMut::new();
    if let Ok(command) = Command::parse(frame) {
        command.encode(&mut output);
        let again = next_frame(&mut &output[..], COMMAND_LIMIT).expect("a frame").expect("whole");
        assert_eq!(Command::parse(again), Ok(command));
        assert!(again == frame || code == b'C', "{again:?}");
    }
    if let Ok(reply) = Reply::parse(frame) {
        output.clear();
        reply.encode(&mut output);
        assert_eq!(next_frame(&mut &output[..], COMMAND_LIMIT), Ok(Some(frame)));
    }
}

/// Replies with a text of somebody else in them: what can be made can be read, and is safe for an SMTP client.
pub(crate) fn reply(bytes: &[u8]) {
    let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    for most in [0, 1, 17, 480] {
        let cleaned = sanitize(bytes, most);
        assert!(printable(&cleaned) && cleaned.len() <= most, "{cleaned:?}");
    }
    let text = String::from_utf8_lossy(bytes);
    let made = SmtpReply::new(550, "5.1.1".parse().expect("a code"), text.split('\n'));
    for reply in made.into_iter().chain(SmtpReply::from_wire(bytes)) {
        assert!(reply.lines().all(|line| line.len() <= SmtpReply::MAX_LINE), "{reply:?}");
        let mut output = BytesMut::new();
        reply.encode(&mut output);
        let frame = next_frame(&mut &output[..], COMMAND_LIMIT).expect("a frame").expect("whole");
        let payload = frame.payload.strip_suffix(b"\0").expect("a C string");
        assert!(payload.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')), "{reply:?}");
        assert_eq!(SmtpReply::from_wire(frame.payload).as_ref(), Ok(&reply));
    }
}

pub(crate) fn wanted(steps: u32) -> Wanted {
    Wanted::new(Actions::NONE, Steps(steps) - Steps::MDS - Steps::NO_RCPT - Steps::NR_RCPT)
        .expect("recipients")
}

fn receive(stream: &[u8], piece: usize) -> (Vec<String>, Option<ClientError>) {
    let mut client = Client::new(CURRENT_OFFER);
    client.negotiate(&mut BytesMut::new());
    let mut seen = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        let mut input = &stream[start..end];
        let reply = client.receive(&mut input);
        start = end - input.len();
        match reply {
            Ok(Some(reply)) => {
                seen.push(format!("{reply:?}"));
                if !client.waits() {
                    client.send(&Command::EndOfMessage(b""), None, &mut BytesMut::new());
                }
            }
            Err(error) => return (seen, Some(error)),
            Ok(None) if end == stream.len() => return (seen, None),
            Ok(None) => end = stream.len().min(end + piece),
        }
    }
}
