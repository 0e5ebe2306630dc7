//! Values of the type that a command works on.

use super::error::CommandError;
use crate::config::Config;
use crate::store::{Entry, HashView, Kind, ListView, SetView, SortedSetView, StreamView};

/// The entry, if it holds a string; an error if it holds something else.
pub fn string_of(entry: Option<&Entry>) -> Result<Option<&Entry>, CommandError> {
    match entry {
        Some(entry) if entry.kind() != Kind::String => Err(CommandError::WrongType),
        entry => Ok(entry),
    }
}

/// The view of an entry that holds a certain type; an error if it holds something else.
macro_rules! views {
    ($($name:ident, $view:ident, $of:ident, $what:literal;)*) => {
        $(
            #[doc = concat!("The entry's ", $what, "; an error if it holds something else.")]
            pub fn $name(entry: Option<&Entry>) -> Result<Option<$view<'_>>, CommandError> {
                entry
                    .map(|entry| entry.$of().ok_or(CommandError::WrongType))
                    .transpose()
            }
        )*
    };
}

views! {
    hash_of, HashView, hash, "hash";
    set_of, SetView, set, "set";
    sorted_set_of, SortedSetView, sorted_set, "sorted set";
    list_of, ListView, list, "list";
    stream_of, StreamView, stream, "stream";
}

/// The name of the type of an entry's value, as `TYPE` answers it.
pub fn kind_name(entry: &Entry) -> &'static str {
    match entry.kind() {
        Kind::String => "string",
        Kind::Hash => "hash",
        Kind::Set => "set",
        Kind::SortedSet => "zset",
        Kind::List => "list",
        Kind::Stream => "stream",
    }
}

/// In which form Redis would hold the value, as `OBJECT ENCODING` answers it.
pub fn encoding_name(entry: &Entry, config: &Config) -> &'static str {
    let compact = |is_compact, compact, large| if is_compact { compact } else { large };
    match entry.kind() {
        Kind::String => entry.encoding().name(),
        Kind::Hash => {
            let is_compact = entry.hash().is_some_and(|hash| is_compact(hash, config));
            compact(is_compact, "listpack", "hashtable")
        }
        Kind::Set => {
            let is_compact = entry.set().is_some_and(|set| is_compact_set(set, config));
            compact(is_compact, "intset", "hashtable")
        }
        Kind::SortedSet => {
            let set = entry.sorted_set();
            let is_compact = set.is_some_and(|set| is_compact_sorted_set(set, config));
            compact(is_compact, "listpack", "skiplist")
        }
        Kind::List => "quicklist",
        Kind::Stream => "stream",
    }
}

/// Whether Redis would hold a hash as a list pack: it never had many fields or a long one.
pub fn is_compact(hash: HashView<'_>, config: &Config) -> bool {
    hash.peak_len() as u64 <= config.hash_max_listpack_entries
        && hash.longest_bytes() as u64 <= config.hash_max_listpack_value
}

/// Whether Redis would hold a set as sorted integers: it never had many members or another one.
pub fn is_compact_set(set: SetView<'_>, config: &Config) -> bool {
    set.is_of_integers() && set.peak_len() as u64 <= config.set_max_intset_entries
}

/// Whether Redis would hold a sorted set as a list pack: it never had many members or a long one.
pub fn is_compact_sorted_set(set: SortedSetView<'_>, config: &Config) -> bool {
    set.peak_len() as u64 <= config.zset_max_listpack_entries
        && set.longest_bytes() as u64 <= config.zset_max_listpack_value
}
