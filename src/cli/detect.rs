//! `backstop detect`.

use std::{path::Path, process::ExitCode};

use crate::{config::load, daemon};

use super::{
    bar::Bar,
    exit::{self, Failure, Outcome},
    help,
    terminal::{note, print, print_json, safe},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_reading(NOTES, &[(0, "an MTA was found"), (1, "none was found"), (71, "the operating system refused something")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let config = load(config)?.config;
    let addresses: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    let bar = Bar::working("looking at the MTA of this host", args.json);
    let findings = daemon::detect().map_err(|error| Failure::new(exit::OS, error))?;
    drop(bar);
    if args.json {
        print_json(&*findings);
    } else {
        for line in findings.to_string().lines() {
            match line.strip_prefix("note: ") {
                Some(text) => note(text),
                None => print(safe(line)),
            }
        }
        for (name, directory) in &config.directory {
            let partial = findings.domains.iter().filter(|found| !found.partial.is_empty());
            let partial = partial.map(|found| found.pattern.to_string());
            let given: Vec<_> = partial.filter(|domain| directory.names(domain)).collect();
            if !given.is_empty() {
                let given = given.join(", ");
                note(&format!(
                    "the configured directory {name} is in charge of {given}, partial or not: who is unknown to it is refused"
                ));
            }
        }
        if !findings.mtas.is_empty() && !daemon::is_asked(&findings, &addresses) {
            note("no MTA here asks Backstop yet; the lines below make it ask");
        }
        print("");
        print(daemon::mta_lines(&addresses).trim_end());
    }
    Ok(if findings.mtas.is_empty() { ExitCode::from(exit::NO) } else { ExitCode::SUCCESS })
}

const NOTES: &str = "\
Each item comes with the setting or file that says so. Where a domain is partial, it says why, and nobody is refused there as \
unknown. Nothing is changed.";
