//! `backstop suspend`.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response, Suspend},
    },
};

use super::{
    exit::{Failure, Outcome},
    help,
    terminal::{notes, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(NOTES, &[(0, "it is suspended"), (64, "it can't be suspended")]))]
pub(super) struct Args {
    /// user@example.com, with all sub-addresses; or @example.com for everybody in the domain
    #[arg(value_name = "ADDRESS|@DOMAIN")]
    what: String,
    /// When it ends by itself: 2026-12-31, "2026-12-31 18:00" or 2026-12-31T18:00Z [default: it does not]
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    until: Option<u64>,
    /// The same as a duration from now: 90m, 2d, 4w
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration, conflicts_with = "until")]
    duration: Option<Duration>,
    /// Why: `suspended` shows it, senders do not see it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What senders are told in place of the usual text: at most 200 printable ASCII characters
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: Args) -> Outcome {
    let Args { what, until, duration, reason, text, json } = args;
    let from_now = |duration| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_add(duration).as_secs()
    };
    let until = until.or_else(|| duration.map(from_now));
    let suspend = Suspend { what, until, reason, text };
    let suspension = match ask(&load_control(config)?, &Request::Suspend(suspend))? {
        Response::Suspension(suspension) => suspension,
        other => return Err(Failure::from_answer(other)),
    };
    if json {
        print_json(&suspension);
        return Ok(ExitCode::SUCCESS);
    }
    let until = until.map_or(String::new(), |until| format!(" until {}", time::show_moment(until)));
    let again = if suspension.before { "; it was before, this takes its place" } else { "" };
    print(format_args!("{} is suspended{until}{again}", safe(&suspension.what)));
    notes(&suspension.notes);
    Ok(ExitCode::SUCCESS)
}

const NOTES: &str = "\
It is kept in the store before the command returns. Others who share the store follow within a second or two. A suspension \
in suspensions.files is another one: both have to end.

  backstop suspend @example.com --reason 'invoice 4711'
  backstop suspend anna@example.com --until 2026-12-31 --text 'Account closed'";
