//! What signing in needs of an issuer: its endpoints, and the check of the ID token that comes out of it.
//!
//! Sources: OpenID Connect Discovery 1.0 §3 and §4, RFC 8414 §2, RFC 8628 §4, RFC 9207 §3. An endpoint is taken from the
//! issuer's own metadata alone, and an issuer that is called by https has no endpoint that is not.

use http::Uri;
use serde_json::{Map, Value};

use super::discovery::{
    KeysPlace, RefreshError, UnusableEndpoint, discovery_url, endpoint, fetch, fetch_keys, is_of, keys_url,
};
use super::id_token::{self, IdTokenError, Proven, Wanted};
use super::issuer::{Algorithm, IssuerConfig};
use crate::domain::{Audience, Issuer};
use crate::http::Client;

/// Why an issuer's metadata do not lead to its endpoints.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the issuer {0} is no http or https URL without query and fragment")]
    Url(Issuer),
    #[error(transparent)]
    Metadata(#[from] RefreshError),
    #[error(transparent)]
    Endpoint(#[from] UnusableEndpoint),
    #[error("the issuer does not say where tokens are got")]
    NoTokenEndpoint,
}

/// An issuer's endpoints.
#[derive(Debug, Clone)]
pub struct Provider {
    pub issuer: Issuer,
    pub token: Uri,
    /// Where there is the device flow.
    pub device_authorization: Option<Uri>,
    /// Where there is the code flow, with PKCE by SHA-256.
    pub authorization: Option<Uri>,
    pub revocation: Option<Uri>,
    /// RFC 9207: the authorization response names its issuer.
    pub names_itself: bool,
    keys: KeysPlace,
}

impl Provider {
    /// Asks the issuer for its metadata.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn discover(client: &Client, issuer: &Issuer) -> Result<Self, ProviderError> {
        let discovery = discovery_url(issuer).ok_or_else(|| ProviderError::Url(issuer.clone()))?;
        let metadata = fetch(client, &discovery, "discovery document").await?;
        Self::of(&metadata, issuer, discovery)
    }

    fn of(metadata: &Map<String, Value>, issuer: &Issuer, discovery: Uri) -> Result<Self, ProviderError> {
        is_of(metadata, issuer)?;
        let at = |name: &'static str| endpoint(metadata, issuer, name);
        Ok(Self {
            issuer: issuer.clone(),
            token: at("token_endpoint")?.ok_or(ProviderError::NoTokenEndpoint)?,
            device_authorization: at("device_authorization_endpoint")?,
            authorization: at("authorization_endpoint")?.filter(|_| has_pkce(metadata)),
            revocation: at("revocation_endpoint")?,
            names_itself: metadata.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
            // Where they name none, that is said when keys are needed: signing out needs none.
            keys: keys_url(metadata, issuer).map_or(KeysPlace::Metadata(discovery), KeysPlace::KeySet),
        })
    }

    /// Checks an ID token by the issuer's keys as they are now.
    ///
    /// # Errors
    /// [`IdTokenError`].
    pub async fn check_id_token(
        &self,
        client: &Client,
        token: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Proven, IdTokenError> {
        // The audience of an ID token is the client, which `wanted` names: the one here is not looked at.
        let unused: Audience = "id-token".parse().map_err(|_| IdTokenError::Keys(RefreshError::NotAKeySet))?;
        let mut allowed = IssuerConfig::new(self.issuer.clone(), unused).algorithms;
        allowed.insert(Algorithm::ES384);
        let keys = fetch_keys(client, &self.issuer, &self.keys, &allowed).await.map_err(IdTokenError::Keys)?;
        id_token::check(token, &self.issuer, &keys, &allowed, wanted)
    }
}

/// RFC 8414 §2: where the methods are left out nothing is known against it, and the issuer would refuse.
fn has_pkce(metadata: &Map<String, Value>) -> bool {
    match metadata.get("code_challenge_methods_supported") {
        None => true,
        Some(methods) => methods.as_array().is_some_and(|listed| listed.iter().any(|method| method == "S256")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(issuer: &str, metadata: Value) -> Result<Provider, ProviderError> {
        let issuer: Issuer = issuer.parse().unwrap();
        Provider::of(metadata.as_object().unwrap(), &issuer, discovery_url(&issuer).unwrap())
    }

    #[test]
    fn endpoints_are_the_issuers_own_and_under_tls() {
        let base = "https://idp.test";
        let good = json!({"issuer": base, "token_endpoint": "https://idp.test/t",
            "authorization_endpoint": "https://idp.test/a", "code_challenge_methods_supported": ["plain"]});
        let provider = read(base, good).unwrap();
        assert!(provider.authorization.is_none(), "without SHA-256 there is no PKCE");
        assert!(provider.device_authorization.is_none() && provider.revocation.is_none() && !provider.names_itself);
        for (metadata, wanted) in [
            (json!({"issuer": "https://evil.test", "token_endpoint": "https://idp.test/t"}), "another issuer"),
            (json!({"issuer": base}), "where tokens are got"),
            (json!({"issuer": base, "token_endpoint": "http://idp.test/t"}), "token_endpoint"),
            (json!({"issuer": base, "token_endpoint": 7}), "token_endpoint"),
            (
                json!({"issuer": base, "token_endpoint": "https://idp.test/t", "revocation_endpoint": "file:///x"}),
                "revocation_endpoint",
            ),
        ] {
            let message = read(base, metadata).unwrap_err().to_string();
            assert!(message.contains(wanted), "{wanted}: {message}");
        }
    }
}
