//! Changes to a directory by LDIF (RFC 2849), with OpenLDAP's own programs.

use std::path::PathBuf;
use std::process::Command;

use crate::dir::TempDir;
use crate::process::run;

/// Whom changes are sent to, and as whom.
#[derive(Debug)]
pub(crate) struct Administrator {
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
    pub(crate) dn: String,
    pub(crate) password: String,
}

impl Administrator {
    /// Applies change records; an entry without `changetype:` is added.
    #[track_caller]
    pub(crate) fn apply(&self, ldif: &str) {
        let dir = TempDir::new("ldif");
        let file = dir.write("changes.ldif", ldif);
        run(self.program("ldapmodify").arg("-a").arg("-f").arg(file));
    }

    /// Removes entries.
    #[track_caller]
    pub(crate) fn delete(&self, dn: &str) {
        run(self.program("ldapdelete").arg(dn));
    }

    /// Gives an entry another name at its place.
    #[track_caller]
    pub(crate) fn rename(&self, dn: &str, rdn: &str) {
        run(self.program("ldapmodrdn").arg("-r").arg(dn).arg(rdn));
    }

    /// Whether the server answers.
    pub(crate) fn is_answered(&self) -> bool {
        let mut command = self.program("ldapsearch");
        command.args(["-LLL", "-o", "nettimeout=2", "-s", "base", "-b", "", "supportedLDAPVersion"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// `-M`: entries that stand for something else (an error, a referral) are meant themselves (RFC 3296).
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("LDAPTLS_CACERT", &self.ca);
        command.args(["-x", "-M", "-H", &self.url, "-D", &self.dn, "-w", &self.password]);
        command
    }
}
