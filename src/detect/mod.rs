//! Finds the local domains and users of the MTA on this host, with the evidence for each.
//!
//! It asks the MTA's own programs (`postconf`, `postmap`, `sendmail -bt`, `makemap`, `doveconf`) and reads what they name;
//! it never changes anything, and it never guesses: a domain of whose recipients not every source could be seen whole is
//! [partial](FoundDomain::partial), with the reason, and a partial domain is never a ground to refuse a recipient.
//! Failure answer: what can't be found out is a [`Partial`] or a [note](Findings::notes), never an error.
//!
//! The rules lean to one side: the set of recipients which detection takes for existing holds every recipient that the MTA
//! would accept, and may hold more.

mod cdb;
mod command;
mod dovecot;
mod findings;
mod fuzz;
mod lines;
mod list;
mod postfix;
mod report;
mod sendmail;

use std::path::PathBuf;
use std::time::Duration;

pub use command::CommandError;
pub use findings::{
    Class, Evidence, Findings, Found, FoundDomain, Hint, How, MilterUse, Mta, Partial, Pattern, Source,
    SourceId,
};
#[doc(hidden)]
pub use fuzz::fuzz_detect;
pub use lines::{main_cf_lines, sendmail_mc_lines};
pub use list::{Entry, ListError, list};
pub use sendmail::is_permanent_error;

/// Where to look, and how long. The default is what a host's package sets up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Postfix' configuration directory.
    pub postfix: Place,
    /// Sendmail's sendmail.cf.
    pub sendmail: Place,
    /// The sendmail program, where it is not in one of the usual places.
    pub sendmail_program: Option<PathBuf>,
    /// Dovecot's configuration file.
    pub dovecot: Place,
    /// How long one program may take.
    pub timeout: Duration,
    /// How many bytes one program may print; more counts as unreadable.
    pub output: usize,
}

/// Where one of the MTA's files is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Where the programs themselves look.
    Usual,
    /// Here.
    At(PathBuf),
    /// Not to be looked for.
    Skip,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            postfix: Place::Usual,
            sendmail: Place::Usual,
            sendmail_program: None,
            dovecot: Place::Usual,
            timeout: Duration::from_secs(10),
            output: 256 << 20,
        }
    }
}

impl Options {
    /// Look for nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { postfix: Place::Skip, sendmail: Place::Skip, dovecot: Place::Skip, ..Self::default() }
    }
}

/// Looks at the MTAs of this host. Takes as long as their programs do, each at most [`Options::timeout`].
pub async fn find(options: &Options) -> Findings {
    let mut findings = Findings::default();
    let mtas = async {
        postfix::find(options, &mut findings).await;
        sendmail::find(options, &mut findings).await;
    };
    // Meanwhile: who starts waits for all of them.
    let ((), dovecot) = tokio::join!(mtas, dovecot::settings(options));
    if let Some(settings) = dovecot {
        dovecot::find(settings, &mut findings);
    }
    if findings.mtas.is_empty() {
        findings
            .notes
            .push("no Postfix and no Sendmail found on this host: no domains are known from it".to_owned());
    }
    if findings.mtas.len() > 1 {
        findings.notes.push(
            "more than one MTA found: a recipient counts as unknown only where all of them say so".to_owned(),
        );
    }
    findings.settle();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_mta() {
        let options = Options {
            postfix: Place::Skip,
            sendmail: Place::Skip,
            dovecot: Place::Skip,
            ..Options::default()
        };
        let findings = find(&options).await;
        assert!(findings.mtas.is_empty() && findings.domains.is_empty() && findings.networks.is_empty());
        assert!(
            findings.notes.iter().any(|note| note.contains("no Postfix and no Sendmail")),
            "{:?}",
            findings.notes
        );
    }

    #[tokio::test]
    async fn nothing_where_we_look() {
        let nowhere = Place::At("/nowhere/at/all".into());
        let options = Options {
            postfix: nowhere.clone(),
            sendmail: nowhere.clone(),
            dovecot: nowhere,
            ..Options::default()
        };
        let findings = find(&options).await;
        assert!(findings.mtas.is_empty() && findings.domains.is_empty());
        assert!(findings.notes.iter().any(|note| note.starts_with("Postfix")), "{:?}", findings.notes);
        assert!(findings.notes.iter().any(|note| note.starts_with("Sendmail")), "{:?}", findings.notes);
    }
}
