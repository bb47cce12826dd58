//! The program under test, run as its users run it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::dir::TempDir;
use crate::process::{Process, Signal};
use crate::wait::wait_until;

/// A running `backstop serve`. It is killed when dropped; if the test is failing then, the end of its log is printed.
#[derive(Debug)]
pub struct Backstop {
    process: Process,
    program: PathBuf,
    env: Vec<(String, String)>,
    config: Option<PathBuf>,
    milter: String,
    http_port: u16,
    dir: TempDir,
}

/// How a [`Backstop`] is to be.
#[derive(Debug)]
pub struct BackstopBuilder {
    program: PathBuf,
    env: Vec<(String, String)>,
    args: Vec<String>,
    launcher: Vec<String>,
    config: Option<PathBuf>,
    dir: TempDir,
    within: Duration,
}

/// What a `backstop` command printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The exit status, e.g. 0, 1, 2 or one of sysexits(3).
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Backstop {
    /// Begins to describe an instance of `program`, the value of `env!("CARGO_BIN_EXE_backstop")`.
    ///
    /// It listens on ports of its own choice, and has its control sockets and its store in its own directory.
    #[must_use]
    pub fn builder(program: &str) -> BackstopBuilder {
        let dir = TempDir::new("milter");
        let socket = dir.join("control.sock").display().to_string();
        let trust_socket = dir.join("trust.sock").display().to_string();
        let store = format!("embedded:{}", dir.join("store").display());
        let env = [
            ("BACKSTOP__LISTEN", r#"["inet:127.0.0.1:0"]"#),
            ("BACKSTOP__HTTP__LISTEN", "127.0.0.1:0"),
            ("BACKSTOP__CONTROL__SOCKET", &socket),
            ("BACKSTOP__CONTROL__TRUST_SOCKET", &trust_socket),
            ("BACKSTOP__STORE__URL", &store),
            // Nobody is there: no test depends on what the world's DNS says.
            ("BACKSTOP__CLIENT__RESOLVER", "127.0.0.1:9"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        BackstopBuilder {
            program: program.into(),
            env,
            args: Vec::new(),
            launcher: Vec::new(),
            config: None,
            dir,
            within: Duration::from_secs(20),
        }
    }

    /// The milter's address as Postfix writes it: `inet:127.0.0.1:PORT` or `unix:/path`.
    #[must_use]
    pub fn for_postfix(&self) -> String {
        self.milter.replacen("inet6:", "inet:", 1)
    }

    /// The milter's address as Sendmail writes it: `inet:PORT@127.0.0.1`, `inet6:PORT@::1` or `unix:/path`.
    #[must_use]
    pub fn for_sendmail(&self) -> String {
        match self.milter.split_once(':').and_then(|(kind, rest)| Some((kind, rest.rsplit_once(':')?))) {
            Some((kind @ ("inet" | "inet6"), (host, port))) => {
                // Sendmail 8.17 can't connect to an IPv6 address in brackets.
                format!("{kind}:{port}@{}", host.trim_matches(['[', ']']))
            }
            _ => self.milter.clone(),
        }
    }

    /// The milter's TCP port.
    ///
    /// # Panics
    /// When it listens on a unix socket.
    #[must_use]
    pub fn milter_port(&self) -> u16 {
        let port = self.milter.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} has no port", self.milter))
    }

    /// The port of the metrics and health pages.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Gets a page and returns status and body.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    #[track_caller]
    pub fn http(&self, path: &str) -> (u16, String) {
        http_get(self.http_port, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Gets a page whose status must be 200.
    ///
    /// # Panics
    /// When there is another or no answer.
    #[must_use]
    #[track_caller]
    pub fn http_get(&self, path: &str) -> String {
        let (status, body) = self.http(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// The sum of a metric over all of its series that have these labels; 0 when there is none.
    ///
    /// `metric("backstop_decisions_total", &[("reason", "ok")])`
    ///
    /// # Panics
    /// When the metrics cannot be had.
    #[must_use]
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        series(&self.http_get("/metrics"), name, labels).map(|(_, value)| value).sum()
    }

    /// As [`Backstop::metric`], summed for each value of the label `by`; without those whose sum is 0.
    ///
    /// # Panics
    /// When the metrics cannot be had.
    #[must_use]
    #[track_caller]
    pub fn metric_by(&self, name: &str, labels: &[(&str, &str)], by: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in series(&self.http_get("/metrics"), name, labels) {
            *sums.entry(labels.get(by).copied().unwrap_or_default().to_owned()).or_default() += value;
        }
        sums.retain(|_, sum| *sum != 0.0);
        sums
    }

    /// Runs another `backstop` command against this instance: with its configuration file and environment.
    ///
    /// # Panics
    /// When it cannot be started, or dies of a signal.
    #[must_use]
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> CommandOutput {
        CommandOutput::of(&mut self.prepare(args))
    }

    /// Such a command, to be run otherwise.
    #[must_use]
    pub fn prepare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// `backstop() { … }` for a shell, so that what the docs show can be run as it stands.
    #[must_use]
    pub fn shell_function(&self) -> String {
        let command = self.prepare(&[]);
        let quoted = |text: &OsStr| format!("'{}'", text.to_string_lossy());
        let args: Vec<String> = command.get_args().map(quoted).collect();
        let env: Vec<String> = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))))
            .collect();
        let program = quoted(command.get_program());
        format!("backstop() {{ env {} {program} \"$@\" {}; }}\n", env.join(" "), args.join(" "))
    }

    /// Replaces a file of the instance's directory at once.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        self.dir.write(name, content)
    }

    /// The path of a file in the instance's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Everything logged so far. A line about an answer is written right behind it: for that there is some time.
    #[must_use]
    pub fn log(&self) -> String {
        std::thread::sleep(Duration::from_millis(50));
        self.process.log()
    }

    /// Waits until the log holds `text`.
    ///
    /// # Panics
    /// When it does not after half a minute.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let what = format!("{text:?} in backstop's log");
        wait_until(Duration::from_secs(30), &what, || self.log().contains(text));
    }

    /// The process' id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The exit status, if the process has ended.
    #[must_use]
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Waits for the end of the process, half a minute at most.
    ///
    /// # Panics
    /// When it goes on.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.process.wait_exit(Duration::from_secs(30))
    }
}

