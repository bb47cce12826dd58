//! A change in the directory is seen by the replica within two seconds, by the directory's own feed, without a restart.

use std::time::{Duration, Instant};

use backstop_harness::{Backstop, SambaAd, Slapd, Smtp, wait_until};

use super::{OK, SUSPENDED, UNKNOWN, addresses, decides, decision, person, wait_for_addresses};

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

/// The control that Microsoft made for this, both for those who may replicate everything and for ordinary users.
#[test]
fn active_directory_dirsync() {
    let samba = SambaAd::start();
    for user in [SambaAd::ADMINISTRATOR, SambaAd::SERVICE] {
        active_directory(&samba, user, "dirsync");
    }
}

/// For an account that may not use DirSync.
#[test]
fn active_directory_usn() {
    active_directory(&SambaAd::start(), SambaAd::ADMINISTRATOR, "usn");
}

fn active_directory(samba: &SambaAd, user: &str, feed: &str) {
    let dn = |name: &str| format!("CN={name},{}", SambaAd::STAFF);
    let person = |name: &str| {
        format!(
            "dn: {}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\nmail: {name}@example.test\n\
             proxyAddresses: SMTP:{name}@example.test\n\n",
            dn(name)
        )
    };
    let all: String = (0..20).map(|index| person(&format!("user{index}"))).collect();
    samba.add(&all);
    let more = format!("feed = {feed:?}\nsuspended_when = [\"disabled\"]");
    let backstop = super::backstop(&super::active_directory(samba, user, &more)).start();
    let postfix = super::postfix(&backstop);
    wait_for_addresses(&backstop, 20);
    let mut site = Site { backstop: &backstop, smtp: super::session(&postfix) };

    site.sees(21, &[("new", OK)], || samba.add(&person("new")));
    site.sees(22, &[("new", OK), ("alias", OK)], || {
        samba.modify(&format!(
            "dn: {}\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:alias@example.test\n",
            dn("new")
        ));
    });
    site.sees(22, &[("new", UNKNOWN), ("newer", OK), ("alias", OK)], || {
        samba.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: mail\nmail: newer@example.test\n-\nreplace: proxyAddresses\n\
             proxyAddresses: SMTP:newer@example.test\nproxyAddresses: smtp:alias@example.test\n-\n",
            dn("new")
        ));
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || samba.rename(&dn("new"), "CN=newest"));
    site.sees(22, &[("newer", SUSPENDED), ("alias", SUSPENDED)], || {
        samba.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 546\n",
            dn("newest")
        ));
    });
    site.sees(22, &[("newer", OK), ("alias", OK)], || {
        samba.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 544\n",
            dn("newest")
        ));
    });
    site.sees(20, &[("newer", UNKNOWN), ("alias", UNKNOWN), ("user19", OK)], || samba.delete(&dn("newest")));
    drop(backstop);
    for index in 0..20 {
        samba.delete(&dn(&format!("user{index}")));
    }
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
        change();
        let begun = Instant::now();
        wait_until(Duration::from_secs(15), &format!("{count} addresses and {table:?}"), || {
            let mut decisions = table.iter().map(|(local, wanted)| {
                decision(&mut self.smtp, &format!("<{local}@example.test>")) == *wanted
            });
            decisions.all(|right| right) && addresses(self.backstop) == f64::from(count)
        });
        assert!(begun.elapsed() < Duration::from_secs(2), "{table:?} after {:?}", begun.elapsed());
        decides(&mut self.smtp, "others", &[("user7", OK), ("nobody", UNKNOWN)]);
    }
}
