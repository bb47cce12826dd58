//! Directories put together from real files: who is in charge, and how answers are merged.

mod servers;

use std::{fs, path::Path, time::Duration};

use super::*;
use crate::{address::Address, files, policy::Attributes, telemetry::Registry};

const DEFER: RecipientFact = RecipientFact::Unknown(Unavailable::Defer);
const CONTINUE: RecipientFact = RecipientFact::Unknown(Unavailable::Continue);
const EXISTS: RecipientFact = RecipientFact::Exists(Attributes::PLAIN);
const CAUGHT: RecipientFact = RecipientFact::Exists(Attributes { catch_all: true, ..Attributes::PLAIN });
const CAUGHT_PERHAPS: RecipientFact =
    RecipientFact::Exists(Attributes { catch_all: true, unsure: true, ..Attributes::PLAIN });

/// A site as an admin configures it.
#[derive(Default)]
struct Site {
    domains: Domains,
    recipients: Recipients,
    directories: Configs,
    detected: Detected,
}

impl Site {
    fn of(names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Self { domains: Domains { names, ..Domains::default() }, ..Self::default() }
    }

    fn directory(mut self, name: &str, format: file::Format, path: &Path) -> Self {
        let file = Some(file::Config { path: path.to_owned(), format });
        let config = Config { file, ..Config::default() };
        self.directories.insert(name.to_owned(), config);
        self
    }

    fn with(mut self, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        change(self.directories.get_mut(name).expect("named before"));
        self
    }

    fn build(self) -> Result<Directories, BuildError> {
        let registry = Registry::default();
        let keeper = Keeper::new(files::Metrics::register(&registry));
        let detected = Arc::new(ArcSwap::from_pointee(self.detected));
        let metrics = Metrics::register(&registry);
        Directories::build(
            &self.domains,
            &self.recipients,
            &self.directories,
            &keeper,
            &Remotes::new(metrics.clone()),
            &metrics,
            detected,
        )
    }
}

impl Directories {
    /// Servers in charge of a domain, which answer as a test says: after how long, and whether the address exists; `None`:
    /// it can't tell.
    pub(crate) fn told<F>(name: &str, servers: Vec<(Unavailable, Duration, F)>) -> Self
    where
        F: Fn(&Address) -> (Duration, Option<bool>) + Send + Sync + 'static,
    {
        use super::remote::{Backend, Failure, Times, Told};
        let mut directories = Site::of(&[name]).build().expect("no files");
        let metrics = directories.metrics.clone();
        for (place, (on_unavailable, deadline, answer)) in servers.into_iter().enumerate() {
            let told = Told::later(move |address| {
                let (time, exists) = answer(address);
                let exists = exists.map(|exists| exists.then(Attributes::default));
                (time, exists.ok_or_else(|| Failure::new(Why::Down, "it is down")))
            });
            let name = format!("d{place}");
            let remote =
                Remote::new(&name, Backend::Told(told), deadline, &Times::default(), false, &metrics);
            let source = Source::Remote(Arc::new(remote));
            let directory = Directory { name: name.into(), source, on_unavailable };
            directories.configured.push(Configured { directory, example: None });
            directories.charge.add(place, None).expect("no names");
        }
        directories
    }
}

/// Files of a test, written long ago as far as the loader can tell.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

async fn check(directories: &Directories, answers: &[(&str, RecipientFact)]) {
    for (address, fact) in answers {
        let address = Address::parse(address).unwrap();
        assert_eq!(directories.find(&address).await.fact, *fact, "{address}");
        let explained = directories.explain(&address).await;
        assert_eq!(explained.fact, *fact, "{address}: explained otherwise: {:?}", explained.steps);
    }
}

fn listed(entries: &[&str]) -> Source {
    let mut builder = Builder::default();
    for entry in entries {
        builder.add(&Entry::parse(entry.as_bytes()).unwrap(), Attributes::default());
    }
    Source::Listed(Arc::new(builder.finish()), std::time::Instant::now())
}

fn found(source: Source) -> Arc<Directory> {
    Arc::new(Directory { name: "found".into(), source, on_unavailable: Unavailable::Continue })
}

