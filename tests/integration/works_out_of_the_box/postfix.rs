//! Configurations of Postfix, one for each clause.

use backstop::detect::{Options, Place};
use backstop_harness::{Dovecot, Postfix, PostfixBuilder};

use super::{Expected, compare, judge::Judge};

fn judge(postfix: &Postfix) -> Judge {
    Judge::new(Options {
        postfix: Place::At(postfix.config_directory()),
        sendmail: Place::Skip,
        dovecot: Place::Skip,
        ..Options::default()
    })
}

#[track_caller]
fn check(builder: PostfixBuilder, expected: &Expected<'_>) {
    let postfix = builder.start();
    compare(&judge(&postfix), postfix.port(), expected);
}

/// No domains of its own, as far as the test does not say otherwise.
fn postfix(main: &str) -> PostfixBuilder {
    Postfix::builder()
        .main("relay_domains =\nsmtpd_reject_unlisted_recipient = yes\nappend_dot_mydomain = no\nmynetworks = 127.0.0.1/32")
        .main("smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination")
        .main(main)
}

const NONE: Expected<'_> = Expected { locals: &[], whole: &[], partial: &[], taken: &[], refused: &[] };

#[test]
fn local_users_and_aliases() {
    let builder = postfix(
        "mydestination = a.test, localhost\nalias_maps = hash:$config_directory/aliases\nrecipient_delimiter = +-\n\
         local_recipient_maps = proxy:unix:passwd.byname $alias_maps",
    );
    let builder = builder.map("hash", "aliases", "list root\nowner-list nobody\nplus+tag root\nUpper root\n");
    check(
        builder,
        &Expected {
            locals: &["list", "owner-list", "plus+tag", "plus", "upper"],
            whole: &["a.test", "localhost"],
            taken: &[
                "list@a.test",
                "list-x@a.test",
                "root+y@a.test",
                "owner-list@a.test",
                "UPPER@localhost",
                "plus+tag@a.test",
            ],
            refused: &["nosuchuser@a.test", "plus@a.test", "owner-root@a.test", "nosuchuser@A.TEST."],
            ..NONE
        },
    );
}

#[test]
fn virtual_aliases() {
    let builder = postfix(
        "mydestination = a.test\nmyorigin = a.test\nalias_maps =\nlocal_recipient_maps = inline:{ann=x}\n\
         virtual_alias_maps = hash:$config_directory/virtual",
    );
    let builder = builder.map(
        "hash",
        "virtual",
        "v.test domain\ninfo@v.test root\nbare root\n\"a b\"@v.test root\nall.test domain\n@all.test root\nbob+x@v.test root\n\
         only@a.test root\nbücher@v.test root\n",
    );
    check(
        builder,
        &Expected {
            locals: &["bare", "ann", "only", "bob", "bob+x", "bücher"],
            whole: &["a.test", "v.test"],
            taken: &[
                "info@v.test",
                "bare@a.test",
                "ann@a.test",
                "only@a.test",
                "\"a b\"@v.test",
                "anything@all.test",
            ],
            refused: &["bare@v.test", "ann@v.test", "nosuchuser@v.test", "nosuchuser@a.test", "bob@v.test"],
            ..NONE
        },
    );
}

#[test]
fn virtual_mailboxes_and_patterns() {
    let builder = postfix(
        "virtual_mailbox_domains = m.test, table.test inline:{inlined.test=x}\nvirtual_mailbox_base = /tmp\nvirtual_uid_maps = static:1000\n\
         virtual_gid_maps = static:1000\nvirtual_mailbox_maps = btree:$config_directory/boxes\nrecipient_delimiter = _\n\
         virtual_alias_maps = pcre:$config_directory/pcre, regexp:$config_directory/regexp",
    );
    let builder = builder
        .map("btree", "boxes", "box@m.test box/\nbox@table.test box/\n")
        .file(
            "pcre",
            "/^sales-[0-9]+@m\\.test$/ box@m.test\nif /@table\\.test$/\n/^caught/ box@m.test\nendif\n",
        )
        .file("regexp", "/^(old|new)-box@m\\.test$/ box@m.test\n!/./ nobody@m.test\n");
    check(
        builder,
        &Expected {
            locals: &["box", "sales-12", "sales-x", "old-box", "caught", "caught-it"],
            whole: &["m.test", "table.test", "inlined.test"],
            taken: &[
                "box@m.test",
                "BOX_x@m.test",
                "sales-12@m.test",
                "caughtit@table.test",
                "old-box@m.test",
            ],
            refused: &["sales-x@m.test", "caught@m.test", "nosuchuser@inlined.test", "box-x@m.test"],
            ..NONE
        },
    );
}

