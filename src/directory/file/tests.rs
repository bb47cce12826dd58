//! Formats as their manuals have them, and as Postfix' own tools read them.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use proptest::{prelude::*, strategy::ValueTree};

use super::*;
use crate::{
    address::{Address, Domain},
    files::{BadRule, Matched, Table},
};

/// What a list in this format holds, and the lines that were skipped.
fn list(format: Format, text: &[u8]) -> Result<(Index, Faults), Option<u64>> {
    let mut builder = Builder::default();
    let mut page = Page::new(Path::new("/list").into(), &mut builder);
    let read = page.read(&mut Lines::new(text), format);
    let faults = page.faults;
    match read {
        Ok(()) => Ok((builder.finish(), faults)),
        Err(ReadError::NotTheWhole(line)) => Err(Some(line)),
        Err(ReadError::Io(_)) => Err(None),
    }
}

/// Checks that the addresses with a `+` are found, those with a `-` are not, `*domain` is caught whole, and that
/// just the given lines are skipped.
fn check(format: Format, text: &str, answers: &[&str], bad: &[u64]) {
    let (index, faults) = list(format, text.as_bytes()).expect("a readable list");
    for answer in answers {
        let (expected, address) = answer.split_at(1);
        match expected {
            "*" => assert!(index.catches_all(&Domain::parse(address).unwrap()), "{format:?} {answer}"),
            _ => {
                let found = index.find(&Address::parse(address).unwrap()).is_some();
                assert_eq!(found, expected == "+", "{format:?} {answer}");
            }
        }
    }
    let lines: Vec<u64> = faults.first.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, bad, "{format:?} {faults:?}");
}

/// The form of Toriss' TORISS_LOCALS.TXT (CRLF, any case) is the same.
#[test]
fn addresses() {
    check(
        Format::Addresses,
        "\u{feff}Joe@Example.COM\r\nANN\r\n\r\n# a comment\r\n   # another\r\n@example.org  # all of it\r\n\
         \"john doe\"@example.com\r\ntag#1@example.com\r\n  indented@example.com\t\r\nmüller@exämple.net\r\n\
         two words\r\n@\r\njoe@\r\nnul\0@example.com\r\nlast@example.com",
        &[
            "+joe@example.com",
            "-joe@example.org",
            "*example.org",
            "+ann@anything",
            "+\"john doe\"@example.com",
            "+tag#1@example.com",
            "+indented@example.com",
            "+MÜLLER@xn--exmple-cua.net",
            "+last@example.com",
            "+two@x",
            "-words@x",
            "-comment@x",
        ],
        &[11, 12, 13, 14],
    );
}

/// aliases(5); Sendmail op.me, "Alias database".
#[test]
fn aliases() {
    check(
        Format::Aliases,
        "# Basic system aliases\nMAILER-DAEMON: postmaster\npostmaster: root\nnobody: /dev/null\n\
         staff: :include:/etc/mail/staff\nlong: a@x,\n  b@x,\n# between\n\tc: d@x\n\"with space\": joe\n\
         \"col:on\" : joe\npipe: \"|/usr/bin/vacation joe: x\"\nowner-staff:root\nUPPER: joe\n\
         virtual@example.com: joe\n\"odd@name\": joe\nempty:\nno colon\nhash#tag: x\ntwo words: y\nplussed+*: joe\n",
        &[
            "+plussed@x",
            "+mailer-daemon@x",
            "+postmaster@x",
            "+nobody@x",
            "+staff@x",
            "+long@x",
            "-c@x",
            "-b@x",
            "+\"with space\"@x",
            "+\"col:on\"@x",
            "+pipe@x",
            "+owner-staff@x",
            "+upper@x",
            "+virtual@example.com",
            "-virtual@example.org",
            "-empty@x",
            "-no@x",
            "+hash#tag@x",
            "+\"two words\"@x",
        ],
        &[17, 18],
    );
}

