//! `backstop block`.

use std::{net::IpAddr, path::Path, process::ExitCode, time::Duration};

use crate::{
    config::load_control,
    control::{ask, message::Request},
};

use super::{
    clients::{client, tell},
    exit::Outcome,
    help, time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(NOTES, &[(0, "it is blocked"), (64, "it can't be blocked")]))]
pub(super) struct Args {
    /// The client's address; of an IPv6 address the /64 is blocked
    #[arg(value_name = "IP", value_parser = client)]
    client: IpAddr,
    /// For how long, such as 90s, 30m, 1h 30m or 2d; at most 30 days
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = time::duration)]
    duration: Duration,
    /// Why: `blocked` shows it, the client does not see it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let (client, seconds) = (args.client, args.duration.as_secs());
    let request = Request::Block { client, seconds, reason: args.reason.clone() };
    tell(ask(&load_control(config)?, &request)?, args.json, |_| "is blocked")?;
    Ok(ExitCode::SUCCESS)
}

const NOTES: &str = "\
Until then each of its recipients gets a 421, whether it exists or not, in sessions that are open as well. Insiders are \
never refused for it. Whole networks belong into client.denied.

  backstop block 203.0.113.7 --for 2d --reason 'guesses recipients'";
