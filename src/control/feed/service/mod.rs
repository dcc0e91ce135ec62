//! What all streams of one service share: its newest changes and its snapshot, each read from the database once.
//!
//! One task a service reads on whenever there is a newer revision. Streams never read changes themselves: a database that
//! hangs holds up none of them, and their heartbeats grow old as they should. It must never: hand out a grant with a limit
//! before those who are to use it have their first shares.

mod snapshot;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::timeout;

use self::window::{Capacity, Window};
use super::delivery::Room;
use super::freshness::Reading;
use super::lines::WriteError;
use super::source::FeedStore;
use crate::domain::{GrantId, ServiceName};
use crate::error_chain::error_chain;
use crate::store::contract::{ChangeBody, FeedChange, StoreError};

pub(super) use self::snapshot::Snapshot;
pub(super) use self::window::{Entry, What};

/// Changes read at once.
const PAGE: u32 = 256;

/// Why nothing can be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database was not read in time")]
    Late,
    /// INVARIANT: nothing is served to who has seen more than there is: a grant that is live here may have been revoked.
    #[error(
        "the sidecar has seen revision {seen} of this epoch, and the newest here is {newest}: the database is an older copy"
    )]
    Behind { seen: u64, newest: u64 },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// See the module.
#[derive(Debug)]
pub(super) struct ServiceFeed {
    service: ServiceName,
    state: Mutex<State>,
    /// The newest revision that is held. Wakes when something came.
    held: watch::Sender<u64>,
    /// The reading up to which everything is held; none before the first.
    ready: watch::Sender<Option<Reading>>,
    /// One reads the snapshot, the others wait for it.
    reading_snapshot: AsyncMutex<()>,
}

#[derive(Debug)]
struct State {
    window: Window,
    snapshot: Option<Arc<Snapshot>>,
    /// Grants that have not ended and whose uses are shared out, with their limits.
    limited: BTreeMap<GrantId, u32>,
}

/// What a stream has yet to send.
pub(super) struct Missing {
    pub(super) entries: Vec<Arc<Entry>>,
    /// With these, everything up to here was sent.
    pub(super) end: u64,
}

impl ServiceFeed {
    fn new(service: ServiceName) -> Arc<Self> {
        let window = Window::starting_after(0, Capacity { changes: 0, bytes: 0 });
        let state = State { window, snapshot: None, limited: BTreeMap::new() };
        Arc::new(Self {
            service,
            state: Mutex::new(state),
            held: watch::Sender::new(0),
            ready: watch::Sender::new(None),
            reading_snapshot: AsyncMutex::default(),
        })
    }

