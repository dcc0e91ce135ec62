//! The demonstration: the only room that imports both planes, and nothing but the command line's `demo` imports it.
//!
//! [`run`] starts everything in one process (`parts`), plays the story (`story`) and stays up. A stand-in for what a
//! site already has comes with it: an identity issuer ([`issuer`]) and an API with rules ([`contract_api`]).

pub mod contract_api;
mod examples;
pub mod issuer;
mod parts;
mod ports;
pub mod run;
pub mod serve;
mod standalone;
mod story;
