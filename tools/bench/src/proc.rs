//! What Linux tells about processes, processors and the machine: `/proc` and affinity.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::{
    param::clock_ticks_per_second,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::error::{Error, Result};

/// CPU time of all living threads of a process, in nanoseconds (`/proc/PID/task/*/schedstat`);
/// threads that have ended are not in it.
pub fn threads_cpu(pid: u32) -> Duration {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        total += text
            .split(' ')
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0);
    }
    Duration::from_nanos(total)
}

/// CPU time of a process with its ended threads and its children that it has waited for, to about
/// 10 ms (`/proc/PID/stat`).
pub fn process_cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces; utime, stime, cutime and cstime are fields 14 to 17.
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks_to_time(ticks)
}

/// CPU time that all processors spent on anything but idling, to about 10 ms (`/proc/stat`).
fn machine_cpu() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal; guest time is part of user.
    let busy = [0, 1, 2, 5, 6, 7];
    ticks_to_time(busy.iter().filter_map(|&i| fields.get(i)).sum())
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

/// Measures how much the rest of the machine gets in the way.
pub struct Others {
    servers: Vec<u32>,
    start: Instant,
    cpu_at_start: f64,
}

impl Others {
    /// Starts to watch; the servers' time and this process' own do not count.
    pub fn watch(servers: impl Into<Vec<u32>>) -> Self {
        let servers = servers.into();
        Self {
            start: Instant::now(),
            cpu_at_start: others_cpu(&servers),
            servers,
        }
    }

    /// CPU time that others have used since, in percent of one processor's time.
    pub fn percent(&self) -> f64 {
        let cpu = others_cpu(&self.servers) - self.cpu_at_start;
        100.0 * cpu.max(0.0) / self.start.elapsed().as_secs_f64()
    }
}

fn others_cpu(servers: &[u32]) -> f64 {
    let servers: Duration = servers.iter().map(|&pid| process_cpu(pid)).sum();
    let ours = servers + threads_cpu(std::process::id());
    machine_cpu().as_secs_f64() - ours.as_secs_f64()
}

/// Memory of a process or of several, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub total: u64,
    /// Without pages of mapped files.
    pub anonymous: u64,
}

impl Memory {
    pub fn max(self, other: Self) -> Self {
        Self {
            total: self.total.max(other.total),
            anonymous: self.anonymous.max(other.anonymous),
        }
    }
}

/// Resident memory (`VmRSS` and `RssAnon` of `/proc/PID/status`).
pub fn resident(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Memory {
        total: kilobytes(&text, "VmRSS:"),
        anonymous: kilobytes(&text, "RssAnon:"),
    }
}

/// Proportional memory of a process and its children: pages shared after a fork count once, copied
/// ones twice (`Pss` and `Pss_Anon` of `/proc/PID/smaps_rollup`).
pub fn proportional_with_children(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in std::iter::once(pid).chain(children(pid)) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.total += kilobytes(&text, "Pss:");
        sum.anonymous += kilobytes(&text, "Pss_Anon:");
    }
    sum
}

fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

fn kilobytes(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |n| n * 1024)
}

/// Runs `work` with this thread (and what it starts) on the given processors; then as before.
pub fn on_cpus<T>(cpus: Option<&[usize]>, work: impl FnOnce() -> T) -> Result<T> {
    let Some(cpus) = cpus else {
        return Ok(work());
    };
    let fail = |e: rustix::io::Errno| Error::Affinity {
        cpus: cpus.to_vec(),
        source: e.into(),
    };
    let before = sched_getaffinity(None).map_err(fail)?;
    set_affinity(cpus).map_err(fail)?;
    let result = work();
    sched_setaffinity(None, &before).map_err(fail)?;
    Ok(result)
}

fn set_affinity(cpus: &[usize]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    sched_setaffinity(None, &set)
}

/// Processor model and count, memory, kernel, load.
pub fn machine_facts() -> Vec<(String, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = kilobytes(&meminfo, "MemTotal:") as f64 / f64::from(1 << 30);
    let uname = rustix::system::uname();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    vec![
        ("CPU".into(), format!("{count} x {model}")),
        ("memory".into(), format!("{gib:.0} GiB")),
        (
            "kernel".into(),
            format!(
                "{} {} {}",
                text(uname.sysname()),
                text(uname.release()),
                text(uname.machine())
            ),
        ),
        ("load average at start".into(), load.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let start = threads_cpu(pid);
        let mut sum = 0u64;
        while threads_cpu(pid) == start {
            for n in 0..100_000u64 {
                sum = std::hint::black_box(sum.wrapping_add(n));
            }
        }
        assert!(machine_cpu() > Duration::ZERO);
        assert!(process_cpu(pid) < Duration::from_secs(3600));
        let memory = resident(pid);
        assert!(memory.anonymous > 0 && memory.total > memory.anonymous);
        assert!(proportional_with_children(pid).total > 0);
    }

    #[test]
    fn affinity_is_given_back() {
        let before = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU)
            .find(|&cpu| before.is_set(cpu))
            .unwrap();
        let inside = on_cpus(Some(&[cpu]), || sched_getaffinity(None).unwrap()).unwrap();
        assert_eq!(inside.count(), 1);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
