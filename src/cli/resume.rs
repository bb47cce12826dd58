//! `backstop resume`.

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
    terminal::{notes, print, print_json, safe},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(
    "A suspension in suspensions.files is another one; a note says so if there is one.\n\n  backstop resume anna@example.com",
    &[(0, "it was suspended by command"), (1, "it was not"), (64, "it is no address, and no @DOMAIN")],
))]
pub(super) struct Args {
    /// As it was suspended: user@example.com or @example.com
    #[arg(value_name = "ADDRESS|@DOMAIN")]
    what: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: Args) -> Outcome {
    let suspension = match ask(&load_control(config)?, &Request::Resume { what: args.what })? {
        Response::Suspension(suspension) => suspension,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&suspension);
    } else {
        let what = safe(&suspension.what);
        let words = if suspension.before { "is no longer suspended" } else { "was not suspended by command" };
        print(format_args!("{what} {words}"));
        notes(&suspension.notes);
    }
    Ok(if suspension.before { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}
