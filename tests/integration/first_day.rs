//! docs/first-day.md is followed from top to bottom: its files are written, its commands run and its dialogues held in its
//! order, before a real Postfix, and what it shows is what comes.
//!
//! Only what belongs to the host is played: `systemctl` and `journalctl`, and what `deploy/package` and `apt` prepare.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, CommandOutput, Postfix, Signal, Sink, TempDir, free_port, wait_until};

use crate::BACKSTOP;
use crate::standing::from;

const PARTNER: &str = "203.0.113.9";

#[test]
fn the_chapter_is_true() {
    let chapter = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/first-day.md"));
    let steps = steps(&chapter.expect("the chapter is there"));
    let mut day = Day::new();
    let mut commands = Vec::new();
    for step in &steps {
        match step {
            Step::File { path, text } => day.write(path, text),
            Step::Run { command, output, status } => {
                commands.push(command.as_str());
                day.run(command, output, *status);
            }
            Step::Talk(lines) => day.talk(lines),
        }
    }
    // By now somebody is in charge of what Postfix does not know.
    let note = "note: the configured directory inside is in charge of example.org, .example.org, partial or not: \
                who is unknown to it is refused";
    day.run("backstop detect", &["…", note, "…"].map(str::to_owned), 0);
    // What the day is made of is all there.
    for wanted in [
        "backstop detect",
        "backstop config check",
        "journalctl -o export -u 'postfix*' --since yesterday | backstop replay -",
        "systemctl enable --now backstop",
        "backstop report",
        "backstop reload",
        "backstop suspend ",
        "backstop resume ",
        "backstop check ",
        "backstop disable --for 1h",
        "backstop enable",
        "systemctl stop backstop",
        "postconf -X smtpd_milters",
    ] {
        assert!(commands.iter().any(|command| command.starts_with(wanted)), "{wanted}: {commands:#?}");
    }
}

/// One thing that the chapter does.
#[derive(Debug)]
enum Step {
    /// A fenced block, for the file that was named last before it.
    File { path: String, text: String },
    /// `    # command`, what it prints, and its exit status: 0, unless `# echo $?` follows.
    Run { command: String, output: Vec<String>, status: i32 },
    /// `    -> MAIL FROM:<…>`, `    <- 250 …`
    Talk(Vec<String>),
}

fn steps(chapter: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut named = String::new();
    let mut lines = chapter.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            steps.push(Step::File { path: named.clone(), text: text.join("\n") + "\n" });
        } else if let Some(code) = line.strip_prefix("    ") {
            let is_new_talk = code.starts_with("-> MAIL");
            match (steps.last_mut(), code.strip_prefix("# ")) {
                (Some(Step::Run { status, .. }), Some("echo $?")) => {
                    let told = lines.next().and_then(|line| line.trim().parse().ok());
                    *status = told.expect("`echo $?` is followed by a status");
                }
                (_, Some(command)) => {
                    steps.push(Step::Run { command: command.to_owned(), output: Vec::new(), status: 0 });
                }
                (_, None) if is_new_talk => steps.push(Step::Talk(vec![code.to_owned()])),
                (Some(Step::Run { output: to, .. } | Step::Talk(to)), None) if !code.starts_with("$ ") => {
                    to.push(code.to_owned());
                }
                (last, None) => assert!(code.starts_with("$ "), "{line} comes after {last:?}"),
            }
        } else if line.is_empty() {
            // An empty line belongs to the output if more of it follows.
            let goes_on = lines.peek().is_some_and(|next| next.starts_with("    ") && !next.contains("# "));
            if let (Some(Step::Run { output, .. }), true) = (steps.last_mut(), goes_on) {
                output.push(String::new());
            }
        } else if let Some(path) =
            line.split('`').skip(1).step_by(2).filter(|word| word.starts_with("/etc/")).last()
        {
            path.clone_into(&mut named);
        }
    }
    for step in &mut steps {
        if let Step::Run { output, .. } = step {
            while output.last().is_some_and(String::is_empty) {
                output.pop();
            }
        }
    }
    steps
}

/// The host of the chapter, where its `/etc/backstop` is a directory of our own.
struct Day {
    backstop: Option<Backstop>,
    postfix: Postfix,
    port: u16,
    /// What came between "watch" and "report" has come.
    has_mail: bool,
    dir: TempDir,
    _inside: Sink,
}

impl Day {
    /// Yesterday is over: Postfix took whatever came for example.org.
    fn new() -> Self {
        let inside = Sink::knowing(&INSIDE);
        let postfix = Postfix::builder()
            .main(MAIN_CF)
            .next_hop(inside.port())
            .map("hash", "aliases", "anna /dev/null\nbob /dev/null\n")
            .start();
        for (client, sender, recipients) in mail("yesterday") {
            message(&postfix, client, sender, &recipients);
        }
        let mut smtp = from(&postfix, "203.0.113.80");
        smtp.mail("<news@shop.example>");
        assert_eq!(smtp.rcpt("<nosuchuser@example.com>").code, 550, "{}", smtp.transcript());
        postfix.wait_for_empty_queue();
        let dir = TempDir::new("first-day");
        dir.mkdir("etc");
        let day = Self { backstop: None, postfix, port: free_port(), has_mail: false, dir, _inside: inside };
        let config = day.path("etc/backstop.toml");
        day.program(
            "backstop",
            &format!("[ -e {config} ] && set -- \"$@\" --config {config}; exec {BACKSTOP} \"$@\""),
        );
        let (maillog, log) = (day.path("maillog"), day.path("log"));
        day.program("journalctl", &format!("case \"$*\" in *postfix*) cat {maillog};; *) cat {log};; esac"));
        day
    }

