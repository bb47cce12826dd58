//! `backstop completions`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::{exit::Outcome, help, terminal::print_bytes};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after(NOTES, &[(0, "it was printed")]))]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "backstop", &mut script);
    print_bytes(&script);
    Ok(ExitCode::SUCCESS)
}

const NOTES: &str = "\
For all users of this host:
  backstop completions bash > /usr/share/bash-completion/completions/backstop
  backstop completions zsh > /usr/local/share/zsh/site-functions/_backstop
  backstop completions fish > /usr/share/fish/vendor_completions.d/backstop.fish";
