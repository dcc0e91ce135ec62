//! Signing in from the terminal, and staying signed in.
//!
//! - `terms`: the control plane says which issuer, which client, and whom tokens are for. The control plane is the one
//!   that was configured: no answer of any other API is ever followed to an issuer.
//! - `device` (RFC 8628) or `browser` with `loopback` and `proof` (RFC 8252, RFC 7636): the person signs in at the issuer.
//! - `endpoint`: the issuer's endpoints as a public client calls them; the ID token is checked by `crate::identity`.
//! - `kept` on its `shelf`: what is kept between two commands, for its owner alone and under a lock; in a `keyring` where
//!   the system has one.
//! - `credentials`: an access token for each call, renewed or stepped up as the answer asks.
//!
//! A token leaves in a form to its own issuer or in a header to its own audience, and is shown by `breakglass token`
//! alone.

mod asked;
mod browser;
mod credentials;
mod device;
mod endpoint;
mod error;
mod kept;
mod keyring;
mod loopback;
mod proof;
mod shelf;
mod terms;
#[cfg(test)]
mod tests;

use http::Uri;

pub(super) use asked::Asked;
pub(super) use browser::Opener;
pub(super) use credentials::{Credentials, Keeper};
use endpoint::{Endpoint, EndpointError, Tokens};
pub(super) use error::SignInError;
pub(super) use kept::Kept;
pub(super) use proof::random;
pub(super) use shelf::Shelf;
pub(super) use terms::Overrides;

use super::failure::Failure;
use super::output::Output;
use crate::clock::Clock;
use crate::domain::{Audience, Subject};
use crate::error_chain::error_chain;
use crate::http::Client;
use crate::identity::{Proven, Provider, Wanted};
use crate::secret::Secret;
use crate::wire::sign_in::SignInTerms;

/// Which way the person signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Flow {
    /// The browser of this machine where it has one and the issuer lets it, else the device flow.
    #[default]
    Fitting,
    Browser,
    Device,
}

/// What one sign-in is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    pub(super) flow: Flow,
    pub(super) asked: Asked,
    pub(super) overrides: Overrides,
    /// Nobody else may sign in: a request goes on under it.
    pub(super) by: Option<Subject>,
    /// Whom the first token is for; the control plane unless named.
    pub(super) audience: Option<Audience>,
}

/// What signing in at one control plane takes.
#[derive(Debug, Clone)]
pub(super) struct SignIn {
    pub(super) control: Uri,
    /// Speaks to the control plane.
    pub(super) client: Client,
    /// Speaks to issuers.
    pub(super) issuers: Client,
    pub(super) shelf: Shelf,
    pub(super) opener: Option<Opener>,
}

impl SignIn {
    /// Has the person sign in, and keeps it in the place of an earlier sign-in.
    ///
    /// # Errors
    /// When nobody is signed in, or it cannot be kept.
    pub(super) async fn run(&self, order: &Order, out: &mut Output) -> Result<Kept, Failure> {
        let terms = terms::resolve(&self.client, &self.control, &order.overrides).await?;
        let provider = Provider::discover(&self.issuers, &terms.issuer).await.map_err(SignInError::from)?;
        let endpoint = Endpoint::new(self.issuers.clone(), provider, &terms);
        out.note(&format!("signing in at {} as the client {}", terms.issuer, terms.client_id));
        let audience = order.audience.clone().unwrap_or_else(|| terms.audience.clone());
        let (tokens, nonce) = self.tokens(&endpoint, &terms, &audience, order, out).await?;
        let proven = prove(&endpoint, &terms, &tokens, nonce.as_deref(), &order.asked).await?;
        let subject = proven.map(|proven| proven.subject);
        if order.by.is_some() && order.by != subject {
            return Err(SignInError::SomebodyElse.into());
        }
        self.keep(Kept::new(terms, subject, (&audience, tokens), Clock::System.wall()), out).await
    }

