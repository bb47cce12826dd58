use proptest::prelude::*;

use super::*;

/// Plays a server's side: `S:` is what it says, `C:` what we must have said, `TLS` the handshake; `?` asks for joe@x.test,
/// `&` for ann@x.test as well, and `!` is the answer that must have come. Returns the error that ended it.
fn play(protocol: Protocol, tls: Tls, script: &str) -> Option<TalkError> {
    let mut conversation = Conversation::new(protocol, "us.test", tls);
    let mut said = String::new();
    let mut answer = None;
    let mut at = Step::Read;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix("S: ") {
            conversation.receive(text.replace("\\r\\n", "\r\n").as_bytes());
            conversation.receive(b"\r\n");
        } else if let Some(text) = line.strip_prefix("C: ") {
            let wanted = text.replace("\\r\\n", "\r\n") + "\r\n";
            assert_eq!(std::mem::take(&mut said), wanted, "before {line:?}");
            continue;
        } else if line == "TLS" {
            assert_eq!(at, Step::StartTls);
            conversation.secured();
        } else if line == "?" {
            assert!(matches!(at, Step::Idle | Step::Answer(_)), "{at:?}");
            if let Err(error) = conversation.ask(&Address::parse("joe@x.test").unwrap()) {
                return Some(error);
            }
        } else if line == "&" {
            assert!(matches!(at, Step::Answer(_)), "{at:?}");
            conversation.ask_also(&Address::parse("ann@x.test").unwrap()).unwrap();
        } else if let Some(code) = line.strip_prefix("! ") {
            let reply: Option<Reply> = answer.take();
            assert_eq!(reply.map(|reply| reply.code.to_string()).as_deref(), Some(code));
            continue;
        } else {
            panic!("{line:?} is no line of a script");
        }
        loop {
            at = match conversation.step() {
                Ok(Step::Write(bytes)) => {
                    said.push_str(std::str::from_utf8(&bytes).unwrap());
                    continue;
                }
                Ok(step) => step,
                Err(error) => return Some(error),
            };
            break;
        }
        if let Step::Answer(reply) = &at {
            answer = Some(reply.clone());
        }
    }
    assert_eq!((said.as_str(), answer), ("", None), "the script tells all");
    None
}

fn smtp(script: &str) -> Option<TalkError> {
    play(Protocol::Smtp, Tls::Never, script)
}

/// RFC 5321 §3.3, §4.1.1.5.
#[test]
fn questions_one_after_the_other() {
    let ended = smtp(
        "S: 220 x.test ESMTP
         C: EHLO us.test
         S: 250-x.test\\r\\n250-SIZE 10\\r\\n250 8BITMIME
         ?
         C: MAIL FROM:<>
         S: 250 2.1.0 Ok
         C: RCPT TO:<joe@x.test>
         S: 550 5.1.1 no
         ! 550
         ?
         C: RSET
         S: 250 2.0.0 Ok
         C: MAIL FROM:<>
         S: 250 2.1.0 Ok
         C: RCPT TO:<joe@x.test>
         S: 250-2.1.5 a\\r\\n250 2.1.5 b
         ! 250",
    );
    assert_eq!(ended, None);
}

/// RFC 2920 §3.1.
#[test]
fn questions_in_one_piece() {
    let ended = smtp(
        "S: 220 x.test ESMTP
         C: EHLO us.test
         S: 250-x.test\\r\\n250 pipelining
         ?
         C: MAIL FROM:<>\\r\\nRCPT TO:<joe@x.test>
         S: 250 Ok\\r\\n450 4.2.1 later
         ! 450
         ?
         C: RSET\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<joe@x.test>
         S: 250 Ok
         S: 250 Ok
         S: 251 elsewhere
         ! 251",
    );
    assert_eq!(ended, None);
}

/// RFC 5321 §3.3: a transaction has any number of recipients.
#[test]
fn two_questions_in_one_transaction() {
    let ended = smtp(
        "S: 220 x.test ESMTP
         C: EHLO us.test
         S: 250-x.test\\r\\n250 pipelining
         ?
         C: MAIL FROM:<>\\r\\nRCPT TO:<joe@x.test>
         S: 250 Ok\\r\\n550 5.1.1 no
         ! 550
         &
         C: RCPT TO:<ann@x.test>
         S: 250 2.1.5 Ok
         ! 250
         ?
         C: RSET\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<joe@x.test>
         S: 250 Ok\\r\\n250 Ok\\r\\n250 Ok
         ! 250",
    );
    assert_eq!(ended, None);
}

/// RFC 2033 §4.1.
#[test]
fn lmtp_says_lhlo() {
    let script = "S: 220 x.test LMTP
         C: LHLO us.test
         S: 250 x.test
         ?
         C: MAIL FROM:<>
         S: 250 Ok
         C: RCPT TO:<joe@x.test>
         S: 250 Ok
         ! 250";
    assert_eq!(play(Protocol::Lmtp, Tls::WhereOffered, script), None);
}

