//! What a verdict can be, and what a mode makes of it.

use std::sync::Arc;

use crate::domain::{Action, Grant, Resource};

/// The verdict on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ordinary traffic: the API's own rules decide.
    Pass,
    /// Allowed by a grant.
    Override(Permit),
    Refuse(RefusalCode),
}

impl Decision {
    /// The decision code: stable, machine-readable, a member of a closed set.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Override(_) => "override",
            Self::Refuse(code) => code.as_str(),
        }
    }
}

/// The proof that one request may be forwarded as an override of one action on one resource.
///
/// INVARIANT: only [`super::decide`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    grant: Arc<Grant>,
    resource: Resource,
    action: Action,
}

impl Permit {
    pub(super) fn new(grant: Arc<Grant>, resource: Resource, action: Action) -> Self {
        Self { grant, resource, action }
    }

    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    pub fn action(&self) -> &Action {
        &self.action
    }
}

/// Whether refusals are carried out or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Evaluate and record, then forward everything as ordinary traffic. The default of a new service.
    Observe,
    Enforce,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }

    /// What is done with a decision under this mode. A framing conflict is refused under both: what cannot be
    /// delimited cannot be forwarded.
    pub fn apply(self, decision: Decision) -> Disposition {
        match (self, decision) {
            (_, Decision::Pass) => Disposition::Forward,
            (_, Decision::Refuse(RefusalCode::FramingConflict)) => Disposition::Refuse(RefusalCode::FramingConflict),
            (Self::Enforce, Decision::Override(permit)) => Disposition::Override(permit),
            (Self::Enforce, Decision::Refuse(code)) => Disposition::Refuse(code),
            (Self::Observe, Decision::Override(permit)) => Disposition::WouldOverride(permit),
            (Self::Observe, Decision::Refuse(code)) => Disposition::WouldRefuse(code),
        }
    }
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    Forward,
    Override(Permit),
    Refuse(RefusalCode),
    /// Observe mode: forwarded as ordinary traffic, recorded.
    WouldOverride(Permit),
    /// Observe mode: forwarded as ordinary traffic, recorded and counted.
    WouldRefuse(RefusalCode),
}

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request was refused. Stable: it is the `code` of the problem document, the end of its `type` URI, the
        /// label of the metric and a member of the audit record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RefusalCode {
            $($(#[$doc])* $name,)*
        }

        impl RefusalCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusal_codes! {
    /// The message has no single length, or a line that parsers read differently.
    FramingConflict = "framing_conflict",
    /// One of our headers stands more than once.
    HeaderDuplicated = "header_duplicated",
    /// A header of ours is too long, empty or of no known form.
    HeaderMalformed = "header_malformed",
    /// The path has more than one reading.
    TargetAmbiguous = "target_ambiguous",
    /// A method-override or rewrite header came with the request.
    RewriteHeaderPresent = "rewrite_header_present",
    /// CONNECT cannot be overridden.
    ConnectNotOverridable = "connect_not_overridable",
    /// The query has a parameter that the route does not list.
    QueryNotListed = "query_not_listed",
    /// The route does not allow another protocol under a grant.
    UpgradeNotAllowed = "upgrade_not_allowed",
    /// Nothing came with the grant that proves anything.
    IdentityMissing = "identity_missing",
    /// The identity does not hold.
    IdentityInvalid = "identity_invalid",
    /// The identity token has expired.
    IdentityExpired = "identity_expired",
    /// The issuer's keys have not been reached yet.
    IdentityUnverifiable = "identity_unverifiable",
    /// The DPoP proof does not hold for this request and token.
    DpopProofInvalid = "dpop_proof_invalid",
    /// The DPoP proof lacks a nonce of this sidecar that is still good.
    UseDpopNonce = "use_dpop_nonce",
    /// No DPoP proof can be taken in here now.
    DpopProofUnverifiable = "dpop_proof_unverifiable",
    /// The client certificate is not one that is trusted here.
    CertificateUntrusted = "certificate_untrusted",
    /// No route that can be overridden matches.
    RouteNotOverridable = "route_not_overridable",
    /// The route is sealed and no grant came.
    GrantRequired = "grant_required",
    /// The service has sealed routes and none matches.
    RouteUnknown = "route_unknown",
    /// All that is said to someone who has not proven that a grant is theirs.
    GrantNotUsable = "grant_not_usable",
    /// The grant is bound to its token, and only its id was given.
    TokenRequired = "token_required",
    /// The holder's token is genuine and not in force here.
    GrantNotInForce = "grant_not_in_force",
    /// The holder's token is for another service.
    WrongService = "wrong_service",
    GrantExpired = "grant_expired",
    GrantRevoked = "grant_revoked",
    GrantUsedUp = "grant_used_up",
    /// The person's session or credential was reported to have changed: they are to sign in afresh.
    GrantSuspended = "grant_suspended",
    /// More than this sidecar's configuration ever allows.
    OverCeiling = "over_ceiling",
    ResourceOutOfScope = "resource_out_of_scope",
    ActionOutOfScope = "action_out_of_scope",
    /// Overrides are stopped for the service or everywhere.
    Frozen = "frozen",
    /// The table has not been filled since the start.
    FeedNotSynced = "feed_not_synced",
    /// The table is older than the grant tolerates.
    FeedStale = "feed_stale",
    /// The clock jumped; a fresh heartbeat is awaited.
    ClockUnsettled = "clock_unsettled",
    /// No use is left at this sidecar; another may hold one.
    UsesElsewhere = "uses_elsewhere",
    /// The intent cannot be made durable.
    AuditUnavailable = "audit_unavailable",
    /// No certified key is there to tell the upstream of the override.
    AssertionUnavailable = "assertion_unavailable",
}
