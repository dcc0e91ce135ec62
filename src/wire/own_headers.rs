//! The headers that are ours, and what could be taken for one of them. Names are case-insensitive (RFC 9110 §5.1), and
//! CGI-style servers map `-`, or all that is no letter or digit, to `_` (RFC 3875 §4.1.18).

use http::{HeaderMap, HeaderName};

/// Names the grant: its id, or its token.
pub const BREAK_GLASS: &str = "break-glass";
/// Carries the person's access token for the service.
pub const IDENTITY: &str = "break-glass-identity";
/// Carries the proof of possession (RFC 9449) of a grant that is bound to a key.
pub const DPOP: &str = "break-glass-dpop";
/// On answers: the nonce that the next proof is to carry.
pub const DPOP_NONCE: &str = "break-glass-dpop-nonce";

/// True when a header of this name could be taken for one of ours. `name` is in lower case, as `http` keeps it.
pub fn looks_like_ours(name: &str) -> bool {
    name.as_bytes().get(..BREAK_GLASS.len()).is_some_and(|start| reads_as(start, BREAK_GLASS))
}

/// True when a server that folds separators could read `given` as `name`.
pub fn reads_as(given: &[u8], name: &str) -> bool {
    given.len() == name.len()
        && given
            .iter()
            .zip(name.bytes())
            .all(|(b, wanted)| *b == wanted || (wanted == b'-' && !b.is_ascii_alphanumeric()))
}

/// Removes every header that looks like ours.
pub fn strip(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| looks_like_ours(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}
