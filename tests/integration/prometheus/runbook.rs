//! docs/alerts.md: every command in it runs on a host that has all the troubles at once, and what it searches for in the log is
//! there.
//!
//! Only what belongs to the host is played: `systemctl`, `journalctl` (of the real logs), and `apt-get`, which only looks whether
//! there are such packages.

use std::process::Command;
use std::time::Duration;

use backstop_harness::{Backstop, CommandOutput, Postfix, Redis, TempDir, wait_until};

use crate::BACKSTOP;
use crate::mta::Mta;
use crate::standing::answer;

use super::{ALERTS, path, read};

#[test]
fn its_commands_run() {
    let (backstop, postfix) = troubled();
    let redis = Redis::start();
    let etc = TempDir::new("runbook");
    etc.write("prometheus.yml", read("deploy/prometheus/prometheus.yml"));
    let log = etc.write("backstop.log", backstop.log());
    let maillog = etc.write("maillog", postfix.maillog());
    let conf = postfix.config_directory().display().to_string();
    let mut functions = backstop.shell_function();
    for program in ["postqueue", "postconf"] {
        functions += &format!("{program}() {{ command {program} -c '{conf}' \"$@\"; }}\n");
    }
    functions += &format!(
        "mailq() {{ postqueue -p; }}\n\
         journalctl() {{ case \"$*\" in *postfix*) cat '{}';; *) cat '{}';; esac; }}\n\
         systemctl() {{ echo \"systemctl $*\"; }}\n\
         apt-get() {{ [ \"$1\" = install ] && dpkg-query -W \"${{@:2}}\"; }}\n",
        maillog.display(),
        log.display(),
    );
    let here = |line: &str| {
        let (store, own) = (backstop.path("store"), backstop.path(""));
        [
            ("/etc/prometheus", etc.path().display().to_string()),
            ("/var/lib/backstop", store.display().to_string()),
            ("/etc/backstop", own.display().to_string()),
            ("redis://redis.example.com:6379", redis.url()),
            (":8890", format!(":{}", backstop.milter_port())),
            (":9890", format!(":{}", backstop.http_port())),
        ]
        .iter()
        .fold(line.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours))
    };
    let docs = read(ALERTS);
    let lines: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("    # ")).collect();
    assert!(lines.len() > 50, "{lines:?}");
    let mut faults = Vec::new();
    for line in lines {
        let script = format!("set -o pipefail\n{functions}{}", here(line));
        let output = CommandOutput::of(Command::new("bash").arg("-c").arg(script).current_dir(path("")));
        let is_silent = output.stdout.is_empty() && !SILENT.iter().any(|start| line.starts_with(start));
        let expected: &[i32] = match () {
            // No test has a bug to show: the words are in the code.
            () if line.ends_with("'panic: this is a bug'") => {
                assert!(read("src/telemetry/log.rs").contains("panic: this is a bug"));
                continue;
            }
            // A refusal, or a doubt, is an answer.
            () if line.starts_with("backstop check ") || line.starts_with("backstop report") => &[0, 1, 2],
            // Applied, and two lists are still held back.
            () if line == "backstop reload" => &[1],
            () => &[0],
        };
        if is_silent || !expected.contains(&output.status) {
            faults.push(format!("{line}: {output:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(read_rules(&etc).matches("runbook_url: https://").count() > 15, "the links are set");
}

/// A site that all goes wrong with: a directory without content, one whose list was cut short, a replica, a bad line, a reload
/// that was refused, a peer that speaks no milter protocol, a blocked client, a queue with a bounce, and it is disabled.
fn troubled() -> (Backstop, Postfix) {
    let many: String = (0..40).map(|number| format!("user{number}@late.test\n")).collect();
    let builder = Backstop::builder(BACKSTOP)
        .file("recipients", "anna@example.com\n")
        .file("late", &many)
        .file("empty", "")
        .file("networks", "198.51.100.0/24\nnot a network\n");
    let table =
        "create table mailbox (address text primary key); insert into mailbox values ('anna@shop.test');";
    let made = Command::new("sqlite3").arg(builder.path("mail.db")).arg(table).status();
    assert!(made.expect("tests/install installs sqlite3").success());
    let backstop = builder.config(CONFIG).start();
    let domains = "relay_domains = example.com, late.test, empty.test, shop.test";
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).main(domains).start();
    assert_eq!(answer(&postfix, CLIENT, "<nobody@example.com>"), 550);
    assert_eq!(answer(&postfix, CLIENT, "<anybody@empty.test>"), 451);
    postfix.sendmail("", &["forged@victim.test"], "Subject: a bounce\n\nYour mail did not arrive.\n");
    wait_until(SOON, "the bounce in the queue", || !postfix.queue().is_empty());
    backstop.write("late", "user1@late.test\n");
    backstop.wait_for_log("held back");
    let mut broken = Mta::connect(backstop.milter_port());
    broken.write(&[0; 4]);
    broken.is_closed();
    backstop.wait_for_log("session ended");
    let config = std::fs::read_to_string(backstop.path("backstop.toml")).expect("it is there");
    backstop.write("backstop.toml", "mode = \"enforced\"\n");
    assert_ne!(backstop.command(&["reload"]).status, 0);
    backstop.write("backstop.toml", &config);
    for order in [&["block", CLIENT][..], &["disable"]] {
        assert_eq!(backstop.command(order).status, 0, "{order:?}");
    }
    (backstop, postfix)
}

fn read_rules(etc: &TempDir) -> String {
    std::fs::read_to_string(etc.join("backstop.rules.yml")).expect("it was installed")
}

/// As docs/alerts.md has it.
const CLIENT: &str = "198.51.100.66";
const SOON: Duration = Duration::from_secs(30);
/// Commands that say nothing when all is well.
const SILENT: [&str; 2] = ["install ", "sed -i "];

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.com", "late.test", "empty.test", "shop.test"]

[directory.people]
domains = ["example.com"]
[directory.people.file]
path = "{dir}/recipients"

[directory.late]
domains = ["late.test"]
[directory.late.file]
path = "{dir}/late"

[directory.empty]
domains = ["empty.test"]
[directory.empty.file]
path = "{dir}/empty"

[directory.shop]
domains = ["shop.test"]
[directory.shop.sql]
url = "sqlite:{dir}/mail.db"
query = "select * from mailbox where address = ?1"
source = "replica"
listing = "select address from mailbox"

[client.dynamic]
networks = ["{dir}/networks"]
"#;
