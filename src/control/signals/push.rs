//! Events that are sent here: `POST /v1/signals/{name}` (RFC 8935).

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Serialize;

use super::{Untaken, secret};
use crate::config::signals::Delivery;
use crate::control::api::ApiState;
use crate::control::api::asked::Named;
use crate::control::api::caller::{Peer, peer};
use crate::control::openapi::{SIGNALS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::error_chain::error_chain;
use crate::secret::Secret;

/// Greatest size of an event token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const CONTENT_TYPE: &str = "application/secevent+jwt";
/// When an event that nothing can be said of yet is worth sending again.
const RETRY_AFTER_S: u32 = 10;

/// Why an event is not taken (RFC 8935 §2.3).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SignalFailure {
    /// The code of RFC 8935 §2.4.
    #[schema(example = "invalid_audience")]
    err: &'static str,
    #[schema(example = "the token is for another audience")]
    description: String,
}

/// An event token as it came.
#[derive(Debug)]
pub(crate) struct Pushed {
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, Failed>,
}

/// What goes back instead of 202.
#[derive(Debug)]
pub(crate) enum Failed {
    Invalid(&'static str, String),
    Refused(Refusal),
}

impl<S: Send + Sync> FromRequest<S> for Pushed {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self { peer: peer(&parts), body: read(&parts.headers, body).await, headers: parts.headers })
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Failed> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(CONTENT_TYPE) {
        return Err(invalid(format!("the Content-Type is not {CONTENT_TYPE}")));
    }
    let whole = Limited::new(body, TOKEN_BYTES_MAX).collect().await;
    whole
        .map(|body| body.to_bytes())
        .map_err(|_| invalid(format!("the body is not a token of {TOKEN_BYTES_MAX} bytes")))
}

fn invalid(description: String) -> Failed {
    Failed::Invalid("invalid_request", description)
}

/// Send a security event
///
/// For transmitters of the configuration only (OpenID Shared Signals, RFC 8935). An event that came before is answered
/// alike and does nothing. `202` says that what it does is durable.
#[utoipa::path(
    post, path = "/v1/signals/{name}", operation_id = "pushSignal", tag = SIGNALS,
    params(("name" = String, Path, description = "The transmitter, as the configuration calls it.", example = "idp")),
    request_body(content = String, content_type = "application/secevent+jwt", description = "A security event token (RFC 8417)."),
    responses(
        (status = 202, description = "It is carried out, or was before."),
        (status = 400, description = "It is not taken, and would not be if it came again.", body = SignalFailure),
    ),
    security(("transmitter" = [])),
    extensions(("x-refusals" = json!(refusals(&[Cause::RateLimited, Cause::StoreUnavailable, Cause::NotFound])))),
)]
pub(crate) async fn push(State(state): State<ApiState>, Named(name): Named, pushed: Pushed) -> Response {
    // A task of its own: a transmitter that leaves can't leave a half-told commit behind.
    let taken = tokio::spawn(async move { take(&state, &name, pushed).await }).await;
    match taken.unwrap_or_else(|_| Err(Failed::Refused(Refusal::new(Cause::Internal, "the event was not finished")))) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(Failed::Invalid(err, description)) => {
            (StatusCode::BAD_REQUEST, [(header::CONTENT_LANGUAGE, "en")], Json(SignalFailure { err, description }))
                .into_response()
        }
        Err(Failed::Refused(refusal)) => refusal.into_response(),
    }
}

async fn take(state: &ApiState, name: &str, pushed: Pushed) -> Result<(), Failed> {
    let found = name.parse().ok().and_then(|name| state.signals.find(&name));
    let Some((position, config)) = found else { return Err(Failed::Refused(Refusal::not_found())) };
    let Delivery::Push { token_file } = &config.delivery else { return Err(Failed::Refused(Refusal::not_found())) };
    // A signature costs; of those that do not hold an address has only so many.
    let Peer(address) = pushed.peer;
    state.rates.take_sign_in(address, state.workflow.clock.boot()).map_err(Failed::Refused)?;
    authenticate(&pushed.headers, token_file.as_deref()).await?;
    let body = pushed.body?;
    let token = std::str::from_utf8(&body).map_err(|_| invalid("the body is not text".to_owned()))?;
    match state.signals.take(&state.workflow, position, token.trim_ascii()).await {
        Ok(_) => {
            state.rates.give_back(address);
            Ok(())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &Untaken) -> Failed {
    match error {
        Untaken::Invalid(error) => Failed::Invalid(error.code(), error.to_string()),
        Untaken::Keys => {
            let refusal = Refusal::new(Cause::StoreUnavailable, "your keys can't be fetched now: send it again");
            Failed::Refused(refusal.retry_after_s(RETRY_AFTER_S))
        }
        Untaken::Store(error) => {
            tracing::error!(error = %error_chain(error), "the database failed");
            Failed::Refused(Refusal::new(Cause::StoreUnavailable, "it is not carried out: send it again"))
        }
    }
}

/// The secret, where one is configured.
async fn authenticate(headers: &HeaderMap, file: Option<&std::path::Path>) -> Result<(), Failed> {
    let wanted = secret(file).await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "a transmitter's secret can't be read: it is turned away");
        Failed::Refused(Refusal::new(Cause::Internal, "the secret that is to be compared can't be read"))
    })?;
    let Some(wanted) = wanted else { return Ok(()) };
    if is_shown(headers, &wanted) {
        return Ok(());
    }
    Err(Failed::Invalid("authentication_failed", "the Authorization header has not the secret agreed on".to_owned()))
}

/// Whether the secret is in `Authorization: Bearer`, compared in constant time.
pub(in crate::control) fn is_shown(headers: &HeaderMap, wanted: &Secret<String>) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    let Some((scheme, token)) = shown else { return false };
    let digest = |text: &str| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let (shown, wanted) = (digest(token.trim_matches(' ')), digest(wanted.expose()));
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(shown.as_ref(), wanted.as_ref()).is_ok();
    scheme.eq_ignore_ascii_case("bearer") && same
}
