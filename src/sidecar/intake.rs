//! Step 2, intake: our own headers are taken off, each exactly once; everything that looks like ours is stripped from
//! all traffic; what would change a request's meaning behind our back is noticed.
//!
//! INVARIANT (P7): after [`take`], no header a client sent begins with `break-glass` in any spelling an upstream might
//! read as ours: names are case-insensitive (RFC 9110 §5.1), and CGI-style servers map `-`, or all that is no letter
//! or digit, to `_` (RFC 3875 §4.1.18).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::decision::{Credential, CredentialFault, NamedBy};
use crate::domain::GrantId;
use crate::secret::Secret;
use crate::token::TOKEN_BYTES_MAX;
use crate::token::dpop::PROOF_BYTES_MAX;
pub use crate::wire::own_headers::strip;
use crate::wire::own_headers::{BREAK_GLASS, DPOP, IDENTITY, looks_like_ours, reads_as};

/// Greatest length of an identity token.
pub const IDENTITY_BYTES_MAX: usize = 16 * 1024;

/// Headers by which some servers and frameworks take another method or path than the request line's.
const REWRITE_HEADERS: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-original-path",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-override-url",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-prefix",
];

/// What the headers said to us.
#[derive(Debug)]
pub struct Taken {
    pub credential: Credential,
    pub grant: Option<NamedGrant>,
    pub identity: Option<Secret<String>>,
    /// A DPoP proof, as text.
    pub proof: Option<Secret<String>>,
    /// The one bearer token in `Authorization`, which stays where it is: it may be the API's alone.
    pub authorization: Option<Secret<String>>,
    /// A companion header stands twice or can't be text.
    pub rewrite_header: bool,
}

impl Taken {
    const fn nothing() -> Self {
        Self {
            credential: Credential::Absent,
            grant: None,
            identity: None,
            proof: None,
            authorization: None,
            rewrite_header: false,
        }
    }
}

/// How the `Break-Glass` header names a grant.
#[derive(Debug)]
pub enum NamedGrant {
    Id(GrantId),
    Token(Secret<String>),
}

impl NamedGrant {
    const fn named_by(&self) -> NamedBy {
        match self {
            Self::Id(_) => NamedBy::Id,
            Self::Token(_) => NamedBy::Token,
        }
    }
}

/// True when a header asks for another method or path, in any spelling.
fn asks_for_another(headers: &HeaderMap) -> bool {
    headers.keys().any(|given| REWRITE_HEADERS.iter().any(|name| reads_as(given.as_str().as_bytes(), name)))
}

/// Takes our headers off and strips the look-alikes.
pub fn take(headers: &mut HeaderMap) -> Taken {
    if !headers.keys().any(|name| looks_like_ours(name.as_str())) {
        return Taken::nothing();
    }
    let taken = read(headers);
    strip(headers);
    taken
}

fn read(headers: &HeaderMap) -> Taken {
    let mut taken = Taken::nothing();
    let named = match exactly_one(headers, BREAK_GLASS) {
        Ok(None) => return taken,
        Ok(Some(value)) => parse_credential(value),
        Err(fault) => Err(fault),
    };
    taken.rewrite_header = asks_for_another(headers);
    let identity = exactly_one(headers, IDENTITY).and_then(|value| value.map(parse_identity).transpose());
    let proof = exactly_one(headers, DPOP).and_then(|value| value.map(parse_proof).transpose());
    match (named, identity, proof) {
        (Ok(grant), Ok(identity), Ok(proof)) => {
            taken.credential = Credential::Presented(grant.named_by());
            taken.grant = Some(grant);
            taken.identity = identity;
            taken.proof = proof;
            taken.authorization = bearer(headers);
        }
        (Err(fault), _, _) | (_, Err(fault), _) | (_, _, Err(fault)) => {
            taken.credential = Credential::Malformed(fault);
        }
    }
    taken
}

fn exactly_one<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, CredentialFault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(CredentialFault::Duplicated) } else { Ok(first) }
}

fn parse_credential(value: &HeaderValue) -> Result<NamedGrant, CredentialFault> {
    let text = value.to_str().map_err(|_| CredentialFault::Malformed)?;
    if let Ok(id) = text.parse() {
        return Ok(NamedGrant::Id(id));
    }
    if text.len() <= TOKEN_BYTES_MAX && is_compact_jws(text) {
        return Ok(NamedGrant::Token(Secret::new(text.to_owned())));
    }
    Err(CredentialFault::Malformed)
}

fn parse_identity(value: &HeaderValue) -> Result<Secret<String>, CredentialFault> {
    let text = value.to_str().map_err(|_| CredentialFault::Malformed)?;
    if text.is_empty() || text.len() > IDENTITY_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CredentialFault::Malformed);
    }
    Ok(Secret::new(text.to_owned()))
}

