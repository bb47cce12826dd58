//! The floor: a milter that only reads length words and answers constants. It parses nothing and looks nothing up, so no
//! milter can be cheaper; what it costs is the kernel's price for the conversation.
//!
//! One thread, one epoll, no buffer for a connection. It asks the MTA for as little as a milter can that has to know the
//! client, the sender and the recipient.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll;

use crate::Listener;

/// What each recipient is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `550 5.1.1 No such user here`
    Refuse,
    /// Continue.
    Accept,
}

/// Serves for ever.
///
/// # Errors
/// When the listener or the epoll are broken. What is wrong with a connection ends that connection.
pub fn serve(listener: &Listener, answer: Answer) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut input = [0; 4096];
    loop {
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            // Who traces it interrupts it.
            Err(rustix::io::Errno::INTR) => continue,
            waited => waited?,
        };
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                match listener.accept() {
                    Ok(stream) => {
                        let place = stream.as_raw_fd() as usize;
                        let data = epoll::EventData::new_u64(place as u64);
                        epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
                        if connections.len() <= place {
                            connections.resize_with(place + 1, || None);
                        }
                        connections[place] = Some(Connection { stream, frame: Frame::default() });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            let connection = &mut connections[event.data.u64() as usize];
            if let Some(open) = connection
                && !open.serve(&mut input, answer)
            {
                *connection = None;
            }
        }
    }
}

struct Connection {
    stream: OwnedFd,
    frame: Frame,
}

/// Where in a frame the input is.
#[derive(Debug, Default, Clone, Copy)]
struct Frame {
    /// Bytes of the length word that have come, and their value.
    word: (u8, u32),
    /// Bytes that are still to come.
    left: u32,
}

impl Connection {
    /// Reads once and answers it; `false`: the connection is over.
    fn serve(&mut self, input: &mut [u8], answer: Answer) -> bool {
        let Ok(length @ 1..) = rustix::io::read(&self.stream, &mut *input) else { return false };
        let mut reply: Option<&[u8]> = None;
        let mut is_over = false;
        self.frame.commands(&input[..length], |command| match command {
            b'O' => reply = Some(NEGOTIATE),
            b'R' if answer == Answer::Refuse => reply = Some(REFUSE),
            b'R' | b'E' => reply = Some(CONTINUE),
            b'Q' => is_over = true,
            _ => {}
        });
        let written = reply.is_none_or(|reply| rustix::io::write(&self.stream, reply).is_ok());
        written && !is_over
    }
}

impl Frame {
    /// Calls `command` with the command byte of each frame that begins in `input`.
    fn commands(&mut self, mut input: &[u8], mut command: impl FnMut(u8)) {
        while let Some((&first, rest)) = input.split_first() {
            let (have, value) = self.word;
            if have < 4 {
                self.word = (have + 1, value << 8 | u32::from(first));
                input = rest;
                if have == 3 {
                    self.left = self.word.1;
                }
                continue;
            }
            if self.left == self.word.1 {
                command(first);
            }
            let taken = (self.left as usize).min(input.len());
            self.left -= taken as u32;
            input = &input[taken..];
            if self.left == 0 {
                *self = Frame::default();
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;

/// Version 6, no actions; NR_CONNECT, NO_HELO, NR_MAIL, NO_DATA, NO_HEADERS, NO_EOH, NO_BODY, NO_UNKNOWN.
const NEGOTIATE: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\x53\x72";
const REFUSE: &[u8] = b"\0\0\0\x1dy550 5.1.1 No such user here\0";
const CONTINUE: &[u8] = b"\0\0\0\x01c";

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use milter_protocol::client::Client;
    use milter_protocol::command::{CStrings, Command, Rcpt};
    use milter_protocol::flags::Steps;
    use milter_protocol::negotiation::CURRENT_OFFER;
    use milter_protocol::reply::Reply;

    use super::*;

    #[test]
    fn the_constants_are_what_the_mta_takes_them_for() {
        let (mut client, mut output) = (Client::new(CURRENT_OFFER), BytesMut::new());
        client.negotiate(&mut output);
        assert!(client.receive(&mut &NEGOTIATE[..]).unwrap().is_some());
        let steps = Steps::NR_CONNECT
            | Steps::NO_HELO
            | Steps::NR_MAIL
            | Steps::NO_DATA
            | Steps::NO_HEADERS
            | Steps::NO_EOH
            | Steps::NO_BODY
            | Steps::NO_UNKNOWN;
        assert_eq!(client.agreed().unwrap().steps, steps);
        let rcpt = Command::Rcpt(Rcpt { address: b"<a@b>", parameters: CStrings::default() });
        client.send(&rcpt, None, &mut output);
        let refusal = client.receive(&mut &REFUSE[..]).unwrap();
        assert_eq!(refusal, Some(Reply::ReplyCode(b"550 5.1.1 No such user here")));
        client.send(&rcpt, None, &mut output);
        assert_eq!(client.receive(&mut &CONTINUE[..]).unwrap(), Some(Reply::Continue));
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let input = b"\0\0\0\x01A\0\0\0\x05DCj\0x\0\0\0\x03R<>\0\0\0\x01Q";
        for cut in 0..input.len() {
            let (mut frame, mut found) = (Frame::default(), Vec::new());
            frame.commands(&input[..cut], |command| found.push(command));
            frame.commands(&input[cut..], |command| found.push(command));
            assert_eq!(found, b"ADRQ", "cut at {cut}");
        }
    }
}
