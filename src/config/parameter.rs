//! What the table says of one parameter, and finding parameters by name.

use super::error::{ConfigError, Place, ValueError};
use super::kind::Kind;
use super::suggest;
use super::table::{Config, FIXED, PARAMETERS, TESTS};

/// When a parameter can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only by restarting with another value.
    AtStart,
    /// At any time, by `CONFIG SET`.
    Live,
}

/// A second name of a parameter.
#[derive(Debug)]
pub(super) struct Alias {
    pub name: &'static str,
    /// Values that are spelled differently under this name: (here, in the parameter).
    pub spellings: &'static [(&'static str, &'static str)],
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub group: &'static str,
    /// One or several lines, each with a leading space.
    pub doc: &'static str,
    pub default: &'static str,
    pub kind: Kind,
    pub change: Change,
    pub secret: bool,
    pub aliases: &'static [Alias],
    /// The text of the value, as `CONFIG GET` shows it.
    pub get: fn(&Config) -> String,
    /// Reads the value from a text; leaves the configuration as it was on an error.
    pub set: fn(&mut Config, &str) -> Result<(), ValueError>,
}

impl Parameter {
    /// Whether documentation shows it: it can be set, and not only for tests.
    pub(super) fn is_documented(&self) -> bool {
        !matches!(self.kind, Kind::Fixed { .. }) && self.group != TESTS
    }

    /// The documentation as one line.
    pub(super) fn summary(&self) -> String {
        let lines: Vec<&str> = self.doc.lines().map(str::trim).collect();
        lines.join(" ").trim().to_owned()
    }
}

/// A parameter under one of its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub parameter: &'static Parameter,
    alias: Option<&'static Alias>,
}

impl Entry {
    pub(super) fn name(&self) -> &'static str {
        self.alias.map_or(self.parameter.name, |alias| alias.name)
    }

    /// Whether `CONFIG GET` and `CONFIG SET` know it.
    pub(super) fn is_shown(&self) -> bool {
        self.parameter.kind != Kind::Lines
    }

    fn spellings(&self) -> &'static [(&'static str, &'static str)] {
        self.alias.map_or(&[], |alias| alias.spellings)
    }

    /// The value in this name's spelling.
    pub(super) fn get(&self, config: &Config) -> String {
        self.spelled((self.parameter.get)(config))
    }

    fn spelled(&self, value: String) -> String {
        let known = self.spellings().iter().find(|(_, theirs)| *theirs == value);
        known.map_or(value, |(ours, _)| (*ours).to_owned())
    }

    /// What is accepted, in words.
    pub(super) fn accepted(&self) -> String {
        match self.parameter.kind {
            Kind::Keyword(_) => format!("one of {}", self.words().join(", ")),
            kind => kind.accepted(),
        }
    }

    /// The words of a keyword parameter in this name's spelling.
    fn words(&self) -> Vec<String> {
        let Kind::Keyword(words) = self.parameter.kind else {
            return Vec::new();
        };
        words
            .iter()
            .map(|word| self.spelled((*word).to_owned()))
            .collect()
    }

    /// Sets the value from a text in this name's spelling.
    pub(super) fn assign(&self, config: &mut Config, text: &str) -> Result<(), ValueError> {
        let mut text = text;
        if !self.spellings().is_empty() {
            let words = self.words();
            if !words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                return Err(ValueError::not_one_of(words.iter().map(String::as_str)));
            }
            let mut spellings = self.spellings().iter();
            if let Some((_, theirs)) = spellings.find(|(ours, _)| ours.eq_ignore_ascii_case(text)) {
                text = theirs;
            }
        }
        (self.parameter.set)(config, text)
    }

    /// Sets the value from a client's bytes.
    pub(super) fn assign_bytes(&self, config: &mut Config, value: &[u8]) -> Result<(), ValueError> {
        match str::from_utf8(value) {
            Ok(text) => self.assign(config, text),
            Err(_) if self.parameter.kind.is_text() => Err(ValueError::NOT_TEXT),
            // A replacement character is part of no valid value of the other kinds.
            Err(_) => self.assign(config, &String::from_utf8_lossy(value)),
        }
    }
}

/// All parameters, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().chain(FIXED)
}

/// All names, aliases included.
pub(super) fn entries() -> impl Iterator<Item = Entry> {
    all().flat_map(|parameter| {
        let aliases = parameter.aliases.iter().map(Some);
        std::iter::once(None)
            .chain(aliases)
            .map(move |alias| Entry { parameter, alias })
    })
}

/// The parameter of this name or alias; case doesn't matter.
pub(super) fn lookup(name: &str) -> Option<Entry> {
    entries().find(|entry| entry.name().eq_ignore_ascii_case(name))
}

/// A value for a parameter, from one source.
#[derive(Debug)]
pub(super) struct Assignment {
    pub entry: Entry,
    pub text: String,
    pub place: Place,
}

impl Assignment {
    /// Sets the value.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        self.entry
            .assign(config, &self.text)
            .map_err(|reason| value_error(self.entry, self.place.clone(), reason, &self.text))
    }
}

/// The error for a value that was refused.
pub(super) fn value_error(
    entry: Entry,
    place: Place,
    reason: ValueError,
    text: &str,
) -> ConfigError {
    // A service named `coterie` makes Kubernetes set COTERIE_PORT=tcp://… in every container of its namespace.
    let injected = matches!(place, Place::Environment(_)) && text.starts_with("tcp://");
    ConfigError::Value {
        place,
        name: entry.name(),
        reason,
        accepted: entry.accepted(),
        hint: if injected { SERVICE_LINKS } else { "" },
    }
}

/// What to do about variables that Kubernetes sets on its own.
pub(super) const SERVICE_LINKS: &str = "; this looks like a variable that Kubernetes sets for a service \
     named coterie: set enableServiceLinks to false in the pod's specification";

/// The error for a name that no parameter has; `spell` turns a parameter's name into this source's form.
pub(super) fn unknown_error(
    place: Place,
    name: &str,
    spell: impl Fn(&str) -> String,
) -> ConfigError {
    let candidates = entries().map(|entry| spell(entry.name()));
    let hint = suggest::nearest(name, candidates)
        .map(|known| format!(" (did you mean '{known}'?)"))
        .unwrap_or_default();
    ConfigError::Unknown {
        place,
        name: name.to_owned(),
        hint,
    }
}
