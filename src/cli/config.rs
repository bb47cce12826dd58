//! `backstop config`.

use std::{path::Path, process::ExitCode};

use crate::{
    config::{load, show},
    daemon,
};

use super::{
    bar::Bar,
    exit::{self, Failure, Outcome},
    help,
    terminal::{good, notes, print, print_json, safe},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read the configuration and every file that it names; say what is wrong, and where
    #[command(after_help = help::after_reading("Before a new file takes the place of the one in use:\n  backstop config check --config /etc/backstop/new.toml", &[(0, "nothing is wrong; notes may be worth a look")]))]
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every effective value and where it comes from
    #[command(after_help = help::after_reading("What somebody has set:\n  backstop config show | grep -v '# default'", &[(0, "they are printed")]))]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A configuration without mistakes. One with them is an error.
#[derive(Debug, serde::Serialize)]
struct Fine<'a> {
    /// `None`: the defaults.
    file: Option<&'a Path>,
    /// What is worth a look all the same.
    notes: &'a [String],
}

pub(super) fn run(config: Option<&Path>, command: &Command) -> Outcome {
    let loaded = load(config)?;
    match command {
        Command::Check { json } => {
            let bar = Bar::working("reading the directories", *json);
            let notices = daemon::check_build(&loaded).map_err(|error| Failure::new(exit::CONFIG, error))?;
            drop(bar);
            if *json {
                print_json(&Fine { file: loaded.path(), notes: &notices });
                return Ok(ExitCode::SUCCESS);
            }
            notes(&notices);
            match loaded.path() {
                Some(path) => print(format_args!("{}: {}", safe(&path.display().to_string()), good("fine"))),
                None => print(format_args!("no configuration file; the defaults are {}", good("fine"))),
            }
        }
        Command::Show { json } => {
            let shown = show(&loaded);
            if *json {
                print_json(&shown);
            } else {
                for value in shown {
                    let origin = safe(&value.origin.to_string());
                    print(format_args!("{value}  # {origin}"));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
