//! What was detected follows the MTA's files while mail flows.

use std::sync::Arc;
use std::time::Duration;

use backstop::detect::{Options, Place};
use backstop_harness::{Postfix, wait_until};
use tokio_util::sync::CancellationToken;

use super::judge::Judge;

#[test]
fn changes_are_followed() {
    let postfix = Postfix::builder()
        .main(
            "relay_domains =\nmydestination = a.test\nlocal_recipient_maps = $alias_maps\n\
             alias_maps = hash:$config_directory/aliases\nappend_dot_mydomain = no",
        )
        .map("hash", "aliases", "ann root\n")
        .start();
    let judge = Judge::new(Options {
        postfix: Place::At(postfix.config_directory()),
        sendmail: Place::Skip,
        dovecot: Place::Skip,
        ..Options::default()
    });
    let stop = CancellationToken::new();
    let (live, token) = (Arc::clone(judge.live()), stop.clone());
    let follower = judge.runtime().spawn(async move { live.run(token).await });
    let answers = (judge.refuses("ann@a.test"), judge.refuses("new@a.test"));
    assert_eq!(answers, (None, Some("unknown-recipient".to_owned())));

    let aliases = postfix.config_directory().join("aliases");
    let postmap = |content: &str| {
        postfix.write("aliases", content);
        let table = format!("hash:{}", aliases.display());
        assert!(postfix.command("postmap", &[&table]).status().expect("run postmap").success());
    };
    postmap("ann root\nnew root\n");
    wait(|| judge.refuses("new@a.test").is_none());
    // not only in doubt: the new table is in use
    wait(|| judge.refuses("other@a.test").is_some());
    assert_eq!(judge.refuses("new@a.test"), None);

    postmap("ann root\n");
    wait(|| judge.refuses("new@a.test").is_some());
    assert_eq!(judge.refuses("ann@a.test"), None);

    let changed = postfix.command("postconf", &["-e", "luser_relay = root"]).status();
    assert!(changed.expect("run postconf").success());
    wait(|| {
        judge.refuses("new@a.test").is_none() && judge.partial("a.test").is_some_and(|why| !why.is_empty())
    });

    stop.cancel();
    judge.runtime().block_on(follower).expect("it ends when told");
}

#[track_caller]
fn wait(condition: impl Fn() -> bool) {
    wait_until(Duration::from_secs(30), "the change to be seen", condition);
}
