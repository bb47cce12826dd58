//! Progress of long work: a bar on the person's terminal, nothing anywhere else.
//!
//! It is on standard error, and gone before anything else is written: when it is dropped, and when Ctrl-C ends the process.
//! Nothing of it is in a pipe, where `TERM` is `dumb`, or beside JSON that goes to another program.

use std::{
    fmt,
    io::{self, IsTerminal},
    ops::Deref,
    process::exit,
    thread,
    time::Duration,
};

use console::{Term, is_dumb};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike, WeakProgressBar};

use super::time;

/// A bar, for as long as it lives.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// For work whose end is not in sight; shown when it takes longer than a moment.
    pub(super) fn working(what: &'static str, json: bool) -> Self {
        Self::new(None, WORKING, what, json)
    }

    /// For so many steps. The template is one of indicatif; `{left}` is how long it takes yet.
    pub(super) fn of(steps: u64, template: &str, json: bool) -> Self {
        Self::new(Some(steps), template, "", json)
    }

    /// From now on it is one of so many steps.
    pub(super) fn count(&self, steps: Option<u64>, template: &str) {
        self.set_style(style(template));
        match steps {
            Some(steps) => self.set_length(steps),
            None => self.unset_length(),
        }
    }

    /// Nothing is drawn yet.
    fn new(steps: Option<u64>, template: &str, message: &'static str, json: bool) -> Self {
        let is_beside = !json || io::stdout().is_terminal();
        let is_seen = io::stderr().is_terminal() && !is_dumb() && is_beside;
        let target = if is_seen {
            ProgressDrawTarget::term_like(Box::new(Narrowed(Term::stderr())))
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(steps, target);
        let bar = bar.with_style(style(template)).with_message(message);
        if is_seen {
            watch(bar.downgrade());
        }
        Self(bar)
    }
}

impl Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Keeps the bar moving, after a moment, and takes it away when a person interrupts the work. A thread of its own: the work
/// may be one long step.
fn watch(bar: WeakProgressBar) {
    let watch = async move {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let soon = tokio::time::timeout(MOMENT, &mut interrupted).await;
        if let (Err(_), Some(bar)) = (&soon, bar.upgrade()) {
            bar.enable_steady_tick(TICK);
        }
        let interrupted = match soon {
            Ok(interrupted) => interrupted,
            Err(_) => interrupted.await,
        };
        if interrupted.is_ok() {
            if let Some(bar) = bar.upgrade() {
                bar.finish_and_clear();
            }
            exit(INTERRUPTED);
        }
    };
    thread::spawn(|| {
        // Without it there is only more to wipe off.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(watch);
        }
    });
}

/// In a narrow terminal only the words, cut to one line: of what wraps something is left.
fn style(template: &str) -> ProgressStyle {
    let template = match (Narrowed(Term::stderr()).width() < ROOM, template.contains("{wide_bar}")) {
        (true, true) => "{percent:>3}% {wide_msg}",
        (true, false) => "{wide_msg}",
        (false, _) => template,
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant of this program");
    style.with_key("left", left)
}

/// `{left}`: as far as can be told.
fn left(state: &ProgressState, to: &mut dyn fmt::Write) {
    if state.pos() > 0 {
        let _ = write!(to, "{} left", time::show_duration(state.eta().as_secs()));
    }
}

/// A terminal without its last columns: the `^C` that it shows of Ctrl-C finds room on the bar's line, and goes with it.
#[derive(Debug)]
struct Narrowed(Term);

impl TermLike for Narrowed {
    fn width(&self) -> u16 {
        TermLike::width(&self.0).saturating_sub(MARGIN)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

const WORKING: &str = "{spinner} {msg} {elapsed}";
/// Work that takes less needs no bar.
const MOMENT: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(200);
/// What a shell makes of SIGINT: 128 + 2.
const INTERRUPTED: i32 = 130;
const MARGIN: u16 = 3;
/// Columns that a bar with its words needs.
const ROOM: u16 = 57;
