//! The status page: what it shows, to whom, and how it looks in a real browser.

mod access;
mod browser;
mod content;
mod full;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use backstop_harness::{Backstop, BackstopBuilder};
use milter_protocol::command::{CStrings, ClientAddress, Command as Milter, Connect, Mail, Rcpt};

use crate::BACKSTOP;
use crate::mta::{Answer, Mta};

/// What came back to a request.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    /// The values of a header, in order.
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Sends a request with these header lines, and reads to the end of the answer.
#[track_caller]
fn request(port: u16, method: &str, target: &str, lines: &[&str]) -> Response {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the socket is open");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    write!(stream, "{method} {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    let text = String::from_utf8(bytes).expect("the answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Response { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

#[track_caller]
fn get(port: u16, target: &str) -> Response {
    request(port, "GET", target, &["Host: localhost"])
}

/// Two people, a directory that has nothing, and a network of insiders.
fn site() -> BackstopBuilder {
    Backstop::builder(BACKSTOP)
        .file("addresses", "anna@example.test\nbob@example.test\n")
        .file("nothing", "")
        .config(CONFIG)
}

/// A session of one client with one recipient after the other.
#[track_caller]
fn session(
    backstop: &Backstop,
    client: Ipv4Addr,
    helo: &[u8],
    sender: &[u8],
    recipients: &[&[u8]],
) -> Vec<Answer> {
    let mut mta = Mta::connect(backstop.milter_port());
    let address = ClientAddress::Inet(client, 4711);
    let _ = mta.send(&Milter::Connect(Connect { host: helo, address }));
    let _ = mta.send(&Milter::Helo(helo));
    let none = CStrings::default;
    let _ = mta.send(&Milter::Mail(Mail { address: sender, parameters: none() }));
    let answers =
        recipients.iter().map(|address| mta.send(&Milter::Rcpt(Rcpt { address, parameters: none() })));
    answers.collect()
}

/// The part of a page with this id, up to the next section.
#[track_caller]
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let begin = format!("id=\"{id}\"");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{id} is not in {page}"));
    rest.split_once("</section>").map_or(rest, |(section, _)| section)
}

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test", "watched.test", "empty.test"]

[monitor]
domains = ["watched.test"]

[directory.people]
domains = ["example.test", "watched.test"]
[directory.people.file]
path = "{dir}/addresses"

[directory.empty]
domains = ["empty.test"]
[directory.empty.file]
path = "{dir}/nothing"

[client]
trusted = ["192.0.2.0/24"]
[client.dynamic]
reverse_dns = false
"#;
