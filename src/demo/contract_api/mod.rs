//! A contract API as a site might have one: payments under contracts, with rules that lock.
//!
//! | request | locked by |
//! |---|---|
//! | `GET /v1/contracts/{contract}` | |
//! | `GET /v1/contracts/{contract}/payments/{payment}` | |
//! | `POST /v1/contracts/{contract}/payments/{payment}/release` | frozen, over_limit, four_eyes_missing |
//! | `POST /v1/contracts/{contract}/payments/{payment}/cancel` | frozen |
//! | `POST /v1/contracts/{contract}/limit` `{"amount": 5000000}` | frozen, limit_too_high |
//! | `GET /v1/contracts/{contract}/statement?bytes=…&pause_ms=…` | |
//! | `GET /v1/statement?contract=…&bytes=…&pause_ms=…` | |
//! | any method on `/v1/echo` and `/v1/contracts/{contract}/echo` | |
//! | `GET /healthz` | |
//!
//! A locked answer is 423 with the rule that locked it. With the assertion of an override ([`permit`]) the named rule is
//! stepped past, provided resource and action are what path *and body* mean; otherwise the answer is 409. Bodies of
//! release and cancel may name `contract` and `payment` again, that of limit `contract`.
//!
//! INVARIANT: the plain headers of an override are believed from nobody; its assertion is, wherever it comes from, once
//! verified against the keys of the sidecars ([`keys`]). It listens on loopback or a Unix socket all the same
//! ([`bind_local`]): ordinary traffic is the sidecar's to bring.

mod bulk;
mod handlers;
pub mod keys;
pub mod permit;
mod problem;
pub mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

use self::keys::Trust;
use self::world::World;
use super::serve::{Listener, serve};

/// Greatest size of a JSON body. Echoed bodies stream and have no limit.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Api {
    world: Mutex<World>,
    trust: Trust,
}

pub(super) type Shared = Arc<Api>;

/// A listener on this machine alone.
///
/// # Errors
/// When `address` is not a loopback address, or cannot be bound.
pub async fn bind_local(address: SocketAddr) -> std::io::Result<Listener> {
    if !address.ip().is_loopback() {
        let reason = "the contract API is the sidecar's to reach, so it listens on loopback only";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason));
    }
    TcpListener::bind(address).await.map(Listener::from)
}

/// Serves `world` until `shutdown` completes, and believes the overrides of whom it trusts.
pub async fn serve_contracts(
    listener: impl Into<Listener>,
    world: World,
    trust: Trust,
    shutdown: impl Future<Output = ()>,
) {
    serve(listener.into(), router(Api { world: Mutex::new(world), trust }), shutdown).await;
}

fn router(api: Api) -> Router {
    let contract = Router::new()
        .route("/", get(handlers::contract))
        .route("/limit", post(handlers::set_limit))
        .route("/payments/{payment}", get(handlers::payment))
        .route("/payments/{payment}/release", post(handlers::release))
        .route("/payments/{payment}/cancel", post(handlers::cancel))
        .route("/statement", get(bulk::statement_of))
        .route("/echo", any(bulk::echo));
    Router::new()
        .nest("/v1/contracts/{contract}", contract)
        .route("/v1/statement", get(bulk::statement))
        .route("/v1/echo", any(bulk::echo))
        .route("/healthz", get(handlers::health))
        .fallback(handlers::not_found)
        .method_not_allowed_fallback(handlers::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(api))
}

#[cfg(test)]
mod tests;