/// virtual(5), postmap(1); Sendmail cf/README, VIRTUAL HOSTING.
#[test]
fn virtual_maps() {
    check(
        Format::Virtual,
        "# comment\nexample.com  anything\npostmaster@example.com postmaster\nJoe@Example.com joe\n\
         jim@example.com\n  joe@x,\n  ann@x\n@example.org catch\nuser  other\n\"a b\"@example.com x\n\
         gone@example.net error:nouser No such user here\nlater@example.net error:tempfail Try again\n\
         @example.edu error:5.7.0:550 closed\nno@example.net REJECT\nreject@example.net reject\n\
         list+*@example.net list\nnovalue@example.com\n\"open@example.com x\nfoo: bar\nmore++@example.net list\n",
        &[
            "+more@example.net",
            "+postmaster@example.com",
            "+joe@example.com",
            "+jim@example.com",
            "-ann@x",
            "-anyone@example.com",
            "*example.org",
            "+user@wherever",
            "+\"a b\"@example.com",
            "-gone@example.net",
            "+later@example.net",
            "-no@example.net",
            "+reject@example.net",
            "+list@example.net",
            "-novalue@example.com",
        ],
        &[17, 18, 19],
    );
    let (index, _) = list(Format::Virtual, b"@example.edu error:nouser closed\n").unwrap();
    assert!(!index.catches_all(&Domain::parse("example.edu").unwrap()));
}

/// passwd(5); nsswitch.conf(5) for the `+` and `-` entries.
#[test]
fn passwd() {
    check(
        Format::Passwd,
        "root:x:0:0:root:/root:/bin/bash\ndaemon:*:1:1::/:/usr/sbin/nologin\n\nJoe:x:1000:1000:Joe, a comment:/home/joe:\n\
         # no\n-gone\nno colon\n:x:1:1:::\n",
        &["+root@x", "+daemon@x", "+joe@x", "-gone@x"],
        &[7, 8],
    );
    assert_eq!(list(Format::Passwd, b"root:x:0:0:::\n+::::::\n").err(), Some(Some(2)));
}

/// doc.dovecot.org, "Passwd-file": all fields but the first may be missing, lines without a user are ignored.
#[test]
fn dovecot_passwd() {
    check(
        Format::DovecotPasswd,
        "user:{plain}password:1000:1000::/home/user::userdb_mail=maildir:~/Maildir allow_nets=192.168.0.0/24\n\
         Joe@Example.com:{SHA512-CRYPT}$6$abc:::::\nann\n# no\n:{plain}x\n\
         off@example.com:{plain}x::::/:/sbin/nologin:nologin\n",
        &["+user@x", "+joe@example.com", "-joe@example.org", "+ann@x", "+off@example.com"],
        &[],
    );
}

#[test]
fn bad_bytes_are_skipped_and_told_escaped() {
    let mut text = b"good@example.com\n\xff\xfe@example.com\nevil\x1b[2J@\x07\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 200_000));
    text.extend(b"@example.com\nlast@example.com\n");
    let (index, faults) = list(Format::Addresses, &text).unwrap();
    assert_eq!((index.len(), faults.count), (2, 3));
    let lines: Vec<u64> = faults.first.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 3, 4]);
    for fault in &faults.first {
        assert!(!fault.to_string().chars().any(char::is_control), "{fault}");
        assert!(fault.to_string().len() < 400, "{fault}");
    }
}

proptest! {
    #[test]
    fn no_file_breaks_a_parser(text in proptest::collection::vec(any::<u8>(), 0..400), fuzz in "([a-z@:\"#+/!$ \\\\\t\r\n\\[(]{0,60})") {
        for text in [&text[..], fuzz.as_bytes()] {
            for format in [Format::Addresses, Format::Aliases, Format::Virtual, Format::Passwd, Format::DovecotPasswd] {
                let _ = list(format, text);
            }
            for grammar in [Grammar::Pcre, Grammar::Regexp] {
                let _ = table(grammar, text).0.find("joe@example.com");
            }
        }
    }
}

// Tables of regular expressions.

fn table(grammar: Grammar, text: &[u8]) -> (Table, Vec<(u64, String)>) {
    let (mut table, mut faults) = (Table::default(), Vec::new());
    let mut fault = |line, bad: BadRule| faults.push((line, bad.to_string()));
    table.read(&mut Lines::new(text), grammar, &mut fault).unwrap();
    (table, faults)
}

