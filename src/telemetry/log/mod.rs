//! Structured logs on stderr, one line an event: text for people, JSON for machines. `docs/logs.md` lists the fields.
//!
//! A line says on whose behalf it was written ([`super::request_context`]), repetition is counted instead of told
//! ([`repetition`]), and what is logged can be changed while the process runs ([`level`]).
//!
//! INVARIANT: libraries may print what clients send, so below `info` they are silent unless a named option is on.

pub mod admin;
pub mod fields;
mod layer;
pub mod level;
pub mod line;
pub mod repetition;

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::clock::Clock;
use layer::Lines;
use level::LogControl;

/// How often held back lines and filters on time are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A word that names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log format is text or json")]
pub struct UnknownFormat;

impl std::str::FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log filter is not understood: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log filter is longer than {} bytes", level::FILTER_BYTES_MAX)]
    TooLong,
    #[error("a log is set up already")]
    Twice,
    #[error("the log is gone")]
    Gone,
    #[error("the log's thread can't be started")]
    Thread(#[source] std::io::Error),
}

/// Where lines go, and how.
pub struct LogSetup {
    filter: String,
    format: LogFormat,
    foreign_detail: bool,
    every_line: bool,
    writer: Box<dyn Write + Send>,
    colour: bool,
    clock: Clock,
}

impl std::fmt::Debug for LogSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSetup").field("filter", &self.filter).field("format", &self.format).finish_non_exhaustive()
    }
}

impl LogSetup {
    /// What `filter` lets through goes to stderr.
    pub fn new(filter: &str, format: LogFormat) -> Self {
        Self {
            filter: filter.to_owned(),
            format,
            foreign_detail: false,
            every_line: false,
            writer: Box::new(std::io::stderr()),
            colour: format == LogFormat::Text
                && std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            clock: Clock::System,
        }
    }

    /// Lets libraries log below `info` too. They may print headers, tokens included.
    #[must_use]
    pub fn foreign_detail(self, on: bool) -> Self {
        Self { foreign_detail: on, ..self }
    }

    /// Holds no repetition back.
    #[must_use]
    pub fn every_line(self) -> Self {
        Self { every_line: true, ..self }
    }

    /// Lines go to `writer`, without colour.
    #[must_use]
    pub fn to(self, writer: impl Write + Send + 'static) -> Self {
        Self { writer: Box::new(writer), colour: false, ..self }
    }

    /// Begins to log, once per process.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn init(self) -> Result<(), LogError> {
        let (filter, handle) = reload::Layer::<_, Registry>::new(EnvFilter::try_new(&self.filter)?);
        let mut lines = Lines::new(self.writer, self.format, self.colour, self.clock.clone());
        lines.foreign_detail = self.foreign_detail;
        lines.every_line = self.every_line;
        let shared = Arc::clone(&lines.shared);
        Registry::default().with(filter).with(lines).try_init().map_err(|_| LogError::Twice)?;
        let change = move |filter| handle.reload(filter).map_err(|_| LogError::Gone);
        let control = CONTROL.get_or_init(|| LogControl::new(self.filter, change));
        let clock = self.clock;
        let look = move || {
            loop {
                std::thread::sleep(LOOK);
                shared.tell_what_was_held_back();
                control.revert_in_time(clock.boot());
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(look).map_err(LogError::Thread)?;
        Ok(())
    }
}

static CONTROL: OnceLock<LogControl> = OnceLock::new();

/// What changes the filter of this process; `None` before a log is set up.
pub fn log_control() -> Option<&'static LogControl> {
    CONTROL.get()
}

/// Who this process is, on every line.
#[derive(Debug, Clone, Default)]
pub struct ProcessName {
    pub program: &'static str,
    pub service: Option<String>,
    pub instance: Option<String>,
}

static NAME: Mutex<Option<ProcessName>> = Mutex::new(None);

/// From now on every line says who wrote it.
pub fn name_process(name: ProcessName) {
    *NAME.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name);
}

fn process_name() -> ProcessName {
    NAME.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().unwrap_or_default()
}

/// Sends what `filter` lets through to stderr. Once per process.
///
/// # Errors
/// [`LogError`].
pub fn init_log(filter: &str, format: LogFormat) -> Result<(), LogError> {
    LogSetup::new(filter, format).init()
}