    /// Wakes when there is something to send.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.held.subscribe()
    }

    /// What came after `cursor`; `None` when that is no longer held.
    pub(super) fn after(&self, cursor: u64) -> Option<Missing> {
        let state = self.state();
        let entries = state.window.after(cursor)?;
        Some(Missing { entries, end: state.window.end.max(cursor) })
    }

    /// Whether everything after `cursor` is held.
    pub(super) fn reaches_back_to(&self, cursor: u64) -> bool {
        let state = self.state();
        state.window.start <= cursor && cursor <= state.window.end
    }

    /// The grants whose uses are shared out, with their limits.
    pub(super) fn limited(&self) -> Vec<(GrantId, u32)> {
        self.state().limited.iter().map(|(grant, max_uses)| (grant.clone(), *max_uses)).collect()
    }

    /// A reading up to whose revision everything is held.
    pub(super) fn reading(&self) -> Option<Reading> {
        *self.ready.borrow()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot, from memory where it is new enough to be continued by what is held.
    pub(super) async fn snapshot<S: FeedStore>(&self, room: &Room<S>) -> Result<Arc<Snapshot>, ReadError> {
        if let Some(snapshot) = self.recent_snapshot(room) {
            return Ok(snapshot);
        }
        let _reading = self.reading_snapshot.lock().await;
        if let Some(snapshot) = self.recent_snapshot(room) {
            return Ok(snapshot);
        }
        self.read_snapshot(room).await
    }

    fn recent_snapshot<S: FeedStore>(&self, room: &Room<S>) -> Option<Arc<Snapshot>> {
        let now = room.hub.clock().boot();
        let state = self.state();
        let recent = state.snapshot.as_ref()?;
        let fits = recent.revision >= state.window.start && now.since(recent.read) < room.hub.limits().snapshot_age_max;
        fits.then(|| Arc::clone(recent))
    }

    async fn read_snapshot<S: FeedStore>(&self, room: &Room<S>) -> Result<Arc<Snapshot>, ReadError> {
        let read = room.hub.clock().boot();
        let limits = room.hub.limits();
        let snapshot = in_time(limits.read_wait_max, room.store.snapshot(&self.service)).await?;
        let snapshot = Arc::new(Snapshot::of(snapshot, read, limits.chunk_bytes)?);
        let mut state = self.state();
        // What ended since it was read is taken out when that is read on: it can only be too many.
        state.limited.extend(snapshot.limited.iter().cloned());
        state.snapshot = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Reads on whenever there is a newer revision, until the readings end.
    async fn run<S: FeedStore>(self: Arc<Self>, room: Arc<Room<S>>) {
        let mut readings = room.readings.clone();
        loop {
            let reading = *readings.borrow_and_update();
            let mut behind = false;
            if let Some(reading) = reading {
                match self.read_on(&room, reading).await {
                    Ok(()) => {}
                    Err(error) => {
                        behind = true;
                        tracing::warn!(service = %self.service, error = error_chain(&error), "a feed could not be read on");
                    }
                }
            }
            tokio::select! {
                changed = readings.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(room.hub.limits().poll_every), if behind => {}
            }
        }
    }

    async fn read_on<S: FeedStore>(&self, room: &Room<S>, reading: Reading) -> Result<(), ReadError> {
        if self.reading().is_none() {
            self.begin(room, reading).await?;
        }
        if reading.revision > self.state().window.end {
            let (entries, end) = self.read_changes(room, reading.revision).await?;
            let mut state = self.state();
            state.window.append(entries, end);
            drop(state);
            self.held.send_replace(end);
        }
        self.ready.send_replace(Some(reading));
        Ok(())
    }

    /// Holds what came lately, so that who was connected elsewhere a moment ago need not begin anew.
    async fn begin<S: FeedStore>(&self, room: &Room<S>, reading: Reading) -> Result<(), ReadError> {
        let limits = room.hub.limits();
        let oldest = in_time(limits.read_wait_max, room.store.oldest_change()).await?;
        let kept = u64::try_from(limits.window_changes_max).unwrap_or(u64::MAX);
        let start = reading.revision.saturating_sub(kept).max(oldest.saturating_sub(1));
        let capacity = Capacity { changes: limits.window_changes_max, bytes: limits.window_bytes_max };
        self.state().window = Window::starting_after(start, capacity);
        self.read_snapshot(room).await.map(drop)
    }

    /// Everything after what is held, at least up to `revision`; with the first shares of new grants.
    async fn read_changes<S: FeedStore>(&self, room: &Room<S>, revision: u64) -> Result<(Vec<Entry>, u64), ReadError> {
        let (mut entries, mut end) = (Vec::new(), self.state().window.end);
        loop {
            let page = room.store.changes_after(&self.service, end, PAGE);
            let page = in_time(room.hub.limits().read_wait_max, page).await?;
            let last_page = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let mut allotted = false;
            for change in page {
                end = change.revision;
                allotted |= self.share_out(room, &change).await?;
                entries.push(Entry::of(change)?);
            }
            // A grant and its first shares travel together, so that whoever knows the one can use the other.
            if last_page && !allotted {
                return Ok((entries, end.max(revision)));
            }
        }
    }

    /// Keeps account of grants with limits; true when shares of a new one were given out.
    async fn share_out<S: FeedStore>(&self, room: &Room<S>, change: &FeedChange) -> Result<bool, ReadError> {
        match &change.body {
            // Its uses stay where they are: it may be put again.
            ChangeBody::Suspended { .. } => Ok(false),
            ChangeBody::Put { grant, token, .. } => {
                let Some(max_uses) = max_uses(token.expose()) else { return Ok(false) };
                if self.is_over(change.revision, grant) {
                    return Ok(false);
                }
                self.state().limited.insert(grant.clone(), max_uses);
                Ok(room.shares.ensure(&self.service, grant).await?)
            }
            ChangeBody::Tombstone { grant, .. } => {
                self.state().limited.remove(grant);
                Ok(false)
            }
            ChangeBody::Freeze { .. } | ChangeBody::Keys | ChangeBody::Share { .. } => Ok(false),
        }
    }

    /// Whether a grant that was issued before the first snapshot is not in it.
    fn is_over(&self, revision: u64, grant: &GrantId) -> bool {
        let state = self.state();
        let in_snapshot = state.snapshot.as_ref().is_some_and(|snapshot| revision <= snapshot.revision);
        in_snapshot && !state.limited.contains_key(grant)
    }
}

async fn in_time<T>(
    limit: std::time::Duration,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, ReadError> {
    match timeout(limit, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(ReadError::Late),
    }
}

/// The feeds of the services that were subscribed to since the start.
#[derive(Debug, Default)]
pub(super) struct ServiceFeeds(Mutex<HashMap<ServiceName, Arc<ServiceFeed>>>);

impl ServiceFeeds {
    /// The feed of a service, once everything up to a reading is held; begun by the first who asks.
    pub(super) async fn get<S: FeedStore>(
        room: &Arc<Room<S>>,
        service: &ServiceName,
    ) -> Result<Arc<ServiceFeed>, ReadError> {
        let feed = room.feeds.get_or_begin(room, service);
        let mut ready = feed.ready.subscribe();
        let waited = timeout(room.hub.limits().read_wait_max, ready.wait_for(Option::is_some)).await;
        if matches!(waited, Ok(Ok(_))) { Ok(Arc::clone(&feed)) } else { Err(ReadError::Late) }
    }

    fn get_or_begin<S: FeedStore>(&self, room: &Arc<Room<S>>, service: &ServiceName) -> Arc<ServiceFeed> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(service) {
            return Arc::clone(feed);
        }
        let feed = ServiceFeed::new(service.clone());
        feeds.insert(service.clone(), Arc::clone(&feed));
        tokio::spawn(Arc::clone(&feed).run(Arc::clone(room)));
        feed
    }
}

/// `max_uses` of a grant token. It is read unverified: the token is our own and comes from our store.
fn max_uses(token: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Claims {
        bg: Limits,
    }
    #[derive(Deserialize)]
    struct Limits {
        max_uses: Option<u32>,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok()?.bg.max_uses
}
