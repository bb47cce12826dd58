//! The decision table of docs/decisions.md once more, as slow and as obvious as can be: over lists, without an order of
//! questions, caches or parsers. What an address means is given with it.

use super::world::{Kind, World};

/// A client, as the MTA tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) is_trusted: bool,
    pub(super) is_denied: bool,
    pub(super) is_dynamic: bool,
    pub(super) is_blocked: bool,
    pub(super) has_logged_in: bool,
}

/// Whom it writes to.
#[derive(Debug, Clone)]
pub(super) enum To {
    /// Without a domain, and without one that the MTA adds.
    Bare,
    /// No address; whose it would be.
    Invalid(&'static str),
    /// What is before the `@` with its tags undone, in lower case; the domain; and where the route in it leads.
    Address { local: String, is_tagged: bool, domain: &'static str, route: Option<Box<To>> },
}

/// `Ok`: continue. The words are those of the replies.
pub(super) type Answer = Result<(), (&'static str, &'static str)>;

/// What a directory, or all of them, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes {
        suspended: bool,
        restricted: bool,
        only_caught: bool,
    },
    /// It is there, and its shorter form is restricted.
    PerhapsRestricted {
        lets_in: bool,
    },
    No,
    /// Whether mail is let in meanwhile.
    CantTell {
        lets_in: bool,
    },
}

impl Found {
    /// By itself, and not only to a catch-all.
    fn is_known(self) -> bool {
        matches!(self, Self::Yes { only_caught: false, .. } | Self::PerhapsRestricted { .. })
    }
}

impl World {
    /// A recipient; `before`: so many were let pass in this message. Of a message without a sender `is_bounce`.
    pub(super) fn answer(&self, client: Client, is_bounce: bool, before: usize, to: &To) -> Answer {
        self.first_row(client, is_bounce, before, to)
    }

    fn first_row(&self, client: Client, is_bounce: bool, before: usize, to: &To) -> Answer {
        let refuse = |code, reason| if self.watches(reason) { Ok(()) } else { Err((code, reason)) };
        let insider = client.is_trusted || client.has_logged_in;
        let (domain, local) = match to {
            To::Bare => return Ok(()),
            To::Invalid(domain) => (*domain, ""),
            To::Address { local, domain, .. } => (*domain, local.as_str()),
        };
        // Rows 4 and 5.
        if !self.local.contains(&domain) || ["postmaster", "mailer-daemon", "double-bounce"].contains(&local)
        {
            return Ok(());
        }
        if self.monitored.contains(&domain) {
            return Ok(());
        }
        // Rows 6 to 8; one that is only watched is not the last word.
        let is_exempt = self.exempt.contains(&local);
        if !insider && !is_exempt {
            if client.is_blocked && !self.watches("harvest") {
                return Err(("421 4.7.0", "harvest"));
            }
            if client.is_dynamic && self.refuses_dynamic && !self.watches("dynamic-client") {
                return Err(("550 5.7.1", "dynamic-client"));
            }
            if is_bounce && before > 0 && !self.watches("bounce-many") {
                return Err(("452 4.5.3", "bounce-many"));
            }
        }
        // Row 9.
        if matches!(to, To::Invalid(_)) {
            return refuse("501 5.1.3", "bad-address");
        }
        // Rows 10 to 15.
        match self.recipient(client, to) {
            Ok(()) => {}
            // It is not told which is one.
            Err(("550 5.2.1", "spam-trap")) if !self.is_monitored => {
                return Err(("550 5.2.1", "suspended-recipient"));
            }
            Err((_, "spam-trap")) if !self.is_monitored => return Err(("550 5.1.1", "unknown-recipient")),
            Err((code, reason)) => return refuse(code, reason),
        }
        // Row 16, for recipients that exist, or of whom nobody is in charge.
        let waits = self.greylists && !insider && !is_exempt && !is_bounce;
        if waits && self.may_exist(to) {
            return refuse("450 4.7.1", "greylisted");
        }
        Ok(())
    }