#[test]
fn relayed_with_a_table_of_recipients() {
    let builder = postfix(
        "relay_domains = r.test, cdb:$config_directory/relayed\nrelay_recipient_maps = cdb:$config_directory/recipients texthash:$config_directory/more\n\
         relay_transport = discard:\nparent_domain_matches_subdomains = relay_domains",
    );
    let builder = builder
        .map("cdb", "relayed", "s.test x\n")
        .map("cdb", "recipients", "in@r.test x\nin@sub.r.test x\n@s.test x\n")
        .file("more", "more@r.test x\n");
    check(
        builder,
        &Expected {
            locals: &["in", "more"],
            whole: &["r.test", "sub.r.test"],
            taken: &["in@r.test", "in@sub.r.test", "more@r.test", "whoever@s.test"],
            refused: &["more@sub.r.test", "nosuchuser@r.test"],
            ..NONE
        },
    );
}

#[test]
fn relayed_without_one() {
    let postfix = postfix("relay_domains = r.test\nrelay_recipient_maps =\nrelay_transport = discard:\nrelayhost = [inside.test]").start();
    let judge = judge(&postfix);
    let expected = Expected {
        partial: &[("r.test", "relay_recipient_maps is empty")],
        taken: &["nosuchuser@r.test", "whoever+x@r.test"],
        ..NONE
    };
    compare(&judge, postfix.port(), &expected);
    let findings = judge.findings();
    let hint = &findings.hints[0].toml;
    assert!(
        hint.contains("[directory.inside.smtp]") && hint.contains(".ldap]") && hint.contains("\"r.test\""),
        "{hint}"
    );
    assert!(hint.contains("[inside.test]"), "{hint}");

    // A next hop in relay_transport is before relayhost (postconf(5) relay_transport).
    let started = self::postfix(
        "relay_domains = r.test\nrelay_transport = relay:[198.51.100.5]\nrelayhost = [inside.test]",
    )
    .start();
    let findings = self::judge(&started).findings();
    let hint = &findings.hints[0].toml;
    assert!(hint.contains("next hop: [198.51.100.5]\n"), "{hint}");
}

#[test]
fn diverted_local_users() {
    for (setting, reason) in [
        ("luser_relay = root", "luser_relay = root"),
        ("fallback_transport = discard:", "fallback_transport"),
        ("fallback_transport_maps = inline:{x=discard:}", "fallback_transport_maps"),
        ("mailbox_transport = discard:", "mailbox_transport"),
        ("mailbox_transport_maps = inline:{x=discard:}", "mailbox_transport_maps"),
        ("local_transport = discard:", "local_transport"),
    ] {
        // as an admin must, who diverts: Postfix would refuse the unknown users itself
        let builder = postfix("mydestination = a.test\nalias_maps =\nlocal_recipient_maps =").main(setting);
        check(builder, &Expected { partial: &[("a.test", reason)], taken: &["nosuchuser@a.test"], ..NONE });
        let builder =
            postfix("mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname")
                .main(setting);
        check(builder, &Expected { partial: &[("a.test", reason)], taken: &["root@a.test"], ..NONE });
    }
}

#[test]
fn no_table_of_local_recipients() {
    check(
        postfix("mydestination = a.test\nalias_maps =\nlocal_recipient_maps ="),
        &Expected {
            partial: &[("a.test", "local_recipient_maps is empty")],
            taken: &["nosuchuser@a.test"],
            ..NONE
        },
    );
}

#[test]
fn everything_is_taken() {
    let builder = postfix(
        "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = static:all\nvirtual_alias_domains = c.test\n\
         virtual_alias_maps = inline:{@c.test=root}",
    );
    let judged = builder.start();
    let judge = judge(&judged);
    let expected = Expected { taken: &["nosuchuser@a.test", "nosuchuser@c.test"], ..NONE };
    compare(&judge, judged.port(), &expected);
    for domain in ["a.test", "c.test"] {
        assert_eq!(judge.partial(domain), Some(Vec::new()), "{domain}");
    }
}

