//! The memory of the process, as the allocator and the system tell it.

use std::io;

use tikv_jemalloc_ctl::{epoch, stats, stats_print};

/// Memory of the process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMemory {
    /// What the program asked for and holds.
    pub allocated: usize,
    /// The pages this is spread over.
    pub active: usize,
    /// What the allocator holds of physical memory.
    pub resident: usize,
    /// What the process holds of physical memory, pages of mapped files included (the log's are most of them).
    pub rss: usize,
    /// The same without mapped files, which the system takes back when it needs memory.
    pub anonymous: usize,
}

impl ProcessMemory {
    /// The present figures. One the system does not tell is 0.
    pub fn read() -> Self {
        refresh();
        let (rss, shared) = resident_set().unwrap_or_default();
        ProcessMemory {
            allocated: stats::allocated::read().unwrap_or(0),
            active: stats::active::read().unwrap_or(0),
            resident: stats::resident::read().unwrap_or(0),
            rss,
            anonymous: rss.saturating_sub(shared),
        }
    }
}

/// What the program holds of the allocator, in bytes.
pub fn allocated_bytes() -> usize {
    refresh();
    stats::allocated::read().unwrap_or(0)
}

/// The allocator's statistics stand still until its epoch is advanced.
fn refresh() {
    if let Err(error) = epoch::advance() {
        tracing::debug!(%error, "the allocator's statistics are not up to date");
    }
}

/// The resident set and its part that is backed by files, in bytes: the second and third number of
/// `/proc/self/statm`, which are pages (proc_pid_statm(5)).
fn resident_set() -> Option<(usize, usize)> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1);
    let mut bytes = || Some(pages.next()?.parse::<usize>().ok()? * rustix::param::page_size());
    Some((bytes()?, bytes()?))
}

/// Physical memory of the machine, in bytes.
pub fn total_system_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram * u64::from(system.mem_unit)
}

/// The allocator's name and version.
pub fn allocator_name() -> String {
    let version = tikv_jemalloc_ctl::version::read().unwrap_or("?");
    let release = version.split('-').next().unwrap_or(version);
    format!("jemalloc-{release}")
}

/// Gives pages that hold nothing back to the system. May take long.
pub fn purge() -> io::Result<()> {
    // `arena.<i>.purge` with i = MALLCTL_ARENAS_ALL (4096) means every arena (jemalloc(3)).
    // SAFETY: the name is a C string; this control neither reads nor writes a value, as its null pointers say.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(
            c"arena.4096.purge".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The allocator's own report, a text of some tens of kilobytes.
pub fn allocator_report() -> io::Result<Vec<u8>> {
    let mut report = Vec::new();
    stats_print::stats_print(&mut report, stats_print::Options::default())?;
    Ok(report)
}
