//! An access token for a call: the one that was given, or one of the sign-in that is kept, renewed where it is old and
//! stepped up where the answer asks for it.

use std::sync::Arc;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use tokio::sync::Mutex;

use super::asked::Asked;
use super::endpoint::Endpoint;
use super::error::SignInError;
use super::kept::Kept;
use super::{Order, SignIn, is_over, not_in_keyring, terms};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::prompt::Prompt;
use crate::clock::Clock;
use crate::domain::{Audience, ServiceName};
use crate::identity::Provider;
use crate::secret::Secret;

/// Where the token of a call comes from.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Credentials {
    /// From a flag or the environment: it is what it is.
    Given(Secret<String>),
    Kept(Arc<Keeper>),
}

impl Credentials {
    /// The token for the control plane, or for a service.
    ///
    /// # Errors
    /// When nobody is signed in.
    pub(in crate::cli) async fn token(&self, service: Option<&ServiceName>) -> Result<Secret<String>, Failure> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Kept(keeper) => Box::pin(keeper.token(service)).await,
        }
    }

    /// Another token in the place of `refused`, which was answered 401 with `headers`; `None` where there is no better.
    ///
    /// # Errors
    /// When the person did not sign in as it was asked for.
    pub(in crate::cli) async fn better(
        &self,
        refused: &Secret<String>,
        headers: &HeaderMap,
    ) -> Result<Option<Secret<String>>, Failure> {
        let Self::Kept(keeper) = self else { return Ok(None) };
        match Asked::of(headers) {
            Some(asked) => Box::pin(keeper.stepped_up(refused, &asked)).await,
            None if says_invalid(headers) => Box::pin(keeper.renewed(refused)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// RFC 6750 §3.1.
fn says_invalid(headers: &HeaderMap) -> bool {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).any(|value| value.contains("error=\"invalid_token\""))
}

/// Keeps the sign-in at one control plane usable. What there is to say and to ask goes to the terminal.
pub(in crate::cli) struct Keeper {
    sign_in: SignIn,
    out: Mutex<Output>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("control", &self.sign_in.control).finish_non_exhaustive()
    }
}

impl Keeper {
    pub(in crate::cli) fn new(sign_in: SignIn, out: Output) -> Self {
        Self { sign_in, out: Mutex::new(out) }
    }

    /// A token for the control plane, or for a service.
    ///
    /// # Errors
    /// When nobody is signed in, and nobody does it now.
    pub(in crate::cli) async fn token(&self, service: Option<&ServiceName>) -> Result<Secret<String>, Failure> {
        let Some(kept) = self.sign_in.shelf.read().await? else {
            let kept = self.offer("you are not signed in").await?;
            return self.token_of(kept, service).await;
        };
        self.token_of(kept, service).await
    }

    async fn token_of(&self, kept: Kept, service: Option<&ServiceName>) -> Result<Secret<String>, Failure> {
        let audience = self.audience(&kept, service).await?;
        match kept.token(&audience, Clock::System.wall()) {
            Some(token) => Ok(token.clone()),
            None => self.fresh(&audience, None).await,
        }
    }

    /// Whom the token is for. A service that came after the sign-in is asked for; one that has no audience of its own
    /// takes the control plane's token.
    async fn audience(&self, kept: &Kept, service: Option<&ServiceName>) -> Result<Audience, Failure> {
        let Some(service) = service else { return Ok(kept.terms.audience.clone()) };
        if let Some(audience) = kept.audience_of(service) {
            return Ok(audience.clone());
        }
        let told = terms::told(&self.sign_in.client, &self.sign_in.control).await?;
        let told = told.into_iter().flat_map(|terms| terms.services).find(|one| one.service == *service);
        Ok(told.map_or_else(|| kept.terms.audience.clone(), |one| one.audience))
    }

    /// A new token for `audience`, by the refresh token, under the lock; `refused`: this one is of no use any more.
    async fn fresh(&self, audience: &Audience, refused: Option<&Secret<String>>) -> Result<Secret<String>, Failure> {
        let shelf = &self.sign_in.shelf;
        let held = shelf.hold().await?;
        let Some(mut kept) = shelf.read().await? else {
            drop(held);
            return self.signed_in("the sign-in is gone", audience).await;
        };
        if let Some(token) = kept.token(audience, Clock::System.wall()).filter(|token| Some(*token) != refused) {
            // Another shell was faster.
            return Ok(token.clone());
        }
        let Some(refresh_token) = kept.refresh_token.clone() else {
            drop(held);
            return self.signed_in("the sign-in has ended", audience).await;
        };
        let provider = Provider::discover(&self.sign_in.issuers, &kept.terms.issuer).await;
        let endpoint = Endpoint::new(self.sign_in.issuers.clone(), provider.map_err(SignInError::from)?, &kept.terms);
        match endpoint.refresh(&refresh_token, audience).await {
            Ok(tokens) => {
                kept.take(audience, tokens, Clock::System.wall());
                if let Some(why) = shelf.write(&held, &kept).await? {
                    self.out.lock().await.warn(&not_in_keyring(&why));
                }
                Ok(kept.held(audience)?)
            }
            Err(error) if is_over(&error) => {
                shelf.remove(&held).await?;
                drop(held);
                self.signed_in("the sign-in has ended at the issuer", audience).await
            }
            Err(error) => Err(SignInError::from(error).into()),
        }
    }

    async fn renewed(&self, refused: &Secret<String>) -> Result<Secret<String>, Failure> {
        match self.sign_in.shelf.read().await? {
            Some(kept) => self.fresh(&kept.terms.audience.clone(), Some(refused)).await,
            None => self.token(None).await,
        }
    }

    /// Signs in as it was asked for; `None` where nobody is there to do it.
    async fn stepped_up(&self, refused: &Secret<String>, asked: &Asked) -> Result<Option<Secret<String>>, Failure> {
        let Some(kept) = self.sign_in.shelf.read().await? else { return Ok(None) };
        let audience = kept.terms.audience.clone();
        if let Some(token) = kept.token(&audience, Clock::System.wall()).filter(|token| *token != refused) {
            // Stepped up in another shell meanwhile.
            return Ok(Some(token.clone()));
        }
        let mut out = self.out.lock().await;
        if !(out.is_live() && Prompt::of_process(true).can_ask()) {
            let message = format!("the policy wants a stronger or fresher login: {asked}");
            let hint = format!("sign in as it wants: breakglass login{}", asked.flags());
            return Err(Failure::new(Exit::NotAuthenticated, message, hint));
        }
        out.choice(&format!("The policy wants a stronger or fresher login: {asked}"));
        let order = Order { asked: asked.clone(), by: kept.subject.clone(), ..Order::default() };
        let kept = self.sign_in.run(&order, &mut out).await?;
        Ok(Some(kept.held(&audience)?))
    }

    async fn signed_in(&self, why: &str, audience: &Audience) -> Result<Secret<String>, Failure> {
        let kept = self.offer_for(why, Some(audience.clone())).await?;
        Ok(kept.held(audience)?)
    }

    async fn offer(&self, why: &str) -> Result<Kept, Failure> {
        self.offer_for(why, None).await
    }

    /// Asks whether to sign in now, where somebody can be asked.
    async fn offer_for(&self, why: &str, audience: Option<Audience>) -> Result<Kept, Failure> {
        let mut out = self.out.lock().await;
        let message = format!("{why} ({})", self.sign_in.control);
        let hint = "run breakglass login; in a pipeline, put an access token in BREAKGLASS_TOKEN or name its file";
        let not = || Failure::new(Exit::NotAuthenticated, message.clone(), hint);
        let mut prompt = Prompt::of_process(true);
        if !out.is_live() || !prompt.can_ask() {
            return Err(not());
        }
        out.choice(&message);
        if !prompt.confirm(&mut out, "Sign in now?").await? {
            return Err(not());
        }
        self.sign_in.run(&Order { audience, ..Order::default() }, &mut out).await
    }
}
