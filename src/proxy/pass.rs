//! One request through: admitted, cleared of what is not for the upstream, shown the grant's proof, sent, and its answer
//! back as it comes.

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::admission::admit;
use super::body::RequestBody;
use super::door::Entrance;
use super::presented::Presented;
use super::rejection::Rejection;
use crate::error_chain::error_chain;
use crate::http::{HttpError, Relay, RelayBody, strip_hop_by_hop};
use crate::wire::own_headers;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) entrance: Entrance,
    pub(super) presented: Presented,
    pub(super) relay: Relay<RequestBody>,
}

/// The upstream's answer.
pub(super) type Passed = Response<RelayBody<RequestBody>>;

/// A request that came to no answer of the upstream, and why in full, for the person.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) rejection: Rejection,
    pub(super) why: Option<String>,
}

impl From<Rejection> for Stopped {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, why: None }
    }
}

impl Way {
    /// # Errors
    /// What the proxy answers itself.
    pub(super) async fn pass(&self, request: Request<Incoming>) -> Result<Passed, Stopped> {
        let (parts, incoming) = request.into_parts();
        let target = admit(&parts, &self.entrance)?;
        let uri = self.relay.address(&target).map_err(|_| Rejection::Target)?;
        let headers = cleared(&parts);
        let body = RequestBody::new(incoming, self.presented.may_repeat());
        let again = body.again();
        let mut answer = self.send(&parts, uri.clone(), headers.clone(), body).await?;
        if !self.hears_refusal(&mut answer) {
            return Ok(back(answer));
        }
        // The sidecar has forwarded nothing, so what follows is no second override. Its connection may be used for it.
        drop(answer);
        let body = again.body().ok_or(Rejection::Again)?;
        let mut answer = self.send(&parts, uri, headers, body).await?;
        self.hears_refusal(&mut answer);
        Ok(back(answer))
    }

    /// True, where the request lacked only the nonce that came with this answer.
    fn hears_refusal(&self, answer: &mut Passed) -> bool {
        let status = answer.status();
        self.presented.heard(status, answer.headers_mut())
    }

    async fn send(
        &self,
        parts: &Parts,
        uri: Uri,
        mut headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Passed, Stopped> {
        self.presented
            .add(&mut headers, &parts.method, &uri)
            .map_err(|error| Stopped { rejection: Rejection::Unpresentable, why: Some(error.to_string()) })?;
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        self.relay.send(request).await.map_err(|error| stopped(&error))
    }
}

/// The client's headers without what ends here, and without what could be taken for ours.
fn cleared(parts: &Parts) -> HeaderMap {
    let mut headers = parts.headers.clone();
    strip_hop_by_hop(&mut headers);
    own_headers::strip(&mut headers);
    headers.remove(HOST);
    // The client is told to go on by this proxy.
    headers.remove(EXPECT);
    headers
}

fn back(mut answer: Passed) -> Passed {
    strip_hop_by_hop(answer.headers_mut());
    *answer.version_mut() = Version::HTTP_11;
    answer
}

fn stopped(error: &HttpError) -> Stopped {
    let rejection = match error {
        HttpError::TimedOut { step: crate::http::Step::Response, .. } => Rejection::TimedOut,
        error if error.is_before_sending() => Rejection::Unreachable,
        _ => Rejection::BrokenOff,
    };
    Stopped { rejection, why: Some(error_chain(error)) }
}