/// pcre_table(5) and regexp_table(5), TABLE FORMAT.
#[test]
fn rules_are_tried_as_the_manual_says() {
    use Matched::{No, Perhaps, Yes};
    for (grammar, text, answers) in [
        (Grammar::Pcre, "/^joe@/ ok\n", vec![("joe@x", Yes), ("jo@x", No), ("ajoe@x", No)]),
        (Grammar::Pcre, "!/^joe@/ ok\n", vec![("joe@x", No), ("ann@x", Yes)]),
        (Grammar::Pcre, "! ! /^joe@/ ok\n", vec![("joe@x", Yes), ("ann@x", No)]),
        (Grammar::Pcre, "|^joe/x@| ok\n", vec![("joe/x@x", Yes)]),
        (Grammar::Pcre, "/^joe\\/x@/ ok\n", vec![("joe/x@x", Yes)]),
        (Grammar::Pcre, "/^JOE@/ ok\n", vec![("joe@x", Yes)]),
        // Asks for case, which is folded away: a match is a match, and no match of its negation proves nothing.
        (Grammar::Pcre, "/^JOE@/i ok\n", vec![("joe@x", Yes), ("ann@x", No)]),
        (Grammar::Pcre, "!/^JOE@/i ok\n", vec![("joe@x", Perhaps), ("ann@x", Yes)]),
        // Postfix takes `joe@x`, and `Joe@x` in the next two: what is matched without case may match less.
        (Grammar::Pcre, "/^[^A-Z]+@x$/i ok\n", vec![("joe@x", Perhaps)]),
        (Grammar::Regexp, "/^[^A-Z]+@x$/i ok\n", vec![("joe@x", Perhaps)]),
        (Grammar::Pcre, "/^(?!Joe)/i ok\n", vec![("joe@x", Perhaps), ("ann@x", Yes)]),
        (Grammar::Pcre, "/(?-i)^Joe@/ ok\n", vec![("joe@x", Perhaps)]),
        (Grammar::Pcre, "/(?s-i:^Joe)@/ ok\n", vec![("joe@x", Perhaps)]),
        // Postfix shows them the address as the client wrote it (SMTPUTF8_README), and not folded.
        (Grammar::Pcre, "/@b\u{fc}cher\\.test$/ ok\n", vec![("joe@xn--bcher-kva.test", Perhaps)]),
        (Grammar::Pcre, "/^stra\u{df}e@/ ok\n", vec![("strasse@x", Perhaps), ("jos\u{e9}@x", Perhaps)]),
        (Grammar::Pcre, "/^ joe \\@/x ok\n", vec![("joe@x", Yes)]),
        (Grammar::Pcre, "/^ joe \\@ # it is/xA ok\n", vec![("joe@x", Yes), ("ann@x", No)]),
        (Grammar::Pcre, "/joe@|ann@/A ok\n", vec![("joe@x", Yes), ("ann@x", Yes), ("xann@x", No)]),
        (Grammar::Pcre, "/^a.*?@x$/U ok\n", vec![("ab@x", Yes)]),
        (Grammar::Pcre, "/^joe@x$/msEX ok\n", vec![("joe@x", Yes)]),
        (
            Grammar::Pcre,
            "/^(?!owner-).*-outgoing@/ x\n",
            vec![("a-outgoing@x", Yes), ("owner-a-outgoing@x", No)],
        ),
        (Grammar::Pcre, "/^joe\n  @/ ok\n", vec![("joe@x", No), ("joe  @x", Yes)]),
        (
            Grammar::Pcre,
            "if /@x$/\n/^joe@/ ok\nif !/^b/\n/^.nn@/ ok\nendif\nendif\n/^all@/ ok\n",
            vec![("joe@x", Yes), ("joe@y", No), ("ann@x", Yes), ("bnn@x", No), ("ann@y", No), ("all@y", Yes)],
        ),
        (Grammar::Pcre, "IF /@x$/\n/^joe@/ ok\n", vec![("joe@x", Yes), ("joe@y", No)]),
        // What was not understood might have matched.
        (Grammar::Pcre, "/^joe@(/ ok\n/^ann@/ ok\n", vec![("ann@x", Yes), ("joe@x", Perhaps)]),
        (Grammar::Pcre, "if /(/\n/^ann@/ ok\nendif\n/^bob@/ ok\n", vec![("ann@x", Perhaps), ("bob@x", Yes)]),
        (Grammar::Pcre, "if /(/\nif /x/\n/^ann@/ ok\nendif\n/^ann@/ ok\nendif\n", vec![("ann@x", Perhaps)]),
        (Grammar::Pcre, "/^joe@/q ok\n", vec![("ann@x", Perhaps)]),
        (Grammar::Pcre, "/^joe@/\n", vec![("joe@x", Perhaps)]),
        (Grammar::Pcre, "joe@x ok\n", vec![("joe@x", Perhaps)]),
        (Grammar::Pcre, "endif\n/^joe@/ ok\n", vec![("joe@x", Yes), ("ann@x", No)]),
        (Grammar::Regexp, "/^jo+e@(x|y)$/ ok\n", vec![("jooe@y", Yes), ("joe@z", No)]),
        (Grammar::Regexp, "/^jo+e@x$/x ok\n", vec![("jooe@x", Perhaps)]),
        (Grammar::Regexp, "/^joe@/A ok\n", vec![("ann@x", Perhaps)]),
    ] {
        let (table, _) = table(grammar, text.as_bytes());
        for (address, expected) in answers {
            assert_eq!(table.find(address), expected, "{text:?} {address}");
        }
    }
}

