//! The lines to put into the MTA's configuration. They name what the MTA is to do when we are away.

use std::path::Path;

use super::Hint;

/// Lines for main.cf. `address` is as Postfix writes it: `inet:localhost:8890`, `unix:/run/backstop/milter.sock`.
#[must_use]
pub fn main_cf_lines(address: &str) -> String {
    format!("smtpd_milters = {address}\nmilter_default_action = tempfail\n")
}

/// The line for sendmail.mc. `address` is as Sendmail writes it: `inet:8890@localhost`, `unix:/run/backstop/milter.sock`.
#[must_use]
pub fn sendmail_mc_lines(address: &str) -> String {
    format!("INPUT_MAIL_FILTER(`backstop', `S={address}, F=T, T=C:10s;S:30s;R:30s;E:5m')\n")
}

impl Hint {
    /// The blocks to fill in for domains whose recipients another server knows. `domains` as backstop.toml writes them.
    pub(super) fn relayed(why: &str, domains: &[String], next_hop: &str) -> Self {
        let list = domains.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let next_hop =
            if next_hop.is_empty() { String::new() } else { format!("   # the MTA's next hop: {next_hop}") };
        Self {
            why: format!("{why} {}", domains.join(", ")),
            toml: format!(
                "# List their recipients in a file:\n\
                 [directory.inside]\n\
                 domains = [{list}]\n\
                 [directory.inside.file]\n\
                 path = \"/etc/backstop/recipients\"\n\
                 \n\
                 # Or ask the server that the mail is handed to (in place of the table above),\n\
                 #[directory.inside.smtp]\n\
                 #host = \"mail.example.com:25\"{next_hop}\n\
                 # or its directory.\n\
                 #[directory.inside.ldap]\n\
                 #urls = [\"ldaps://dc1.example.com\"]\n\
                 #schema = \"active-directory\"\n\
                 #base = \"dc=example,dc=com\"\n\
                 #bind_dn = \"cn=backstop,ou=service,dc=example,dc=com\"\n\
                 #password_file = \"/etc/backstop/ldap.password\"\n"
            ),
        }
    }

    /// The block for domains whose mail is handed to Dovecot.
    pub(super) fn lmtp(domains: &[String], socket: &Path) -> Self {
        let list = domains.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let host = format!("lmtp:unix:{}", socket.display());
        Self {
            why: format!("Dovecot can be asked over LMTP who exists in {}", domains.join(", ")),
            toml: format!(
                "[directory.dovecot]\n\
                 domains = [{list}]\n\
                 [directory.dovecot.smtp]\n\
                 host = {host:?}\n\
                 # A user who exists: nobody is refused while Dovecot does not take him.\n\
                 control = \"postmaster\"\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_failure_policy() {
        let postfix = "smtpd_milters = inet:localhost:8890\nmilter_default_action = tempfail\n";
        assert_eq!(main_cf_lines("inet:localhost:8890"), postfix);
        let sendmail =
            "INPUT_MAIL_FILTER(`backstop', `S=inet:8890@localhost, F=T, T=C:10s;S:30s;R:30s;E:5m')\n";
        assert_eq!(sendmail_mc_lines("inet:8890@localhost"), sendmail);
    }
}
