//! When and how often keys are used: the 24 bits behind `maxmemory-policy`, `OBJECT IDLETIME` and `FREQ`.
//!
//! Under an LRU policy they are seconds modulo 2^24; under an LFU policy 16 bits of minutes and an 8-bit
//! logarithmic counter, as Redis keeps them (<https://redis.io/docs/latest/develop/reference/eviction/>).

const LRU_MASK: u32 = (1 << 24) - 1;
/// Counter of a key that was just created: it must not be the first to go.
const LFU_INITIAL: u32 = 5;

/// Turns the time of a batch of commands into access bits.
#[derive(Clone, Copy, Debug)]
pub struct AccessClock {
    now_ms: u64,
    lfu: Option<LfuSettings>,
}

/// `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, Debug)]
pub struct LfuSettings {
    /// How many accesses raise the counter by one, roughly.
    pub log_factor: u32,
    /// Minutes that lower the counter by one; 0 for never.
    pub decay_minutes: u32,
}

/// The time as the access bits hold it under an LRU policy: seconds modulo 2^24.
pub fn lru_clock(now_ms: u64) -> u32 {
    (now_ms / 1000) as u32 & LRU_MASK
}

impl AccessClock {
    /// A clock for one batch; `lfu` when the policy is an LFU one.
    pub fn new(now_ms: u64, lfu: Option<LfuSettings>) -> Self {
        AccessClock { now_ms, lfu }
    }

    /// Whether the bits count uses (LFU policies) rather than tell the last one.
    pub fn counts_uses(&self) -> bool {
        self.lfu.is_some()
    }

    fn seconds(&self) -> u32 {
        lru_clock(self.now_ms)
    }

    fn minutes(&self) -> u32 {
        (self.now_ms / 60_000) as u32 & 0xffff
    }

    /// Bits of a new entry.
    pub fn initial(&self) -> u32 {
        match self.lfu {
            None => self.seconds(),
            Some(_) => self.minutes() << 8 | LFU_INITIAL,
        }
    }

    /// Bits of an entry after one more access.
    pub fn touched(&self, access: u32) -> u32 {
        let Some(lfu) = self.lfu else {
            return self.seconds();
        };
        let mut counter = self.frequency(access);
        if counter < 255 {
            let base = counter.saturating_sub(LFU_INITIAL);
            let odds = 1.0 / f64::from(base * lfu.log_factor + 1);
            if rand::random::<f64>() < odds {
                counter += 1;
            }
        }
        self.minutes() << 8 | counter
    }

    /// Bits of an entry that was last accessed so many seconds ago (LRU policies).
    pub fn idle_for(&self, seconds: u64) -> u32 {
        self.seconds().wrapping_sub(seconds as u32) & LRU_MASK
    }

    /// Bits of an entry with this access counter (LFU policies).
    pub fn used(&self, counter: u8) -> u32 {
        self.minutes() << 8 | u32::from(counter)
    }

    /// Seconds since the last access (LRU policies), to the second, at most 194 days.
    pub fn idle_seconds(&self, access: u32) -> u32 {
        self.seconds().wrapping_sub(access) & LRU_MASK
    }

    /// The decayed access counter (LFU policies).
    pub fn frequency(&self, access: u32) -> u32 {
        let Some(lfu) = self.lfu else { return 0 };
        let counter = access & 0xff;
        if lfu.decay_minutes == 0 {
            return counter;
        }
        let elapsed = self.minutes().wrapping_sub(access >> 8) & 0xffff;
        counter.saturating_sub(elapsed / lfu.decay_minutes)
    }

    /// How good a candidate for eviction the entry is: larger goes first.
    pub fn coldness(&self, access: u32) -> u64 {
        match self.lfu {
            None => self.idle_seconds(access).into(),
            Some(_) => 255 - u64::from(self.frequency(access)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_wrap() {
        let wrap = 1u64 << 24;
        let before = AccessClock::new((wrap - 5) * 1000, None);
        let after = AccessClock::new((wrap + 7) * 1000, None);
        assert_eq!(after.idle_seconds(before.initial()), 12);
    }

    #[test]
    fn frequency_grows_with_use_and_decays() {
        let settings = LfuSettings {
            log_factor: 10,
            decay_minutes: 1,
        };
        let clock = AccessClock::new(600_000, Some(settings));
        let mut access = clock.initial();
        for _ in 0..10_000 {
            access = clock.touched(access);
        }
        assert!(clock.frequency(access) > LFU_INITIAL);
        let later = AccessClock::new(600_000 + 300 * 60_000, Some(settings));
        assert_eq!(later.frequency(access), 0);
    }
}
