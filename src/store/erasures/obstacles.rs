//! What stands in the way of erasing a person: whatever is not over yet.
//!
//! Must never: let somebody be erased who holds, awaits or is answerable for anything that still goes on.

use super::naming::names;
use crate::domain::{ObstacleKind, Person, Selector, WallTime};
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::policies::read_files;
use crate::store::rows::to_json;
use crate::store::signals::KEPT;
use crate::store::statement::sql;

/// Obstacles of one kind that are named one by one.
const NAMED_MAX: i64 = 20;

/// One thing that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub kind: ObstacleKind,
    /// Its id, where it has one.
    pub id: Option<String>,
}

impl Obstacle {
    /// After a restore, which ends every grant and request, it stands for what nobody waits for any more.
    pub(super) const fn is_past(&self) -> bool {
        matches!(self.kind, ObstacleKind::ReviewAwaited | ObstacleKind::AccountOpen)
    }
}

/// Each answers ids of what is not over for the person `$1`, at most `$2` of them.
const QUESTIONS: [(ObstacleKind, &str); 8] = [
    (
        ObstacleKind::GrantLive,
        "SELECT id FROM grants WHERE state = 'active' AND (person = $1 OR elevation IN \
         (SELECT elevation FROM approvals WHERE person = $1)) ORDER BY position LIMIT $2",
    ),
    (
        ObstacleKind::RequestWaiting,
        "SELECT id FROM elevations WHERE state = 'requested' AND (person = $1 OR id IN \
         (SELECT elevation FROM approvals WHERE person = $1)) ORDER BY position LIMIT $2",
    ),
    (
        ObstacleKind::ReviewAwaited,
        "SELECT id FROM grants WHERE review IN ('due', 'overdue') AND person = $1 ORDER BY position LIMIT $2",
    ),
    (
        ObstacleKind::AccountOpen,
        "SELECT g.id FROM grants g JOIN grant_closings c ON c.grant_id = g.id WHERE c.is_due = 1 \
         AND (g.person = $1 OR g.elevation IN (SELECT elevation FROM approvals WHERE person = $1)) \
         ORDER BY g.position LIMIT $2",
    ),
    (
        ObstacleKind::RevocationOpen,
        "SELECT id FROM revocations WHERE is_open <> 0 AND by_person = $1 ORDER BY position LIMIT $2",
    ),
    (
        ObstacleKind::ProposalOpen,
        "SELECT id FROM policy_proposals WHERE state = 'open' AND by_person = $1 ORDER BY id LIMIT $2",
    ),
    (ObstacleKind::Provisioned, "SELECT id FROM scim_users WHERE person = $1 ORDER BY id LIMIT $2"),
    (
        ObstacleKind::ErasureOpen,
        "SELECT id FROM erasures WHERE done_ms IS NULL AND (person = $1 OR by_person = $1) ORDER BY position LIMIT $2",
    ),
];

/// Everything that is not over, as of `now`.
pub(super) async fn of(on: &mut Transaction, person: &Person, now: WallTime) -> Result<Vec<Obstacle>, StoreError> {
    let mut obstacles = Vec::new();
    for (kind, question) in QUESTIONS {
        let rows = sql(question).bind(person.as_str()).bind(NAMED_MAX).fetch_all(&mut *on).await?;
        for row in &rows {
            obstacles.push(Obstacle { kind, id: Some(row.first()?) });
        }
    }
    let rows = sql("SELECT id FROM revocations WHERE is_open <> 0 AND selector = $1 ORDER BY position LIMIT $2")
        .bind(selector(person)?)
        .bind(NAMED_MAX)
        .fetch_all(&mut *on)
        .await?;
    for row in &rows {
        obstacles.push(Obstacle { kind: ObstacleKind::RevocationOpen, id: Some(row.first()?) });
    }
    let unnamed = [
        (ObstacleKind::SignInDemanded, sign_in_demanded(on, person, now).await?),
        (ObstacleKind::PolicyNames, policy_names(on, person).await?),
    ];
    obstacles.extend(unnamed.into_iter().filter(|(_, stands)| *stands).map(|(kind, _)| Obstacle { kind, id: None }));
    Ok(obstacles)
}

/// A revocation's selector of everything that is a person's, as it is stored.
pub(super) fn selector(person: &Person) -> Result<String, StoreError> {
    to_json("selector", &Selector::Person { person: person.clone() })
}

async fn sign_in_demanded(on: &mut Transaction, person: &Person, now: WallTime) -> Result<bool, StoreError> {
    let demands = sql("SELECT COUNT(*) FROM person_freshness WHERE person = $1 AND since_ms > $2")
        .bind(person.as_str())
        .bind(now.minus(KEPT).unix_ms());
    Ok(demands.integer(on).await? > 0)
}

async fn policy_names(on: &mut Transaction, person: &Person) -> Result<bool, StoreError> {
    let rows = sql("SELECT text, services FROM policy_revisions WHERE revision = \
         (SELECT MAX(revision) FROM policy_revisions) \
         UNION ALL SELECT text, services FROM policy_proposals WHERE state = 'open'")
    .fetch_all(on)
    .await?;
    for row in &rows {
        let services = read_files(row.try_get("services")?)?;
        let mut texts = services.iter().map(|file| file.text.as_str()).chain([row.try_get("text")?]);
        if texts.any(|text| names(text, person.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}
