//! What comes of asking an issuer about a person's access token: who has something here that rests on one, which token of
//! theirs is the newest over all replicas, and the end of what rested on one that stands no more.
//!
//! INVARIANT: nothing ends for a token whose own time is over, or of which a newer one was seen at any replica before
//! the transition. No token comes here, only its times.

use std::collections::BTreeSet;
use std::time::Duration;

use super::endings::lapse_for;
use super::grants::{End, end_grant};
use super::rows::parsed;
use super::signals::{Found, Reach};
use super::statement::sql;
use super::suspension::{demand_fresh, fresh_since};
use super::{Effect, EventOutcome, Store, StoreError};
use crate::domain::{Person, Principal, WallTime};
use crate::ledger::InactiveToken;
use crate::ledger::entry::Draft;
use crate::wire::feed::EndCause;

/// The times of an access token, by which a newer one is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenTimes {
    /// `iat`.
    pub issued: WallTime,
    /// `exp`.
    pub expires: WallTime,
}

/// A token of which its issuer says that it stands no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoLongerActive {
    pub principal: Principal,
    pub person: Person,
    pub times: TokenTimes,
    /// What was proven at or before this time no longer counts.
    pub since: WallTime,
    /// How far the issuer's clock may run ahead of ours: so long before its end a token proves nothing.
    pub leeway: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecheckOutcome {
    Carried(EventOutcome),
    /// A newer token of theirs was seen.
    SignedInAnew,
    /// Its own time is over, which is why it stands no more.
    Expired,
}

const NEWER: &str = "SELECT COUNT(*) FROM principals WHERE idp = $1 AND person = $2 AND (token_issued_ms > $3 \
                     OR (token_issued_ms = $3 AND token_expires_ms > $4))";

impl Store {
    /// Whether a live grant or a waiting request is theirs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_stake(&self, person: &Person) -> Result<bool, StoreError> {
        let found =
            sql("SELECT (SELECT COUNT(*) FROM grants WHERE person = $1 AND state = 'active' AND expires_ms > $2) \
             + (SELECT COUNT(*) FROM elevations WHERE person = $1 AND state = 'requested')")
            .bind(person.as_str())
            .bind(self.shared.clock.wall().unix_ms());
        Ok(found.integer(&self.shared.database).await? > 0)
    }

    /// Everybody who has a live grant or a waiting request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn persons_at_stake(&self) -> Result<BTreeSet<Person>, StoreError> {
        let rows = sql("SELECT person FROM grants WHERE state = 'active' AND expires_ms > $1 \
             UNION SELECT person FROM elevations WHERE state = 'requested'")
        .bind(self.shared.clock.wall().unix_ms())
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter().map(|row| parsed("person", row.first()?)).collect()
    }

    /// Remembers that a token of the principal was seen, unless a newer one was. From then on no other replica ends
    /// anything for an older one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn see_token(&self, principal: &Principal, times: TokenTimes) -> Result<(), StoreError> {
        // Most of the time it was: that takes no turn of the writer.
        let seen = sql("SELECT COUNT(*) FROM principals WHERE idp = $1 AND subject = $2 AND (token_issued_ms > $3 \
                        OR (token_issued_ms = $3 AND token_expires_ms >= $4))")
        .bind(principal.issuer.as_str())
        .bind(principal.subject.as_str())
        .bind(times.issued.unix_ms())
        .bind(times.expires.unix_ms())
        .integer(&self.shared.database)
        .await?;
        if seen > 0 {
            return Ok(());
        }
        let mut transition = self.transition().await?;
        sql("UPDATE principals SET token_issued_ms = $3, token_expires_ms = $4 WHERE idp = $1 AND subject = $2 AND \
             (token_issued_ms IS NULL OR token_issued_ms < $3 OR (token_issued_ms = $3 AND token_expires_ms < $4))")
        .bind(principal.issuer.as_str())
        .bind(principal.subject.as_str())
        .bind(times.issued.unix_ms())
        .bind(times.expires.unix_ms())
        .execute(transition.connection())
        .await?;
        transition.commit().await
    }

    /// Ends what rests on a token that stands no more: grants and requests of its person by its issuer, but for those that
    /// rest on a later authentication.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of it was done.
    pub async fn end_for(&self, token: &NoLongerActive) -> Result<RecheckOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if transition.at().plus(token.leeway) >= token.times.expires {
            return Ok(RecheckOutcome::Expired);
        }
        let (idp, person) = (&token.principal.issuer, &token.person);
        let newer = sql(NEWER)
            .bind(idp.as_str())
            .bind(person.as_str())
            .bind(token.times.issued.unix_ms())
            .bind(token.times.expires.unix_ms())
            .integer(transition.connection())
            .await?;
        if newer > 0 {
            return Ok(RecheckOutcome::SignedInAnew);
        }
        // An issuer whose clock runs ahead, or that counts in other units, locks nobody out for longer than until now.
        let since = token.since.min(transition.at());
        let before = fresh_since(transition.connection(), person).await?;
        demand_fresh(&mut transition, person, since).await?;
        let reach = Reach { effect: Effect::End, since, idp: Some(idp) };
        let found = Found::of(&mut transition, person, &reach).await?;
        let mut outcome = EventOutcome { known: true, ..EventOutcome::default() };
        // Another replica, or a signal, may have been first: then there is nothing to tell.
        if !found.is_empty() || before.is_none_or(|before| before < since) {
            carry_out(&mut transition, token, since, found, &mut outcome).await?;
        }
        transition.commit().await?;
        Ok(RecheckOutcome::Carried(outcome))
    }
}

/// The token's own entry stands before those of what ends.
async fn carry_out(
    transition: &mut super::transition::Transition<'_>,
    token: &NoLongerActive,
    since: WallTime,
    found: Found,
    outcome: &mut EventOutcome,
) -> Result<(), StoreError> {
    let idp = &token.principal.issuer;
    let told = InactiveToken { idp, issued: token.times.issued, since };
    let counts = [found.end.len(), found.lapse.len()];
    transition.entry(Draft::token_inactive(told, counts, &token.person), None).await?;
    let note = format!("{idp}: the access token is no longer active");
    for record in found.end {
        let id = record.grant.id;
        let entry = Draft::grant_revoked_by_introspection(&id, idp);
        let end = End { cause: EndCause::Revoked, by: None, note: Some(&note), revocation: None, entry };
        end_grant(transition, &id, &record.grant.service, end).await?;
        outcome.ended.push(id);
    }
    for id in found.lapse {
        lapse_for(transition, &id, Some("introspection")).await?;
        outcome.lapsed.push(id);
    }
    Ok(())
}
