//! `backstop release`.

use std::{net::IpAddr, path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{ask, message::Request},
};

use super::{
    clients::{listed, tell},
    exit::{self, Outcome},
    help,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking("", &[(0, "it was blocked, or trusted for a time"), (1, "it was neither")]))]
pub(super) struct Args {
    /// The client's address; of an IPv6 address the blocks of its /64 and of its /48 end
    #[arg(value_name = "IP", value_parser = listed)]
    client: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let answer = ask(&load_control(config)?, &Request::Release { client: args.client })?;
    let standing = tell(answer, args.json, |standing| match standing.before {
        true => "is neither blocked nor trusted any longer",
        false => "was neither blocked nor trusted for a time",
    })?;
    Ok(if standing.before { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}
