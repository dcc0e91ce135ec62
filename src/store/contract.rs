//! What the store promises, in types. The SQL behind it is in the files beside; one contract, whichever database.
//!
//! - Each transition is ONE transaction: the state, the change with its revision, and the ledger entries. After an
//!   error nothing of it is there.
//! - When a transition has returned, it is durable (SQLite: `synchronous = FULL`; PostgreSQL: `synchronous_commit`).
//!   One whose commit was not answered may hold all the same: whoever repeats it finds out.
//! - Revisions are dense, from 1, allotted under the writer's lock, which is one over all replicas: whoever reads revision `n` will find every
//!   revision below it. Entry indices are dense, from 0, by the same lock.
//! - Reads see one committed state each. Two reads may see two: read `newest_revision` *before* `changes_after`, and
//!   what it named is in what follows.
//!
//! The calls themselves are methods of [`super::Store`]:
//!
//! | for the feed | answers |
//! |---|---|
//! | `epoch() -> &str` | random, made with the database |
//! | `subscribe() -> watch::Receiver<u64>` | wakes after each commit that made a revision; holds the newest |
//! | `newest_revision() -> u64` | read from the database: 0 when there is none yet |
//! | `oldest_change() -> u64` | first revision still held; who needs an earlier one resyncs |
//! | `snapshot(&ServiceName) -> FeedSnapshot` | one consistent state |
//! | `changes_after(&ServiceName, after, limit) -> Vec<FeedChange>` | in order, this service's and everyone's |
//! | `admit(&[StreamClaim]) -> Vec<Admission>` | begins streams; what earlier ones say changes nothing from then on |
//! | `record_spent(&GrantId, &ShareHolder, spent) -> SpentOutcome` | monotonic; may end the grant as used up |
//! | `share_turn() -> ShareTurn` | the writer's turn, to move uses about |
//! | `shares_of(&GrantId) -> Vec<Share>`, `shares_of_lineage(&ShareHolder) -> Vec<Share>` | where the uses are |
//! | `recalls() -> Vec<ShareRecall>` | shares that are asked back |
//! | `report(batch, &[SidecarSeen])`, `hearsay(read) -> Hearsay` | what each replica heard of its sidecars |
//! | `sidecars() -> Vec<SidecarSeen>` | who was heard of, over restarts |
//! | `subscribe_replicas() -> watch::Receiver<u64>` | wakes when a replica reported or asked something |
//!
//! All of them are `async` (but the first two and the last) and answer `Result<_, StoreError>`.

use super::lifecycle::{GrantRecord, Kept};
use crate::domain::{
    Action, ElevationState, GrantId, InstanceName, Person, ReasonCode, Resource, ReviewState, ServiceName, Ticket,
    WallTime,
};
use crate::secret::Secret;
use crate::wire::api::GrantState;
use crate::wire::feed::{AuditPosition, EndCause};

/// The database could not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the database holds something this version cannot read: {0}")]
    Corrupt(String),
    #[error("an entry could not be sealed")]
    Entry(#[from] crate::ledger::entry::EntryError),
}

/// Everything a sidecar of one service must hold, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSnapshot {
    pub revision: u64,
    /// For this service or everywhere.
    pub frozen: bool,
    /// Active and unexpired grants, in the order they were issued.
    pub tokens: Vec<SnapshotGrant>,
    /// Active and unexpired grants whose person has to authenticate afresh.
    pub suspended: Vec<SnapshotGrant>,
    /// Grants that ended within the last [`super::Store::ENDED_RECENTLY`], so that their holders learn why.
    pub ended_recently: Vec<SnapshotEnd>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotGrant {
    pub grant: GrantId,
    /// Revision of the last change to it.
    pub revision: u64,
    pub token: Secret<String>,
    /// What was proven of its person at or before this time proves nothing for it.
    pub identity_since: Option<WallTime>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEnd {
    pub grant: GrantId,
    pub revision: u64,
    pub cause: EndCause,
    pub token: Secret<String>,
}

/// One revision, as the feed tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedChange {
    pub revision: u64,
    /// When it was committed, by this machine's wall clock.
    pub at: WallTime,
    pub body: ChangeBody,
}

/// What changed. Freeze, share, and whether a grant is suspended say what stands when they are read, not what stood at their revision: an earlier
/// value is of no use to anyone, and an earlier share would be too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeBody {
    Put {
        grant: GrantId,
        token: Secret<String>,
        identity_since: Option<WallTime>,
    },
    Suspended {
        grant: GrantId,
        token: Secret<String>,
    },
    Tombstone {
        grant: GrantId,
        cause: EndCause,
    },
    Freeze {
        frozen: bool,
    },
    Keys,
    /// Concerns the sidecars of this lineage alone.
    Share {
        lineage: String,
        grant: GrantId,
        allotted: u32,
    },
}