    async fn tokens(
        &self,
        endpoint: &Endpoint,
        terms: &SignInTerms,
        audience: &Audience,
        order: &Order,
        out: &mut Output,
    ) -> Result<(Tokens, Option<String>), SignInError> {
        let audiences = audiences(terms, audience);
        let offers = &endpoint.provider;
        let in_browser = match order.flow {
            Flow::Browser => true,
            Flow::Device => false,
            Flow::Fitting => {
                offers.authorization.is_some() && (self.opener.is_some() || offers.device_authorization.is_none())
            }
        };
        if in_browser {
            let how = (&order.asked, self.opener.as_ref());
            let (tokens, nonce) = browser::run(endpoint, &terms.scopes, &audiences, how, out).await?;
            return Ok((tokens, Some(nonce)));
        }
        Ok((device::run(endpoint, &terms.scopes, &audiences, &order.asked, out).await?, None))
    }

    /// Puts it on the shelf. The refresh token that was there is forgotten and not revoked: many issuers end with it all
    /// that they gave to this client for this person, and so the new sign-in too.
    async fn keep(&self, mut kept: Kept, out: &mut Output) -> Result<Kept, Failure> {
        let held = self.shelf.hold().await?;
        if let Ok(Some(before)) = self.shelf.read().await {
            kept.inherit(&before);
        }
        if let Some(why) = self.shelf.write(&held, &kept).await? {
            out.warn(&not_in_keyring(&why));
        }
        Ok(kept)
    }

    /// Ends the sign-in that is kept, here and at the issuer; false where there was none.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) async fn end(&self, out: &mut Output) -> Result<bool, Failure> {
        let held = self.shelf.hold().await?;
        let there = self.shelf.file().exists();
        let kept = self.shelf.read().await;
        self.shelf.remove(&held).await?;
        match kept {
            Ok(Some(kept)) => match Provider::discover(&self.issuers, &kept.terms.issuer).await {
                Ok(provider) => {
                    let endpoint = Endpoint::new(self.issuers.clone(), provider, &kept.terms);
                    revoke(&endpoint, kept.refresh_token.as_ref(), out).await;
                }
                Err(error) => out.warn(&format!("the issuer was not told: {}", error_chain(&error))),
            },
            Ok(None) => {}
            Err(failure) => out.warn(&format!("{}; it was removed, and the issuer was not told", failure.message)),
        }
        Ok(there)
    }
}

fn not_in_keyring(why: &keyring::KeyringError) -> String {
    format!("the sign-in is kept in a file, not in the keyring: {}", error_chain(why))
}

/// `first`, then all others that a sign-in is for.
fn audiences(terms: &SignInTerms, first: &Audience) -> Vec<Audience> {
    let others = std::iter::once(&terms.audience).chain(terms.services.iter().map(|one| &one.audience));
    let mut all = vec![first.clone()];
    for audience in others {
        if !all.contains(audience) {
            all.push(audience.clone());
        }
    }
    all
}

/// Who signed in, by the ID token; `None` where the scopes do not ask for one.
async fn prove(
    endpoint: &Endpoint,
    terms: &SignInTerms,
    tokens: &Tokens,
    nonce: Option<&str>,
    asked: &Asked,
) -> Result<Option<Proven>, SignInError> {
    let Some(token) = &tokens.id else {
        let is_wanted = terms.scopes.iter().any(|scope| scope == "openid");
        return if is_wanted { Err(SignInError::NoIdToken) } else { Ok(None) };
    };
    let wanted = Wanted {
        client_id: &endpoint.client_id,
        nonce,
        acr: &asked.acr,
        max_age: asked.max_age,
        now: Clock::System.wall(),
    };
    Ok(Some(endpoint.provider.check_id_token(&endpoint.client, token.expose(), &wanted).await?))
}

/// What the issuer cannot be told ends by itself, later: no reason to fail.
async fn revoke(endpoint: &Endpoint, token: Option<&Secret<String>>, out: &mut Output) {
    let Some(token) = token else { return };
    match endpoint.revoke(token).await {
        Ok(true) => {}
        Ok(false) => out.note("the issuer has no place to end a sign-in: it ends there by itself"),
        Err(error) => {
            out.warn(&format!("the issuer could not be told that the sign-in is over: {}", error_chain(&error)))
        }
    }
}

/// Whether the issuer says that the sign-in is over (RFC 6749 §5.2, OpenID Connect Core 1.0 §3.1.2.6).
fn is_over(error: &EndpointError) -> bool {
    matches!(error.code(), Some("invalid_grant" | "interaction_required" | "login_required" | "consent_required"))
}
