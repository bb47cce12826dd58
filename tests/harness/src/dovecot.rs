//! A private Dovecot that speaks LMTP, and IMAP and POP3 where that is asked for: its own configuration, users, sockets and log; nothing under /etc/dovecot is read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::dir::{TempDir, chmod};
use crate::ports::free_port;
use crate::process::{Process, Signal, read_log, run};
use crate::snippet;
use crate::wait::{tail, wait_until};

/// A running Dovecot. It stops when dropped; if the test is failing then, the end of its log is printed.
#[derive(Debug)]
pub struct Dovecot {
    /// There unless it was stopped.
    master: Option<Process>,
    imap_port: u16,
    pop3_port: u16,
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
        Self::start_with(TempDir::new("dovecot"), users, CONFIG)
    }

    /// Starts one where users can also read their mail over IMAP and POP3, with the password `secret`. After each log-in it
    /// runs `deploy/dovecot/backstop-trust` by the lines of `deploy/dovecot/backstop-trust.conf`, with this program and this
    /// socket, and a trust of this `duration`. Clients may claim another address (POP3: `XCLIENT ADDR=…`; IMAP: `ID ("x-originating-ip" "…")`).
    ///
    /// # Panics
    /// When it does not start within 20 s.
    #[must_use]
    #[track_caller]
    pub fn start_with_trust(users: &[&str], backstop: &Path, socket: &Path, duration: &str) -> Self {
        let dir = TempDir::new("dovecot");
        let script = dir.write("backstop-trust", snippet::dovecot_script(backstop, socket, duration));
        chmod(&script, 0o755);
        let config = format!("{CONFIG}{LOGINS}{}", snippet::dovecot(&script));
        Self::start_with(dir, users, &config)
    }

    fn start_with(dir: TempDir, users: &[&str], config: &str) -> Self {
        let (imap_port, pop3_port) = (free_port(), free_port());
        let config = config
            .replace("{dir}", &dir.path().display().to_string())
            .replace("{imap}", &imap_port.to_string())
            .replace("{pop3}", &pop3_port.to_string());
        dir.write("dovecot.conf", config);
        run(Command::new("chown").arg("dovecot:").arg(dir.mkdir("mail")));
        let mut dovecot = Dovecot { master: None, imap_port, pop3_port, dir };
        dovecot.set_users(users);
        dovecot.start_again();
        dovecot
    }

    /// The port of 127.0.0.1 for IMAP, where that was asked for.
    #[must_use]
    pub fn imap_port(&self) -> u16 {
        self.imap_port
    }

    /// The port of 127.0.0.1 for POP3, where that was asked for.
    #[must_use]
    pub fn pop3_port(&self) -> u16 {
        self.pop3_port
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

const LOGINS: &str = "\
protocols = lmtp imap pop3
listen = 127.0.0.1
disable_plaintext_auth = no
login_trusted_networks = 127.0.0.0/8
service imap-login {
  inet_listener imap {
    port = {imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = {pop3}
  }
  inet_listener pop3s {
    port = 0
  }
}
";
