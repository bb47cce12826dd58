//! The decision table, row by row, against a world that answers every question once.

use std::time::Duration;

use super::*;
use crate::{
    address::{Address, DomainPattern},
    policy::Defences,
};

const IN_CHARGE: DomainFact = DomainFact::Local { in_charge: true, configured: true };
const EXISTS: RecipientFact = RecipientFact::Exists(Attributes::PLAIN);
const CAUGHT: RecipientFact = RecipientFact::Exists(Attributes { catch_all: true, ..Attributes::PLAIN });
const CAUGHT_PERHAPS: RecipientFact =
    RecipientFact::Exists(Attributes { catch_all: true, unsure: true, ..Attributes::PLAIN });
const SUSPENDED: SuspensionFact = SuspensionFact::Yes;
const DOWN: RecipientFact = RecipientFact::Unknown(Unavailable::Defer);

/// What the world would answer. A level that is missing here may not be asked about.
#[derive(Clone)]
struct World {
    domains: Vec<DomainFact>,
    found: Vec<RecipientFact>,
    suspended: SuspensionFact,
    blocked: bool,
    trusted: bool,
    is_unsure: bool,
    class: ClientClass,
    trap: bool,
    greylisted: bool,
    solicited: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            domains: vec![IN_CHARGE; 6],
            found: vec![EXISTS; 6],
            suspended: SuspensionFact::No,
            blocked: false,
            trusted: false,
            is_unsure: false,
            class: ClientClass::Server,
            trap: false,
            greylisted: false,
            solicited: true,
        }
    }
}

impl World {
    fn found(found: RecipientFact) -> Self {
        Self { found: vec![found; 6], ..Self::default() }
    }
}

fn to(address: &str) -> Facts {
    let address = Address::parse(address).expect("valid");
    Facts { recipient: Recipient::address(address), ..Facts::default() }
}

/// Answers the questions out of `world`; gives the decision and how many questions it took.
fn run<'r>(rules: &'r Rules, facts: &mut Facts, world: &World) -> (Decision<'r>, Vec<Question>) {
    let mut asked = Vec::new();
    loop {
        let question = match next(rules, facts) {
            Step::Decide(decision) => return (decision, asked),
            Step::Ask(question) => question,
        };
        assert!(!asked.contains(&question), "{question:?} was asked twice");
        asked.push(question);
        let levels = match &mut facts.recipient {
            Recipient::Levels(levels) => levels.as_mut_slice(),
            _ => &mut [],
        };
        match question {
            Question::Domain(at) => match &mut facts.recipient {
                Recipient::Invalid { fact, .. } => *fact = Some(world.domains[at]),
                Recipient::Levels(levels) => levels[at].domain = Some(world.domains[at]),
                other => panic!("no domain to ask for in {other:?}"),
            },
            Question::Standing => {
                facts.blocked = Some(world.blocked);
                facts.trusted |= world.trusted;
                facts.is_unsure = world.is_unsure;
            }
            Question::Class => facts.class = Some(world.class),
            Question::Trap(at) => levels[at].trap = Some(world.trap),
            Question::Suspended(at) => levels[at].suspended = Some(world.suspended),
            Question::Recipient(at) => levels[at].found = Some(world.found[at]),
            Question::Greylist => {
                facts.greylisted = Some(Duration::from_secs(if world.greylisted { 300 } else { 0 }));
            }
            Question::Solicited => facts.solicited = Some(world.solicited),
        }
    }
}

fn everything_on() -> Rules {
    let defences = Defences {
        denied: true,
        standing: true,
        dynamic_at_connect: false,
        dynamic: true,
        traps: true,
        greylist: true,
        unsolicited: true,
    };
    Rules { defences, exempt: Locals::from_iter(["abuse".to_owned()]), ..Rules::default() }
}

fn reason(rules: &Rules, mut facts: Facts, world: &World) -> Reason {
    run(rules, &mut facts, world).0.reason
}

