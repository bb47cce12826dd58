//! Configurations of Sendmail, one for each clause.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use backstop::detect::{Options, Place};
use backstop_harness::{Sendmail, SendmailBuilder, TempDir};

use super::{Expected, compare, judge::Judge};

/// Tables for one configuration, indexed with makemap.
struct Tables {
    dir: TempDir,
}

impl Tables {
    fn new() -> Self {
        Self { dir: TempDir::new("tables") }
    }

    /// Writes and indexes a table; returns its path as sendmail.mc names it.
    fn map(&self, name: &str, content: &str) -> String {
        let text = self.dir.write(name, content);
        let status = Command::new("sh")
            .args(["-c", "\"$0\" -C /dev/null hash \"$1\" < \"$1\"", MAKEMAP])
            .arg(&text)
            .status()
            .expect("run makemap");
        assert!(status.success(), "makemap {name}");
        text.display().to_string()
    }

    /// Writes a text; returns its path.
    fn text(&self, name: &str, content: &str) -> String {
        self.dir.write(name, content).display().to_string()
    }
}

fn sendmail(lines: &str) -> SendmailBuilder {
    let lines =
        format!("{SAFE}\nFEATURE(`use_cw_file')dnl\ndefine(`ALIAS_FILE', `{{dir}}/aliases')dnl\n{lines}");
    Sendmail::builder()
        .file("aliases", "staff: root\n")
        .mc(&lines)
        .file("local-host-names", "a.test\nb.test\n")
}

fn judge(sendmail: &Sendmail, wrapper: &Path) -> Judge {
    Judge::new(Options {
        postfix: Place::Skip,
        sendmail: Place::At(sendmail.config_directory().join("sendmail.cf")),
        sendmail_program: Some(wrapper.to_owned()),
        dovecot: Place::Skip,
        ..Options::default()
    })
}

