//! The words of the product as types: who, what, on which contract, for how long, and why.
//!
//! Everything here is a value. A value that exists is valid: text is parsed at the edge (`FromStr`, `TryFrom`, serde)
//! and never checked again. This module imports nothing of ours, does no I/O and reads no clock.

pub mod action;
pub mod confirmation;
pub mod elevation;
pub mod erasure;
pub mod grant;
pub mod justification;
pub mod narrowing;
pub mod principal;
pub mod proposal;
pub mod resource;
pub mod review;
pub mod revocation;
pub mod scope;
pub mod service;
mod text;
pub mod time;
pub mod transmitter;

/// The greatest integer up to which a double holds every one exactly, so that every reader of JSON takes it for the same (RFC
/// 7493 §2.2).
pub const EXACT_MAX: u64 = (1 << 53) - 1;

pub use action::Action;
pub use confirmation::{CertificateThumbprint, Confirmation, KeyThumbprint};
pub use elevation::{Approval, Elevation, ElevationId, ElevationState};
pub use erasure::{Erasable, ErasureId, ErasureReason, ObstacleKind};
pub use grant::{Authentication, Binding, Grant, GrantId, Origin};
pub use justification::{Justification, ReasonCode, Ticket};
pub use narrowing::{Bounds, Narrowing, NarrowingError};
pub use principal::{Audience, Issuer, Person, Principal, Subject};
pub use proposal::{ProposalId, ProposalState};
pub use resource::{Resource, ResourceType};
pub use review::{ReviewState, Verdict};
pub use revocation::{RevocationId, Selector};
pub use scope::{Role, Scope, ScopeError};
pub use service::{InstanceName, ServiceName};
pub use text::TextError;
pub use time::{BootTime, Deadline, Moment, WallTime};
pub use transmitter::TransmitterName;
