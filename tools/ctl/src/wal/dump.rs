//! `coterie-ctl wal dump`: the records of a log as text.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use coterie::effect::{Effect, Stamped};
use coterie::engine::effects_of;
use coterie::wal::{LogOffset, Record, inspect};
use coterie_protocol::{Actor, Stamp};

use super::replay_start;
use crate::Error;

#[derive(clap::Args)]
pub struct Arguments {
    /// The data directory of the node, which may be running
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Start at this record, written segment:byte; by default where replay would start
    #[arg(long, value_name = "OFFSET")]
    from: Option<LogOffset>,
    /// Print at most this many records
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// Print at most this many bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    payload: usize,
}

pub fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<ExitCode, Error> {
    let start = match arguments.from {
        Some(offset) => offset,
        None => replay_start(&arguments.directory)?,
    };
    let inspection = inspect(&arguments.directory, start)?;
    let records = inspection
        .segments
        .iter()
        .flat_map(|segment| segment.records());
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut printed = 0;
    for record in records.take(limit) {
        print(&record, arguments.payload, output)?;
        printed += 1;
    }
    match inspection.end {
        Err(error) if printed < arguments.limit => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn print(record: &Record<'_>, limit: usize, output: &mut dyn Write) -> Result<(), Error> {
    write!(
        output,
        "{} version={} partition={} database={} kind={} bytes={}",
        record.offset,
        record.version,
        record.partition.0,
        record.database.0,
        record.kind,
        record.payload.len(),
    )?;
    let Some((actor, effects)) = effects_of(record.kind, record.payload) else {
        writeln!(output, " {}", Text(record.payload, limit))?;
        return Ok(());
    };
    if actor != Actor::default() {
        write!(output, " actor={actor}")?;
    }
    let first = Stamp::new(record.version, actor);
    for effect in Stamped::new(record.database, first, effects) {
        match effect {
            Ok((database, effect, stamp)) => {
                if database != record.database {
                    write!(output, " [in database {}]", database.0)?;
                }
                if stamp.actor != actor {
                    write!(output, " [{stamp}]")?;
                }
                print_effect(&effect, limit, output)?;
            }
            Err(error) => write!(output, " ({error})")?,
        }
    }
    writeln!(output)?;
    Ok(())
}

fn print_effect(effect: &Effect<'_>, limit: usize, output: &mut dyn Write) -> std::io::Result<()> {
    let text = |bytes| Text(bytes, limit);
    match *effect {
        Effect::Put {
            key,
            value,
            expire_at,
            ..
        } => {
            write!(output, " put {} {}", text(key), text(value))?;
            expire_at.map_or(Ok(()), |at| write!(output, " expire-at={at}"))
        }
        Effect::PutPadded { key, offset, bytes } => {
            write!(output, " put-padded {} {offset} {}", text(key), text(bytes))
        }
        Effect::Splice { key, offset, bytes } => {
            write!(output, " splice {} {offset} {}", text(key), text(bytes))
        }
        Effect::ExpireAt { key, at: Some(at) } => write!(output, " expire-at {} {at}", text(key)),
        Effect::ExpireAt { key, at: None } => write!(output, " persist {}", text(key)),
        Effect::ElementSet {
            kind,
            key,
            element,
            value,
        } => {
            let (key, element, value) = (text(key), text(element), text(value));
            write!(output, " set {kind:?} {key} {element} {value}")
        }
        Effect::FieldUntil {
            key,
            field,
            value,
            at,
        } => {
            let (key, field, value) = (text(key), text(field), text(value));
            write!(output, " set Hash {key} {field} {value} expire-at={at}")
        }
        Effect::ElementDelete { kind, key, element } => {
            let (key, element) = (text(key), text(element));
            write!(output, " remove {kind:?} {key} {element}")
        }
        Effect::AttributeSet { key, name, value } => {
            let (key, name, value) = (text(key), text(name), text(value));
            write!(output, " set-attribute {key} {name} {value}")
        }
        Effect::AttributeDelete { key, name } => {
            write!(output, " remove-attribute {} {}", text(key), text(name))
        }
        Effect::StreamTrim { key, below } => {
            let below = u128::from_be_bytes(below);
            let (ms, sequence) = (below >> 64, below as u64);
            write!(output, " trim {} below {ms}-{sequence}", text(key))
        }
        Effect::Assertion { kind, key } => write!(output, " is {kind:?} {}", text(key)),
        Effect::Operation {
            id, settled, reply, ..
        } => write!(
            output,
            " operation {id:?} settled={settled} {}",
            text(reply)
        ),
        Effect::Count {
            key, base, total, ..
        } => write!(output, " count {} {total} on {base}", text(key)),
        Effect::HashCount {
            key,
            field,
            base,
            total,
            ..
        } => write!(
            output,
            " hash-count {} {} {total} on {base}",
            text(key),
            text(field)
        ),
        Effect::Sketch { key, base, value } => {
            write!(output, " sketch {} {} on {base}", text(key), text(value))
        }
        Effect::Lapsed { key, at } => write!(output, " lapsed {} {at}", text(key)),
        Effect::Anew { key, settled } => write!(output, " anew {} since {settled}", text(key)),
        Effect::Delete { key } => write!(output, " delete {}", text(key)),
        Effect::Clear => write!(output, " clear"),
        Effect::Swap { with } => write!(output, " swap-with {}", with.0),
    }
}

/// Bytes as quoted text, cut at a number of them.
struct Text<'a>(&'a [u8], usize);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(self.1)];
        let rest = if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        };
        write!(f, "\"{}\"{rest}", shown.escape_ascii())
    }
}
