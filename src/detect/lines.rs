//! The lines to put into the MTA's configuration. They name what the MTA is to do when we are away.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_the_failure_policy() {
        let postfix = "smtpd_milters = inet:localhost:8890\nmilter_default_action = tempfail\n";
        assert_eq!(main_cf_lines("inet:localhost:8890"), postfix);
        let sendmail = "INPUT_MAIL_FILTER(`backstop', `S=inet:8890@localhost, F=T, T=C:10s;S:30s;R:30s;E:5m')\n";
        assert_eq!(sendmail_mc_lines("inet:8890@localhost"), sendmail);
    }
}
