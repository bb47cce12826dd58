//! `backstop status`.

use std::{path::Path, process::ExitCode};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Directory, Named, Request, Response, Status},
    },
};

use super::{
    disable,
    exit::{Failure, Outcome},
    help,
    terminal::{bad, doubtful, good, note, notes, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(NOTES, &[(0, "the server answers")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let status = match ask(&load_control(config)?, &Request::Status)? {
        Response::Status(status) => status,
        other => return Err(Failure::from_answer(other)),
    };
    if args.json {
        print_json(&status);
    } else {
        show(&status);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(status: &Status) {
    print(format_args!(
        "backstop {}, process {}, up {}",
        status.version,
        status.pid,
        time::show_duration(status.uptime_seconds)
    ));
    if let Some(disabled) = &status.disabled {
        print(disable::line(disabled));
    }
    match status.mode.as_str() {
        "enforce" => print("mode: enforce"),
        mode => print(format_args!("mode: {}", doubtful(mode))),
    }
    for address in &status.listening {
        print(format_args!("listening: {}", safe(address)));
    }
    print(format_args!("sessions open: {}, recipients decided: {}", status.sessions_open, status.recipients));
    print(format_args!("last MTA: {}", safe(status.last_mta.as_deref().unwrap_or("none yet"))));
    for domain in &status.domains {
        print(format_args!("domain: {}", safe(domain)));
    }
    for directory in &status.directories {
        let count = directory.addresses.map_or(String::new(), |count| format!(", {count} addresses"));
        let age = match directory.age_seconds {
            Some(age) => format!(", as of {} ago", time::show_duration(age)),
            None if directory.kind.ends_with("replica") => ", as of never".to_owned(),
            None => String::new(),
        };
        let Directory { name, kind, state, up, .. } = directory;
        let state = if *up { good(state) } else { bad(state) };
        print(format_args!("directory {} ({kind}): {state}{count}{age}", safe(name)));
    }
    match &status.named {
        Some(Named { trusted, blocked, suspended }) => print(format_args!(
            "clients trusted for a time: {trusted}, blocked: {blocked}; suspensions by command: {suspended}"
        )),
        None => note("the store does not tell in time who is blocked, or trusted for a time"),
    }
    notes(&status.notices);
}

const NOTES: &str = "\
Lines that begin with `note:` need somebody to look. For monitoring there is --json, and over HTTP /metrics, /live and /ready.";
