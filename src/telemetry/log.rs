//! Structured logs on stderr: text for people, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log filter is not understood: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("a log is set up already")]
    Twice,
}

/// Sends what `filter` lets through to stderr. Once per process.
///
/// # Errors
/// [`LogError`].
pub fn init_log(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|_| LogError::Twice)
}
