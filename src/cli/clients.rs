//! `backstop trusted` and `backstop blocked`; and how single clients are written, and told of.

use std::{net::IpAddr, path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response, Standing},
    },
};

use super::{
    exit::{Failure, Outcome},
    help,
    terminal::{notes, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking("", &[(0, "they are listed; also where there are none")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args, request: &Request) -> Outcome {
    let listed = match ask(&load_control(config)?, request)? {
        Response::Clients(listed) => listed,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&listed);
        return Ok(ExitCode::SUCCESS);
    }
    for client in &listed.clients {
        let reason =
            if client.reason.is_empty() { String::new() } else { format!("  {}", safe(&client.reason)) };
        let left = time::show_duration(client.seconds_left);
        print(format_args!("{}  for {left}{reason}", safe(&client.client)));
    }
    let more = listed.total.saturating_sub(u64::try_from(listed.clients.len()).unwrap_or(u64::MAX));
    if more > 0 {
        print(format_args!("and {more} more"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells how a client stands now: in the words of `say`, or as JSON.
pub(super) fn tell(
    answer: Response,
    json: bool,
    say: impl FnOnce(&Standing) -> &'static str,
) -> Result<Standing, Failure> {
    let standing = match answer {
        Response::Standing(standing) => standing,
        other => return Err(Failure::from_answer(other)),
    };
    if json {
        print_json(&standing);
        return Ok(standing);
    }
    let time = standing.seconds.map(|seconds| format!(" for {}", time::show_duration(seconds)));
    print(format_args!("{} {}{}", safe(&standing.client), say(&standing), time.unwrap_or_default()));
    notes(&standing.notes);
    Ok(standing)
}

/// As [`client`], or the /48 of an IPv6 address, which only guesses block.
pub(super) fn listed(text: &str) -> Result<IpAddr, WrongClient> {
    match text.split_once('/').map(|(address, length)| (address.parse(), length)) {
        Some((Ok(address @ IpAddr::V6(_)), "48")) => Ok(address),
        _ => client(text),
    }
}

/// An address, or the network that one stands for as it is listed: an IPv4 /32, an IPv6 /64.
pub(super) fn client(text: &str) -> Result<IpAddr, WrongClient> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| WrongClient::Address)?;
    match (address, length) {
        (_, None) | (IpAddr::V4(_), Some("32")) | (IpAddr::V6(_), Some("64")) => Ok(address),
        _ => Err(WrongClient::Network),
    }
}

/// Not one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongClient {
    #[error("an IP address is needed, such as 192.0.2.1 or 2001:db8::1")]
    Address,
    #[error(
        "a client is one IPv4 address, or an IPv6 address with its /64; whole networks belong into client.denied"
    )]
    Network,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_can_be_released() {
        for (text, expected) in [
            ("2001:db8:1::/48", Ok("2001:db8:1::")),
            ("2001:db8:1:2::/64", Ok("2001:db8:1:2::")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("192.0.0.0/48", Err(WrongClient::Network)),
            ("2001:db8::/32", Err(WrongClient::Network)),
        ] {
            assert_eq!(listed(text).map(|client| client.to_string()), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_client_is_an_address_or_what_stands_for_it() {
        for (text, expected) in [
            ("192.0.2.1", Ok("192.0.2.1")),
            ("192.0.2.1/32", Ok("192.0.2.1")),
            ("2001:db8::1", Ok("2001:db8::1")),
            ("2001:db8::/64", Ok("2001:db8::")),
            ("192.0.2.0/24", Err(WrongClient::Network)),
            ("2001:db8::/32", Err(WrongClient::Network)),
            ("2001:db8::/48", Err(WrongClient::Network)),
            ("2001:db8::1/128", Err(WrongClient::Network)),
            ("192.0.2.1/", Err(WrongClient::Network)),
            ("", Err(WrongClient::Address)),
            ("mail.example.org", Err(WrongClient::Address)),
            ("fe80::1%eth0", Err(WrongClient::Address)),
        ] {
            assert_eq!(client(text).map(|client| client.to_string()), expected.map(str::to_owned), "{text}");
        }
    }
}
