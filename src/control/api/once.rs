//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): whoever sends the same call again under the same key
//! gets what came of the first.

use http::HeaderMap;
use serde::Serialize;

use crate::config::digest_hex;
use crate::control::refusal::{Cause, Refusal};
use crate::store::{OnceKey, Operation};

const KEY_HEADER: &str = "idempotency-key";
const KEY_CHARS_MAX: usize = 128;

/// The digest is of what was understood: another spelling of the same call is the same call. `target` is the id it is
/// about, empty where there is none yet.
pub(super) fn once_key<T: Serialize>(
    headers: &HeaderMap,
    operation: Operation,
    target: &str,
    asked: &T,
) -> Result<Option<OnceKey>, Refusal> {
    let Some(value) = headers.get(KEY_HEADER) else { return Ok(None) };
    let malformed = || {
        Refusal::new(Cause::KeyMalformed, format!("Idempotency-Key is 1 to {KEY_CHARS_MAX} visible ASCII characters"))
    };
    let fits = |key: &&str| !key.is_empty() && key.len() <= KEY_CHARS_MAX && key.bytes().all(|b| b.is_ascii_graphic());
    let key = value.to_str().ok().filter(fits).ok_or_else(malformed)?;
    let body = serde_json_canonicalizer::to_string(asked).map_err(|_| malformed())?;
    // What a request made before this had no target stays known by the digest of its body alone.
    let digest = if target.is_empty() { digest_hex(&body) } else { digest_hex(&format!("{target} {body}")) };
    Ok(Some(OnceKey { key: key.to_owned(), operation, digest }))
}
