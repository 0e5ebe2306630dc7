//! `coterie-ctl wal dump`: the records of a log as text.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use coterie::wal::{LogOffset, Record, inspect};

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
    let payload = record.payload;
    let shown = &payload[..payload.len().min(limit)];
    writeln!(
        output,
        "{} version={} partition={} database={} kind={} bytes={} \"{}\"{}",
        record.offset,
        record.version,
        record.partition.0,
        record.database.0,
        record.kind,
        payload.len(),
        shown.escape_ascii(),
        if shown.len() < payload.len() {
            "…"
        } else {
            ""
        },
    )?;
    Ok(())
}
