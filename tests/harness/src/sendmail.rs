//! A private Sendmail beside an installed Postfix: its packages are unpacked into `target/harness/sendmail` (by
//! `tests/install`), it has its own configuration, queue, log and port.
//!
//! It runs in a mount and a host-name namespace of its own, because it looks its host name up in /etc/hosts before it reads
//! its configuration, takes its SASL configuration from /usr/lib/sasl2 only, and logs to /dev/log.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::dir::{TempDir, chmod};
use crate::ports::{free_port, is_listening};
use crate::postfix::write_sasldb;
use crate::process::{Process, Signal, read_log, run};
use crate::snippet;
use crate::wait::{tail, wait_until};

/// A running Sendmail. It stops when dropped; if the test is failing then, the end of its log is printed.
///
/// By default it is `mx2.example.test`, relays for `example.test` without knowing the recipients, and sends everything it
/// accepts to [`SendmailBuilder::next_hop`].
#[derive(Debug)]
pub struct Sendmail {
    port: u16,
    daemon: Process,
    dir: TempDir,
}

/// How a [`Sendmail`] is to be.
#[derive(Debug)]
pub struct SendmailBuilder {
    lines: String,
    milter: Option<String>,
    milter_timeouts: Option<String>,
    relay_domains: Vec<String>,
    next_hop: u16,
    dir: TempDir,
}

impl Sendmail {
    /// Begins to describe an instance.
    #[must_use]
    pub fn builder() -> SendmailBuilder {
        SendmailBuilder {
            lines: String::new(),
            milter: None,
            milter_timeouts: None,
            relay_domains: vec!["example.test".to_owned()],
            next_hop: 1, // nothing listens there
            dir: TempDir::new("sendmail"),
        }
    }

    /// The port of 127.0.0.1 and ::1 on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address on ::1.
    #[must_use]
    pub fn ipv6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.port).into()
    }

    /// Its address on 127.0.0.1.
    #[must_use]
    pub fn ipv4(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How many messages are in the queue.
    ///
    /// # Panics
    /// When the queue's directory cannot be read.
    #[must_use]
    pub fn queue(&self) -> usize {
        let files = std::fs::read_dir(self.dir.join("mqueue")).expect("read the queue's directory");
        // one qf file a message; a df file holds its body
        files
            .filter(|file| {
                file.as_ref().is_ok_and(|file| file.file_name().as_encoded_bytes().starts_with(b"qf"))
            })
            .count()
    }

    /// Waits until the queue is empty.
    ///
    /// # Panics
    /// When it is not after a minute.
    #[track_caller]
    pub fn wait_for_empty_queue(&self) {
        wait_until(Duration::from_secs(60), "an empty Sendmail queue", || self.queue() == 0);
    }

    /// Everything logged so far.
    #[must_use]
    pub fn maillog(&self) -> String {
        read_log(&self.dir.join("maillog"))
    }

    /// Waits until the log holds `text`.
    ///
    /// # Panics
    /// When it does not after half a minute.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let what = format!("{text:?} in Sendmail's log");
        wait_until(Duration::from_secs(30), &what, || self.maillog().contains(text));
    }

    /// The directory of its configuration: `sendmail.mc`, `sendmail.cf` and the files given to
    /// [`SendmailBuilder::file`].
    #[must_use]
    pub fn config_directory(&self) -> PathBuf {
        self.dir.join("mc")
    }

    /// The sendmail program with this instance's sendmail.cf, for `-bt` and the like; outside of its namespaces.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg(format!("-C{}", self.dir.join("mc/sendmail.cf").display())).args(args);
        command
    }
}

impl Drop for Sendmail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of Sendmail's log:\n{}\n---", tail(&self.dir.join("maillog")));
        }
    }
}

impl SendmailBuilder {
    /// Adds lines to sendmail.mc, before the mailers. `{dir}` becomes the directory of the files given to
    /// [`SendmailBuilder::file`].
    #[must_use]
    pub fn mc(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }

