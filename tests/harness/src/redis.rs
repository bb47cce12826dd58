//! A private Redis: its own data, port, socket and log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::dir::TempDir;
use crate::ports::free_port;
use crate::postgres::write_certificate;
use crate::process::{Process, Signal, read_log, run};
use crate::wait::{tail, wait_until};

/// A running Redis that forgets everything when it is killed, unless it was told otherwise. It stops when dropped.
#[derive(Debug)]
pub struct Redis {
    server: Option<Process>,
    port: u16,
    is_secured: bool,
    dir: TempDir,
}

impl Redis {
    /// The password of a [`Redis::secured`] one, for its users `default` and `backstop`.
    pub const PASSWORD: &str = "s3cret/@:%?#";

    /// Starts one that anybody on this host may use, and waits until it answers.
    ///
    /// # Panics
    /// When it does not, or Redis is not installed.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::make(false, "")
    }

    /// The same with more lines in its redis.conf, such as `cluster-enabled yes`.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    #[track_caller]
    pub fn start_with(settings: &str) -> Self {
        Self::make(false, settings)
    }

    /// Starts one that speaks TLS only on its port, and wants a password. Its certificate names `localhost` and
    /// `127.0.0.1` and vouches for itself.
    ///
    /// # Panics
    /// When it does not answer, or Redis is not installed.
    #[must_use]
    #[track_caller]
    pub fn secured() -> Self {
        Self::make(true, "")
    }

    /// The URL, without a user and a database.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_secured { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }

    /// A file that holds the password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// The server's certificate, which is its own authority.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// Runs one command and returns what it answers, as redis-cli(1) shows it to programs.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-s").arg(self.socket()).arg("--raw");
        if self.is_secured {
            command.env("REDISCLI_AUTH", Self::PASSWORD);
        }
        let output = run(command.args(arguments));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends it at once, with all that it knows.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::KILL);
            server.wait_exit(Duration::from_secs(20));
        }
    }

    /// Starts it again after [`Redis::kill`], on the same port and with what it has kept.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn resume(&mut self) {
        let log = self.dir.join("log");
        let ready = |log: &Path| read_log(log).matches("Ready to accept connections").count();
        let before = ready(&log);
        let mut command = Command::new("redis-server");
        command.arg(self.dir.join("redis.conf")).current_dir(self.dir.path());
        let mut server = Process::spawn("Redis", &mut command, &log, Signal::TERM);
        wait_until(Duration::from_secs(20), "Redis to start", || {
            assert!(server.exited().is_none(), "Redis ended:\n{}", tail(&log));
            ready(&log) > before
        });
        self.server = Some(server);
    }

    /// Stops it where it is: it accepts connections, as the kernel does that, and never answers.
    pub fn freeze(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::STOP);
        }
    }

    /// Lets it go on after [`Redis::freeze`].
    pub fn thaw(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::CONT);
        }
    }

    #[track_caller]
    fn make(is_secured: bool, more: &str) -> Self {
        let dir = TempDir::new("redis");
        let port = free_port();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut settings = format!(
            "bind 127.0.0.1\nunixsocket {}\ndir {}\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n",
            path("redis.sock"),
            dir.path().display()
        );
        if is_secured {
            dir.write("password", format!("{}\n", Self::PASSWORD));
            write_certificate(&dir, "root:");
            settings += &format!(
                "port 0\ntls-port {port}\ntls-cert-file {0}\ntls-key-file {1}\ntls-ca-cert-file {0}\ntls-auth-clients no\n\
                 requirepass \"{2}\"\nuser backstop on >{2} ~* &* +@all\n",
                path("server.pem"),
                path("server.key"),
                Self::PASSWORD
            );
        } else {
            settings += &format!("port {port}\n");
        }
        settings += more;
        dir.write("redis.conf", settings);
        let mut redis = Self { server: None, port, is_secured, dir };
        redis.resume();
        redis
    }
}