impl BackstopBuilder {
    /// Gives it a configuration file, `backstop.toml` in its directory. `{dir}` in the text becomes that directory.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        let text = toml.replace("{dir}", &self.dir.path().display().to_string());
        self.config = Some(self.dir.write("backstop.toml", text));
        self
    }

    /// Writes a file into its directory, one that has lain there for a minute: Backstop waits until a file is left alone.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        self.dir.write_backdated(name, content);
        self
    }

    /// Listens here in place of `inet:127.0.0.1:0`; `{dir}` becomes its directory: `unix:{dir}/milter.sock`.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        let address = address.replace("{dir}", &self.dir.path().display().to_string());
        self.env("BACKSTOP__LISTEN", &format!("[\"{address}\"]"))
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// It says where it listens within this time; 20 s unless this is called.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Adds arguments to `backstop serve`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Has `bash` run this before the program takes its place, e.g. `ulimit -n 64`. The program and its arguments are `"$@"`.
    #[must_use]
    pub fn after(mut self, script: &str) -> Self {
        let script = format!("{script}\nexec \"$@\"");
        self.launcher = vec!["bash".to_owned(), "-ec".to_owned(), script, "bash".to_owned()];
        self
    }

    /// Runs it as this user, who owns its directory, in place of root.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        // Others may not enter the directory that the program is built in.
        let program = self.path("program");
        fs::copy(&self.program, &program).expect("there is room");
        chown(self.dir.path(), Some(id), Some(id)).expect("root may");
        self.program = program;
        self.after(&format!("set -- setpriv --reuid={id} --regid={id} --clear-groups \"$@\""))
    }

    /// The path of a file in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts it and waits until its log says where the milter and the metrics are.
    ///
    /// # Panics
    /// When it ends, or does not say so in time.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Backstop {
        let BackstopBuilder { program, env, args, launcher, config, dir, within } = self;
        let mut words = launcher.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("the program is there"));
        command
            .args(words)
            .arg("serve")
            .args(&args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.path());
        if let Some(config) = &config {
            command.arg("--config").arg(config);
        }
        let mut process = Process::spawn("backstop", &mut command, &dir.join("log"), Signal::KILL);
        let (mut milter, mut http_port) = (None, None);
        wait_until(within, "backstop to say where it listens", || {
            if let Some(status) = process.exited() {
                panic!("backstop ended: {status}");
            }
            (milter, http_port) = listeners(&process.log());
            milter.is_some() && http_port.is_some()
        });
        let milter = milter.expect("waited for it");
        let http_port = http_port.expect("waited for it");
        Backstop { process, program, env, config, milter, http_port, dir }
    }
}

