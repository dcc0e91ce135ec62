//! The JSON that crosses between the parts, and nothing else. Shapes live here; meaning lives in `domain`, and every
//! shape becomes a domain value at the edge by `TryFrom`.

pub mod api;
pub mod audit;
pub mod erasures;
pub mod feed;
pub mod lifecycle;
pub mod own_headers;
pub mod policy;
pub mod problem;
pub mod query;
pub mod reports;
pub mod revocations;
pub mod sign_in;
pub mod strict_json;