#[test]
fn canonical_addresses() {
    let builder = postfix(
        "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = inline:{ann=x}\ncanonical_maps = texthash:$config_directory/canonical\n\
         recipient_canonical_maps = regexp:$config_directory/srs",
    );
    let builder = builder
        .file("canonical", "first.last@a.test ann\n@b.test @a.test\nnick ann\n")
        .file("srs", "/^srs0=.*@a\\.test$/ ann@a.test\n");
    check(
        builder,
        &Expected {
            locals: &["first.last", "ann", "nick", "srs0=x=y=z=w"],
            whole: &["a.test"],
            taken: &["first.last@a.test", "SRS0=AbCd=EF=elsewhere.test=x@a.test", "nick@a.test"],
            refused: &["first@a.test"],
            ..NONE
        },
    );
}

#[test]
fn tables_that_cannot_be_listed() {
    // SRS daemons are asked over TCP (tcp_table(5)); nobody answers here, so Postfix tempfails
    for (settings, reason) in [
        ("recipient_canonical_maps = tcp:127.0.0.1:1", "recipient_canonical_maps"),
        ("canonical_maps = socketmap:inet:127.0.0.1:1:x", "canonical_maps"),
        ("virtual_alias_maps = proxy:ldap:$config_directory/ldap.cf", "virtual_alias_maps"),
        ("virtual_alias_maps = unionmap:{inline:{bob@a.test=x},inline:{ann@a.test=x}}", "unionmap"),
        ("virtual_alias_maps = pipemap:{inline:{bob@a.test=x},inline:{x=y}}", "pipemap"),
        ("virtual_alias_maps = randmap:{root}", "randmap"),
        ("virtual_alias_maps = sqlite:$config_directory/sqlite.cf", "sqlite"),
        ("virtual_alias_maps = nis:mail.aliases", "nis"),
        ("virtual_alias_maps = hash:$config_directory/missing", "missing"),
        ("virtual_alias_maps = pcre:$config_directory/missing", "missing"),
        ("virtual_alias_maps = fail:x", "fail"),
    ] {
        let builder =
            postfix("mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname");
        check(builder.main(settings), &Expected { partial: &[("a.test", reason)], ..NONE });
    }
}

#[test]
fn only_the_class_of_an_unlistable_table_is_partial() {
    let builder = postfix(
        "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname\n\
         virtual_mailbox_domains = m.test\nvirtual_mailbox_maps = inline:{box@m.test=x}, socketmap:inet:127.0.0.1:1:x\n\
         virtual_mailbox_base = /tmp\nvirtual_uid_maps = static:1000\nvirtual_gid_maps = static:1000",
    );
    check(
        builder,
        &Expected {
            locals: &["box"],
            whole: &["a.test"],
            partial: &[("m.test", "socketmap")],
            taken: &["box@m.test", "root@a.test"],
            refused: &["nosuchuser@a.test"],
        },
    );
}

const ROUTED: &str =
    "mydestination = a.test, b.test, sub.c.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname\n";

#[test]
fn routed_domains() {
    let builder = postfix(ROUTED)
        .main("transport_maps = inline:{{a.test = discard:}, {joe@b.test = discard:}, {.c.test = discard:}}");
    check(
        builder,
        &Expected {
            partial: &[
                ("a.test", "transport_maps"),
                ("b.test", "transport_maps"),
                ("sub.c.test", "transport_maps"),
            ],
            ..NONE
        },
    );
}

#[test]
fn routed_elsewhere_only() {
    let builder = postfix(ROUTED).main("transport_maps = inline:{{other.test = discard:}}");
    check(builder, &Expected { whole: &["a.test", "b.test", "sub.c.test"], taken: &["root@a.test"], ..NONE });
}

#[test]
fn routed_all() {
    for all in ["inline:{{* = local:}}", "regexp:$config_directory/re", "static:local:", "tcp:127.0.0.1:1"] {
        let builder =
            postfix(ROUTED).main(&format!("transport_maps = {all}")).file("re", "/nothing/ discard:\n");
        check(builder, &Expected { partial: &[("a.test", "transport_maps")], ..NONE });
    }
}

