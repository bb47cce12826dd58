//! `backstop replay` where the directory is a replica: it has more to ask at once than any day's mail.

use backstop_harness::Slapd;

use super::person;
use crate::replay;

#[test]
fn a_day_is_judged_in_a_moment() {
    let slapd = Slapd::start();
    for index in 0..70 {
        slapd.add(&person(&format!("user{index}"), &[&format!("mail: user{index}@example.test")]));
    }
    let users: Vec<String> = (0..70).map(|index| format!("user{index}@example.test")).collect();
    let invented = (0..70).map(|index| format!("invented{index}@example.test"));
    let recipients: Vec<String> = users.iter().cloned().chain(invented).collect();
    let behind: Vec<&str> = users.iter().map(String::as_str).collect();
    let log = replay::log_of(&recipients, &behind);
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, "")).start();
    let (status, found) = replay::replay(&backstop, &[("maillog", &log)]);
    assert_eq!((status, replay::sums(&found, "delivered")), (0, [70, 0]), "{found}");
    assert_eq!(replay::sums(&found, "bounced"), [70, 70], "{found}");
}
