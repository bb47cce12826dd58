//! A change in the directory is seen by the replica within two seconds, by the directory's own feed, without a restart.

use std::time::{Duration, Instant};

use backstop_harness::{Backstop, SambaAd, Slapd, Smtp, wait_until};

use super::{OK, SUSPENDED, UNAVAILABLE, UNKNOWN, addresses, decides, decision, person, wait_for_addresses};

#[test]
fn openldap_syncrepl() {
    let slapd = Slapd::start();
    let dn = |name: &str| format!("uid={name},ou=people,{}", Slapd::BASE);
    for index in 0..20 {
        slapd.add(&person(&format!("user{index}"), &[&format!("mail: user{index}@example.test")]));
    }
    let more = "feed = \"syncrepl\"\nsuspended_filter = \"(accountStatus=disabled)\"";
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, more)).start();
    let postfix = super::postfix(&backstop);
    wait_for_addresses(&backstop, 20);
    let mut site = Site { backstop: &backstop, smtp: super::session(&postfix) };

    site.sees(21, &[("new", OK)], || slapd.add(&person("new", &["mail: new@example.test"])));
    site.sees(22, &[("new", OK), ("alias", OK)], || {
        slapd.modify(&format!("dn: {}\nchangetype: modify\nadd: mailAlternateAddress\nmailAlternateAddress: alias@example.test\n", dn("new")));
    });
    site.sees(22, &[("new", UNKNOWN), ("newer", OK), ("alias", OK)], || {
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: mail\nmail: newer@example.test\n",
            dn("new")
        ));
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || slapd.rename(&dn("new"), "uid=newest"));
    site.sees(22, &[("newer", SUSPENDED), ("alias", SUSPENDED)], || {
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nadd: accountStatus\naccountStatus: disabled\n",
            dn("newest")
        ));
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || {
        slapd.modify(&format!("dn: {}\nchangetype: modify\ndelete: accountStatus\n", dn("newest")));
    });
    site.sees(20, &[("newer", UNKNOWN), ("alias", UNKNOWN), ("user19", OK)], || slapd.delete(&dn("newest")));
}

/// By the control that Microsoft made for this, with the right to replicate.
#[test]
fn active_directory() {
    follows(&domain(), SambaAd::ADMINISTRATOR, "dirsync");
}

mod full {
    use super::*;

    /// By the control without that right, and by `uSNChanged` with and without it.
    #[test]
    fn active_directory_in_other_ways() {
        let samba = domain();
        follows(&samba, SambaAd::SERVICE, "dirsync");
        follows(&samba, SambaAd::SERVICE, "usn");
        follows(&samba, SambaAd::ADMINISTRATOR, "usn");
        follows(&samba, SambaAd::SERVICE, "auto");
    }

    /// The feed goes on where it was when the domain controller is back, with what was changed meanwhile.
    #[test]
    fn active_directory_that_dies_and_hangs() {
        let mut samba = domain();
        let dn = |name: &str| format!("CN={name},{}", SambaAd::STAFF);
        for (index, feed) in ["dirsync", "usn"].into_iter().enumerate() {
            let more = format!("feed = {feed:?}\ndeadline = \"1s\"");
            let ldap = super::super::active_directory(&samba, SambaAd::ADMINISTRATOR, &more);
            let backstop = super::super::backstop(&ldap).start();
            let postfix = super::super::postfix(&backstop);
            let mut smtp = super::super::session(&postfix);
            let count = 20 - u32::try_from(index).expect("a few");
            wait_for_addresses(&backstop, count);
            samba.kill();
            wait_until(Duration::from_secs(15), "the outage to be noticed", || {
                decision(&mut smtp, "<nobody@example.test>") == UNAVAILABLE
            });
            decides(&mut smtp, "it is down", &[("user7", OK), ("user19", OK), ("nobody", UNAVAILABLE)]);
            samba.restart();
            samba.delete(&dn(&format!("user{index}")));
            wait_until(Duration::from_secs(45), "the deletion to be seen", || {
                decision(&mut smtp, &format!("<user{index}@example.test>")) == UNKNOWN
            });
            samba.pause();
            let begun = Instant::now();
            wait_until(Duration::from_secs(15), "the standstill to be noticed", || {
                decision(&mut smtp, "<stranger@example.test>") == UNAVAILABLE
            });
            println!("{feed}: noticed after {:?}", begun.elapsed());
            decides(&mut smtp, "it hangs", &[("user7", OK), ("user19", OK)]);
            samba.resume();
            wait_until(Duration::from_secs(45), "answers again", || {
                decision(&mut smtp, "<stranger@example.test>") == UNKNOWN
            });
        }
    }
}

