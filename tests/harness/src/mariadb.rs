//! A private MariaDB: its own data, port and log.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::dir::TempDir;
use crate::ports::free_port;
use crate::postgres::write_certificate;
use crate::process::{Process, Signal, run};
use crate::wait::{tail, wait_until};

/// A running MariaDB with the database `mail` and the user `backstop`, who may do anything there and whose password is
/// [`MariaDb::PASSWORD`]. It has TLS, with a certificate that names `localhost` and `127.0.0.1` and vouches for itself. It
/// stops when dropped.
#[derive(Debug)]
pub struct MariaDb {
    server: Option<Process>,
    port: u16,
    dir: TempDir,
}

impl MariaDb {
    /// The password of the user `backstop`. It has what a URL must not hold.
    pub const PASSWORD: &str = "s3cret/@:%?#";

    /// Makes the instance and waits until it answers.
    ///
    /// # Panics
    /// When it does not, or MariaDB is not installed.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let dir = TempDir::new("mariadb");
        run(Command::new("chown").arg("mysql:").arg(dir.path()));
        run(Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=mysql",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(format!("--datadir={}", dir.join("data").display()))
            // a server that starts removes the temporary tables of all that share their directory
            .arg(format!("--tmpdir={}", dir.path().display())));
        dir.write("password", format!("{}\n", Self::PASSWORD));
        write_certificate(&dir, "mysql:");
        let mut mariadb = Self { server: None, port: free_port(), dir };
        mariadb.resume();
        mariadb.admin(&format!(
            "create database mail character set utf8mb4; create user backstop@'%' identified by '{}'; \
             grant all on mail.* to backstop@'%'",
            Self::PASSWORD
        ));
        mariadb
    }

    /// The URL of the database, with these parameters (`?sslmode=…`) behind it. The password is in
    /// [`MariaDb::password_file`].
    #[must_use]
    pub fn url(&self, parameters: &str) -> String {
        format!("mysql://backstop@127.0.0.1:{}/mail{parameters}", self.port)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
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

    /// Runs statements, `;` between them, as root in the database `mail`, and returns what they give: a line for each row, a
    /// tabulator between columns.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        self.client(&["-D", "mail"], statements)
    }

    /// The same in no database, for settings of the server.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn admin(&self, statements: &str) -> String {
        self.client(&[], statements)
    }

    /// Ends it at once, and every connection with it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::KILL);
            server.wait_exit(Duration::from_secs(20));
        }
    }

    /// Starts it again after [`MariaDb::kill`], on the same port and with the same data.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn resume(&mut self) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.args(["--innodb-buffer-pool-size=16M"]);
        command.arg(format!("--datadir={}", path("data"))).arg(format!("--port={}", self.port));
        command.arg(format!("--tmpdir={}", self.dir.path().display()));
        command.arg(format!("--socket={}", path("socket"))).arg(format!("--pid-file={}", path("pid")));
        command
            .arg(format!("--ssl-cert={}", path("server.pem")))
            .arg(format!("--ssl-key={}", path("server.key")));
        let log = self.dir.join("log");
        let mut server = Process::spawn("MariaDB", &mut command, &log, Signal::KILL);
        wait_until(Duration::from_secs(30), "MariaDB to start", || {
            assert!(server.exited().is_none(), "MariaDB ended:\n{}", tail(&log));
            let mut ping = Command::new("mariadb-admin");
            let ping = ping
                .args(["--no-defaults", "--user=root", "ping"])
                .arg("--socket")
                .arg(self.dir.join("socket"));
            ping.output().expect("MariaDB's programs are installed").status.success()
        });
        self.server = Some(server);
    }

    /// Stops it where it is: it accepts connections, as the kernel does that, and never answers.
    pub fn freeze(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::STOP);
        }
    }

    /// Lets it go on after [`MariaDb::freeze`].
    pub fn thaw(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::CONT);
        }
    }

    #[track_caller]
    fn client(&self, options: &[&str], statements: &str) -> String {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        command.args(["--default-character-set=utf8mb4"]).arg("--socket").arg(self.socket());
        command.args(options).args(["-e", statements]);
        String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
    }
}