/// A directory in charge of d.example, the keeper of its file, and the file.
fn kept(files: &Files, format: file::Format, content: &str) -> (Directories, Arc<Keeper>, PathBuf) {
    let path = files.write("kept", content);
    let site = Site::of(&["d.example"]).directory("kept", format, &path);
    let registry = Registry::default();
    let keeper = Arc::new(Keeper::new(files::Metrics::register(&registry)));
    let metrics = Metrics::register(&registry);
    let directories = Directories::build(
        &site.domains,
        &site.recipients,
        &site.directories,
        &keeper,
        &Remotes::new(metrics.clone()),
        &metrics,
        Arc::default(),
    );
    (directories.unwrap(), keeper, path)
}

#[tokio::test]
async fn what_is_held_back_or_unreadable_makes_nobody_absent_who_may_be_in_it() {
    let files = Files::new();
    let many: String = (0..20).map(|n| format!("user{n}@d.example\n")).collect();
    let (directories, keeper, path) = kept(&files, file::Format::Addresses, &many);
    let (old, new, nobody) = ("user7@d.example", "new@d.example", "nobody@d.example");
    let absent = RecipientFact::Absent;
    check(&directories, &[(old, EXISTS), (new, absent), (nobody, absent)]).await;

    fs::write(&path, "user1@d.example\nnew@d.example\n").unwrap();
    assert!(matches!(keeper.reload(false)[0].1, files::Outcome::Held(files::Held::Shrunk { .. })));
    check(&directories, &[(old, EXISTS), (new, EXISTS), (nobody, absent)]).await;
    fs::write(&path, "@d.example\n").unwrap();
    keeper.reload(false);
    check(&directories, &[(old, EXISTS), (nobody, CAUGHT)]).await;
    fs::write(&path, "").unwrap();
    assert!(matches!(keeper.reload(false)[0].1, files::Outcome::Held(files::Held::Empty)));
    check(&directories, &[(old, EXISTS), (nobody, absent)]).await;

    fs::remove_file(&path).unwrap();
    keeper.reload(false);
    check(&directories, &[(old, EXISTS), (nobody, DEFER)]).await;
    fs::create_dir(&path).unwrap();
    keeper.reload(false);
    check(&directories, &[(old, EXISTS), (nobody, DEFER)]).await;
    fs::remove_dir(&path).unwrap();
    fs::write(&path, format!("{many}new@d.example\n")).unwrap();
    keeper.reload(false);
    check(&directories, &[(old, EXISTS), (new, EXISTS), (nobody, absent)]).await;
}

#[tokio::test]
async fn a_table_that_is_held_back_is_asked_too() {
    let files = Files::new();
    let rules: String = (0..20).map(|n| format!("/^user{n}@/ ok\n")).collect();
    let (directories, keeper, path) = kept(&files, file::Format::Pcre, &rules);
    fs::write(&path, "/^user/ ok\n").unwrap();
    keeper.reload(false);
    check(&directories, &[("user99@d.example", EXISTS), ("nobody@d.example", RecipientFact::Absent)]).await;
}

/// The look-up of system users takes its time; meanwhile the file is replaced.
#[tokio::test]
async fn a_list_that_changes_during_a_look_up_makes_nobody_absent() {
    use std::sync::OnceLock;
    static LIST: OnceLock<(Watched<Index>, PathBuf)> = OnceLock::new();
    fn replace(_: &str) -> nix::Result<bool> {
        let (list, path) = LIST.get().unwrap();
        fs::write(path, "joe@d.example\n").unwrap();
        list.reload(true);
        Ok(false)
    }
    let files = Files::new();
    let path = files.write("list", "@d.example\n");
    let keeper = Keeper::new(files::Metrics::register(&Registry::default()));
    let list = keeper
        .open(spec("list", "addresses", vec![path.clone()], |_| {}), |texts| {
            file::load_list(texts, file::Format::Addresses)
        })
        .unwrap();
    LIST.set((list.clone(), path)).ok().unwrap();
    let mut site = Site::default();
    site.detected.domains.insert(
        domain("d.example"),
        DetectedDomain {
            directories: vec![found(Source::List(list)), found(Source::Users(Users::with(replace)))],
            partial: false,
        },
    );
    let address = Address::parse("joe@d.example").unwrap();
    assert_eq!(site.build().unwrap().find(&address).await.fact, EXISTS);
}

