//! The server binary: arguments, configuration, start, signals.

use std::process::ExitCode;

use coterie::config::{Config, Loaded, logging};
use coterie::running::Running;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(Loaded::Run(config)) => *config,
        Ok(Loaded::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(error),
    };
    let log_control = match logging::init(&config) {
        Ok(control) => control,
        Err(error) => return fail(error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    match runtime.block_on(serve(config, log_control)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            fail(error)
        }
    }
}

async fn serve(
    config: Config,
    log_control: logging::LogControl,
) -> Result<(), Box<dyn std::error::Error>> {
    let running = Running::start(config)?;
    let node = running.node().clone();
    node.set_log_control(log_control);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "asked to stop");
            node.stop(false);
        }
    });
    running.until_stopped().await?;
    Ok(())
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("coterie: {error}");
    ExitCode::FAILURE
}