/// Exponential for a backtracking matcher; the limit must be hit long before anybody notices.
#[test]
fn a_catastrophic_pattern_is_unknown_and_quick() {
    let (table, faults) =
        table(Grammar::Pcre, b"/^(([a-z]+)*)*\\d$/ ok\n/^((a|b|ab)*)*\\d$/ ok\n/^last/ ok\n");
    assert_eq!(faults, []);
    let victim = format!("{}@x", "ab".repeat(100));
    let begun = std::time::Instant::now();
    assert_eq!(table.find(&victim), Matched::Perhaps);
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    assert_eq!(table.find(&format!("last{victim}")), Matched::Yes);
}

// Postfix' tools as the judge.

struct Postfix(tempfile::TempDir);

impl Postfix {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("main.cf"), "compatibility_level = 3.6\nsmtputf8_enable = yes\n")
            .unwrap();
        Self(dir)
    }

    fn file(&self, text: &[u8]) -> PathBuf {
        let path = self.0.path().join("map");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The keys that have a value in the table.
    fn known<'a>(&self, tool: &str, kind: &str, text: &[u8], keys: &[&'a str]) -> BTreeSet<&'a str> {
        let path = self.file(text);
        let table = format!("{kind}:{}", path.display());
        if kind == "lmdb" {
            let made =
                Command::new(tool).arg("-c").arg(self.0.path()).arg(&table).stderr(Stdio::null()).status();
            assert!(made.expect("Postfix is installed").success());
        }
        let mut asked = Command::new(tool)
            .args(["-q", "-", "-c"])
            .arg(self.0.path())
            .arg(&table)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Postfix is installed");
        let input = keys.join("\n") + "\n";
        asked.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = asked.wait_with_output().unwrap().stdout;
        let found: BTreeSet<String> = output
            .split(|&b| b == b'\n')
            .filter_map(|line| {
                Some(String::from_utf8_lossy(line).split_once('\t')?.0.trim_end_matches(':').to_owned())
            })
            .collect();
        keys.iter().copied().filter(|key| found.contains(*key)).collect()
    }
}

