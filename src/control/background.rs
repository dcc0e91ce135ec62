//! What runs beside the calls for as long as the control plane does, and what the start waits for a moment.
//!
//! It must never: end by itself before it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::ApiState;
use super::arrival::Arrivals;
use super::feed::{self, AssertionKeys, FeedKeys};
use super::on_call::OnCall;
use super::server::Port;
use super::signals::Signals;
use super::start::Bound;
use super::{admin, audit_upkeep, routes};
use crate::error_chain::error_chain;
use crate::http::ClientTls;
use crate::identity::Verifier;

/// How long the start waits for the issuers' keys, and for the schedules. It goes on without them.
const ISSUERS_WAIT_MAX: Duration = Duration::from_secs(3);

pub(super) fn spawn_all(
    state: &ApiState,
    bound: Bound,
    api_tls: Arc<rustls::ServerConfig>,
    feed_tls: Arc<rustls::ServerConfig>,
    stopping: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let connections = Some(state.workflow.metrics.connections.clone());
    let api = Port { listener: bound.api, tls: Some(api_tls), router: routes::router(state.clone()), connections };
    tasks.spawn(api.serve(stopping.clone()));
    let listening = bound.admin.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let router = admin::router(state.clone(), listening);
    let admin = Port { listener: bound.admin, tls: None, router, connections: None };
    tasks.spawn(admin.serve(stopping.clone()));
    tasks.spawn(Arc::clone(&state.workflow).keep_up(stopping.clone()));
    tasks.spawn(Arc::clone(&state.workflow).keep_erasing(stopping.clone()));
    tasks.spawn(audit_upkeep::keep_up(
        state.workflow.store.clone(),
        Arc::clone(&state.workflow.metrics),
        stopping.clone(),
    ));
    tasks.spawn(Arc::clone(&state.ledger).run(stopping.clone()));
    for which in 0..state.ledger.witnesses() {
        tasks.spawn(Arc::clone(&state.ledger).keep_witnessed(which, stopping.clone()));
    }
    tasks.spawn(follow_staleness(state.clone(), stopped(stopping.clone())));
    tasks.spawn(Arrivals::new(state).keep(stopping.clone()));
    let verifier = state.verifier.clone();
    let stop = stopped(stopping.clone());
    tasks.spawn(async move { verifier.run(stop).await });
    tasks.spawn(Arc::clone(&state.workflow.on_call).run(stopped(stopping.clone())));
    let (hub, store) = (Arc::clone(&state.hub), Arc::new(state.workflow.store.clone()));
    let (keys, stop) = (feed_keys(state), stopped(stopping.clone()));
    tasks.spawn(async move {
        if let Err(error) = feed::serve(bound.feed, feed_tls, hub, store, keys, stop).await {
            tracing::error!(error = %error_chain(&error), "the feed ended");
        }
    });
    tasks
}

pub(super) fn spawn_signals(
    state: &ApiState,
    tls: Option<ClientTls>,
    tasks: &mut JoinSet<()>,
    stopping: &watch::Receiver<bool>,
) {
    let (transmitters, stop) = (state.signals.transmitters().clone(), stopped(stopping.clone()));
    tasks.spawn(async move { transmitters.run(stop).await });
    tasks.spawn(state.rechecks.clone().run(Arc::clone(&state.workflow), stopping.clone()));
    tasks.spawn(state.signals.clone().poll_all(Arc::clone(&state.workflow), tls, stopping.clone()));
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone: that is the end too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A silent sidecar counts for as long as the policy in force lets it act, also after another one was applied.
async fn follow_staleness(state: ApiState, stop: impl Future<Output = ()>) {
    let mut rules = state.workflow.rules.follow();
    let follow = async {
        while rules.changed().await.is_ok() {
            state.hub.allow_staleness(rules.borrow_and_update().policy.staleness_max);
        }
    };
    tokio::select! { () = follow => {}, () = stop => {} }
}

fn feed_keys(state: &ApiState) -> FeedKeys {
    let (workflow, signing) = (Arc::clone(&state.workflow), Arc::clone(&state.workflow));
    FeedKeys {
        grants: Arc::new(move || Arc::new(workflow.keys.certificates(workflow.clock.wall()))),
        assertions: AssertionKeys {
            validity: signing.assertion_key_validity,
            certifier: Arc::new(move |subject| {
                let workflow = Arc::clone(&signing);
                Box::pin(async move { workflow.keys.certify_assertion(&subject).await })
            }),
        },
    }
}

/// So that the first caller is not told to come back. An issuer that is down stops nothing.
pub(super) async fn fetch_issuer_keys(verifier: &Verifier) {
    let failures = timeout(ISSUERS_WAIT_MAX, verifier.refresh()).await.unwrap_or_default();
    for (issuer, error) in failures {
        tracing::warn!(%issuer, error = %error_chain(&error), "the issuer was not reached; it is tried again");
    }
}

/// For the same reason: an event that comes meanwhile waits for them.
pub(super) async fn fetch_transmitter_keys(signals: &Signals) {
    let failures = timeout(ISSUERS_WAIT_MAX, signals.transmitters().refresh()).await.unwrap_or_default();
    for (issuer, error) in failures {
        tracing::warn!(%issuer, error = %error_chain(&error), "the transmitter was not reached; it is tried again");
    }
}

/// For the same reason. What fails says so itself, and is tried again.
pub(super) async fn fetch_schedules(on_call: &OnCall) {
    let _ = timeout(ISSUERS_WAIT_MAX, on_call.refresh()).await;
}
