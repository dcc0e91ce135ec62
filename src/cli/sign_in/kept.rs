//! A sign-in as it is kept: where it came from, what renews it, and the access tokens got so far, by audience.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::endpoint::{EndpointError, Tokens};
use super::error::SignInError;
use crate::domain::{Audience, ServiceName, Subject, WallTime};
use crate::secret::Secret;
use crate::wire::sign_in::{Indicator, SignInTerms};

const VERSION: u32 = 1;
/// A token is renewed when less than this is left of it, or a quarter of its life where that is shorter.
const LEFT_MIN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct Kept {
    version: u32,
    /// As they were when the sign-in was made: a refresh token goes to no other issuer than the one that gave it.
    pub(in crate::cli) terms: SignInTerms,
    /// Who signed in, by the issuer's ID token.
    pub(in crate::cli) subject: Option<Subject>,
    pub(in crate::cli) signed_in_at: WallTime,
    #[serde(serialize_with = "exposed_if", skip_serializing_if = "Option::is_none", default)]
    pub(in crate::cli) refresh_token: Option<Secret<String>>,
    tokens: BTreeMap<String, KeptToken>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptToken {
    #[serde(serialize_with = "exposed")]
    token: Secret<String>,
    /// By this machine's clock.
    expires_at: WallTime,
    renew_at: WallTime,
}

fn exposed<S: Serializer>(secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn exposed_if<S: Serializer>(secret: &Option<Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

impl Kept {
    /// A new sign-in, with its first tokens.
    pub(super) fn new(
        terms: SignInTerms,
        subject: Option<Subject>,
        (audience, tokens): (&Audience, Tokens),
        now: WallTime,
    ) -> Self {
        let mut kept =
            Self { version: VERSION, terms, subject, signed_in_at: now, refresh_token: None, tokens: BTreeMap::new() };
        kept.take(audience, tokens, now);
        kept
    }

    /// Takes over the same person's tokens for others, where the issuer gives nothing to renew them by.
    pub(super) fn inherit(&mut self, before: &Self) {
        if self.refresh_token.is_none() && self.subject.is_some() && self.subject == before.subject {
            for (audience, token) in &before.tokens {
                self.tokens.entry(audience.clone()).or_insert_with(|| token.clone());
            }
        }
    }

    /// `None` for what this program does not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|kept: &Self| kept.version == VERSION)
    }

    /// Takes over what the issuer gave; a refresh token that was not replaced stays (RFC 6749 §6).
    pub(super) fn take(&mut self, audience: &Audience, tokens: Tokens, now: WallTime) {
        let margin = LEFT_MIN.min(tokens.lifetime / 4);
        let expires_at = now.plus(tokens.lifetime);
        let token = KeptToken { token: tokens.access, expires_at, renew_at: expires_at.minus(margin) };
        self.tokens.retain(|_, token| token.expires_at > now);
        self.tokens.insert(self.slot(audience), token);
        self.refresh_token = tokens.refresh.or(self.refresh_token.take());
    }

    /// The token for `audience`, if enough is left of it.
    pub(super) fn token(&self, audience: &Audience, now: WallTime) -> Option<&Secret<String>> {
        let kept = self.tokens.get(&self.slot(audience))?;
        // A clock that was set back must not make a token last.
        let is_current = kept.renew_at > now && now.plus(Duration::from_secs(1)) >= self.signed_in_at;
        is_current.then_some(&kept.token)
    }

    /// The token for `audience` that was just got, however short its life.
    pub(super) fn held(&self, audience: &Audience) -> Result<Secret<String>, SignInError> {
        let kept = self.tokens.get(&self.slot(audience)).map(|kept| kept.token.clone());
        kept.ok_or_else(|| EndpointError::Unusable("it has no token for this audience").into())
    }

    /// Until when the token for `audience` lasts.
    pub(in crate::cli) fn lasts_until(&self, audience: &Audience) -> Option<WallTime> {
        self.tokens.get(&self.slot(audience)).map(|kept| kept.expires_at)
    }

    /// Whom a token for `service` is for; `None` where the control plane has not said.
    pub(in crate::cli) fn audience_of(&self, service: &ServiceName) -> Option<&Audience> {
        self.terms.services.iter().find(|one| one.service == *service).map(|one| &one.audience)
    }

    /// One for all where the issuer is not told whom a token is for.
    fn slot(&self, audience: &Audience) -> String {
        match self.terms.indicator {
            Indicator::Absent => self.terms.audience.as_str().to_owned(),
            Indicator::Resource | Indicator::Audience => audience.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, lifetime_s: u64) -> Tokens {
        Tokens {
            access: Secret::new(text.to_owned()),
            lifetime: Duration::from_secs(lifetime_s),
            refresh: None,
            id: None,
        }
    }

    fn kept(indicator: Indicator, lifetime_s: u64) -> Kept {
        let terms = SignInTerms {
            issuer: "https://idp.test".parse().unwrap(),
            client_id: "cli".to_owned(),
            scopes: Vec::new(),
            indicator,
            audience: "control".parse().unwrap(),
            services: Vec::new(),
        };
        let audience = terms.audience.clone();
        Kept::new(terms, None, (&audience, tokens("first", lifetime_s)), WallTime::from_unix_s(1_000))
    }

    #[test]
    fn a_token_is_for_one_audience_unless_the_issuer_is_told_of_none() {
        let (control, other) = ("control".parse().unwrap(), "payments".parse().unwrap());
        let now = WallTime::from_unix_s(1_000);
        assert_eq!(kept(Indicator::Resource, 600).token(&other, now), None);
        assert_eq!(kept(Indicator::Absent, 600).token(&other, now).unwrap().expose(), "first");
        let mut kept = kept(Indicator::Audience, 600);
        kept.take(&other, tokens("second", 600), now);
        assert_eq!(kept.token(&control, now).unwrap().expose(), "first");
        assert_eq!(kept.token(&other, now).unwrap().expose(), "second");
    }

    #[test]
    fn a_token_is_renewed_before_it_ends_and_never_lasts_by_a_clock_that_was_set_back() {
        let audience = "control".parse().unwrap();
        for (lifetime_s, at_s, usable) in [
            (600, 1_000, true),
            (600, 1_569, true),
            (600, 1_570, false),
            (8, 1_005, true),
            (8, 1_006, false),
            (600, 998, false),
            (0, 1_000, false),
        ] {
            let token = kept(Indicator::Resource, lifetime_s);
            let found = token.token(&audience, WallTime::from_unix_s(at_s)).is_some();
            assert_eq!(found, usable, "{lifetime_s} s, at {at_s}");
        }
        assert_eq!(kept(Indicator::Resource, 0).held(&audience).unwrap().expose(), "first");
    }
}