#[test]
fn services_with_settings_of_their_own() {
    let base = "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname\n";
    for options in [
        "local_recipient_maps=",
        "virtual_alias_maps=static:root",
        "receive_override_options=no_unknown_recipient_checks",
    ] {
        // this one asks milters, so a recipient that it alone takes could be shown to us
        let port = backstop_harness::free_port();
        let service = format!("127.0.0.1:{port} inet n - n - - smtpd\n  -o {options}");
        let started = postfix(base).master(&service).start();
        let expected =
            Expected { partial: &[("a.test", "master.cf")], taken: &["nosuchuser@a.test"], ..NONE };
        compare(&judge(&started), port, &expected);
        // the same without milters, as behind a content filter, is none of our business
        let service = format!("{service} -o smtpd_milters=");
        check(postfix(base).master(&service), &Expected { whole: &["a.test"], ..NONE });
    }
}

#[test]
fn recipients_are_not_checked() {
    check(
        postfix(
            "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname\n\
             smtpd_reject_unlisted_recipient = no",
        ),
        &Expected {
            partial: &[("a.test", "smtpd_reject_unlisted_recipient")],
            taken: &["nosuchuser@a.test"],
            ..NONE
        },
    );
}

#[test]
fn lists_of_domains() {
    let builder = postfix(
        "mydestination = !not.test, $config_directory/list, hash:$config_directory/table, pcre:$config_directory/pcre, not.test\n\
         alias_maps =\nlocal_recipient_maps = inline:{ann=x}\nvirtual_alias_domains = v.test, w.test\n\
         virtual_alias_maps = inline:{info@v.test=ann}",
    );
    let builder = builder
        .file("list", "# comment\nlisted.test, second.test\nThird.TEST\n")
        .map("hash", "table", "tabled.test x\n")
        .file("pcre", "/^w\\.test$/ x\n");
    check(
        builder,
        &Expected {
            locals: &["ann"],
            whole: &["listed.test", "second.test", "third.test", "tabled.test", "v.test"],
            partial: &[("w.test", "mydestination")],
            taken: &["ann@listed.test", "ann@tabled.test", "info@v.test", "ann@w.test"],
            refused: &["nosuchuser@third.test", "ann@v.test"],
        },
    );
}

#[test]
fn several_instances() {
    let second =
        postfix("mydestination = a.test, second.test\nalias_maps =\nlocal_recipient_maps = inline:{ann=x}")
            .start();
    let instances = format!("multi_instance_directories = {}", second.config_directory().display());
    let first =
        postfix("mydestination = a.test, first.test\nalias_maps =\nlocal_recipient_maps = inline:{bob=x}")
            .main(&instances)
            .start();
    let judge = judge(&first);
    let expected = Expected {
        locals: &["ann", "bob"],
        whole: &["a.test", "first.test", "second.test"],
        refused: &["nosuchuser@a.test", "ann@first.test", "bob@second.test"],
        ..NONE
    };
    // relay access to the other's own domain is denied: 554
    compare(&judge, first.port(), &Expected { taken: &["bob@a.test", "bob@first.test"], ..expected });
    compare(&judge, second.port(), &Expected { taken: &["ann@a.test", "ann@second.test"], ..expected });
    assert_eq!(judge.findings().mtas.len(), 2);
}

#[test]
fn patterns_of_a_domain_in_unicode() {
    let builder = postfix(
        "mydestination = bücher.test, a.test\nalias_maps =\nlocal_recipient_maps = inline:{ann=x}\n\
         virtual_alias_maps = regexp:$config_directory/re",
    );
    check(
        builder.file("re", "/^info@bücher\\.test$/ ann\n"),
        &Expected {
            locals: &["ann"],
            whole: &["a.test"],
            partial: &[("xn--bcher-kva.test", "Unicode")],
            taken: &["ann@a.test", "info@bücher.test"],
            refused: &["nosuchuser@a.test"],
        },
    );
}

