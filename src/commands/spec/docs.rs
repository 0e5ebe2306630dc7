//! What `COMMAND DOCS` tells of a command.

/// What `COMMAND DOCS` tells.
#[derive(Clone, Copy)]
pub struct Docs {
    /// One sentence.
    pub summary: &'static str,
    /// The Redis version that had it first.
    pub since: &'static str,
    /// `string`, `bitmap`, `generic`, `connection`, `server`, …
    pub group: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// `deprecated` and the like.
    pub flags: &'static [&'static str],
    /// The version that deprecated it, and what replaces it; empty for none.
    pub deprecated_since: &'static str,
    /// See `deprecated_since`.
    pub replaced_by: &'static str,
    /// Versions and what they changed.
    pub history: &'static [(&'static str, &'static str)],
    /// The arguments.
    pub arguments: &'static [Argument],
}

impl Docs {
    /// The usual case: to be completed with `..Docs::NEW`.
    pub const NEW: Docs = Docs {
        summary: "",
        since: "1.0.0",
        group: "",
        complexity: "O(1)",
        flags: &[],
        deprecated_since: "",
        replaced_by: "",
        history: &[],
        arguments: &[],
    };
}

/// One argument of a command's syntax, as `COMMAND DOCS` tells it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// `key`, `string`, `integer`, `double`, `pattern`, `unix-time`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// A literal word before it, or instead of it; empty for none.
    pub token: &'static str,
    /// The Redis version that had it first, where that is later than the command; empty otherwise.
    pub since: &'static str,
    /// Which key specification it is, for `key`s.
    pub key_spec_index: Option<usize>,
    /// The version that deprecated it; empty for none.
    pub deprecated_since: &'static str,
    /// `optional`, `multiple`, `multiple_token`.
    pub flags: &'static [&'static str],
    /// The parts of a `oneof` or `block`.
    pub arguments: &'static [Argument],
}

impl Argument {
    /// The usual case: to be completed with `..Argument::NEW`.
    pub const NEW: Argument = Argument {
        name: "",
        kind: "string",
        token: "",
        since: "",
        key_spec_index: None,
        deprecated_since: "",
        flags: &[],
        arguments: &[],
    };

    /// A value of this kind.
    pub const fn new(name: &'static str, kind: &'static str) -> Argument {
        Argument {
            name,
            kind,
            ..Argument::NEW
        }
    }

    /// A key of the first key specification.
    pub const fn key(name: &'static str) -> Argument {
        Argument {
            key_spec_index: Some(0),
            ..Argument::new(name, "key")
        }
    }

    /// A literal word.
    pub const fn word(name: &'static str, token: &'static str) -> Argument {
        Argument::new(name, "pure-token").after(token)
    }

    /// One of several.
    pub const fn one_of(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, "oneof")
        }
    }

    /// All of several, in order.
    pub const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument {
            arguments,
            ..Argument::new(name, "block")
        }
    }

    /// With this word before it.
    pub const fn after(self, token: &'static str) -> Argument {
        Argument { token, ..self }
    }

    /// Of this Redis version.
    pub const fn since(self, since: &'static str) -> Argument {
        Argument { since, ..self }
    }

    /// With these flags.
    pub const fn flagged(self, flags: &'static [&'static str]) -> Argument {
        Argument { flags, ..self }
    }

    /// With the flag `optional`.
    pub const fn optional(self) -> Argument {
        self.flagged(&["optional"])
    }
}
