//! A private OpenLDAP server: its own configuration, database, certificate, socket and ports.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::authority::{Authority, Certificate};
use crate::dir::TempDir;
use crate::ldif::Administrator;
use crate::ports::{free_port, is_listening};
use crate::process::{Process, Signal, read_log, run};
use crate::wait::wait_until;

/// A slapd for `dc=example,dc=test`, with the empty `ou=people` and `ou=groups` below. It stops when dropped; if the test
/// is failing then, the end of its log is printed.
///
/// It knows the attributes and recipient classes of Active Directory and Exchange, keeps a session log for syncrepl (RFC
/// 4533), hands out no more than 500 entries at once to anybody but [`Slapd::READER`] (and pages of 1000 at most to him,
/// too), and logs every question. Root on its socket, and the bearer of [`Slapd::client_certificate`], are the reader by
/// SASL EXTERNAL.
#[derive(Debug)]
pub struct Slapd {
    process: Option<Process>,
    ports: Ports,
    authority: Authority,
    client: Certificate,
    administrator: Administrator,
    dir: TempDir,
}

/// How a [`Slapd`] is to be.
#[derive(Debug)]
pub struct SlapdBuilder {
    anonymous: &'static str,
    names: String,
    global: String,
    access: String,
    database: String,
    overlays: &'static str,
}

impl Slapd {
    /// The suffix.
    pub const BASE: &str = "dc=example,dc=test";
    /// Who may read everything, in any number.
    pub const READER: &str = "cn=reader,dc=example,dc=test";
    /// The password of the reader and of the administrator.
    pub const PASSWORD: &str = "secret";

    /// Begins to describe an instance.
    #[must_use]
    pub fn builder() -> SlapdBuilder {
        SlapdBuilder {
            anonymous: "auth",
            names: "DNS:localhost,IP:127.0.0.1".to_owned(),
            global: String::new(),
            access: String::new(),
            database: String::new(),
            overlays: "",
        }
    }

    /// An instance as it is by default.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// `ldap://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ports.plain)
    }

    /// The TCP port of [`Slapd::url`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// `ldaps://127.0.0.1:PORT`
    #[must_use]
    pub fn ldaps_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ports.tls)
    }

    /// `ldapi://`, with the percent-encoded path of the socket.
    #[must_use]
    pub fn ldapi_url(&self) -> String {
        self.administrator.url.clone()
    }

    /// The authority to trust, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// The certificate that proves to be the reader.
    #[must_use]
    pub fn client_certificate(&self) -> &Certificate {
        &self.client
    }

    /// A file with the reader's password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Adds entries.
    ///
    /// # Panics
    /// When slapd takes one not.
    #[track_caller]
    pub fn add(&self, ldif: &str) {
        self.administrator.apply(ldif);
    }

    /// Applies change records (RFC 2849).
    ///
    /// # Panics
    /// When slapd takes one not.
    #[track_caller]
    pub fn modify(&self, ldif: &str) {
        self.administrator.apply(ldif);
    }

    /// Removes an entry.
    ///
    /// # Panics
    /// When slapd does not.
    #[track_caller]
    pub fn delete(&self, dn: &str) {
        self.administrator.delete(dn);
    }

    /// Gives an entry the name `rdn` (`uid=new`) where it is.
    ///
    /// # Panics
    /// When slapd does not.
    #[track_caller]
    pub fn rename(&self, dn: &str, rdn: &str) {
        self.administrator.rename(dn, rdn);
    }

    /// Adds `count` people `uid=u000000,ou=people,…`, each with `mail: u000000@example.test` and the alias
    /// `a000000@example.test` as `mailAlternateAddress` and among the `proxyAddresses`. Stops and starts slapd, but is
    /// quick: a second or two for 100 000.
    ///
    /// # Panics
    /// When slapadd fails.
    #[track_caller]
    pub fn seed(&mut self, count: u32) {
        self.stop();
        let mut ldif = String::new();
        for index in 0..count {
            let entry = write!(
                ldif,
                "dn: uid=u{index:06},ou=people,{base}\nobjectClass: inetOrgPerson\nobjectClass: mailRecipient\n\
                 uid: u{index:06}\ncn: u{index:06}\nsn: u\nmail: u{index:06}@example.test\n\
                 mailAlternateAddress: a{index:06}@example.test\nproxyAddresses: SMTP:u{index:06}@example.test\n\
                 proxyAddresses: smtp:a{index:06}@example.test\n\n",
                base = Self::BASE,
            );
            entry.expect("a string takes everything");
        }
        self.slapadd(&ldif);
        self.restart();
    }

    /// Ends it, as an administrator does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Kills it: clients see their connections reset.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("slapd runs");
        process.signal(Signal::KILL);
        process.wait_exit(Duration::from_secs(10));
    }

    /// Starts it with the same ports and content, after its end if it still runs.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        let mut command = Command::new("slapd");
        let urls = format!("{} {} {}", self.url(), self.ldaps_url(), self.ldapi_url());
        command.arg("-f").arg(self.dir.join("slapd.conf")).args(["-h", &urls, "-d", "stats"]);
        let mut process = Process::spawn("slapd", &mut command, &self.dir.join("log"), Signal::TERM);
        wait_until(Duration::from_secs(20), "slapd to start", || {
            assert!(process.exited().is_none(), "slapd ended");
            is_listening(self.ports.plain) && self.administrator.is_answered()
        });
        self.process = Some(process);
    }

    /// A copy of its database as it is now, for [`Slapd::restore`]. Stops and starts it.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    #[track_caller]
    pub fn backup(&mut self) -> PathBuf {
        self.stop();
        let copy = self.dir.join("backup");
        run(Command::new("cp").arg("-a").arg(self.dir.join("db")).arg(&copy));
        self.restart();
        copy
    }

    /// Puts the copy in the place of its database, as after an accident. Stops and starts it.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn restore(&mut self, copy: &std::path::Path) {
        self.stop();
        run(Command::new("rm").arg("-r").arg(self.dir.join("db")));
        run(Command::new("cp").arg("-a").arg(copy).arg(self.dir.join("db")));
        self.restart();
    }

    /// Lets it hang: connections are taken (by the kernel) and never answered.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn pause(&mut self) {
        self.process.as_mut().expect("slapd runs").signal(Signal::STOP);
    }

    /// Lets it go on after [`Slapd::pause`].
    ///
    /// # Panics
    /// When it was stopped.
    pub fn resume(&mut self) {
        self.process.as_mut().expect("slapd runs").signal(Signal::CONT);
    }

    /// Everything logged so far, with the filter of each question.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.dir.join("log"))
    }

    fn slapadd(&self, ldif: &str) {
        let file = self.dir.write("seed.ldif", ldif);
        run(Command::new("slapadd").arg("-q").arg("-f").arg(self.dir.join("slapd.conf")).arg("-l").arg(file));
    }
}