#[test]
fn rewritten_single_labels() {
    let builder = postfix(
        "mydestination = host, host.example.test\nmydomain = example.test\nappend_dot_mydomain = yes\nalias_maps =\n\
         local_recipient_maps = inline:{joe@host.example.test=x}",
    );
    check(
        builder,
        &Expected {
            locals: &["joe"],
            whole: &["host.example.test"],
            partial: &[("host", "append_dot_mydomain")],
            taken: &["joe@host", "joe@host.example.test"],
            refused: &["nosuchuser@host.example.test"],
        },
    );
}

#[test]
fn what_else_is_found() {
    let builder = postfix(
        "mydestination = a.test\nalias_maps =\nlocal_recipient_maps = unix:passwd.byname\nrecipient_delimiter = +=\n\
         mynetworks = 192.0.2.0/24 [2001:db8::]/32 cidr:$config_directory/nets !192.0.2.0/28\naddress_verify_sender = probe@a.test\n\
         non_smtpd_milters = unix:/run/x\nmilter_default_action = quarantine",
    );
    let builder = builder.file("nets", "10.0.0.0/8 OK\n").milter("inet:127.0.0.1:1");
    let port = backstop_harness::free_port();
    let builder = builder.master(&format!("127.0.0.1:{port} inet n - n - - smtpd\n  -o smtpd_milters="));
    let postfix = builder.start();
    let findings = judge(&postfix).findings();
    assert_eq!(findings.delimiters, "+=");
    assert_eq!(findings.probes, ["double-bounce", "probe"]);
    let networks: Vec<String> = findings.networks.iter().map(|network| network.value.to_string()).collect();
    assert_eq!(networks, ["2001:db8::/32", "10.0.0.0/8"]);
    let milters: Vec<(&str, &[String])> =
        findings.milters.iter().map(|milter| (&*milter.service, &*milter.milters)).collect();
    let service = format!("master.cf 127.0.0.1:{port}/inet");
    let ours = ["inet:127.0.0.1:1".to_owned()];
    let theirs = ["unix:/run/x".to_owned()];
    assert_eq!(
        milters,
        [("smtpd_milters", &ours[..]), ("non_smtpd_milters", &theirs[..]), (&*service, &[][..])]
    );
    let main_cf = postfix.config_directory().join("main.cf");
    for watched in [main_cf.clone(), main_cf.with_file_name("master.cf"), main_cf.with_file_name("nets")] {
        assert!(findings.watch.contains(&watched), "{watched:?}");
    }
    let domain = findings.covering("a.test").next().unwrap();
    let text = std::fs::read_to_string(&main_cf).unwrap();
    let line = text.lines().position(|line| line.starts_with("mydestination")).unwrap() + 1;
    assert_eq!(domain.evidence.place, Some((main_cf, Some(line))));
}

/// Dovecot's users can be had over LMTP: offered where Postfix hands it a domain's mail, and no alias is out of sight.
#[test]
fn dovecots_socket_is_offered() {
    let dovecot = Dovecot::start(&["ann@v.test"]);
    let handed = |more: &str| {
        let main = format!(
            "mydestination =\nvirtual_mailbox_domains = v.test w.test\nvirtual_mailbox_maps = ldap:/nowhere\n\
             virtual_transport = lmtp:unix:{}\n{more}",
            dovecot.lmtp().display()
        );
        let postfix = postfix(&main).start();
        let options = Options {
            postfix: Place::At(postfix.config_directory()),
            sendmail: Place::Skip,
            dovecot: Place::At(dovecot.config_file()),
            ..Options::default()
        };
        Judge::new(options).findings().hints.clone()
    };
    let hints = handed("");
    let [hint] = hints.as_slice() else { panic!("{hints:?}") };
    assert!(hint.why.contains("v.test, w.test"), "{hint:?}");
    for line in [
        "domains = [\"v.test\", \"w.test\"]".to_owned(),
        "[directory.dovecot.smtp]".to_owned(),
        format!("host = \"lmtp:unix:{}\"", dovecot.lmtp().display()),
    ] {
        assert!(hint.toml.lines().any(|found| found == line), "{line} in {}", hint.toml);
    }
    for elsewhere in ["virtual_alias_maps = ldap:/nowhere", "virtual_transport = lmtp:unix:/nowhere/lmtp"] {
        let hints = handed(elsewhere);
        assert!(!hints.iter().any(|hint| hint.toml.contains("dovecot")), "{elsewhere}: {hints:?}");
    }
}
