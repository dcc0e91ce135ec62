//! The log over HTTP, exactly as C2SP lays it out: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`, under
//! `/ledger`.
//!
//! Not part of the API's document: the paths are those of c2sp.org/tlog-tiles, and what is served are its bytes. Nothing is
//! served of entries that no checkpoint has signed. Entries hold no personal value, so reading them is no entry.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{RequestExt as _, Router};
use bytes::Bytes;
use http::{HeaderValue, header};

use super::Ledger;
use crate::control::api::ApiState;
use crate::control::api::caller::{admitted, bearer, sign_in};
use crate::control::refusal::{Cause, Refusal};
use crate::ledger::tile::{Kind, TilePath, write_bundle};
use crate::store::StoredCheckpoint;

/// Seconds for which a checkpoint may be kept.
const CHECKPOINT_AGE: &str = "max-age=1";
/// What was signed never changes.
const TILE_AGE: &str = "max-age=31536000, immutable";

/// The routes of the log.
pub(in crate::control) fn router() -> Router<ApiState> {
    Router::new().route("/ledger/checkpoint", get(checkpoint)).route("/ledger/tile/{*path}", get(tile))
}

async fn checkpoint(State(state): State<ApiState>, request: Request) -> Result<Response, Refusal> {
    admit(&state, request).await?;
    let signed = newest(&state.ledger).await?;
    let note = state.ledger.with_cosignatures(signed).await?;
    Ok(answer(&state.ledger, note.into(), "text/plain; charset=utf-8", CHECKPOINT_AGE))
}

async fn tile(State(state): State<ApiState>, request: Request) -> Result<Response, Refusal> {
    let mut request = request;
    let Path(path) = request.extract_parts::<Path<String>>().await.map_err(|_| Refusal::not_found())?;
    admit(&state, request).await?;
    let nothing = || Refusal::new(Cause::NotFound, "the log has no such tile, or has not signed it");
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| nothing())?;
    if path.size_min() > newest(&state.ledger).await?.size {
        return Err(nothing());
    }
    let store = &state.ledger.store;
    let bytes = match path.kind {
        Kind::Hashes(level) => store.ledger_tile(level, &path).await?.ok_or_else(nothing)?.to_bytes(),
        Kind::Entries => {
            let entries = store.ledger_bundle(&path).await?.ok_or_else(nothing)?;
            let bundle = write_bundle(entries.iter().map(String::as_bytes));
            bundle.map_err(|error| Refusal::new(Cause::Internal, error.to_string()))?
        }
    };
    Ok(answer(&state.ledger, bytes.into(), "application/octet-stream", TILE_AGE))
}

async fn newest(ledger: &Ledger) -> Result<StoredCheckpoint, Refusal> {
    let newest = ledger.store.newest_checkpoint(&ledger.origin).await?;
    newest.ok_or_else(|| Refusal::new(Cause::NotFound, "nothing has been signed yet"))
}

/// Anybody, where the log is public; else a program of the readers' file, or a human who sees everything.
async fn admit(state: &ApiState, request: Request) -> Result<(), Refusal> {
    if state.ledger.public {
        return Ok(());
    }
    let (parts, _) = request.into_parts();
    if let Some(reader) = state.ledger.readers.name_of(bearer(&parts)?) {
        tracing::debug!(reader, "the ledger is read");
        return Ok(());
    }
    let caller = admitted(state, &parts, sign_in(&parts, state)?).await?;
    if state.workflow.sees_all(&caller) {
        return Ok(());
    }
    Err(Refusal::new(Cause::NotPermitted, "the ledger is read by admins, auditors, and programs with a reader's token"))
}

fn answer(ledger: &Ledger, bytes: Bytes, content_type: &'static str, age: &str) -> Response {
    let audience = if ledger.public { "public" } else { "private" };
    let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
    if let Ok(caching) = HeaderValue::try_from(format!("{audience}, {age}")) {
        response.headers_mut().insert(header::CACHE_CONTROL, caching);
    }
    response
}

impl Ledger {
    /// The note with the signatures that witnesses gave for it.
    async fn with_cosignatures(&self, signed: StoredCheckpoint) -> Result<String, Refusal> {
        let cosigned = self.store.newest_cosignatures(&self.origin).await?;
        let of_it = cosigned.into_iter().filter(|cosigned| cosigned.size == signed.size);
        Ok(of_it.fold(signed.note, |note, cosigned| note + &cosigned.line + "\n"))
    }
}
