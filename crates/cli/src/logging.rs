//! Logs: to standard error, as text or JSON.

use std::io;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Lines that wait for whoever reads standard error; further ones are dropped.
const WAITING_LINES_MAX: usize = 10_000;

/// Starts logging until what is returned is dropped, which writes the last lines. Called once, by the commands that
/// serve.
///
/// A thread of its own writes: a reader of the log that has stopped reading must not stop the server.
pub(crate) fn start(level: LogLevel, format: LogFormat) -> WorkerGuard {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES_MAX)
        .thread_name("log")
        .finish(io::stderr());
    let builder = tracing_subscriber::fmt().with_writer(writer).with_max_level(level).with_ansi(false);
    // An error means that logging was started before, which keeps working.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.with_target(false).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
    };
    guard
}