/// `sendmail` as it runs on a host whose name has a dot; without one it would sleep for a minute.
fn wrapper(sendmail: &Sendmail, dir: &TempDir) -> std::path::PathBuf {
    let command = sendmail.command(&[]);
    let program = Path::new(command.get_program());
    let hosts = sendmail.config_directory().with_file_name("etc").join("hosts");
    let script = format!(
        "#!/bin/sh\nexec unshare --uts --mount sh -ec 'hostname mx2.example.test; mount --bind {} /etc/hosts; exec \"$@\"' - {} \"$@\"\n",
        hosts.display(),
        program.display(),
    );
    let path = dir.write("sendmail", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    let makemap = dir.join("makemap");
    let _ = std::fs::remove_file(&makemap);
    std::os::unix::fs::symlink(program.with_file_name("makemap"), makemap).expect("link makemap");
    path
}

#[track_caller]
fn check(builder: SendmailBuilder, expected: &Expected<'_>) {
    let dir = TempDir::new("wrapper");
    let sendmail = builder.start();
    compare(&judge(&sendmail, &wrapper(&sendmail, &dir)), sendmail.port(), expected);
}

const NONE: Expected<'_> = Expected { locals: &[], whole: &[], partial: &[], taken: &[], refused: &[] };
const SAFE: &str = "define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe, ClassFileInUnsafeDirPath, MapInUnsafeDirPath, \
    WorldWritableAliasFile, GroupWritableAliasFile, ForwardFileInUnsafeDirPath')dnl";

const MAKEMAP: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/harness/sendmail/usr/libexec/sendmail/makemap");

#[test]
fn local_users_and_aliases() {
    let tables = Tables::new();
    // "@" says that the index is complete, as newaliases has it
    let indexed = tables.map("indexed", "@ @\nlist root\nplus+tag root\nowner-list nobody\nstar+* root\n");
    let text = tables.text("aliases", "Texted: root\n\"quoted name\": root\nlong: root,\n nobody\n");
    check(
        sendmail(&format!("define(`ALIAS_FILE', `{indexed}, {text}')dnl")),
        &Expected {
            locals: &["list", "plus", "plus+tag", "texted", "star", "long", "quoted name"],
            whole: &["a.test", "b.test", "mx2.example.test"],
            taken: &[
                "list@a.test",
                "LIST+x@b.test",
                "root+y@a.test",
                "texted@a.test",
                "owner-list@a.test",
                "plus+tag@a.test",
                "long@b.test",
            ],
            refused: &["nosuchuser@a.test", "nosuchuser+x@b.test", "plus@a.test", "list-x@a.test"],
            ..NONE
        },
    );
}

#[test]
fn virtual_users() {
    let tables = Tables::new();
    let virtusers = tables.map(
        "virtusertable",
        "info@a.test root\n@b.test root\n@c.test error:nouser No such user\nsome@c.test root\nfull+*@c.test root\nmore++@c.test root\n\
         @d.test error:tempfail Come again\n@e.test %1@a.test\ngone@a.test error:5.1.6:551 moved\n@f.test error:5.7.0:550 closed\n",
    );
    let builder = sendmail(&format!("FEATURE(`virtusertable', `hash -o {virtusers}')dnl"));
    check(
        builder.file("local-host-names", "a.test\nb.test\nc.test\nd.test\ne.test\nf.test\ng.test\n"),
        &Expected {
            locals: &["info", "some", "full", "full+x", "more", "more+x", "gone"],
            whole: &["a.test", "c.test", "f.test", "g.test"],
            partial: &[("b.test", "resolves to"), ("d.test", "resolves to")],
            taken: &[
                "info@a.test",
                "info+x@a.test",
                "whoever@b.test",
                "some@c.test",
                "full+x@c.test",
                "more+x@c.test",
                "root@e.test",
                "root@g.test",
            ],
            refused: &["nosuchuser@a.test", "nosuchuser@c.test", "nosuchuser@f.test", "info@g.test"],
        },
    );
}

#[test]
fn diverted_local_users() {
    for (lines, reason) in [
        ("define(`LUSER_RELAY', `local:root')dnl", "LUSER_RELAY"),
        ("define(`LUSER_RELAY', `error:5.1.1:550 no')dnl", "LUSER_RELAY"),
        ("define(`MAIL_HUB', `esmtp:[127.0.0.1]')dnl", "MAIL_HUB"),
        ("define(`LOCAL_RELAY', `esmtp:[127.0.0.1]')dnl", "LOCAL_RELAY"),
        ("define(`confMATCH_GECOS', `True')dnl", "MatchGECOS"),
        ("LOCAL_RULE_0\nRsecret < @ a.test . >\t$#local $: root", "ruleset"),
        ("LOCAL_RULESETS\nSLocal_localaddr\nRsecret\t$#local $: root", "ruleset"),
        ("define(`ALIAS_FILE', `ldap:')dnl", "AliasFile"),
        // Sendmail takes everything while it can't open its aliases
        ("define(`ALIAS_FILE', `/nowhere/aliases')dnl", "invented user"),
        ("define(`ALIAS_FILE', `')dnl", "invented user"),
        ("define(`confUSERDB_SPEC', `/nowhere/userdb.db')dnl", "UserDatabaseSpec"),
    ] {
        check(sendmail(lines), &Expected { locals: &["secret"], partial: &[("a.test", reason)], ..NONE });
    }
}

#[test]
fn routed_domains() {
    let tables = Tables::new();
    let mailertable = tables.map("mailertable", "a.test esmtp:[127.0.0.1]\n.b.test esmtp:[127.0.0.1]\n");
    let domaintable = tables.map("domaintable", "old.test a.test\n");
    let lines = format!(
        "FEATURE(`mailertable', `hash -o {mailertable}')dnl\nFEATURE(`domaintable', `hash -o {domaintable}')dnl"
    );
    check(
        sendmail(&lines).file("local-host-names", "a.test\nb.test\nx.b.test\nold.test\n"),
        &Expected {
            whole: &["b.test"],
            partial: &[("a.test", "mailertable"), ("x.b.test", "mailertable"), ("old.test", "domaintable")],
            taken: &["root@b.test", "root@old.test"],
            refused: &["nosuchuser@b.test"],
            ..NONE
        },
    );
    let missing = sendmail("FEATURE(`mailertable', `text -o /etc/hosts')dnl");
    check(missing, &Expected { partial: &[("a.test", "mailertable")], ..NONE });
}

#[test]
fn relayed_domains() {
    let tables = Tables::new();
    let access = tables
        .map("access", "To:given.test RELAY\nConnect:192.0.2 RELAY\nold.test RELAY\nspam.test REJECT\n");
    let lines = format!(
        "FEATURE(`access_db', `hash -o -T<TMPF> {access}')dnl\nVIRTUSER_DOMAIN(`hosted.test')dnl\n\
         FEATURE(`virtusertable', `hash -o {access}')dnl"
    );
    let dir = TempDir::new("wrapper");
    let sendmail = sendmail(&lines).relay_domains(&["r.test"]).next_hop(1).start();
    let judge = judge(&sendmail, &wrapper(&sendmail, &dir));
    let relayed = "only relayed";
    let expected = Expected {
        whole: &["a.test"],
        partial: &[
            ("r.test", relayed),
            ("sub.r.test", relayed),
            ("given.test", relayed),
            ("old.test", relayed),
            ("hosted.test", relayed),
        ],
        taken: &[
            "nosuchuser@r.test",
            "nosuchuser@sub.r.test",
            "nosuchuser@given.test",
            "whoever@hosted.test",
        ],
        refused: &["nosuchuser@a.test"],
        ..NONE
    };
    compare(&judge, sendmail.port(), &expected);
    let findings = judge.findings();
    assert!(findings.hints[0].toml.contains("\"r.test\""), "{:?}", findings.hints);
    assert!(findings.domains.iter().all(|domain| domain.pattern.to_string() != "spam.test"));
    let networks: Vec<String> = findings.networks.iter().map(|network| network.value.to_string()).collect();
    assert_eq!(networks, ["192.0.2.0/24"]);
}

#[test]
fn routed_by_ldap() {
    let lines = "define(`confLDAP_DEFAULT_SPEC', `-h 127.0.0.1 -p 1 -b dc=x')dnl\n\
        FEATURE(`ldap_routing')dnl\nLDAPROUTE_DOMAIN(`a.test')dnl";
    check(sendmail(lines), &Expected { partial: &[("a.test", "LDAPROUTE")], ..NONE });
}

#[test]
fn local_mailer_without_users() {
    let lines = "MODIFY_MAILER_FLAGS(`LOCAL', `-w')dnl";
    check(sendmail(lines), &Expected { partial: &[("a.test", "flags")], ..NONE });
}

#[test]
fn the_program_does_not_answer() {
    let dir = TempDir::new("wrapper");
    let sendmail = sendmail("").start();
    let path = dir.write("sendmail", "#!/bin/sh\nexit 70\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    let judge = judge(&sendmail, &path);
    // classes are then what the file itself says
    compare(&judge, sendmail.port(), &Expected { partial: &[("localhost", "could not be asked")], ..NONE });
}

#[test]
fn who_asks_us() {
    let dir = TempDir::new("wrapper");
    let sendmail = sendmail("").milter("inet:1@127.0.0.1").start();
    let findings = judge(&sendmail, &wrapper(&sendmail, &dir)).findings();
    let uses: Vec<_> = findings
        .milters
        .iter()
        .map(|milter| (&*milter.service, &*milter.milters, &*milter.when_away))
        .collect();
    assert_eq!(uses, [("sendmail.cf", &["inet:1@127.0.0.1".to_owned()][..], "F=T")]);
    assert_eq!(findings.delimiters, "+");
    for name in ["sendmail.cf", "local-host-names"] {
        assert!(
            findings.watch.contains(&sendmail.config_directory().join(name)),
            "{name}: {:?}",
            findings.watch
        );
    }
}
