//! What the lifecycle's transitions take and answer: requests, approvals, grants, reviews.
//!
//! Who decides does so outside, on what was read: a decision comes with what it rests on ([`Basis`], [`Seen`]), and the
//! transition holds only if that still stands under the writer's lock. Otherwise it answers `Stale`, nothing was done,
//! and the decision is to be made anew.

use std::time::Duration;

use crate::domain::{
    Approval, Authentication, Elevation, ElevationId, ElevationState, Grant, GrantId, Person, ReviewState,
    RevocationId, Verdict, WallTime,
};
use crate::policy::{AdmittedBy, History};
use crate::secret::Secret;
use crate::store::UsedProof;
use crate::wire::api::GrantState;

/// A request, the tier that let it through, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElevationRecord {
    pub elevation: Elevation,
    pub tier: String,
    /// By what the tier was open to the person; unknown for those of the first schema.
    pub admitted_by: Option<AdmittedBy>,
    /// When it ends unanswered; `None`: it never waited.
    pub lapses: Option<WallTime>,
    /// In the order they were given.
    pub approvals: Vec<Approval>,
    pub decided: Option<Decided>,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// How a request stopped waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub at: WallTime,
    /// Absent when nobody had to decide, or nobody did in time.
    pub by: Option<Person>,
    pub note: Option<String>,
}

/// A grant and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    pub grant: Grant,
    pub elevation: ElevationId,
    pub tier: String,
    pub state: GrantState,
    /// Revision of the last change, and when that was committed.
    pub revision: u64,
    pub changed: WallTime,
    pub spent: u32,
    /// Since when it waits for its person to authenticate afresh.
    pub suspended: Option<WallTime>,
    pub ended: Option<GrantEnd>,
    pub review: Review,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantEnd {
    pub at: WallTime,
    /// Absent when time or use ended it.
    pub by: Option<Person>,
    pub note: Option<String>,
    /// The revocation that ended it.
    pub revocation: Option<RevocationId>,
}

/// What is to be thought, and what is thought, of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub state: ReviewState,
    /// By when; known once the grant has ended.
    pub by: Option<WallTime>,
    pub done: Option<ReviewDone>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewDone {
    pub at: WallTime,
    pub person: Person,
    pub verdict: Verdict,
    pub findings: String,
}

/// The facts that a request was let through on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// The newest there is.
    pub policy_revision: u64,
    /// How far back ends of grants were looked for.
    pub ended_since: WallTime,
    pub history: History,
    /// What was proven of the person at or before this time no longer counts.
    pub fresh_since: Option<WallTime>,
}

/// The facts that an approval was given on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub version: u64,
    /// The newest there is.
    pub policy_revision: u64,
}

/// A request that the policy lets through. With a grant it is approved as it is made; without one it waits.
#[derive(Debug, Clone)]
pub struct NewElevation {
    pub record: ElevationRecord,
    /// The group that stood in for a schedule which was not known.
    pub stood_in: Option<String>,
    /// The team whose the service is.
    pub team: Option<String>,
    pub grant: Option<NewGrant>,
    /// By what its key was proven, where it was.
    pub proof: Option<UsedProof>,
    pub once: Option<OnceKey>,
    pub basis: Basis,
}

/// A signed grant that nobody knows yet.
#[derive(Debug, Clone)]
pub struct NewGrant {
    pub grant: Grant,
    pub issuer: String,
    /// Absent while nothing is bound to it that must be.
    pub token: Option<Secret<String>>,
    /// How long after its end a review is due; `None`: none is asked for.
    pub review_due: Option<Duration>,
}

/// One person's approval.
#[derive(Debug, Clone)]
pub struct NewApproval {
    pub elevation: ElevationId,
    /// Its time is the transition's.
    pub approval: Approval,
    /// How the approver had authenticated, for the record.
    pub authentication: Authentication,
    /// The entity tag of what the approver saw, for the record.
    pub etag: String,
    pub seen: Seen,
    /// Where this approval completes the set.
    pub grant: Option<NewGrant>,
    pub once: Option<OnceKey>,
}

/// The caller's `Idempotency-Key` with the digest of what was asked under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceKey {
    pub key: String,
    pub operation: Operation,
    pub digest: String,
}

/// Calls that take an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Request,
    Approve,
    Deny,
    Withdraw,
    Review,
    Revoke,
    RevokeAll,
    Claim,
    Erase,
}

impl Operation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Withdraw => "withdraw",
            Self::Review => "review",
            Self::Revoke => "revoke",
            Self::RevokeAll => "revoke_all",
            Self::Claim => "claim",
            Self::Erase => "erase",
        }
    }
}

/// What is known of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The same call came before: the id of what came of it.
    Before(String),
    /// The key came with another call.
    Reused,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// Granted at once; the feed is told of it once something is bound to it that must be.
    New {
        revision: Option<u64>,
    },
    /// It waits for approvals.
    Waiting,
    Kept(Kept),
    /// The proof that came with it was used before.
    Replayed,
    /// Policy or history are no longer those it rests on.
    Stale,
    /// Nothing is granted for the service now.
    Frozen,
}

/// What an answer to a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Where a grant was made of it, its revision.
    Done {
        revision: Option<u64>,
    },
    Kept(Kept),
    /// It waits no longer: it stands like this.
    Stands(ElevationState),
    /// It, or the policy, is no longer what was seen.
    Stale,
    /// Nothing is granted for the service now.
    Frozen,
    Unknown,
}

/// What a review came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewOutcome {
    Done,
    Kept(Kept),
    /// There is nothing to review, or it was.
    Stands(ReviewState),
    Unknown,
}

/// A person's review of somebody else's grant.
#[derive(Debug, Clone)]
pub struct NewReview {
    pub grant: GrantId,
    pub person: Person,
    pub verdict: Verdict,
    pub findings: String,
    pub once: Option<OnceKey>,
}

/// How many reviews are awaited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Awaited {
    /// Requests without an answer.
    pub approvals: u64,
    pub due: u64,
    pub overdue: u64,
}
