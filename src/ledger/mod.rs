//! The ledger: what happened, as entries that can be proven. Pure: no I/O, no clock, no randomness of its own.
//!
//! 1. [`entry`]: one entry, and what it says. Its canonical bytes are a leaf of the tree.
//! 2. [`hash`], [`tree`]: the Merkle tree of RFC 6962, and proofs in it. [`edge`]: how it grows.
//! 3. [`tile`]: tree and entries in pieces, as C2SP tlog-tiles lays them out.
//! 4. [`note`], [`checkpoint`]: what the log signed, and witnesses under it.
//! 5. [`proof`]: a proof as a file. [`verify`]: is a whole log what was signed? [`witness`]: may this be cosigned?

mod canonical;
pub mod checkpoint;
pub mod edge;
pub mod entry;
mod erasure;
#[cfg(test)]
pub(crate) mod forgery;
pub mod hash;
mod introspection;
mod kinds;
pub mod note;
#[cfg(feature = "control")]
pub mod ocsf;
mod own_kinds;
pub mod proof;
#[cfg(test)]
pub(crate) mod sample;
mod scim;
mod shipped;
mod signals;
pub mod tile;
pub mod tree;
pub mod verify;
pub mod witness;

pub use erasure::{Erased, ErasedOf};
pub use introspection::InactiveToken;
pub use kinds::{DataRead, Enforced, Issued, Ordered, Refused};
pub use scim::Provisioned;
pub use shipped::{Anchor, AuditLine, Closed, Fork, LeftOut, Lost};
pub use signals::Signalled;
