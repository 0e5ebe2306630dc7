//! `LATENCY GRAPH`: spikes as columns of characters.

use std::fmt::Write;

use crate::latency::{Event, Spike};

/// Columns in one row of the chart; more spikes continue below.
const COLUMNS: usize = 80;
/// Lines of a column.
const LINES: u64 = 4;
/// The top of a column, from low to high within its line.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// A title, and for every spike a column with its age below: seconds, minutes, hours or days, read downwards.
pub fn chart(name: &str, event: &Event, now: u64) -> String {
    let latencies = || event.spikes.iter().map(|spike| spike.latency_ms);
    let (low, high) = (
        latencies().min().unwrap_or(0),
        latencies().max().unwrap_or(0),
    );
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.max_ms,
        "-".repeat(COLUMNS)
    );
    let spikes: Vec<Spike> = event.spikes.iter().copied().collect();
    for row in spikes.chunks(COLUMNS) {
        let levels: Vec<u64> = row.iter().map(|spike| level(spike, low, high)).collect();
        for line in (0..LINES).rev() {
            text.extend(levels.iter().map(|&level| cell(level, line)));
            text.push('\n');
        }
        write_ages(&mut text, row, now);
    }
    text
}

/// Height of a spike, from 0 to the number of lines times tops less one.
fn level(spike: &Spike, low: u64, high: u64) -> u64 {
    let top = LINES * TOPS.len() as u64 - 1;
    if high == low {
        return top;
    }
    let share = (spike.latency_ms - low) as f64 / (high - low) as f64;
    (share * top as f64).round() as u64
}

/// The character of a column of this level in a line, counted from below.
fn cell(level: u64, line: u64) -> char {
    let tops = TOPS.len() as u64;
    match (level / tops).cmp(&line) {
        std::cmp::Ordering::Less => ' ',
        std::cmp::Ordering::Equal => TOPS[(level % tops) as usize],
        std::cmp::Ordering::Greater => '|',
    }
}

fn write_ages(text: &mut String, row: &[Spike], now: u64) {
    let ages: Vec<String> = row
        .iter()
        .map(|spike| age(now.saturating_sub(spike.at)))
        .collect();
    let height = ages.iter().map(String::len).max().unwrap_or(0);
    let _ = writeln!(text, "{}", " ".repeat(row.len()));
    for line in 0..height {
        let characters = ages.iter().map(|age| age.as_bytes().get(line));
        text.extend(characters.map(|byte| byte.map_or(' ', |&byte| byte.into())));
        text.push('\n');
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_rise_from_the_lowest_to_the_highest() {
        let spike = |at, latency_ms| Spike { at, latency_ms };
        let event = Event {
            spikes: [spike(10, 50), spike(100, 55), spike(111, 60)].into(),
            max_ms: 80,
        };
        let text = chart("command", &event, 112);
        let (title, rest) = text.split_once('\n').unwrap();
        assert_eq!(
            title,
            "command - high 60 ms, low 50 ms (all time high 80 ms)"
        );
        let (_, columns) = rest.split_once('\n').unwrap();
        assert_eq!(columns, "  #\n _|\n ||\n_||\n   \n111\nm2s\n s \n");
    }
}
