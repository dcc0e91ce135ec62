//! What happens by itself to what sidecars recorded: accounts of grants that ended are closed, logs that fell silent are
//! named, positions are anchored. Every replica does it; the writer's lock sees to it that each thing is done once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::metrics::ControlMetrics;
use crate::error_chain::error_chain;
use crate::store::audit::{ANCHOR_EVERY, ClosedAccount};
use crate::store::{Store, StoreError};

/// How often it is looked whether an account can be closed.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until `stop` turns true.
pub(super) async fn keep_up(store: Store, metrics: Arc<ControlMetrics>, mut stop: watch::Receiver<bool>) {
    let mut anchored = tokio::time::Instant::now();
    loop {
        told(close(&store, &metrics).await, "accounts of grants could not be closed");
        if anchored.elapsed() >= ANCHOR_EVERY {
            anchored = tokio::time::Instant::now();
            told(store.anchor_audit_logs().await.map(drop), "positions of audit logs could not be anchored");
            told(name_silent(&store).await, "audit logs that fell silent could not be named");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn close(store: &Store, metrics: &ControlMetrics) -> Result<(), StoreError> {
    for ClosedAccount { grant, differences } in store.close_accounts().await? {
        tracing::info!(%grant, "the account of a grant is closed");
        for difference in differences {
            metrics.differences.with_label_values(&[difference.as_str()]).inc();
            let of = difference.as_str();
            tracing::error!(%grant, of, "numbers of a grant do not agree: its entry grant_closed has them");
        }
    }
    Ok(())
}

async fn name_silent(store: &Store) -> Result<(), StoreError> {
    match store.name_silent_logs().await? {
        0 => {}
        logs => tracing::error!(logs, "audit logs fell silent before they were closed: what is missing is lost"),
    }
    Ok(())
}

fn told(result: Result<(), StoreError>, what: &'static str) {
    if let Err(error) = result {
        tracing::error!(error = %error_chain(&error), "{what}");
    }
}
