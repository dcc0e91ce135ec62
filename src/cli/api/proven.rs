//! Calls that prove the caller's own key (RFC 9449), so that a grant is bound to it.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Api, ApiError, body};
use crate::cli::failure::{Exit, Failure};
use crate::clock::Clock;
use crate::domain::Binding;
use crate::http::Answer;
use crate::token::dpop::{Making, ProofKey, ProofUrl};
use crate::wire::api::{ElevationRequest, ElevationView, GrantView};
use crate::wire::lifecycle::ClaimRequest;
use crate::wire::problem::Problem;

/// Nonces taken for one call: a second, where the first was too old before it came back.
const NONCES_MAX: usize = 2;
const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

impl Api {
    pub async fn request(&self, request: &ElevationRequest) -> Result<ElevationView, ApiError> {
        let proves = request.binding == Some(Binding::Dpop);
        self.post_proven("/v1/elevations", request, proves).await
    }

    /// Binds what the caller can prove: their key, or the certificate of the connection.
    pub async fn claim(&self, grant: &GrantView) -> Result<GrantView, ApiError> {
        let target = format!("/v1/grants/{}/claim", grant.id);
        self.post_proven(&target, &ClaimRequest {}, grant.binding == Binding::Dpop).await
    }

    /// With a proof of the caller's key, if it takes one. The first may lack a nonce, which the answer then brings.
    pub(super) async fn post_proven<Q: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        document: &Q,
        proves: bool,
    ) -> Result<T, ApiError> {
        let Some(own) = self.key.as_ref().filter(|_| proves) else { return self.post(target, document).await };
        let key = own.load_or_make().map_err(|failure| ApiError::Key(Box::new(failure)))?;
        let (mut nonce, document) = (None, body(document)?);
        for _ in 0..=NONCES_MAX {
            let proof = self.proof(&key, target, nonce.as_deref())?;
            let answer = self.answer(Method::POST, target, document.clone(), Some((DPOP, proof))).await?;
            nonce = wanted_nonce(&answer);
            if nonce.is_none() {
                return self.accepted(answer)?.json().map_err(|source| ApiError::Unusable { source });
            }
        }
        Err(unproven("the control plane wanted another nonce each time"))
    }

    fn proof(&self, key: &ProofKey, target: &str, nonce: Option<&str>) -> Result<HeaderValue, ApiError> {
        let unmade = || unproven("no proof of your key could be made");
        let url: ProofUrl = self.uri(target)?.to_string().parse().map_err(|_| unmade())?;
        let (token, now) = (Some(self.token.expose().as_str()), Clock::System.wall());
        let proof = key.prove(&Making { method: "POST", url: &url, token, nonce, now }).map_err(|_| unmade())?;
        HeaderValue::try_from(proof).map_err(|_| unmade())
    }
}

/// The nonce that the next proof is to carry, where that is all that was wrong (RFC 9449 §8).
fn wanted_nonce(answer: &Answer) -> Option<String> {
    let problem = serde_json::from_slice::<Problem>(&answer.body).ok()?;
    let is_wanted = answer.status == StatusCode::UNAUTHORIZED && problem.code == "use_dpop_nonce";
    answer.headers.get(DPOP_NONCE).filter(|_| is_wanted)?.to_str().ok().map(str::to_owned)
}

fn unproven(message: &str) -> ApiError {
    let hint = "is --control the address that the control plane calls its own?";
    ApiError::Key(Box::new(Failure::new(Exit::Failed, message, hint)))
}
