//! People as provisioning clients keep them. Whoever is deactivated or deleted loses their grants in the same transaction.

use super::grants::{End, end_grant};
use super::random::random;
use super::rows::{from_sql, parsed};
use super::signals::{live, waiting};
use super::statement::{On, Row, sql};
use super::suspension::demand_fresh;
use super::transition::Transition;
use super::{Store, StoreError, endings};
use crate::domain::{Person, WallTime};
use crate::hex::hex;
use crate::ledger::Provisioned;
use crate::ledger::entry::Draft;
use crate::wire::feed::EndCause;

/// One user of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimUser {
    pub id: String,
    pub client: String,
    pub content: ScimUserContent,
    pub version: u64,
    pub created: WallTime,
    pub changed: WallTime,
}

/// What a client says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimUserContent {
    pub user_name: String,
    pub external_id: Option<String>,
    pub person: Person,
    pub active: bool,
    /// The attributes that are kept, as JSON.
    pub body: String,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScimWritten<T> {
    Done(T),
    /// Another has the name.
    Taken,
    /// It is no longer what was read.
    Stale,
    Unknown,
}

/// Which resources of a client to list, in the order they were made. What is absent is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScimListing {
    pub id: Option<String>,
    /// `userName` of users, `displayName` of groups.
    pub name: Option<String>,
    pub external_id: Option<String>,
    /// Of groups: with this user among them.
    pub member: Option<String>,
    pub skip: u32,
    pub limit: u32,
}

const LIST: &str = "SELECT * FROM scim_users WHERE client = $1 AND ($2 IS NULL OR id = $2) \
     AND ($3 IS NULL OR user_name_key = $3) AND ($4 IS NULL OR external_id = $4) \
     ORDER BY created_ms, id LIMIT $5 OFFSET $6";
const COUNT: &str = "SELECT COUNT(*) FROM scim_users WHERE client = $1 AND ($2 IS NULL OR id = $2) \
     AND ($3 IS NULL OR user_name_key = $3) AND ($4 IS NULL OR external_id = $4)";

impl Store {
    /// # Errors
    /// [`StoreError`]; then there is no such user.
    pub async fn create_scim_user(
        &self,
        client: &str,
        content: &ScimUserContent,
    ) -> Result<ScimWritten<ScimUser>, StoreError> {
        let id = fresh_id()?;
        let mut transition = self.transition().await?;
        if is_taken(&mut transition, client, content, "").await? {
            return Ok(ScimWritten::Taken);
        }
        let at = transition.at();
        sql(
            "INSERT INTO scim_users (id, client, user_name, user_name_key, external_id, person, active, body, version, \
             created_ms, changed_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)",
        )
        .bind(&id)
        .bind(client)
        .bind(&content.user_name)
        .bind(content.user_name.to_lowercase())
        .bind(content.external_id.as_deref())
        .bind(content.person.as_str())
        .bind(content.active)
        .bind(&content.body)
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
        let change = if content.active { "created" } else { "created_inactive" };
        transition.entry(Draft::scim_user(Provisioned { client, id: &id, change }, &content.person), None).await?;
        if !content.active {
            end_all(&mut transition, client, &id, &content.person).await?;
        }
        transition.commit().await?;
        let (client, content) = (client.to_owned(), content.clone());
        Ok(ScimWritten::Done(ScimUser { id, client, content, version: 1, created: at, changed: at }))
    }

    /// Replaces what is said of a user, if it still is at `before`. A user who is no longer active, or is another person
    /// from now on, leaves the person without grants.
    ///
    /// # Errors
    /// [`StoreError`]; then it is as it was.
    pub async fn update_scim_user(
        &self,
        before: &ScimUser,
        content: &ScimUserContent,
    ) -> Result<ScimWritten<ScimUser>, StoreError> {
        let mut transition = self.transition().await?;
        let Some(stands) = user(transition.connection(), &before.client, &before.id).await? else {
            return Ok(ScimWritten::Unknown);
        };
        if stands.version != before.version {
            return Ok(ScimWritten::Stale);
        }
        if stands.content == *content {
            return Ok(ScimWritten::Done(stands));
        }
        if is_taken(&mut transition, &stands.client, content, &stands.id).await? {
            return Ok(ScimWritten::Taken);
        }
        let at = transition.at();
        sql("UPDATE scim_users SET user_name = $1, user_name_key = $2, external_id = $3, person = $4, active = $5, \
             body = $6, version = version + 1, changed_ms = $7 WHERE id = $8")
        .bind(&content.user_name)
        .bind(content.user_name.to_lowercase())
        .bind(content.external_id.as_deref())
        .bind(content.person.as_str())
        .bind(content.active)
        .bind(&content.body)
        .bind(at.unix_ms())
        .bind(&stands.id)
        .execute(transition.connection())
        .await?;
        told(&mut transition, &stands, content).await?;
        transition.commit().await?;
        let version = stands.version.saturating_add(1);
        Ok(ScimWritten::Done(ScimUser { content: content.clone(), version, changed: at, ..stands }))
    }