/// RFC 3207 §4.
#[test]
fn tls() {
    let offered = "S: 220 x
         C: EHLO us.test
         S: 250-x\\r\\n250-PIPELINING\\r\\n250 STARTTLS
         C: STARTTLS";
    let done = "S: 220 go
         TLS
         C: EHLO us.test
         S: 250-x\\r\\n250-STARTTLS\\r\\n250 8BITMIME
         ?
         C: MAIL FROM:<>
         S: 250 Ok
         C: RCPT TO:<joe@x.test>
         S: 250 Ok
         ! 250";
    let plain = "S: 454 4.7.0 not now
         ?
         C: MAIL FROM:<>\\r\\nRCPT TO:<joe@x.test>
         S: 250 Ok\\r\\n250 Ok
         ! 250";
    for tls in [Tls::WhereOffered, Tls::Always] {
        assert_eq!(play(Protocol::Smtp, tls, &format!("{offered}\n{done}")), None);
    }
    assert_eq!(play(Protocol::Smtp, Tls::WhereOffered, &format!("{offered}\n{plain}")), None);
    let refused = play(Protocol::Smtp, Tls::Always, &format!("{offered}\nS: 454 4.7.0 not now"));
    assert!(matches!(refused, Some(TalkError::Refused(Stage::StartTls, _))), "{refused:?}");
    let without = "S: 220 x\nC: EHLO us.test\nS: 250 x";
    assert_eq!(play(Protocol::Smtp, Tls::Always, without), Some(TalkError::NoTls));
    assert_eq!(play(Protocol::Smtp, Tls::WhereOffered, without), None);
    for more in ["S: 220 go\\r\\n250 smuggled", "S: 220 go\\r\\n2"] {
        // CVE-2011-0411: what came in the clear must not be read as if it had come through TLS
        let smuggled = play(Protocol::Smtp, Tls::WhereOffered, &format!("{offered}\n{more}"));
        assert_eq!(smuggled, Some(TalkError::Smuggled));
    }
}

#[test]
fn refusals_before_the_recipient() {
    let hello = "S: 220 x\nC: EHLO us.test";
    let asked = format!("{hello}\nS: 250 x\n?\nC: MAIL FROM:<>");
    let again = format!("{asked}\nS: 250 Ok\nC: RCPT TO:<joe@x.test>\nS: 250 Ok\n! 250\n?\nC: RSET");
    for (script, stage) in [
        ("S: 554 5.7.1 go away".to_owned(), Stage::Banner),
        ("S: 450 4.3.2 later".to_owned(), Stage::Banner),
        ("S: 250 Ok".to_owned(), Stage::Banner),
        (format!("{hello}\nS: 550 5.7.1 bad name"), Stage::Hello),
        (format!("{hello}\nS: 502 5.5.2 what?"), Stage::Hello),
        (format!("{hello}\nS: 220 twice"), Stage::Hello),
        (format!("{asked}\nS: 550 5.1.1 we know no null sender"), Stage::Mail),
        (format!("{asked}\nS: 451 4.7.1 greylisted"), Stage::Mail),
        (format!("{asked}\nS: 250 Ok\nC: RCPT TO:<joe@x.test>\nS: 354 go on"), Stage::Rcpt),
        (format!("{again}\nS: 550 5.1.1 no"), Stage::Reset),
    ] {
        let ended = smtp(&script);
        assert!(matches!(&ended, Some(TalkError::Refused(at, _)) if *at == stage), "{script}: {ended:?}");
    }
    let text = TalkError::Refused(
        Stage::Mail,
        Reply { code: 550, status: crate::net::smtp_reply::Said::Nothing, lines: vec!["no".into()] },
    );
    assert!(text.to_string().contains("MAIL FROM:<>") && text.to_string().ends_with(": 550 no"), "{text}");
}

/// RFC 5321 §3.8: 421 may come at any time.
#[test]
fn the_server_hangs_up() {
    let lines = [
        "S: 220 x\nC: EHLO us.test",
        "S: 250 x\n?\nC: MAIL FROM:<>",
        "S: 250 Ok\nC: RCPT TO:<joe@x.test>",
        "S: 250 Ok\n! 250\n?\nC: RSET",
    ];
    for count in 0..=lines.len() {
        let script = format!("{}\nS: 421 4.3.2 closing", lines[..count].join("\n"));
        assert!(matches!(smtp(&script), Some(TalkError::Closing(_))), "{script}");
    }
}