    /// Writes a file into the configuration directory.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        self.dir.write(&format!("mc/{name}"), content);
        self
    }

    /// Relays for these domains too, without knowing the recipients.
    #[must_use]
    pub fn relay_domains(mut self, domains: &[&str]) -> Self {
        self.relay_domains.extend(domains.iter().map(|domain| (*domain).to_owned()));
        self
    }

    /// Asks the milter at `address` (`inet:PORT@127.0.0.1`, `unix:/path`), with the lines of
    /// `deploy/sendmail/sendmail.mc.snippet`.
    #[must_use]
    pub fn milter(mut self, address: &str) -> Self {
        self.milter = Some(address.to_owned());
        self
    }

    /// Puts other time-outs in the snippet, e.g. `C:1s;S:2s;R:2s;E:5s`.
    #[must_use]
    pub fn milter_timeouts(mut self, timeouts: &str) -> Self {
        self.milter_timeouts = Some(timeouts.to_owned());
        self
    }

    /// Sends all accepted mail, in any domain, to this port of 127.0.0.1.
    #[must_use]
    pub fn next_hop(mut self, port: u16) -> Self {
        self.next_hop = port;
        self
    }

    /// Only writes its configuration: `mc/sendmail.cf` in the directory.
    ///
    /// # Panics
    /// When m4 does not take it.
    #[must_use]
    #[track_caller]
    pub fn configure(self) -> TempDir {
        self.write_cf(1);
        self.dir
    }

    /// Starts the instance and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Sendmail {
        let port = free_port();
        self.write_cf(port);
        let dir = self.dir;
        dir.mkdir("mqueue");
        chmod(&dir.join("mqueue"), 0o700);
        write_private_etc(&dir);
        receive_log(&dir);

        let mut command = Command::new("unshare");
        command.args(["--uts", "--mount", "--", "sh", "-euc", IN_NAMESPACE, "sh"]);
        command.arg(dir.path()).arg(program());
        let daemon = Process::spawn("Sendmail", &mut command, &dir.join("output"), Signal::TERM);
        let mut sendmail = Sendmail { port, daemon, dir };
        wait_until(Duration::from_secs(20), "Sendmail to start", || {
            assert!(sendmail.daemon.exited().is_none(), "Sendmail ended");
            is_listening(port)
        });
        sendmail
    }

    fn write_cf(&self, port: u16) {
        let dir = self.dir.path().display().to_string();
        let relay: String =
            self.relay_domains.iter().map(|domain| format!("RELAY_DOMAIN(`{domain}')dnl\n")).collect();
        let milter =
            self.milter.as_ref().map(|address| snippet::sendmail(address, self.milter_timeouts.as_deref()));
        let text = SENDMAIL_MC
            .replace("{relay}", &relay)
            .replace("{milter}", &milter.unwrap_or_default())
            .replace("{lines}", &self.lines.replace("{dir}", &format!("{dir}/mc")))
            .replace("{dir}", &dir)
            .replace("{port}", &port.to_string())
            .replace("{next_hop}", &self.next_hop.to_string());
        let mc = self.dir.write("mc/sendmail.mc", text);
        let cf_dir = root().join("usr/share/sendmail/cf");
        let output = run(Command::new("m4")
            .arg(format!("-D_CF_DIR_={}/", cf_dir.display()))
            .arg(cf_dir.join("m4/cf.m4"))
            .arg(mc));
        self.dir.write("mc/sendmail.cf", output.stdout);
    }
}

/// What Sendmail finds in its namespace in place of files of /etc and /usr/lib/sasl2.
fn write_private_etc(dir: &TempDir) {
    dir.write("mc/service.switch", "hosts files\naliases files\npasswd files\n");
    if !dir.join("mc/local-host-names").exists() {
        dir.write("mc/local-host-names", "mx2.example.test\n");
    }
    dir.write(
        "etc/hosts",
        "127.0.0.1 localhost mx2.example.test\n::1 ip6-localhost\n127.0.0.9 client9.elsewhere.test\n",
    );
    dir.write("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    let database = dir.mkdir("sasl2").join("sasldb2");
    write_sasldb(&database, "example.test");
    chmod(&database, 0o600);
    dir.write(
        "sasl2/Sendmail.conf",
        format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {}\n",
            database.display()
        ),
    );
}

