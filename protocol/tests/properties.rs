//! Laws: decoding undoes encoding; how a stream is cut does not matter; no bytes panic; both sides of this crate understand each other.

#![cfg(test)]

use bytes::BytesMut;
use milter_protocol::client::{Client, Expect};
use milter_protocol::command::{
    CStrings, ClientAddress, Command, Connect, Header, MacroList, Mail, OptNeg, Rcpt,
};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::frame::{COMMAND_LIMIT, Frame, next_frame};
use milter_protocol::negotiation::{CURRENT_OFFER, Offer, Wanted};
use milter_protocol::reply::{Modification, Reply};
use milter_protocol::session::{ProtocolError, Session};
use proptest::collection::vec;
use proptest::prelude::*;

mod play;

use play::{decide, run};

/// What a command or reply is made of, owned; `code` says of which.
#[derive(Clone, Debug)]
struct Parts {
    code: u8,
    words: [u32; 3],
    port: u16,
    a: Vec<u8>,
    b: Vec<u8>,
    /// `(byte* NUL)*`
    list: Vec<u8>,
    any: Vec<u8>,
}

fn c_string() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..20)
}

fn parts(codes: &'static [u8]) -> impl Strategy<Value = Parts> {
    let list = vec(c_string(), 0..4).prop_map(|strings| {
        strings.into_iter().flat_map(|string| [string, vec![0]].concat()).collect::<Vec<u8>>()
    });
    let bytes = vec(any::<u8>(), 0..40);
    (prop::sample::select(codes), any::<[u32; 3]>(), any::<u16>(), c_string(), c_string(), list, bytes)
        .prop_map(|(code, words, port, a, b, list, any)| Parts { code, words, port, a, b, list, any })
}

const COMMANDS: &[u8] = b"ODCHMRTLNBEUAQK4z\0";
const REPLIES: &[u8] = b"Ocartdsp4fyhim+2-ebqz\0";

impl Parts {
    fn opt_neg(&self) -> OptNeg<'_> {
        let [version, actions, steps] = self.words;
        OptNeg {
            version: Version(version),
            actions: Actions(actions),
            steps: Steps(steps),
            macros: &self.any,
        }
    }

    fn list(&self) -> CStrings<'_> {
        CStrings::from_wire(&self.list).unwrap()
    }

    fn command(&self) -> Command<'_> {
        let (address, parameters) = (&self.a[..], self.list());
        match self.code {
            b'O' => Command::Negotiate(self.opt_neg()),
            b'D' => Command::Macros(MacroList { code: self.words[0] as u8, list: &self.any }),
            b'C' => {
                let address = match self.words[0] % 4 {
                    0 => ClientAddress::Inet(self.words[1].into(), self.port),
                    1 => {
                        let bits = self.words.iter().fold(0u128, |bits, &word| bits << 32 | u128::from(word));
                        ClientAddress::Inet6(bits.into(), self.port)
                    }
                    2 => ClientAddress::Unix(&self.b),
                    _ => ClientAddress::Unknown,
                };
                Command::Connect(Connect { host: &self.a, address })
            }
            b'H' => Command::Helo(&self.a),
            b'M' => Command::Mail(Mail { address, parameters }),
            b'R' => Command::Rcpt(Rcpt { address, parameters }),
            b'T' => Command::Data,
            b'L' => Command::Header(Header { name: &self.a, value: &self.b }),
            b'N' => Command::EndOfHeaders,
            b'B' => Command::Body(&self.any),
            b'E' => Command::EndOfMessage(&self.any),
            b'U' => Command::Unknown(&self.a),
            b'A' => Command::Abort,
            b'Q' => Command::Quit,
            b'K' => Command::QuitNewConnection,
            code => Command::Other(Frame { code, payload: &self.any }),
        }
    }

    fn reply(&self) -> Reply<'_> {
        let (name, value, index) = (&self.a[..], &self.b[..], self.words[0]);
        let (address, parameters) = (&self.a[..], self.list());
        match self.code {
            b'O' => Reply::Negotiate(self.opt_neg()),
            b'c' => Reply::Continue,
            b'a' => Reply::Accept,
            b'r' => Reply::Reject,
            b't' => Reply::Tempfail,
            b'd' => Reply::Discard,
            b's' => Reply::Skip,
            b'p' => Reply::Progress,
            b'4' => Reply::Shutdown,
            b'f' => Reply::ConnectionFailed,
            b'y' => Reply::ReplyCode(&self.a),
            b'h' => Reply::Modify(Modification::AddHeader { name, value }),
            b'i' => Reply::Modify(Modification::InsertHeader { index, name, value }),
            b'm' => Reply::Modify(Modification::ChangeHeader { index, name, value }),
            b'+' => Reply::Modify(Modification::AddRcpt(address)),
            b'2' => Reply::Modify(Modification::AddRcptPar { address, parameters }),
            b'-' => Reply::Modify(Modification::DeleteRcpt(address)),
            b'e' => Reply::Modify(Modification::ChangeFrom { address, parameters }),
            b'b' => Reply::Modify(Modification::ReplaceBody(&self.any)),
            b'q' => Reply::Modify(Modification::Quarantine(&self.a)),
            code => Reply::Other(Frame { code, payload: &self.any }),
        }
    }
}

