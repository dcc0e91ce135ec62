//! Groups as provisioning clients keep them, with who is in them; each member that comes or goes is an entry.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{from_sql, parsed, to_json};
use super::scim_users::fresh_id;
use super::statement::{On, Row, sql, sql_over_rows};
use super::transition::Transition;
use super::{ScimListing, ScimWritten, Store, StoreError};
use crate::domain::{Person, WallTime};
use crate::ledger::Provisioned;
use crate::ledger::entry::Draft;

/// One group of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimGroup {
    pub id: String,
    pub client: String,
    pub content: ScimGroupContent,
    pub version: u64,
    pub created: WallTime,
    pub changed: WallTime,
}

/// What a client says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimGroupContent {
    /// What the policy calls it.
    pub display_name: String,
    pub external_id: Option<String>,
    /// Ids of users of the same client.
    pub members: BTreeSet<String>,
}

const LIST: &str = "SELECT * FROM scim_groups g WHERE client = $1 AND ($2 IS NULL OR id = $2) \
     AND ($3 IS NULL OR display_name = $3) AND ($4 IS NULL OR external_id = $4) \
     AND ($5 IS NULL OR EXISTS (SELECT 1 FROM scim_members m WHERE m.group_id = g.id AND m.user_id = $5)) \
     ORDER BY created_ms, id LIMIT $6 OFFSET $7";
const COUNT: &str = "SELECT COUNT(*) FROM scim_groups g WHERE client = $1 AND ($2 IS NULL OR id = $2) \
     AND ($3 IS NULL OR display_name = $3) AND ($4 IS NULL OR external_id = $4) \
     AND ($5 IS NULL OR EXISTS (SELECT 1 FROM scim_members m WHERE m.group_id = g.id AND m.user_id = $5))";

impl Store {
    /// `Taken`: a member is no user of this client.
    ///
    /// # Errors
    /// [`StoreError`]; then there is no such group.
    pub async fn create_scim_group(
        &self,
        client: &str,
        content: &ScimGroupContent,
    ) -> Result<ScimWritten<ScimGroup>, StoreError> {
        let id = fresh_id()?;
        let mut transition = self.transition().await?;
        let at = transition.at();
        sql("INSERT INTO scim_groups (id, client, display_name, external_id, version, created_ms, changed_ms) \
             VALUES ($1, $2, $3, $4, 1, $5, $5)")
        .bind(&id)
        .bind(client)
        .bind(&content.display_name)
        .bind(content.external_id.as_deref())
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
        let provisioned = Provisioned { client, id: &id, change: "created" };
        transition.entry(Draft::scim_group(provisioned, &content.display_name), None).await?;
        if !change_members(&mut transition, (client, &id), &BTreeSet::new(), content).await? {
            return Ok(ScimWritten::Taken);
        }
        transition.commit().await?;
        let (client, content) = (client.to_owned(), content.clone());
        Ok(ScimWritten::Done(ScimGroup { id, client, content, version: 1, created: at, changed: at }))
    }

    /// Replaces what is said of a group, if it still is at `before`. `Taken`: a member is no user of this client.
    ///
    /// # Errors
    /// [`StoreError`]; then it is as it was.
    pub async fn update_scim_group(
        &self,
        before: &ScimGroup,
        content: &ScimGroupContent,
    ) -> Result<ScimWritten<ScimGroup>, StoreError> {
        let mut transition = self.transition().await?;
        let Some(stands) = group(transition.connection(), &before.client, &before.id).await? else {
            return Ok(ScimWritten::Unknown);
        };
        if stands.version != before.version {
            return Ok(ScimWritten::Stale);
        }
        let members = members(transition.connection(), &stands.id).await?;
        let stands = ScimGroup { content: ScimGroupContent { members, ..stands.content }, ..stands };
        if stands.content == *content {
            return Ok(ScimWritten::Done(stands));
        }
        let at = transition.at();
        sql("UPDATE scim_groups SET display_name = $1, external_id = $2, version = version + 1, changed_ms = $3 \
             WHERE id = $4")
        .bind(&content.display_name)
        .bind(content.external_id.as_deref())
        .bind(at.unix_ms())
        .bind(&stands.id)
        .execute(transition.connection())
        .await?;
        if stands.content.display_name != content.display_name {
            let provisioned = Provisioned { client: &stands.client, id: &stands.id, change: "renamed" };
            transition.entry(Draft::scim_group(provisioned, &content.display_name), None).await?;
        }
        let place = (stands.client.as_str(), stands.id.as_str());
        if !change_members(&mut transition, place, &stands.content.members, content).await? {
            return Ok(ScimWritten::Taken);
        }
        transition.commit().await?;
        let version = stands.version.saturating_add(1);
        Ok(ScimWritten::Done(ScimGroup { content: content.clone(), version, changed: at, ..stands }))
    }

    /// Deletes a group, if it still is at `version` where one is named.
    ///
    /// # Errors
    /// [`StoreError`]; then it is still there.
    pub async fn delete_scim_group(
        &self,
        client: &str,
        id: &str,
        version: Option<u64>,
    ) -> Result<ScimWritten<()>, StoreError> {
        let mut transition = self.transition().await?;
        let Some(stands) = group(transition.connection(), client, id).await? else { return Ok(ScimWritten::Unknown) };
        if version.is_some_and(|version| version != stands.version) {
            return Ok(ScimWritten::Stale);
        }
        for table in ["DELETE FROM scim_members WHERE group_id = $1", "DELETE FROM scim_groups WHERE id = $1"] {
            sql(table).bind(id).execute(transition.connection()).await?;
        }
        let provisioned = Provisioned { client, id, change: "deleted" };
        transition.entry(Draft::scim_group(provisioned, &stands.content.display_name), None).await?;
        transition.commit().await?;
        Ok(ScimWritten::Done(()))
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn scim_group(&self, client: &str, id: &str) -> Result<Option<ScimGroup>, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let Some(group) = group(&mut reading, client, id).await? else { return Ok(None) };
        let members = members(&mut reading, id).await?;
        Ok(Some(ScimGroup { content: ScimGroupContent { members, ..group.content }, ..group }))
    }

