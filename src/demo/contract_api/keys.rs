//! Whose assertions the API believes: the keys that the sidecars before it serve, fetched, kept for a while, and fetched
//! again when one is not known.
//!
//! Must never: let a stranger make it fetch more than once a second, or believe a key that a pinned root did not certify.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::config::assertion::UpstreamFacing;
use crate::domain::ServiceName;
use crate::token::assertion::Target;
use crate::token::assertion::jwks::{self, AssertionKeys};
use crate::token::{AssertionClaims, AssertionError, PublicKey, verify_assertion};

/// One fetch, from connecting to the last byte.
const FETCH_TIME_MAX: Duration = Duration::from_secs(2);
/// Keys that are not known make it fetch anew no more often than this.
const REFRESH_EVERY_MIN: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trust {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: ServiceName,
    /// Empty: whatever the addresses serve is believed.
    roots: Vec<PublicKey>,
    clock: Clock,
    places: Mutex<Vec<UpstreamFacing>>,
    cache: tokio::sync::Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    keys: AssertionKeys,
    fetched: Option<Instant>,
    /// The addresses the keys came from.
    places: usize,
}

/// Why an assertion was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("{0}")]
    Assertion(AssertionError),
    /// It may yet turn out to hold.
    #[error("the keys to verify the override's assertion with can't be fetched now")]
    KeysUnavailable,
}

impl Trust {
    /// Believes the sidecars of `service` that serve their keys at `places`.
    pub fn new(service: ServiceName, places: Vec<UpstreamFacing>, roots: Vec<PublicKey>, clock: Clock) -> Self {
        let (places, cache) = (Mutex::new(places), tokio::sync::Mutex::default());
        Self { inner: Arc::new(Inner { service, roots, clock, places, cache }) }
    }

    /// Believes one more sidecar.
    pub fn add(&self, place: UpstreamFacing) {
        self.inner.places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// The claims of `assertion`, if it holds for the request as it arrived.
    ///
    /// # Errors
    /// [`Unproven`].
    pub async fn verify(&self, assertion: &str, target: Target<'_>) -> Result<AssertionClaims, Unproven> {
        let mut cache = self.inner.cache.lock().await;
        let places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let age = cache.fetched.map(|fetched| fetched.elapsed());
        if age.is_none_or(|age| age > jwks::MAX_AGE) || cache.places != places.len() {
            self.refresh(&mut cache, &places).await;
        }
        let verified = self.against(&cache.keys, assertion, target);
        let Err(AssertionError::UnknownKey) = verified else { return verified.map_err(Unproven::Assertion) };
        if cache.fetched.is_some_and(|fetched| fetched.elapsed() < REFRESH_EVERY_MIN) && age.is_some() {
            return Err(Unproven::KeysUnavailable);
        }
        self.refresh(&mut cache, &places).await;
        match self.against(&cache.keys, assertion, target) {
            Err(AssertionError::UnknownKey) if cache.keys.is_empty() => Err(Unproven::KeysUnavailable),
            verified => verified.map_err(Unproven::Assertion),
        }
    }

    fn against(
        &self,
        keys: &AssertionKeys,
        assertion: &str,
        target: Target<'_>,
    ) -> Result<AssertionClaims, AssertionError> {
        verify_assertion(assertion, keys, &self.inner.service, target, self.inner.clock.wall())
    }

    /// Fetches from everywhere. Where nobody answers, what was known is kept.
    async fn refresh(&self, cache: &mut Cache, places: &[UpstreamFacing]) {
        let mut keys = AssertionKeys::default();
        for place in places {
            match self.fetch(place).await {
                Ok(found) => keys.extend(found),
                Err(error) => tracing::warn!(%place, %error, "the keys of assertions could not be fetched"),
            }
        }
        if !keys.is_empty() {
            cache.keys = keys;
        }
        (cache.fetched, cache.places) = (Some(Instant::now()), places.len());
    }

    async fn fetch(&self, place: &UpstreamFacing) -> io::Result<AssertionKeys> {
        let fetching = async {
            match place {
                UpstreamFacing::Tcp(address) => get(TcpStream::connect(address).await?).await,
                UpstreamFacing::Unix(path) => get(UnixStream::connect(path).await?).await,
            }
        };
        let body = timeout(FETCH_TIME_MAX, fetching).await.map_err(io::Error::from)??;
        AssertionKeys::read(&body, &self.inner.roots, self.inner.clock.wall()).map_err(io::Error::other)
    }
}

async fn get(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<bytes::Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = http::Request::get(jwks::PATH).header(http::header::HOST, "sidecar");
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status() != http::StatusCode::OK {
            return Err(io::Error::other(format!("the sidecar answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), jwks::SET_BYTES_MAX).collect().await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}