/// A part of an SMTP session: which, with which text, and after how many commands it is cut short.
type Act = (u8, Vec<u8>, usize);

fn act() -> impl Strategy<Value = Act> {
    (any::<u8>(), c_string(), 1usize..12)
}

/// What a client sends that offers these steps to a filter that wants those, as one stream; the offer comes first.
fn conversation(wanted: &Wanted, offered: u32, acts: &[Act]) -> Vec<u8> {
    let mut client = Client::new(offer(offered));
    let mut stream = BytesMut::new();
    client.negotiate(&mut stream);
    let (_, answer, _) = run(wanted, &stream, std::iter::empty());
    client.receive(&mut &answer[..]).unwrap();
    let connect = Command::Connect(Connect { host: b"h", address: ClientAddress::Unknown });
    client.send(&connect, Some(&[("j", "mx"), ("i", "0")]), &mut stream);
    for (kind, text, cut) in acts {
        let address = Mail { address: text, parameters: CStrings::default() };
        let rcpt = Command::Rcpt(Rcpt { address: text, parameters: CStrings::default() });
        let header = Command::Header(Header { name: b"name", value: text });
        let (data, end_of_headers, body) = (Command::Data, Command::EndOfHeaders, Command::Body(text));
        let end = Command::EndOfMessage(b"");
        let commands = match kind % 8 {
            0 => vec![Command::Helo(text)],
            1 => vec![Command::Unknown(text)],
            2 => vec![Command::Abort],
            3 => vec![Command::QuitNewConnection, connect],
            _ => vec![
                Command::Mail(address),
                rcpt,
                rcpt,
                data,
                header,
                header,
                end_of_headers,
                body,
                body,
                end,
            ],
        };
        // A connection that follows is not cut short.
        let cut = if kind % 8 == 3 { 2 } else { *cut };
        for (number, command) in commands.iter().take(cut).enumerate() {
            let macros = [("i", "1"), ("{rcpt_addr}", "<a@b>"), ("{x}", "y")];
            client.send(command, (number % 3 != 2).then_some(&macros[..number % 4]), &mut stream);
        }
        if cut < commands.len() {
            client.send(&Command::Abort, None, &mut stream);
        }
    }
    stream.to_vec()
}

fn offer(steps: u32) -> Offer<'static> {
    Offer { steps: Steps(steps), ..CURRENT_OFFER }
}

fn offers() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0x1F_FFFF), Just(0x7F), Just(0), any::<u32>()]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    any::<u32>().prop_map(|bits| {
        let steps = Steps(bits) - Steps::MDS - Steps::NO_RCPT - Steps::NR_RCPT;
        Wanted::new(Actions::NONE, steps).unwrap()
    })
}

