//! Grants: columns true to the signed token, state true to the changes and the entries, uses within their limit.

use std::collections::{BTreeMap, HashMap};

use super::entries::{Told, ToldGrant};
use super::{CheckReport, PAGE};
use crate::config::digest_hex;
use crate::domain::{Grant, GrantId, ReviewState, WallTime};
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{ended_state, from_json, from_sql, state, state_text};
use crate::store::statement::{Row, sql};
use crate::store::transition::StoredChange;
use crate::token::claims::GrantClaims;
use crate::token::verify::read_key_certificate;
use crate::token::{KeyRing, verify_grant};
use crate::wire::api::GrantState;

/// What the feed was told of one grant.
#[derive(Debug, Default)]
struct Fed {
    put: Vec<u64>,
    suspended: Vec<u64>,
    ended: Vec<(u64, GrantState)>,
}

pub(super) async fn check(reading: &mut Transaction, told: &Told, report: &mut CheckReport) -> Result<(), StoreError> {
    let fed = fed(reading, report).await?;
    let keys = keys(reading, report).await?;
    let mut after = 0_i64;
    loop {
        let rows =
            sql("SELECT g.*, (SELECT COUNT(*) FROM elevations e WHERE e.id = g.elevation AND e.state = 'approved') \
                        AS elevated FROM grants g WHERE g.position > $1 ORDER BY g.position LIMIT $2")
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *reading)
            .await?;
        for row in &rows {
            after = row.try_get("position")?;
            report.grants = report.grants.saturating_add(1);
            let checked = Checked { row, id: row.try_get("id")?, keys: &keys };
            checked.check(fed.get(checked.id), told.grants.get(checked.id), report)?;
        }
        if rows.is_empty() {
            break;
        }
    }
    unknown_grants(reading, &fed, report).await?;
    overspent(reading, report).await
}

/// One grant's row under examination.
struct Checked<'r> {
    row: &'r Row,
    id: &'r str,
    keys: &'r KeyRing,
}

