//! One look at every token that is held of an issuer.
//!
//! A few at a time. Where one failure follows another, the issuer is away: the rest waits for the next look.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::Watched;
use super::held::{HeldToken, SaidBefore};
use crate::config::introspection::Shows;
use crate::control::metrics::rechecks::Outcome;
use crate::control::on_call::{CredentialError, FailureKind, FetchError, read_credential};
use crate::control::workflow::Workflow;
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::identity::RefreshError;
use crate::identity::introspection::{Credentials, IntrospectionError, Said};
use crate::secret::Secret;
use crate::store::{EventOutcome, NoLongerActive, RecheckOutcome};

/// Questions under way at once.
const AT_ONCE: usize = 8;
/// After so many failures without an answer between them, the issuer is away.
const FAILURES_MAX: u32 = 8;

/// RFC 7662 §2.2: so does an issuer answer whoever may not ask about a token.
const NEVER_ACTIVE: &str =
    "the issuer has never said of a token that it stands: may this client ask about tokens of others?";

/// Which tokens are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that were not yet, and those that stood no more the last time.
    Unsettled,
}

/// How a look went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    /// How long the issuer wants to be left alone, where it says so.
    pub(super) told: Option<Duration>,
    pub(super) has_failed: bool,
}

/// See the module.
pub(super) struct Round<'a> {
    workflow: &'a Workflow,
    watched: &'a Watched,
    /// Failures since the last answer.
    failures: AtomicU32,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    answered: Option<WallTime>,
    /// The last one.
    failure: Option<String>,
    /// How long the issuer wants to be left alone.
    told: Option<Duration>,
}

impl<'a> Round<'a> {
    pub(super) fn new(workflow: &'a Workflow, watched: &'a Watched) -> Self {
        Self { workflow, watched, failures: AtomicU32::new(0), seen: Mutex::default() }
    }

    /// Asks about them.
    pub(super) async fn run(self, which: Which) -> Looked {
        let mut tokens = self.at_stake(which).await;
        if tokens.is_empty() {
            if which == Which::All && self.watched.standing().failure.is_some() {
                // There is nobody to ask about, and whether it would work again is to be known all the same.
                self.look_for_endpoint().await;
            }
            return Looked::default();
        }
        match self.secret().await {
            Ok(secret) => {
                let at = usize::from(random()) % tokens.len();
                // Who comes last in one look is not always last.
                tokens.rotate_left(at);
                let asked = futures_util::stream::iter(tokens);
                asked.for_each_concurrent(AT_ONCE, |token| self.look_at(token, &secret)).await;
            }
            Err(error) => self.fail(Outcome::Failed(FailureKind::Credential), error_chain(&error)),
        }
        self.show_held();
        let Seen { answered, failure, told } = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = answered {
            self.workflow.metrics.show_answered(self.watched.issuer().as_str(), at);
        }
        let has_failed = failure.is_some();
        self.watched.stand(answered, failure);
        Looked { told, has_failed }
    }

    /// So that what is not configured right is known before there is anything to ask about.
    pub(super) async fn look_for_endpoint(&self) {
        let failure = match (self.secret().await, self.watched.introspector.endpoint().await) {
            (Err(error), _) => Some((Outcome::Failed(FailureKind::Credential), error_chain(&error))),
            (Ok(_), Err(error)) => {
                let chain = error_chain(&error);
                Some((what(error).0, chain))
            }
            (Ok(_), Ok(_)) => None,
        };
        if let Some((outcome, _)) = &failure {
            self.count(*outcome);
        }
        self.watched.stand(None, failure.map(|(_, chain)| chain));
    }

    pub(super) fn drop_expired(&self) {
        let (issuer, now) = (self.watched.issuer(), self.workflow.clock.wall());
        for _ in 0..self.workflow.held.drop_expired(issuer, now) {
            self.count(Outcome::Expired);
        }
        self.show_held();
    }

