//! Calls that prove the caller's own key (RFC 9449), so that a grant is bound to it.

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Api, ApiError, body};
use crate::cli::failure::{Exit, Failure};
use crate::clock::Clock;
use crate::domain::Binding;
use crate::http::Answer;
use crate::secret::Secret;
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

    /// With a proof of the caller's key, if it takes one.
    async fn post_proven<Q: Serialize, T: DeserializeOwned>(
        &self,
        target: &str,
        document: &Q,
        proves: bool,
    ) -> Result<T, ApiError> {
        let Some(own) = self.key.as_ref().filter(|_| proves) else { return self.post(target, document).await };
        let key = own.load_or_make().map_err(|failure| ApiError::Key(Box::new(failure)))?;
        let proving = Proving { key, nonce: None, nonces: 0 };
        let sent = self.calls.send(Method::POST, target, body(document)?.into(), None, Some(proving));
        let answer = Box::pin(sent).await?;
        answer.json().map_err(|source| ApiError::Unusable { source })
    }
}

/// Proves the caller's key in one call. The first proof may lack a nonce, which the answer then brings.
#[derive(Debug)]
pub(in crate::cli) struct Proving {
    key: ProofKey,
    nonce: Option<String>,
    nonces: usize,
}

impl Proving {
    /// The header for one request with `token`.
    pub(in crate::cli) fn header(
        &self,
        method: &Method,
        uri: &Uri,
        token: &Secret<String>,
    ) -> Result<(HeaderName, HeaderValue), ApiError> {
        let unmade = || unproven("no proof of your key could be made");
        let url: ProofUrl = uri.to_string().parse().map_err(|_| unmade())?;
        let (token, nonce) = (Some(token.expose().as_str()), self.nonce.as_deref());
        let making = Making { method: method.as_str(), url: &url, token, nonce, now: Clock::System.wall() };
        let proof = self.key.prove(&making).map_err(|_| unmade())?;
        Ok((DPOP, HeaderValue::try_from(proof).map_err(|_| unmade())?))
    }

    /// Whether the answer only wanted a proof with the nonce that it brings, which the next one has.
    pub(in crate::cli) fn takes_nonce(&mut self, answer: &Answer) -> Result<bool, ApiError> {
        let Some(nonce) = wanted_nonce(answer) else { return Ok(false) };
        if self.nonces == NONCES_MAX {
            return Err(unproven("the control plane wanted another nonce each time"));
        }
        self.nonces += 1;
        self.nonce = Some(nonce);
        Ok(true)
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
