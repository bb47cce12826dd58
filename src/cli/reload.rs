//! `backstop reload`.

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
    terminal::{print, print_json, safe},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(
    NOTES,
    &[
        (0, "everything is in force"),
        (1, "something is held back, or needs a restart; the rest is in force"),
        (78, "the configuration is wrong, and nothing was changed"),
    ],
))]
pub(super) struct Args {
    /// Take content that was held back because it is empty or much shorter than before
    #[arg(long)]
    accept: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let reloaded = match ask(&load_control(config)?, &Request::Reload { accept: args.accept })? {
        Response::Reload(reloaded) => reloaded,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&reloaded);
    }
    if let Some(why) = &reloaded.refused {
        return Err(Failure::new(exit::CONFIG, format_args!("nothing was changed: {why}")));
    }
    if !args.json {
        print("applied");
        for key in &reloaded.needs_restart {
            print(format_args!("needs a restart: {key}"));
        }
        for file in &reloaded.held_back {
            print(format_args!("held back: {}", safe(file)));
        }
    }
    let whole = reloaded.needs_restart.is_empty() && reloaded.held_back.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}

const NOTES: &str = "\
Sessions that are open go on undisturbed. Where something is wrong nothing is changed, and it is said what and where.";
