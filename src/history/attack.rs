//! Whether an attack is under way: the alert BackstopReverseNdrAttack, for those who have no Prometheus.

use std::fmt;

use super::Minute;

/// What is asked for is invented, most of all: spam with forged senders, or somebody guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attack {
    /// Recipients in local domains in the last five minutes.
    asked: u64,
    /// Of these: unknown ones, traps, and whom a blocked client asked for.
    invented: u64,
    /// Of these: let pass, because that was only watched.
    let_in: u64,
}

impl Attack {
    /// Looks at the last of the minutes, of which the one under way is the last.
    pub(super) fn among(minutes: &[Minute]) -> Option<Self> {
        let lately = || minutes.iter().rev().take(MINUTES);
        let attack = Self {
            asked: lately().map(|minute| minute.asked).sum(),
            invented: lately().map(|minute| minute.invented).sum(),
            let_in: lately().map(|minute| minute.let_in).sum(),
        };
        (attack.invented > LEAST && attack.invented > attack.asked / 2).then_some(attack)
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, invented, let_in } = self;
        write!(
            f,
            "an attack is under way: {invented} of {asked} recipients in the last {MINUTES} minutes are unknown, or were asked for \
             by blocked clients; "
        )?;
        match let_in {
            0 => write!(f, "they are refused or put off"),
            _ if let_in == invented => write!(f, "they PASS, as that is only watched, and may be bounced"),
            _ => write!(f, "{let_in} of them PASSED, as that was only watched, and may be bounced"),
        }
    }
}

const MINUTES: usize = 5;
/// One in two seconds.
const LEAST: u64 = 150;

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(all: &[(u64, u64, u64)]) -> Vec<Minute> {
        let minutes = all.iter().map(|(asked, invented, let_in)| Minute {
            asked: *asked,
            invented: *invented,
            let_in: *let_in,
            ..Minute::default()
        });
        minutes.collect()
    }

    /// The thresholds are those of deploy/prometheus/backstop.rules.yml.
    #[test]
    fn many_and_most_of_all_are_an_attack() {
        for (all, is_one) in [
            (&[][..], false),
            (&[(150, 150, 0)], false),
            (&[(151, 151, 0)], true),
            (&[(302, 151, 0)], false),
            (&[(301, 151, 0)], true),
            (&[(40, 31, 0); 5], true),
            (&[(40, 30, 0); 5], false),
            (&[(900, 900, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (1, 0, 0)], false),
        ] {
            assert_eq!(Attack::among(&minutes(all)).is_some(), is_one, "{all:?}");
        }
    }

    #[test]
    fn whether_it_comes_in_is_told() {
        for (let_in, told) in [
            (0, "they are refused or put off"),
            (200, "they PASS, as that is only watched, and may be bounced"),
            (7, "7 of them PASSED, as that was only watched, and may be bounced"),
        ] {
            let attack = Attack::among(&minutes(&[(250, 200, let_in)])).map(|attack| attack.to_string());
            let expected = format!(
                "an attack is under way: 200 of 250 recipients in the last 5 minutes are unknown, or were asked for by blocked \
                 clients; {told}"
            );
            assert_eq!(attack, Some(expected));
        }
    }
}
