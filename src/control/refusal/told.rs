//! One refusal: its cause, what was wrong with this very request, and what the caller may know of it.

use std::time::Duration;

use super::Cause;
use crate::config::policy::StepUp;
use crate::control::api::etag::Tag;
use crate::control::keys::KeysError;
use crate::control::workflow::rules::RulesError;
use crate::error_chain::error_chain;
use crate::policy;
use crate::wire::problem::Problem;

/// The state that stood in a caller's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub state: serde_json::Value,
    pub tag: Tag,
}

/// A cause and what was wrong with this very request. The detail never quotes a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub cause: Cause,
    pub detail: String,
    /// What the authentication must be, where that is the cause.
    pub step_up: Option<StepUp>,
    /// What the refused call was about, as it stands now. Only what the caller may see.
    pub current: Option<Box<Current>>,
    /// The word of the state that stood in the way.
    pub state: Option<&'static str>,
    /// After what time the same request would pass, where time is the cause; absent: as usual for the status.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), step_up: None, current: None, state: None, retry_after: None }
    }

    /// Shows the caller the state that stood in the way.
    #[must_use]
    pub fn with_current<T: serde::Serialize>(mut self, current: &T) -> Self {
        if let (Ok(state), Ok(tag)) = (serde_json::to_value(current), Tag::of(current)) {
            self.current = Some(Box::new(Current { state, tag }));
        }
        self
    }

    /// Says how it stands.
    #[must_use]
    pub fn with_state(mut self, state: &'static str) -> Self {
        self.state = Some(state);
        self
    }

    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after = Some(Duration::from_secs(seconds.into()));
        self
    }

    /// The one answer for what does not exist and for what is someone else's.
    pub fn not_found() -> Self {
        Self::new(Cause::NotFound, "it does not exist, or it is not yours to see")
    }

    pub fn problem(&self) -> Problem {
        let (status, code, title) = self.cause.row();
        let mut problem = Problem::new(status.as_u16(), code, title, self.detail.as_str());
        problem.current = self.current.as_ref().map(|current| current.state.clone());
        problem.state = self.state.map(str::to_owned);
        match self.cause.hint() {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        }
    }
}

impl From<policy::Refused> for Refusal {
    fn from(refused: policy::Refused) -> Self {
        let policy::Refused { cause, detail, step_up, retry_after } = refused;
        Self { step_up, retry_after, ..Self::new(cause.into(), detail) }
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::error!(error = %error_chain(&error), "the database failed");
        Self::new(Cause::StoreUnavailable, "nothing was changed")
    }
}

impl From<KeysError> for Refusal {
    fn from(error: KeysError) -> Self {
        tracing::error!(error = %error_chain(&error), "a grant could not be signed");
        Self::new(Cause::Internal, "nothing was changed")
    }
}

impl From<RulesError> for Refusal {
    fn from(error: RulesError) -> Self {
        tracing::error!(error = %error_chain(&error), "the policy in force can't be read");
        Self::new(Cause::RulesUnavailable, "nothing was changed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_s_codes_are_the_api_s() {
        for cause in policy::Cause::ALL {
            assert_eq!(Cause::from(*cause).code(), cause.code());
        }
    }
}
