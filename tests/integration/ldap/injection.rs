//! Local parts that mean something in a filter (RFC 4515 §3: `*`, `(`, `)`, `\`, NUL) are only ever values.

use backstop_harness::Slapd;

use super::{OK, UNKNOWN, decides, person, wait_for_addresses};

#[test]
fn a_recipient_is_never_a_filter() {
    let slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    // A replica that is kept by listings asks for everybody whom it does not know.
    for source in ["live", "replica"] {
        let feed = if source == "replica" { "\nfeed = \"paged\"" } else { "" };
        let more = format!("source = {source:?}{feed}");
        let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, &more)).start();
        let postfix = super::postfix(&backstop);
        if source == "replica" {
            wait_for_addresses(&backstop, 1);
        }
        let mut smtp = super::session(&postfix);
        decides(&mut smtp, source, &[("who", UNKNOWN)]); // connects
        let before = slapd.log().len();
        decides(&mut smtp, source, &[("nobody", UNKNOWN), (r#""no body""#, UNKNOWN)]);
        let harmless = shapes(&slapd.log()[before..]);
        assert_eq!(harmless.len(), 2, "one form for each of the two: {harmless:?}");

        let before = slapd.log().len();
        decides(&mut smtp, source, &ATTACKS.map(|local| (local, UNKNOWN)));
        let log = slapd.log();
        assert_eq!(shapes(&log[before..]), harmless, "a question of another form:\n{}", &log[before..]);
        let questions = log[before..].matches("SRCH base").count();
        assert!(questions >= ATTACKS.len(), "{questions} questions were asked");
        decides(&mut smtp, source, &[("anna", OK), ("nobody", UNKNOWN)]);
    }
}

/// Those that need no quotes, and those that do (RFC 5321 §4.1.2).
const ATTACKS: [&str; 16] = [
    "*",
    "a*",
    "ann*",
    "*a",
    "anna*",
    r#""*a)(""#,
    r#""anna)(mail=*""#,
    r#""*)(objectClass=*""#,
    r#""anna)(|(mail=*""#,
    r#""(""#,
    r#""(anna""#,
    r#""anna)""#,
    r#""an\\6ea""#,
    r#""anna\\00""#,
    r#""\\2a""#,
    r#""\\""#,
];

/// The different forms of the filters in slapd's log, each without the value that was asked for. slapd writes a filter as
/// it understood it: what was a value is escaped again.
fn shapes(log: &str) -> Vec<String> {
    let filters = log.split("filter=\"").skip(1).filter_map(|rest| rest.split_once("\"\n"));
    let mut shapes: Vec<String> =
        filters.map(|(filter, _)| shape(filter)).filter(|filter| !is_for_anybody(filter)).collect();
    shapes.sort();
    shapes.dedup();
    shapes
}

/// Whether it asks for whoever has some attribute, as Backstop does to see whether it sees anybody.
fn is_for_anybody(filter: &str) -> bool {
    filter.split_inclusive(['(', ')']).all(|part| !part.contains('=') || part.ends_with("=*)"))
}

/// The filter with `ADDRESS` in place of each value in `example.test`.
fn shape(filter: &str) -> String {
    let parts = filter.split_inclusive(['(', ')']).map(|part| match part.split_once('=') {
        Some((attribute, value)) if value.ends_with("@example.test)") && !value.contains('*') => {
            format!("{attribute}=ADDRESS)")
        }
        _ => part.to_owned(),
    });
    parts.collect()
}

#[test]
fn shapes_tell_values_from_syntax() {
    assert!(is_for_anybody("(|(mail=*)(mailLocalAddress=*))"));
    assert!(!is_for_anybody("(|(mail=*)(objectClass=*@example.test))"));
    let plain = shape("(|(mail=nobody@example.test)(uid=x))");
    assert_eq!(plain, "(|(mail=ADDRESS)(uid=x))");
    assert_eq!(shape("(|(mail=\\2A\\28\\29@example.test)(uid=x))"), plain);
    assert_ne!(shape("(|(mail=*@example.test)(uid=x))"), plain);
    assert_ne!(shape("(|(mail=anna)(mail=nobody@example.test)(uid=x))"), plain);
}
