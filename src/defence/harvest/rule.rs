//! When a client is a harvester. Pure.

use crate::policy::Counts;

/// The rule: number and share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    /// So many unknown recipients …
    pub(super) unknown: u64,
    /// … and at least this share of all.
    pub(super) ratio: f64,
}

impl Rule {
    /// The same for a network of many clients.
    pub(super) fn wider(self) -> Self {
        Self { unknown: self.unknown.saturating_mul(WIDER), ..self }
    }

    /// Whether a client that asked for this is to be blocked. `is_lower`: others guess as well, so the limit is lower; not for
    /// reports, which honest servers send when somebody forges our addresses, many of them at the same time.
    pub(super) fn is_broken_by(self, asked: Counts, is_lower: bool) -> bool {
        let Counts { known, unknown, reports, history } = asked;
        let forgiven = self.forgiven(history);
        let breaks = |unknown, limit| unknown >= limit + forgiven && is_share(unknown, known, self.ratio);
        breaks(unknown, self.unknown) || is_lower && breaks(unknown.saturating_sub(reports), self.lower())
    }

    /// Whether a client that asked for this may be one of many that guess together: dead addresses among others, and those
    /// that its good name pays for, are no sign of it.
    pub(super) fn is_suspicious(self, asked: Counts) -> bool {
        asked.unknown > self.forgiven(asked.history) && is_share(asked.unknown, asked.known, self.ratio)
    }

    fn lower(self) -> u64 {
        (self.unknown / 4).clamp(FEWEST.min(self.unknown), self.unknown)
    }

    /// So many unknown recipients more are allowed with this history.
    ///
    /// A tenth of what it knew within the last month is forgiven: half of a site's mailboxes may vanish, and the large
    /// providers that write to it every day are not blocked for that. A host that was taken over gets no more than
    /// [`MOST_FORGIVEN`] times the limit out of its good name.
    fn forgiven(self, history: u64) -> u64 {
        (history / 10).min(self.unknown.saturating_mul(MOST_FORGIVEN))
    }
}

/// Whether a client has so good a name that it does not pay for others in its network.
pub(super) fn has_good_name(asked: Counts) -> bool {
    asked.history >= GOOD_NAME
}

/// Whether `part` is at least this share of `part` and `rest`.
pub(super) fn is_share(part: u64, rest: u64, ratio: f64) -> bool {
    part as f64 >= ratio * (part.saturating_add(rest)) as f64
}

const MOST_FORGIVEN: u64 = 50;

/// A network of many clients may ask for so many times as much: in one with a few that guess, others don't.
const WIDER: u64 = 8;

/// Known recipients within a month. Who has them knows more people here than one whose address was sold.
const GOOD_NAME: u64 = 10;

/// A typing error or two are none of anybody's business, whatever others do.
const FEWEST: u64 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule { unknown: 20, ratio: 0.5 };

    fn asked(unknown: u64, known: u64, history: u64) -> Counts {
        Counts { known, unknown, history, ..Counts::default() }
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
        for (unknown, reports, is_lower, expected, who) in [
            (19, 19, true, false, "call-outs for forged addresses, while others guess"),
            (20, 20, false, true, "they have the usual limit"),
            (19, 15, true, false, "and four that are none"),
            (19, 14, true, true, "five that are none"),
        ] {
            let asked = Counts { reports, ..asked(unknown, 0, 0) };
            assert_eq!(RULE.is_broken_by(asked, is_lower), expected, "{who}");
        }
        let wider = RULE.wider();
        assert!(
            wider.is_broken_by(asked(160, 160, 0), false) && !wider.is_broken_by(asked(159, 0, 0), false)
        );
        assert!(!wider.is_broken_by(asked(160, 0, 10), false), "a good name counts there as well");
        for (unknown, known, history, expected, who) in [
            (1, 0, 0, true, "a stranger's guess"),
            (1, 2, 0, false, "one of three is dead"),
            (10, 500, 0, false, "a mailing list"),
            (10, 0, 100, false, "a partner's dead addresses"),
            (11, 0, 100, true, "more than that"),
        ] {
            assert_eq!(RULE.is_suspicious(asked(unknown, known, history)), expected, "{who}");
        }
        let strict = Rule { unknown: 2, ratio: 0.0 };
        assert!(strict.is_broken_by(asked(2, 1_000_000, 0), true), "never above its own limit");
        assert!(!strict.is_broken_by(asked(1, 0, 0), true));
    }

    proptest! {
        #[test]
        fn more_guesses_never_help_and_more_friends_never_hurt(
            unknown in 0_u64..3000, known in 0_u64..3000, history in 0_u64..100_000, more in 0_u64..1000,
            reports in 0_u64..3000, limit in 1_u64..200, ratio in 0.0_f64..=1.0, is_distributed: bool,
        ) {
            let rule = Rule { unknown: limit, ratio };
            let asked = |unknown, known, history| Counts { reports, ..asked(unknown, known, history) };
            let broken = |asked| rule.is_broken_by(asked, is_distributed);
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
