//! `backstop config`.

use std::{path::Path, process::ExitCode};

use crate::{
    config::{load, show},
    daemon,
};

use super::{
    exit::{self, Failure, Outcome},
    help,
    terminal::{print, print_json, safe},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read the configuration and every file that it names; say what is wrong, and where
    #[command(after_help = help::after_reading("", &[(0, "nothing is wrong; notes may be worth a look")]))]
    Check,
    /// Print every effective value and where it comes from
    #[command(after_help = help::after_reading("", &[(0, "they are printed")]))]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(config: Option<&Path>, command: &Command) -> Outcome {
    let loaded = load(config)?;
    match command {
        Command::Check => {
            let notices = daemon::check_build(&loaded).map_err(|error| Failure::new(exit::CONFIG, error))?;
            for notice in notices {
                print(format_args!("note: {}", safe(&notice)));
            }
            match loaded.path() {
                Some(path) => print(format_args!("{}: fine", path.display())),
                None => print("no configuration file; the defaults are fine"),
            }
        }
        Command::Show { json } => {
            let shown = show(&loaded);
            if *json {
                print_json(&shown);
            } else {
                for value in shown {
                    print(format_args!("{} = {}  # {}", value.key, value.value, value.origin));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
