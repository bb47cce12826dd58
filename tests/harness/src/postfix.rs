//! A private Postfix: its own configuration, queue, log and ports; nothing under /etc/postfix is read for mail.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::dir::{TempDir, chmod};
use crate::ports::{free_port, is_listening};
use crate::process::{Process, Signal, read_log, run};
use crate::wait::{tail, wait_until};
use crate::{SASL_PASSWORD, SASL_USER, snippet};

/// A running Postfix. It stops when dropped; if the test is failing then, the end of its log is printed.
///
/// By default it is `mx.example.test`, relays for `example.test` without knowing the recipients, lets XCLIENT claim any
/// client address, and sends everything it accepts to [`PostfixBuilder::next_hop`] (port 1, where nothing listens).
#[derive(Debug)]
pub struct Postfix {
    port: u16,
    submission_port: Option<u16>,
    master: Process,
    dir: TempDir,
}

/// How a [`Postfix`] is to be.
#[derive(Debug)]
pub struct PostfixBuilder {
    settings: BTreeMap<String, String>,
    services: Vec<String>,
    submission: bool,
    dir: TempDir,
}

/// A message in Postfix' queue, as `postqueue -j` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The queue's name: `active`, `deferred`, `incoming`, `hold`.
    pub queue: String,
    /// The queue id.
    pub id: String,
    /// The envelope sender, `MAILER-DAEMON` for a bounce.
    pub sender: String,
    /// The recipients that are still to be served, and why they are not yet (may be empty).
    pub recipients: Vec<(String, String)>,
}

impl Postfix {
    /// Begins to describe an instance.
    #[must_use]
    pub fn builder() -> PostfixBuilder {
        PostfixBuilder {
            settings: BTreeMap::new(),
            services: Vec::new(),
            submission: false,
            dir: TempDir::new("postfix"),
        }
    }

    /// The port of 127.0.0.1 on which smtpd listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the submission service.
    ///
    /// # Panics
    /// When it was not asked for.
    #[must_use]
    pub fn submission_port(&self) -> u16 {
        self.submission_port.expect("the test asked for .submission()")
    }

    /// The process of the master, of whom all others of Postfix are children.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.master.pid()
    }

    /// The configuration directory, for programs of Postfix (`-c`) and for `MAIL_CONFIG`.
    #[must_use]
    pub fn config_directory(&self) -> PathBuf {
        self.dir.join("conf")
    }

    /// Replaces a file of the configuration directory (a map; a change in main.cf needs [`Postfix::reload`]).
    pub fn write(&self, name: &str, content: &str) {
        self.dir.write_backdated(&format!("conf/{name}"), content);
    }

    /// What is in the queue.
    ///
    /// # Panics
    /// When postqueue fails.
    #[must_use]
    pub fn queue(&self) -> Vec<Queued> {
        let output = run(&mut self.command("postqueue", &["-j"]));
        let text = String::from_utf8_lossy(&output.stdout);
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text.lines()
            .map(|line| {
                let entry: Value = serde_json::from_str(line).expect("postqueue -j prints JSON");
                let recipients = entry["recipients"].as_array().into_iter().flatten();
                Queued {
                    queue: string(&entry["queue_name"]),
                    id: string(&entry["queue_id"]),
                    sender: string(&entry["sender"]),
                    recipients: recipients
                        .map(|recipient| (string(&recipient["address"]), string(&recipient["delay_reason"])))
                        .collect(),
                }
            })
            .collect()
    }

    /// Waits until the queue is empty: whatever was accepted has been delivered, bounced or dropped.
    ///
    /// # Panics
    /// When it is not after a minute.
    #[track_caller]
    pub fn wait_for_empty_queue(&self) {
        wait_until(Duration::from_secs(60), "an empty Postfix queue", || self.queue().is_empty());
    }

    /// Submits a message on this host, as a user's program does: `sendmail -f from rcpts…` (postdrop, pickup; no smtpd).
    ///
    /// # Panics
    /// When the program fails.
    pub fn sendmail(&self, from: &str, rcpts: &[&str], message: &str) {
        let mut command = Command::new("/usr/sbin/sendmail");
        command.env("MAIL_CONFIG", self.config_directory()).args(["-i", "-f", from]).args(rcpts);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("start Postfix' sendmail");
        let mut stdin = child.stdin.take().expect("standard input is piped");
        stdin.write_all(message.as_bytes()).expect("hand the message over");
        drop(stdin);
        let output = child.wait_with_output().expect("wait for Postfix' sendmail");
        assert!(output.status.success(), "sendmail: {}", String::from_utf8_lossy(&output.stderr));
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
        let what = format!("{text:?} in Postfix' log");
        wait_until(Duration::from_secs(30), &what, || self.maillog().contains(text));
    }

    /// Makes Postfix read main.cf and master.cf again. A process that is there already may serve one more client as it was.
    ///
    /// # Panics
    /// When it does not.
    pub fn reload(&mut self) {
        let reloads = |log: String| log.matches("reload -- version").count();
        let before = reloads(self.maillog());
        self.master.signal(Signal::HUP);
        wait_until(Duration::from_secs(10), "Postfix' reload", || reloads(self.maillog()) > before);
    }

    /// A program of Postfix, working on this instance.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.config_directory()).args(args);
        command
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of Postfix' log:\n{}\n---", tail(&self.dir.join("maillog")));
        }
    }
}

