//! `backstop suspended`.

use std::{path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response, SuspendedEntry},
    },
};

use super::{
    exit::{Failure, Outcome},
    help,
    terminal::{notes, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking("", &[(0, "they are listed; also where there are none")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let listed = match ask(&load_control(config)?, &Request::Suspended)? {
        Response::Suspensions(listed) => listed,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&listed);
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &listed.suspensions {
        print(line(entry));
    }
    let more = listed.total.saturating_sub(u64::try_from(listed.suspensions.len()).unwrap_or(u64::MAX));
    if more > 0 {
        print(format_args!("and {more} more"));
    }
    notes(&listed.notes);
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &SuspendedEntry) -> String {
    let mut line = format!("{}  since {}", safe(&entry.what), time::show_moment(entry.since));
    let mut add = |word: &str, value: &str| line.push_str(&format!("  {word}{}", safe(value)));
    if let Some(until) = entry.until {
        add("until ", &time::show_moment(until));
    }
    if let Some(by) = &entry.by {
        add("by ", by);
    }
    if let Some(reason) = &entry.reason {
        add("", reason);
    }
    if let Some(text) = &entry.text {
        add("tells: ", text);
    }
    line
}
