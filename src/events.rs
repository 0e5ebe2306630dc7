//! Kinds of events that happen to keys (<https://redis.io/docs/latest/develop/use/keyspace-notifications/>).

use bitflags::bitflags;

bitflags! {
    /// Classes of events, and how they are told: the letters of `notify-keyspace-events`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct EventClasses: u16 {
        /// `K`: told on the channel of the key.
        const KEYSPACE = 1 << 0;
        /// `E`: told on the channel of the event.
        const KEYEVENT = 1 << 1;
        /// `g`: commands of no type (`del`, `expire`, `rename_from`, …).
        const GENERIC = 1 << 2;
        /// `$`: strings.
        const STRING = 1 << 3;
        /// `l`: lists.
        const LIST = 1 << 4;
        /// `s`: sets.
        const SET = 1 << 5;
        /// `h`: hashes.
        const HASH = 1 << 6;
        /// `z`: sorted sets.
        const SORTED_SET = 1 << 7;
        /// `x`: a key expired.
        const EXPIRED = 1 << 8;
        /// `e`: a key was evicted.
        const EVICTED = 1 << 9;
        /// `t`: streams.
        const STREAM = 1 << 10;
        /// `m`: a key was read that is not there.
        const MISS = 1 << 11;
        /// `d`: values of modules, of which there are none.
        const MODULE = 1 << 12;
        /// `n`: a key is new.
        const NEW = 1 << 13;
    }
}

impl EventClasses {
    /// `A`: every class but misses and new keys.
    pub const ALL: EventClasses = EventClasses::GENERIC
        .union(EventClasses::STRING)
        .union(EventClasses::LIST)
        .union(EventClasses::SET)
        .union(EventClasses::HASH)
        .union(EventClasses::SORTED_SET)
        .union(EventClasses::EXPIRED)
        .union(EventClasses::EVICTED)
        .union(EventClasses::STREAM)
        .union(EventClasses::MODULE);
    /// Both ways of telling.
    pub const WAYS: EventClasses = EventClasses::KEYSPACE.union(EventClasses::KEYEVENT);

    /// Letters, in the order in which they are shown.
    const LETTERS: [(char, EventClasses); 14] = [
        ('g', EventClasses::GENERIC),
        ('$', EventClasses::STRING),
        ('l', EventClasses::LIST),
        ('s', EventClasses::SET),
        ('h', EventClasses::HASH),
        ('z', EventClasses::SORTED_SET),
        ('x', EventClasses::EXPIRED),
        ('e', EventClasses::EVICTED),
        ('t', EventClasses::STREAM),
        ('d', EventClasses::MODULE),
        ('n', EventClasses::NEW),
        ('K', EventClasses::KEYSPACE),
        ('E', EventClasses::KEYEVENT),
        ('m', EventClasses::MISS),
    ];

    /// Reads letters; `None` if one means nothing.
    pub fn parse(text: &str) -> Option<EventClasses> {
        let mut classes = EventClasses::empty();
        for letter in text.chars() {
            classes |= if letter == 'A' {
                EventClasses::ALL
            } else {
                EventClasses::LETTERS
                    .iter()
                    .find(|(known, _)| *known == letter)?
                    .1
            };
        }
        Some(classes)
    }

    /// The letters.
    pub fn letters(self) -> String {
        let (mut text, mut rest) = (String::new(), self);
        if self.contains(EventClasses::ALL) {
            text.push('A');
            rest -= EventClasses::ALL;
        }
        let letters = EventClasses::LETTERS
            .iter()
            .filter(|(_, class)| rest.contains(*class));
        text.extend(letters.map(|(letter, _)| letter));
        text
    }

    /// What is to be noted so that these events can be told: nothing if there is no way to tell.
    pub fn noted(self) -> EventClasses {
        if self.intersects(EventClasses::WAYS) {
            self - EventClasses::WAYS
        } else {
            EventClasses::empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_does() {
        for (set, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("nmEKdtezx", "zxetdnKEm"),
            ("g$lshzxetd", "A"),
            ("Ex", "xE"),
            // Where Redis 7.0 forgets the letter of new keys.
            ("KEAmn", "AnKEm"),
        ] {
            assert_eq!(EventClasses::parse(set).unwrap().letters(), shown);
        }
        assert!(EventClasses::parse("KEq").is_none());
        assert!(EventClasses::parse("gx").unwrap().noted().is_empty());
    }
}
