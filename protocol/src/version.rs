//! Versions: stamps of a hybrid logical clock.
//!
//! After Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (2014), in its compact form:
//! wall clock and logical counter in one 64-bit number that is compared as one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Actor;

/// The number of bits of the counter.
const COUNTER_BITS: u32 = 16;
/// The latest time a version can hold: 48 bits of milliseconds, in the year 10889.
const MAX_MILLIS: u64 = (1 << 48) - 1;

/// When something was changed last: 48 bits of milliseconds since 1970, 16 bits of counter.
///
/// A later version is a larger one. Its counter carries into the milliseconds: more than 65536 changes in a millisecond run
/// ahead of the wall clock a little.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl Version {
    /// Before everything.
    pub const ZERO: Version = Version(0);
    /// After everything.
    pub const MAX: Version = Version(u64::MAX);

    /// The version of a time in milliseconds since 1970 (at most 2^48 - 1, larger ones count as that) and a counter.
    pub const fn new(millis: u64, counter: u16) -> Version {
        let millis = if millis > MAX_MILLIS {
            MAX_MILLIS
        } else {
            millis
        };
        Version(millis << COUNTER_BITS | counter as u64)
    }

    /// The milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The counter within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The version as a number, for storing and sending.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The version that was stored or sent as this number.
    pub const fn from_bits(bits: u64) -> Version {
        Version(bits)
    }

    /// The smallest version after this one; [`Version::MAX`] stays.
    #[must_use]
    pub const fn successor(self) -> Version {
        Version(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

/// Who changed something, and when: unique for every change in a cluster, and compared by time first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// When.
    pub version: Version,
    /// Who, as a tie-break.
    pub actor: Actor,
}

impl Stamp {
    /// Before everything.
    pub const ZERO: Stamp = Stamp {
        version: Version::ZERO,
        actor: Actor(0),
    };

    /// The stamp of a change.
    pub const fn new(version: Version, actor: Actor) -> Stamp {
        Stamp { version, actor }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.version, self.actor)
    }
}

/// Gives out versions, each larger than all that it gave out or saw before.
///
/// It does not read a clock: the caller passes the time. A caller that refuses peers whose clocks are too far off checks
/// before [`observe`](HybridClock::observe).
#[derive(Clone, Copy, Debug, Default)]
pub struct HybridClock {
    last: Version,
}

impl HybridClock {
    /// A clock that goes on after `last`.
    pub const fn after(last: Version) -> HybridClock {
        HybridClock { last }
    }

    /// A version at or after `now_ms`, and after all before.
    pub fn next(&mut self, now_ms: u64) -> Version {
        debug_assert!(self.last < Version::MAX, "no version is left");
        self.last = Version::new(now_ms, 0).max(self.last.successor());
        self.last
    }

    /// Takes note of a version from elsewhere, so that the next one is larger.
    pub fn observe(&mut self, version: Version) {
        self.last = self.last.max(version);
    }

    /// The largest version given out or observed.
    pub const fn last(&self) -> Version {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_back() {
        let version = Version::new(MAX_MILLIS, 7);
        assert_eq!((version.millis(), version.counter()), (MAX_MILLIS, 7));
        assert_eq!(Version::from_bits(version.to_bits()), version);
        assert_eq!(Version::new(u64::MAX, u16::MAX), Version::MAX);
        assert_eq!(Version::new(1, 2).to_string(), "1.2");
    }

    #[test]
    fn counter_carries_into_the_milliseconds() {
        let mut clock = HybridClock::after(Version::new(5, u16::MAX));
        assert_eq!(clock.next(5), Version::new(6, 0));
        assert_eq!(clock.next(5), Version::new(6, 1));
        assert_eq!(clock.next(9), Version::new(9, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Next(u64),
        Observe(Version),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..100u64).prop_map(Step::Next),
            (0..MAX_MILLIS).prop_map(Step::Next),
            (0..100u64, any::<u16>())
                .prop_map(|(ms, counter)| Step::Observe(Version::new(ms, counter))),
            (0..MAX_MILLIS, any::<u16>())
                .prop_map(|(ms, counter)| Step::Observe(Version::new(ms, counter))),
        ]
    }

    proptest! {
        #[test]
        fn order_is_by_time_then_counter(a in (0..=MAX_MILLIS, any::<u16>()), b in (0..=MAX_MILLIS, any::<u16>())) {
            prop_assert_eq!(Version::new(a.0, a.1).cmp(&Version::new(b.0, b.1)), a.cmp(&b));
        }

        #[test]
        fn versions_grow_past_clock_and_observed(steps in prop::collection::vec(step(), 0..50)) {
            let mut clock = HybridClock::default();
            let mut largest = Version::ZERO;
            for step in steps {
                match step {
                    Step::Next(now) => {
                        let version = clock.next(now);
                        prop_assert!(version > largest);
                        prop_assert!(version >= Version::new(now, 0));
                        largest = version;
                    }
                    Step::Observe(version) => {
                        clock.observe(version);
                        largest = largest.max(version);
                    }
                }
                prop_assert_eq!(clock.last(), largest);
            }
        }
    }
}
