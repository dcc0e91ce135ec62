//! Whether who has something here is still who they were: from time to time each issuer that is configured for it is asked
//! about the newest access token of every person with a live grant or a waiting request (RFC 7662).
//!
//! - [`held`]: the tokens, in memory.
//! - `round`: asking about all of them once, and what comes of an answer.
//!
//! A token that stands no more, though its own time is not over, ends what rested on it. That takes two answers in a row, and
//! that the issuer had said before of this very token that it stands, because so it answers whoever may not ask about it, too
//! (§2.2). No answer, or one that is none, ends nothing, and shows in metrics, readiness and once in the log.
//!
//! Must never: ask on the path of a request, or end anything for a token whose time is over or of which a newer one was seen.

pub mod held;
mod round;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::held::HeldToken;
use self::round::{Round, Which};
use super::on_call::jittered;
use super::workflow::Workflow;
use crate::config::introspection::IntrospectionConfig;
use crate::domain::{Issuer, WallTime};
use crate::http::{Client, ClientTls, Limits};
use crate::identity::introspection::{ANSWER_BYTES_MAX, Introspector};
use crate::identity::{SetupError, Verified};
use crate::store::StoreError;

/// How soon a token whose time is over is let go, and one is asked about that is new, or that stands no more since just now.
const SWEEP: Duration = Duration::from_secs(2);
/// The most that an issuer can ask to be left alone.
const TOLD_MAX: Duration = Duration::from_secs(600);

/// The issuers that are asked. Clones share what is known of them.
#[derive(Debug, Clone)]
pub struct Rechecks {
    watched: Arc<Vec<Watched>>,
}

/// One issuer that is asked.
#[derive(Debug)]
struct Watched {
    config: IntrospectionConfig,
    introspector: Introspector,
    standing: Mutex<Standing>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    answered: Option<WallTime>,
    failure: Option<String>,
}

/// How it stands with asking one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecheckHealth {
    pub issuer: Issuer,
    /// When it last gave an answer that says something.
    pub answered: Option<WallTime>,
    /// What went wrong, where the last look did not go well.
    pub failure: Option<String>,
}

impl Rechecks {
    /// # Errors
    /// [`SetupError`]: an authority's file can't be used.
    pub fn new(configs: Vec<IntrospectionConfig>, tls: Option<ClientTls>) -> Result<Self, SetupError> {
        let client = Client::new(tls, Limits { body_bytes_max: ANSWER_BYTES_MAX, ..Limits::DEFAULT });
        let watched = configs.into_iter().map(|config| {
            let introspector = Introspector::new(&config.issuer, config.endpoint.clone(), &client)?;
            Ok(Watched { config, introspector, standing: Mutex::default() })
        });
        Ok(Self { watched: Arc::new(watched.collect::<Result<_, _>>()?) })
    }

    pub fn health(&self) -> Vec<RecheckHealth> {
        let health = |watched: &Watched| {
            let Standing { answered, failure } = watched.standing().clone();
            RecheckHealth { issuer: watched.issuer().clone(), answered, failure }
        };
        self.watched.iter().map(health).collect()
    }

    /// Asks every issuer, each in its own time, until `stop` turns true. Then no token is held any more.
    pub async fn run(self, workflow: Arc<Workflow>, mut stop: watch::Receiver<bool>) {
        let keep = (0..self.watched.len()).map(|which| keep(&self.watched, which, &workflow));
        tokio::select! {
            _ = futures_util::future::join_all(keep), if !self.watched.is_empty() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        workflow.held.clear();
    }
}

/// Asks one issuer for ever.
async fn keep(watched: &[Watched], which: usize, workflow: &Workflow) {
    let Some(watched) = watched.get(which) else { return };
    let round = Round::new(workflow, watched);
    // What is wrong with the configuration shows before anybody has a grant.
    round.look_for_endpoint().await;
    let mut due = Instant::now() + jittered(watched.config.every);
    let mut is_troubled = false;
    loop {
        tokio::time::sleep_until(due.min(Instant::now() + SWEEP)).await;
        round.drop_expired();
        let which = if Instant::now() >= due { Which::All } else { Which::Unsettled };
        // Whoever fails is asked no more than is due.
        if which == Which::Unsettled && is_troubled {
            continue;
        }
        let looked = tokio::select! {
            looked = Round::new(workflow, watched).run(which) => looked,
            () = sweep(&round) => return,
        };
        is_troubled = looked.has_failed;
        let told = Instant::now() + looked.told.unwrap_or_default().min(TOLD_MAX);
        due =
            if which == Which::All { told.max(Instant::now() + jittered(watched.config.every)) } else { told.max(due) };
    }
}

/// A look at many tokens may take long, and none is held beyond its time meanwhile.
async fn sweep(round: &Round<'_>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        round.drop_expired();
    }
}

impl Watched {
    fn issuer(&self) -> &Issuer {
        &self.config.issuer.issuer
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so when it goes wrong, and when it goes well again; not each time.
    fn stand(&self, answered: Option<WallTime>, failure: Option<String>) {
        let issuer = self.issuer();
        let before = {
            let mut standing = self.standing();
            standing.answered = answered.or(standing.answered);
            std::mem::replace(&mut standing.failure, failure.clone())
        };
        match (before, failure) {
            (None, Some(error)) => {
                tracing::warn!(%issuer, error, "the issuer can't be asked whether tokens still stand; nothing ends for that");
            }
            (Some(_), None) => tracing::info!(%issuer, "the issuer says again whether tokens still stand"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

impl Workflow {
    /// Holds what a caller has shown, where their issuer is asked, they have something here, and no newer token of theirs
    /// is held. It fails no call: a token that can't be held is one that nobody asks about.
    pub async fn hold(&self, caller: &Verified, token: &str) {
        if !self.held.wants(caller) {
            return;
        }
        if let Err(error) = self.try_to_hold(caller, token).await {
            let error = crate::error_chain::error_chain(&error);
            tracing::error!(error, "a token is not held: its issuer is not asked about it");
        }
    }

    async fn try_to_hold(&self, caller: &Verified, token: &str) -> Result<(), StoreError> {
        let issuer = &caller.principal.issuer;
        let Some(token) = HeldToken::of(caller, token) else { return Ok(()) };
        if !self.store.has_stake(&caller.person).await? {
            return Ok(());
        }
        // Before it is held, and whether or not there is a place for it: so that nobody, here or at another replica, ends
        // anything for an older one.
        self.held.drop_older(caller);
        self.store.see_token(&caller.principal, token.times).await?;
        if !self.held.put(token) {
            self.metrics.count_unheld(issuer.as_str());
        }
        self.metrics.show_held(issuer.as_str(), self.held.count(issuer));
        Ok(())
    }
}