#[tokio::test]
async fn domains_are_local_by_name_by_file_by_directory_and_by_detection() {
    let files = Files::new();
    // As Toriss writes it.
    let list =
        files.write("TORISS_DOMAINS.TXT", "# ours\r\nFile.Example\r\n.below.example\r\n\r\nexämple.net\r\n");
    let users = files.write("users", "joe\n");
    let mut site = Site::of(&["example.com", ".example.org"])
        .directory("default", file::Format::Addresses, &users)
        .directory("own", file::Format::Addresses, &users)
        .with("own", |config| config.domains = Some(vec!["own.example".to_owned()]));
    site.domains.files.push(list);
    site.recipients.catch_all.push("example.com".to_owned());
    site.detected.domains.insert(domain("found.example"), DetectedDomain::default());
    let directories = site.build().unwrap();
    let local = DomainFact::Local { in_charge: true, configured: true };
    let foreign = DomainFact::Foreign;
    for (name, fact) in [
        ("example.com", local),
        ("sub.example.com", foreign),
        ("example.org", foreign),
        ("a.b.example.org", local),
        ("FILE.example.", local),
        ("below.example", foreign),
        ("x.below.example", local),
        ("xn--exmple-cua.net", local),
        ("own.example", local),
        ("found.example", DomainFact::Local { in_charge: false, configured: false }),
        ("elsewhere.example", foreign),
    ] {
        assert_eq!(directories.domain(&domain(name)), fact, "{name}");
    }
    assert!(directories.waiting_for().is_empty());
    check(
        &directories,
        &[
            ("joe@a.example.org", EXISTS),
            ("ann@a.example.org", RecipientFact::Absent),
            ("joe@own.example", EXISTS),
            ("joe@found.example", CONTINUE),
            ("joe@elsewhere.example", CONTINUE),
            ("ann@example.com", CAUGHT),
        ],
    )
    .await;
}

#[tokio::test]
async fn exists_wins_absent_needs_all_and_defer_is_heard_first() {
    let files = Files::new();
    let one = files.write("one", "joe@example.com\n@caught.example\n");
    let two = files.write("two", "ann@example.com\nann@caught.example\n");
    let empty = files.write("empty", "# nothing yet\n");
    let base = || {
        Site::of(&["example.com", "caught.example"])
            .directory("one", file::Format::Addresses, &one)
            .directory("two", file::Format::Addresses, &two)
    };
    let directories = base().build().unwrap();
    check(
        &directories,
        &[
            ("joe@example.com", EXISTS),
            ("ann@example.com", EXISTS),
            ("bob@example.com", RecipientFact::Absent),
            ("Joe+news@Example.com", EXISTS),
            ("ann@caught.example", EXISTS),
            ("bob@caught.example", CAUGHT),
        ],
    )
    .await;

    // One that has no content can't say who does not exist, but the others still know whom they know.
    let unavailable = |first, second| {
        base()
            .directory("three", file::Format::Addresses, &empty)
            .directory("four", file::Format::Addresses, &empty)
            .with("three", |config| config.on_unavailable = first)
            .with("four", |config| config.on_unavailable = second)
            .build()
            .unwrap()
    };
    let answers =
        |bob| [("joe@example.com", EXISTS), ("bob@example.com", bob), ("bob@caught.example", CAUGHT_PERHAPS)];
    let directories = unavailable(Unavailable::Continue, Unavailable::Continue);
    assert!(!directories.waiting_for().is_empty());
    check(&directories, &answers(CONTINUE)).await;
    check(&unavailable(Unavailable::Continue, Unavailable::Defer), &answers(DEFER)).await;
    check(&unavailable(Unavailable::Defer, Unavailable::Continue), &answers(DEFER)).await;
}