/// Who holds shares: one sidecar's audit folder, on one stream of that sidecar. A grant of another service is never
/// theirs, and what is said on any but the newest stream is believed no more: such a call changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHolder {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub lineage: String,
    /// Number of the stream over all replicas: see [`super::Store::admit`].
    pub generation: u64,
}

/// A sidecar whose stream is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamClaim {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub lineage: String,
    pub version: String,
    pub service_digest: String,
    pub audit: AuditPosition,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The number of the stream. Every earlier one of the instance, and of the lineage, is over.
    Begun(u64),
    /// Another instance is connected with this lineage, at another replica.
    LineageInUse,
}

/// A question "give back what you do not need" that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRecall {
    /// Apart from every other there was.
    pub number: u64,
    pub grant: GrantId,
    /// Who is asked, and on which stream.
    pub lineage: String,
    pub generation: u64,
    /// What may be kept.
    pub keep: u32,
    /// For whom, and how much of what comes back.
    pub asker: ShareHolder,
    pub wanted: u32,
    pub asked: WallTime,
    /// Everything that was allotted to the lineage before is told by this revision.
    pub revision: u64,
}

/// Uses of one grant at one lineage, both sums since the grant was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub grant: GrantId,
    pub lineage: String,
    pub instance: InstanceName,
    pub allotted: u32,
    pub spent: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpentOutcome {
    /// Revision of the tombstone, where this report used the grant up.
    pub used_up: Option<u64>,
    /// More was spent than was allotted: a sidecar broke its share. Recorded all the same.
    pub above_share: bool,
}

/// What was last heard of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarSeen {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub version: String,
    pub service_digest: String,
    pub lineage: String,
    /// Last revision it acknowledged, and when.
    pub revision: u64,
    pub acked: WallTime,
    pub heard: WallTime,
    pub audit: AuditPosition,
    /// The replica at which its newest stream is or was, and that stream's number.
    pub replica: String,
    pub generation: u64,
    pub connected: bool,
    /// `as_of` of the newest heartbeat it can have.
    pub fresh: WallTime,
    /// Its wall clock minus its replica's, in milliseconds.
    pub skew_ms: Option<i64>,
    /// Revisions it did not accept lately, and why.
    pub rejections: Vec<(u64, String)>,
}

/// A replica that serves the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSeen {
    pub id: String,
    /// When it last said so, by its own clock.
    pub alive: WallTime,
    /// Number of its last report.
    pub batch: u64,
}

/// What the other replicas reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hearsay {
    pub replicas: Vec<ReplicaSeen>,
    /// Those of them whose reports had not been read yet.
    pub sidecars: Vec<SidecarSeen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeOutcome {
    Revoked(Box<GrantRecord>),
    /// It had ended before.
    Ended(Box<GrantRecord>),
    /// The same key came before, with this or another call.
    Kept(Kept),
    Unknown,
}

/// Which grants or elevations to list, newest first. What is absent is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub service: Option<ServiceName>,
    pub person: Option<Person>,
    /// Of grants.
    pub state: Option<GrantState>,
    /// Of elevations.
    pub elevation_state: Option<ElevationState>,
    /// Of grants.
    pub review: Option<ReviewState>,
    pub resource: Option<Resource>,
    pub action: Option<Action>,
    pub reason: Option<ReasonCode>,
    pub ticket: Option<Ticket>,
    /// Requested, or issued, at this time or later.
    pub from: Option<WallTime>,
    /// Before this time.
    pub to: Option<WallTime>,
    /// Those before this position.
    pub before: Option<i64>,
    pub limit: u32,
}

/// One page and the position its successor starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next: Option<i64>,
}

/// The policy and service files that are served, as they were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPolicy {
    pub revision: u64,
    pub text: String,
    /// SHA-256 of `text`, hex.
    pub digest: String,
    /// Name, text and digest of each service file.
    pub services: Vec<AppliedFile>,
    pub at: WallTime,
    /// Absent: the first start applied the files that it found.
    pub by: Option<Person>,
    /// Where a second administrator was needed.
    pub confirmed_by: Option<Person>,
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFile {
    pub name: String,
    pub text: String,
    pub digest: String,
}

/// A grant key as everyone may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub kid: String,
    pub root_kid: String,
    /// `bg-key+jwt`
    pub certificate: String,
}
