//! Two transports in one process, over loopback.