impl Checked<'_> {
    fn check(&self, fed: Option<&Fed>, told: Option<&ToldGrant>, report: &mut CheckReport) -> Result<(), StoreError> {
        let place = format!("grant {}", self.id);
        self.columns(&place, report)?;
        let Ok(state) = state(self.row.try_get("state")?) else {
            report.find(place, "has a state that this version does not know");
            return Ok(());
        };
        self.feed(&place, state, (fed, told), report)?;
        self.entries(&place, state, told, report)?;
        self.suspensions(&place, fed, told, report)?;
        let ended = self.row.try_get::<Option<i64>>("ended_ms")?.is_some();
        if ended == (state == GrantState::Active) {
            report.find(place.as_str(), "is active and ended, or neither");
        }
        if self.row.try_get::<i64>("elevated")? != 1 {
            report.find(place, "has no approved elevation");
        }
        Ok(())
    }

    /// Something of it was erased, and its token with it.
    fn is_erased(&self) -> Result<bool, StoreError> {
        Ok(self.row.try_get::<Option<i64>>("erased_ms")?.is_some())
    }

    /// Whether it ever had a token.
    fn was_bound(&self, told: Option<&ToldGrant>) -> Result<bool, StoreError> {
        let had_one = told.is_some_and(|told| told.token_sha256.is_some());
        Ok(!self.row.try_get::<&str>("token")?.is_empty() || (self.is_erased()? && had_one))
    }

    /// The token is signed by a key that the ledger knows, and says what the row says.
    fn columns(&self, place: &str, report: &mut CheckReport) -> Result<(), StoreError> {
        let claims: Result<GrantClaims, _> = from_json("claims", self.row.try_get("claims")?);
        let Some(grant) = claims.ok().and_then(|claims| Grant::try_from(claims).ok()) else {
            report.find(place, "its claims are not those of a grant");
            return Ok(());
        };
        let (service, person): (&str, &str) = (self.row.try_get("service")?, self.row.try_get("person")?);
        let (expires, uses): (i64, Option<i64>) = (self.row.try_get("expires_ms")?, self.row.try_get("max_uses")?);
        let same = grant.id.as_str() == self.id
            && grant.service.as_str() == service
            && grant.person.as_str() == person
            && grant.expires == WallTime::from_unix_ms(expires)
            && grant.max_uses.map(|uses| i64::from(uses.get())) == uses;
        if !same {
            report.find(place, "its row and its claims differ");
        }
        let token: &str = self.row.try_get("token")?;
        if self.is_erased()? {
            if !token.is_empty() {
                report.find(place, "was erased, and has a token");
            }
            return Ok(());
        }
        if !grant.is_bound() {
            if !token.is_empty() {
                report.find(place, "has a token, and nothing is bound to it");
            }
            return Ok(());
        }
        match verify_grant(token, self.keys) {
            Ok(signed) if signed == grant => {}
            Ok(_) => report.find(place, "its token says something else than its claims"),
            Err(error) => report.find(place, format!("its token does not hold: {error}")),
        }
        Ok(())
    }

    fn feed(
        &self,
        place: &str,
        state: GrantState,
        (fed, told): (Option<&Fed>, Option<&ToldGrant>),
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let untold = Fed::default();
        let is_bound = self.was_bound(told)?;
        if fed.is_none() && is_bound {
            report.find(place, "was never told to the feed");
            return Ok(());
        }
        let fed = fed.unwrap_or(&untold);
        report.agree(place, "the number of its tombstones", fed.ended.len(), usize::from(state != GrantState::Active));
        if let Some((_, told)) = fed.ended.last() {
            report.agree(place, "its state on the feed", state_text(*told), state_text(state));
        }
        let told = fed.put.iter().chain(&fed.suspended).copied();
        let last = told.chain(fed.ended.iter().map(|(revision, _)| *revision)).max();
        report.agree(place, "its revision", from_sql(self.row.try_get("revision")?), last.unwrap_or_default());
        Ok(())
    }

    /// It was put once, when there was a token, and again after each suspension that was lifted; each of both is an entry.
    /// What had happened to it before it was claimed, the feed was not told.
    fn suspensions(
        &self,
        place: &str,
        fed: Option<&Fed>,
        told: Option<&ToldGrant>,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let is_bound = self.was_bound(told)?;
        let kinds: &[String] = told.filter(|_| is_bound).map_or(&[], |told| &told.kinds);
        let unclaimed = kinds.iter().position(|kind| kind == "grant_claimed").unwrap_or_default();
        let count = |kind: &str| kinds.iter().skip(unclaimed).filter(|told| *told == kind).count();
        let (put, suspended) = fed.map_or((0, 0), |fed| (fed.put.len(), fed.suspended.len()));
        let expected = usize::from(is_bound).saturating_add(count("grant_resumed"));
        report.agree(place, "the number of its puts", put, expected);
        report.agree(place, "the number of its entries grant_suspended", count("grant_suspended"), suspended);
        Ok(())
    }

    fn entries(
        &self,
        place: &str,
        state: GrantState,
        told: Option<&ToldGrant>,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let kinds: &[String] = told.map_or(&[], |told| &told.kinds);
        let count = |kind: &str| kinds.iter().filter(|told| *told == kind).count();
        report.agree(place, "the number of its entries grant_issued", count("grant_issued"), 1);
        let claimed = self.row.try_get::<Option<i64>>("claimed_ms")?.is_some();
        report.agree(place, "the number of its entries grant_claimed", count("grant_claimed"), usize::from(claimed));
        for ended in [GrantState::Expired, GrantState::Revoked, GrantState::UsedUp] {
            let kind = format!("grant_{}", state_text(ended));
            let what = format!("the number of its entries {kind}");
            report.agree(place, &what, count(&kind), usize::from(ended == state));
        }
        self.review(place, (count("grant_reviewed"), count("review_overdue")), report)?;
        let digest = told.and_then(|told| told.token_sha256.clone());
        let token: &str = self.row.try_get("token")?;
        if !self.is_erased()? && digest != (!token.is_empty()).then(|| digest_hex(token)) {
            report.find(place, "its token is not the one that its entry names");
        }
        Ok(())
    }

    /// A review that was due in vain may have come after all.
    fn review(
        &self,
        place: &str,
        (reviewed, overdue): (usize, usize),
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let state: &str = self.row.try_get("review")?;
        let is = |known: ReviewState| state == known.as_str();
        report.agree(
            place,
            "the number of its entries grant_reviewed",
            reviewed,
            usize::from(is(ReviewState::Reviewed)),
        );
        let expected = if is(ReviewState::Reviewed) { overdue.min(1) } else { usize::from(is(ReviewState::Overdue)) };
        report.agree(place, "the number of its entries review_overdue", overdue, expected);
        let done = self.row.try_get::<Option<i64>>("reviewed_ms")?.is_some();
        if done != is(ReviewState::Reviewed) {
            report.find(place, "is reviewed without a review, or has one and is not");
        }
        Ok(())
    }
}