    fn recipient(&self, client: Client, to: &To) -> Answer {
        let To::Address { local, is_tagged, domain, route } = to else { return Ok(()) };
        let insider = client.is_trusted || client.has_logged_in;
        let is_in_charge = self.is_in_charge(domain);
        let found = self.find(local, *is_tagged, domain);
        let suspended = self.is_suspended(local, *is_tagged, domain);
        // Row 10.
        if let Some(route) = route
            && is_in_charge
            && !found.is_known()
            && let To::Address { domain: inner, .. } = &**route
        {
            let all_say_no = !self.is_any_down(domain);
            if self.local.contains(inner) {
                if suspended {
                    return Err(("550 5.2.1", "suspended-recipient"));
                }
                if all_say_no {
                    let answer = self.recipient(client, route);
                    let is_caught = matches!(found, Found::Yes { .. });
                    return answer.or_else(|(code, reason)| {
                        if is_caught && reason == "unknown-recipient" { Ok(()) } else { Err((code, reason)) }
                    });
                }
            } else if all_say_no {
                if !insider {
                    return Err(("550 5.7.1", "relay-syntax"));
                }
                if found == Found::No {
                    return if suspended { Err(("550 5.2.1", "suspended-recipient")) } else { Ok(()) };
                }
            }
        }
        // Row 11: told as row 12 where it is suspended, else as row 14.
        if !insider
            && self.is_trap(local, domain)
            && self.may_be_trap(local, *is_tagged, domain)
            && !self.exempt.contains(&local.as_str())
        {
            return Err((if suspended { "550 5.2.1" } else { "550 5.1.1" }, "spam-trap"));
        }
        // Row 12.
        if suspended {
            return Err(("550 5.2.1", "suspended-recipient"));
        }
        if !is_in_charge {
            return Ok(());
        }
        match found {
            Found::Yes { suspended: true, only_caught: false, .. } => {
                Err(("550 5.2.1", "suspended-recipient"))
            }
            // Row 13.
            Found::Yes { restricted: true, .. } if !insider => Err(("550 5.7.1", "restricted-recipient")),
            Found::PerhapsRestricted { lets_in: false } if !insider => {
                Err(("451 4.4.3", "directory-unavailable"))
            }
            Found::Yes { .. } | Found::PerhapsRestricted { .. } => Ok(()),
            // Row 14.
            Found::No => Err(("550 5.1.1", "unknown-recipient")),
            // Row 15.
            Found::CantTell { lets_in } if lets_in || client.is_trusted => Ok(()),
            Found::CantTell { .. } => Err(("451 4.4.3", "directory-unavailable")),
        }
    }

    /// As it is written, then without sub-address, longest first.
    fn forms(&self, local: &str) -> Vec<String> {
        let mut forms = vec![local.to_owned()];
        for (at, _) in
            local.char_indices().rev().filter(|(at, letter)| *at > 0 && self.delimiters.contains(*letter))
        {
            forms.push(local[..at].to_owned());
        }
        forms
    }

