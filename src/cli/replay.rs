//! `backstop replay`.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
};

use crate::{
    config::load,
    daemon,
    replay::{InputError, Options, Recipients, Replayed},
};

use super::{
    bar::Bar,
    exit::{self, Failure, Outcome},
    help,
    terminal::{notes, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_reading(NOTES, &[
    (0, "nobody who was delivered would be refused"),
    (1, "somebody would"),
    (2, "for somebody it could not be found out, or nobody was delivered to"),
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
    let bar = Rc::new(Bar::working("reading the directories", args.json));
    let (shown, sizes) = (Rc::clone(&bar), Cell::new(Some(size(&args.files))));
    let progress = move |path: &Path, read: u64| {
        match sizes.take() {
            Some(Some(size)) => shown.count(Some(size), BAR),
            Some(None) => shown.count(None, READING),
            None => {}
        }
        shown.set_message(end_of(path));
        shown.inc(read);
    };
    let replayed = daemon::replay(&loaded, &args.files, options, progress)
        .map_err(|error| Failure::new(exit::CONFIG, error))?
        .map_err(|error| unreadable(&error))?;
    drop(bar);
    if args.json {
        print_json(&replayed);
    } else {
        tell(&replayed);
    }
    if replayed.of_mtas == 0 {
        return Err(Failure::new(exit::DATA, NOTHING));
    }
    Ok(match (replayed.delivered_refused.times, replayed.delivered_deferred.times) {
        (0, 0) if replayed.delivered > 0 => ExitCode::SUCCESS,
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
    print(format_args!(
        "    reported in a bounce to a sender, who may have been forged: {}",
        replayed.backscatter
    ));
    list("  would be accepted again", &replayed.bounced_passed);
    notes(&replayed.notes);
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
        let monitored = if row.enforced { "" } else { " (only watched)" };
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

/// The end of a path that is too long for a bar.
fn end_of(path: &Path) -> String {
    let path = safe(&path.display().to_string());
    let cut = path.chars().count().saturating_sub(LONGEST_NAME);
    if cut == 0 { path } else { format!("…{}", path.chars().skip(cut + 1).collect::<String>()) }
}

/// All bytes that there are to read; `None` where that can't be told, of a pipe.
fn size(files: &[PathBuf]) -> Option<u64> {
    let sizes = files.iter().map(|path| {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then_some(metadata.len())
    });
    sizes.sum()
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

const BAR: &str = "{msg} {wide_bar} {percent}% {left}";
const READING: &str = "{spinner} {msg} {bytes} read";

/// Characters of a path beside a bar.
const LONGEST_NAME: usize = 24;

const NOTHING: &str = "no line of Postfix or Sendmail: is it the mail log?";

const NOTES: &str = "\
Each recipient that was delivered or bounced is judged by the configuration alone, as `backstop check --offline` would: does \
it exist, is it suspended, is its client denied? What the defences have seen of a client is left out. Delivered mail that \
would be refused now is somebody's who is missing from the directories, or mail that should not have been delivered; \
`backstop check --offline ADDRESS` says why.

  backstop replay /var/log/mail.log.1 /var/log/mail.log
  journalctl -o export -u 'postfix*' --since yesterday | backstop replay -";
