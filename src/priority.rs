//! Lets background threads give way to those that serve.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// Niceness of a background thread, from -20 to 19: under half the share of a normal one. More would
/// starve the preparation of log segments when one core is saturated with writes.
const NICENESS: i32 = 4;

/// Lowers the priority of the calling thread. On Linux niceness is a thread's own.
pub fn give_way() {
    // Where it is not allowed the thread just competes like any other.
    let _ = setpriority_process(Some(gettid()), NICENESS);
}