    /// Deletes a user, if it still is at `version` where one is named.
    ///
    /// # Errors
    /// [`StoreError`]; then it is still there.
    pub async fn delete_scim_user(
        &self,
        client: &str,
        id: &str,
        version: Option<u64>,
    ) -> Result<ScimWritten<()>, StoreError> {
        let mut transition = self.transition().await?;
        let Some(stands) = user(transition.connection(), client, id).await? else { return Ok(ScimWritten::Unknown) };
        if version.is_some_and(|version| version != stands.version) {
            return Ok(ScimWritten::Stale);
        }
        for table in ["DELETE FROM scim_members WHERE user_id = $1", "DELETE FROM scim_users WHERE id = $1"] {
            sql(table).bind(id).execute(transition.connection()).await?;
        }
        let person = &stands.content.person;
        transition.entry(Draft::scim_user(Provisioned { client, id, change: "deleted" }, person), None).await?;
        end_all(&mut transition, client, id, person).await?;
        transition.commit().await?;
        Ok(ScimWritten::Done(()))
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn scim_user(&self, client: &str, id: &str) -> Result<Option<ScimUser>, StoreError> {
        user(&self.shared.database, client, id).await
    }

    /// One page, and how many there are in all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scim_users(&self, client: &str, listing: &ScimListing) -> Result<(Vec<ScimUser>, u64), StoreError> {
        let mut reading = self.shared.database.read().await?;
        let name = listing.name.as_ref().map(|name| name.to_lowercase());
        let asked = |text: &'static str| {
            sql(text)
                .bind(client)
                .bind(listing.id.as_deref())
                .bind(name.as_deref())
                .bind(listing.external_id.as_deref())
        };
        let total = asked(COUNT).integer(&mut reading).await?;
        let page = asked(LIST).bind(i64::from(listing.limit)).bind(i64::from(listing.skip));
        let rows = page.fetch_all(&mut reading).await?;
        Ok((rows.iter().map(read).collect::<Result<_, _>>()?, from_sql(total)))
    }
}

pub(super) fn fresh_id() -> Result<String, StoreError> {
    Ok(hex(&random::<16>()?))
}

/// The entry of a change, and what it ends.
async fn told(transition: &mut Transition<'_>, was: &ScimUser, is: &ScimUserContent) -> Result<(), StoreError> {
    let before = &was.content;
    let change = match (before.active, is.active) {
        (true, false) => "deactivated",
        (false, true) => "activated",
        _ => "changed",
    };
    let provisioned = Provisioned { client: &was.client, id: &was.id, change };
    transition.entry(Draft::scim_user(provisioned, &is.person), None).await?;
    if before.person != is.person {
        let renamed = Provisioned { change: "no_longer_this_person", ..provisioned };
        transition.entry(Draft::scim_user(renamed, &before.person), None).await?;
        end_all(transition, &was.client, &was.id, &before.person).await?;
    }
    if before.active && !is.active {
        end_all(transition, &was.client, &was.id, &is.person).await?;
    }
    Ok(())
}

/// Every live grant and waiting request of the person ends, and what was proven until now no longer counts.
async fn end_all(transition: &mut Transition<'_>, client: &str, id: &str, person: &Person) -> Result<(), StoreError> {
    let now = transition.at();
    demand_fresh(transition, person, now).await?;
    let note = format!("deactivated by the provisioning client {client}");
    for (grant, service) in live(transition, person).await? {
        let entry = Draft::grant_revoked_by_scim(&grant, client, id);
        let end = End { cause: EndCause::Revoked, by: None, note: Some(&note), revocation: None, entry };
        end_grant(transition, &grant, &service, end).await?;
    }
    for elevation in waiting(transition, person).await? {
        endings::lapse_for(transition, &elevation, Some("deactivated")).await?;
    }
    Ok(())
}

async fn is_taken(
    transition: &mut Transition<'_>,
    client: &str,
    content: &ScimUserContent,
    own: &str,
) -> Result<bool, StoreError> {
    let others = sql("SELECT COUNT(*) FROM scim_users WHERE client = $1 AND user_name_key = $2 AND id <> $3")
        .bind(client)
        .bind(content.user_name.to_lowercase())
        .bind(own)
        .integer(transition.connection())
        .await?;
    Ok(others > 0)
}

async fn user(on: impl Into<On<'_>>, client: &str, id: &str) -> Result<Option<ScimUser>, StoreError> {
    let row = sql("SELECT * FROM scim_users WHERE client = $1 AND id = $2").bind(client).bind(id);
    row.fetch_optional(on).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<ScimUser, StoreError> {
    Ok(ScimUser {
        id: row.try_get("id")?,
        client: row.try_get("client")?,
        content: ScimUserContent {
            user_name: row.try_get("user_name")?,
            external_id: row.try_get("external_id")?,
            person: parsed("person", row.try_get("person")?)?,
            active: row.try_get::<i64>("active")? != 0,
            body: row.try_get("body")?,
        },
        version: from_sql(row.try_get("version")?),
        created: WallTime::from_unix_ms(row.try_get("created_ms")?),
        changed: WallTime::from_unix_ms(row.try_get("changed_ms")?),
    })
}