/// `joe+x` is a mailbox of its own: that `joe` is suspended says nothing of it.
#[test]
fn of_several_forms_the_longest_that_is_known_counts() {
    let known =
        |suspended, catch_all| Answer::Exists(Attributes { suspended, catch_all, ..Attributes::default() });
    let (own, suspended, caught) = (known(false, false), known(true, false), known(false, true));
    let of_shorter = |answer, unsure| match answer {
        Answer::Exists(known) => Answer::Exists(Attributes { unsure, form: 1, ..known }),
        _ => answer,
    };
    let cant_tell = Answer::Unknown(Why::TimedOut);
    for (longer, shorter, expected) in [
        (own, suspended, own),
        (suspended, own, suspended),
        (caught, suspended, of_shorter(suspended, false)),
        (caught, own, of_shorter(own, false)),
        (own, caught, own),
        (caught, caught, caught),
        (
            caught,
            cant_tell,
            Answer::Exists(Attributes { unsure: true, catch_all: true, ..Attributes::default() }),
        ),
        (Answer::Absent, suspended, of_shorter(suspended, false)),
        (own, Answer::Absent, own),
        (cant_tell, own, of_shorter(own, true)),
        (cant_tell, suspended, of_shorter(suspended, true)),
        (own, cant_tell, own),
        (cant_tell, Answer::Absent, cant_tell),
        (Answer::Absent, cant_tell, cant_tell),
        (Answer::Absent, Answer::Absent, Answer::Absent),
    ] {
        assert_eq!(Answer::of_forms([longer, shorter]), expected, "{longer:?}, {shorter:?}");
    }
}

#[tokio::test]
async fn tables_and_lists_answer_together() {
    let files = Files::new();
    let list = files.write("list", "joe x\n");
    let table = files.write("table", "/^list-[a-z]+@example\\.com$/ ok\n");
    let broken = files.write("broken", "/^a@/ ok\n/^b@(/ ok\n");
    let site = || Site::of(&["example.com"]).directory("list", file::Format::Virtual, &list);
    let directories = site().directory("table", file::Format::Pcre, &table).build().unwrap();
    check(
        &directories,
        &[
            ("joe@example.com", EXISTS),
            ("LIST-news@example.com", EXISTS),
            ("list-1@example.com", RecipientFact::Absent),
        ],
    )
    .await;
    let directories = site().directory("table", file::Format::Regexp, &broken).build().unwrap();
    check(&directories, &[("joe@example.com", EXISTS), ("a@example.com", EXISTS), ("x@example.com", DEFER)])
        .await;
}

#[tokio::test]
async fn detected_domains_have_directories_of_their_own() {
    let mut site = Site::default();
    site.detected.delimiters = Delimiters::new("-");
    site.detected.domains.insert(domain("nobody.example"), DetectedDomain::default());
    let users = found(Source::Users(Users::new()));
    let aliases = found(listed(&["joe"]));
    let both = || vec![Arc::clone(&aliases), Arc::clone(&users)];
    site.detected
        .domains
        .insert(domain("whole.example"), DetectedDomain { directories: both(), partial: false });
    site.detected
        .domains
        .insert(domain("part.example"), DetectedDomain { directories: both(), partial: true });
    let directories = site.build().unwrap();
    check(
        &directories,
        &[
            ("joe@whole.example", EXISTS),
            ("joe-x@whole.example", EXISTS),
            ("root@whole.example", EXISTS),
            ("no-such-user@whole.example", RecipientFact::Absent),
            ("joe@part.example", EXISTS),
            ("no-such-user@part.example", CONTINUE),
            ("joe@nobody.example", CONTINUE),
        ],
    )
    .await;
}

