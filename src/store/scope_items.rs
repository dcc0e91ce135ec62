//! What a request or a grant names, one row an item, so that it can be found by it.

use super::StoreError;
use super::database::Transaction;
use super::statement::sql;
use crate::domain::{Action, Resource, Scope};

/// `owner` is the id of an elevation or of a grant.
pub(super) async fn insert(connection: &mut Transaction, owner: &str, scope: &Scope) -> Result<(), StoreError> {
    let resources = scope.resources().iter().map(Resource::as_str).map(|item| ("resource", item));
    let actions = scope.actions().iter().map(Action::as_str).map(|item| ("action", item));
    for (kind, item) in resources.chain(actions) {
        sql("INSERT INTO scope_items (owner, kind, item) VALUES ($1, $2, $3)")
            .bind(owner)
            .bind(kind)
            .bind(item)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
