//! One call of the control plane's API: with the caller's token, and once more with a better one where the answer asks
//! for that.
//!
//! INVARIANT: what is sent again is the very same request under the very same `Idempotency-Key`, so that it is carried
//! out once.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::api::{ApiError, Proving};
use super::failure::Failure;
use super::sign_in::{Credentials, random};
use crate::domain::ServiceName;
use crate::http::{Answer, Client, HttpError};
use crate::secret::Secret;
use crate::wire::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A refused token is renewed, and a weak one stepped up: each once.
const BETTER_TOKENS_MAX: u32 = 2;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    client: Client,
    base: Uri,
    credentials: Credentials,
}

impl Calls {
    pub(super) const fn new(client: Client, base: Uri, credentials: Credentials) -> Self {
        Self { client, base, credentials }
    }

    /// A token for the API of `service`, from where those for the calls come.
    pub(super) async fn token_for(&self, service: &ServiceName) -> Result<Secret<String>, Failure> {
        self.credentials.token(Some(service)).await
    }

    /// An answer that is no refusal.
    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        condition: Option<(HeaderName, HeaderValue)>,
        mut proving: Option<Proving>,
    ) -> Result<Answer, ApiError> {
        let uri: Uri = format!("{}{target}", self.base.to_string().trim_end_matches('/'))
            .parse()
            .map_err(|_| self.unreachable(HttpError::Url("it is not a URL")))?;
        let own = HeaderMap::from_iter(condition.into_iter().chain(idempotency_key(&method)?));
        let mut token = self.credentials.token(None).await.map_err(not_signed_in)?;
        let mut better_tokens = 0;
        loop {
            let proof = proving.as_ref().map(|proving| proving.header(&method, &uri, &token)).transpose()?;
            let mut headers = own.clone();
            headers.extend(proof);
            let answer = self.once(&method, &uri, (headers, &token), &body).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return self.unrefused(answer);
            }
            if let Some(proving) = &mut proving
                && proving.takes_nonce(&answer)?
            {
                continue;
            }
            let better = match better_tokens < BETTER_TOKENS_MAX {
                true => self.credentials.better(&token, &answer.headers).await.map_err(not_signed_in)?,
                false => None,
            };
            let Some(better) = better else { return self.unrefused(answer) };
            token = better;
            better_tokens += 1;
        }
    }

    async fn once(
        &self,
        method: &Method,
        uri: &Uri,
        (mut headers, token): (HeaderMap, &Secret<String>),
        body: &Bytes,
    ) -> Result<Answer, ApiError> {
        headers.extend(usual_headers(token).map_err(|source| ApiError::Unusable { source })?);
        self.client.send(method.clone(), uri, headers, body.clone()).await.map_err(|error| self.unreachable(error))
    }

    fn unrefused(&self, answer: Answer) -> Result<Answer, ApiError> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => Err(ApiError::Problem(Box::new(problem))),
            Err(_) => Err(ApiError::Status { control: self.base.to_string(), status: answer.status.as_u16() }),
        }
    }

    fn unreachable(&self, source: HttpError) -> ApiError {
        ApiError::Unreachable { control: self.base.to_string(), source }
    }
}

fn not_signed_in(failure: Failure) -> ApiError {
    ApiError::NotSignedIn(Box::new(failure))
}

/// One for each request that makes or changes something.
fn idempotency_key(method: &Method) -> Result<Option<(HeaderName, HeaderValue)>, ApiError> {
    if *method != Method::POST {
        return Ok(None);
    }
    let key = random().map_err(|error| not_signed_in(error.into()))?;
    let value = HeaderValue::try_from(key).map_err(|_| ApiError::Unusable { source: HttpError::RequestHeader })?;
    Ok(Some((IDEMPOTENCY_KEY, value)))
}

fn usual_headers(token: &Secret<String>) -> Result<HeaderMap, HttpError> {
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| HttpError::RequestHeader)?;
    bearer.set_sensitive(true);
    let json = HeaderValue::from_static("application/json");
    let accept = HeaderValue::from_static("application/json, application/problem+json");
    Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer), (CONTENT_TYPE, json), (ACCEPT, accept)]))
}
