//! Processor time of the process.

use super::value::{Field, Value};

/// Processor time in seconds, to a clock tick (10 ms usually).
#[derive(Clone, Copy, Default)]
struct Times {
    user: f64,
    system: f64,
    children_user: f64,
    children_system: f64,
}

/// Fields 14 to 17 of a `stat` file of procfs (proc_pid_stat(5)).
fn times(path: &str) -> Option<Times> {
    let text = std::fs::read_to_string(path).ok()?;
    // The second field is the command's name in parentheses, which may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<i64>().ok()? as f64 / ticks);
    Some(Times {
        user: seconds()?,
        system: seconds()?,
        children_user: seconds()?,
        children_system: seconds()?,
    })
}

pub(super) fn cpu() -> Vec<Field> {
    let process = times("/proc/self/stat").unwrap_or_default();
    let pid = std::process::id();
    let main = times(&format!("/proc/self/task/{pid}/stat")).unwrap_or_default();
    let field = |name, seconds| Field::new(name, Value::Decimal(seconds, 6));
    vec![
        field("used_cpu_sys", process.system),
        field("used_cpu_user", process.user),
        field("used_cpu_sys_children", process.children_system),
        field("used_cpu_user_children", process.children_user),
        field("used_cpu_sys_main_thread", main.system),
        field("used_cpu_user_main_thread", main.user),
    ]
}
