//! docs/attack.md, on queues full of bounces: its commands find the backscatter and nothing else, and its settings keep the
//! spam out of what is bounced all the same.

use std::fs;
use std::process::Command;
use std::time::Duration;

use backstop_harness::{Backstop, CommandOutput, Postfix, Sendmail, Sink, Smtp, TempDir, wait_until};

use crate::BACKSTOP;

/// Bob exists, though the server inside refuses him: the bounce about him is no backscatter, and stays.
#[test]
fn the_queue_is_cleaned_of_backscatter_only() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let postfix = Postfix::builder()
        .next_hop(sink.port())
        .main("transport_maps = inline:{ { unreachable.test = smtp:[127.0.0.1]:1 } }")
        .start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("bot.elsewhere.test");
    for number in 0..INVENTED {
        send(
            &mut smtp,
            &format!("<forged{number}@unreachable.test>"),
            &format!("<invented{number}@example.test>"),
        );
    }
    send(&mut smtp, "<partner@unreachable.test>", "<bob@example.test>");
    wait_until(Duration::from_secs(60), "the bounces in the queue", || {
        let queue = postfix.queue();
        queue.len() == INVENTED + 1
            && queue.iter().all(|message| message.queue == "deferred" && message.sender == "MAILER-DAEMON")
    });
    let backstop = Backstop::builder(BACKSTOP)
        .file("recipients", "anna@example.test\nbob@example.test\n")
        .config(
            "domains.detect = false\n[directory.inside]\ndomains = [\"example.test\"]\n\
             [directory.inside.file]\npath = \"{dir}/recipients\"\n",
        )
        .start();

    let dir = TempDir::new("attack");
    let conf = postfix.config_directory();
    let mut script = backstop.shell_function();
    for program in ["postqueue", "postcat", "postsuper"] {
        script += &format!("{program}() {{ command {program} -c '{}' \"$@\"; }}\n", conf.display());
    }
    script += &commands("### Postfix").replace("/root/", &format!("{}/", dir.path().display()));
    let output = CommandOutput::of(Command::new("bash").arg("-c").arg(&script));
    // how many bounces there are, and how many of them are on hold
    let told: Vec<&str> = output.stdout.split_whitespace().collect();
    let expected = [(INVENTED + 1).to_string(), INVENTED.to_string()];
    assert_eq!(told, expected, "{script}\n{output:?}");
    assert!(output.stderr.contains(&format!("Deleted: {INVENTED} messages")), "{output:?}");
    let left = postfix.queue();
    let [bob] = left.as_slice() else { panic!("one stays: {left:?}") };
    assert_eq!((bob.recipients[0].0.as_str(), bob.queue.as_str()), ("partner@unreachable.test", "deferred"));
}

/// `bounce_size_limit = 1`: the headers come back, the spam does not.
#[test]
fn small_bounces_on_postfix() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let setting = setting("bounce_size_limit = 1");
    let postfix = Postfix::builder().next_hop(sink.port()).main(setting).start();
    headers_only(&sink, postfix.port());
}

/// `nobodyreturn`, the same for Sendmail.
#[test]
fn small_bounces_on_sendmail() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let setting = setting("define(`confPRIVACY_FLAGS', `authwarnings,nobodyreturn')dnl");
    let sendmail = Sendmail::builder().next_hop(sink.port()).mc(setting).start();
    headers_only(&sink, sendmail.port());
}

#[track_caller]
fn headers_only(sink: &Sink, port: u16) {
    let mut smtp = Smtp::connect(port);
    smtp.ehlo("bot.elsewhere.test");
    send(&mut smtp, "<forged@victim.test>", "<invented@example.test>");
    let bounce = sink.wait_for("Final-Recipient");
    assert_eq!(bounce.mail_from, "");
    assert!(
        bounce.data.contains("invented@example.test") && bounce.data.contains(SUBJECT),
        "{}",
        bounce.data
    );
    assert!(!bounce.data.contains(SPAM), "{}", bounce.data);
}

#[track_caller]
fn send(smtp: &mut Smtp, from: &str, to: &str) {
    assert!(smtp.mail(from).ok() && smtp.rcpt(to).ok(), "{}", smtp.transcript());
    assert!(smtp.data(&format!("Subject: {SUBJECT}\n\n{SPAM}\n")).ok(), "{}", smtp.transcript());
}

/// The lines of a section that are typed: after `#`, and after `>` where the line before goes on.
fn commands(heading: &str) -> String {
    let chapter = chapter();
    let (_, section) = chapter.split_once(&format!("\n{heading}\n")).expect("it has that section");
    let section = section.split("\n### ").next().unwrap_or(section);
    let typed = section.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.strip_prefix("# ").or_else(|| line.strip_prefix("> "))
    });
    let typed: Vec<&str> = typed.collect();
    assert!(typed.len() > 5, "{typed:?}");
    typed.join("\n")
}

/// A setting, as the chapter has it.
#[track_caller]
fn setting(line: &str) -> &str {
    assert!(chapter().contains(line), "docs/attack.md says nothing of `{line}`");
    line
}

fn chapter() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/attack.md")).expect("it is there")
}

const INVENTED: usize = 12;
const SUBJECT: &str = "Cheap watches";
const SPAM: &str = "All of them gold";
