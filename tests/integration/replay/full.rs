//! A million lines that a real Postfix has written, counted a second time by other means.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::{CommandOutput, Postfix, Sink, Smtp, TempDir, wait_until};
use serde_json::Value;

use crate::BACKSTOP;
use crate::wrong_input::peak;

#[test]
fn a_million_lines_of_postfix() {
    let dir = TempDir::new("million");
    let began = Instant::now();
    let log = dir.write("maillog", million());
    let lines = text(Command::new("wc").arg("-l").arg(&log));
    eprintln!("{} lines after {:?}", lines.trim(), began.elapsed());
    let lines: u64 = lines.split_whitespace().next().and_then(|lines| lines.parse().ok()).expect("a number");
    assert!(lines >= 1_000_000, "{lines} lines");

    // smtp-source numbers them from 2.
    let known: String = (2..PER_MESSAGE / 2 + 2)
        .flat_map(|number| [format!("{number}user@example.test\n"), format!("{number}user@gone.test\n")])
        .collect();
    let known = dir.write_backdated("known", format!("user@example.test\n{known}"));
    let config = format!(
        "[domains]\ndetect = false\nnames = [\"example.test\", \"gone.test\", \"late.test\", \"refused.test\"]\n\
         [directory.known.file]\npath = \"{}\"\n",
        known.display()
    );
    let config = dir.write("backstop.toml", config);
    let (found, memory) = replay(&config, &[&log]);

    let counted = text(Command::new("awk").arg(COUNT).arg(&known).arg(&log));
    let counted: Value = serde_json::from_str(&counted).expect("JSON");
    let sums = |of: &str| -> Value {
        [&found[of]["times"], &found[of]["recipients"]].into_iter().cloned().collect()
    };
    for (what, found) in [
        ("lines", found["lines"].clone()),
        ("of_mtas", found["of_mtas"].clone()),
        ("strange", found["strange"].clone()),
        ("refused_then", found["refused_then"].clone()),
        ("left_out", found["left_out"].clone()),
        ("delivered", found["delivered"].clone()),
        ("delivered_refused", sums("delivered_refused")),
        ("delivered_deferred", sums("delivered_deferred")),
        ("bounced", found["bounced"].clone()),
        ("bounced_refused", sums("bounced_refused")),
        ("bounced_passed", sums("bounced_passed")),
        ("backscatter", found["backscatter"].clone()),
    ] {
        assert_eq!(found, counted[what], "{what}: {counted:#}");
    }
    // And this was sent.
    assert_eq!(found["refused_then"], REFUSED);
    assert_eq!(found["delivered"], MANY * PER_MESSAGE + UNIQUE * PER_MESSAGE + SINGLE + LISTS + LATE * 10);
    assert_eq!(found["bounced"], GONE * PER_MESSAGE + 2 * ALONE);
    assert_eq!(found["bounced_refused"]["times"], GONE * PER_MESSAGE / 2 + 2 * ALONE);
    assert_eq!(found["backscatter"], GONE * PER_MESSAGE / 2 + ALONE);

    // It says the same however the log comes.
    let run = Command::new("gzip").arg("-k").arg(&log).status().expect("gzip");
    assert!(run.success());
    assert_eq!(replay(&config, &[&dir.join("maillog.gz")]).0, found, "compressed");
    let whole = fs::read_to_string(&log).expect("it is text");
    let (first, second) = whole.split_at(whole[..whole.len() / 3].rfind('\n').expect("there are lines") + 1);
    let (first, second) = (dir.write("maillog.1", first), dir.write("maillog.2", second));
    assert_eq!(replay(&config, &[&first, &second]).0, found, "rotated");

    // More of it takes no more memory.
    let (thrice, more) = replay(&config, &[&log, &log, &log]);
    for what in ["lines", "delivered", "bounced", "refused_then", "left_out", "backscatter"] {
        assert_eq!(thrice[what].as_u64(), found[what].as_u64().map(|once| once * 3), "{what}");
    }
    assert!(memory < 150_000 && more < memory + 20_000, "{memory} kB, and {more} kB for three times as much");
}

