//! Everything a verdict rests on, observed before it is made.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{
    Action, BootTime, CertificateThumbprint, Deadline, Grant, KeyThumbprint, Moment, Person, Resource,
};

/// One request and the state of the sidecar, at one moment.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub now: Moment,
    pub framing: Framing,
    pub target: Target,
    pub route: Route<'a>,
    pub traits: Traits,
    pub credential: Credential,
    pub caller: Caller<'a>,
    pub certificate: Certificate<'a>,
    pub proof: Proof<'a>,
    pub grant: GrantFact<'a>,
    pub freeze: Freeze,
    pub feed: Feed,
    pub uses: Uses,
    pub audit: Audit,
    pub assertion: Assertion,
}

/// Whether the message has one length (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Sound,
    Conflict,
}

/// Whether the path has one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Canonical,
    Ambiguous,
}

/// What the route table says of method and path.
#[derive(Debug, Clone, Copy)]
pub enum Route<'a> {
    /// The path alone fixes the resource: it can be overridden.
    Overridable {
        resource: &'a Resource,
        action: &'a Action,
        sealed: bool,
        /// The route lets another protocol through (RFC 9110 §7.8), of which nothing can be inspected.
        upgrade: bool,
    },
    /// A route matched that can't be overridden.
    Fixed {
        sealed: bool,
        upgrade: bool,
    },
    /// The path is sealed under another method: a seal covers every method on its path.
    PathSealed,
    Unmatched,
}

/// What else about the request bars an override.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// A method-override or rewrite header is present.
    pub rewrite_header: bool,
    /// The query has a parameter that the route does not list.
    pub unlisted_query: bool,
    /// The request asks for another protocol (RFC 9110 §7.8).
    pub upgrade: bool,
    /// CONNECT, plain or extended (RFC 8441).
    pub connect: bool,
}

/// The `Break-Glass` header and its companions, as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Absent,
    Malformed(CredentialFault),
    Presented(NamedBy),
}

/// How the header names the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// No secret: it proves nothing.
    Id,
    /// The whole grant token: it proves that the caller has it.
    Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialFault {
    /// One of our headers stands more than once.
    Duplicated,
    /// Too long, empty, or not of the form of a grant token or grant id.
    Malformed,
}

/// Who the caller has proven to be.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    Unproven(Unproven),
    /// What came stood in a header that may be meant for the API alone, and does not hold: it counts where nothing else
    /// proves anything.
    Ambient(Unproven),
    Proven(&'a Person),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// No proof of any kind came with the request.
    Missing,
    /// A proof came and does not hold.
    Invalid,
    /// A genuine identity token, past its `exp`.
    Expired,
    /// The issuer's keys have never been reached, so nothing can be said of the proof.
    Unverifiable,
}

/// The client certificate of the connection. A client shows it to whoever asks, so one that does not hold is no fault.
#[derive(Debug, Clone, Copy)]
pub enum Certificate<'a> {
    /// None, or none is asked for here.
    Absent,
    /// Not of an authority that is trusted here, or not in its time.
    Untrusted,
    Proven(&'a CertificateThumbprint),
}

/// The DPoP proof of the request (RFC 9449).
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    Absent,
    /// It does not hold for this request and the token that came with it.
    Invalid,
    /// It holds, but its nonce is missing, not one of ours, or too old.
    NonceWanted,
    /// No proof can be taken in now.
    Unverifiable,
    /// It holds and was used before.
    Replayed,
    Proven(&'a KeyThumbprint),
}

/// What is known of the grant that was named.
#[derive(Debug, Clone)]
pub enum GrantFact<'a> {
    /// Nothing, or nothing that may be told.
    Unknown,
    /// Not in the table, but a token whose signature is ours: its proven holder may learn why it does not work.
    Genuine(&'a Grant),
    Held(HeldGrant<'a>),
}

/// A grant in the table.
#[derive(Debug, Clone)]
pub struct HeldGrant<'a> {
    pub grant: &'a Arc<Grant>,
    pub deadline: Deadline,
    pub standing: GrantStanding,
}

/// Whether the table still holds the grant as good. INVARIANT: it never returns to `Live`; what is put again after it was
/// suspended is another row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantStanding {
    Live,
    /// Until its person has authenticated afresh.
    Suspended,
    Revoked,
    UsedUp,
}

/// Whether overrides are stopped for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    None,
    /// By the control plane, for this service or everywhere.
    ByControlPlane,
    /// By an operator at this sidecar.
    Local,
}

/// How current the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// No snapshot has been completed since the start.
    NeverSynced,
    /// A clock discontinuity was seen; a fresh heartbeat has not come since.
    ClockUnsettled,
    /// The table equals the control plane's at this boot time.
    AsOf(BootTime),
}

/// Whether a use of the grant can be spent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    Unlimited,
    Available,
    /// This sidecar has no share; another may.
    Elsewhere,
}

/// Whether an intent can be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    Ready,
    Unavailable,
}

/// Whether the upstream can be told of an override in a way it can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assertion {
    /// A certified key signs.
    Ready,
    /// No key is certified, or none any more.
    Unavailable,
}

impl HeldGrant<'_> {
    /// The staleness this grant tolerates under a ceiling.
    pub fn staleness_limit(&self, ceiling: Duration) -> Duration {
        self.grant.staleness_max.min(ceiling)
    }
}
