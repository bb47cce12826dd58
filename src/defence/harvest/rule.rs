//! When a client is a harvester. Pure.

use crate::policy::Lately;

/// The rule: number and share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    /// So many unknown recipients …
    pub(super) unknown: u64,
    /// … and at least this share of all.
    pub(super) ratio: f64,
}

impl Rule {
    /// Whether a client that asked for this is to be blocked. `is_distributed`: many clients guess at the same time.
    pub(super) fn is_broken_by(self, lately: Lately, is_distributed: bool) -> bool {
        lately.unknown >= self.allowed(lately.history, is_distributed)
            && is_share(lately.unknown, lately.known, self.ratio)
    }

    /// So many unknown recipients are too many for a client with this history.
    ///
    /// A tenth of what it knew within the last month is forgiven: half of a site's mailboxes may vanish, and the large
    /// providers that write to it every day are not blocked for that. A host that was taken over gets no more than
    /// [`MOST_FORGIVEN`] times the limit out of its good name.
    fn allowed(self, history: u64, is_distributed: bool) -> u64 {
        let limit = if is_distributed {
            (self.unknown / 4).clamp(FEWEST.min(self.unknown), self.unknown)
        } else {
            self.unknown
        };
        limit + (history / 10).min(self.unknown.saturating_mul(MOST_FORGIVEN))
    }
}

/// Whether `part` is at least this share of `part` and `rest`.
pub(super) fn is_share(part: u64, rest: u64, ratio: f64) -> bool {
    part as f64 >= ratio * (part.saturating_add(rest)) as f64
}

const MOST_FORGIVEN: u64 = 50;

/// A typing error or two are none of anybody's business, whatever others do.
const FEWEST: u64 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule { unknown: 20, ratio: 0.5 };

    fn asked(unknown: u64, known: u64, history: u64) -> Lately {
        Lately { known, unknown, history }
    }

    #[test]
    fn number_and_share() {
        for (unknown, known, history, is_distributed, expected, who) in [
            (19, 0, 0, false, false, "one short"),
            (20, 0, 0, false, true, "a dictionary"),
            (20, 20, 0, false, true, "half and half"),
            (20, 21, 0, false, false, "more are known"),
            (200, 9800, 0, false, false, "a mailing list with 2 % dead addresses"),
            (60, 40, 0, false, true, "a newsletter to an old list, from a new host"),
            (3, 0, 0, true, false, "a typing error, while others guess"),
            (5, 0, 0, true, true, "one of many that guess"),
            (5, 0, 0, false, false, "the same, alone"),
            (250, 240, 60_000, false, false, "a provider, when half of our mailboxes vanished"),
            (1020, 0, 10_000_000, false, true, "a provider's host that was taken over"),
            (1019, 0, 10_000_000, false, false, "what its good name is worth"),
            (20, 0, 19, false, false, "a little history"),
        ] {
            assert_eq!(RULE.is_broken_by(asked(unknown, known, history), is_distributed), expected, "{who}");
        }
        let strict = Rule { unknown: 2, ratio: 0.0 };
        assert!(strict.is_broken_by(asked(2, 1_000_000, 0), true), "never above its own limit");
        assert!(!strict.is_broken_by(asked(1, 0, 0), true));
    }

    proptest! {
        #[test]
        fn more_guesses_never_help_and_more_friends_never_hurt(
            unknown in 0_u64..3000, known in 0_u64..3000, history in 0_u64..100_000, more in 0_u64..1000,
            limit in 1_u64..200, ratio in 0.0_f64..=1.0, is_distributed: bool,
        ) {
            let rule = Rule { unknown: limit, ratio };
            let broken = |lately| rule.is_broken_by(lately, is_distributed);
            if broken(asked(unknown, known, history)) {
                prop_assert!(broken(asked(unknown + more, known, history)));
                prop_assert!(rule.is_broken_by(asked(unknown, known, history), true), "lower limits block no fewer");
            } else {
                prop_assert!(!broken(asked(unknown, known + more, history)));
                prop_assert!(!broken(asked(unknown, known, history + more)));
            }
            prop_assert!(!rule.is_broken_by(asked(unknown.min(limit - 1), 0, 0), false), "below the limit nobody is");
        }
    }
}
