//! A look into sketches: `PFDEBUG`, `PFSELFTEST`.

use super::{copy_of, corrupted, keep};
use crate::commands::call::Control;
use crate::commands::{Call, CommandError, CommandResult};
use crate::hyperloglog::{Encoding, Run, Sketch, estimate, registers_of, runs};

/// `PFDEBUG`
pub fn pfdebug(call: &mut Call<'_, '_>) -> CommandResult {
    let request = call.request;
    let (word, key) = (request.arg(1), request.arg(2));
    let found = copy_of(call.transaction.get(call.database, key))?;
    let mut sketch = found.ok_or(CommandError::line("ERR The specified key does not exist"))?;
    let is_sparse = sketch.encoding() == Encoding::Sparse;
    if word.eq_ignore_ascii_case(b"getreg") {
        sketch.make_dense().map_err(corrupted)?;
        let registers = registers_of(sketch.bytes()).map_err(corrupted)?;
        keep(call, key, sketch.bytes())?;
        call.reply.array(registers.len());
        for register in registers.iter() {
            call.reply.integer((*register).into());
        }
    } else if word.eq_ignore_ascii_case(b"decode") {
        if !is_sparse {
            return Err(CommandError::line("ERR HLL encoding is not sparse"));
        }
        let runs: Vec<String> = runs(sketch.bytes()).map(described).collect();
        call.reply.bulk(runs.join(" ").as_bytes());
    } else if word.eq_ignore_ascii_case(b"encoding") {
        call.reply
            .simple(if is_sparse { "sparse" } else { "dense" });
    } else if word.eq_ignore_ascii_case(b"todense") {
        sketch.make_dense().map_err(corrupted)?;
        keep(call, key, sketch.bytes())?;
        call.reply.integer(is_sparse.into());
    } else {
        let mut line = b"ERR Unknown PFDEBUG subcommand '".to_vec();
        line.extend_from_slice(word);
        line.push(b'\'');
        return Err(CommandError::Bytes(line));
    }
    Ok(())
}

fn described(run: Run) -> String {
    match run {
        Run::ShortZeros(count) => format!("z:{count}"),
        Run::LongZeros(count) => format!("Z:{count}"),
        Run::Value { value, count } => format!("v:{value},{count}"),
    }
}

/// Elements of the self-test.
const ELEMENTS: u32 = 100_000;
/// Four times the standard error of 16384 registers.
const ERROR_MAX: f64 = 4.0 * 1.04 / 128.0;

/// `PFSELFTEST`
pub fn pfselftest(control: &mut Control<'_, '_>) -> CommandResult {
    test_sketches().map_err(|what| CommandError::Line(format!("ERR TESTFAILED {what}").into()))?;
    control.reply.ok();
    Ok(())
}

/// Adds elements to a dense sketch and to one that is sparse as long as it can be: both must be the same, and right.
fn test_sketches() -> Result<(), String> {
    let (mut one, mut other) = (Sketch::default(), Sketch::default());
    other.make_dense().map_err(|error| error.to_string())?;
    for number in 1..=ELEMENTS {
        let element = number.to_le_bytes();
        for sketch in [&mut one, &mut other] {
            let added = sketch.add(&element, 3000);
            added.map_err(|error| error.to_string())?;
        }
        if number != ELEMENTS && !number.is_power_of_two() {
            continue;
        }
        let read = |sketch: &Sketch| registers_of(sketch.bytes()).map_err(|e| e.to_string());
        let (registers, dense) = (read(&one)?, read(&other)?);
        if registers != dense {
            return Err(format!("registers differ after {number} elements"));
        }
        let estimate = estimate(&registers) as f64;
        let error = (estimate - f64::from(number)).abs();
        if error > (ERROR_MAX * f64::from(number)).max(1.0) {
            return Err(format!("{estimate} is too far from {number}"));
        }
    }
    Ok(())
}
