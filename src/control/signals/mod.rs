//! Shared signals as they arrive: events about people, pushed here (RFC 8935) or fetched (RFC 8936), each carried out
//! once.
//!
//! - [`push`]: who may push, and how an event is refused.
//! - [`poll`]: fetching, acknowledging, waiting.
//! - `effect`: what an event does.
//!
//! Must never: acknowledge an event before what it does is durable, or let a transmitter that is down, or floods us, hold
//! up anything else.

mod effect;
pub mod poll;
pub mod push;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::metrics::signals::Outcome;
use super::on_call::CredentialError;
use super::workflow::Workflow;
use crate::clock::Clock;
use crate::config::signals::SignalsConfig;
use crate::domain::{TransmitterName, WallTime};
use crate::error_chain::error_chain;
use crate::http::Client;
use crate::identity::SetupError;
use crate::identity::signals::{EventKind, EventToken, SetError, StreamStatus, Transmitters};
use crate::secret::Secret;
use crate::store::{EventOutcome, NewSignal, SignalOutcome, StoreError};

/// How long an event whose key is not known waits for the transmitter's keys to be fetched.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(3);

/// The configured transmitters and their keys. Clones share both.
#[derive(Debug, Clone)]
pub struct Signals {
    configs: Arc<Vec<SignalsConfig>>,
    transmitters: Transmitters,
}

/// Why an event was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    /// It will not get better by coming again.
    #[error("{0}")]
    Invalid(#[from] SetError),
    /// Nothing can be said of it yet: it may come again.
    #[error("the transmitter's keys can't be fetched now")]
    Keys,
    #[error("the database failed")]
    Store(#[from] StoreError),
}

impl Signals {
    /// # Errors
    /// [`SetupError`].
    pub fn new(configs: Vec<SignalsConfig>, client: &Client, clock: Clock) -> Result<Self, SetupError> {
        let transmitters = configs.iter().map(|config| config.transmitter.clone()).collect();
        let transmitters = Transmitters::new(transmitters, client, clock)?;
        Ok(Self { configs: Arc::new(configs), transmitters })
    }

    pub fn transmitters(&self) -> &Transmitters {
        &self.transmitters
    }

    pub(super) fn configs(&self) -> &[SignalsConfig] {
        &self.configs
    }

    fn find(&self, name: &TransmitterName) -> Option<(usize, &SignalsConfig)> {
        self.configs.iter().enumerate().find(|(_, config)| config.name == *name)
    }

    /// Verifies an event token of a transmitter and carries it out; when this returns, that is durable.
    async fn take(&self, workflow: &Workflow, position: usize, token: &str) -> Result<EventToken, Untaken> {
        let Some(config) = self.configs.get(position) else { return Err(SetError::UnknownIssuer.into()) };
        let taken = self.carry_out(workflow, (position, config), token).await;
        let count = |event: EventKind, outcome| workflow.metrics.count_signal(config.name.as_str(), event, outcome);
        match &taken {
            Ok((token, SignalOutcome::Replayed)) => {
                token.events.iter().for_each(|event| count(event.kind, Outcome::Replayed));
            }
            Ok((token, SignalOutcome::Applied(outcomes))) => {
                for (event, outcome) in token.events.iter().zip(outcomes) {
                    count(event.kind, effect::outcome(event.kind, outcome));
                    tell(workflow, config, (token, event.kind), outcome);
                    if let Some(status) = event.stream {
                        workflow.metrics.show_stream(config.name.as_str(), status == StreamStatus::Enabled);
                        tracing::warn!(transmitter = %config.name, ?status, "the transmitter changed its stream");
                    }
                }
            }
            Err(error) => {
                count(EventKind::Other, Outcome::Refused);
                let error = error_chain(error);
                tracing::warn!(transmitter = %config.name, error, "a signal was not taken");
            }
        }
        taken.map(|(token, _)| token)
    }

    async fn carry_out(
        &self,
        workflow: &Workflow,
        (position, config): (usize, &SignalsConfig),
        token: &str,
    ) -> Result<(EventToken, SignalOutcome), Untaken> {
        let token = self.verify(&workflow.clock, position, token).await?;
        let events = token.events.iter().map(|event| effect::of(event, &config.transmitter.subjects)).collect();
        let new = NewSignal { transmitter: config.transmitter.issuer.clone(), id: token.id.clone(), events };
        let outcome = workflow.store.take_signal(&new).await?;
        Ok((token, outcome))
    }

    /// Once more after the keys were fetched, where it is the key that is not known.
    async fn verify(&self, clock: &Clock, position: usize, token: &str) -> Result<EventToken, Untaken> {
        let asked = clock.wall();
        let mut attempts = self.transmitters.attempts();
        attempts.mark_unchanged();
        match self.transmitters.verify(position, token) {
            Err(error) if error.wants_keys() => {
                // The look woke who fetches them.
                let _ = timeout(KEYS_WAIT_MAX, attempts.changed()).await;
            }
            decided => return Ok(decided?),
        }
        match self.transmitters.verify(position, token) {
            Err(error) if error.wants_keys() && !self.keys_are_of(position, asked) => Err(Untaken::Keys),
            decided => Ok(decided?),
        }
    }

    /// Whether the transmitter's keys were fetched since: what they lack then, it does not have.
    fn keys_are_of(&self, position: usize, since: WallTime) -> bool {
        let health = self.transmitters.health();
        health.get(position).is_some_and(|keys| keys.refreshed.is_some_and(|at| at >= since))
    }
}

fn tell(workflow: &Workflow, config: &SignalsConfig, (token, kind): (&EventToken, EventKind), outcome: &EventOutcome) {
    let count = |ids: usize| u64::try_from(ids).unwrap_or(u64::MAX);
    workflow.metrics.grants_ended.with_label_values(&["revoked"]).inc_by(count(outcome.ended.len()));
    workflow.metrics.elevations.with_label_values(&["lapsed"]).inc_by(count(outcome.lapsed.len()));
    workflow.metrics.grants_suspended.inc_by(count(outcome.suspended.len()));
    let (event, id) = (kind.as_str(), token.id.escape_debug());
    let (ended, suspended, lapsed) = (outcome.ended.len(), outcome.suspended.len(), outcome.lapsed.len());
    if ended + suspended + lapsed > 0 {
        tracing::warn!(transmitter = %config.name, event, %id, ended, suspended, lapsed, "a signal took effect");
    } else {
        tracing::info!(transmitter = %config.name, event, %id, "a signal was received");
    }
}

/// The secret that a file holds, read anew each time, so that a rotated one is used without a restart.
async fn secret(file: Option<&Path>) -> Result<Option<Secret<String>>, CredentialError> {
    match file {
        Some(file) => super::on_call::read_credential(file).await.map(Some),
        None => Ok(None),
    }
}
