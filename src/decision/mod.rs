//! The verdict on one request, as a pure function: [`decide`]`(&Policy, &Facts) -> Decision`.
//!
//! It does no I/O, reads no clock, and is total: what is missing, stale or unknown is a variant of the facts, and every
//! unknown refuses. It imports only `domain`. A [`Permit`] can be made nowhere else.

pub mod claimant;
pub mod evaluate;
pub mod facts;
pub mod outcome;
pub mod policy;

pub use claimant::Claimant;
pub use evaluate::decide;
pub use facts::{
    Assertion, Audit, Caller, Certificate, Credential, CredentialFault, Facts, Feed, Framing, Freeze, GrantFact,
    GrantStanding, HeldGrant, NamedBy, Proof, Route, Target, Traits, Unproven, Uses,
};
pub use outcome::{Decision, Disposition, Mode, Permit, RefusalCode};
pub use policy::{Ceiling, Policy};