/// Stands in for syslogd: appends what arrives on the socket that becomes /dev/log to `maillog`, until the test ends.
fn receive_log(dir: &TempDir) {
    dir.mkdir("dev");
    let socket = UnixDatagram::bind(dir.join("dev/log")).expect("bind Sendmail's /dev/log");
    chmod(&dir.join("dev/log"), 0o666);
    let path = dir.join("maillog");
    std::thread::spawn(move || {
        use std::io::Write;
        let mut file = std::fs::File::create(path).expect("create Sendmail's log");
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = socket.recv(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            let line = line.trim_end_matches(['\0', '\n']);
            let line =
                line.strip_prefix('<').and_then(|line| line.split_once('>')).map_or(line, |(_, line)| line);
            let _ = writeln!(file, "{line}"); // the directory may be gone while the last lines come in
        }
    });
}

fn root() -> PathBuf {
    let root = snippet::repository("target/harness/sendmail");
    let root = root.canonicalize().unwrap_or(root);
    assert!(root.join(".complete").exists(), "{} is missing: run tests/install", root.display());
    root
}

fn program() -> PathBuf {
    Path::new(&root()).join("usr/libexec/sendmail/sendmail")
}

/// `$1` is the instance's directory, `$2` the program. /dev is a new one with the few devices that Sendmail opens, so that
/// /dev/log can be there whether the host has one or not.
const IN_NAMESPACE: &str = r#"
hostname mx2.example.test
mount --bind "$1/etc/hosts" /etc/hosts
mount --bind "$1/etc/resolv.conf" /etc/resolv.conf
mkdir -p /usr/lib/sasl2
mount --bind "$1/sasl2" /usr/lib/sasl2
for device in null zero random urandom; do
  : >"$1/dev/$device"
  mount --bind "/dev/$device" "$1/dev/$device"
done
mount --rbind "$1/dev" /dev
exec "$2" -C"$1/mc/sendmail.cf" -bD -q10s
"#;

const SENDMAIL_MC: &str = r"divert(0)dnl
VERSIONID(`harness')dnl
OSTYPE(`linux')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
define(`confDOMAIN_NAME', `mx2.example.test')dnl
define(`confCW_FILE', `{dir}/mc/local-host-names')dnl
define(`QUEUE_DIR', `{dir}/mqueue')dnl
define(`confPID_FILE', `{dir}/sendmail.pid')dnl
define(`STATUS_FILE', `{dir}/mc/statistics')dnl
define(`HELP_FILE', `{dir}/mc/helpfile')dnl
define(`ALIAS_FILE', `')dnl
define(`confSERVICE_SWITCH_FILE', `{dir}/mc/service.switch')dnl
define(`confHOSTS_FILE', `/etc/hosts')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_IDENT', `0')dnl
define(`confTO_ICONNECT', `5s')dnl
define(`confDEF_USER_ID', `mail:mail')dnl
define(`confPRIVACY_FLAGS', `authwarnings')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confDELAY_LA', `0')dnl
define(`confBAD_RCPT_THROTTLE', `0')dnl
define(`confMAX_DAEMON_CHILDREN', `100')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confMILTER_LOG_LEVEL', `9')dnl
define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl
define(`confAUTH_REALM', `example.test')dnl
TRUST_AUTH_MECH(`PLAIN LOGIN')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`no_default_msa')dnl
{relay}define(`SMTP_MAILER_ARGS', `TCP $h {next_hop}')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {next_hop}')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {next_hop}')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}')dnl
DAEMON_OPTIONS(`Name=MTA6, Family=inet6, Addr=::1, Port={port}')dnl
{milter}{lines}MAILER(`local')dnl
MAILER(`smtp')dnl
";
