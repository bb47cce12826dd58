//! `backstop serve`.

use std::{path::Path, process::ExitCode};

use crate::{config::load, daemon};

use super::exit::{self, Failure, Outcome};

/// Runs until SIGTERM or SIGINT; SIGHUP reloads.
#[derive(Debug, Default, clap::Args)]
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
