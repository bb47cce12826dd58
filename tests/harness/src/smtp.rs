//! A small blocking SMTP client that shows everything the server says.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// One SMTP connection (RFC 5321). Whatever is said on it is kept, for [`Smtp::transcript`].
#[derive(Debug)]
pub struct Smtp {
    stream: BufReader<TcpStream>,
    banner: Reply,
    transcript: String,
}

/// A server's reply, its lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The reply code, e.g. 550.
    pub code: u16,
    /// The enhanced status code (RFC 3463) of the last line, e.g. `5.1.1`.
    pub enhanced: Option<String>,
    /// The texts of all lines without code and enhanced code, joined with line feeds.
    pub text: String,
}

impl Smtp {
    /// Connects to a port of 127.0.0.1 and reads the banner.
    ///
    /// # Panics
    /// When there is no answer, or none of SMTP's.
    #[must_use]
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::connect_from(None, (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects from the address `from` (any address of 127.0.0.0/8 will do) to `to`, and reads the banner.
    ///
    /// # Panics
    /// When there is no answer, or none of SMTP's.
    #[must_use]
    #[track_caller]
    pub fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> Self {
        Self::try_connect(from, to).unwrap_or_else(|error| panic!("connect to {to}: {error}"))
    }

    /// As [`Smtp::connect_from`], where a failure is an answer.
    ///
    /// # Errors
    /// When the server does not answer, or closes before its banner.
    pub fn try_connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Self> {
        let stream = open(from, to)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let banner = Reply { code: 0, enhanced: None, text: String::new() };
        let mut client = Smtp { stream: BufReader::new(stream), banner, transcript: String::new() };
        client.banner = client.read_reply()?;
        Ok(client)
    }

    /// What the server said first.
    #[must_use]
    pub fn banner(&self) -> &Reply {
        &self.banner
    }

    /// `EHLO name`.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn ehlo(&mut self, name: &str) -> Reply {
        self.command(&format!("EHLO {name}"))
    }

    /// Postfix' `XCLIENT` with the attributes as written, e.g. `ADDR=192.0.2.7 NAME=mail.example.org`; the session
    /// begins anew, so `EHLO` comes next.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn xclient(&mut self, attributes: &str) -> Reply {
        self.command(&format!("XCLIENT {attributes}"))
    }

    /// `AUTH PLAIN` (RFC 4616).
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn auth_plain(&mut self, user: &str, password: &str) -> Reply {
        self.command(&format!("AUTH PLAIN {}", base64(format!("\0{user}\0{password}").as_bytes())))
    }

    /// `MAIL FROM:` with what follows the colon: `<>`, `<a@example.org> SIZE=100`.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn mail(&mut self, path: &str) -> Reply {
        self.command(&format!("MAIL FROM:{path}"))
    }

    /// `RCPT TO:` with what follows the colon: `<a@example.org>`.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn rcpt(&mut self, path: &str) -> Reply {
        self.command(&format!("RCPT TO:{path}"))
    }

    /// `DATA` and the message (lines end in a line feed), if the server wants it: the reply to `DATA` when that is not
    /// 354, else the reply to the final dot.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn data(&mut self, message: &str) -> Reply {
        let reply = self.command("DATA");
        if reply.code != 354 {
            return reply;
        }
        self.message(message)
    }

    /// The message after a 354: stuffs dots (RFC 5321 §4.5.2), ends with the final dot, reads the reply.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn message(&mut self, message: &str) -> Reply {
        let mut wire = String::new();
        for line in message.lines() {
            if line.starts_with('.') {
                wire.push('.');
            }
            wire.push_str(line);
            wire.push_str("\r\n");
        }
        wire.push_str(".\r\n");
        self.transcript.push_str("C: (message and final dot)\n");
        let outcome = self.write(wire.as_bytes()).and_then(|()| self.read_reply());
        self.expect(outcome)
    }

    /// `RSET`.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn rset(&mut self) -> Reply {
        self.command("RSET")
    }

    /// `QUIT`.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn quit(&mut self) -> Reply {
        self.command("QUIT")
    }

    /// Sends a line as it is and reads the reply.
    ///
    /// # Panics
    /// When the connection ends or the server says nothing for a minute, with the transcript.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> Reply {
        let outcome = self.try_command(line);
        self.expect(outcome)
    }

    /// As [`Smtp::command`], where the end of the connection is an answer.
    ///
    /// # Errors
    /// When the connection ends or nothing comes for a minute.
    pub fn try_command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(line)?;
        self.read_reply()
    }

    /// Sends several lines in one write (RFC 2920), and reads as many replies.
    ///
    /// # Panics
    /// As [`Smtp::command`].
    #[track_caller]
    pub fn pipeline(&mut self, lines: &[&str]) -> Vec<Reply> {
        for line in lines {
            self.transcript.push_str(&format!("C: {line}   (pipelined)\n"));
        }
        let wire: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let sent = self.write(wire.as_bytes());
        self.expect(sent);
        lines
            .iter()
            .map(|_| {
                let reply = self.read_reply();
                self.expect(reply)
            })
            .collect()
    }

    /// Sends a line and does not wait for the reply.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        self.transcript.push_str(&format!("C: {line}\n"));
        self.write(format!("{line}\r\n").as_bytes())
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the connection ends, nothing comes for a minute, or what comes is no reply.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let mut code = None;
        let mut texts = Vec::new();
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.transcript.push_str(&format!("S: {line}\n"));
            if line.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not an SMTP reply: {line:?}"));
            let this: u16 = line.get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
            if code.is_some_and(|code| code != this) {
                return Err(bad());
            }
            code = Some(this);
            let (status, text) = split_enhanced(line.get(4..).unwrap_or_default());
            let enhanced = status.map(str::to_owned);
            texts.push(text.to_owned());
            match line.as_bytes().get(3) {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(Reply { code: this, enhanced, text: texts.join("\n") }),
                Some(_) => return Err(bad()),
            }
        }
    }

    /// Everything said so far, `C:` by us and `S:` by the server.
    #[must_use]
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    #[track_caller]
    fn expect<T>(&self, outcome: io::Result<T>) -> T {
        outcome.unwrap_or_else(|error| panic!("{error}; the dialogue was:\n{}", self.transcript))
    }
}

impl Reply {
    /// Whether this is a positive reply (2xx, 3xx).
    #[must_use]
    pub fn ok(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text)
    }
}

fn open(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(to) };
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Takes an enhanced status code (RFC 3463 §2: class "." subject "." detail) off the beginning of a reply's text.
fn split_enhanced(text: &str) -> (Option<&str>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = first.split('.');
    let digits = |part: Option<&str>| {
        part.is_some_and(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let class = matches!(parts.next(), Some("2" | "4" | "5"));
    if class && digits(parts.next()) && digits(parts.next()) && parts.next().is_none() {
        (Some(first), rest)
    } else {
        (None, text)
    }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let word =
                chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..4).map(move |index| match index {
                index if index > chunk.len() => '=',
                index => char::from(ALPHABET[(word >> (18 - 6 * index) & 63) as usize]),
            })
        })
        .collect()
}

const TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648_section_10() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn enhanced_codes() {
        for (text, code) in [
            ("5.1.1 No such user", Some("5.1.1")),
            ("2.0.0", Some("2.0.0")),
            ("mx.example.test ESMTP", None),
            ("3.0.0 not a class", None),
            ("5.1 short", None),
            ("5.1.1.1 long", None),
            ("5.x.1 letters", None),
        ] {
            assert_eq!(split_enhanced(text).0, code, "{text}");
        }
    }
}
