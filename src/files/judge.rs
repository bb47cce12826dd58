//! Whether a result that was read whole is believed. Pure.

use super::LoadError;

/// Why the content of a file is not in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Held {
    /// It holds no entry at all.
    #[error("it holds no entries")]
    Empty,
    /// It holds much less than the content in use.
    #[error("it shrank from {from} to {to} entries")]
    Shrunk {
        /// Entries in use.
        from: u64,
        /// Entries in the file now.
        to: u64,
    },
    /// It could not be read or understood; accepting it is no use.
    #[error(transparent)]
    Unreadable(#[from] LoadError),
}

/// Judges a list of `entries` entries that would replace one of `current` entries.
///
/// Losing one entry is never an accident worth a question, however short the list: it is what an edit by
/// hand does, and a file that was cut short by a crash or a full disk loses more.
pub(super) fn judge(current: Option<u64>, entries: u64) -> Result<(), Held> {
    if entries == 0 {
        return Err(Held::Empty);
    }
    match current {
        Some(from) if from.saturating_sub(entries) > (from / TOLERATED_SHARE).max(1) => {
            Err(Held::Shrunk { from, to: entries })
        }
        _ => Ok(()),
    }
}

/// One part in ten may go at once.
const TOLERATED_SHARE: u64 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_and_what_is_held_back() {
        for (current, entries, expected) in [
            (None, 0, Err(Held::Empty)),
            (None, 1, Ok(())),
            (Some(1), 0, Err(Held::Empty)),
            (Some(2), 1, Ok(())),
            (Some(3), 1, Err(Held::Shrunk { from: 3, to: 1 })),
            (Some(10), 9, Ok(())),
            (Some(10), 8, Err(Held::Shrunk { from: 10, to: 8 })),
            (Some(1000), 900, Ok(())),
            (Some(1000), 899, Err(Held::Shrunk { from: 1000, to: 899 })),
            (Some(1000), 5000, Ok(())),
            (Some(u64::MAX), u64::MAX, Ok(())),
        ] {
            assert_eq!(judge(current, entries), expected, "{current:?} -> {entries}");
        }
    }

    proptest! {
        #[test]
        fn a_loss_of_more_than_a_tenth_is_held_back(from in 20_u64.., keep in 0.0..0.89_f64) {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                     reason = "a share of a number, rounded any way")]
            let to = (from as f64 * keep) as u64;
            prop_assert!(judge(Some(from), to).is_err());
        }

        #[test]
        fn growth_is_taken(from in 0_u64..1 << 40, more in 1_u64..1 << 40) {
            prop_assert_eq!(judge(Some(from), from + more), Ok(()));
        }
    }
}