fn parse_proof(value: &HeaderValue) -> Result<Secret<String>, CredentialFault> {
    let text = value.to_str().map_err(|_| CredentialFault::Malformed)?;
    if text.len() > PROOF_BYTES_MAX || !is_compact_jws(text) {
        return Err(CredentialFault::Malformed);
    }
    Ok(Secret::new(text.to_owned()))
}

/// RFC 6750 §2.1. Whatever else stands there is not for us.
fn bearer(headers: &HeaderMap) -> Option<Secret<String>> {
    let value = exactly_one(headers, AUTHORIZATION.as_str()).ok()??;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_token =
        !token.is_empty() && token.len() <= IDENTITY_BYTES_MAX && token.bytes().all(|b| b.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then(|| Secret::new(token.to_owned()))
}

/// Three non-empty base64url parts (RFC 7515 §7.1).
fn is_compact_jws(text: &str) -> bool {
    text.split('.').count() == 3
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn look_alikes_are_stripped_and_strangers_kept() {
        let mut map = headers(&[
            ("break-glass-subject", "root"),
            ("break_glass_role", "x"),
            ("break-glass_grant", "x"),
            ("break.glass.grant", "x"),
            ("break~glass!role", "x"),
            ("break-glassy", "x"),
            ("x-break-glass", "kept"),
            ("breakglass", "kept"),
        ]);
        assert_eq!(take(&mut map).credential, Credential::Absent);
        let mut kept: Vec<_> = map.keys().map(http::HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["breakglass", "x-break-glass"]);
    }

    #[test]
    fn each_of_ours_stands_once_or_is_refused() {
        let grant = ("break-glass", "g-0123456789ab");
        for (pairs, expected) in [
            (vec![grant], Credential::Presented(NamedBy::Id)),
            (vec![grant, grant], Credential::Malformed(CredentialFault::Duplicated)),
            (
                vec![grant, ("break-glass-identity", "a"), ("break-glass-identity", "a")],
                Credential::Malformed(CredentialFault::Duplicated),
            ),
            (vec![("break-glass", "")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![("break-glass", "g-1, g-2")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![("break-glass", "a.b.c")], Credential::Presented(NamedBy::Token)),
            (vec![("break-glass", "a..c")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![("break-glass", "a.b.c.d")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![grant, ("break-glass-identity", "a b")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![("break-glass-identity", "a")], Credential::Absent),
            (vec![grant, ("break-glass-dpop", "a.b.c")], Credential::Presented(NamedBy::Id)),
            (vec![grant, ("break-glass-dpop", "a.b")], Credential::Malformed(CredentialFault::Malformed)),
            (vec![grant, ("break-glass-dpop", "a.b.c, d.e.f")], Credential::Malformed(CredentialFault::Malformed)),
            (
                vec![grant, ("break-glass-dpop", "a.b.c"), ("break-glass-dpop", "a.b.c")],
                Credential::Malformed(CredentialFault::Duplicated),
            ),
        ] {
            let mut map = headers(&pairs);
            assert_eq!(take(&mut map).credential, expected, "{pairs:?}");
            assert!(map.is_empty());
        }
    }

    #[test]
    fn an_oversized_token_is_malformed() {
        let long = format!("a.{}.c", "b".repeat(TOKEN_BYTES_MAX));
        let mut map = headers(&[("break-glass", &long)]);
        assert_eq!(take(&mut map).credential, Credential::Malformed(CredentialFault::Malformed));
    }

    #[test]
    fn one_bearer_token_is_read_and_stays() {
        let grant = ("break-glass", "g-0123456789ab");
        for (pairs, expected) in [
            (vec![grant, ("authorization", "Bearer abc")], Some("abc")),
            (vec![grant, ("authorization", "bearer abc")], Some("abc")),
            (vec![grant, ("authorization", "Basic abc")], None),
            (vec![grant, ("authorization", "Bearer a b")], None),
            (vec![grant, ("authorization", "Bearer a"), ("authorization", "Bearer b")], None),
            (vec![("authorization", "Bearer abc")], None),
        ] {
            let mut map = headers(&pairs);
            let taken = take(&mut map);
            assert_eq!(taken.authorization.as_ref().map(|token| token.expose().as_str()), expected, "{pairs:?}");
            assert!(map.contains_key("authorization"));
        }
    }

    #[test]
    fn a_rewrite_header_is_noticed_only_with_ours() {
        let mut map = headers(&[("break-glass", "g-0123456789ab"), ("x-http-method-override", "DELETE")]);
        assert!(take(&mut map).rewrite_header);
        let mut map = headers(&[("break-glass", "g-0123456789ab"), ("x_http_method.override", "DELETE")]);
        assert!(take(&mut map).rewrite_header, "a server that folds separators reads it as the same");
    }
}
