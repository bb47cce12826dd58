//! A private Dovecot that speaks LMTP: its own configuration, users, sockets and log; nothing under /etc/dovecot is read.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::dir::TempDir;
use crate::process::{Process, Signal, read_log};
use crate::wait::{tail, wait_until};

/// A running Dovecot. It stops when dropped; if the test is failing then, the end of its log is printed.
#[derive(Debug)]
pub struct Dovecot {
    /// There unless it was stopped.
    master: Option<Process>,
    dir: TempDir,
}

impl Dovecot {
    /// Starts a Dovecot that has these users (`anna@example.test`), each with an empty mailbox.
    ///
    /// # Panics
    /// When it does not listen on its socket within 20 s.
    #[must_use]
    #[track_caller]
    pub fn start(users: &[&str]) -> Self {
        let dir = TempDir::new("dovecot");
        dir.write("dovecot.conf", CONFIG.replace("{dir}", &dir.path().display().to_string()));
        let mut dovecot = Dovecot { master: None, dir };
        dovecot.set_users(users);
        dovecot.start_again();
        dovecot
    }

    /// The LMTP socket.
    #[must_use]
    pub fn lmtp(&self) -> PathBuf {
        self.dir.join("run/lmtp")
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("dovecot.conf")
    }

    /// Replaces the users. Dovecot sees it at the next question, if a second has passed since the last change.
    pub fn set_users(&self, users: &[&str]) {
        let lines: String = users.iter().map(|user| format!("{user}:{{PLAIN}}secret::::::\n")).collect();
        self.dir.write("users", lines);
    }

    /// Ends it, and every process of it.
    pub fn stop(&mut self) {
        if let Some(mut master) = self.master.take() {
            let children = children(master.pid());
            master.signal(Signal::TERM);
            master.wait_exit(Duration::from_secs(10));
            wait_until(Duration::from_secs(10), "the end of Dovecot's processes", || {
                children.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}")).exists())
            });
        }
    }

    /// Starts it once more, at the same place.
    ///
    /// # Panics
    /// When it does not listen on its socket within 20 s.
    #[track_caller]
    pub fn start_again(&mut self) {
        let starts = self.log().matches("starting up").count();
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(self.config_file());
        let mut master = Process::spawn("Dovecot", &mut command, &self.dir.join("output"), Signal::TERM);
        wait_until(Duration::from_secs(20), "Dovecot to start", || {
            assert!(master.exited().is_none(), "Dovecot ended: {}", master.log());
            self.lmtp().exists() && self.log().matches("starting up").count() > starts
        });
        self.master = Some(master);
    }

    /// Everything logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.dir.join("log"))
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of Dovecot's log:\n{}\n---", tail(&self.dir.join("log")));
        }
    }
}

/// The processes whose parent this one is (proc(5)).
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("read /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        of == Some(parent)
    })
    .collect()
}

const CONFIG: &str = "\
base_dir = {dir}/run
log_path = {dir}/log
protocols = lmtp
ssl = no
mail_location = maildir:{dir}/mail/%u
first_valid_uid = 1
recipient_delimiter = +
passdb {
  driver = passwd-file
  args = username_format=%u {dir}/users
}
userdb {
  driver = passwd-file
  args = username_format=%u {dir}/users
  default_fields = uid=dovecot gid=dovecot home={dir}/mail/%u
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
";
