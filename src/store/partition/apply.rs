//! Changes of a partition that is not replicated.

use coterie_protocol::{Actor, DatabaseId, Version};

use super::{Garbage, Partition, discard};
use crate::effect::{Effect, Effects, Kind, MalformedEffect, StringEncoding};
use crate::store::access::AccessClock;
use crate::store::entry::{Entry, Parts};
use crate::store::keyspace::Keyspace;

impl Partition {
    /// Makes a change. The same effects in the same order give the same state on any node. Their versions rise,
    /// but for a replay over a checkpoint that has later changes of other keys already.
    pub fn apply(
        &mut self,
        database: DatabaseId,
        effect: &Effect<'_>,
        version: Version,
        access: &AccessClock,
    ) {
        debug_assert!(!self.is_replicated());
        match *effect {
            Effect::Put {
                key,
                value,
                encoding,
                expire_at,
            } => {
                let parts = Parts {
                    key,
                    value,
                    encoding,
                    expire_at,
                    version,
                    actor: Actor::default(),
                    access: access.initial(),
                };
                self.put(database, &parts, access);
            }
            Effect::PutPadded { key, offset, bytes } => {
                let empty = Parts {
                    key,
                    value: &[],
                    encoding: StringEncoding::Raw,
                    expire_at: None,
                    version,
                    actor: Actor::default(),
                    access: access.initial(),
                };
                self.put(database, &empty, access);
                self.update(database, key, version, |entry| {
                    entry.splice(offset as usize, bytes)
                });
            }
            Effect::Splice { key, offset, bytes } => {
                self.update(database, key, version, |entry| {
                    entry.splice(offset as usize, bytes)
                });
            }
            Effect::ElementSet { key, .. }
            | Effect::FieldUntil { key, .. }
            | Effect::AttributeSet { key, .. } => {
                self.remove_expired(database, key, version);
                self.add(database, effect, (version, access));
            }
            Effect::ElementDelete { kind, key, element } => {
                self.remove_expired(database, key, version);
                self.take_from(database, key, kind, version, |entry| {
                    entry.remove_element(element);
                });
            }
            Effect::AttributeDelete { key, name } => {
                self.remove_expired(database, key, version);
                self.take_from(database, key, Kind::Stream, version, |entry| {
                    let stream = entry.collection_mut().into_iter();
                    stream.for_each(|stream| stream.remove_attribute(name));
                });
            }
            Effect::StreamTrim { key, below } => {
                self.remove_expired(database, key, version);
                self.take_from(database, key, Kind::Stream, version, |entry| {
                    let stream = entry.collection_mut().into_iter();
                    stream.for_each(|stream| stream.remove_below(&below));
                });
            }
            Effect::Count { .. }
            | Effect::HashCount { .. }
            | Effect::Sketch { .. }
            | Effect::Assertion { .. }
            | Effect::Lapsed { .. }
            | Effect::Anew { .. }
            | Effect::Operation { .. } => {
                debug_assert!(false, "only in replicated partitions");
            }
            Effect::ExpireAt { key, at } => {
                self.update(database, key, version, |entry| entry.set_expire_at(at));
            }
            Effect::Delete { key } => {
                let hash = self.hash(key);
                self.change(database, |keyspace, garbage| {
                    if let Some(entry) = keyspace.remove(key, hash) {
                        discard(garbage, entry);
                    }
                });
            }
            Effect::Clear => {
                let keyspace = self.take_keyspace(database);
                self.garbage.extend(keyspace.map(Garbage::Keyspace));
            }
            Effect::Swap { with } => self.swap(database, with),
        }
        self.clock.observe(version);
    }

    /// Removes the key if its time is over at this version, or fields of which it is. A removal by expiry is not logged, so a replay may
    /// find what was gone when the change was made.
    fn remove_expired(&mut self, database: DatabaseId, key: &[u8], version: Version) {
        let hash = self.hash(key);
        self.change(database, |keyspace, garbage| {
            let found = keyspace.find(key, hash);
            if found.is_some_and(|entry| entry.is_expired(version.millis()))
                && let Some(entry) = keyspace.remove(key, hash)
            {
                discard(garbage, entry);
            }
        });
        self.lapse_fields(database, key, hash, version.millis());
    }