    /// One page, and how many there are in all; members where they are asked for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scim_groups(
        &self,
        client: &str,
        listing: &ScimListing,
        with_members: bool,
    ) -> Result<(Vec<ScimGroup>, u64), StoreError> {
        let mut reading = self.shared.database.read().await?;
        let asked = |text: &'static str| {
            sql(text)
                .bind(client)
                .bind(listing.id.as_deref())
                .bind(listing.name.as_deref())
                .bind(listing.external_id.as_deref())
                .bind(listing.member.as_deref())
        };
        let total = asked(COUNT).integer(&mut reading).await?;
        let page = asked(LIST).bind(i64::from(listing.limit)).bind(i64::from(listing.skip));
        let rows = page.fetch_all(&mut reading).await?;
        let mut groups = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if with_members {
            for group in &mut groups {
                group.content.members = members(&mut reading, &group.id).await?;
            }
        }
        Ok((groups, from_sql(total)))
    }

    /// The groups of a person: of every active user that is this person, at every client.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn groups_of(&self, person: &Person) -> Result<Vec<String>, StoreError> {
        let rows = sql("SELECT DISTINCT g.display_name FROM scim_users u JOIN scim_members m ON m.user_id = u.id \
             JOIN scim_groups g ON g.id = m.group_id WHERE u.person = $1 AND u.active = 1 ORDER BY g.display_name")
        .bind(person.as_str())
        .fetch_all(&self.shared.database)
        .await?;
        rows.iter().map(|row| Ok(row.first()?)).collect()
    }
}

/// Brings the members to what they are to be, with a few statements for all of them; false where one of them is no user of
/// the client.
async fn change_members(
    transition: &mut Transition<'_>,
    (client, id): (&str, &str),
    before: &BTreeSet<String>,
    content: &ScimGroupContent,
) -> Result<bool, StoreError> {
    let gone: Vec<_> = before.difference(&content.members).collect();
    let new: Vec<_> = content.members.difference(before).collect();
    if gone.is_empty() && new.is_empty() {
        return Ok(true);
    }
    let people = people(transition, client, gone.iter().chain(&new)).await?;
    if !new.iter().all(|user| people.contains_key(*user)) {
        return Ok(false);
    }
    sql_over_rows!(
        "DELETE FROM scim_members WHERE group_id = $2 AND user_id IN (SELECT told.value ->> 'user' FROM",
        ")"
    )
    .bind(users(&gone)?)
    .bind(id)
    .execute(transition.connection())
    .await?;
    sql_over_rows!("INSERT INTO scim_members (group_id, user_id) SELECT $2, told.value ->> 'user' FROM", "WHERE true")
        .bind(users(&new)?)
        .bind(id)
        .execute(transition.connection())
        .await?;
    let told = |change: &'static str| {
        let people = &people;
        move |user: &&String| {
            // Whoever was deleted meanwhile had left with that.
            let person = people.get(*user)?;
            Some(Draft::scim_member(Provisioned { client, id, change }, &content.display_name, person))
        }
    };
    let left = gone.iter().filter_map(told("member_removed"));
    let drafts: Vec<_> = left.chain(new.iter().filter_map(told("member_added"))).collect();
    if !drafts.is_empty() {
        transition.entries(drafts).await?;
    }
    Ok(true)
}

fn users(ids: &[&String]) -> Result<String, StoreError> {
    to_json("ids of users", &ids.iter().map(|id| Named { user: id }).collect::<Vec<_>>())
}

/// An id, as `told` has it.
#[derive(serde::Serialize)]
struct Named<'a> {
    user: &'a str,
}

/// Who the users are that the client has.
async fn people<'a>(
    transition: &mut Transition<'_>,
    client: &str,
    ids: impl Iterator<Item = &'a &'a String>,
) -> Result<BTreeMap<String, Person>, StoreError> {
    let ids: Vec<_> = ids.copied().collect();
    let rows = sql_over_rows!(
        "SELECT u.id, u.person FROM",
        "JOIN scim_users u ON u.id = told.value ->> 'user' WHERE u.client = $2"
    )
    .bind(users(&ids)?)
    .bind(client)
    .fetch_all(transition.connection())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, parsed("person", row.try_get("person")?)?))).collect()
}

async fn members(on: impl Into<On<'_>>, id: &str) -> Result<BTreeSet<String>, StoreError> {
    let rows = sql("SELECT user_id FROM scim_members WHERE group_id = $1").bind(id).fetch_all(on).await?;
    rows.iter().map(|row| Ok(row.first()?)).collect()
}

/// Without its members.
async fn group(on: impl Into<On<'_>>, client: &str, id: &str) -> Result<Option<ScimGroup>, StoreError> {
    let row = sql("SELECT * FROM scim_groups WHERE client = $1 AND id = $2").bind(client).bind(id);
    row.fetch_optional(on).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<ScimGroup, StoreError> {
    Ok(ScimGroup {
        id: row.try_get("id")?,
        client: row.try_get("client")?,
        content: ScimGroupContent {
            display_name: row.try_get("display_name")?,
            external_id: row.try_get("external_id")?,
            members: BTreeSet::new(),
        },
        version: from_sql(row.try_get("version")?),
        created: WallTime::from_unix_ms(row.try_get("created_ms")?),
        changed: WallTime::from_unix_ms(row.try_get("changed_ms")?),
    })
}
