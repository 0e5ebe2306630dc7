//! Ctrl-C and SIGTERM: noticed between steps, so that servers are stopped and data removed.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::error::{Context, Error, Result};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts to notice signals.
pub fn install() -> Result<()> {
    let seen = INTERRUPTED.get_or_init(Default::default);
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(seen)).context("installing signal handlers")?;
    }
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<()> {
    match INTERRUPTED.get() {
        Some(seen) if seen.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}
