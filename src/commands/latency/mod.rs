//! `LATENCY`: spikes of the latency monitor, and how long each command takes.

mod advice;
mod chart;
mod table;

use super::call::Control;
use super::error::{CommandError, CommandResult};
use super::help;
use super::table::{self as commands, Command};

pub use table::COMMANDS;

fn latest(call: &mut Control<'_, '_>) -> CommandResult {
    let events = call.node.latency.events();
    call.reply.array(events.len());
    for (name, event) in events {
        let last = event.spikes.back();
        call.reply.array(4);
        call.reply.bulk(name.as_bytes());
        call.reply.integer(last.map_or(0, |spike| spike.at as i64));
        call.reply
            .integer(last.map_or(0, |spike| spike.latency_ms as i64));
        call.reply.integer(event.max_ms as i64);
    }
    Ok(())
}

fn history(call: &mut Control<'_, '_>) -> CommandResult {
    let event = call.node.latency.event(call.request.arg(2));
    let spikes = event.map(|event| event.spikes).unwrap_or_default();
    call.reply.array(spikes.len());
    for spike in spikes {
        call.reply.array(2);
        call.reply.integer(spike.at as i64);
        call.reply.integer(spike.latency_ms as i64);
    }
    Ok(())
}

fn reset(call: &mut Control<'_, '_>) -> CommandResult {
    let latency = &call.node.latency;
    let count = if call.request.len() == 2 {
        latency.reset_all()
    } else {
        let names = call.request.iter().skip(2);
        names.filter(|name| latency.reset(name)).count()
    };
    call.reply.integer(count as i64);
    Ok(())
}

fn graph(call: &mut Control<'_, '_>) -> CommandResult {
    let name = call.request.arg(2);
    let event =
        call.node.latency.event(name).ok_or_else(|| {
            CommandError::quoting("ERR No samples available for event '", name, "'")
        })?;
    let chart = chart::chart(&String::from_utf8_lossy(name), &event, call.now_ms / 1000);
    call.reply.verbatim("txt", chart.as_bytes());
    Ok(())
}

fn doctor(call: &mut Control<'_, '_>) -> CommandResult {
    let advice = advice::advice(call.node);
    call.reply.verbatim("txt", advice.as_bytes());
    Ok(())
}

fn histogram(call: &mut Control<'_, '_>) -> CommandResult {
    let mut shown = 0;
    let mark = call.reply.begin_map();
    let names = call.request.iter().skip(2);
    if names.len() == 0 {
        for command in commands::all() {
            shown += write_histogram(call, command);
        }
    } else {
        for name in names {
            let Some(command) = commands::by_name(name) else {
                continue;
            };
            // A container stands for all its subcommands, which follow it in the table.
            let family = 1 + command.spec.subcommands.len();
            for command in commands::all().iter().skip(command.index).take(family) {
                shown += write_histogram(call, command);
            }
        }
    }
    call.reply.end_map(mark, shown);
    Ok(())
}

/// Writes name and histogram of a command that was used. Returns how many: one or none.
fn write_histogram(call: &mut Control<'_, '_>, command: &Command) -> usize {
    let durations = &call.node.statistics.command(command.index).durations;
    let counts = durations.cumulative();
    let Some((_, calls)) = counts.last() else {
        return 0;
    };
    call.reply.bulk(command.spec.name.as_bytes());
    call.reply.map(2);
    call.reply.bulk(b"calls");
    call.reply.integer(*calls as i64);
    call.reply.bulk(b"histogram_usec");
    call.reply.map(counts.len());
    for (bound, count) in &counts {
        call.reply.integer(label_microseconds(*bound) as i64);
        call.reply.integer(*count as i64);
    }
    1
}

/// The label of the bucket below a bound in nanoseconds. Redis counts in buckets 1/128 of a doubling wide and
/// tells the end of the one that the bound is in, in whole microseconds: 1, 2, 4, 8, 16, 33, 66, 132, ….
fn label_microseconds(bound: u64) -> u64 {
    (bound + (bound >> 7) - 1) / 1000
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "LATENCY",
        &[
            "DOCTOR",
            "    Explain the spikes that were seen, in words.",
            "GRAPH <event>",
            "    Draw the spikes of an event.",
            "HISTORY <event>",
            "    List the spikes of an event: Unix time and milliseconds.",
            "LATEST",
            "    List the latest spike of every event.",
            "RESET [<event> ...]",
            "    Forget the spikes of these events, of all if none is named.",
            "HISTOGRAM [<command> ...]",
            "    Tell how long these commands took, all if none is named: how many calls took up to 1, 2, 4, ...",
            "    microseconds.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::label_microseconds;

    #[test]
    fn labels_are_those_of_redis() {
        let labels: Vec<u64> = (0..12).map(|n| label_microseconds(1024 << n)).collect();
        assert_eq!(labels, [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113]);
    }
}