/// Whatever Postfix finds, we find; and only what Sendmail alone would find besides.
#[test]
fn postmap_agrees_about_virtual_maps() {
    let text = b"# c\na@x OK\nb@x\n  c@x  d\n\"a b\"@x OK\nfoo: bar\nUp@X ok\n\"bad quote@x ok\n@cat.x yes\nlast ok\n  cont\n# c\n e@x ok\nnoval\n  \n\nz@x z\r\n\ty\n";
    let keys =
        ["a@x", "b@x", "c@x", "d@x", "\"a b\"@x", "foo@x", "up@x", "last@x", "e@x", "noval@x", "z@x", "y@x"];
    let (index, _) = list(Format::Virtual, text).unwrap();
    let bare: Vec<String> = keys.iter().map(|key| key.rsplit_once('@').unwrap().0.to_owned()).collect();
    let bare: Vec<&str> = bare.iter().map(String::as_str).collect();
    let postfix = Postfix::new();
    let (whole, local) = (
        postfix.known("postmap", "texthash", text, &keys),
        postfix.known("postmap", "texthash", text, &bare),
    );
    assert!(whole.len() >= 5 && !local.is_empty());
    for (key, bare) in keys.iter().zip(&bare) {
        let ours = index.find(&Address::parse(key).unwrap()).is_some();
        assert_eq!(ours, whole.contains(key) || local.contains(bare), "{key}");
    }
    assert_eq!(postfix.known("postmap", "texthash", text, &["@cat.x"]).len(), 1);
    assert!(index.catches_all(&Domain::parse("cat.x").unwrap()));
}

#[test]
fn postalias_agrees_about_aliases() {
    let text = b"root: joe\nJoe: x\n\"a b\": y\n\"q\\\"r\": z\nempty:\nno colon here\nlist: :include:/tmp/x\n  more: x\n foo: bar\nc d: c\npipe: \"|/bin/x: y\"\nhash#tag: x\nx : y\n\"col:on\": z\n\"at@x\": q\nplus+x: y\n# c\n\n  w: x\nv:\n  y\n";
    let keys = [
        "root", "joe", "a b", "q\"r", "empty", "no", "list", "more", "foo", "c d", "pipe", "hash#tag", "x",
        "col:on", "plus+x", "w", "v", "y",
    ];
    let (index, _) = list(Format::Aliases, text).unwrap();
    let known = Postfix::new().known("postalias", "lmdb", text, &keys);
    assert!(known.len() >= 10, "{known:?}");
    let domain = Domain::parse("example.com").unwrap();
    for key in keys {
        let ours = index.find(&Address::new(key, &domain).unwrap()).is_some();
        assert_eq!(ours, known.contains(key), "{key}");
    }
}

#[test]
fn postmap_agrees_about_tables() {
    let postfix = Postfix::new();
    let keys = [
        "joe@x", "jo@x", "ajoe@x", "ann@x", "joe@y", "ann@y", "bnn@x", "a.b@x", "joe/x@x", "joe  @x",
        "a\\b@x", "(a)@x",
    ];
    for (grammar, rules) in [
        (Grammar::Pcre, "/^joe@/ ok\n"),
        (Grammar::Pcre, "!/^joe@/ ok\n"),
        (Grammar::Pcre, "! /^joe@/ ok\n"),
        (Grammar::Pcre, "!!/^joe@/ ok\n"),
        (Grammar::Pcre, "|^joe/x@| ok\n"),
        (Grammar::Pcre, "/^joe\\/x@/ ok\n"),
        (Grammar::Pcre, "/^ joe \\@/x ok\n"),
        (Grammar::Pcre, "/joe@|ann@/A ok\n"),
        (Grammar::Pcre, "/^joe\n  @/ ok\n"),
        (Grammar::Pcre, "if /@x$/\n/^joe@/ ok\nif !/^b/\n/^.nn@/ ok\nendif\nendif\n/^all@/ ok\n"),
        (Grammar::Pcre, "IF /@x$/\n/^joe@/ ok\nENDIF\n"),
        (Grammar::Pcre, "if /@x$/\n# c\n/^joe@/ ok\n"),
        (Grammar::Pcre, "/^a\\.b@/ok\n/^ann/ ok\n"),
        (Grammar::Regexp, "/^joe@/ ok\n"),
        (Grammar::Regexp, "!/^joe@/ ok\n"),
        (Grammar::Regexp, "/^(a[.]b|jo+e)@(x|y)$/ ok\n"),
        (Grammar::Regexp, "/^a[\\.]b@/ ok\n"),
        (Grammar::Regexp, "/^[[:alpha:]]{2}@/ ok\n"),
        (Grammar::Regexp, "if /@x$/\n/nn@/ ok\nendif\n"),
    ] {
        let kind = if grammar == Grammar::Pcre { "pcre" } else { "regexp" };
        let known = postfix.known("postmap", kind, rules.as_bytes(), &keys);
        let (table, faults) = table(grammar, rules.as_bytes());
        for key in keys {
            match table.find(key) {
                Matched::Yes => assert!(known.contains(key), "{rules:?} {key}"),
                Matched::No => assert!(!known.contains(key), "{rules:?} {key}"),
                Matched::Perhaps => assert_ne!(faults, [], "{rules:?} {key}"),
            }
        }
    }
}

