//! The control plane: issues and revokes grants, and tells the sidecars.

pub mod feed;