/// Each row of the table by itself: a stranger, a trusted and an authenticated client.
#[test]
fn rows() {
    type Row = (&'static str, fn(&mut Facts), World, [Reason; 3]);
    use Reason as R;
    let all = |reason| [reason; 3];
    let foreign = || World { domains: vec![DomainFact::Foreign; 6], ..World::default() };
    let inner_foreign = |found| World {
        domains: vec![IN_CHARGE, DomainFact::Foreign],
        found: vec![found; 6],
        ..World::default()
    };
    let none = |_: &mut Facts| {};
    let rows: Vec<Row> = vec![
        ("joe@a.test", |f| f.disabled = true, World::found(RecipientFact::Absent), all(R::Disabled)),
        ("joe@a.test", |f| f.mta_refused = true, World::found(RecipientFact::Absent), all(R::MtaRefused)),
        ("joe@a.test", |f| f.submission = true, World::found(RecipientFact::Absent), all(R::Submission)),
        ("joe@a.test", none, foreign(), all(R::NotLocal)),
        (
            "postmaster@a.test",
            none,
            World { blocked: true, ..World::found(RecipientFact::Absent) },
            all(R::Exempt),
        ),
        ("double-bounce@a.test", none, World::found(RecipientFact::Absent), all(R::Exempt)),
        ("mailer-daemon@a.test", none, World::found(RecipientFact::Absent), all(R::Exempt)),
        ("joe@a.test", none, World { blocked: true, ..World::default() }, [R::Harvest, R::Ok, R::Ok]),
        ("abuse@a.test", none, World { blocked: true, ..World::default() }, all(R::Ok)),
        ("abuse@a.test", none, World::found(RecipientFact::Absent), all(R::UnknownRecipient)),
        (
            "joe@a.test",
            none,
            World { class: ClientClass::Dynamic, ..World::default() },
            [R::DynamicClient, R::Ok, R::Ok],
        ),
        ("joe@a.test", none, World { class: ClientClass::Unknown, ..World::default() }, all(R::Ok)),
        (
            "joe@a.test",
            |f| (f.null_sender, f.accepted) = (true, Some(1)),
            World::default(),
            [R::BounceMany, R::Ok, R::Ok],
        ),
        ("joe@a.test", |f| (f.null_sender, f.accepted) = (true, Some(0)), World::default(), all(R::Ok)),
        ("joe@a.test", |f| (f.null_sender, f.accepted) = (false, Some(9)), World::default(), all(R::Ok)),
        (
            "joe%x.test@a.test",
            none,
            inner_foreign(RecipientFact::Absent),
            [R::RelaySyntax, R::NotLocal, R::NotLocal],
        ),
        ("joe%x.test@a.test", none, inner_foreign(CAUGHT), [R::RelaySyntax, R::Ok, R::Ok]),
        // A directory that can't tell may know it as it is written.
        ("joe%x.test@a.test", none, inner_foreign(CAUGHT_PERHAPS), all(R::Ok)),
        ("joe%x.test@a.test", none, inner_foreign(EXISTS), all(R::Ok)),
        ("joe%x.test@a.test", none, inner_foreign(DOWN), all(R::DirectoryUnavailable)),
        ("joe@a.test", none, World { trap: true, ..World::default() }, [R::SpamTrap, R::Ok, R::Ok]),
        ("joe@a.test", none, World { suspended: SUSPENDED, ..World::default() }, all(R::SuspendedRecipient)),
        (
            "joe@a.test",
            none,
            World { suspended: SUSPENDED, ..World::found(DOWN) },
            all(R::SuspendedRecipient),
        ),
        ("joe@a.test", none, World { greylisted: true, ..World::default() }, [R::Greylisted, R::Ok, R::Ok]),
        (
            "joe@a.test",
            none,
            World { greylisted: true, ..World::found(RecipientFact::Absent) },
            all(R::UnknownRecipient),
        ),
        ("joe@a.test", none, World::found(RecipientFact::Absent), all(R::UnknownRecipient)),
        ("joe@a.test", none, World::found(DOWN), all(R::DirectoryUnavailable)),
        ("joe@a.test", none, World::found(CAUGHT), all(R::Ok)),
        ("joe@a.test", none, World::default(), all(R::Ok)),
    ];
    for (address, change, world, expected) in rows {
        let clients: [fn(&mut Facts); 3] = [|_| {}, |f| f.trusted = true, |f| f.authenticated = true];
        for (client, expected) in clients.iter().zip(expected) {
            let mut facts = to(address);
            change(&mut facts);
            client(&mut facts);
            let seen = format!("{address} {facts:?}");
            assert_eq!(reason(&everything_on(), facts, &world), expected, "{seen}");
        }
    }
}

#[test]
fn attributes_of_a_directory() {
    let with = |attributes| World::found(RecipientFact::Exists(attributes));
    let rules = everything_on();
    let suspended = Attributes { suspended: true, ..Attributes::default() };
    assert_eq!(reason(&rules, to("joe@a.test"), &with(suspended)), Reason::SuspendedRecipient);
    let caught = Attributes { suspended: true, catch_all: true, ..Attributes::default() };
    assert_eq!(reason(&rules, to("joe@a.test"), &with(caught)), Reason::Ok, "never through a catch-all");
    let restricted = with(Attributes { restricted: true, ..Attributes::default() });
    assert_eq!(reason(&rules, to("joe@a.test"), &restricted), Reason::RestrictedRecipient);
    let authenticated = Facts { authenticated: true, ..to("joe@a.test") };
    assert_eq!(reason(&rules, authenticated.clone(), &restricted), Reason::Ok);
    // A longer form may be somebody's own.
    let perhaps = with(Attributes { restricted: true, unsure: true, ..Attributes::default() });
    assert_eq!(reason(&rules, to("joe@a.test"), &perhaps), Reason::DirectoryUnavailable);
    assert_eq!(reason(&rules, authenticated, &perhaps), Reason::Ok);
}

/// Row 15: the admin's choice, and a trusted client is never held up.
#[test]
fn could_not_find_out_is_never_permanent() {
    let rules = everything_on();
    for (found, trusted, verdict) in [
        (Unavailable::Defer, false, Verdict::Defer),
        (Unavailable::Defer, true, Verdict::Continue),
        (Unavailable::Continue, false, Verdict::Continue),
    ] {
        for address in ["joe@a.test", "joe%x.test@a.test", "joe%b.test@a.test"] {
            let mut facts = Facts { trusted, ..to(address) };
            let (decision, _) = run(&rules, &mut facts, &World::found(RecipientFact::Unknown(found)));
            assert_eq!(
                (decision.reason, decision.verdict()),
                (Reason::DirectoryUnavailable, verdict),
                "{address}"
            );
        }
    }
    // An inner address that can't be looked up is not absent either.
    let world = World { found: vec![RecipientFact::Absent, DOWN], ..World::default() };
    let (decision, _) = run(&rules, &mut to("joe%b.test@a.test"), &world);
    assert_eq!(decision.verdict(), Verdict::Defer);
}

/// Postfix and Sendmail relay `joe%x.test@a.test` for their insiders, and refuse it to others, by themselves.
#[test]
fn a_route_out_of_a_detected_domain_is_the_mta_s_affair() {
    let detected = DomainFact::Local { in_charge: true, configured: false };
    let world = World { domains: vec![detected, DomainFact::Foreign], ..World::found(RecipientFact::Absent) };
    for trusted in [false, true] {
        let facts = Facts { trusted, ..to("joe%x.test@a.test") };
        assert_eq!(reason(&Rules::default(), facts, &world), Reason::NotLocal);
    }
    let inner_local = World { domains: vec![detected; 2], ..World::found(RecipientFact::Absent) };
    assert_eq!(reason(&Rules::default(), to("joe%b.test@a.test"), &inner_local), Reason::UnknownRecipient);
}

#[test]
fn an_inner_local_route_is_resolved() {
    let rules = Rules::default();
    let world = |outer, inner| World { found: vec![outer, inner], ..World::default() };
    let address = "joe%b.test@a.test";
    assert_eq!(reason(&rules, to(address), &world(RecipientFact::Absent, EXISTS)), Reason::Ok);
    assert_eq!(
        reason(&rules, to(address), &world(RecipientFact::Absent, RecipientFact::Absent)),
        Reason::UnknownRecipient
    );
    assert_eq!(reason(&rules, to(address), &world(CAUGHT, RecipientFact::Absent)), Reason::Ok);
    // The literal local part wins, without a look at what it hides.
    let (decision, asked) = run(&rules, &mut to(address), &world(EXISTS, RecipientFact::Absent));
    assert_eq!(decision.reason, Reason::Ok);
    assert!(!asked.contains(&Question::Domain(1)), "{asked:?}");
}

#[test]
fn a_domain_without_a_directory_refuses_nobody_but_the_suspended() {
    let world = World {
        domains: vec![DomainFact::Local { in_charge: false, configured: true }; 6],
        ..World::default()
    };
    for address in ["joe@a.test", "joe%x.test@a.test"] {
        assert_eq!(reason(&Rules::default(), to(address), &world), Reason::NoDirectory);
    }
    let world = World { suspended: SUSPENDED, ..world };
    assert_eq!(reason(&Rules::default(), to("joe@a.test"), &world), Reason::SuspendedRecipient);
}

/// "Could not find out" is never a 5xx; whatever else speaks against the recipient counts as ever.
#[test]
fn a_suspension_that_may_be_over_refuses_nobody_for_good() {
    let world = |found| World { suspended: SuspensionFact::Unknown, ..World::found(found) };
    let told = |found, facts: Facts| {
        let rules = everything_on();
        let mut facts = Facts { recipient: to("joe@a.test").recipient, ..facts };
        let (decision, _) = run(&rules, &mut facts, &world(found));
        (decision.reason, decision.reply.map(|reply| reply.code.basic))
    };
    let gone = Attributes { suspended: true, ..Attributes::default() };
    let restricted = Attributes { restricted: true, ..Attributes::default() };
    let perhaps = Attributes { unsure: true, ..restricted };
    let stranger = Facts::default;
    let trusted = || Facts { trusted: true, ..Facts::default() };
    let user = || Facts { authenticated: true, ..Facts::default() };
    for (found, facts, reason, code) in [
        (EXISTS, stranger(), Reason::SuspendedRecipient, Some(450)),
        (EXISTS, user(), Reason::SuspendedRecipient, Some(450)),
        (EXISTS, trusted(), Reason::SuspendedRecipient, None),
        (CAUGHT, stranger(), Reason::SuspendedRecipient, Some(450)),
        (DOWN, stranger(), Reason::SuspendedRecipient, Some(450)),
        (RecipientFact::Unknown(Unavailable::Continue), stranger(), Reason::SuspendedRecipient, Some(450)),
        (RecipientFact::Absent, stranger(), Reason::UnknownRecipient, Some(550)),
        (RecipientFact::Absent, trusted(), Reason::UnknownRecipient, Some(550)),
        (RecipientFact::Exists(gone), stranger(), Reason::SuspendedRecipient, Some(550)),
        (RecipientFact::Exists(gone), trusted(), Reason::SuspendedRecipient, Some(550)),
        (RecipientFact::Exists(restricted), stranger(), Reason::RestrictedRecipient, Some(550)),
        (RecipientFact::Exists(perhaps), stranger(), Reason::SuspendedRecipient, Some(450)),
    ] {
        assert_eq!(told(found, facts.clone()), (reason, code), "{found:?} {facts:?}");
    }
    // What the MTA relays for insiders.
    let outside = World {
        domains: vec![DomainFact::Local { in_charge: true, configured: true }, DomainFact::Foreign],
        ..world(RecipientFact::Absent)
    };
    let mut relayed = Facts { authenticated: true, ..to("joe%far.test@a.test") };
    let rules = Rules::default();
    let (decision, _) = run(&rules, &mut relayed, &outside);
    let code = decision.reply.map(|reply| reply.code.basic);
    assert_eq!((decision.reason, code), (Reason::SuspendedRecipient, Some(450)));
    // Nobody is in charge; what hides a route; and what is only watched.
    let nobody =
        World { domains: vec![DomainFact::Local { in_charge: false, configured: true }; 6], ..world(EXISTS) };
    let inner = world(RecipientFact::Absent);
    let watching = Rules { monitor_reasons: [Reason::SuspendedRecipient].into(), ..Rules::default() };
    for (rules, address, world, expected) in [
        (&Rules::default(), "joe@a.test", nobody, (450, true)),
        (&Rules::default(), "joe%b.test@a.test", inner, (550, true)),
        (&watching, "joe@a.test", world(EXISTS), (450, false)),
    ] {
        let (decision, _) = run(rules, &mut to(address), &world);
        let reply = decision.reply.expect("a refusal");
        assert_eq!((reply.code.basic, decision.enforced), expected, "{address}");
    }
}

#[test]
fn an_invalid_address_matters_only_where_the_domain_may_be_ours() {
    let rules = everything_on();
    let invalid = |domain: Option<&str>| Facts {
        recipient: Recipient::Invalid {
            domain: domain.map(|domain| crate::address::Domain::parse(domain).expect("valid")),
            fact: None,
        },
        ..Facts::default()
    };
    let foreign = World { domains: vec![DomainFact::Foreign], ..World::default() };
    assert_eq!(reason(&rules, invalid(Some("x.test")), &foreign), Reason::NotLocal);
    assert_eq!(reason(&rules, invalid(Some("a.test")), &World::default()), Reason::BadAddress);
    assert_eq!(reason(&rules, invalid(None), &World::default()), Reason::NoDirectory);
    let detected = DomainFact::Local { in_charge: true, configured: false };
    let detected = World { domains: vec![detected], ..World::default() };
    assert_eq!(reason(&rules, invalid(Some("a.test")), &detected), Reason::NoDirectory);
    let insider = Facts { authenticated: true, ..invalid(Some("a.test")) };
    assert_eq!(reason(&rules, insider, &World::default()), Reason::BadAddress);
}

#[test]
fn a_bare_recipient_that_nobody_completed_passes() {
    let bare = |local: &str| Facts { recipient: Recipient::Bare(local.to_owned()), ..Facts::default() };
    let world = World::found(RecipientFact::Absent);
    assert_eq!(reason(&Rules::default(), bare("postmaster"), &world), Reason::Exempt);
    assert_eq!(reason(&Rules::default(), bare("joe"), &world), Reason::NoDirectory);
}

/// Sendmail reads `victim%x.test%a.test` as `victim%x.test@a.test`, whatever its own name is.
#[test]
fn a_bare_recipient_may_hold_a_route_to_a_local_domain() {
    let rules = Rules::default();
    let bare = |address| Facts { bare: true, ..to(address) };
    let world = World {
        domains: vec![DomainFact::Foreign, IN_CHARGE, DomainFact::Foreign],
        ..World::found(RecipientFact::Absent)
    };
    assert_eq!(reason(&rules, bare("victim%x.test%a.test@mx.test"), &world), Reason::RelaySyntax);
    assert_eq!(reason(&rules, bare("joe%a.test@mx.test"), &world), Reason::UnknownRecipient);
    assert_eq!(reason(&rules, bare("joe@mx.test"), &world), Reason::NotLocal);
    assert_eq!(reason(&rules, bare("postmaster@mx.test"), &world), Reason::Exempt);
    assert_eq!(reason(&rules, to("postmaster@[192.0.2.1]"), &world), Reason::Exempt);
    assert_eq!(reason(&rules, to("joe@[192.0.2.1]"), &world), Reason::NotLocal);
    assert_eq!(reason(&rules, to("joe%a.test@mx.test"), &world), Reason::NotLocal);
}

#[test]
fn only_what_can_change_the_outcome_is_asked() {
    let asked = |rules: &Rules, mut facts: Facts, world: &World| run(rules, &mut facts, world).1;
    let rules = Rules::default();
    let foreign = World { domains: vec![DomainFact::Foreign], ..World::default() };
    assert_eq!(asked(&rules, to("joe@x.test"), &foreign), [Question::Domain(0)]);
    assert_eq!(asked(&rules, to("postmaster@a.test"), &World::default()), [Question::Domain(0)]);
    let usual = [Question::Domain(0), Question::Suspended(0), Question::Recipient(0)];
    assert_eq!(asked(&rules, to("joe@a.test"), &World::default()), usual);
    let disabled = Facts { disabled: true, ..to("joe@a.test") };
    assert_eq!(asked(&everything_on(), disabled, &World::default()), []);
    let all = asked(&everything_on(), to("joe@a.test"), &World::default());
    let expected = [
        Question::Domain(0),
        Question::Standing,
        Question::Class,
        Question::Trap(0),
        Question::Suspended(0),
        Question::Recipient(0),
        Question::Greylist,
    ];
    assert_eq!(all, expected);
    let suspended = World { suspended: SUSPENDED, ..World::default() };
    assert!(!asked(&rules, to("joe@a.test"), &suspended).contains(&Question::Recipient(0)));
}

#[test]
fn a_trap_looks_like_an_unknown_recipient_and_ends_the_message() {
    let rules = everything_on();
    let trap = World { trap: true, ..World::default() };
    let (trapped, _) = run(&rules, &mut to("joe@a.test"), &trap);
    let (unknown, _) = run(&rules, &mut to("joe@a.test"), &World::found(RecipientFact::Absent));
    assert_eq!((trapped.reason, unknown.reason), (Reason::SpamTrap, Reason::UnknownRecipient));
    assert_eq!(trapped.reply, unknown.reply);
    // Where all of the domain is suspended, its unknown recipients are told so, in the words of the suspension.
    let (trap, unknown) =
        (World { suspended: SUSPENDED, ..trap.clone() }, World { suspended: SUSPENDED, ..World::default() });
    let mut facts = Facts { text: Some("Call us".to_owned()), ..to("joe@a.test") };
    let (trapped, asked) = run(&rules, &mut facts, &trap);
    let (suspended, _) = run(&rules, &mut to("joe@a.test"), &unknown);
    assert_eq!((trapped.reason, trapped.reply), (Reason::SpamTrap, suspended.reply));
    assert_eq!(trapped.reply.and_then(|reply| facts.own_text(reply.reason)), Some("Call us"));
    assert!(asked.ends_with(&[Question::Trap(0), Question::Suspended(0)]), "{asked:?}");
    let mut end = Facts { stage: Stage::EndOfMessage, trapped: true, ..Facts::default() };
    let (decision, _) = run(&rules, &mut end, &World::default());
    assert_eq!(decision.reply.map(ToString::to_string).as_deref(), Some("550 5.7.1 Message refused"));
}

/// What would be refused as a whole may hold mail for somebody in a domain that is only watched.
#[test]
fn a_message_for_a_watched_domain_is_not_refused_as_a_whole() {
    let rules = everything_on();
    let world = World { solicited: false, ..World::default() };
    let changes: [fn(&mut Facts); 2] = [|f| f.trapped = true, |f| f.null_sender = true];
    for (change, watched) in changes.into_iter().flat_map(|change| [(change, false), (change, true)]) {
        let mut facts = Facts { stage: Stage::EndOfMessage, watched, ..Facts::default() };
        change(&mut facts);
        let (decision, _) = run(&rules, &mut facts, &world);
        assert_eq!((decision.verdict(), decision.enforced), (Verdict::Reject, !watched), "{facts:?}");
    }
}

#[test]
fn connect_and_end_of_message() {
    let rules = everything_on();
    let at = |stage, change: fn(&mut Facts), world: &World| {
        let mut facts = Facts { stage, ..Facts::default() };
        change(&mut facts);
        reason(&rules, facts, world)
    };
    let world = World { solicited: false, ..World::default() };
    assert_eq!(at(Stage::Connect, |f| f.denied = true, &world), Reason::DeniedClient);
    assert_eq!(at(Stage::Connect, |f| (f.denied, f.trusted) = (true, true), &world), Reason::Ok);
    assert_eq!(at(Stage::Connect, |_| {}, &world), Reason::Ok);
    assert_eq!(at(Stage::EndOfMessage, |f| f.null_sender = true, &world), Reason::UnsolicitedBounce);
    assert_eq!(at(Stage::EndOfMessage, |f| f.null_sender = true, &World::default()), Reason::Ok);
    assert_eq!(at(Stage::EndOfMessage, |f| (f.null_sender, f.trusted) = (true, true), &world), Reason::Ok);
    assert_eq!(at(Stage::EndOfMessage, |_| {}, &world), Reason::Ok);
}

/// Whom a log-in made trusted for a time is an insider from then on, blocked or not.
#[test]
fn trusted_for_a_time() {
    let rules = everything_on();
    let world = World {
        trusted: true,
        blocked: true,
        class: ClientClass::Dynamic,
        trap: true,
        greylisted: true,
        ..World::default()
    };
    assert_eq!(reason(&rules, to("joe@a.test"), &world), Reason::Ok);
    assert_eq!(reason(&rules, to("joe@a.test"), &World { trusted: false, ..world.clone() }), Reason::Harvest);
    let absent = World { trusted: true, ..World::found(RecipientFact::Absent) };
    assert_eq!(reason(&rules, to("joe@a.test"), &absent), Reason::UnknownRecipient);
}

/// A log-in is in the store, which does not answer. Whom insiders may write to, and from where, is not refused for good.
#[test]
fn who_may_be_trusted_for_a_time_is_refused_nothing_for_good_that_insiders_are_not() {
    let unsure = |world| World { is_unsure: true, ..world };
    let restricted = Attributes { restricted: true, ..Attributes::default() };
    let restricted = World::found(RecipientFact::Exists(restricted));
    let dynamic = World { class: ClientClass::Dynamic, ..World::default() };
    let foreign =
        World { domains: vec![IN_CHARGE, DomainFact::Foreign], ..World::found(RecipientFact::Absent) };
    let absent = World { trap: true, ..World::found(RecipientFact::Absent) };
    let trap = World { trap: true, ..World::found(CAUGHT) };
    for (address, world, expected, known) in [
        ("joe@a.test", dynamic.clone(), (Reason::Ok, "continue"), Reason::DynamicClient),
        ("joe@a.test", trap, (Reason::Ok, "continue"), Reason::SpamTrap),
        (
            "joe@a.test",
            restricted,
            (
                Reason::RestrictedRecipient,
                "450 4.7.1 Only authenticated senders may write to this address [restricted-recipient]",
            ),
            Reason::RestrictedRecipient,
        ),
        (
            "joe%x.test@a.test",
            foreign,
            (Reason::RelaySyntax, "450 4.7.1 Relaying denied [relay-syntax]"),
            Reason::RelaySyntax,
        ),
        // This holds for insiders, too.
        (
            "joe@a.test",
            absent,
            (Reason::UnknownRecipient, "550 5.1.1 No such user here [unknown-recipient]"),
            Reason::SpamTrap,
        ),
    ] {
        let rules = everything_on();
        assert_eq!(reason(&rules, to(address), &world), known, "{address}");
        let (decision, _) = run(&rules, &mut to(address), &unsure(world.clone()));
        let reply = decision.reply.map_or("continue".to_owned(), ToString::to_string);
        assert_eq!((decision.reason, reply.as_str()), expected, "{address}");
        // Who has authenticated is an insider whatever the store says, and nobody asks it.
        let mut authenticated = Facts { authenticated: true, ..to(address) };
        let (decision, asked) = run(&rules, &mut authenticated, &unsure(world));
        assert!(decision.reason != known && !asked.contains(&Question::Standing), "{decision:?}");
    }
    let mut rules = everything_on();
    rules.defences.dynamic_at_connect = true;
    let connect = Facts { stage: Stage::Connect, ..Facts::default() };
    assert_eq!(reason(&rules, connect, &unsure(dynamic)), Reason::Ok);
}

/// For a port where nobody authenticates.
#[test]
fn dynamic_clients_at_connect() {
    let mut rules = everything_on();
    let at_connect = |rules: &Rules, world: &World| {
        reason(rules, Facts { stage: Stage::Connect, ..Facts::default() }, world)
    };
    let dynamic = World { class: ClientClass::Dynamic, ..World::default() };
    assert_eq!(at_connect(&rules, &dynamic), Reason::Ok);
    rules.defences.dynamic_at_connect = true;
    assert_eq!(at_connect(&rules, &dynamic), Reason::DynamicClient);
    assert_eq!(at_connect(&rules, &World { trusted: true, ..dynamic }), Reason::Ok);
    for class in [ClientClass::Unknown, ClientClass::Unnamed, ClientClass::Generic, ClientClass::Server] {
        assert_eq!(at_connect(&rules, &World { class, ..World::default() }), Reason::Ok, "{class:?}");
    }
}

#[test]
fn monitor_mode_decides_but_does_not_enforce() {
    let absent = World::found(RecipientFact::Absent);
    let pattern = |text| DomainPattern::parse(text).expect("valid");
    let enforced = |rules: &Rules| {
        let (decision, _) = run(rules, &mut to("joe@a.test"), &absent);
        assert_eq!(decision.verdict(), Verdict::Reject);
        assert_eq!(decision.enforced_reply().is_some(), decision.enforced);
        decision.enforced
    };
    assert!(enforced(&Rules::default()));
    assert!(!enforced(&Rules { monitor: true, ..Rules::default() }));
    assert!(!enforced(&Rules { monitor_domains: vec![pattern("a.test")], ..Rules::default() }));
    assert!(enforced(&Rules { monitor_domains: vec![pattern("b.test")], ..Rules::default() }));
    assert!(!enforced(&Rules { monitor_reasons: [Reason::UnknownRecipient].into(), ..Rules::default() }));
    assert!(enforced(&Rules { monitor_reasons: [Reason::BadAddress].into(), ..Rules::default() }));
}

/// `[monitor] reasons`: what is only watched is told of where nothing else refuses, and hides no later row.
#[test]
fn what_is_watched_lets_nobody_in() {
    let watching = |reason: Reason| Rules {
        monitor_reasons: [reason].into(),
        defences: Defences { standing: true, dynamic: true, ..Defences::default() },
        ..Rules::default()
    };
    let (blocked, dynamic) = (World { blocked: true, ..World::default() }, ClientClass::Dynamic);
    for (watched, world, expected, enforced) in [
        (Reason::Harvest, blocked.clone(), Reason::Harvest, false),
        (
            Reason::Harvest,
            World { found: vec![RecipientFact::Absent], ..blocked.clone() },
            Reason::UnknownRecipient,
            true,
        ),
        (
            Reason::Harvest,
            World { suspended: SUSPENDED, ..blocked.clone() },
            Reason::SuspendedRecipient,
            true,
        ),
        (Reason::Harvest, World { class: dynamic, ..blocked.clone() }, Reason::DynamicClient, true),
        (Reason::DynamicClient, World { class: dynamic, ..blocked }, Reason::Harvest, true),
        (Reason::DynamicClient, World { class: dynamic, ..World::default() }, Reason::DynamicClient, false),
        (
            Reason::DynamicClient,
            World { class: dynamic, ..World::found(RecipientFact::Absent) },
            Reason::UnknownRecipient,
            true,
        ),
    ] {
        let rules = watching(watched);
        let (decision, _) = run(&rules, &mut to("joe@a.test"), &world);
        assert_eq!((decision.reason, decision.enforced), (expected, enforced), "watching {watched}");
    }
}