/// The ledger's own grant keys. Their certificates are taken as they are: which roots are trusted is the reader's to say.
async fn keys(reading: &mut Transaction, report: &mut CheckReport) -> Result<KeyRing, StoreError> {
    let rows = sql("SELECT kid, certificate FROM grant_keys").fetch_all(reading).await?;
    let mut keys = Vec::new();
    for row in &rows {
        let kid: &str = row.try_get("kid")?;
        match read_key_certificate(row.try_get("certificate")?) {
            Ok(key) if key.key.kid() == kid => keys.push(key),
            Ok(_) => report.find(format!("grant key {kid}"), "its certificate is another key's"),
            Err(error) => report.find(format!("grant key {kid}"), format!("its certificate cannot be read: {error}")),
        }
    }
    Ok(KeyRing::new(keys))
}

async fn fed(reading: &mut Transaction, report: &mut CheckReport) -> Result<HashMap<String, Fed>, StoreError> {
    let mut fed: HashMap<String, Fed> = HashMap::new();
    let mut after = 0_i64;
    loop {
        let rows = sql(
            "SELECT revision, body FROM changes WHERE revision > $1 AND kind IN ('put', 'suspended', 'tombstone') \
                        ORDER BY revision LIMIT $2",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut *reading)
        .await?;
        for row in &rows {
            after = row.try_get("revision")?;
            match from_json("body of a change", row.try_get("body")?) {
                Ok(StoredChange::Put { grant }) => {
                    fed.entry(grant.to_string()).or_default().put.push(from_sql(after));
                }
                Ok(StoredChange::Suspended { grant }) => {
                    fed.entry(grant.to_string()).or_default().suspended.push(from_sql(after));
                }
                Ok(StoredChange::Tombstone { grant, cause }) => {
                    fed.entry(grant.to_string()).or_default().ended.push((from_sql(after), ended_state(cause)));
                }
                Ok(_) | Err(_) => report.find(format!("revision {after}"), "its body is not of its kind"),
            }
        }
        if rows.is_empty() {
            return Ok(fed);
        }
    }
}

async fn unknown_grants(
    reading: &mut Transaction,
    fed: &HashMap<String, Fed>,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let sorted: BTreeMap<_, _> = fed.iter().collect();
    for (id, _) in sorted {
        let there = sql("SELECT COUNT(*) FROM grants WHERE id = $1").bind(id).integer(&mut *reading).await?;
        if there == 0 {
            report.find(format!("grant {id}"), "was told to the feed and is not there");
        }
    }
    Ok(())
}

/// No lineage spends what it was not given, and all together never more than the grant allows.
async fn overspent(reading: &mut Transaction, report: &mut CheckReport) -> Result<(), StoreError> {
    let rows = sql("SELECT g.id, g.max_uses, CAST(SUM(s.allotted) AS BIGINT) AS allotted, \
                    CAST(SUM(s.spent) AS BIGINT) AS spent FROM grants g JOIN shares s ON s.grant_id = g.id \
                    WHERE g.max_uses IS NOT NULL GROUP BY g.id, g.max_uses \
                    HAVING SUM(s.allotted) > g.max_uses OR SUM(s.spent) > g.max_uses ORDER BY g.id")
    .fetch_all(reading)
    .await?;
    for row in &rows {
        let id: GrantId = crate::store::rows::parsed("grant id", row.try_get("id")?)?;
        let (most, allotted, spent): (i64, i64, i64) =
            (row.try_get("max_uses")?, row.try_get("allotted")?, row.try_get("spent")?);
        report.find(format!("grant {id}"), format!("{allotted} uses allotted and {spent} spent of {most}"));
    }
    Ok(())
}
