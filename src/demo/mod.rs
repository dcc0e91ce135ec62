//! The demonstration: the only room that imports both planes, and nothing else imports it.
//!
//! A stand-in for what a site already has: an identity issuer ([`issuer`]) and an API with rules ([`contract_api`]).

pub mod contract_api;
pub mod issuer;
pub mod serve;
