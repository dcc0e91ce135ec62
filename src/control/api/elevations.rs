//! `/v1/elevations`: ask, list, show.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::ApiState;
use super::answer::shown;
use super::asked::{Asked, Named};
use super::body::JsonBytes;
use super::caller::Caller;
use super::etag::Tagged;
use super::grants::view as grant_view;
use super::paging::ListAsked;
use crate::config::digest_hex;
use crate::control::openapi::{ELEVATIONS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::domain::ElevationId;
use crate::store::{ElevationRecord, OnceKey};
use crate::wire::api::{ElevationRequest, ElevationView, Page};
use crate::wire::query::ElevationsQuery;

const KEY_HEADER: &str = "idempotency-key";
const KEY_CHARS_MAX: usize = 128;

/// [`ElevationRequest`] before its words are checked, so that each is refused under a code of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    service: String,
    resources: Vec<String>,
    actions: Vec<String>,
    reason: String,
    ticket: String,
    #[serde(default)]
    duration_s: Option<u64>,
    #[serde(default)]
    max_uses: Option<u32>,
    #[serde(default)]
    tier: Option<String>,
}

impl TryFrom<RawRequest> for ElevationRequest {
    type Error = Refusal;

    fn try_from(raw: RawRequest) -> Result<Self, Refusal> {
        let each = |texts: &[String]| texts.iter().find(|text| text.contains('*')).cloned();
        if let Some(text) = each(&raw.resources).or_else(|| each(&raw.actions)) {
            return Err(Refusal::new(Cause::Wildcard, format!("{} holds a wildcard", quoted(&text))));
        }
        Ok(Self {
            service: word(&raw.service, Cause::UnknownService)?,
            resources: words(&raw.resources, Cause::ResourceMalformed)?,
            actions: words(&raw.actions, Cause::ActionMalformed)?,
            reason: word(&raw.reason, Cause::UnknownReason)?,
            ticket: word(&raw.ticket, Cause::TicketMalformed)?,
            duration_s: raw.duration_s,
            max_uses: raw.max_uses,
            tier: raw.tier,
        })
    }
}

fn words<T: FromStr<Err = crate::domain::TextError>>(texts: &[String], cause: Cause) -> Result<Vec<T>, Refusal> {
    texts.iter().map(|text| word(text, cause)).collect()
}

fn word<T: FromStr<Err = crate::domain::TextError>>(text: &str, cause: Cause) -> Result<T, Refusal> {
    text.parse().map_err(|error| Refusal::new(cause, format!("{}: {error}", quoted(text))))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, 64))
}

/// Ask for elevation
///
/// In a tier without approvals the grant begins at once and is in the answer. An `Idempotency-Key` makes it safe to
/// send the same request again.
#[utoipa::path(
    post, path = "/v1/elevations", operation_id = "requestElevation", tag = ELEVATIONS,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, for 24 hours.",
        min_length = 1, max_length = 128, example = "k-2041")),
    request_body = ElevationRequest,
    responses((status = 201, description = "The request, and the grant where there is one already.",
        body = ElevationView, headers(("Location" = String, description = "Where the request is.")))),
    extensions(("x-refusals" = json!(refusals(&[
        Cause::UnknownService, Cause::UnknownReason, Cause::TicketMalformed, Cause::ResourceMalformed, Cause::Wildcard,
        Cause::ActionMalformed, Cause::ScopeSize, Cause::ResourceNotServed, Cause::ActionNotServed, Cause::NoTierFits,
        Cause::TierAmbiguous, Cause::DurationTooShort, Cause::DurationTooLong, Cause::TooFewUses, Cause::TooManyUses,
        Cause::KeyMalformed, Cause::KeyReused,
    ])))),
)]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Refusal> {
    let asked: ElevationRequest = body.parse::<RawRequest>()?.try_into()?;
    let once = once_key(&headers, &asked)?;
    // A task of its own: a caller who leaves can't leave a half-told commit behind.
    let (workflow, asking) = (state.workflow.clone(), caller.clone());
    let task = tokio::spawn(async move { workflow.request(&asking, &asked, once).await });
    let (id, _) = task.await.map_err(|_| Refusal::new(Cause::Internal, "the request was not finished"))??;
    let record = state.workflow.visible_elevation(&caller, &id).await?;
    let location = HeaderValue::try_from(format!("/v1/elevations/{id}"))
        .map_err(|_| Refusal::new(Cause::Internal, "the answer could not be written"))?;
    let view = Json(view(&state, record).await?);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], view).into_response())
}

