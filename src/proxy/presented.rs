//! What every request shows to the sidecar: the grant, and what proves it by the grant's binding.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::token::dpop::{Making, ProofKey, ProofUrl};
use crate::wire::own_headers::{BREAK_GLASS, DPOP, DPOP_NONCE, IDENTITY};

/// Why nothing can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpresentable {
    #[error("there is no identity token")]
    NoIdentity,
    #[error("a token has bytes that headers cannot carry")]
    Malformed,
    #[error("no proof of the key could be made for this address")]
    Unproven,
}

/// See the module.
#[derive(Debug)]
pub struct Presented {
    /// The grant's id, or its token.
    pub grant: Secret<String>,
    pub proof: Proof,
}

/// What proves the grant beside its name.
#[derive(Debug)]
pub enum Proof {
    /// The person's access token. It changes: such tokens live for minutes.
    Identity(watch::Receiver<Option<Secret<String>>>),
    /// The client certificate of the connection, which is none of a request's headers.
    Certificate,
    /// A proof of the key for each request (RFC 9449).
    Key(Prover),
}

/// A key and the nonce that the sidecar wants next.
#[derive(Debug, Clone)]
pub struct Prover {
    key: Arc<ProofKey>,
    nonce: Arc<Mutex<Option<String>>>,
    clock: Clock,
}

impl Presented {
    /// Adds our headers to a request that has none of them. `uri` is absolute.
    ///
    /// # Errors
    /// [`Unpresentable`].
    pub(super) fn add(&self, headers: &mut HeaderMap, method: &Method, uri: &Uri) -> Result<(), Unpresentable> {
        insert(headers, BREAK_GLASS, self.grant.expose())?;
        match &self.proof {
            Proof::Identity(token) => {
                let token = token.borrow().clone().ok_or(Unpresentable::NoIdentity)?;
                insert(headers, IDENTITY, token.expose())
            }
            Proof::Certificate => Ok(()),
            Proof::Key(prover) => {
                let proof = prover.prove(&self.grant, method.as_str(), &uri.to_string())?;
                insert(headers, DPOP, &proof)
            }
        }
    }

    /// Whether a request may have to be sent again.
    pub(super) const fn may_repeat(&self) -> bool {
        matches!(self.proof, Proof::Key(_))
    }

    /// Takes what the sidecar's answer says for the next proof; true, where the request was refused for want of it.
    pub(super) fn heard(&self, status: StatusCode, headers: &mut HeaderMap) -> bool {
        let nonce = headers.remove(DPOP_NONCE);
        let (Proof::Key(prover), Some(nonce)) =
            (&self.proof, nonce.and_then(|nonce| nonce.to_str().ok().map(str::to_owned)))
        else {
            return false;
        };
        prover.remember(nonce);
        let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        status == StatusCode::UNAUTHORIZED && challenges.any(wants_nonce)
    }
}

/// RFC 9449 §9.
pub fn wants_nonce(challenge: &str) -> bool {
    let is_ours = challenge.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("DPoP "));
    is_ours && challenge.contains("error=\"use_dpop_nonce\"")
}

impl Prover {
    pub fn new(key: ProofKey, clock: Clock) -> Self {
        Self { key: Arc::new(key), nonce: Arc::default(), clock }
    }

    /// A proof for one request. `url` is absolute; its query does not count.
    ///
    /// # Errors
    /// When there is none for such a URL.
    pub fn prove(&self, grant: &Secret<String>, method: &str, url: &str) -> Result<String, Unpresentable> {
        let url: ProofUrl = url.parse().map_err(|_| Unpresentable::Unproven)?;
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = Some(grant.expose().as_str());
        let making = Making { method, url: &url, token, nonce: nonce.as_deref(), now: self.clock.wall() };
        self.key.prove(&making).map_err(|_| Unpresentable::Unproven)
    }

    pub fn remember(&self, nonce: String) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce);
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), Unpresentable> {
    let mut value = HeaderValue::try_from(value).map_err(|_| Unpresentable::Malformed)?;
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
