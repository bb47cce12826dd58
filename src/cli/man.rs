//! `backstop man`: the manual pages, made of what `--help` says.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::{
    Command,
    builder::{Resettable, StyledStr},
};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{
    exit::{self, Failure, Outcome},
    help,
    terminal::{print, print_bytes},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after(NOTES, &[(0, "it was printed, or written"), (74, "it can't be written")]))]
pub(super) struct Args {
    /// Write all pages into this directory, which has to be there [default: print the page of `backstop` itself]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    match &args.dir {
        None => print_bytes(&page(&command).map_err(|error| Failure::new(exit::IO, error))?),
        Some(dir) => {
            for command in all(&command) {
                let path = dir.join(format!("{}.1", name(command)));
                page(command)
                    .and_then(|page| fs::write(&path, page))
                    .map_err(|error| Failure::new(exit::IO, format_args!("{}: {error}", path.display())))?;
                print(path.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command and all below it.
fn all(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(all);
    std::iter::once(command).chain(below).collect()
}

/// `backstop-config-check`
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    // It has sections of its own here.
    let plain = command
        .clone()
        .after_help(Resettable::<StyledStr>::Reset)
        .after_long_help(Resettable::<StyledStr>::Reset);
    let mut page = Vec::new();
    let source = concat!("backstop ", env!("CARGO_PKG_VERSION"));
    Man::new(plain).source(source).manual("Backstop").render(&mut page)?;
    more(&after, name(command) == "backstop").to_writer(&mut page)?;
    Ok(page)
}

fn more(after: &str, is_first: bool) -> Roff {
    let (notes, statuses) = help::parts(after);
    let mut page = Roff::new();
    if !notes.is_empty() {
        page.control("SH", ["NOTES"]);
        for line in notes.lines() {
            match line.strip_prefix("  ") {
                // What is to be typed keeps its line.
                Some(line) => page.control("br", []).text([bold(line)]),
                None if line.is_empty() => page.control("PP", []),
                None => page.text([roman(line)]),
            };
        }
    }
    if !statuses.is_empty() {
        page.control("SH", ["EXIT STATUS"]);
        for (status, meaning) in statuses {
            page.control("TP", []).text([bold(status)]).text([roman(meaning)]);
        }
    }
    if !is_first {
        page.control("SH", ["SEE ALSO"]).text([bold("backstop"), roman("(1)")]);
    }
    page
}

const NOTES: &str = "\
To read them:
  backstop man /usr/local/share/man/man1
  man backstop-check";