/// The digest is of what was understood: another spelling of the same request is the same request.
fn once_key(headers: &HeaderMap, asked: &ElevationRequest) -> Result<Option<OnceKey>, Refusal> {
    let Some(value) = headers.get(KEY_HEADER) else { return Ok(None) };
    let malformed = || {
        Refusal::new(Cause::KeyMalformed, format!("Idempotency-Key is 1 to {KEY_CHARS_MAX} visible ASCII characters"))
    };
    let fits = |key: &&str| !key.is_empty() && key.len() <= KEY_CHARS_MAX && key.bytes().all(|b| b.is_ascii_graphic());
    let key = value.to_str().ok().filter(fits).ok_or_else(malformed)?;
    let body = serde_json_canonicalizer::to_string(asked).map_err(|_| malformed())?;
    Ok(Some(OnceKey { key: key.to_owned(), digest: digest_hex(&body) }))
}

/// List elevation requests
///
/// One's own; everybody's for admins and auditors. Newest first.
#[utoipa::path(
    get, path = "/v1/elevations", operation_id = "listElevations", tag = ELEVATIONS,
    params(ElevationsQuery),
    responses((status = 200, description = "One page.", body = Page<ElevationView>)),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<ElevationsQuery>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (store, wanted) = (&state.workflow.store, query.state);
    let asked = ListAsked::from(query);
    let Some(listing) = asked.listing(&caller.person, state.workflow.sees_all(&caller))? else {
        return Ok(asked.page::<ElevationView>(&uri, Vec::new(), None));
    };
    let fits = |ElevationRecord { elevation, .. }: &ElevationRecord| {
        wanted.is_none_or(|state| state == elevation.state)
            && asked.content.fits(&elevation.scope, &elevation.justification, elevation.requested)
    };
    let listed = asked.read(listing, |listing| async move { store.elevations(&listing).await }, fits).await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for record in listed.items {
        items.push(view(&state, record).await?);
    }
    Ok(asked.page(&uri, items, listed.next))
}

/// Show an elevation request
#[utoipa::path(
    get, path = "/v1/elevations/{id}", operation_id = "getElevation", tag = ELEVATIONS,
    params(("id" = ElevationId, Path, description = "The request's id.")),
    responses((status = 200, description = "The request.", body = ElevationView, headers(("ETag" = String)))),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
) -> Result<Tagged<ElevationView>, Refusal> {
    let id: ElevationId = id.parse().map_err(|_| Refusal::not_found())?;
    let record = state.workflow.visible_elevation(&caller, &id).await?;
    Ok(Tagged(view(&state, record).await?))
}

async fn view(state: &ApiState, record: ElevationRecord) -> Result<ElevationView, Refusal> {
    let ElevationRecord { elevation, tier } = record;
    let grant = match &elevation.grant {
        Some(id) => state.workflow.store.grant(id).await?.map(|grant| grant_view(state, grant)),
        None => None,
    };
    Ok(ElevationView {
        id: elevation.id,
        state: elevation.state,
        service: elevation.service,
        person: elevation.person,
        tier,
        role: elevation.role,
        resources: elevation.scope.resources().iter().cloned().collect(),
        actions: elevation.scope.actions().iter().cloned().collect(),
        reason: elevation.justification.reason,
        ticket: elevation.justification.ticket,
        duration_s: elevation.duration.as_secs(),
        requested_at: elevation.requested,
        grant,
    })
}
