//! The three words of a negotiation: version, actions, steps.
//!
//! Bits that have no name here survive every operation and are printed as a number; what to do with them is the
//! business of [`negotiation`](crate::negotiation).
//! The values are those of `libmilter/mfapi.h` and `mfdef.h`.

use std::fmt;
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Sub};

/// One u32 of named bits. Unknown bits are kept.
macro_rules! flag_word {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// No bit.
            pub const NONE: $name = $name(0);
            $($(#[$bit_doc])* pub const $bit: $name = $name($value);)*
            /// Every bit that has a name here.
            pub const NAMED: $name = $name($($value)|*);

            /// Whether all bits of `other` are set.
            #[must_use]
            pub const fn contains(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether at least one bit of `other` is set.
            #[must_use]
            pub const fn intersects(self, other: $name) -> bool {
                self.0 & other.0 != 0
            }

            /// Whether no bit is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits of either; `|` in constants.
            #[must_use]
            pub const fn union(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }

        impl BitOr for $name {
            type Output = $name;
            fn bitor(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }

        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: $name) {
                self.0 |= other.0;
            }
        }

        impl BitAnd for $name {
            type Output = $name;
            fn bitand(self, other: $name) -> $name {
                $name(self.0 & other.0)
            }
        }

        impl BitAndAssign for $name {
            fn bitand_assign(&mut self, other: $name) {
                self.0 &= other.0;
            }
        }

        /// The bits of the left side that the right side lacks.
        impl Sub for $name {
            type Output = $name;
            fn sub(self, other: $name) -> $name {
                $name(self.0 & !other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_names(f, self.0, &[$((stringify!($bit), $value)),*])
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

/// A version of the protocol. This crate speaks [`Version::MIN`] to [`Version::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// The oldest version that libmilter and this crate accept.
    pub const MIN: Version = Version(2);
    /// The newest version there is: Sendmail 8.14 and later, Postfix 2.6 and later.
    pub const MAX: Version = Version(6);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0)
    }
}

flag_word! {
    /// What a filter may do to a message at its end (`SMFIF_*`).
    Actions {
        /// Add or insert header fields.
        ADD_HEADERS = 0x001;
        /// Replace the body.
        CHANGE_BODY = 0x002;
        /// Add recipients.
        ADD_RCPT = 0x004;
        /// Delete recipients.
        DELETE_RCPT = 0x008;
        /// Change or delete header fields.
        CHANGE_HEADERS = 0x010;
        /// Hold the message in the MTA's quarantine.
        QUARANTINE = 0x020;
        /// Replace the envelope sender.
        CHANGE_FROM = 0x040;
        /// Add recipients with ESMTP parameters.
        ADD_RCPT_PAR = 0x080;
        /// Ask for a list of macros per stage, within the negotiation.
        SET_SYMLIST = 0x100;
    }
}

flag_word! {
    /// Which events are sent, which are answered, and how (`SMFIP_*`).
    ///
    /// `NO_*`: the MTA leaves the event out. `NR_*`: it sends the event and expects no reply.
    Steps {
        /// No connection event.
        NO_CONNECT = 0x1;
        /// No HELO event.
        NO_HELO = 0x2;
        /// No MAIL event.
        NO_MAIL = 0x4;
        /// No RCPT event.
        NO_RCPT = 0x8;
        /// No body.
        NO_BODY = 0x10;
        /// No header fields.
        NO_HEADERS = 0x20;
        /// No end of header.
        NO_EOH = 0x40;
        /// No reply to header fields.
        NR_HEADER = 0x80;
        /// No unknown SMTP commands.
        NO_UNKNOWN = 0x100;
        /// No DATA event.
        NO_DATA = 0x200;
        /// The MTA understands [`BodyVerdict::Skip`](crate::verdict::BodyVerdict::Skip).
        SKIP = 0x400;
        /// Recipients that the MTA itself refused are shown, too; the reply to them is ignored.
        RCPT_REJ = 0x800;
        /// No reply to the connection event.
        NR_CONNECT = 0x1000;
        /// No reply to HELO.
        NR_HELO = 0x2000;
        /// No reply to MAIL.
        NR_MAIL = 0x4000;
        /// No reply to RCPT: nothing could be refused, so [`Wanted`](crate::negotiation::Wanted) does not take it.
        NR_RCPT = 0x8000;
        /// No reply to DATA.
        NR_DATA = 0x1_0000;
        /// No reply to unknown commands.
        NR_UNKNOWN = 0x2_0000;
        /// No reply to the end of header.
        NR_EOH = 0x4_0000;
        /// No reply to body chunks.
        NR_BODY = 0x8_0000;
        /// Header values keep the space after the colon.
        HEADER_LEADING_SPACE = 0x10_0000;
        /// Sendmail's offer of 256 KiB body chunks. Never echoed: Sendmail answers 451 to that.
        MDS_256K = 0x1000_0000;
        /// Sendmail's offer of 1 MiB body chunks. Never echoed.
        MDS_1M = 0x2000_0000;
    }
}

impl Steps {
    /// Both bits of Sendmail's data size negotiation.
    pub const MDS: Steps = Steps(Steps::MDS_256K.0 | Steps::MDS_1M.0);
    /// All `NO_*` and `NR_*` bits: those that a session can stand in for where an MTA does not know them.
    pub const EVENTS: Steps = Steps(0xF_F3FF);
}

fn write_names(f: &mut fmt::Formatter<'_>, bits: u32, names: &[(&str, u32)]) -> fmt::Result {
    let mut separator = "";
    let mut rest = bits;
    for (name, bit) in names.iter().filter(|(_, bit)| bits & bit != 0) {
        write!(f, "{separator}{name}")?;
        separator = "|";
        rest &= !bit;
    }
    if rest != 0 || bits == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // libmilter/mfapi.h, mfdef.h: SMFI_CURR_ACTS is 0x1FF, SMFI_CURR_PROT is 0x1FFFFF.
    #[test]
    fn named_bits_are_those_that_postfix_and_sendmail_offer() {
        assert_eq!(Actions::NAMED, Actions(0x1FF));
        assert_eq!(Steps::NAMED - Steps::MDS, Steps(0x1F_FFFF));
    }

    #[test]
    fn prints_names_and_keeps_unknown_bits() {
        assert_eq!(Steps(0x377).to_string(), {
            "NO_CONNECT|NO_HELO|NO_MAIL|NO_BODY|NO_HEADERS|NO_EOH|NO_UNKNOWN|NO_DATA"
        });
        assert_eq!((Steps::SKIP | Steps(0x8000_0000)).to_string(), "SKIP|0x80000000");
        assert_eq!(Actions::NONE.to_string(), "0x0");
        assert_eq!(format!("{:?}", Actions::ADD_RCPT), "Actions(ADD_RCPT)");
        assert_eq!(format!("{:?} {}", Version(8), Version(8)), "Version(8) 8");
    }

    #[test]
    fn set_operations() {
        let steps = Steps::NO_HELO | Steps::NR_MAIL;
        assert!(steps.contains(Steps::NO_HELO) && !steps.contains(Steps::NO_HELO | Steps::SKIP));
        assert!(steps.intersects(Steps::NO_HELO | Steps::SKIP) && !steps.intersects(Steps::SKIP));
        assert_eq!(steps - Steps::NO_HELO, Steps::NR_MAIL);
        assert_eq!(steps & Steps::NO_HELO, Steps::NO_HELO);
        assert!(Steps::NONE.is_empty() && Steps::NONE.contains(Steps::NONE));
    }
}
