//! `backstop replay`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    config::load,
    daemon,
    replay::{InputError, Options, Recipients, Replayed},
};

use super::{
    exit::{self, Failure, Outcome},
    help,
    terminal::{print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_reading(NOTES, &[
    (0, "nobody who was delivered would be refused"),
    (1, "somebody would"),
    (2, "for somebody it could not be found out"),
    (65, "it is no mail log, or a compressed file is damaged"),
    (66, "there is no such file, or it can't be opened"),
    (74, "a file can't be read, or what was found can't be written"),
    (77, "you may not read a file"),
]))]
pub(super) struct Args {
    /// Logs of Postfix or Sendmail, the oldest first: text, gzip, or `journalctl -o export`; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Judge clients too, by what the DNS says of them now: dynamic addresses
    #[arg(long)]
    clients: bool,
    /// List so many recipients of each kind
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let loaded = load(config)?;
    let options = Options { judges_clients: args.clients, top: args.top };
    let bar = bar(&args.files);
    let shown = bar.clone();
    let progress = move |path: &Path, read: u64| {
        shown.set_message(safe(&path.display().to_string()));
        shown.inc(read);
    };
    let replayed = daemon::replay(&loaded, &args.files, options, progress)
        .map_err(|error| Failure::new(exit::CONFIG, error))?
        .map_err(|error| unreadable(&error))?;
    bar.finish_and_clear();
    if args.json {
        print_json(&replayed);
    } else {
        tell(&replayed);
    }
    if replayed.of_mtas == 0 {
        return Err(Failure::new(exit::DATA, NOTHING));
    }
    Ok(match (replayed.delivered_refused.times, replayed.delivered_deferred.times) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(exit::UNSURE),
        _ => ExitCode::from(exit::NO),
    })
}

fn tell(replayed: &Replayed) {
    let moment = |at: Option<jiff::Timestamp>| {
        at.and_then(|at| u64::try_from(at.as_second()).ok()).map_or_else(|| "?".to_owned(), time::show_moment)
    };
    print(format_args!(
        "{} lines, {} of them of Postfix or Sendmail, from {} to {}",
        replayed.lines,
        replayed.of_mtas,
        moment(replayed.since),
        moment(replayed.until)
    ));
    if replayed.strange > 0 {
        print(format_args!("{} lines make no sense: half a line, or no log", replayed.strange));
    }
    print(format_args!(
        "refused then: {}; not judged (not by SMTP, or begun before the log): {}",
        replayed.refused_then, replayed.left_out
    ));
    print(format_args!("\ndelivered: {}", replayed.delivered));
    list("  would be refused now", &replayed.delivered_refused);
    list("  would be put off now", &replayed.delivered_deferred);
    print(format_args!("\naccepted, and bounced: {}", replayed.bounced));
    list("  would be refused now", &replayed.bounced_refused);
    print(format_args!("    bounces to somebody that would not have been sent: {}", replayed.backscatter));
    list("  would be accepted again", &replayed.bounced_passed);
}

fn list(what: &str, found: &Recipients) {
    let Recipients { times, recipients, top } = found;
    if *times == 0 {
        return print(format_args!("{what}: none"));
    }
    let noun = if *recipients == 1 { "recipient" } else { "recipients" };
    print(format_args!("{what}: {times}, for {recipients} {noun}"));
    let width = top.iter().map(|row| row.times.to_string().len()).max().unwrap_or_default();
    for row in top {
        let last = u64::try_from(row.last.as_second()).unwrap_or_default();
        let monitored = if row.enforced { "" } else { " (monitor mode: it would pass all the same)" };
        print(format_args!(
            "    {:>width$}  {}  last {}  {}{monitored}",
            row.times,
            safe(&row.recipient),
            time::show_moment(last),
            row.reply.as_deref().unwrap_or(&row.reason),
        ));
    }
    let more = recipients.saturating_sub(u64::try_from(top.len()).unwrap_or(u64::MAX));
    if more > 0 {
        print(format_args!("    and {more} more recipients"));
    }
}

/// Shown on a terminal only.
fn bar(files: &[PathBuf]) -> ProgressBar {
    let sizes = files.iter().map(|path| fs::metadata(path).map(|metadata| metadata.len()).ok());
    let (bar, template) = match sizes.sum::<Option<u64>>() {
        Some(size) if size > 0 => (ProgressBar::new(size), BAR),
        _ => (ProgressBar::no_length(), ENDLESS),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is right"))
}

fn unreadable(error: &InputError) -> Failure {
    let status = match error {
        InputError::Open { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
            exit::NO_PERMISSION
        }
        InputError::Open { .. } => exit::NO_INPUT,
        InputError::Damaged { .. } => exit::DATA,
        InputError::Read { .. } => exit::IO,
    };
    Failure::new(status, error)
}

const BAR: &str = "{wide_bar} {percent}% {msg} {eta}";
/// Of a pipe nobody knows how much is to come.
const ENDLESS: &str = "{bytes} {msg} {elapsed}";

const NOTHING: &str = "no line of Postfix or Sendmail: is it the mail log?";

const NOTES: &str = "\
Each recipient that was delivered or bounced is judged by the configuration alone, as `backstop check --offline` would: does \
it exist, is it suspended, is its client denied? What the defences have seen of a client is left out. Delivered mail that \
would be refused now is somebody's who is missing from the directories, or mail that should not have been delivered; \
`backstop check --offline ADDRESS` says why.";
