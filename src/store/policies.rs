//! The policy and the service files, as numbered revisions. The files on disk are input; these are what is served.

use serde::{Deserialize, Serialize};

use super::grants::{End, end_grant};
use super::rows::{from_json, from_sql, parsed, to_json, to_sql};
use super::statement::{On, Row, sql};
use super::transition::Transition;
use super::{
    AppliedFile, AppliedPolicy, ElevationRecord, GrantRecord, Store, StoreError, elevations, grants, proposals,
};
use crate::domain::{GrantId, Person, ProposalId, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::wire::feed::EndCause;

const SELECT_NEWEST: &str = "SELECT revision, at_ms, text, digest, services, applied_by, confirmed_by, note \
                             FROM policy_revisions ORDER BY revision DESC LIMIT 1";

#[derive(Serialize, Deserialize)]
struct File {
    name: String,
    text: String,
    digest: String,
}

/// What is to become the next revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    pub text: String,
    /// SHA-256 of `text`, hex.
    pub digest: String,
    pub services: Vec<AppliedFile>,
    /// The revision that it follows.
    pub base: u64,
    pub by: Person,
    pub note: Option<String>,
}

/// A live grant with the request it came from.
#[derive(Debug)]
pub struct LiveGrant {
    pub grant: GrantRecord,
    pub elevation: ElevationRecord,
}

/// Why a grant ends with a change of the policy; `Ok` where it goes on. Asked under the writer's lock: no I/O.
pub type StillAllowed<'a> = dyn Fn(&LiveGrant, WallTime) -> Result<(), String> + Send + Sync + 'a;

/// A grant that a change of the policy ends, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoLongerAllowed {
    pub grant: GrantId,
    pub service: ServiceName,
    pub person: Person,
    pub why: String,
}

/// What applying a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyOutcome {
    Applied {
        revision: u64,
        ended: Vec<NoLongerAllowed>,
    },
    /// It follows a revision that is no longer the newest. Nothing was done.
    Stale {
        newest: u64,
    },
    /// The proposal is no longer open. Nothing was done.
    Decided,
}

impl Store {
    /// The number of the newest revision; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn policy_revision(&self) -> Result<u64, StoreError> {
        newest_policy(&self.shared.database).await
    }

    /// The newest revision; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn policy(&self) -> Result<Option<AppliedPolicy>, StoreError> {
        let row = sql(SELECT_NEWEST).fetch_optional(&self.shared.database).await?;
        row.as_ref().map(applied).transpose()
    }

    /// All revisions, the newest first, without their texts being of use to anyone who lists: at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn policy_revisions(&self, before: Option<u64>, limit: u32) -> Result<Vec<AppliedPolicy>, StoreError> {
        let rows = sql("SELECT revision, at_ms, text, digest, services, applied_by, confirmed_by, note \
                        FROM policy_revisions WHERE ($1 IS NULL OR revision < $1) ORDER BY revision DESC LIMIT $2")
        .bind(before.map(to_sql))
        .bind(i64::from(limit))
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter().map(applied).collect()
    }

    /// Makes these files revision 1, unless there is one: whichever replica starts first does. With an entry for the
    /// policy and one for each service.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn establish_policy(
        &self,
        text: &str,
        digest: &str,
        services: &[AppliedFile],
    ) -> Result<Option<u64>, StoreError> {
        let mut transition = self.transition().await?;
        if newest_policy(transition.connection()).await? > 0 {
            return Ok(None);
        }
        let revision = insert(&mut transition, Files { text, digest, services }, Authors::default()).await?;
        transition.commit().await?;
        Ok(Some(revision))
    }

    /// The live grants that `still` would end, as of now. Nothing is changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn no_longer_allowed(&self, still: &StillAllowed<'_>) -> Result<Vec<NoLongerAllowed>, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let now = self.shared.clock.wall();
        let mut ends = Vec::new();
        for id in live(&mut reading, now).await? {
            ends.extend(verdict(&mut reading, &id, now, still).await?);
        }
        Ok(ends)
    }

    /// Makes a change the next revision, and ends the live grants that it no longer allows, in one transaction.
    /// `proposal` is the one that a second administrator, `by`, confirms.
    ///
    /// # Errors
    /// [`StoreError`]; then the revision before is still the newest, and every grant stands.
    pub async fn apply_policy(
        &self,
        change: &PolicyChange,
        confirms: Option<(&ProposalId, &Person)>,
        still: &StillAllowed<'_>,
    ) -> Result<PolicyOutcome, StoreError> {
        let mut transition = self.transition().await?;
        let newest = newest_policy(transition.connection()).await?;
        if newest != change.base {
            return Ok(PolicyOutcome::Stale { newest });
        }
        if let Some((proposal, by)) = confirms
            && !proposals::apply(&mut transition, proposal, by).await?
        {
            return Ok(PolicyOutcome::Decided);
        }
        let files = Files { text: &change.text, digest: &change.digest, services: &change.services };
        let authors =
            Authors { by: Some(&change.by), confirmed_by: confirms.map(|(_, by)| by), note: change.note.as_deref() };
        let revision = insert(&mut transition, files, authors).await?;
        let ended = end_others(&mut transition, revision, still).await?;
        transition.commit().await?;
        Ok(PolicyOutcome::Applied { revision, ended })
    }
}