#[test]
fn replies_that_nobody_asked_for() {
    let hello = "S: 220 x\nC: EHLO us.test";
    let asked = format!("{hello}\nS: 250 x\n?\nC: MAIL FROM:<>");
    let rcpt = format!("{asked}\nS: 250 Ok\nC: RCPT TO:<joe@x.test>");
    for script in [
        "S: 220 x\\r\\n250 early".to_owned(),
        "S: 220 x\\r\\n2".to_owned(),
        format!("{hello}\nS: 250 x\\r\\n250 early"),
        format!("{asked}\nS: 250 Ok\\r\\n550 5.1.1 before it was asked"),
        format!("{rcpt}\nS: 550 5.1.1 no\\r\\n250 yes"),
        format!("{rcpt}\nS: 250 Ok\\r\\n5"),
        format!("{rcpt}\nS: 250 Ok\n! 250\nS: 550 5.1.1 no"),
    ] {
        assert_eq!(smtp(&script), Some(TalkError::Unasked), "{script}");
    }
}

#[test]
fn what_goes_on_the_wire() {
    let hello = |offers: &str| {
        let mut conversation = Conversation::new(Protocol::Smtp, "us.test", Tls::Never);
        conversation.receive(format!("220 x\r\n250-x\r\n250 {offers}\r\n").as_bytes());
        conversation.asked.clear();
        conversation.reader.take().unwrap();
        let greeting = conversation.reader.take().unwrap().unwrap();
        conversation.greeted(&greeting).unwrap();
        conversation
    };
    let asks = |conversation: &mut Conversation, address: &str| {
        conversation.ask(&Address::parse(address).unwrap())?;
        let Ok(Step::Write(bytes)) = conversation.step() else { panic!("nothing to send") };
        Ok::<_, TalkError>(String::from_utf8(bytes).unwrap())
    };
    for (address, line) in [
        ("Joe.User+x@Example.com", "RCPT TO:<joe.user+x@example.com>"),
        (r#""a b"@x.test"#, r#"RCPT TO:<"a b"@x.test>"#),
        (r#""a>\"\\ RCPT"@x.test"#, r#"RCPT TO:<"a>\"\\ rcpt"@x.test>"#),
        ("joe@bücher.example", "RCPT TO:<joe@xn--bcher-kva.example>"),
        ("joe@[192.0.2.1]", "RCPT TO:<joe@[192.0.2.1]>"),
    ] {
        let sent = asks(&mut hello("PIPELINING"), address).unwrap();
        assert_eq!(sent, format!("MAIL FROM:<>\r\n{line}\r\n"));
    }
    assert_eq!(asks(&mut hello("PIPELINING"), "jörg@x.test"), Err(TalkError::NoUtf8));
    let mut both = hello("PIPELINING");
    both.offers.utf8 = true;
    assert_eq!(asks(&mut both, "jörg@x.test").unwrap(), "MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<jörg@x.test>\r\n");

    // RFC 6531 §3.4: SMTPUTF8 is the whole transaction's.
    let also = |first: &str| {
        let mut conversation = hello("PIPELINING");
        conversation.offers.utf8 = true;
        asks(&mut conversation, first).unwrap();
        conversation.receive(b"250 Ok\r\n550 5.1.1 no\r\n");
        assert!(matches!(conversation.step(), Ok(Step::Answer(_))));
        conversation.ask_also(&Address::parse("jörg@x.test").unwrap()).unwrap();
        let Ok(Step::Write(bytes)) = conversation.step() else { panic!("nothing to send") };
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(also("jürg@x.test"), "RCPT TO:<jörg@x.test>\r\n");
    assert_eq!(also("joe@x.test"), "RSET\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<jörg@x.test>\r\n");
}

proptest! {
    /// Whatever a server sends, there is an end, nothing panics, and DATA is never said.
    #[test]
    fn a_hostile_server(replies in proptest::collection::vec(prop_oneof![
        "(220|250|250-|421|550|354|[0-9]{3})[ -]?[ -~]{0,20}",
        Just("250-x\r\n250-PIPELINING\r\n250 STARTTLS".to_owned()),
        Just("250 Ok".to_owned()),
        any::<String>(),
    ], 0..30), tls in any::<bool>()) {
        let tls = if tls { Tls::WhereOffered } else { Tls::Never };
        let mut conversation = Conversation::new(Protocol::Smtp, "us.test", tls);
        let joe = Address::parse("joe@x.test").unwrap();
        let mut said = Vec::new();
        'all: for reply in replies {
            conversation.receive(reply.as_bytes());
            conversation.receive(b"\r\n");
            loop {
                match conversation.step() {
                    Ok(Step::Write(bytes)) => said.extend(bytes),
                    Ok(Step::Read) => break,
                    Ok(Step::StartTls) => conversation.secured(),
                    Ok(Step::Idle | Step::Answer(_)) => conversation.ask(&joe).unwrap(),
                    Err(_) => break 'all,
                }
            }
        }
        let said = String::from_utf8(said).unwrap();
        let known = ["EHLO us.test", "STARTTLS", "MAIL FROM:<>", "RCPT TO:<joe@x.test>", "RSET"];
        prop_assert!(said.lines().all(|line| known.contains(&line)), "{}", said);
    }
}
