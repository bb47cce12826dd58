//! A private PostgreSQL: its own data, port and log.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, kill_process};

use crate::dir::TempDir;
use crate::ports::free_port;
use crate::process::{Process, Signal, read_log, run};
use crate::wait::{tail, wait_until};

/// A running PostgreSQL with the database `mail`, which belongs to the user `backstop`, whose password is
/// [`Postgres::PASSWORD`]. It has TLS, with a certificate that names `localhost` and `127.0.0.1` and vouches for itself. It
/// stops when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Process>,
    programs: PathBuf,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    /// The password of the user `backstop`. It has what a URL must not hold.
    pub const PASSWORD: &str = "s3cret/@:%?#";

    /// Makes the instance and waits until it answers.
    ///
    /// # Panics
    /// When it does not, or PostgreSQL is not installed.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let programs = programs();
        let dir = TempDir::new("postgres");
        run(Command::new("chown").arg("postgres:").arg(dir.path()));
        let data = dir.join("data");
        run(as_postgres(&programs.join("initdb")).arg("-D").arg(&data).args([
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]));
        dir.write("password", format!("{}\n", Self::PASSWORD));
        write_certificate(&dir, "postgres:");
        let port = free_port();
        write_settings(&dir, port);
        let mut postgres = Self { server: None, programs, port, dir };
        postgres.resume();
        let role = format!("create role backstop login password '{}'", Self::PASSWORD);
        postgres.sql_as("postgres", "postgres", &[&role, "create database mail owner backstop"]);
        postgres
    }

    /// The URL of the database, with these parameters (`?sslmode=…`) behind it. The password is in
    /// [`Postgres::password_file`].
    #[must_use]
    pub fn url(&self, parameters: &str) -> String {
        format!("postgres://backstop@127.0.0.1:{}/mail{parameters}", self.port)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the unix socket, where no password is asked for.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.dir.path()
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

    /// Runs statements as the owner of the database, each by itself, and returns what they give: a line for each row, `|`
    /// between columns.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn sql(&self, statements: &[&str]) -> String {
        self.sql_as("backstop", "mail", statements)
    }

    /// The same as the superuser, for settings of the server.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn admin(&self, statements: &[&str]) -> String {
        self.sql_as("postgres", "mail", statements)
    }

    /// Ends it at once, and every connection with it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::QUIT);
            server.wait_exit(Duration::from_secs(20));
        }
    }

    /// Starts it again after [`Postgres::kill`], on the same port and with the same data.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn resume(&mut self) {
        let mut command = as_postgres(&self.programs.join("postgres"));
        command.arg("-D").arg(self.dir.join("data"));
        let log = self.dir.join("log");
        let ready = |log: &Path| read_log(log).matches("ready to accept connections").count();
        let before = ready(&log);
        let mut server = Process::spawn("PostgreSQL", &mut command, &log, Signal::QUIT);
        wait_until(Duration::from_secs(30), "PostgreSQL to start", || {
            assert!(server.exited().is_none(), "PostgreSQL ended:\n{}", tail(&log));
            ready(&log) > before
        });
        self.server = Some(server);
    }

    /// Stops all of its processes where they are: it accepts connections, as the kernel does that, and never answers.
    pub fn freeze(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::STOP);
            for child in children(server.pid()) {
                // one may have ended meanwhile
                let _ = kill_process(child, Signal::STOP);
            }
        }
    }

    /// Lets them go on after [`Postgres::freeze`].
    pub fn thaw(&mut self) {
        if let Some(server) = &mut self.server {
            for child in children(server.pid()) {
                let _ = kill_process(child, Signal::CONT);
            }
            server.signal(Signal::CONT);
        }
    }

    #[track_caller]
    fn sql_as(&self, user: &str, database: &str, statements: &[&str]) -> String {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-qXAt", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database]);
        command.arg("-h").arg(self.dir.path()).args(["-p", &self.port.to_string()]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.as_mut().is_some_and(|server| server.exited().is_none()) {
            self.thaw();
        }
    }
}

/// Adds what differs from the defaults; `alter system` wins over it.
fn write_settings(dir: &TempDir, port: u16) {
    let path = |name: &str| dir.join(name).display().to_string();
    let settings = format!(
        "\nlisten_addresses = '127.0.0.1, ::1'\nport = {port}\nunix_socket_directories = '{}'\n\
         fsync = off\nfull_page_writes = off\nmax_connections = 30\n\
         ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
        dir.path().display(),
        path("server.pem"),
        path("server.key")
    );
    let mut file =
        File::options().append(true).open(dir.join("data/postgresql.conf")).expect("initdb wrote it");
    file.write_all(settings.as_bytes()).expect("write PostgreSQL's settings");
}

/// Where the newest version that is installed has its programs; Debian puts only some of them on the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed").flatten();
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|version| version.path()).max_by_key(|path| number(path));
    newest.expect("a version of PostgreSQL is installed").join("bin")
}

/// PostgreSQL does not run as root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

/// The processes that a process has started: /proc/PID/task/TID/children (proc(5)).
fn children(pid: u32) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Writes `server.pem` and `server.key`: a certificate for this host that is its own authority. The key is for `owner` alone.
pub(crate) fn write_certificate(dir: &TempDir, owner: &str) {
    let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-days", "30", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    run(Command::new("chown").arg(owner).arg(&certificate).arg(&key));
    crate::dir::chmod(&key, 0o600);
    crate::dir::chmod(&certificate, 0o644);
}
