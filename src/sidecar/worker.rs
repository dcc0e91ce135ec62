//! One worker: a thread with a current-thread runtime, its own listeners and its own upstream pool. Requests never leave
//! the core they came in on.

use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::counters::Counters;
use super::ending::Left;
use super::journey::Worker;
use super::listener::{self, OpenConnections};
use super::shared::Shared;
use super::signature_limit::SignatureLimit;
use super::upstream::Pool;
use crate::drain::Drain;

/// How often a worker looks whether it may end. Nobody waits for it but the process's end.
const LOOK: Duration = Duration::from_millis(10);

/// What a worker's thread is given.
#[derive(Debug)]
pub struct Equipment {
    pub index: usize,
    /// At least one.
    pub listeners: Vec<StdListener>,
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub open: Arc<OpenConnections>,
    pub drain: Drain,
    /// Told once this worker accepts, or why it can't.
    pub serving: SyncSender<std::io::Result<()>>,
    /// Told what was still in flight when this worker ended.
    pub left: mpsc::Sender<Left>,
}

/// Starts a worker's thread.
///
/// # Errors
/// When the thread or its runtime can't be made.
pub fn spawn(equipment: Equipment) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{}", equipment.index)).spawn(move || {
        let local = LocalSet::new();
        let (shared, told) = (Arc::clone(&equipment.shared), equipment.left.clone());
        let left = runtime.block_on(local.run_until(run(equipment)));
        if left.is_some() {
            shared.ending.begin_cutting();
        }
        // Dropping the set ends what is still in flight; exchanges record how they ended.
        drop(local);
        let _ = told.try_send(left.unwrap_or_default());
    })
}

/// What is to be cut, or `None` where all has ended by itself.
async fn run(equipment: Equipment) -> Option<Left> {
    let Equipment { index: _, listeners, shared, counters, open, drain, serving, left: _ } = equipment;
    let listeners: std::io::Result<Vec<_>> = listeners.into_iter().map(TcpListener::from_std).collect();
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            let _ = serving.try_send(Err(error));
            return None;
        }
    };
    let pool = Pool::new(Arc::clone(&shared.setup().upstream), Arc::clone(&counters));
    let limit = SignatureLimit::default();
    let worker = Rc::new(Worker { shared: Arc::clone(&shared), pool, counters: Arc::clone(&counters), limit });
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let accepting = listener::accept(listener, Rc::clone(&worker), Arc::clone(&open), drain.clone());
            tokio::task::spawn_local(accepting)
        })
        .collect();
    let _ = serving.try_send(Ok(()));
    drop(serving);
    drain.begun().await;
    let over = async {
        for listener in accepting {
            let _ = listener.await;
        }
        while counters.connections_open() > 0 || shared.ending.overrides() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let limit = shared.setup().listen.drain_timeout;
    tokio::select! {
        () = over => return None,
        () = tokio::time::sleep(limit) => {}
        () = drain.ended() => {}
    }
    Some(Left { connections: counters.connections_open(), requests: counters.requests_open() })
}
