//! Step 6: values of a query that an operator wants to compare and nobody to read, as keyed digests (HMAC-SHA-256).
//!
//! The same value under the same parameter gives the same digest for as long as the key stays; without the key nobody finds out
//! the value by trying. A parameter that is not named by the configuration appears by its name alone, as ever.

use super::keyed_digest::{DigestKey, KeyFileError};
use super::route::query_pairs;
use crate::audit::record::{QueryDigest, QueryDigests};
use crate::config::sidecar::QueryDigestConfig;

/// Values of one line that are told apart; further ones are left out, and the line says so.
const VALUES_MAX: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Digester {
    key: DigestKey,
    parameters: Vec<String>,
}

impl Digester {
    /// Reads the key. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn new(config: &QueryDigestConfig) -> Result<Self, KeyFileError> {
        Ok(Self { key: DigestKey::load(&config.key_file)?, parameters: config.parameters.clone() })
    }

    /// The digests of the named parameters of `query`, in its order; `None` where it has none of them.
    pub fn digests(&self, query: Option<&str>) -> Option<QueryDigests> {
        let named = query_pairs(query).filter(|(name, _)| self.parameters.iter().any(|parameter| parameter == name));
        let mut values: Vec<_> = named.take(VALUES_MAX + 1).map(|(name, value)| self.digest(name, value)).collect();
        let is_whole = values.len() <= VALUES_MAX;
        values.truncate(VALUES_MAX);
        (!values.is_empty()).then(|| QueryDigests { key: self.key.id().to_owned(), is_whole, values })
    }

    /// Over the name, a zero byte and the value as it stands: neither can be moved into the other, since no name holds one.
    fn digest(&self, name: &str, value: &str) -> QueryDigest {
        QueryDigest { name: name.to_owned(), hmac_sha256: self.key.digest(&[name, value]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digester(key: &[u8]) -> Result<Digester, KeyFileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        let parameters = vec!["invoice".to_owned(), "iban".to_owned()];
        Digester::new(&QueryDigestConfig { key_file: file.path().to_owned(), parameters })
    }

    #[test]
    fn named_values_can_be_compared_and_not_read() {
        let digester = digester(&[b'k'; 32]).unwrap();
        let of = |query: &str| digester.digests(Some(query)).unwrap();
        let one = of("invoice=4711&dry_run=1&iban=DE1");
        assert_eq!(one.values.iter().map(|value| value.name.as_str()).collect::<Vec<_>>(), ["invoice", "iban"]);
        // printf 'invoice\0004711' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
        assert_eq!(one.values[0].hmac_sha256, "ee57b551a385baf1192c5eb0e3ad8c5e227995c1ac0f3f276a1a593c255553d7");
        assert_eq!(of("iban=DE1").values[0], one.values[1]);
        assert_ne!(of("iban=4711").values[0].hmac_sha256, one.values[0].hmac_sha256, "the name counts");
        assert_eq!((digester.digests(Some("dry_run=4711")), digester.digests(None)), (None, None));
        let many = of(&"iban=1&".repeat(9));
        assert_eq!((many.values.len(), many.is_whole, of("iban").is_whole), (VALUES_MAX, false, true));
    }

    #[test]
    fn another_key_is_told_by_its_id_and_a_short_one_refused() {
        let (one, other) = (digester(&[1; 32]).unwrap(), digester(&[2; 32]).unwrap());
        assert_ne!(one.digests(Some("iban=1")), other.digests(Some("iban=1")));
        assert_ne!(one.key.id(), other.key.id());
        assert!(matches!(digester(&[1; 31]), Err(KeyFileError::Length(_))));
        assert!(matches!(digester(&[1; 5000]), Err(KeyFileError::Length(_))));
    }
}