proptest! {
    #[test]
    fn decoding_undoes_encoding_of_commands(parts in parts(COMMANDS)) {
        let command = parts.command();
        let mut output = BytesMut::new();
        command.encode(&mut output);
        let mut input = &output[..];
        let frame = next_frame(&mut input, COMMAND_LIMIT).unwrap().unwrap();
        prop_assert!(input.is_empty());
        prop_assert_eq!(Command::parse(frame), Ok(command));
    }

    #[test]
    fn decoding_undoes_encoding_of_replies(parts in parts(REPLIES)) {
        let reply = parts.reply();
        let mut output = BytesMut::new();
        reply.encode(&mut output);
        let frame = next_frame(&mut &output[..], COMMAND_LIMIT).unwrap().unwrap();
        prop_assert_eq!(Reply::parse(frame), Ok(reply));
    }

    /// What is read and written again is read in the same way; and, but for client addresses, it is the same bytes.
    #[test]
    fn encoding_undoes_decoding(code in prop::sample::select([COMMANDS, REPLIES].concat()), payload in vec(prop_oneof![Just(0), any::<u8>()], 0..40)) {
        let frame = Frame { code, payload: &payload };
        if let Ok(command) = Command::parse(frame) {
            let mut output = BytesMut::new();
            command.encode(&mut output);
            let again = next_frame(&mut &output[..], COMMAND_LIMIT).unwrap().unwrap();
            prop_assert_eq!(Command::parse(again), Ok(command));
            prop_assert!(again == frame || code == b'C');
        }
        if let Ok(reply) = Reply::parse(frame) {
            let mut output = BytesMut::new();
            reply.encode(&mut output);
            prop_assert_eq!(next_frame(&mut &output[..], COMMAND_LIMIT), Ok(Some(frame)));
        }
    }

    #[test]
    fn how_a_stream_is_cut_does_not_matter(
        wanted in wanted(),
        offered in offers(),
        acts in vec(act(), 0..8),
        tail in vec(any::<u8>(), 0..9),
        pieces in vec(1usize..30, 0..200),
    ) {
        let whole = conversation(&wanted, offered, &acts);
        let once = run(&wanted, &whole, std::iter::empty());
        // Refused MAIL commands are followed by RCPT in these conversations, which is out of order.
        prop_assert!(matches!(once.2, None | Some(ProtocolError::OutOfOrder { command: b'R' | b'T' | b'L' | b'N' | b'B' | b'E', .. })), "{:?}", once.2);
        prop_assert_eq!(&run(&wanted, &whole, pieces.iter().copied()), &once);
        let spoilt = [whole, tail].concat();
        prop_assert_eq!(run(&wanted, &spoilt, pieces.into_iter()), run(&wanted, &spoilt, std::iter::empty()));
    }

    #[test]
    fn no_bytes_panic(
        wanted in wanted(),
        frames in vec((prop::sample::select(COMMANDS), vec(prop_oneof![Just(0), any::<u8>()], 0..12)), 0..20),
        tail in vec(any::<u8>(), 0..20),
        pieces in vec(1usize..9, 0..100),
    ) {
        let mut stream = conversation(&wanted, 0x1F_FFFF, &[]);
        for (code, payload) in frames {
            stream.extend(u32::try_from(payload.len() + 1).unwrap().to_be_bytes());
            stream.push(code);
            stream.extend(payload);
        }
        stream.extend(tail);
        run(&wanted, &stream, pieces.into_iter());

        let mut client = Client::new(CURRENT_OFFER);
        client.negotiate(&mut BytesMut::new());
        let mut input = &stream[..];
        while let Ok(Some(_)) = client.receive(&mut input) {
            client.send(&Command::EndOfMessage(b""), None, &mut BytesMut::new());
        }
    }

    #[test]
    fn raw_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..60)) {
        run(&Wanted::default(), &bytes, std::iter::empty());
        let mut input = &bytes[..];
        while let Ok(Some(frame)) = next_frame(&mut input, COMMAND_LIMIT) {
            let _ = (format!("{:?}", Command::parse(frame)), format!("{:?}", Reply::parse(frame)));
        }
    }

    /// A session, whatever it wants, answers exactly what a client, whatever it offers, waits for.
    #[test]
    fn client_and_session_keep_step(
        wanted in wanted(),
        offered in offers(),
        rcpts in vec(c_string(), 1..4),
    ) {
        let mut session = Session::new(wanted);
        let mut client = Client::new(offer(offered));
        let mut bytes = BytesMut::new();
        client.negotiate(&mut bytes);
        exchange(&mut client, &mut session, &bytes, Expect::Reply)?;
        let none = CStrings::default();
        let connect = Command::Connect(Connect { host: b"h", address: ClientAddress::Unknown });
        let head = [connect, Command::Helo(b"h"), Command::Unknown(b"FOO"), Command::Mail(Mail { address: b"<>", parameters: none })];
        let rcpts = rcpts.iter().map(|address| Command::Rcpt(Rcpt { address, parameters: none }));
        let tail = [
            Command::Data,
            Command::Header(Header { name: b"A", value: b"b" }),
            Command::EndOfHeaders,
            Command::Body(b"x"),
            Command::EndOfMessage(b""),
            Command::Abort,
            Command::Quit,
        ];
        for command in head.into_iter().chain(rcpts).chain(tail) {
            bytes.clear();
            let expect = client.send(&command, Some(&[("i", "1")]), &mut bytes);
            exchange(&mut client, &mut session, &bytes, expect)?;
        }
    }
}

fn exchange(
    client: &mut Client,
    session: &mut Session,
    bytes: &[u8],
    expect: Expect,
) -> Result<(), TestCaseError> {
    let (mut input, mut output) = (bytes, BytesMut::new());
    while let Some(event) =
        session.next(&mut input, &mut output).map_err(|e| TestCaseError::fail(e.to_string()))?
    {
        decide(session, event, &mut output);
    }
    let mut replies = &output[..];
    prop_assert_eq!(replies.is_empty(), expect != Expect::Reply);
    while !replies.is_empty() {
        let reply = client.receive(&mut replies).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(reply.is_some());
    }
    prop_assert!(!client.waits());
    Ok(())
}
