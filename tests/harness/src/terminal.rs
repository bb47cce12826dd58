//! A pseudo-terminal with a program on it, and what a person would see there.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::wait::{wait_for, wait_until};

/// A program that has a terminal to itself, as its controlling one: Ctrl-C reaches it. It is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    columns: usize,
}

impl Terminal {
    /// Runs the command with all three of its streams on a terminal that is so wide.
    ///
    /// # Panics
    /// When there is no pseudo-terminal, or no such program, as in [`Terminal::with_stdout`].
    #[must_use]
    #[track_caller]
    pub fn start(command: &Command, columns: u16) -> Self {
        Self::run(command, columns, None)
    }

    /// The same with standard output elsewhere, as in `command > file`.
    #[must_use]
    #[track_caller]
    pub fn with_stdout(command: &Command, columns: u16, stdout: impl Into<Stdio>) -> Self {
        Self::run(command, columns, Some(stdout.into()))
    }

    #[track_caller]
    fn run(command: &Command, columns: u16, stdout: Option<Stdio>) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("it may be opened");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).expect("it has a size");
        let name = ptsname(&controller, Vec::new()).expect("it has a name").into_string().expect("of ASCII");
        let screen = || Stdio::from(File::options().read(true).write(true).open(&name).expect("it opens"));
        // setsid(1) makes it the controlling terminal, and becomes the program.
        let mut on_it = Command::new("setsid");
        on_it.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        on_it.env("TERM", "xterm");
        // `CI` makes anstream colour even what is dumb.
        for unset in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "COLUMNS"] {
            on_it.env_remove(unset);
        }
        for (name, value) in command.get_envs() {
            on_it.env(name, value.map(OsString::from).unwrap_or_default());
        }
        on_it.stdin(screen()).stdout(stdout.unwrap_or_else(screen)).stderr(screen());
        let child = on_it.spawn().unwrap_or_else(|error| panic!("{on_it:?}: {error}"));
        // Ours are closed: the end of the program is the end of what comes.
        drop(on_it);
        let written = Arc::new(Mutex::new(Vec::new()));
        let keyboard = File::from(controller);
        let reader = thread::spawn({
            let (written, mut output) = (Arc::clone(&written), keyboard.try_clone().expect("a descriptor"));
            move || {
                let mut some = [0; 4096];
                while let Ok(count @ 1..) = output.read(&mut some) {
                    written.lock().unwrap_or_else(PoisonError::into_inner).extend(&some[..count]);
                }
            }
        });
        Self { child, keyboard, written, reader: Some(reader), columns: usize::from(columns) }
    }

    /// Types, as a person would: `\r` is Enter, `\x03` Ctrl-C, `\x04` Ctrl-D.
    ///
    /// # Panics
    /// When nobody has the terminal open.
    pub fn enter(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes what is typed");
    }

    /// Everything that was written to it so far, with what moves the cursor.
    #[must_use]
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// What a person sees now, without the colours.
    #[must_use]
    pub fn screen(&self) -> String {
        show(&self.written(), self.columns)
    }

    /// Waits until this was written.
    ///
    /// # Panics
    /// When it was not after half a minute.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let what = format!("{text:?} on the terminal");
        wait_until(Duration::from_secs(30), &what, || self.written().contains(text));
    }

    /// Waits for the end; gives the exit status.
    ///
    /// # Panics
    /// When it does not end within half a minute, or by a signal.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let wait = || self.child.try_wait().expect("ask for a child's status");
        let status = wait_for(Duration::from_secs(30), "the end of a program on a terminal", wait);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.written()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- on the terminal:\n{}\n---", self.screen());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal makes of it: as much of ECMA-48 as programs use that do not take the whole screen.
fn show(written: &str, columns: usize) -> String {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{8}' => column = column.saturating_sub(1),
            '\u{7}' => {}
            '\u{1b}' => {
                let (number, command) = sequence(&mut chars);
                let count = number.unwrap_or(1);
                match command {
                    'A' => row = row.saturating_sub(count),
                    'B' => row += count,
                    'C' => column += count,
                    'D' => column = column.saturating_sub(count),
                    'G' => column = count - 1,
                    'J' => {
                        lines.truncate(row + 1);
                        lines[row].truncate(column);
                    }
                    'K' if number == Some(2) => lines[row].clear(),
                    'K' => lines[row].truncate(column),
                    _ => {}
                }
            }
            c => {
                if column >= columns {
                    (row, column) = (row + 1, 0);
                }
                if lines.len() <= row {
                    lines.resize(row + 1, Vec::new());
                }
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        if lines.len() <= row {
            lines.resize(row + 1, Vec::new());
        }
    }
    let lines = lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The rest of a control sequence: its number, and what it does.
fn sequence(chars: &mut std::str::Chars<'_>) -> (Option<usize>, char) {
    if chars.next() != Some('[') {
        return (None, ' ');
    }
    let mut number = String::new();
    for c in chars {
        if matches!(c, '@'..='~') {
            return (number.parse().ok(), c);
        }
        number.push(c);
    }
    (None, ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_what_is_left() {
        for (written, seen) in [
            ("one\r\ntwo\r\n", "one\ntwo"),
            ("bar 1\rbar 2\r\u{1b}[2Kdone\r\n", "done"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("0123456789ab", "0123456789\nab"),
            ("a\r\nb\u{1b}[1A\r\u{1b}[Jc", "c"),
            ("^C\r\u{1b}[2K", ""),
        ] {
            assert_eq!(show(written, 10), seen, "{written:?}");
        }
    }

    #[test]
    fn a_program_on_it_has_a_terminal_and_feels_ctrl_c() {
        let mut bash = Command::new("bash");
        bash.args([
            "-c",
            "trap 'echo bye; exit 3' INT; test -t 0 -a -t 1 -a -t 2 && tput cols; read -r line",
        ]);
        let mut terminal = Terminal::start(&bash, 33);
        terminal.wait_for("33");
        terminal.enter("\u{3}");
        assert_eq!(terminal.wait_exit(), 3);
        assert!(terminal.screen().ends_with("bye"), "{}", terminal.screen());
        let mut terminal =
            Terminal::with_stdout(Command::new("sh").args(["-c", "test -t 1"]), 80, Stdio::null());
        assert_eq!(terminal.wait_exit(), 1);
    }
}
