//! The types of the settings: how each is read from and written as text.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::error::ValueError;
use super::kind::{Kind, parse_memory};
use crate::events::EventClasses;
use crate::topology::Quorum;

/// A type that a field of `Config` can have.
pub(super) trait Field: Sized {
    /// Whether the value must not be shown in logs.
    const SECRET: bool = false;

    /// Reads a value. Kinds that set only a part of the value keep the rest of `current`.
    fn parse(kind: &Kind, text: &str, current: Option<&Self>) -> Result<Self, ValueError>;

    /// The text `CONFIG GET` shows; `parse` reads it back as the same value.
    fn to_text(&self, kind: &Kind) -> String;
}

macro_rules! integer_fields {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn parse(kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
                // The range in the table fits the type (a test checks it), so this conversion adds no limit of its own.
                Self::try_from(kind.number(text)?)
                    .map_err(|_| ValueError::out_of_range(Self::MIN.into_wide(), Self::MAX.into_wide()))
            }

            fn to_text(&self, kind: &Kind) -> String {
                match kind {
                    Kind::Octal => format!("{self:o}"),
                    _ => self.to_string(),
                }
            }
        }

        impl IntoWide for $type {
            fn into_wide(self) -> i128 {
                self as i128
            }
        }
    )+};
}

/// Widens any integer (`usize` has no `From` for it).
trait IntoWide {
    fn into_wide(self) -> i128;
}

integer_fields!(u8, u16, u32, u64, i64, usize);

impl Field for bool {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        if text.eq_ignore_ascii_case("yes") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("no") {
            Ok(false)
        } else {
            Err(ValueError::NOT_BOOL)
        }
    }

    fn to_text(&self, _kind: &Kind) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Field for PathBuf {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        Ok(PathBuf::from(text))
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Field for Option<PathBuf> {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

impl Field for String {
    fn parse(kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        let is_hostname = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        match kind {
            Kind::Hostname if text.len() > 255 || !text.bytes().all(is_hostname) => {
                Err(ValueError::NOT_A_HOSTNAME)
            }
            _ => Ok(text.to_owned()),
        }
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.clone()
    }
}

impl Field for Option<IpAddr> {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| ValueError::NOT_AN_IP)
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl Field for Quorum {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        text.parse().map_err(|_| ValueError::NOT_A_QUORUM)
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.to_string()
    }
}

impl Field for EventClasses {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        EventClasses::parse(text).ok_or(ValueError::NOT_EVENT_CLASSES)
    }

    fn to_text(&self, _kind: &Kind) -> String {
        self.letters()
    }
}

impl Field for Vec<String> {
    fn parse(kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        if *kind == Kind::Lines {
            let lines = text.lines().filter(|line| !line.is_empty());
            return Ok(lines.map(str::to_owned).collect());
        }
        let words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if *kind == Kind::Endpoints && !words.iter().all(|word| is_endpoint(word)) {
            return Err(ValueError::NOT_ENDPOINTS);
        }
        Ok(words)
    }

    fn to_text(&self, kind: &Kind) -> String {
        self.join(if *kind == Kind::Lines { "\n" } else { " " })
    }
}

/// Whether this is `HOST:PORT`, an IPv6 address in brackets.
fn is_endpoint(word: &str) -> bool {
    let Some((host, port)) = word.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let has_host = !host.is_empty() && (bracketed || !host.contains(':'));
    has_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Percentiles.
impl Field for Vec<f64> {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        text.split_ascii_whitespace()
            .map(|word| match word.parse::<f64>() {
                Ok(number) if number.is_nan() => Err(ValueError::PERCENTILES),
                // Adding zero turns -0 into 0.
                Ok(number) if (0.0..=100.0).contains(&number) => Ok(number + 0.0),
                Ok(_) => Err(ValueError::PERCENTILE_RANGE),
                Err(_) => Err(ValueError::PERCENTILES),
            })
            .collect()
    }

    fn to_text(&self, _kind: &Kind) -> String {
        let words: Vec<String> = self.iter().map(f64::to_string).collect();
        words.join(" ")
    }
}

/// A text that `Debug` does not show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_empty() { "\"\"" } else { "<secret>" })
    }
}

impl Field for Secret {
    const SECRET: bool = true;

    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        Ok(Self::new(text))
    }

    fn to_text(&self, kind: &Kind) -> String {
        match kind {
            Kind::Hidden => String::new(),
            _ => self.0.clone(),
        }
    }
}

/// An amount of memory, absolute or as a share of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// A number of bytes; 0 means no limit.
    Bytes(u64),
    /// A percentage (0 to 100) of `maxmemory`.
    Percent(u8),
}

impl MemoryLimit {
    /// The limit in bytes given `maxmemory` in bytes; `None` means no limit, as a share of no limit does.
    #[must_use]
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            MemoryLimit::Bytes(bytes) => bytes,
            // The quotient is at most `maxmemory`.
            MemoryLimit::Percent(percent) => {
                (u128::from(maxmemory) * u128::from(percent) / 100) as u64
            }
        };
        (bytes != 0).then_some(bytes)
    }
}

