//! Log messages: sets up `tracing` from `loglevel`, `logfile` and `log-format`, with a level that can change at run time.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use super::{Config, LogFormat, LogLevel};

/// Why logging can't be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// `logfile` can't be opened.
    #[error("can't open the log file {path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `COTERIE_LOG` is no filter.
    #[error("environment variable COTERIE_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a logger already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Changes the level of the logger.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogControl {
    /// Logs at this level from now on; takes the place of a filter from `COTERIE_LOG` too.
    /// Does nothing when the logger is gone.
    pub fn set_level(&self, level: LogLevel) {
        // The only error is that the logger does not exist any more: then nothing logs.
        let _ = self.filter.reload(EnvFilter::new(directives(level)));
    }
}

/// Sets up the logger of the process.
///
/// # Errors
///
/// The log file can't be opened, `COTERIE_LOG` is no filter, or the process has a logger.
pub fn init(config: &Config) -> Result<LogControl, LoggingError> {
    let (writer, colours) = match &config.logfile {
        Some(path) => (BoxMakeWriter::new(Arc::new(open(path)?)), false),
        None => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
    };
    let (subscriber, control) = subscriber(config, writer, colours)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySet)?;
    Ok(control)
}

/// Opens the log file to append to it.
fn open(path: &PathBuf) -> Result<File, LoggingError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|source| LoggingError::Open {
        path: path.clone(),
        source,
    })
}

/// Makes a logger that writes to `writer`.
fn subscriber(
    config: &Config,
    writer: BoxMakeWriter,
    colours: bool,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogControl), LoggingError> {
    let filter = match config.origin.log_filter.as_deref() {
        Some(filter) => EnvFilter::try_new(filter)?,
        None => EnvFilter::new(directives(config.loglevel)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    Ok((subscriber, LogControl { filter: handle }))
}

/// The filter of a level: libraries log one step less than Coterie's own code.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug,coterie=trace,coterie_protocol=trace",
        LogLevel::Verbose => "info,coterie=debug,coterie_protocol=debug",
        LogLevel::Notice => "warn,coterie=info,coterie_protocol=info",
        LogLevel::Warning => "error,coterie=warn,coterie_protocol=warn",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn logged(config: &Config, scenario: impl FnOnce(&LogControl, &Lines)) {
        let lines = Lines::default();
        let writer = lines.clone();
        let writer = BoxMakeWriter::new(move || writer.clone());
        let (subscriber, control) = subscriber(config, writer, false).unwrap();
        tracing::subscriber::with_default(subscriber, || scenario(&control, &lines));
    }

    #[test]
    fn the_level_changes_at_run_time() {
        logged(&Config::default(), |control, lines| {
            tracing::info!("first");
            tracing::debug!("hidden");
            let text = lines.take();
            assert!(text.contains("first") && !text.contains("hidden"), "{text}");
            control.set_level(LogLevel::Warning);
            tracing::info!("hidden");
            tracing::warn!("second");
            let text = lines.take();
            assert!(
                text.contains("second") && !text.contains("hidden"),
                "{text}"
            );
            control.set_level(LogLevel::Debug);
            tracing::trace!("third");
            assert!(lines.take().contains("third"));
        });
    }

    #[test]
    fn json_lines_are_json() {
        let config = Config {
            log_format: LogFormat::Json,
            ..Config::default()
        };
        logged(&config, |_, lines| {
            tracing::warn!(port = 1, "listening");
            let text = lines.take();
            assert!(text.starts_with('{') && text.ends_with("}\n"), "{text}");
            assert!(text.contains(r#""message":"listening","port":1"#), "{text}");
        });
    }

    #[test]
    fn the_environment_overrides_the_level_at_start_only() {
        let mut config = Config::default();
        config.origin.log_filter = Some("off".into());
        logged(&config, |control, lines| {
            tracing::error!("hidden");
            assert_eq!(lines.take(), "");
            control.set_level(LogLevel::Notice);
            tracing::info!("shown");
            assert!(lines.take().contains("shown"));
        });
        config.origin.log_filter = Some("a=b=c".into());
        assert!(matches!(
            subscriber(&config, BoxMakeWriter::new(io::sink), false),
            Err(LoggingError::Filter(_))
        ));
    }

    #[test]
    fn a_log_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        open(&path).unwrap().write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
        let missing = directory.path().join("no/such/log");
        assert!(matches!(open(&missing), Err(LoggingError::Open { .. })));
    }
}