struct Files<'a> {
    text: &'a str,
    digest: &'a str,
    services: &'a [AppliedFile],
}

#[derive(Default, Clone, Copy)]
struct Authors<'a> {
    by: Option<&'a Person>,
    confirmed_by: Option<&'a Person>,
    note: Option<&'a str>,
}

async fn insert(transition: &mut Transition<'_>, files: Files<'_>, authors: Authors<'_>) -> Result<u64, StoreError> {
    let revision = transition.next("policy").await?;
    let at = transition.at();
    sql("INSERT INTO policy_revisions (revision, at_ms, text, digest, services, applied_by, confirmed_by, note) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(to_sql(revision))
    .bind(at.unix_ms())
    .bind(files.text)
    .bind(files.digest)
    .bind(files_json(files.services)?)
    .bind(authors.by.map(Person::as_str))
    .bind(authors.confirmed_by.map(Person::as_str))
    .bind(authors.note)
    .execute(transition.connection())
    .await?;
    let entry = Draft::policy_applied(revision, files.digest, authors.by, authors.confirmed_by, authors.note);
    transition.entry(entry, None).await?;
    for file in files.services {
        transition.entry(Draft::service_applied(revision, &file.name, &file.digest), None).await?;
    }
    Ok(revision)
}

async fn end_others(
    transition: &mut Transition<'_>,
    revision: u64,
    still: &StillAllowed<'_>,
) -> Result<Vec<NoLongerAllowed>, StoreError> {
    let now = transition.at();
    let mut ended = Vec::new();
    for id in live(transition.connection(), now).await? {
        let Some(end) = verdict(transition.connection(), &id, now, still).await? else { continue };
        let entry = Draft::grant_revoked_by_policy(&id, revision, &end.why);
        let note = format!("policy revision {revision}: {}", end.why);
        let ending = End { cause: EndCause::Revoked, by: None, note: Some(&note), revocation: None, entry };
        end_grant(transition, &id, &end.service, ending).await?;
        ended.push(end);
    }
    Ok(ended)
}

async fn live(on: impl Into<On<'_>>, now: WallTime) -> Result<Vec<GrantId>, StoreError> {
    let rows = sql("SELECT id FROM grants WHERE state = 'active' AND expires_ms > $1 ORDER BY position")
        .bind(now.unix_ms())
        .fetch_all(on)
        .await?;
    rows.iter().map(|row| parsed("grant id", row.try_get("id")?)).collect()
}

async fn verdict(
    on: &mut super::database::Transaction,
    id: &GrantId,
    now: WallTime,
    still: &StillAllowed<'_>,
) -> Result<Option<NoLongerAllowed>, StoreError> {
    let vanished = || StoreError::Corrupt("a grant's request vanished".to_owned());
    let grant = grants::fetch(&mut *on, id).await?.ok_or_else(vanished)?;
    let elevation = elevations::fetch(on, &grant.elevation).await?.ok_or_else(vanished)?;
    let live = LiveGrant { grant, elevation };
    Ok(still(&live, now).err().map(|why| NoLongerAllowed {
        grant: id.clone(),
        service: live.grant.grant.service.clone(),
        person: live.grant.grant.person.clone(),
        why,
    }))
}

/// The number of the newest revision; 0 before the first.
pub(super) async fn newest_policy(on: impl Into<On<'_>>) -> Result<u64, StoreError> {
    let newest = sql("SELECT COALESCE(MAX(revision), 0) FROM policy_revisions").integer(on).await?;
    Ok(from_sql(newest))
}

pub(super) fn files_json(files: &[AppliedFile]) -> Result<String, StoreError> {
    let file =
        |file: &AppliedFile| File { name: file.name.clone(), text: file.text.clone(), digest: file.digest.clone() };
    to_json("service files", &files.iter().map(file).collect::<Vec<_>>())
}

pub(super) fn read_files(json: &str) -> Result<Vec<AppliedFile>, StoreError> {
    let files: Vec<File> = from_json("service files", json)?;
    Ok(files.into_iter().map(|file| AppliedFile { name: file.name, text: file.text, digest: file.digest }).collect())
}

pub(super) fn person(row: &Row, column: &str) -> Result<Option<Person>, StoreError> {
    row.try_get::<Option<&str>>(column)?.map(|text| parsed("person", text)).transpose()
}

fn applied(row: &Row) -> Result<AppliedPolicy, StoreError> {
    Ok(AppliedPolicy {
        revision: from_sql(row.try_get("revision")?),
        at: WallTime::from_unix_ms(row.try_get("at_ms")?),
        text: row.try_get("text")?,
        digest: row.try_get("digest")?,
        services: read_files(row.try_get("services")?)?,
        by: person(row, "applied_by")?,
        confirmed_by: person(row, "confirmed_by")?,
        note: row.try_get("note")?,
    })
}