impl PostfixBuilder {
    /// Adds lines to main.cf (`name = value`); they win over what was there. `$config_directory` names the directory of
    /// the files given to [`PostfixBuilder::file`].
    ///
    /// # Panics
    /// When a line has no `=`.
    #[must_use]
    pub fn main(mut self, lines: &str) -> Self {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("not a setting: {line}"));
            self.settings.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        self
    }

    /// Adds lines to master.cf; a service of the same name and type is replaced.
    #[must_use]
    pub fn master(mut self, lines: &str) -> Self {
        self.services.push(lines.to_owned());
        self
    }

    /// Writes a file into the configuration directory.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        self.dir.write_backdated(&format!("conf/{name}"), content);
        self
    }

    /// Writes a map into the configuration directory and indexes it with postmap: `hash:$config_directory/virtual`.
    ///
    /// # Panics
    /// When postmap fails.
    #[must_use]
    pub fn map(self, kind: &str, name: &str, content: &str) -> Self {
        let path = self.dir.write_backdated(&format!("conf/{name}"), content);
        self.dir.write_backdated("conf/main.cf", "compatibility_level = 3.6\n");
        run(Command::new("postmap")
            .arg("-c")
            .arg(self.dir.join("conf"))
            .arg(format!("{kind}:{}", path.display())));
        self
    }

    /// Asks the milter at `address` (`inet:127.0.0.1:PORT`, `unix:/path`), with the lines of
    /// `deploy/postfix/main.cf.snippet`.
    #[must_use]
    pub fn milter(mut self, address: &str) -> Self {
        self.settings.extend(snippet::postfix(address));
        self
    }

    /// Sends all accepted mail, in any domain, to this port of 127.0.0.1.
    #[must_use]
    pub fn next_hop(self, port: u16) -> Self {
        self.main(&format!(
            "relay_transport = smtp:[127.0.0.1]:{port}\ndefault_transport = smtp:[127.0.0.1]:{port}"
        ))
    }

    /// Opens a submission service on a port of its own: authenticated users only, may send anywhere.
    #[must_use]
    pub fn submission(mut self) -> Self {
        self.submission = true;
        self
    }

    /// Starts the instance and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Postfix {
        let PostfixBuilder { settings, services, submission, dir } = self;
        let port = free_port();
        let submission_port = submission.then(free_port);
        let daemon_directory = run(Command::new("postconf").args(["-dh", "daemon_directory"])).stdout;
        let daemon_directory = String::from_utf8_lossy(&daemon_directory).trim().to_owned();

        write_main_cf(&dir, &daemon_directory, &settings);
        write_master_cf(&dir, port, submission_port, &services);
        write_sasl(&dir);
        dir.mkdir("queue");
        let data = dir.mkdir("data");
        run(Command::new("chown").arg("postfix:").arg(&data));
        let conf = dir.join("conf");
        run(Command::new("postfix").arg("-c").arg(&conf).arg("check")); // makes the queue's directories

        let mut command = Command::new(Path::new(&daemon_directory).join("master"));
        command.arg("-c").arg(&conf).arg("-s");
        let master = Process::spawn("Postfix", &mut command, &dir.join("output"), Signal::TERM);
        let mut postfix = Postfix { port, submission_port, master, dir };
        wait_until(Duration::from_secs(20), "Postfix to start", || {
            assert!(postfix.master.exited().is_none(), "Postfix' master ended");
            postfix.maillog().contains("daemon started") && is_listening(port)
        });
        postfix
    }
}

