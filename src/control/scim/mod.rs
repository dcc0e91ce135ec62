//! SCIM 2.0 (RFC 7643, RFC 7644): people and groups as provisioning clients such as Entra ID and Okta keep them.
//!
//! - [`client`]: who may call. - `filter`, `patch`: what they send. - `answer`: what they are answered.
//! - [`users`], [`groups`], [`about`]: the calls.
//!
//! A client sees and changes its own resources alone. Whoever is deactivated or deleted loses their grants at once; for an
//! issuer with `groups = "scim"` these groups are the person's, and the token's are not looked at. It must never: keep an
//! attribute that is not asked for here, or tell one client of another's people.

pub mod about;
mod answer;
pub mod client;
mod filter;
pub mod groups;
mod patch;
pub mod users;

pub use answer::{ScimFailure, ScimResource};