    /// What the shell finds first.
    fn program(&self, name: &str, script: &str) {
        let path = self.dir.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn write(&self, path: &str, text: &str) {
        let name = path.strip_prefix("/etc/backstop/").unwrap_or_else(|| panic!("no file of ours: {path:?}"));
        self.dir.write_backdated(&format!("etc/{name}"), self.here(text));
    }

    fn run(&mut self, command: &str, expected: &[String], status: i32) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["apt", "install", _] => {}
            ["systemctl", "reload", "postfix"] => {
                let before = self.smtpds();
                self.postfix.reload();
                // A process that was there serves another client as it was, and ends.
                wait_until(SOON, "the smtpd processes to be new ones", || {
                    from(&self.postfix, PARTNER).quit();
                    self.smtpds().is_disjoint(&before)
                });
                if !std::mem::replace(&mut self.has_mail, true) {
                    self.some_hours();
                }
            }
            ["systemctl", "start", "backstop"] | ["systemctl", "enable", "--now", "backstop"] => self.start(),
            ["systemctl", "stop", "backstop"] => self.stop(),
            ["systemctl", "disable", "--now", "backstop"] => {
                if self.backstop.is_some() {
                    self.stop();
                }
            }
            _ => self.shell(command, expected, status),
        }
    }

    /// Questions are asked again for a while: until a file that was changed is read, or a line is logged.
    fn shell(&self, command: &str, expected: &[String], status: i32) {
        let questions = ["backstop check", "backstop status", "backstop report", "journalctl"];
        let is_question = questions.iter().any(|question| command.starts_with(question));
        let end = Instant::now() + SOON;
        loop {
            self.dir.write("maillog", self.postfix.maillog());
            self.dir.write("log", self.backstop.as_ref().map_or(String::new(), Backstop::log));
            let mut shell = Command::new("sh");
            shell.args(["-c", &self.here(command)]).envs(self.environment()).stdin(Stdio::null());
            let output = CommandOutput::of(&mut shell);
            let text = self.there(&format!("{}{}", output.stdout, output.stderr));
            let missing = missing(expected, &text);
            if output.status == status && missing.is_none() {
                return;
            }
            assert!(
                is_question && Instant::now() < end,
                "docs/first-day.md: # {command}\nstatus: {}, in the chapter {status}; there, and not here: {missing:?}\n\n{text}",
                output.status
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn start(&mut self) {
        let mut builder = Backstop::builder(BACKSTOP).args(&["--config", &self.path("etc/backstop.toml")]);
        for (name, value) in self.environment() {
            builder = builder.env(name, &value);
        }
        self.backstop = Some(builder.start());
    }

    fn stop(&mut self) {
        let mut backstop = self.backstop.take().expect("it runs");
        backstop.signal(Signal::TERM);
        assert!(backstop.wait_exit().success());
    }

    /// The processes that serve clients: those called smtpd that work in this Postfix' queue.
    fn smtpds(&self) -> BTreeSet<PathBuf> {
        let queue = self.postfix.config_directory().with_file_name("queue");
        let processes = fs::read_dir("/proc").expect("/proc is there").flatten().map(|entry| entry.path());
        let is_ours = |process: &PathBuf| {
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "smtpd")
                && fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == queue)
        };
        processes.filter(is_ours).collect()
    }

    /// What came between "watch" and "report".
    fn some_hours(&self) {
        let backstop = self.backstop.as_ref().expect("it runs");
        // main.cf was changed: Backstop looks at Postfix again, and until it has, calls nobody there unknown.
        backstop.wait_for_log("looking again");
        wait_until(SOON, "Postfix' users to be known again", || {
            backstop.command(&["check", "nobody-such@example.com"]).status == 1
        });
        for (at, (client, sender, recipients)) in mail("today").into_iter().enumerate() {
            message(&self.postfix, client, sender, &recipients);
            if at == 0 {
                wait_until(SOON, "the partner to be known", || {
                    let check = ["check", "anna@example.org", "--client", client];
                    backstop.command(&check).stdout.contains("and 2 known")
                });
            }
        }
    }

    /// A dialogue of the partner's server with Postfix.
    fn talk(&self, lines: &[String]) {
        let mut smtp = from(&self.postfix, PARTNER);
        for pair in lines.chunks(2) {
            let [sent, expected] = pair else { panic!("no answer: {pair:?}") };
            let words = sent.strip_prefix("-> ").zip(expected.strip_prefix("<- "));
            let (sent, expected) = words.unwrap_or_else(|| panic!("no dialogue: {lines:#?}"));
            let came = smtp.command(sent).to_string();
            assert!(came == expected, "docs/first-day.md: {expected}\n{came}\n{}", smtp.transcript());
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn environment(&self) -> [(&'static str, String); 8] {
        [
            ("PATH", format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap_or_default())),
            ("MAIL_CONFIG", self.postfix.config_directory().display().to_string()),
            ("BACKSTOP__LISTEN", format!("[\"inet:127.0.0.1:{}\"]", self.port)),
            ("BACKSTOP__HTTP__LISTEN", "127.0.0.1:0".to_owned()),
            ("BACKSTOP__CONTROL__SOCKET", self.path("control.sock")),
            ("BACKSTOP__CONTROL__TRUST_SOCKET", self.path("trust.sock")),
            ("BACKSTOP__STORE__URL", format!("embedded:{}", self.path("store"))),
            ("BACKSTOP__CLIENT__RESOLVER", "127.0.0.1:9".to_owned()),
        ]
    }

    /// What the chapter writes, for this host.
    fn here(&self, text: &str) -> String {
        let text = text.replace("/etc/backstop/", &self.path("etc/"));
        text.replace("inet:localhost:8890", &format!("inet:127.0.0.1:{}", self.port))
    }

    /// What came here, as it comes on the chapter's host.
    fn there(&self, text: &str) -> String {
        let conf = self.postfix.config_directory().display().to_string();
        text.replace(&self.path("etc/"), "/etc/backstop/")
            .replace(&self.path("control.sock"), "/run/backstop/control.sock")
            .replace(&self.path("store"), "/var/lib/backstop")
            .replace(&format!("{conf}/aliases"), "/etc/aliases")
            .replace(&conf, "/etc/postfix")
            .replace(&format!("127.0.0.1:{}", self.port), "127.0.0.1:8890")
            .replace(&format!("localhost:{}", self.port), "localhost:8890")
    }
}

/// Client, sender and recipients of a day's mail.
fn mail(day: &str) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let lines = include_str!("../first-day.mail").lines();
    let mails = lines.filter_map(|line| {
        let mut words = line.strip_prefix(day)?.split_whitespace();
        Some((words.next()?, words.next()?, words.collect()))
    });
    mails.collect()
}

fn message(postfix: &Postfix, client: &str, sender: &str, recipients: &[&str]) {
    let mut smtp = from(postfix, client);
    smtp.mail(&format!("<{sender}>"));
    for recipient in recipients {
        assert!(smtp.rcpt(&format!("<{recipient}>")).ok(), "{}", smtp.transcript());
    }
    assert!(smtp.data("Subject: hello\n\nHello.\n").ok(), "{}", smtp.transcript());
    smtp.quit();
}

/// The first line that the chapter shows and the program does not print in that place. `…` alone stands for any number of
/// lines, in a line for any words; times and numbers of no meaning may differ.
fn missing(expected: &[String], came: &str) -> Option<String> {
    let mut came = came.lines().map(shape);
    let mut skips = false;
    for line in expected {
        if line.trim() == "…" {
            skips = true;
            continue;
        }
        let words = shape(line);
        let found = if skips {
            came.any(|came| fits(&words, &came))
        } else {
            came.next().is_some_and(|came| fits(&words, &came))
        };
        if !found {
            return Some(line.clone());
        }
        skips = false;
    }
    let rest = if skips { None } else { came.next() };
    rest.map(|line| format!("an end before {line:?}"))
}

fn fits(expected: &str, came: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else { return expected == came };
    let Some(mut left) = came.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('…').collect();
    let (last, between) = parts.split_last().expect("a split has a part");
    for part in between {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

/// A line without what differs from day to day: times, ages, versions, line numbers, microseconds.
fn shape(line: &str) -> String {
    let mut words: Vec<String> = line.trim_end().split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let word = words[at].as_str();
        let is_time = word.len() >= 19 && word.as_bytes()[10] == b'T' && word.starts_with("20");
        let is_version = at > 0 && words[at - 1].ends_with("Postfix");
        let is_counted = words.get(at + 1).is_some_and(|unit| unit.starts_with("µs"));
        let is_age = words.get(at + 2).is_some_and(|ago| ago.starts_with("ago"));
        if is_time || is_version || is_counted || is_age {
            let comma = if word.ends_with(',') { "," } else { "" };
            words[at] = format!("#{comma}");
        } else if let Some((place, _)) = word.split_once("main.cf:") {
            words[at] = format!("{place}main.cf:#");
        }
    }
    words.join(" ")
}

/// What the server inside knows.
const INSIDE: [&str; 5] =
    ["anna@example.org", "bob@example.org", "info@example.org", "sales@example.org", "fax@example.org"];

const MAIN_CF: &str = "\
myhostname = mx.example.com
mydomain = example.com
mydestination = $myhostname, example.com, localhost, localhost.localdomain
local_recipient_maps = proxy:unix:passwd.byname $alias_maps
alias_maps = hash:$config_directory/aliases
relay_domains = example.org
recipient_delimiter = +
mynetworks = 127.0.0.0/8
append_dot_mydomain = no
";

const SOON: Duration = Duration::from_secs(15);
