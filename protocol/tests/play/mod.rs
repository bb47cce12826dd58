//! A filter that answers a stream, for the properties and for tests/fuzz.

use bytes::BytesMut;
use milter_protocol::negotiation::Wanted;
use milter_protocol::session::{Ask, Event, ProtocolError, Session};
use milter_protocol::smtp_reply::SmtpReply;
use milter_protocol::verdict::*;

/// Everything that a session does with a stream that arrives in these pieces.
pub(crate) fn run(
    wanted: &Wanted,
    stream: &[u8],
    mut pieces: impl Iterator<Item = usize>,
) -> (Vec<String>, Vec<u8>, Option<ProtocolError>) {
    let mut session = Session::new(wanted.clone());
    let (mut seen, mut output) = (Vec::new(), BytesMut::new());
    let (mut start, mut end) = (0, 0);
    loop {
        let mut input = &stream[start..end];
        let event = session.next(&mut input, &mut output);
        start = end - input.len();
        match event {
            Ok(Some(event)) => {
                seen.push(format!("{event:?} {:?}", session.macros()));
                decide(&mut session, event, &mut output);
            }
            Err(error) => return (seen, output.to_vec(), Some(error)),
            Ok(None) if end == stream.len() => return (seen, output.to_vec(), None),
            Ok(None) => end = stream.len().min(end + pieces.next().unwrap_or(stream.len()).max(1)),
        }
    }
}

/// Answers by the first byte of what is asked about, so that different streams have different answers.
pub(crate) fn decide(session: &mut Session, event: Event<'_>, output: &mut BytesMut) {
    fn give<V: Verdict>(session: &mut Session, ask: Option<Ask<V>>, verdict: V, output: &mut BytesMut) {
        if let Some(ask) = ask {
            session.answer(ask, verdict, output);
        }
    }
    let reply = || SmtpReply::new(550, "5.1.1".parse().expect("a code"), ["100% unknown"]).expect("short");
    let odd = |text: &[u8]| text.first().is_some_and(|byte| byte % 2 == 1);
    match event {
        Event::Connect(_, ask) => give(session, ask, ConnectVerdict::Continue, output),
        Event::Helo(name, ask) if odd(name) => give(session, ask, HeloVerdict::Refuse(reply()), output),
        Event::Helo(_, ask) => give(session, ask, HeloVerdict::Continue, output),
        Event::Mail(mail, ask) if mail.address.first().is_some_and(|byte| byte % 8 == 1) => {
            give(session, ask, MailVerdict::Refuse(reply()), output);
        }
        Event::Mail(_, ask) => give(session, ask, MailVerdict::Continue, output),
        Event::Rcpt(rcpt, ask) if odd(rcpt.address) => {
            give(session, Some(ask), RcptVerdict::Refuse(reply()), output);
        }
        Event::Rcpt(_, ask) => give(session, Some(ask), RcptVerdict::Continue, output),
        Event::Data(ask) => give(session, ask, DataVerdict::Continue, output),
        Event::Header(_, ask) => give(session, ask, HeaderVerdict::Continue, output),
        Event::EndOfHeaders(ask) => give(session, ask, EndOfHeadersVerdict::Continue, output),
        Event::Body(_, ask) => give(session, ask, BodyVerdict::Skip, output),
        Event::EndOfMessage(_, ask) => give(session, Some(ask), EndOfMessageVerdict::Accept, output),
        Event::Unknown(_, ask) => give(session, ask, UnknownVerdict::Continue, output),
        Event::Negotiated | Event::Abort | Event::NewConnection | Event::Quit => {}
    }
}
