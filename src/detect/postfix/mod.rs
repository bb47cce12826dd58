//! Postfix: `postconf` tells the settings, `postmap` the tables.
//!
//! The model is what smtpd(8) does with a recipient (postconf(5), smtpd_reject_unlisted_recipient): it takes one that is
//! in `canonical_maps`, `recipient_canonical_maps` or `virtual_alias_maps`, or in the table of its domain's class, and
//! refuses all others. So a domain is whole only while that check is on, and every one of these tables can be listed.

mod classes;
mod conf;
mod domains;
mod maps;
mod milters;
mod networks;
mod senders;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use conf::{Conf, Service, line_of};
use maps::{Map, Tools};

use super::command::{CommandError, program, run};
use super::{Evidence, Findings, Mta, Options, Place};

/// A text as what Postfix' programs print, and as its files. For tests/fuzz.
pub(super) fn fuzz_postfix(text: &str) {
    conf::fuzz_conf(text);
    for map in Map::list(text) {
        let through = format!("proxy:{}", map.whole);
        assert_eq!(Map { whole: map.whole, ..Map::parse(&through) }, map, "through proxymap(8)");
        assert!(map.whole.ends_with(map.name) && map.whole.contains(map.kind), "{map:?}");
        for file in map.files().into_iter().chain(map.text()) {
            assert!(
                file.as_os_str().as_encoded_bytes().starts_with(map.name.as_bytes()),
                "{map:?}: {file:?}"
            );
        }
        assert!(!map.never_matches() || map.text().is_none(), "{map:?}");
    }
    networks::fuzz_networks(text);
}

/// One configuration of Postfix while it is looked at.
struct Postfix<'a> {
    options: &'a Options,
    findings: &'a mut Findings,
    tools: Tools,
    conf: Conf,
    services: Vec<Service>,
    /// The text of main.cf, for line numbers.
    main_cf: String,
}

/// Looks for Postfix and adds what it finds.
pub(super) async fn find(options: &Options, findings: &mut Findings) {
    let directory = match &options.postfix {
        Place::Skip => return,
        Place::At(directory) => Some(directory.clone()),
        // Postfix' own variable (postconf(1), ENVIRONMENT); its programs run without any that is not ours.
        Place::Usual => std::env::var_os("MAIL_CONFIG").map(PathBuf::from),
    };
    let (Some(postconf), Some(postmap)) = (program(&POSTCONF), program(&POSTMAP)) else {
        findings.notes.push("Postfix: postconf is not installed".to_owned());
        return;
    };
    let more = find_in(options, findings, &postconf, &postmap, directory).await.unwrap_or_else(|error| {
        findings.notes.push(format!("Postfix: {error}"));
        findings.rewrites.push(format!("what Postfix does with senders is not known: {error}"));
        Vec::new()
    });
    for directory in more {
        let place = directory.display().to_string();
        if let Err(error) = find_in(options, findings, &postconf, &postmap, Some(directory)).await {
            findings.notes.push(format!("Postfix instance {place}: {error}"));
            findings.rewrites.push(format!("what Postfix does with senders is not known: {error}"));
        }
    }
}

/// Looks at one configuration directory, or at the one that `postconf` takes by itself; returns the directories of further
/// instances.
async fn find_in(
    options: &Options,
    findings: &mut Findings,
    postconf: &Path,
    postmap: &Path,
    directory: Option<PathBuf>,
) -> Result<Vec<PathBuf>, CommandError> {
    let ask = async |flag: &'static str| {
        let at = directory.iter().flat_map(|directory| [OsStr::new("-c"), directory.as_os_str()]);
        let arguments: Vec<_> = at.chain([OsStr::new(flag)]).collect();
        run(options, postconf, &arguments, b"").await
    };
    // Together: who starts waits for them.
    let (settings, services, overrides) = tokio::try_join!(ask("-x"), ask("-M"), ask("-Px"))?;
    let (conf, services) = (Conf::parse(&settings), Service::parse(&services, &overrides));
    let directory = directory.unwrap_or_else(|| conf.value("config_directory").into());
    let tools = Tools { postmap: postmap.to_owned(), directory };
    let main = tools.directory.join("main.cf");
    findings.watch.extend([main.clone(), tools.directory.join("master.cf")]);
    let main_cf = tokio::fs::read_to_string(&main).await.unwrap_or_default();
    findings.mtas.push(Mta::Postfix {
        version: conf.value("mail_version").to_owned(),
        config_directory: tools.directory.clone(),
    });
    let more = conf::split(conf.value("multi_instance_directories")).into_iter().map(PathBuf::from).collect();
    let mut postfix = Postfix { options, findings, tools, conf, services, main_cf };
    postfix.look().await;
    Ok(more)
}

impl Postfix<'_> {
    async fn look(&mut self) {
        self.delimiters_and_probes();
        self.milters();
        self.senders();
        self.networks().await;
        self.classes().await;
    }

    fn delimiters_and_probes(&mut self) {
        for c in self.conf.value("recipient_delimiter").chars() {
            if !self.findings.delimiters.contains(c) {
                self.findings.delimiters.push(c);
            }
        }
        for parameter in ["double_bounce_sender", "address_verify_sender"] {
            let value = self.conf.value(parameter);
            let local = value.split('@').next().unwrap_or_default().to_lowercase();
            if !local.is_empty() && !self.findings.probes.contains(&local) {
                self.findings.probes.push(local);
            }
        }
    }

    /// The evidence for what `parameter` says.
    fn evidence(&self, parameter: &str) -> Evidence {
        let line = line_of(&self.main_cf, parameter);
        Evidence {
            what: parameter.to_owned(),
            value: self.conf.value(parameter).to_owned(),
            place: line.map(|line| (self.tools.directory.join("main.cf"), Some(line))),
        }
    }

    fn watch(&mut self, map: &Map<'_>) {
        self.findings.watch.extend(map.files());
        let text = map.text();
        for (text, index) in
            text.iter().flat_map(|text| map.files().into_iter().map(move |index| (text, index)))
        {
            if newer(text, &index) {
                let note = format!(
                    "{} is newer than {}: run postmap or newaliases",
                    text.display(),
                    index.display()
                );
                if !self.findings.notes.contains(&note) {
                    self.findings.notes.push(note);
                }
            }
        }
    }
}

fn newer(text: &Path, index: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    time(text).zip(time(index)).is_some_and(|(text, index)| text > index)
}

const POSTCONF: [&str; 3] = ["/usr/sbin/postconf", "/usr/local/sbin/postconf", "/opt/local/sbin/postconf"];
const POSTMAP: [&str; 3] = ["/usr/sbin/postmap", "/usr/local/sbin/postmap", "/opt/local/sbin/postmap"];
