//! `backstop serve`.

use std::{path::Path, process::ExitCode};

use crate::{config::load, daemon};

use super::{
    exit::{self, Failure, Outcome},
    help,
};

#[derive(Debug, Default, clap::Args)]
#[command(after_help = help::after_reading(NOTES, &[(0, "it was stopped"), (71, "the operating system refused something; an address is in use")]))]
pub(super) struct Args {}

pub(super) fn run(config: Option<&Path>, _args: &Args) -> Outcome {
    let loaded = load(config)?;
    match daemon::run(config.map(Path::to_owned), loaded) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            Err(Failure::new(if error.is_configuration() { exit::CONFIG } else { exit::OS }, error))
        }
    }
}

const NOTES: &str = "\
It runs until SIGTERM or SIGINT, after which messages under way may finish; SIGHUP reloads. With no configuration file it \
listens on inet:127.0.0.1:8890, and prints what it found and the lines for the MTA.";
