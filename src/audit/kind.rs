//! What lines tell, by name: one list for whoever writes them and whoever reads them.

use serde::Deserialize;

/// The kinds of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    LogStarted,
    Intent,
    Outcome,
    Refusal,
    Observed,
    RefusalSummary,
    UnknownOutcome,
    LossAccepted,
    LogEnded,
}

impl LineKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogStarted => "log_started",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Observed => "observed",
            Self::RefusalSummary => "refusal_summary",
            Self::UnknownOutcome => "unknown_outcome",
            Self::LossAccepted => "loss_accepted",
            Self::LogEnded => "log_ended",
        }
    }
}
