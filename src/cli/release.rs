//! `backstop release`.

use std::{net::IpAddr, path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response},
    },
};

use super::{
    clients::client,
    exit::{self, Failure, Outcome},
    terminal::{print, print_json, safe},
};

/// Exit status: 0 it was blocked, or trusted for a time; 1 it was neither; 69 no server answers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's address; of an IPv6 address the block of its /64 ends
    #[arg(value_name = "IP", value_parser = client)]
    client: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let standing = match ask(&load_control(config)?, &Request::Release { client: args.client })? {
        Response::Standing(standing) => standing,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&standing);
    } else if standing.before {
        print(format_args!("{} is neither blocked nor trusted any longer", safe(&standing.client)));
    } else {
        print(format_args!("{} was neither blocked nor trusted for a time", safe(&standing.client)));
    }
    Ok(if standing.before { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}
