//! The state of a key as stamped effects.

use coterie_protocol::{DatabaseId, Stamp};

use super::{Context, KeyState};
use crate::effect::{Effect, Kind, encode_database, encode_stamp};
use crate::store::register::Content;

impl KeyState {
    /// Appends the stamped effects that make it, to be merged elsewhere.
    pub fn encode(&self, database: DatabaseId, key: &[u8], context: Context, out: &mut Vec<u8>) {
        let start = out.len();
        encode_database(database, out);
        let before = out.len();
        self.encode_effects(key, context, out);
        if out.len() == before {
            out.truncate(start);
        }
    }

    fn encode_effects(&self, key: &[u8], context: Context, out: &mut Vec<u8>) {
        let mark = self.mark(context);
        let mut add = |stamp, effect: Effect<'_>| {
            encode_stamp(stamp, out);
            effect.encode(out);
        };
        if mark > Stamp::ZERO && !self.register.has_value() {
            add(mark, Effect::Delete { key });
        }
        let written = self.register.stamp();
        if let Some((stamp, Kind::String)) = self.kind
            && stamp != written
        {
            add(
                stamp,
                Effect::Assertion {
                    key,
                    kind: Kind::String,
                },
            );
        }
        match &self.register.last {
            Some((stamp, Content::Text(value, encoding))) => add(
                *stamp,
                Effect::Put {
                    key,
                    value,
                    encoding: *encoding,
                    expire_at: self.expiry.filter(|(at, _)| at == stamp).and_then(|e| e.1),
                },
            ),
            Some((stamp, Content::Dropped { at })) => add(*stamp, Effect::Lapsed { key, at: *at }),
            _ => {}
        }
        for part in &self.register.parts {
            add(part.stamp, count(key, part.base, part.total));
        }
        for sketch in &self.register.sketches {
            let (base, value) = (sketch.base, &sketch.value[..]);
            add(sketch.stamp, Effect::Sketch { key, base, value });
        }
        if let Some((stamp, at)) = self.expiry.filter(|(stamp, _)| *stamp != written) {
            add(stamp, Effect::ExpireAt { key, at });
        }
        if let Some((stamp, kind)) = self.kind.filter(|(_, kind)| *kind != Kind::String) {
            add(stamp, Effect::Assertion { key, kind });
        }
        if let Some(collection) = &self.collection {
            collection.encode_state(key, out);
        }
    }
}

fn count(key: &[u8], base: Stamp, total: i64) -> Effect<'_> {
    Effect::Count {
        key,
        base,
        total,
        delta: 0,
    }
}