impl CommandOutput {
    /// Runs the command to its end.
    ///
    /// # Panics
    /// When it cannot be started, or dies of a signal.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        CommandOutput {
            status: output.status.code().unwrap_or_else(|| panic!("{command:?}: {}", output.status)),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// The first milter address and the HTTP port in a log whose lines are like `… listening … address=inet:127.0.0.1:4711` and
/// `… listening … address=http://127.0.0.1:4712`.
fn listeners(log: &str) -> (Option<String>, Option<u16>) {
    let (mut milter, mut http) = (None, None);
    for line in log.lines().filter(|line| line.contains("listening")) {
        let Some(address) = line.split_whitespace().find_map(|field| field.strip_prefix("address=")) else {
            continue;
        };
        if let Some(host) = address.strip_prefix("http://") {
            http = host.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        } else if milter.is_none() {
            milter = Some(address.to_owned());
        }
    }
    (milter, http)
}

pub(crate) fn http_get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let bad = || {
        std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not an HTTP response: {response:?}"))
    };
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

/// The series of the Prometheus text format that have this name and at least these labels: all of their labels, and the
/// value.
fn series<'a>(
    page: &'a str,
    name: &'a str,
    labels: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = (BTreeMap<&'a str, &'a str>, f64)> {
    page.lines().filter_map(move |line| {
        let (this, value) = line.rsplit_once(' ')?;
        let (this, rest) = this.split_once('{').unwrap_or((this, ""));
        let pairs = rest.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let pairs: BTreeMap<&str, &str> =
            pairs.map(|(label, value)| (label, value.trim_matches('"'))).collect();
        let fits = this == name && labels.iter().all(|(label, value)| pairs.get(label) == Some(value));
        fits.then(|| value.parse().ok()).flatten().map(|value| (pairs, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_addresses_are_read_from_the_log() {
        let log = "2026-01-01T00:00:00Z  INFO backstop::server: listening address=inet:127.0.0.1:4711\n\
                   2026-01-01T00:00:00Z  INFO backstop::http: listening address=http://127.0.0.1:4712\n";
        assert_eq!(listeners(log), (Some("inet:127.0.0.1:4711".to_owned()), Some(4712)));
        assert_eq!(listeners("starting address=inet:127.0.0.1:1\n"), (None, None));
    }

    #[test]
    fn metrics_are_summed_by_label() {
        let page = "# TYPE d counter\n\
                    d{reason=\"ok\",stage=\"rcpt\"} 3\n\
                    d{reason=\"not-ok\",stage=\"rcpt\"} 5\n\
                    d_total 9\n\
                    up 1\n";
        let sum = |name, labels| series(page, name, labels).map(|(_, value)| value).sum::<f64>();
        assert_eq!(sum("d", &[("reason", "ok")]), 3.0);
        assert_eq!(sum("d", &[("stage", "rcpt")]), 8.0);
        assert_eq!(sum("d", &[("stage", "rcpt"), ("reason", "not-ok")]), 5.0);
        assert_eq!(sum("d", &[("reason", "not")]), 0.0);
        assert_eq!(sum("up", &[]), 1.0);
        assert!(series(page, "d", &[]).any(|(labels, value)| labels["reason"] == "not-ok" && value == 5.0));
    }
}