fn write_main_cf(dir: &TempDir, daemon_directory: &str, settings: &BTreeMap<String, String>) {
    let base = MAIN_CF
        .replace("{dir}", &dir.path().display().to_string())
        .replace("{daemon_directory}", daemon_directory);
    let mut text = String::new();
    for line in base.lines() {
        let name = line.split_once('=').map_or("", |(name, _)| name.trim());
        if !settings.contains_key(name) {
            text.push_str(line);
            text.push('\n');
        }
    }
    for (name, value) in settings {
        text.push_str(&format!("{name} = {value}\n"));
    }
    dir.write_backdated("conf/main.cf", text);
}

fn write_master_cf(dir: &TempDir, port: u16, submission_port: Option<u16>, services: &[String]) {
    let mut text = format!("127.0.0.1:{port} inet n - n - - smtpd\n{MASTER_CF}");
    if let Some(port) = submission_port {
        text.push_str(&format!("127.0.0.1:{port} inet n - n - - smtpd{SUBMISSION}\n"));
    }
    for lines in services {
        // a service is its first two fields; master(5) refuses it twice
        let key = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
        let new = key(lines);
        let kept: Vec<&str> = text.lines().filter(|line| key(line) != new).collect();
        text = format!("{}\n{}\n", kept.join("\n"), lines.trim_end());
    }
    dir.write_backdated("conf/master.cf", text);
}

/// Cyrus SASL with one user in a private database. Debian's Postfix reads its configuration from here.
fn write_sasl(dir: &TempDir) {
    let database = dir.mkdir("conf/sasl").join("sasldb2");
    write_sasldb(&database, "example.test");
    run(Command::new("chown").arg("root:postfix").arg(&database));
    chmod(&database, 0o640);
    dir.write_backdated(
        "conf/sasl/smtpd.conf",
        format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {}\n",
            database.display()
        ),
    );
}

/// Makes a Cyrus SASL database with the harness' one user.
pub(crate) fn write_sasldb(database: &Path, realm: &str) {
    let mut command = Command::new("saslpasswd2");
    command.args(["-p", "-c", "-f"]).arg(database).args(["-u", realm, SASL_USER]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start saslpasswd2");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(SASL_PASSWORD.as_bytes()).expect("hand the password over");
    drop(stdin);
    assert!(child.wait().expect("wait for saslpasswd2").success(), "saslpasswd2 failed");
}

const MAIN_CF: &str = "\
compatibility_level = 3.6
config_directory = {dir}/conf
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = {daemon_directory}
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
myhostname = mx.example.test
mydomain = example.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = all
alias_maps =
alias_database =
local_recipient_maps =
relay_domains = example.test
relay_recipient_maps =
relay_transport = smtp:[127.0.0.1]:1
default_transport = smtp:[127.0.0.1]:1
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
smtp_tls_session_cache_database =
smtpd_tls_session_cache_database =
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions = static:all
smtpd_error_sleep_time = 0
in_flow_delay = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 10000
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = example.test
smtpd_sasl_security_options = noanonymous
smtputf8_enable = yes
";

const MASTER_CF: &str = "\
pickup    unix  n - n 1 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
local     unix  - n n - - local
virtual   unix  - n n - - virtual
lmtp      unix  - - n - - lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
";

const SUBMISSION: &str = "
  -o syslog_name=postfix/submission
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o milter_macro_daemon_name=ORIGINATING";
