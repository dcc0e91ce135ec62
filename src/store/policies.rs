//! The policy and the service files, as numbered revisions. The files on disk are input; these are what is served.

use serde::{Deserialize, Serialize};

use super::rows::{from_json, from_sql, to_json, to_sql};
use super::statement::{On, Row, sql};
use super::{AppliedFile, AppliedPolicy, Store, StoreError};
use crate::ledger::entry::Draft;

#[derive(Serialize, Deserialize)]
struct File {
    name: String,
    text: String,
    digest: String,
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
        let row = sql("SELECT revision, text, digest, services FROM policy_revisions ORDER BY revision DESC LIMIT 1")
            .fetch_optional(&self.shared.database)
            .await?;
        row.as_ref().map(applied).transpose()
    }

    /// Makes these files the next revision, with an entry for the policy and one for each service. Answers its number.
    ///
    /// # Errors
    /// [`StoreError`]; then the revision before is still the newest.
    pub async fn apply_policy(&self, text: &str, digest: &str, services: &[AppliedFile]) -> Result<u64, StoreError> {
        let files: Vec<_> = services
            .iter()
            .map(|file| File { name: file.name.clone(), text: file.text.clone(), digest: file.digest.clone() })
            .collect();
        let mut transition = self.transition().await?;
        let revision = transition.next("policy").await?;
        let at = transition.at();
        sql("INSERT INTO policy_revisions (revision, at_ms, text, digest, services) VALUES ($1, $2, $3, $4, $5)")
            .bind(to_sql(revision))
            .bind(at.unix_ms())
            .bind(text)
            .bind(digest)
            .bind(to_json("service files", &files)?)
            .execute(transition.connection())
            .await?;
        transition.entry(Draft::policy_applied(revision, digest), None).await?;
        for file in services {
            transition.entry(Draft::service_applied(revision, &file.name, &file.digest), None).await?;
        }
        transition.commit().await?;
        Ok(revision)
    }
}

/// The number of the newest revision; 0 before the first.
pub(super) async fn newest_policy(on: impl Into<On<'_>>) -> Result<u64, StoreError> {
    let newest = sql("SELECT COALESCE(MAX(revision), 0) FROM policy_revisions").integer(on).await?;
    Ok(from_sql(newest))
}

fn applied(row: &Row) -> Result<AppliedPolicy, StoreError> {
    let files: Vec<File> = from_json("service files", row.try_get("services")?)?;
    Ok(AppliedPolicy {
        revision: from_sql(row.try_get("revision")?),
        text: row.try_get("text")?,
        digest: row.try_get("digest")?,
        services: files
            .into_iter()
            .map(|file| AppliedFile { name: file.name, text: file.text, digest: file.digest })
            .collect(),
    })
}
