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
        queue(&mut self.waiting, errand);
        self.waiting.len() <= WAITING_MAX
    }

    pub(super) fn try_again(&mut self) {
        self.paused = false;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The end of the one that is under way; never, where there is none. Dropping this loses nothing.
    pub(super) async fn next_done(&mut self) -> Done {
        let Some(work) = &mut self.under_way else { return pending().await };
        let done = work.await;
        self.under_way = None;
        done.unwrap_or_else(|failed| {
            self.waiting.push_front(failed);
            self.paused = true;
            Done::Nothing
        })
    }

    /// Sets out on the next, unless one is under way.
    pub(super) fn begin_next(&mut self) {
        if self.paused || self.under_way.is_some() {
            return;
        }
        if let Some(errand) = self.waiting.pop_front() {
            self.under_way = Some(Box::pin(run(Arc::clone(&self.room), Arc::clone(&self.stream), errand)));
        }
    }
}

/// Sidecars repeat themselves, the more the more requests they refuse: of each grant one wish waits, and the highest count
/// of what is spent. So an answer to a question waits behind few others, whatever clients do.
fn queue(waiting: &mut VecDeque<Errand>, errand: Errand) {
    if let Errand::Spent { grant, spent } = &errand {
        let same = waiting.iter_mut().find_map(|known| match known {
            Errand::Spent { grant: of, spent } if of == grant => Some(spent),
            _ => None,
        });
        if let Some(known) = same {
            *known = (*known).max(*spent);
            return;
        }
    }
    if !waiting.contains(&errand) {
        waiting.push_back(errand);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(errands: &[Errand]) -> VecDeque<Errand> {
        let mut waiting = VecDeque::new();
        errands.iter().for_each(|errand| queue(&mut waiting, errand.clone()));
        waiting
    }

    #[test]
    fn of_what_a_sidecar_repeats_once_is_done() {
        let grant: GrantId = "g-000000000001".parse().unwrap();
        let other: GrantId = "g-000000000002".parse().unwrap();
        let spent = |grant: &GrantId, spent| Errand::Spent { grant: grant.clone(), spent };
        let wanted = || Errand::Wanted { grant: grant.clone() };
        let repeated: Vec<_> = (0..1_000).flat_map(|n| [spent(&grant, n), wanted()]).collect();
        assert_eq!(queued(&repeated), [spent(&grant, 999), wanted()]);
        let late = [spent(&grant, 3), spent(&other, 1), spent(&grant, 2)];
        assert_eq!(queued(&late), [spent(&grant, 3), spent(&other, 1)], "a count that came late takes nothing back");
        let returned = |allotted| Errand::Returned { grant: grant.clone(), allotted };
        assert_eq!(queued(&[returned(2), wanted(), returned(1)]).len(), 3, "each answer is to a question of its own");
    }
}