/// Where the translation from POSIX is not certain it must refuse, so "yes" and "no" are always Postfix' own.
#[test]
fn posix_expressions_match_as_in_postfix() {
    let postfix = Postfix::new();
    let keys = [
        "", "a", "b", "ab", "ba", "aa", "bb", "aab", "abab", "a+b", "a*b", "a.b", "a(b)", "a|b", "[a]",
        "a]b", "a\\b", "a{2}", "aabb", "a b", "a1", "1", "-", "^a", "a$", "^", "d", "wa",
    ];
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    let fixed = [
        "a+?",
        "^a+?$",
        "a**",
        "^(a*)*$",
        "^(ab|a)(ab)?$",
        "^a{2}$",
        "^a{,2}$",
        "^a{1,2}b{2}$",
        "^a{2",
        "a{x}",
        "^[]a]$",
        "^[^]a]$",
        "^[\\.]$",
        "^a[\\]b$",
        "^[[:digit:]a]+$",
        "^[a-]+$",
        "*a",
        "a|*b",
        "(*a)",
        "^*a",
        "a)",
        "(a",
        "()",
        "(|a)",
        "a||b",
        "\\<a",
        "a\\>",
        "\\ba",
        "\\wa",
        "\\d",
        "^\\(",
        "\\)",
        "\\{",
        "^a\\+b",
        "^a\\*b$",
        "^(a)\\1$",
        "^(a)\\12$",
        "^(a|b)+\\1$",
        "(?:a)",
        "(?i)a",
        "^a.b$",
        "^a\\.b$",
        "^\\^a$",
        "^a\\$$",
        "$a",
        "a^b",
        "^a{0}b",
        "^(ab){2}$",
        "a\\",
        "[a",
        "[[.a.]]",
        "[[=a=]]",
        "[[:foo:]]",
        "^(a*)+$",
        "^(a+)+b*?$",
        "^a*+b$",
        "^.a??b",
        "x{1001}",
        "\\`a",
        "b\\'",
        "[a\\",
        "a{2}{2}",
        "^a{1}{2}$",
    ];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let pieces = proptest::sample::select(vec![
        "a", "b", ".", "^", "$", "(", ")", "|", "*", "+", "?", "{2}", "{1,}", "{,2}", "[ab]", "[^a]", "[]]",
        "\\.", "\\(", "\\w", "\\1", "[a\\]", "{", "}", "]",
    ]);
    let random = proptest::collection::vec(pieces, 1..7);
    let mut patterns: Vec<String> = fixed.iter().map(|&pattern| pattern.to_owned()).collect();
    for _ in 0..150 {
        patterns.push(random.new_tree(&mut runner).unwrap().current().concat());
    }
    let mut certain = 0;
    for pattern in patterns {
        let rule = format!("~{pattern}~ ok\n");
        let known = postfix.known("postmap", "regexp", rule.as_bytes(), &keys);
        let (table, _) = table(Grammar::Regexp, rule.as_bytes());
        for key in &keys {
            match table.find(key) {
                Matched::Yes => assert!(known.contains(key), "{pattern:?} matches {key:?} only here"),
                Matched::No => assert!(!known.contains(key), "{pattern:?} matches {key:?} only in Postfix"),
                Matched::Perhaps => continue,
            }
            certain += 1;
        }
    }
    assert!(certain > 2500, "only {certain} answers were certain");
}
