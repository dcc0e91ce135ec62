//! An issuer's key set (RFC 7517), reduced to what may verify a token.
//!
//! A key that is not for signatures, of another kind than we know, too short, or published with its private part is
//! passed over, as RFC 7517 §5 asks for keys that are not understood. Symmetric keys never enter.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::issuer::Algorithm;

/// Greatest number of keys that are read of a set.
const KEYS_MAX: usize = 64;
/// Shortest and longest RSA modulus (RFC 7518 §3.3 and what aws-lc-rs takes), in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// SHA-256 over what makes a key itself: id, kind, parameters, algorithm.
pub(super) type Thumbprint = [u8; 32];

/// The usable keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    pub(super) thumbprint: Thumbprint,
    pub(super) decoding: DecodingKey,
    kid: Option<String>,
    algorithms: BTreeSet<Algorithm>,
}

impl KeySet {
    /// The keys of a JWK Set that may verify under `allowed`; `None` when it is no JWK Set.
    pub(super) fn of(document: &Map<String, Value>, allowed: &BTreeSet<Algorithm>) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(KEYS_MAX).filter_map(|key| Key::of(key.as_object()?, allowed)).collect()))
    }

    /// The key a header asks for. Without a `kid` there must be exactly one that fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid));
        let first = fitting.next()?;
        if kid.is_none() && fitting.next().is_some() { None } else { Some(first) }
    }

    pub(super) fn has_named(&self, kid: &str) -> bool {
        self.kids().any(|known| known == kid)
    }

    pub(super) fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|key| key.kid.as_deref())
    }

    pub(super) fn contains(&self, thumbprint: &Thumbprint) -> bool {
        self.0.iter().any(|key| key.thumbprint == *thumbprint)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn of(jwk: &Map<String, Value>, allowed: &BTreeSet<Algorithm>) -> Option<Self> {
        if !is_for_signatures(jwk) || jwk.contains_key("d") || jwk.contains_key("k") {
            return None;
        }
        let (decoding, possible) = material(jwk)?;
        let only = match jwk.get("alg") {
            None => None,
            Some(name) => Some(name.as_str()?.parse::<Algorithm>().ok()?),
        };
        let algorithms: BTreeSet<_> = possible
            .iter()
            .copied()
            .filter(|algorithm| allowed.contains(algorithm) && only.is_none_or(|only| only == *algorithm))
            .collect();
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        let key = Self { thumbprint: thumbprint(jwk), decoding, kid, algorithms };
        (!key.algorithms.is_empty()).then_some(key)
    }
}

/// RFC 7517 §4.2 and §4.3.
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let by_use = jwk.get("use").is_none_or(|usage| usage == "sig");
    let by_operations = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|listed| listed.iter().any(|operation| operation == "verify"))
    });
    by_use && by_operations
}

/// The key itself, and the algorithms its kind can carry (RFC 7518 §6, RFC 8037 §2).
fn material(jwk: &Map<String, Value>) -> Option<(DecodingKey, &'static [Algorithm])> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            let fits = RSA_BYTES.contains(&n.len()) && n.first() != Some(&0) && (1..=8).contains(&e.len());
            let key = DecodingKey::from_rsa_raw_components(&n, &e);
            fits.then_some((key, &[RS256, RS384, RS512, PS256, PS384, PS512]))
        }
        ("EC", Some("P-256")) => Some((ec_point(&bytes("x")?, &bytes("y")?, 32)?, &[ES256])),
        ("EC", Some("P-384")) => Some((ec_point(&bytes("x")?, &bytes("y")?, 48)?, &[ES384])),
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x")?;
            (x.len() == 32).then(|| (DecodingKey::from_ed_der(&x), &[EdDSA][..]))
        }
        _ => None,
    }
}

/// An uncompressed point (SEC 1 §2.3.3); that it lies on the curve is checked when it verifies.
fn ec_point(x: &[u8], y: &[u8], bytes: usize) -> Option<DecodingKey> {
    let fits = x.len() == bytes && y.len() == bytes;
    fits.then(|| DecodingKey::from_ec_der(&[&[4], x, y].concat()))
}

fn thumbprint(jwk: &Map<String, Value>) -> Thumbprint {
    let mut context = digest::Context::new(&digest::SHA256);
    for name in ["kid", "kty", "alg", "crv", "x", "y", "n", "e"] {
        let value = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        context.update(name.as_bytes());
        context.update(&value.len().to_be_bytes());
        context.update(value.as_bytes());
    }
    let mut thumbprint = [0; 32];
    thumbprint.copy_from_slice(context.finish().as_ref());
    thumbprint
}
