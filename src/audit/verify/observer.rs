//! Looking over a verifier's shoulder: what recovery learns from past intents on the same pass.

use crate::audit::line::PastIntent;

/// What recovery wants of a past intent.
pub trait Observer {
    /// A durable intent.
    fn intent(&mut self, _intent: &PastIntent) {}
    /// Its outcome says that nothing was forwarded.
    fn not_forwarded(&mut self, _intent: &PastIntent) {}
}

/// Takes no interest.
#[derive(Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}