impl SlapdBuilder {
    /// Lets anybody read.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = "read";
        self
    }

    /// Makes an entry with the class `errAuxObject` an error when it is found (slapo-retcode(5)): `errCode: 51` is busy, 52
    /// unavailable; `errSleepTime: 5` takes so many seconds.
    #[must_use]
    pub fn errors(mut self) -> Self {
        self.overlays = "overlay retcode\nretcode-parent \"ou=errors,dc=example,dc=test\"\nretcode-indir";
        if self.anonymous == "auth" {
            self.anonymous = "search"; // the overlay looks for such an entry before anybody has bound
        }
        self
    }

    /// Cuts connections on which nothing was asked for so many seconds.
    #[must_use]
    pub fn idle_timeout(self, seconds: u32) -> Self {
        self.global(&format!("idletimeout {seconds}"))
    }

    /// The names in the server's certificate (see [`Authority::certify`]) in place of `DNS:localhost,IP:127.0.0.1`.
    #[must_use]
    pub fn certified_for(mut self, names: &str) -> Self {
        names.clone_into(&mut self.names);
        self
    }

    /// Adds lines to the global part of slapd.conf(5).
    #[must_use]
    pub fn global(mut self, lines: &str) -> Self {
        self.global.push_str(lines);
        self.global.push('\n');
        self
    }

    /// Adds a rule (slapd.access(5)) before the others: `access to … by …`.
    #[must_use]
    pub fn access(mut self, rule: &str) -> Self {
        self.access.push_str(rule);
        self.access.push('\n');
        self
    }

    /// Adds lines to the database's part of slapd.conf(5), before its overlays.
    #[must_use]
    pub fn database(mut self, lines: &str) -> Self {
        self.database.push_str(lines);
        self.database.push('\n');
        self
    }

    /// Starts the instance and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Slapd {
        let dir = TempDir::new("slapd");
        let authority = Authority::new();
        let client = authority.certify("backstop", "DNS:backstop");
        let socket = dir.join("ldapi").display().to_string().replace('/', "%2F");
        let administrator = Administrator {
            url: format!("ldapi://{socket}"),
            ca: authority.file(),
            dn: format!("cn=admin,{}", Slapd::BASE),
            password: Slapd::PASSWORD.to_owned(),
        };
        dir.write("slapd.conf", self.configuration(&dir, &authority, &administrator));
        dir.write("backstop.schema", include_str!("backstop.schema"));
        dir.write("password", Slapd::PASSWORD);
        dir.mkdir("db");
        let ports = Ports { plain: free_port(), tls: free_port() };
        let mut slapd = Slapd { process: None, ports, authority, client, administrator, dir };
        slapd.slapadd(&fill(include_str!("base.ldif"), &[]));
        slapd.restart();
        slapd
    }

    fn configuration(&self, dir: &TempDir, authority: &Authority, administrator: &Administrator) -> String {
        let path = |path: PathBuf| path.display().to_string();
        let server = authority.certify("server", &self.names);
        fill(
            include_str!("slapd.conf"),
            &[
                ("{dir}", &dir.path().display().to_string()),
                ("{ca}", &path(authority.file())),
                ("{certificate}", &path(server.file)),
                ("{key}", &path(server.key)),
                ("{admin}", &administrator.dn),
                ("{anonymous}", self.anonymous),
                ("{global}", &self.global),
                ("{access}", &self.access),
                ("{database}", &self.database),
                ("{overlays}", self.overlays),
            ],
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    tls: u16,
}

/// Puts values in the places of their names.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let known = [("{base}", Slapd::BASE), ("{reader}", Slapd::READER), ("{password}", Slapd::PASSWORD)];
    known.iter().chain(values).fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}
