//! The filter of `libmilter_filter.c`, on a [`Session`]. The two must decide alike.

use std::io::Write;
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use milter_protocol::command::{CStrings, ClientAddress};
use milter_protocol::negotiation::Wanted;
use milter_protocol::reply::Modification;
use milter_protocol::session::{Ask, Event, Session};
use milter_protocol::smtp_reply::SmtpReply;
use milter_protocol::verdict::*;

use crate::{DEADLINE, read_some};

/// Serves one connection until it ends.
pub(crate) fn serve(mut stream: UnixStream, wanted: Wanted) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut session = Session::new(wanted);
    let mut bytes = Vec::new();
    loop {
        let mut input = &bytes[..];
        let mut output = BytesMut::new();
        let open = loop {
            match session.next(&mut input, &mut output) {
                Ok(Some(Event::Quit)) | Err(_) => break false,
                Ok(Some(event)) => decide(&mut session, event, &mut output),
                Ok(None) => break true,
            }
        };
        stream.write_all(&output).unwrap();
        let read = bytes.len() - input.len();
        bytes.drain(..read);
        if !open || !read_some(&mut stream, &mut bytes) {
            return;
        }
    }
}

fn decide(session: &mut Session, event: Event<'_>, output: &mut BytesMut) {
    fn give<V: Verdict>(session: &mut Session, ask: Option<Ask<V>>, verdict: V, output: &mut BytesMut) {
        if let Some(ask) = ask {
            session.answer(ask, verdict, output);
        }
    }
    match event {
        Event::Connect(connect, ask) if connect.host == b"show" => {
            let text = match connect.address {
                ClientAddress::Inet(ip, port) => format!("{ip} {port}"),
                ClientAddress::Inet6(ip, port) => format!("{ip} {port}"),
                ClientAddress::Unix(path) => String::from_utf8(path.to_vec()).unwrap(),
                ClientAddress::Unknown => "unknown".to_owned(),
            };
            give(session, ask, ConnectVerdict::Refuse(reply(554, "5.7.1", &[&text])), output);
        }
        Event::Connect(_, ask) => give(session, ask, ConnectVerdict::Continue, output),
        Event::Helo(b"reject", ask) => {
            give(session, ask, HeloVerdict::Refuse(reply(550, "5.7.1", &["No"])), output);
        }
        Event::Helo(_, ask) => give(session, ask, HeloVerdict::Continue, output),
        Event::Mail(mail, ask) => {
            let verdict = match mail.address {
                b"<reject>" => MailVerdict::Refuse(reply(550, "5.7.1", &["No"])),
                b"<accept>" => MailVerdict::Accept,
                b"<discard>" => MailVerdict::Discard,
                _ => MailVerdict::Continue,
            };
            give(session, ask, verdict, output);
        }
        Event::Rcpt(rcpt, ask) => {
            let verdict = match rcpt.address {
                b"<reject>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["No such user"])),
                b"<defer>" => RcptVerdict::Refuse(reply(451, "4.4.3", &["Try again"])),
                b"<percent>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["100% unknown"])),
                b"<lines>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["one", "two", "three"])),
                b"parameters" => {
                    let parameters = rcpt.parameters.iter().map(|p| std::str::from_utf8(p).unwrap());
                    let text = ["with"].into_iter().chain(parameters).collect::<Vec<_>>().join(" ");
                    RcptVerdict::Refuse(reply(550, "5.7.1", &[&text]))
                }
                other => match other.strip_prefix(b"macro ") {
                    Some(name) => {
                        let value = session.macros().get(std::str::from_utf8(name).unwrap());
                        let value = value.map_or("none", |value| std::str::from_utf8(value).unwrap());
                        RcptVerdict::Refuse(reply(550, "5.7.1", &[&format!("value {value}")]))
                    }
                    None => RcptVerdict::Continue,
                },
            };
            give(session, Some(ask), verdict, output);
        }
        Event::Data(ask) => give(session, ask, DataVerdict::Continue, output),
        Event::Header(header, ask) if header.name == b"X-Reject" => {
            let why = std::str::from_utf8(header.value).unwrap();
            give(session, ask, HeaderVerdict::Refuse(reply(550, "5.7.1", &[why])), output);
        }
        Event::Header(_, ask) => give(session, ask, HeaderVerdict::Continue, output),
        Event::EndOfHeaders(ask) => give(session, ask, EndOfHeadersVerdict::Continue, output),
        Event::Body(b"skip", ask) => give(session, ask, BodyVerdict::Skip, output),
        Event::Body(b"discard", ask) => give(session, ask, BodyVerdict::Discard, output),
        Event::Body(_, ask) => give(session, ask, BodyVerdict::Continue, output),
        Event::EndOfMessage(_, ask) => {
            if session.agreed().unwrap().actions.is_empty() {
                return session.answer(ask, EndOfMessageVerdict::Continue, output);
            }
            let parameter = |text| CStrings::from_wire(text).unwrap();
            let changes = [
                Modification::AddHeader { name: b"X-Added", value: b"a" },
                Modification::InsertHeader { index: 1, name: b"X-Inserted", value: b"b" },
                Modification::ChangeHeader { index: 2, name: b"X-Changed", value: b"c" },
                Modification::AddRcpt(b"<more>"),
                Modification::AddRcptPar { address: b"<more>", parameters: parameter(b"NOTIFY=NEVER\0") },
                Modification::DeleteRcpt(b"<less>"),
                Modification::ChangeFrom { address: b"<from>", parameters: parameter(b"SIZE=1\0") },
                Modification::ReplaceBody(b"body\r\n"),
            ];
            for change in changes {
                session.modify(&ask, &change, output).unwrap();
            }
            session.progress(&ask, output);
            session.modify(&ask, &Modification::Quarantine(b"held"), output).unwrap();
            session.answer(ask, EndOfMessageVerdict::Accept, output);
        }
        Event::Unknown(b"REJECT", ask) => {
            give(session, ask, UnknownVerdict::Refuse(reply(500, "5.5.1", &["No"])), output);
        }
        Event::Unknown(_, ask) => give(session, ask, UnknownVerdict::Continue, output),
        Event::Negotiated | Event::Abort | Event::NewConnection | Event::Quit => {}
    }
}

fn reply(code: u16, enhanced: &str, lines: &[&str]) -> SmtpReply {
    SmtpReply::new(code, enhanced.parse().unwrap(), lines).unwrap()
}
