//! The control plane's HTTP API, `/v1`. Times are milliseconds since the epoch (`…_at`), spans are seconds (`…_s`).
//!
//! Which call takes and answers what is in the API's document, `docs/openapi.json`: it is made of the handlers.
//! Every error is a [`super::problem::Problem`].

use serde::{Deserialize, Serialize};

use crate::domain::{
    Action, Binding, Confirmation, ElevationId, ElevationState, GrantId, InstanceName, Person, ReasonCode, Resource,
    RevocationId, Role, ServiceName, Ticket, WallTime,
};
use crate::wire::lifecycle::{ApprovalView, AuthenticationView, BoundsView, PastView, ReviewView, WantedApprovals};

/// A human asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ElevationRequest {
    pub service: ServiceName,
    #[cfg_attr(feature = "control", schema(min_items = 1, max_items = 32))]
    pub resources: Vec<Resource>,
    #[cfg_attr(feature = "control", schema(min_items = 1, max_items = 32))]
    pub actions: Vec<Action>,
    pub reason: ReasonCode,
    pub ticket: Ticket,
    /// Absent: the tier's default.
    #[cfg_attr(feature = "control", schema(minimum = 1, example = 900))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_s: Option<u64>,
    /// Absent: the tier's own limit.
    #[cfg_attr(feature = "control", schema(minimum = 1, example = 3))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
    /// Which tier, where several fit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// How the grant is to be proven when it is used; absent: the tier's first. For `dpop` and `mtls` what this very call
    /// proves (by a proof in `DPoP`, or by the connection's client certificate) is bound to the grant; where it proves
    /// nothing, the grant is approved unbound, and has to be claimed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binding: Option<Binding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ElevationView {
    pub id: ElevationId,
    pub state: ElevationState,
    pub service: ServiceName,
    pub person: Person,
    pub tier: String,
    pub role: Role,
    pub resources: Vec<Resource>,
    pub actions: Vec<Action>,
    pub reason: ReasonCode,
    pub ticket: Ticket,
    pub duration_s: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
    pub binding: Binding,
    /// The key or certificate that came with the request, where the binding is to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmation: Option<Confirmation>,
    pub authentication: AuthenticationView,
    /// The policy revision that let it through.
    pub policy_revision: u64,
    pub requested_at: WallTime,
    /// When it ends unanswered; absent where it never waited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lapses_at: Option<WallTime>,
    /// While it waits: for what.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wanted: Option<WantedApprovals>,
    /// In the order they were given.
    #[serde(default)]
    pub approvals: Vec<ApprovalView>,
    /// While it waits: what would be granted now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_grant: Option<BoundsView>,
    /// While it waits, to those who may approve it: what this person did before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub past: Option<PastView>,
    /// When it stopped waiting, by whom, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_at: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_by: Option<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decided_note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    Active,
    Expired,
    Revoked,
    UsedUp,
}

impl GrantState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct GrantView {
    pub id: GrantId,
    pub elevation: ElevationId,
    pub tier: String,
    pub state: GrantState,
    pub service: ServiceName,
    pub person: Person,
    pub role: Role,
    pub resources: Vec<Resource>,
    pub actions: Vec<Action>,
    pub reason: ReasonCode,
    pub ticket: Ticket,
    pub binding: Binding,
    /// The key or certificate that the grant is bound to. Absent where the binding is to none, and while the grant waits
    /// to be claimed: then it has no token, and no sidecar knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmation: Option<Confirmation>,
    pub issued_at: WallTime,
    pub expires_at: WallTime,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
    /// Uses reported spent so far.
    pub spent: u32,
    pub policy_revision: u64,
    /// Since when an active grant can't be used: its person is to sign in afresh (their identity provider reported a change).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suspended_at: Option<WallTime>,
    /// Revision of the last change to this grant.
    pub revision: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_note: Option<String>,
    /// The revocation that ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<RevocationId>,
    pub review: ReviewView,
    pub enforcement: Enforcement,
}

impl GrantView {
    /// Whether something must be bound to it before it can be used.
    pub const fn is_unclaimed(&self) -> bool {
        self.binding.needs_confirmation() && self.confirmation.is_none()
    }
}

/// How far the last change to a grant has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Enforcement {
    pub revision: u64,
    /// Sidecars of the service that are connected, or were within the last `staleness_max`.
    pub sidecars: u32,
    /// Of these, how many have acknowledged the revision.
    pub enforced: u32,
    /// From the change's commit to the last acknowledgement, once all have answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elapsed_ms: Option<u64>,
    /// Those that have not answered, and by when they stop by themselves.
    #[serde(default)]
    pub silent: Vec<SilentSidecar>,
    /// Sidecars that refused the change, and why.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct SilentSidecar {
    pub instance: InstanceName,
    pub stops_by: WallTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Rejection {
    pub instance: InstanceName,
    pub why: String,
}

/// The grant token. Only the requester may fetch it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct GrantTokenView {
    pub grant: GrantId,
    pub token: String,
}

impl std::fmt::Debug for GrantTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantTokenView").field("grant", &self.grant).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why, for the record; at most 500 characters.
    #[cfg_attr(feature = "control", schema(max_length = 500, example = "the payment went through"))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What the caller may ask for on one service, so that a client can offer choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct RequestOptions {
    pub service: ServiceName,
    pub reasons: Vec<ReasonOption>,
    pub tickets: Vec<TicketOption>,
    pub tiers: Vec<TierOption>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct ReasonOption {
    pub code: ReasonCode,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct TicketOption {
    pub tracker: String,
    /// Regular expression the whole ticket must match.
    pub pattern: String,
    pub example: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct TierOption {
    pub name: String,
    pub role: Role,
    pub actions: Vec<Action>,
    pub resources: Vec<String>,
    pub default_s: u64,
    pub maximum_s: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct SidecarView {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub version: String,
    pub service_digest: String,
    /// True when the digest is that of the applied service file.
    pub service_current: bool,
    pub connected: bool,
    /// Newest revision it has acknowledged.
    pub revision: u64,
    /// Changes of its service that it has not acknowledged; absent where that could not be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub behind: Option<u64>,
    pub heard_at: WallTime,
    /// How old the newest state is that it was told to be current.
    #[serde(default)]
    pub feed_age_ms: u64,
    /// Its wall clock minus the control plane's, by its last ping; absent where it does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_skew_ms: Option<i64>,
    pub audit: super::feed::AuditPosition,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    pub next: Option<String>,
}

/// Public root keys for grants: what a sidecar pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct KeysView {
    pub grant_roots: Vec<String>,
    /// What verifies the ledger's checkpoints, as verifier keys (c2sp.org/signed-note): the newest last.
    #[serde(default)]
    #[cfg_attr(feature = "control", schema(example = json!(["breakglass.example/ledger+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"])))]
    pub ledger_keys: Vec<String>,
}