    /// Adds what an effect adds to a collection; returns whether it is one that does.
    fn add(
        &mut self,
        database: DatabaseId,
        effect: &Effect<'_>,
        change: (Version, &AccessClock),
    ) -> bool {
        let seed = self.seed;
        match *effect {
            Effect::ElementSet {
                kind,
                key,
                element,
                value,
            } => self.add_to(database, key, kind, change, |entry| {
                entry.set_element(element, value, seed);
            }),
            Effect::FieldUntil {
                key,
                field,
                value,
                at,
            } => self.add_to(database, key, Kind::Hash, change, |entry| {
                entry.set_field(field, value, at, seed);
            }),
            Effect::AttributeSet { key, name, value } => {
                self.add_to(database, key, Kind::Stream, change, |entry| {
                    let stream = entry.collection_mut().into_iter();
                    stream.for_each(|stream| stream.set_attribute(name, value));
                });
            }
            _ => return false,
        }
        true
    }

    /// Adds to a collection. A key of another kind becomes one of this kind.
    fn add_to(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        kind: Kind,
        (version, access): (Version, &AccessClock),
        add: impl Fn(&mut Entry),
    ) {
        let (hash, seed) = (self.hash(key), self.seed);
        let parts = Parts {
            key,
            value: &[],
            encoding: StringEncoding::Raw,
            expire_at: None,
            version,
            actor: Actor::default(),
            access: access.initial(),
        };
        self.make_keyspace(database);
        let is_new = self.change(database, |keyspace, garbage| {
            let make = || Entry::with_nothing(&parts, kind, seed);
            let found = keyspace.update(key, hash, |entry| {
                if entry.kind() != kind {
                    let access = entry.access();
                    discard(garbage, std::mem::replace(entry, make()));
                    entry.set_access(access);
                }
                add(entry);
                entry.set_version(version);
                Keyspace::touch(entry, access);
            });
            if found.is_none() {
                let mut entry = make();
                add(&mut entry);
                keyspace.insert(hash, entry);
            }
            found.is_none()
        });
        if is_new == Some(true) {
            self.count_birth(database, hash);
        }
    }

    /// Takes from a collection of this kind, if the key is one, and removes the key with the last of it.
    fn take_from(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        kind: Kind,
        version: Version,
        take: impl FnOnce(&mut Entry),
    ) {
        let hash = self.hash(key);
        self.change(database, |keyspace, _| {
            let is_empty = keyspace.update(key, hash, |entry| {
                if entry.kind() != kind {
                    return false;
                }
                entry.set_version(version);
                take(entry);
                entry.is_empty_collection()
            });
            if is_empty == Some(true) {
                keyspace.remove(key, hash);
            }
        });
    }

    fn put(&mut self, database: DatabaseId, parts: &Parts<'_>, access: &AccessClock) {
        let hash = self.hash(parts.key);
        self.make_keyspace(database);
        let is_new = self.change(database, |keyspace, garbage| {
            let replaced = keyspace.update(parts.key, hash, |entry| {
                let is_over = entry.is_expired(parts.version.millis());
                if entry.is_costly_to_free() {
                    let access = entry.access();
                    let new = Entry::new(&Parts { access, ..*parts });
                    let old = std::mem::replace(entry, new);
                    garbage.push(Garbage::Entry(old));
                } else {
                    entry.replace(parts.value, parts.encoding, parts.expire_at);
                    entry.set_version(parts.version);
                }
                Keyspace::touch(entry, access);
                is_over
            });
            if replaced.is_none() {
                keyspace.insert(hash, Entry::new(parts));
            }
            replaced.unwrap_or(true)
        });
        if is_new == Some(true) {
            self.count_birth(database, hash);
        }
    }

    fn update(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        version: Version,
        change: impl FnOnce(&mut Entry),
    ) {
        let hash = self.hash(key);
        self.change(database, |keyspace, _| {
            keyspace.update(key, hash, |entry| {
                change(entry);
                entry.set_version(version);
            })
        });
    }

    /// Puts back a key as a checkpoint holds it: the effects that make it.
    pub fn restore(
        &mut self,
        database: DatabaseId,
        effects: &[u8],
        version: Version,
        access: u32,
        clock: &AccessClock,
    ) -> Result<(), MalformedEffect> {
        for effect in Effects::new(database, effects) {
            let (database, effect) = effect?;
            // What it is added to may have expired by now.
            if !self.add(database, &effect, (version, clock)) {
                self.apply(database, &effect, version, clock);
            }
            let key = effect.key().ok_or(MalformedEffect { at: 0 })?;
            self.update(database, key, version, |entry| entry.set_access(access));
        }
        self.clock.observe(version);
        Ok(())
    }
}
