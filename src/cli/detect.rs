//! `backstop detect`.

use std::{path::Path, process::ExitCode};

use crate::{config::load, daemon, detect::FoundDomain};

use super::{
    exit::{self, Failure, Outcome},
    help,
    terminal::{print, print_json, safe},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_reading("", &[(0, "an MTA was found"), (1, "none was found"), (71, "the operating system refused something")]))]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let config = load(config)?.config;
    let addresses: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    let findings = daemon::detect().map_err(|error| Failure::new(exit::OS, error))?;
    if args.json {
        print_json(&*findings);
    } else {
        print(findings.to_string().trim_end());
        for (name, directory) in &config.directory {
            let is_partial = |found: &&FoundDomain| !found.partial.is_empty();
            let partial = findings.domains.iter().filter(is_partial).map(|found| found.pattern.to_string());
            let given: Vec<_> = partial.filter(|domain| directory.names(domain)).collect();
            if !given.is_empty() {
                print(format_args!(
                    "note: the configured directory {} is in charge of {}, partial or not: who is unknown to it is refused",
                    safe(name),
                    given.join(", ")
                ));
            }
        }
        if !findings.mtas.is_empty() && !daemon::is_asked(&findings, &addresses) {
            print("note: no MTA here asks Backstop yet; the lines below make it ask");
        }
        print("");
        print(daemon::mta_lines(&addresses).trim_end());
    }
    Ok(if findings.mtas.is_empty() { ExitCode::from(exit::NO) } else { ExitCode::SUCCESS })
}