    /// The tokens of who has something here; the others are let go.
    async fn at_stake(&self, which: Which) -> Vec<Arc<HeldToken>> {
        // Held before the database is asked, so that a token which comes meanwhile is not let go.
        let mut tokens = self.workflow.held.all(self.watched.issuer());
        tokens.retain(|token| which == Which::All || token.said_before().is_unsettled());
        if tokens.is_empty() {
            return tokens;
        }
        let persons = match self.workflow.store.persons_at_stake().await {
            Ok(persons) => persons,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "who has something here can't be read; asked again later");
                self.count(Outcome::Database);
                return Vec::new();
            }
        };
        let (stay, go): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| persons.contains(&token.person));
        go.iter().for_each(|token| self.workflow.held.drop_one(token));
        stay
    }

    async fn secret(&self) -> Result<Secret<String>, CredentialError> {
        match &self.watched.config.shows {
            Shows::Basic { secret_file: file, .. }
            | Shows::Post { secret_file: file, .. }
            | Shows::Bearer { token_file: file } => read_credential(file).await,
        }
    }

    async fn look_at(&self, token: Arc<HeldToken>, secret: &Secret<String>) {
        if self.failures.load(Ordering::Relaxed) >= FAILURES_MAX {
            return self.count(Outcome::Postponed);
        }
        if self.is_over(&token) {
            self.workflow.held.drop_one(&token);
            return self.count(Outcome::Expired);
        }
        let credentials = match &self.watched.config.shows {
            Shows::Basic { client_id, .. } => Credentials::Basic { client: client_id, secret },
            Shows::Post { client_id, .. } => Credentials::Post { client: client_id, secret },
            Shows::Bearer { .. } => Credentials::Bearer(secret),
        };
        match self.watched.introspector.ask(&token.token, &token.principal, &credentials).await {
            Ok(said) => {
                self.failures.store(0, Ordering::Relaxed);
                self.seen().answered = Some(self.workflow.clock.wall());
                self.heard(said, &token).await;
            }
            Err(error) => {
                let chain = error_chain(&error);
                let (outcome, told) = what(error);
                self.fail(outcome, chain);
                let mut seen = self.seen();
                seen.told = told.max(seen.told);
            }
        }
    }

    async fn heard(&self, said: Said, token: &Arc<HeldToken>) {
        match (said, token.said_before()) {
            (Said::Active, _) => {
                token.note(SaidBefore::Active);
                self.count(Outcome::Active);
            }
            (Said::Inactive, SaidBefore::Nothing | SaidBefore::NeverActive) => {
                token.note(SaidBefore::NeverActive);
                self.fail(Outcome::NeverActive, NEVER_ACTIVE.to_owned());
            }
            // Their sign-in may just have been renewed, and the token that came of it be on its way here.
            (Said::Inactive, SaidBefore::Active) => {
                token.note(SaidBefore::InactiveOnce);
                self.count(Outcome::InactiveOnce);
            }
            (Said::Inactive, SaidBefore::InactiveOnce) => {
                let outcome = self.conclude(token).await;
                self.count(outcome);
            }
        }
    }

    /// A token that has ended, or is so near to it that the issuer's clock may say so, proves nothing.
    fn is_over(&self, token: &HeldToken) -> bool {
        self.workflow.clock.wall().plus(self.leeway()) >= token.times.expires
    }

    fn leeway(&self) -> Duration {
        Duration::from_secs(self.watched.config.issuer.clock_leeway_s)
    }

    /// The issuer says that it stands no more.
    async fn conclude(&self, token: &Arc<HeldToken>) -> Outcome {
        // They have signed in anew since the question was put: the newer token is asked about next time.
        if !self.workflow.held.is_newest(token) {
            return Outcome::SignedInAnew;
        }
        let ended = NoLongerActive {
            principal: token.principal.clone(),
            person: token.person.clone(),
            times: token.times,
            since: token.proven,
            leeway: self.leeway(),
        };
        let outcome = match self.workflow.store.end_for(&ended).await {
            Ok(RecheckOutcome::Carried(outcome)) => {
                self.tell(&outcome);
                Outcome::Ended
            }
            Ok(RecheckOutcome::SignedInAnew) => Outcome::SignedInAnew,
            Ok(RecheckOutcome::Expired) => Outcome::Expired,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "what rests on a token can't be ended; asked again later");
                return Outcome::Database;
            }
        };
        self.workflow.held.drop_one(token);
        outcome
    }

    fn tell(&self, outcome: &EventOutcome) {
        let metrics = &self.workflow.metrics;
        let count = |ids: usize| u64::try_from(ids).unwrap_or(u64::MAX);
        metrics.grants_ended.with_label_values(&["revoked"]).inc_by(count(outcome.ended.len()));
        metrics.elevations.with_label_values(&["lapsed"]).inc_by(count(outcome.lapsed.len()));
        let (issuer, ended, lapsed) = (self.watched.issuer(), outcome.ended.len(), outcome.lapsed.len());
        tracing::warn!(%issuer, ended, lapsed, "an access token is no longer active: what rested on it has ended");
    }

    fn fail(&self, outcome: Outcome, failure: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.seen().failure = Some(failure);
        self.count(outcome);
    }

    fn count(&self, outcome: Outcome) {
        self.workflow.metrics.count_recheck(self.watched.issuer().as_str(), outcome);
    }

    fn show_held(&self) {
        let issuer = self.watched.issuer();
        self.workflow.metrics.show_held(issuer.as_str(), self.workflow.held.count(issuer));
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the order is as it comes, and nothing else is lost.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// How a failure is counted, and how long the issuer wants to be left alone.
fn what(error: IntrospectionError) -> (Outcome, Option<Duration>) {
    match error {
        IntrospectionError::Http(source) | IntrospectionError::Metadata(RefreshError::Http { source, .. }) => {
            let error = FetchError::from(source);
            (Outcome::Failed(error.kind()), error.retry_after())
        }
        IntrospectionError::Metadata(_) | IntrospectionError::Json(_) | IntrospectionError::Shape => {
            (Outcome::Failed(FailureKind::Malformed), None)
        }
        IntrospectionError::Endpoint(_) | IntrospectionError::NoEndpoint => (Outcome::NoEndpoint, None),
        IntrospectionError::Authentication => (Outcome::Failed(FailureKind::Credential), None),
        IntrospectionError::Contradiction(_) => (Outcome::Contradiction, None),
    }
}
