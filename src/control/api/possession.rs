//! What a call proves beyond its access token: a key, by a DPoP proof (RFC 9449) for this very call and access token, and
//! a certificate, by its TLS connection (RFC 8705).
//!
//! What is proven here is what a grant gets bound to. It never stands in for the access token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use rustls::pki_types::CertificateDer;

use super::ApiState;
use super::caller::bearer;
use crate::config::digest_hex;
use crate::control::refusal::{Cause, Refusal};
use crate::control::workflow::claim::{Proven, ShownCertificate};
use crate::domain::{Moment, WallTime};
use crate::http::ClientAuthority;
use crate::store::UsedProof;
use crate::token::dpop::{AGE_MAX, Expected, LEAD_MAX, Nonces, ProofUrl, verify_proof};

/// The proof of a call (RFC 9449 §4.1).
pub(in crate::control) const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The nonce for the next one (RFC 9449 §8).
pub(in crate::control) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The client's certificates of a connection, leaf first, whose key the handshake has proven.
#[derive(Debug, Clone)]
pub(in crate::control) struct ClientCertificates(pub(in crate::control) Arc<[CertificateDer<'static>]>);

/// What proofs are checked by.
#[derive(Debug)]
pub struct Possession {
    nonces: Nonces,
    /// Where this API is reached: what proofs are for.
    url: ProofUrl,
    clients: Option<ClientAuthority>,
}

impl Possession {
    pub fn new(nonces: Nonces, url: ProofUrl, clients: Option<ClientAuthority>) -> Self {
        Self { nonces, url, clients }
    }

    /// A nonce for the next proof; any replica takes it.
    pub fn nonce(&self, now: WallTime) -> String {
        self.nonces.issue(since_epoch(now))
    }

    /// The URL of a call, as clients know it.
    fn url_of(&self, path: &str) -> Option<ProofUrl> {
        let base = self.url.as_str().trim_end_matches('/');
        format!("{base}{path}").parse().ok()
    }
}

/// What the call proves.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) Proven);

impl FromRequestParts<ApiState> for Shown {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        let now = state.workflow.clock.now();
        let mut proven = Proven { key: None, certificate: certificate(parts, state, now.wall) };
        let mut proofs = parts.headers.get_all(DPOP).iter();
        if let Some(proof) = proofs.next() {
            if proofs.next().is_some() {
                return Err(Refusal::new(Cause::DpopProofInvalid, "there is more than one DPoP header"));
            }
            proven.key = Some(key(parts, state, proof.to_str().unwrap_or_default(), now)?);
        }
        Ok(Self(proven))
    }
}

fn certificate(parts: &Parts, state: &ApiState, now: WallTime) -> ShownCertificate {
    let (clients, shown) = (&state.possession.clients, parts.extensions.get::<ClientCertificates>());
    match (clients, shown) {
        (Some(clients), Some(ClientCertificates(chain))) => {
            clients.verify(chain, now).map_or(ShownCertificate::Untrusted, ShownCertificate::Proven)
        }
        (None, _) | (_, None) => ShownCertificate::None,
    }
}

fn key(
    parts: &Parts,
    state: &ApiState,
    proof: &str,
    now: Moment,
) -> Result<(crate::domain::KeyThumbprint, UsedProof), Refusal> {
    let invalid = |detail: String| Refusal::new(Cause::DpopProofInvalid, detail);
    let url = state.possession.url_of(parts.uri.path());
    let url = url.ok_or_else(|| invalid("no proof can be for this address".to_owned()))?;
    let expected = Expected { method: parts.method.as_str(), url: &url, token: Some(bearer(parts)?), now: now.wall };
    let proof = verify_proof(proof, &expected).map_err(|error| invalid(error.to_string()))?;
    let is_fresh = |nonce: &str| state.possession.nonces.accepts(nonce, since_epoch(now.wall));
    if !proof.nonce.as_deref().is_some_and(is_fresh) {
        return Err(Refusal::new(Cause::UseDpopNonce, "the proof has no nonce of this API that is still good"));
    }
    let mark = digest_hex(&format!("{} {}", proof.thumbprint, proof.jti));
    // From then on it is too old, whatever its nonce says.
    let until = proof.issued.plus(AGE_MAX).plus(LEAD_MAX);
    Ok((proof.thumbprint, UsedProof { mark, until }))
}

fn since_epoch(now: WallTime) -> std::time::Duration {
    now.since(WallTime::EPOCH)
}
