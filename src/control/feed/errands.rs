//! What a sidecar's words set going in the database: one errand after the other, in the order of the words, beside the
//! stream. So a database that hangs holds up no heartbeat.
//!
//! What must not be lost (uses spent, uses given back) is tried again until it is recorded.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use super::delivery::Room;
use super::hub::{FeedCounts, Stream};
use super::source::FeedStore;
use crate::domain::GrantId;
use crate::error_chain::error_chain;
use crate::store::contract::{ShareHolder, StoreError};
use crate::wire::feed::{FromControl, Subscribe};

/// Errands of one stream that wait.
const WAITING_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    Spent { grant: GrantId, spent: u32 },
    Wanted { grant: GrantId },
    Returned { grant: GrantId, allotted: u32 },
    Certify { x: String, proof: String },
}

/// What came of one, for the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    Nothing,
    /// The sidecar seems not to know what it holds.
    Restate {
        grant: GrantId,
        allotted: u32,
    },
    Say(FromControl),
}

type Work = Pin<Box<dyn Future<Output = Result<Done, Errand>> + Send>>;

/// See the module.
pub(super) struct Errands<S> {
    room: Arc<Room<S>>,
    stream: Arc<Stream>,
    waiting: VecDeque<Errand>,
    under_way: Option<Work>,
    /// The first that waits has failed: not before [`Errands::try_again`].
    paused: bool,
}

impl<S: FeedStore> Errands<S> {
    pub(super) fn new(room: Arc<Room<S>>, stream: Arc<Stream>) -> Self {
        Self { room, stream, waiting: VecDeque::new(), under_way: None, paused: false }
    }

    /// False when too many wait.
    pub(super) fn add(&mut self, errand: Errand) -> bool {
        if !self.is_repeated(&errand) {
            self.waiting.push_back(errand);
        }
        self.begin_next();
        self.waiting.len() <= WAITING_MAX
    }

    /// Sidecars repeat themselves: a report that repeats the last that waits adds nothing.
    fn is_repeated(&self, errand: &Errand) -> bool {
        self.waiting.back() == Some(errand)
    }

    pub(super) fn try_again(&mut self) {
        self.paused = false;
        self.begin_next();
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The end of the one that is under way; never, where there is none. Dropping this loses nothing.
    pub(super) async fn next_done(&mut self) -> Done {
        let Some(work) = &mut self.under_way else { return pending().await };
        let done = work.await;
        self.under_way = None;
        let done = done.unwrap_or_else(|failed| {
            self.waiting.push_front(failed);
            self.paused = true;
            Done::Nothing
        });
        self.begin_next();
        done
    }

    fn begin_next(&mut self) {
        if self.paused || self.under_way.is_some() {
            return;
        }
        if let Some(errand) = self.waiting.pop_front() {
            self.under_way = Some(Box::pin(run(Arc::clone(&self.room), Arc::clone(&self.stream), errand)));
        }
    }
}

/// The errand itself, where it is to be tried again.
async fn run<S: FeedStore>(room: Arc<Room<S>>, stream: Arc<Stream>, errand: Errand) -> Result<Done, Errand> {
    let holder = &stream.holder;
    let done = match &errand {
        Errand::Spent { grant, spent } => record_spent(&room, holder, grant, *spent).await.map(|()| Done::Nothing),
        Errand::Returned { grant, allotted } => {
            room.shares.returned(holder, grant, *allotted).await.map(|()| Done::Nothing)
        }
        Errand::Wanted { grant } => room.shares.wanted(holder, grant).await.map(|allotted| match allotted {
            Some(allotted) => Done::Restate { grant: grant.clone(), allotted },
            None => Done::Nothing,
        }),
        Errand::Certify { x, proof } => {
            let live = room.hub.is_live(&stream);
            let answer = room.desk.answer(room.store.as_ref(), &stream, live, x.clone(), proof).await;
            return Ok(Done::Say(answer));
        }
    };
    done.or_else(|error| {
        tracing::warn!(sidecar = %holder.instance, error = error_chain(&error), "the store failed a feed");
        // A sidecar that wants uses asks again by itself.
        if matches!(errand, Errand::Wanted { .. }) { Ok(Done::Nothing) } else { Err(errand) }
    })
}

/// Records what was spent before a stream.
pub(super) async fn record_all_spent<S: FeedStore>(
    room: &Room<S>,
    stream: &Stream,
    subscribe: &Subscribe,
) -> Result<(), StoreError> {
    for (grant, spent) in &subscribe.spent {
        record_spent(room, &stream.holder, grant, *spent).await?;
    }
    Ok(())
}

async fn record_spent<S: FeedStore>(
    room: &Room<S>,
    holder: &ShareHolder,
    grant: &GrantId,
    spent: u32,
) -> Result<(), StoreError> {
    let outcome = room.store.record_spent(grant, holder, spent).await?;
    if outcome.above_share {
        FeedCounts::add(&room.hub.counts().overspent, 1);
        tracing::error!(sidecar = %holder.instance, %grant, spent, "a sidecar spent more than its share");
    }
    Ok(())
}