/// An Active Directory with twenty users.
fn domain() -> SambaAd {
    let samba = SambaAd::start();
    samba.add(&(0..20).map(|index| user(&format!("user{index}"))).collect::<String>());
    samba
}

fn follows(samba: &SambaAd, reader: &str, feed: &str) {
    let dn = |name: &str| format!("CN={name},{}", SambaAd::STAFF);
    let modify = |name: &str, changes: &str| {
        samba.modify(&format!("dn: {}\nchangetype: modify\n{changes}\n", dn(name)));
    };
    // Who is deleted is shown to nobody without a right: the next listing finds it.
    let more = format!(
        "feed = {feed:?}\nsuspended_when = [\"disabled\"]\n[directory.corp.replica]\nrefresh = \"{REFRESH}s\""
    );
    let backstop = super::backstop(&super::active_directory(samba, reader, &more)).start();
    let postfix = super::postfix(&backstop);
    wait_for_addresses(&backstop, 20);
    let mut site = Site { backstop: &backstop, smtp: super::session(&postfix) };

    site.sees(21, &[("new", OK)], || samba.add(&user("new")));
    site.sees(22, &[("new", OK), ("alias", OK)], || {
        modify("new", "add: proxyAddresses\nproxyAddresses: smtp:alias@example.test");
    });
    site.sees(22, &[("new", UNKNOWN), ("newer", OK), ("alias", OK)], || {
        modify(
            "new",
            "replace: mail\nmail: newer@example.test\n-\nreplace: proxyAddresses\n\
             proxyAddresses: SMTP:newer@example.test\nproxyAddresses: smtp:alias@example.test",
        );
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || samba.rename(&dn("new"), "CN=newest"));
    site.sees(22, &[("newer", SUSPENDED), ("alias", SUSPENDED)], || {
        modify("newest", "replace: userAccountControl\nuserAccountControl: 546");
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || {
        modify("newest", "replace: userAccountControl\nuserAccountControl: 544");
    });
    let gone = [("newer", UNKNOWN), ("alias", UNKNOWN), ("user19", OK)];
    if reader == SambaAd::ADMINISTRATOR {
        site.sees(20, &gone, || samba.delete(&dn("newest")));
    } else {
        site.sees_within(Duration::from_secs(2 + REFRESH), 20, &gone, || samba.delete(&dn("newest")));
    }
}

fn user(name: &str) -> String {
    format!(
        "dn: CN={name},{}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\n\
         mail: {name}@example.test\nproxyAddresses: SMTP:{name}@example.test\n\n",
        SambaAd::STAFF
    )
}

struct Site<'a> {
    backstop: &'a Backstop,
    smtp: Smtp,
}

impl Site<'_> {
    /// Makes a change, and waits for what the replica makes of it: so many addresses, and these decisions. (An added user
    /// would be known without the replica, too: whom it lacks is asked for live. The count tells.)
    #[track_caller]
    fn sees(&mut self, count: u32, table: &[(&str, &str)], change: impl FnOnce()) {
        self.sees_within(Duration::from_secs(2), count, table, change);
    }

    #[track_caller]
    fn sees_within(&mut self, time: Duration, count: u32, table: &[(&str, &str)], change: impl FnOnce()) {
        change();
        let begun = Instant::now();
        wait_until(Duration::from_secs(15), &format!("{table:?}"), || {
            let mut decisions = table.iter().map(|(local, wanted)| {
                decision(&mut self.smtp, &format!("<{local}@example.test>")) == *wanted
            });
            decisions.all(|right| right)
        });
        assert!(begun.elapsed() < time, "{table:?} after {:?}", begun.elapsed());
        // The metric is brought up to date every second.
        wait_until(Duration::from_secs(15), &format!("{count} addresses"), || {
            addresses(self.backstop) == f64::from(count)
        });
        let time = time + Duration::from_millis(1500);
        assert!(begun.elapsed() < time, "{count} addresses after {:?}", begun.elapsed());
        decides(&mut self.smtp, "others", &[("user7", OK), ("nobody", UNKNOWN)]);
    }
}

/// In seconds.
const REFRESH: u64 = 4;