impl Field for MemoryLimit {
    fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
        let Some(digits) = text.strip_suffix('%') else {
            return parse_memory(text)
                .map(Self::Bytes)
                .ok_or(ValueError::NOT_MEMORY_OR_PERCENT);
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(ValueError::NOT_MEMORY_OR_PERCENT);
        }
        match digits.parse() {
            Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
            _ => Err(ValueError::PERCENT_RANGE),
        }
    }

    fn to_text(&self, _kind: &Kind) -> String {
        match self {
            MemoryLimit::Bytes(bytes) => bytes.to_string(),
            MemoryLimit::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// How much unsent output a client may pile up before it is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Closed at once above this many bytes; 0 means no limit.
    pub hard: u64,
    /// Closed after [`soft_seconds`](Self::soft_seconds) above this many bytes; 0 means no limit.
    pub soft: u64,
    /// How long the soft limit may be exceeded, in seconds.
    pub soft_seconds: u32,
}

/// The output limits of the three classes of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Clients that send commands, those in `MONITOR` included.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients that subscribe to at least one channel or pattern.
    pub pubsub: OutputBufferLimit,
}

impl Field for OutputBufferLimits {
    fn parse(_kind: &Kind, text: &str, current: Option<&Self>) -> Result<Self, ValueError> {
        let mut limits = current.copied().unwrap_or_default();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (groups, []) = words.as_chunks::<4>() else {
            return Err(ValueError::LIMIT_COUNT);
        };
        for [class, hard, soft, seconds] in groups {
            let limit = match class.to_ascii_lowercase().as_str() {
                "normal" => &mut limits.normal,
                "replica" | "slave" => &mut limits.replica,
                "pubsub" => &mut limits.pubsub,
                _ => return Err(ValueError::LIMIT_CLASS),
            };
            let memory = |text| parse_memory(text).ok_or(ValueError::LIMIT_VALUE);
            *limit = OutputBufferLimit {
                hard: memory(hard)?,
                soft: memory(soft)?,
                soft_seconds: seconds.parse().map_err(|_| ValueError::LIMIT_VALUE)?,
            };
        }
        Ok(limits)
    }

    fn to_text(&self, _kind: &Kind) -> String {
        // `slave` is what Redis 7.0 answers.
        [
            ("normal", self.normal),
            ("slave", self.replica),
            ("pubsub", self.pubsub),
        ]
        .map(|(class, limit)| {
            format!(
                "{class} {} {} {}",
                limit.hard, limit.soft, limit.soft_seconds
            )
        })
        .join(" ")
    }
}

macro_rules! keywords {
    ($($(#[$meta:meta])+ pub enum $type:ident { $($(#[$variant_meta:meta])+ $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$meta])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_meta])+ $variant,)+
        }

        impl $type {
            /// All words, in Redis' order.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in files, flags and `CONFIG GET`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl Field for $type {
            fn parse(_kind: &Kind, text: &str, _current: Option<&Self>) -> Result<Self, ValueError> {
                $(if text.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err(ValueError::not_one_of(Self::WORDS.iter().copied()))
            }

            fn to_text(&self, _kind: &Kind) -> String {
                self.as_str().to_owned()
            }
        }
    )+};
}

keywords! {
    /// When a write counts as logged.
    pub enum Durability {
        /// After the log was synced, at most about a second later; acknowledged before. Power loss can cost a second.
        Everysec = "everysec",
        /// After the sync: acknowledged writes survive power loss.
        Always = "always",
        /// After it was given to the operating system, which syncs when it likes. `kill -9` still loses nothing.
        Os = "os",
    }

    /// What to remove when `maxmemory` is reached.
    pub enum MaxmemoryPolicy {
        /// The least recently used keys among those with an expiry.
        VolatileLru = "volatile-lru",
        /// The least frequently used keys among those with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Random keys among those with an expiry.
        VolatileRandom = "volatile-random",
        /// The keys that expire soonest.
        VolatileTtl = "volatile-ttl",
        /// The least recently used keys.
        AllkeysLru = "allkeys-lru",
        /// The least frequently used keys.
        AllkeysLfu = "allkeys-lfu",
        /// Random keys.
        AllkeysRandom = "allkeys-random",
        /// Nothing: commands that need memory get an error.
        Noeviction = "noeviction",
    }

    /// How much is logged.
    pub enum LogLevel {
        /// Everything, for development.
        Debug = "debug",
        /// Details, without the noise of `debug`.
        Verbose = "verbose",
        /// What an operator wants to know in production.
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
    }

    /// The form of log lines.
    pub enum LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }

    /// What a node does with a request for keys that other nodes hold.
    pub enum Redirect {
        /// It has them executed there, and answers.
        Proxy = "proxy",
        /// It tells the client where to go (`-MOVED`).
        Moved = "moved",
    }

    /// Which channels a new user may use.
    pub enum ChannelDefault {
        /// All of them.
        All = "allchannels",
        /// None.
        None = "resetchannels",
    }

    /// Who may use the `DEBUG` command.
    pub enum DebugCommand {
        /// Nobody.
        No = "no",
        /// Every client.
        Yes = "yes",
        /// Clients on the same machine.
        Local = "local",
    }
}