    /// What all directories in charge say together.
    fn find(&self, local: &str, is_tagged: bool, domain: &str) -> Found {
        let in_charge = || self.directories.iter().filter(|directory| directory.domains.contains(&domain));
        let down: Vec<bool> = in_charge()
            .filter_map(|directory| match directory.kind {
                Kind::Down { lets_in } => Some(lets_in),
                _ => None,
            })
            .collect();
        let cant_tell = Found::CantTell { lets_in: down.iter().all(|lets_in| *lets_in) };
        // The longest form counts that somebody knows; of several who know it, one yes to a question is enough.
        for (at, form) in self.forms(local).into_iter().enumerate() {
            let address = format!("{form}@{domain}");
            let mut rows: Vec<(bool, bool)> = Vec::new();
            for directory in in_charge() {
                match &directory.kind {
                    Kind::File(list) => {
                        rows.extend(list.iter().filter(|row| **row == address).map(|_| (false, false)));
                    }
                    Kind::Table(table) => rows.extend(
                        table
                            .iter()
                            .filter(|(row, ..)| *row == address)
                            .map(|(_, is_suspended, is_restricted)| (*is_suspended, *is_restricted)),
                    ),
                    Kind::Down { .. } => {}
                }
            }
            if rows.is_empty() {
                continue;
            }
            let (suspended, restricted) = (rows.iter().any(|row| row.0), rows.iter().any(|row| row.1));
            // Whoever is down may know a longer one, and say nothing against it.
            let is_longest = at == 0 && !is_tagged;
            if !is_longest && !down.is_empty() && suspended {
                return cant_tell;
            }
            if !is_longest && !down.is_empty() && restricted {
                return Found::PerhapsRestricted { lets_in: down.iter().all(|lets_in| *lets_in) };
            }
            return Found::Yes { suspended, restricted, only_caught: false };
        }
        let all = format!("@{domain}");
        let lists_all = |kind: &Kind| matches!(kind, Kind::File(list) if list.contains(&all));
        if self.catch_all.contains(&domain) || in_charge().any(|directory| lists_all(&directory.kind)) {
            return Found::Yes { suspended: false, restricted: false, only_caught: true };
        }
        if down.is_empty() { Found::No } else { cant_tell }
    }

    /// The address, one of its shorter forms unless a longer one is, or may be, somebody's own, or its domain.
    fn is_suspended(&self, local: &str, is_tagged: bool, domain: &str) -> bool {
        if self.suspended.contains(&format!("@{domain}")) {
            return true;
        }
        // With its tag it is nobody's own, as far as all can tell.
        if is_tagged && self.is_any_down(domain) {
            return false;
        }
        for form in self.forms(local) {
            let address = format!("{form}@{domain}");
            if self.suspended.contains(&address) {
                return true;
            }
            let is_own = self.directories.iter().filter(|directory| directory.domains.contains(&domain)).any(
                |directory| match &directory.kind {
                    Kind::File(list) => list.contains(&address),
                    Kind::Table(rows) => rows.iter().any(|(row, ..)| *row == address),
                    // Perhaps it is.
                    Kind::Down { .. } => true,
                },
            );
            if is_own {
                return false;
            }
        }
        false
    }

    fn is_trap(&self, local: &str, domain: &str) -> bool {
        self.forms(local).iter().any(|form| self.traps.contains(&format!("{form}@{domain}")))
    }

    /// Nobody knows it, and all could tell.
    fn may_be_trap(&self, local: &str, is_tagged: bool, domain: &str) -> bool {
        !self.find(local, is_tagged, domain).is_known() && !self.is_any_down(domain)
    }

    fn may_exist(&self, to: &To) -> bool {
        let To::Address { local, is_tagged, domain, route } = to else { return false };
        match self.find(local, *is_tagged, domain) {
            _ if !self.is_in_charge(domain) => true,
            Found::Yes { .. } | Found::PerhapsRestricted { .. } => true,
            Found::No => route.as_ref().is_some_and(|route| self.may_exist(route)),
            Found::CantTell { .. } => false,
        }
    }

    /// Somebody can tell who exists there, or that all do.
    fn is_in_charge(&self, domain: &str) -> bool {
        self.catch_all.contains(&domain)
            || self.directories.iter().any(|directory| directory.domains.contains(&domain))
    }

    fn is_any_down(&self, domain: &str) -> bool {
        let is_down = |kind: &Kind| matches!(kind, Kind::Down { .. });
        self.directories
            .iter()
            .any(|directory| directory.domains.contains(&domain) && is_down(&directory.kind))
    }

    fn watches(&self, reason: &str) -> bool {
        self.is_monitored || self.watched.contains(&reason)
    }
}
