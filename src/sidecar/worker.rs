//! One worker: a thread with a current-thread runtime, its own listener and its own upstream pool. Requests never leave
//! the core they came in on.

use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::counters::Counters;
use super::journey::Worker;
use super::listener::{self, OpenConnections};
use super::shared::Shared;
use super::signature_limit::SignatureLimit;
use super::upstream::Pool;
use crate::drain::Drain;

/// How long requests in flight may take to end after the listeners have closed.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What a worker's thread is given.
#[derive(Debug)]
pub struct Equipment {
    pub index: usize,
    pub listener: StdListener,
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub open: Arc<OpenConnections>,
    pub drain: Drain,
}

/// Starts a worker's thread.
///
/// # Errors
/// When the thread or its runtime can't be made.
pub fn spawn(equipment: Equipment) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{}", equipment.index)).spawn(move || {
        let local = LocalSet::new();
        runtime.block_on(local.run_until(run(equipment)));
        // Dropping the set ends what is still in flight; exchanges record how they ended.
    })
}

async fn run(equipment: Equipment) {
    let Equipment { index: _, listener, shared, counters, open, drain } = equipment;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener could not be used");
            return;
        }
    };
    let pool = Pool::new(Arc::clone(&shared.setup().upstream), Arc::clone(&counters));
    let worker = Rc::new(Worker { shared, pool, counters: Arc::clone(&counters), limit: SignatureLimit::default() });
    listener::accept(listener, worker, open, drain).await;
    let _ = tokio::time::timeout(DRAIN_MAX, all_closed(&counters)).await;
}

async fn all_closed(counters: &Counters) {
    while counters.connections_open() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
