//! What goes wrong around Backstop while mail comes in: servers, the way to them, clocks, all at once. In `ldap`, `sql`, `next_hop`
//! and `shared` each server fails by itself.

mod clock;
mod killed;
mod names;
mod soak;
mod threads;
mod ways;

use std::net::Ipv4Addr;

use backstop_harness::{Postgres, Slapd};
use milter_protocol::command::{ClientAddress, Command, Connect};

use crate::ldap;
use crate::mta::{Answer, Mta};

/// `known…` and `gone…` in slapd, the second suspended.
fn fill_slapd(slapd: &Slapd, people: usize) {
    for number in 0..people {
        for (kind, status) in [("known", "active"), ("gone", "disabled")] {
            let name = format!("{kind}{number}");
            let lines = [format!("mail: {name}@ldap.test"), format!("accountStatus: {status}")];
            slapd.add(&ldap::person(&name, &lines.each_ref().map(String::as_str)));
        }
    }
}

/// Likewise in PostgreSQL.
fn fill_postgres(postgres: &Postgres, people: usize) {
    let last = people - 1;
    postgres.sql(&[
        "create table mailbox (address text primary key, suspended bool not null)",
        &format!(
            "insert into mailbox select kind || n || '@sql.test', kind = 'gone' \
             from generate_series(0, {last}) n, (values ('known'), ('gone')) k (kind)"
        ),
    ]);
}

/// The directory `corp` of `ldap.test`, with more keys.
fn ldap_directory(slapd: &Slapd, url: String, more: &str) -> String {
    let more = format!("suspended_filter = \"(accountStatus=disabled)\"\n{more}");
    let ldap = ldap::reader(&[url], slapd, &more);
    format!("[directory.corp]\ndomains = [\"ldap.test\"]\n[directory.corp.ldap]\n{ldap}\n")
}

/// The directory `shop` of `sql.test`.
fn sql_directory(postgres: &Postgres, url: &str, more: &str) -> String {
    format!(
        "[directory.shop]\ndomains = [\"sql.test\"]\n[directory.shop.sql]\nurl = {url:?}\npassword_file = {:?}\n\
         query = \"select suspended from mailbox where address = $1\"\n{more}\n",
        postgres.password_file()
    )
}

/// An MTA whose client, from that address, has named a sender.
fn message(port: u16, client: impl Into<Ipv4Addr>) -> Mta<std::net::TcpStream> {
    let mut mta = Mta::connect(port);
    let address = ClientAddress::Inet(client.into(), 4711);
    let _ = mta.send(&Command::Connect(Connect { host: b"mail.elsewhere.test", address }));
    mta.mail();
    mta
}

/// What the recipient is answered: `continue`, or the reply.
fn said(mta: &mut Mta<std::net::TcpStream>, recipient: &str) -> String {
    match mta.rcpt(&format!("<{recipient}>")) {
        Answer::Continue | Answer::None => "continue".to_owned(),
        Answer::Refused(text) => text,
    }
}