/// Tags are undone; what a forwarder signed for another domain only he can verify.
#[tokio::test]
async fn tags_are_looked_through() {
    let files = Files::new();
    let list = files.write("list", "joe\n");
    let directories =
        Site::of(&["example.com"]).directory("list", file::Format::Addresses, &list).build().unwrap();
    check(
        &directories,
        &[
            ("prvs=0123456789=joe@example.com", EXISTS),
            ("prvs=0123456789=ann@example.com", RecipientFact::Absent),
            ("SRS0=abcd=xy=example.net=ann@example.com", CONTINUE),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_step_is_explained() {
    let files = Files::new();
    let list = files.write("list", "joe@example.com\n@caught.example\n");
    let directories = Site::of(&["example.com", "caught.example"])
        .directory("staff", file::Format::Addresses, &list)
        .build()
        .unwrap();
    for (address, steps) in [
        ("joe+x@example.com", vec!["staff: joe+x@example.com is absent", "staff: joe@example.com exists"]),
        ("x@caught.example", vec!["staff: x@caught.example is absent", "staff: @caught.example exists"]),
        ("x@elsewhere.example", vec![]),
    ] {
        let found = directories.explain(&Address::parse(address).unwrap()).await;
        let told = found.steps.iter().map(ToString::to_string);
        // Which file, and how old, is told in addition.
        let told: Vec<_> = told.map(|step| step.split(" [").next().unwrap_or_default().to_owned()).collect();
        assert_eq!(told, steps);
    }
    assert_eq!(directories.find(&Address::parse("x@example.com").unwrap()).await.steps, []);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let files = Files::new();
    let list = files.write("list", "joe\n");
    let wrong = files.write("wrong", "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/bin:/bin/sh\n: :\n");
    let missing = files.0.path().join("missing");
    let site = || Site::of(&["example.com"]).directory("staff", file::Format::Addresses, &list);
    let key = |site: Site| match site.build().unwrap_err() {
        BuildError::Domain { key, .. }
        | BuildError::Kind { key }
        | BuildError::File { key, .. }
        | BuildError::Setting { key, .. } => key,
    };
    assert_eq!(key(Site::of(&["a b"])), "domains.names");
    assert_eq!(key(site().with("staff", |config| config.file = None)), "directory.staff");
    assert_eq!(
        key(site().with("staff", |config| config.domains = Some(vec![String::new()]))),
        "directory.staff.domains"
    );
    assert_eq!(
        key(site().directory("staff", file::Format::Addresses, &missing)),
        "directory.staff.file.path"
    );
    assert_eq!(key(site().directory("staff", file::Format::Addresses, &wrong)), "directory.staff.file.path");
    let mut site = site();
    site.domains.files.push(missing);
    assert_eq!(key(site), "domains.files");
}

#[test]
fn metrics_tell_the_state_of_each_directory() {
    let files = Files::new();
    let (list, empty) = (files.write("list", "joe\nann\n"), files.write("empty", ""));
    let registry = Registry::default();
    let keeper = Keeper::new(files::Metrics::register(&registry));
    let site = Site::of(&["example.com"]).directory("staff", file::Format::Addresses, &list).directory(
        "new",
        file::Format::Pcre,
        &empty,
    );
    let metrics = Metrics::register(&registry);
    let built = Directories::build(
        &site.domains,
        &site.recipients,
        &site.directories,
        &keeper,
        &Remotes::new(metrics.clone()),
        &metrics,
        Arc::default(),
    );
    assert!(built.is_ok());
    let page = registry.page();
    for line in [
        "backstop_directory_up{directory=\"staff\"} 1",
        "backstop_directory_addresses{directory=\"staff\"} 2",
        "backstop_directory_age_seconds{directory=\"staff\"} 0",
        "backstop_directory_up{directory=\"new\"} 0",
        "backstop_file_held_back{list=\"directory new\"} 1",
        "backstop_file_held_back{list=\"directory staff\"} 0",
        "backstop_file_bad_lines{list=\"directory staff\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
    }
}

/// The MTA takes whom its own tables know, whatever else the admin lists; but only the admin's list calls anybody absent.
#[tokio::test]
async fn a_configured_directory_decides_and_detection_adds() {
    let files = Files::new();
    let list = files.write("list", "joe@example.com\n");
    let mut index = Builder::default();
    index.add(&Entry::parse(b"root@example.com").unwrap(), Attributes::default());
    let known = found(Source::Listed(Arc::new(index.finish()), std::time::Instant::now()));
    for partial in [false, true] {
        let mut site = Site::of(&["example.com"]).directory("list", file::Format::Addresses, &list);
        let detected = DetectedDomain { directories: vec![Arc::clone(&known)], partial };
        site.detected.domains.insert(domain("example.com"), detected);
        let directories = site.build().unwrap();
        assert_eq!(
            directories.domain(&domain("example.com")),
            DomainFact::Local { in_charge: true, configured: true }
        );
        check(
            &directories,
            &[
                ("joe@example.com", EXISTS),
                ("root@example.com", EXISTS),
                ("ann@example.com", RecipientFact::Absent),
            ],
        )
        .await;
    }
}