/// What Postfix logs of messages for one and for many, to aliases, that bounce, that are refused and that come late.
fn million() -> String {
    let members: Vec<String> = (0..LIST).map(|number| format!("member{number}@example.test")).collect();
    let sink = Sink::knowing(&["somebody@gone.test"]);
    let gone = format!("gone.test smtp:[127.0.0.1]:{}\n", sink.port());
    let mut postfix = Postfix::builder()
        .map("hash", "aliases", &format!("list@example.test {}\n", members.join(", ")))
        .file("transport", &format!("{gone}late.test smtp:[127.0.0.1]:1\n"))
        .main(
            "relay_domains = example.test gone.test late.test refused.test\n\
             transport_maps = texthash:$config_directory/transport\n\
             virtual_alias_maps = hash:$config_directory/aliases\n\
             relay_transport = discard:\n\
             default_transport = discard:\n\
             smtpd_recipient_restrictions = check_recipient_access inline:{ refused.test=REJECT }\n\
             default_destination_recipient_limit = 1000\n\
             virtual_alias_expansion_limit = 2000",
        )
        .start();
    let port = postfix.port();
    let source = |more: &[&str], messages: u64, recipients: u64, to: &str| {
        let (messages, recipients) = (messages.to_string(), recipients.to_string());
        let mut command = Command::new("smtp-source");
        command.args(["-d", "-s", "4", "-M", "client.elsewhere.test", "-m", &messages, "-r", &recipients]);
        command.args(["-t", to]).args(more).arg(format!("127.0.0.1:{port}"));
        let output = CommandOutput::of(&mut command);
        assert_eq!(output.status, 0, "{output:?}");
    };
    let sender = ["-f", "sender@elsewhere.test"];
    thread::scope(|scope| {
        scope.spawn(|| {
            source(&sender, MANY, PER_MESSAGE, "user@example.test");
            source(&["-N", "-f", "sender@elsewhere.test"], UNIQUE, PER_MESSAGE, "unique@example.test");
        });
        scope.spawn(|| {
            source(&sender, LISTS, 1, "list@example.test");
            source(&sender, SINGLE, 1, "user@example.test");
            source(&sender, GONE, PER_MESSAGE, "user@gone.test");
            source(&sender, ALONE, 1, "invented@gone.test");
            source(&["-f", ""], ALONE, 1, "invented@gone.test");
            source(&sender, LATE, 10, "user@late.test");
            refused(port);
        });
    });
    for _ in 0..5 {
        postfix.sendmail(
            "root@example.test",
            &["user@example.test", "list@example.test"],
            "Subject: here\n\nHello.\n",
        );
    }
    wait_until(Duration::from_secs(120), "those that are late", || {
        postfix.queue().iter().filter(|queued| queued.queue == "deferred").count() as u64 == LATE
    });
    postfix.write("transport", &format!("{gone}late.test discard:\n"));
    postfix.reload();
    wait_until(Duration::from_secs(300), "an empty queue", || {
        text(&mut postfix.command("postqueue", &["-f"]));
        thread::sleep(Duration::from_secs(1));
        postfix.queue().is_empty()
    });
    postfix.maillog()
}

fn refused(port: u16) {
    let mut smtp = Smtp::connect(port);
    smtp.ehlo("mail.elsewhere.test");
    for hundred in 0..REFUSED / 100 {
        let recipients: Vec<String> =
            (0..100).map(|number| format!("RCPT TO:<user{hundred}x{number}@refused.test>")).collect();
        let lines: Vec<&str> = ["MAIL FROM:<sender@elsewhere.test>"]
            .into_iter()
            .chain(recipients.iter().map(String::as_str))
            .collect();
        let replies = smtp.pipeline(&lines);
        assert_eq!(replies.iter().filter(|reply| reply.code == 554).count(), 100, "{replies:?}");
        smtp.rset();
    }
    smtp.quit();
}

/// What was found, and the most memory that it took, in kB.
fn replay(config: &Path, logs: &[&Path]) -> (Value, u64) {
    let began = Instant::now();
    let mut command = Command::new(BACKSTOP);
    command.args(["replay", "--json", "--top", "3", "--config"]).arg(config).args(logs);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let memory = peak(&mut child);
    let output = child.wait_with_output().expect("it ended");
    eprintln!("{} file(s): {:?}, {memory} kB", logs.len(), began.elapsed());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    (serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")), memory)
}

#[track_caller]
fn text(command: &mut Command) -> String {
    let output = CommandOutput::of(command);
    assert_eq!(output.status, 0, "{output:?}");
    output.stdout
}

/// Messages with many recipients, half of whom are known.
const MANY: u64 = 300;
const PER_MESSAGE: u64 = 500;
/// The same with recipients nobody has seen before.
const UNIQUE: u64 = 60;
const SINGLE: u64 = 5000;
/// To an alias of so many.
const LISTS: u64 = 850;
const LIST: u64 = 1000;
/// Messages that bounce: with many recipients, and with one (of a sender, and of none).
const GONE: u64 = 20;
const ALONE: u64 = 500;
/// Messages for ten recipients that are deferred first.
const LATE: u64 = 20;
const REFUSED: u64 = 5000;

/// Counts by what docs/replay.md says, from the addresses that are known and the log.
const COUNT: &str = r#"
FNR == NR { known[$1]; next }
{ lines++ }
$5 !~ /^postfix[a-z\/]*\// { next }
{ mtas++; id = $6 }
$7 == "reject:" && $8 == "RCPT" { refused++; next }
$7 ~ /^client=/ { message[id] = ++messages; next }
$5 ~ /\/qmgr\[/ && $7 ~ /^from=</ { bare[id] = $7 == "from=<>,"; next }
$7 == "removed" { delete message[id]; next }
$7 ~ /^to=</ {
  fate = /, status=sent / ? "delivered" : /, status=bounced / ? "bounced" : ""
  if (fate == "") next
  if (!(id in message)) { left++; next }
  who = $8 ~ /^orig_to=/ ? $8 : $7
  gsub(/^[a-z_]*to=<|>,$/, "", who)
  if ((message[id], who, fate) in seen) next
  seen[message[id], who, fate]
  sum[fate]++
  verdict = fate (who in known ? " pass" : " refuse")
  times[verdict]++
  if (!((verdict, who) in met)) { met[verdict, who]; people[verdict]++ }
  if (verdict == "bounced refuse" && !bare[id]) backscatter++
}
END {
  printf "{\"lines\":%d,\"of_mtas\":%d,\"strange\":0,\"refused_then\":%d,\"left_out\":%d", lines, mtas, refused, left
  printf ",\"delivered\":%d,\"delivered_refused\":[%d,%d]", sum["delivered"], times["delivered refuse"], people["delivered refuse"]
  printf ",\"delivered_deferred\":[0,0],\"bounced\":%d", sum["bounced"]
  printf ",\"bounced_refused\":[%d,%d]", times["bounced refuse"], people["bounced refuse"]
  printf ",\"bounced_passed\":[%d,%d],\"backscatter\":%d}\n", times["bounced pass"], people["bounced pass"], backscatter
}
"#;
