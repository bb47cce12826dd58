//! `backstop enable`.

use std::{path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response},
    },
};

use super::{
    exit::{self, Failure, Outcome},
    help,
    terminal::{print, print_json},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking("", &[(0, "it was disabled, and decides again"), (1, "it was not disabled")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let switched = match ask(&load_control(config)?, &Request::Enable)? {
        Response::Switched(switched) => switched,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&switched);
    } else {
        print(if switched.before { "enabled: it decides as configured" } else { "it was not disabled" });
    }
    Ok(if switched.before { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}
