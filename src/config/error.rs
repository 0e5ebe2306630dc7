//! What can be wrong with a configuration, in words for an operator.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why a value was refused: Redis' own words where Redis has the same check.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ValueError(Cow<'static, str>);

impl ValueError {
    pub(super) const IMMUTABLE: Self = Self::fixed("can't set immutable config");
    pub(super) const DUPLICATE: Self = Self::fixed("duplicate parameter");
    pub(super) const NOT_AN_INTEGER: Self =
        Self::fixed("argument couldn't be parsed into an integer");
    pub(super) const NOT_POWER_OF_TWO: Self = Self::fixed("argument must be a power of two");
    pub(super) const NOT_MEMORY: Self = Self::fixed("argument must be a memory value");
    pub(super) const NOT_MEMORY_OR_PERCENT: Self =
        Self::fixed("argument must be a memory or percent value");
    pub(super) const PERCENT_RANGE: Self =
        Self::fixed("percentage argument must be less or equal to 100");
    pub(super) const NOT_OCTAL: Self =
        Self::fixed("argument couldn't be parsed as an octal number");
    pub(super) const OCTAL_RANGE: Self =
        Self::fixed("argument must be between 0 and 777 inclusive");
    pub(super) const NOT_BOOL: Self = Self::fixed("argument must be 'yes' or 'no'");
    pub(super) const NOT_TEXT: Self = Self::fixed("argument must be valid UTF-8 text");
    pub(super) const NOT_AN_IP: Self = Self::fixed("argument must be an IP address");
    pub(super) const NOT_A_HOSTNAME: Self = Self::fixed(
        "Hostnames may only contain alphanumeric characters, hyphens or dots, and are shorter than 256",
    );
    pub(super) const NOT_ENDPOINTS: Self =
        Self::fixed("argument must be a list of HOST:PORT, as in 192.0.2.1:6379");
    pub(super) const NOT_A_QUORUM: Self =
        Self::fixed("argument must be 'majority', 'all' or a number from 1 to 255");
    pub(super) const NOT_EVENT_CLASSES: Self =
        Self::fixed("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    pub(super) const PERCENTILES: Self =
        Self::fixed("Invalid latency-tracking-info-percentiles parameters");
    pub(super) const PERCENTILE_RANGE: Self =
        Self::fixed("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
    pub(super) const LIMIT_COUNT: Self =
        Self::fixed("Wrong number of arguments in buffer limit configuration.");
    pub(super) const LIMIT_CLASS: Self =
        Self::fixed("Invalid client class specified in buffer limit configuration.");
    pub(super) const LIMIT_VALUE: Self =
        Self::fixed("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    pub(super) const LOG_IS_ALWAYS_ON: Self =
        Self::fixed("the log can't be turned off; 'durability' chooses when it is synced");
    pub(super) const NO_DUMPS: Self = Self::fixed(
        "there are no periodic dumps; 'checkpoint-log-size' and 'checkpoint-interval' start checkpoints",
    );
    pub(super) const NOT_A_STRING: Self = Self::fixed("argument must be a string, in quotes");
    pub(super) const TOML_MODE: Self =
        Self::fixed("a file mode is written as a string (\"700\") or as an octal number (0o700)");
    pub(super) const TOML_SHAPE: Self = Self::fixed("argument can't be a table, a date or nested");
    pub(super) const TOML_LIST: Self = Self::fixed("argument can't be a list");

    pub(super) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(super) fn out_of_range(min: i128, max: i128) -> Self {
        Self(format!("argument must be between {min} and {max} inclusive").into())
    }

    pub(super) fn not_one_of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let words: Vec<&str> = words.collect();
        Self(
            format!(
                "argument(s) must be one of the following: {}",
                words.join(", ")
            )
            .into(),
        )
    }
}

/// Why `CONFIG SET` was refused. Displayed as the error reply without its leading `ERR `.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SetError {
    /// No parameter has this name (in the caller's spelling).
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The parameter can't take this value, or can't be set now.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// The name in the caller's spelling.
        name: String,
        /// What is wrong.
        reason: ValueError,
    },
}

impl SetError {
    pub(super) fn unknown(name: &[u8]) -> Self {
        Self::Unknown(printable(name))
    }

    pub(super) fn failed(name: &[u8], reason: ValueError) -> Self {
        Self::Failed {
            name: printable(name),
            reason,
        }
    }
}

/// The caller's bytes as one line of text: an error reply must not hold a line break.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace(['\r', '\n'], " ")
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file; line and column count from 1, columns in characters.
    File {
        /// The file's path as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// In this flag, without its dashes.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => {
                write!(formatter, "{}:{line}:{column}", path.display())
            }
            Place::Environment(name) => write!(formatter, "environment variable {name}"),
            Place::Flag(name) => write!(formatter, "flag --{name}"),
        }
    }
}

/// Why the settings could not be loaded.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {path}: {source}", path = path.display())]
    Read {
        /// The file's path as it was given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any configuration could be.
    #[error("the configuration file {path} has more than {limit} bytes", path = path.display())]
    TooLarge {
        /// The file's path as it was given.
        path: PathBuf,
        /// The largest size in bytes.
        limit: u64,
    },
    /// The file is no UTF-8 text.
    #[error("the configuration file {path} is not UTF-8 text: bad byte at offset {offset}", path = path.display())]
    NotUtf8 {
        /// The file's path as it was given.
        path: PathBuf,
        /// The offset of the first bad byte, from 0.
        offset: usize,
    },
    /// The file is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the TOML reader said.
        message: String,
    },
    /// No parameter has this name.
    #[error("{place}: unknown setting '{name}'{hint}")]
    Unknown {
        /// Where.
        place: Place,
        /// The unknown name.
        name: String,
        /// ` (did you mean 'x'?)`, or empty.
        hint: String,
    },
    /// The parameter can't have this value. Values are not repeated here, as they may be secret.
    #[error("{place}: {name}: {reason} (accepted: {accepted}){hint}")]
    Value {
        /// Where.
        place: Place,
        /// The parameter.
        name: &'static str,
        /// What is wrong.
        reason: ValueError,
        /// What would be right.
        accepted: String,
        /// A likely cause, or empty.
        hint: &'static str,
    },
    /// One source sets a parameter under two names.
    #[error("{place}: '{first}' and '{second}' are the same setting: give only one")]
    Twice {
        /// Where the second one stands.
        place: Place,
        /// The first name.
        first: &'static str,
        /// The second name.
        second: &'static str,
    },
    /// A flag or environment variable is no UTF-8 text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// An argument that is neither a flag nor a flag's value.
    #[error("unexpected argument '{0}': flags are written --name value (see --help)")]
    UnexpectedArgument(String),
    /// A flag without its value, or with too many.
    #[error("flag --{name} takes {expected}")]
    FlagValues {
        /// The flag, without its dashes.
        name: String,
        /// How many values.
        expected: &'static str,
    },
}

/// Why `CONFIG REWRITE` failed.
#[derive(Debug, Error)]
pub enum RewriteError {
    /// The server was started without a file; the text is Redis' own.
    #[error("The server is running without a config file")]
    NoFile,
    /// The file can't be read or written.
    #[error("Rewriting config file: {0}")]
    Io(#[from] std::io::Error),
    /// The file was changed since the start and can't be understood any more.
    #[error("Rewriting config file: {0}")]
    Unreadable(#[from] ConfigError),
    /// The new text would not read back as the current settings, for example because the file now ends in a table.
    #[error("Rewriting config file: its structure was changed, '{0}' can't be written into it")]
    Structure(&'static str),
}
