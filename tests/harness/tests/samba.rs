//! The harness' Active Directory, without Backstop.

use std::process::{Command, Output};

use backstop_harness::SambaAd;

#[test]
fn samba_starts_stops_and_hangs() {
    let mut samba = SambaAd::builder().require_strong_auth().start();
    samba.add(&format!(
        "dn: CN=Anna,{staff}\nobjectClass: user\nsAMAccountName: anna\nuserAccountControl: 544\n\
         proxyAddresses: SMTP:anna@example.test\nmsExchRecipientTypeDetails: 1\n\n\
         dn: CN=All,{staff}\nobjectClass: msExchDynamicDistributionList\nproxyAddresses: SMTP:all@example.test\n\
         msExchRequireAuthToSendTo: TRUE\n\n\
         dn: CN=Ideas,{staff}\nobjectClass: publicFolder\nproxyAddresses: SMTP:ideas@example.test\n\
         msExchHideFromAddressLists: TRUE\n",
        staff = SambaAd::STAFF
    ));
    assert_eq!(found(&samba, "(proxyAddresses=*)"), 3);
    assert_eq!(found(&samba, "(proxyAddresses=smtp:ANNA@example.test)"), 1);
    let plain = search(&samba, &samba.url(), "(proxyAddresses=*)");
    assert_eq!(plain.status.code(), Some(8), "a password in clear is refused: {plain:?}");

    samba.pause();
    assert!(!search(&samba, &samba.ldaps_url(), "(cn=Anna)").status.success());
    samba.resume();
    assert_eq!(found(&samba, "(cn=Anna)"), 1);

    samba.kill();
    assert!(!search(&samba, &samba.ldaps_url(), "(cn=Anna)").status.success());
    samba.restart();
    samba.rename(&format!("CN=Anna,{}", SambaAd::STAFF), "CN=Anne");
    assert_eq!(found(&samba, "(cn=Anne)"), 1);
    samba.delete(&format!("CN=Anne,{}", SambaAd::STAFF));
    assert_eq!(found(&samba, "(proxyAddresses=smtp:anna@example.test)"), 0);
}

#[track_caller]
fn found(samba: &SambaAd, filter: &str) -> usize {
    let output = search(samba, &samba.ldaps_url(), filter);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).matches("dn: ").count()
}

fn search(samba: &SambaAd, url: &str, filter: &str) -> Output {
    let mut command = Command::new("timeout");
    command.env("LDAPTLS_CACERT", samba.ca());
    command.args(["2", "ldapsearch", "-x", "-LLL", "-H", url]);
    command.args(["-D", SambaAd::SERVICE, "-w", SambaAd::PASSWORD, "-b", SambaAd::STAFF, filter, "dn"]);
    command.output().expect("ldapsearch runs")
}
