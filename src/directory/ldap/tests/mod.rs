//! Against real servers.

mod active_directory;
mod binds;
mod failover;
mod hostile;
mod openldap;
mod referrals;

use std::{path::Path, time::Duration};

use backstop_harness::Slapd;

use super::*;
use crate::directory::Why;

/// The client that this TOML describes.
fn client(text: &str) -> Client {
    let config: Config =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(text))
            .extract()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    Client::build("directory.test", &config).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Lines for the reader of a slapd, asked at these URLs.
fn reader(slapd: &Slapd, urls: &[String]) -> String {
    format!(
        "urls = {urls:?}\nbase = \"{}\"\nbind_dn = \"{}\"\npassword_file = {:?}\nallow_plain = true\n",
        Slapd::BASE,
        Slapd::READER,
        slapd.password_file()
    )
}

/// `Ok`: who exists, or nobody; `Err`: why that can't be told, and what the admin is told.
async fn ask(client: &Client, address: &str) -> Result<Option<Attributes>, (Why, String)> {
    let address = Address::parse(address).unwrap();
    let limit = client.deadline + Duration::from_millis(100);
    let asked = tokio::time::timeout(limit, client.look_up(&address)).await;
    asked.expect("the deadline is kept").map_err(|failure| (failure.why, failure.to_string()))
}

fn person(name: &str) -> String {
    format!(
        "dn: uid={name},ou=people,{}\nobjectClass: inetOrgPerson\nobjectClass: mailRecipient\n\
         uid: {name}\ncn: {name}\nsn: {name}\nmail: {name}@example.test\n",
        Slapd::BASE
    )
}

fn show(path: &Path) -> String {
    format!("{path:?}")
}

const EXISTS: Result<Option<Attributes>, (Why, String)> = Ok(Some(Attributes::PLAIN));
const ABSENT: Result<Option<Attributes>, (Why, String)> = Ok(None);
