//! `backstop disable`.

use std::{path::Path, process::ExitCode, time::Duration};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Disable, Disabled, Request, Response},
    },
};

use super::{
    exit::{Failure, Outcome},
    help,
    terminal::{bad, note, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(NOTES, &[(0, "everything passes"), (64, "it can't be so, nothing was changed")]))]
pub(super) struct Args {
    /// For how long, such as 90s, 30m, 1h 30m or 2d; at most 365 days [default: until `backstop enable`]
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration)]
    duration: Option<Duration>,
    /// Let a restart of the server not end it
    #[arg(long)]
    across_restarts: bool,
    /// Why: `status` and the log show it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: Args) -> Outcome {
    let Args { duration, across_restarts, reason, json } = args;
    let order = Disable { seconds: duration.map(|duration| duration.as_secs()), across_restarts, reason };
    let switched = match ask(&load_control(config)?, &Request::Disable(order))? {
        Response::Switched(switched) => switched,
        other => return Err(Failure::from_answer(other)),
    };
    if json {
        print_json(&switched);
        return Ok(ExitCode::SUCCESS);
    }
    let until = switched.disabled.as_ref().and_then(|disabled| disabled.until);
    let until = until.map_or_else(|| "`backstop enable`".to_owned(), time::show_moment);
    let again = if switched.before { "; it was disabled before, this takes its place" } else { "" };
    print(format_args!("disabled: everything passes until {until}{again}"));
    if !across_restarts {
        note("a restart of the server ends it; --across-restarts makes it last");
    }
    Ok(ExitCode::SUCCESS)
}

/// How it is, for who asks how the server is.
pub(super) fn line(disabled: &Disabled) -> String {
    let Disabled { since, until, by, reason, across_restarts } = disabled;
    let mut line = format!("{}, everything passes: since {}", bad("DISABLED"), time::show_moment(*since));
    line += &until.map_or(String::new(), |until| format!(" until {}", time::show_moment(until)));
    line += if *across_restarts { ", also after a restart" } else { "" };
    line += &by.as_deref().map_or(String::new(), |by| format!(", by {}", safe(by)));
    line += &reason.as_deref().map_or(String::new(), |reason| format!(": {}", safe(reason)));
    line
}

const NOTES: &str = "\
From now on everything passes, in sessions that are open as well, and is counted with the reason `disabled`. Nothing is \
looked up meanwhile. It concerns this server alone, also where others share its store.

  backstop disable --for 30m --reason 'the directory moves'";
