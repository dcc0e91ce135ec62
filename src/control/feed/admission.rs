//! The door: streams wait for their number, and whoever comes about together is given it together, by one transition.
//!
//! When all sidecars come back at once, the writer's lock is taken some dozens of times instead of thousands, and
//! revocations wait no longer than for one of these. It must never: let more wait than is allowed.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::delivery::Room;
use super::hub::{AdmitError, Command, Stream};
use super::source::FeedStore;
use crate::error_chain::error_chain;
use crate::store::contract::{Admission, StreamClaim};
use crate::wire::feed::Subscribe;

/// Why a stream was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    #[error(transparent)]
    Hub(#[from] AdmitError),
    #[error("too many sidecars come at once")]
    Busy,
    /// The cause, which all that waited together share, is in the log.
    #[error("the database cannot be written")]
    Store,
    #[error("the control plane is stopping")]
    Stopping,
}

/// A stream that was let in, and what it is asked by the rest of the feed.
pub(super) type Admitted = (Stream, mpsc::Receiver<Command>);

#[derive(Debug)]
struct Waiting {
    subscribe: Arc<Subscribe>,
    answer: oneshot::Sender<Result<Admitted, NotAdmitted>>,
}

/// Where streams wait.
#[derive(Debug)]
pub(super) struct Admissions(mpsc::Sender<Waiting>);

/// Who lets them in.
#[derive(Debug)]
pub(super) struct Door(mpsc::Receiver<Waiting>);

/// The two ends of a queue of that length.
pub(super) fn door(waiting_max: usize) -> (Admissions, Door) {
    let (sender, receiver) = mpsc::channel(waiting_max.max(1));
    (Admissions(sender), Door(receiver))
}

impl Admissions {
    /// Begins a stream. From here on nothing that an earlier stream of this sidecar or lineage says moves anything.
    pub(super) async fn admit(&self, subscribe: &Arc<Subscribe>) -> Result<Admitted, NotAdmitted> {
        let (answer, admitted) = oneshot::channel();
        let waiting = Waiting { subscribe: Arc::clone(subscribe), answer };
        self.0.try_send(waiting).map_err(|_| NotAdmitted::Busy)?;
        admitted.await.unwrap_or(Err(NotAdmitted::Stopping))
    }
}

impl Door {
    /// Lets in whoever waits, until the queue's other end is gone.
    pub(super) async fn keep<S: FeedStore>(mut self, room: Arc<Room<S>>) {
        let most = room.hub.limits().admissions_at_once_max.max(1);
        let mut waiting = Vec::new();
        loop {
            // Those put off from the last round come first.
            let came = if waiting.is_empty() { self.0.recv_many(&mut waiting, most).await } else { 1 };
            if came == 0 {
                return;
            }
            while waiting.len() < most
                && let Ok(more) = self.0.try_recv()
            {
                waiting.push(more);
            }
            waiting = let_in(&room, waiting).await;
        }
    }
}

/// Lets in those of different instances and lineages; the others are put off.
async fn let_in<S: FeedStore>(room: &Room<S>, waiting: Vec<Waiting>) -> Vec<Waiting> {
    let (together, put_off) = apart(waiting);
    let claims: Vec<_> = together.iter().map(|one| claim(&one.subscribe)).collect();
    match room.store.admit(&claims).await {
        Ok(admissions) => {
            for (one, admission) in together.into_iter().zip(admissions) {
                let begun = match admission {
                    Admission::Begun(number) => room.hub.begin(&one.subscribe, room.store.replica(), number),
                    Admission::LineageInUse => Err(AdmitError::LineageInUse),
                };
                // One who has left meanwhile hears of nothing, and the stream ends.
                let _left = one.answer.send(begun.map_err(NotAdmitted::from));
            }
        }
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "streams could not be admitted");
            for one in together {
                let _left = one.answer.send(Err(NotAdmitted::Store));
            }
        }
    }
    put_off
}

/// Splits off whoever shares an instance or a lineage with one before.
fn apart(waiting: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut together: Vec<Waiting> = Vec::with_capacity(waiting.len());
    let mut put_off = Vec::new();
    let (mut instances, mut lineages) = (HashSet::new(), HashSet::new());
    for one in waiting {
        let instance = (one.subscribe.service.clone(), one.subscribe.instance.clone());
        if instances.contains(&instance) || lineages.contains(&one.subscribe.lineage) {
            put_off.push(one);
        } else {
            instances.insert(instance);
            lineages.insert(one.subscribe.lineage.clone());
            together.push(one);
        }
    }
    (together, put_off)
}

fn claim(subscribe: &Subscribe) -> StreamClaim {
    StreamClaim {
        service: subscribe.service.clone(),
        instance: subscribe.instance.clone(),
        lineage: subscribe.lineage.clone(),
        version: subscribe.version.clone(),
        service_digest: subscribe.service_digest.clone(),
        audit: subscribe.audit.clone(),
    }
}
