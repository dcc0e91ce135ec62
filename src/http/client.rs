//! Bounded calls: one request, one answer held in memory.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connect::{self, Cleartext, Origin, broken};
use super::error::{HttpError, Step};
use super::limits::Limits;
use super::pool::Pool;
use super::sender::{Call, Failed, Sender};
use super::tls::ClientTls;
use crate::secret::Secret;

type Whole = Full<Bytes>;
type Headed = Result<Response<Incoming>, Failed<Whole>>;

/// An answer with its whole body. Its `Debug` shows sizes, not contents.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`HttpError::Json`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::json(&error))
    }

    /// The answer, if its status is 2xx.
    ///
    /// # Errors
    /// [`HttpError::Status`] with the whole answer in it.
    pub fn successful(self) -> Result<Self, HttpError> {
        if self.status.is_success() { Ok(self) } else { Err(HttpError::Status(Box::new(self))) }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("body_bytes", &self.body.len()).finish()
    }
}

/// A client with one set of trusted roots and limits. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    tls: Option<ClientTls>,
    limits: Limits,
    cleartext: Cleartext,
    pool: Arc<Pool>,
}

impl Client {
    /// Without `tls` only http is possible, and only to this machine.
    pub fn new(tls: Option<ClientTls>, limits: Limits) -> Self {
        Self { tls, limits, cleartext: Cleartext::LoopbackOnly, pool: Arc::default() }
    }

    #[must_use]
    pub fn with_cleartext(mut self, cleartext: Cleartext) -> Self {
        self.cleartext = cleartext;
        self
    }

    /// The same limits with other roots, and connections of its own.
    #[must_use]
    pub fn with_tls(&self, tls: ClientTls) -> Self {
        Self { tls: Some(tls), pool: Arc::default(), ..self.clone() }
    }

    /// GET, expecting JSON and a 2xx status.
    ///
    /// # Errors
    /// [`HttpError`]; a status that is not 2xx comes with the answer in it.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        uri: &Uri,
        bearer: Option<&Secret<String>>,
    ) -> Result<T, HttpError> {
        self.send(Method::GET, uri, json_headers(bearer)?, Bytes::new()).await?.successful()?.json()
    }

    /// POST of `document` as JSON, expecting JSON and a 2xx status.
    ///
    /// # Errors
    /// As [`Client::get_json`].
    pub async fn post_json<Q: Serialize, T: DeserializeOwned>(
        &self,
        uri: &Uri,
        bearer: Option<&Secret<String>>,
        document: &Q,
    ) -> Result<T, HttpError> {
        let body = serde_json::to_vec(document).map_err(|_| HttpError::RequestJson)?;
        let mut headers = json_headers(bearer)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, uri, headers, body.into()).await?.successful()?.json()
    }

    /// One call, whatever the status of its answer. Redirects are answers like any other.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn send(&self, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Result<Answer, HttpError> {
        let call = Call { method, uri: uri.clone(), headers, body };
        tokio::time::timeout(self.limits.total(), self.call(&call))
            .await
            .unwrap_or(Err(HttpError::TimedOut { step: Step::Total, ms: self.limits.total_ms_max }))
    }

    async fn call(&self, call: &Call) -> Result<Answer, HttpError> {
        let origin = Origin::of(&call.uri)?;
        let (response, sender) = self.exchange(&origin, call).await?;
        let (parts, body) = response.into_parts();
        let body = self.read(&origin, body).await?;
        self.pool.keep(origin, sender);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Sends over a kept connection, or over a new one when there is none, or when it was closed before the request
    /// went out.
    async fn exchange(&self, origin: &Origin, call: &Call) -> Result<(Response<Incoming>, Sender<Whole>), HttpError> {
        if let Some(mut sender) = self.pool.take(origin) {
            match self.head(&mut sender, call).await? {
                Ok(response) => return Ok((response, sender)),
                Err(failed) if failed.unsent.is_some() => {}
                Err(failed) => return Err(broken(origin, failed.error)),
            }
        }
        let mut sender = connect::within_connect_time(&self.limits, self.connect(origin)).await?;
        let response = self.head(&mut sender, call).await?;
        Ok((response.map_err(|failed| broken(origin, failed.error))?, sender))
    }

    async fn head(&self, sender: &mut Sender<Whole>, call: &Call) -> Result<Headed, HttpError> {
        tokio::time::timeout(self.limits.response(), sender.send(call.request()))
            .await
            .map_err(|_| HttpError::TimedOut { step: Step::Response, ms: self.limits.response_ms_max })
    }

    async fn connect(&self, origin: &Origin) -> Result<Sender<Whole>, HttpError> {
        connect::to(origin, self.tls.as_ref(), self.cleartext).await
    }

    async fn read(&self, origin: &Origin, body: Incoming) -> Result<Bytes, HttpError> {
        let limited = Limited::new(body, self.limits.body_bytes_max).collect().await;
        limited.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<LengthLimitError>() {
                return HttpError::TooLarge { bytes_max: self.limits.body_bytes_max };
            }
            match error.downcast::<hyper::Error>() {
                Ok(source) => broken(origin, *source),
                Err(_) => HttpError::TooLarge { bytes_max: self.limits.body_bytes_max },
            }
        })
    }
}

fn json_headers(bearer: Option<&Secret<String>>) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
    if let Some(token) = bearer {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| HttpError::RequestHeader)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}
